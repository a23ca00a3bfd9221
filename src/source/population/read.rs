//! Reading a population from the spec: decodes its fields and shapes, and checks them against each other.

use std::num::NonZeroU32;

use indexmap::IndexMap;

use super::characteristic::{Kind, cell, characteristics};
use super::columns::{Columns, Fixed, ID};
use super::draw::People;
use super::expression::{Expression, Expressions};
use super::fields::{Allocation, Fields, ITERATIONS, MOST, Method, Output, TOLERANCE, WEIGHT};
use super::respondents::{How, Population, Raking, drawn};
use super::{frame, graph, margin};
use crate::document::{self, Node, Path, Problems, Value};
use crate::source::rows::Source;

pub(super) fn decode(node: &Node, path: &Path, problems: &mut Problems) -> Option<Box<dyn Source>> {
    let before = problems.mark();
    let fields: Option<Fields> = document::decode(node, path, problems);
    let mut reading = Reading { node, path, problems };
    if let Some(fields) = &fields {
        reading.plain(fields);
    }
    let fixed = reading.fixed();
    // The shapes are checked even if a plain field is wrong, unless it is the method.
    let method = match (&fields, node.get("method").and_then(Node::as_str)) {
        (Some(fields), _) => Some(fields.method),
        (None, Some("raking")) => Some(Method::Raking),
        (None, Some("draw")) => Some(Method::Draw),
        (None, _) => node.get("method").is_none().then_some(Method::Draw),
    };
    let how = match method? {
        Method::Draw => reading.drawn(fields.as_ref(), &fixed),
        Method::Raking => reading.raked(fields.as_ref(), &fixed),
    };
    if problems.had_errors_since(before) {
        return None;
    }
    let fields = fields?;
    let population =
        Population { n: fields.n.get(), own_seed: fields.seed, seed: fields.seed.unwrap_or(0), how: how?, fixed };
    Some(Box::new(population))
}

struct Reading<'a> {
    node: &'a Node,
    path: &'a Path,
    problems: &'a mut Problems,
}

impl<'a> Reading<'a> {
    /// A field; null counts as absent.
    fn field(&self, name: &str) -> Option<&'a Node> {
        self.node.get(name).filter(|node| node.value != Value::Null)
    }

    fn plain(&mut self, fields: &Fields) {
        if fields.n.get() > MOST {
            let message = format!("`n` must be at most {MOST}");
            self.problems.error("bad-value", self.path.key("n"), message);
        }
        if fields.tolerance.is_some_and(|tolerance| !(tolerance > 0.0 && tolerance < 1.0)) {
            let message = "`tolerance` must be above 0 and below 1";
            self.problems.error("bad-value", self.path.key("tolerance"), message);
        }
    }

    fn fixed(&mut self) -> Vec<Fixed> {
        let path = self.path.key("fixed_values");
        let Some(node) = self.field("fixed_values") else { return Vec::new() };
        let Value::Table(entries) = &node.value else {
            let message =
                format!("`fixed_values` must be a table of columns with their value, not {}", node.kind_name());
            self.problems.error("wrong-type", path, message);
            return Vec::new();
        };
        let mut fixed = Vec::new();
        for entry in entries {
            match cell(&entry.node) {
                Some(value) => fixed.push(Fixed { name: entry.key.clone(), value }),
                None => {
                    let kind = entry.node.kind_name();
                    let message = format!("a fixed value is text, a finite number, or true or false, not {kind}");
                    self.problems.error("wrong-type", path.key(&entry.key), message);
                }
            }
        }
        fixed
    }

    fn unused(&mut self, method: &str, fields: &[&str]) {
        for field in fields.iter().filter(|field| self.node.get(field).is_some_and(|n| n.value != Value::Null)) {
            let message = format!("`{field}` does not apply to the method `{method}`");
            self.problems
                .error_at_key("unused-field", self.path.key(field), message)
                .help("remove it, or change `method`");
        }
    }

    /// Reports invalid names of columns: of the characteristics, then of the fixed values.
    fn names<'n>(&mut self, names: impl Iterator<Item = (&'n str, Path)>, fixed: &[Fixed], weight: bool) {
        let names: Vec<(&str, Path)> = names.collect();
        let at = self.path.key("fixed_values");
        let fixed = fixed.iter().map(|column| ("fixed value", column.name.as_str(), at.key(&column.name)));
        let all = names.iter().map(|(name, path)| ("characteristic", *name, path.clone())).chain(fixed);
        for (what, name, path) in all {
            let message = if name.trim().is_empty() {
                format!("a {what} needs a name")
            } else if name == ID || (weight && name == WEIGHT) {
                format!("`{name}` is a column of every population; rename the {what}")
            } else if what == "fixed value" && names.iter().any(|(other, _)| *other == name) {
                format!("`{name}` is a characteristic and a fixed value")
            } else {
                continue;
            };
            self.problems.error_at_key("bad-name", path, message);
        }
    }

    fn missing(&mut self, field: &str, help: &str) {
        self.problems.error("missing-field", self.path.clone(), format!("`{field}` is missing")).help(help);
    }

    fn drawn(&mut self, fields: Option<&Fields>, fixed: &[Fixed]) -> Option<How> {
        self.unused("draw", &["margins", "seed_table", "output", "tolerance", "max_iterations"]);
        let Some(node) = self.field("characteristics") else {
            self.missing("characteristics", "write them by name, such as gender = [\"female\", \"male\"]");
            return None;
        };
        let written = characteristics(node, &self.path.key("characteristics"), self.problems);
        self.names(written.iter().map(|w| (w.name, w.path.clone())), fixed, false);
        let (written, computed): (Vec<_>, Vec<_>) =
            written.into_iter().partition(|one| !matches!(one.kind, Kind::Computed(_)));
        let expressions: Option<Vec<Expression>> = computed
            .into_iter()
            .map(|one| if let Kind::Computed(expression) = one.kind { expression } else { None })
            .collect();
        let (characteristics, order) = graph::resolve(&written, self.problems)?;
        let drawn = Columns::new(characteristics.iter().map(drawn).collect(), fixed).schema();
        let expressions = expressions?;
        Expressions::bind(&expressions, &drawn, &self.path.key("characteristics"), self.problems)?;
        let fields = fields?;
        let quota = fields.allocation.unwrap_or_default() == Allocation::Quota;
        Some(How::Drawn(People {
            n: fields.n.get(),
            characteristics: characteristics.into(),
            order: order.into(),
            quota,
            expressions: expressions.into(),
        }))
    }

    fn raked(&mut self, fields: Option<&Fields>, fixed: &[Fixed]) -> Option<How> {
        self.unused("raking", &["characteristics", "allocation"]);
        let margins = self.margins();
        let seed_table = match self.field("seed_table") {
            None => Some(None),
            Some(node) => margin::Written::decode(node, &self.path.key("seed_table"), self.problems).map(Some),
        };
        let output = fields.and_then(|fields| fields.output).unwrap_or_default();
        if let Some(margins) = &margins {
            let mut named: IndexMap<&str, Path> = IndexMap::new();
            for (i, margin) in margins.iter().enumerate() {
                for name in &margin.of {
                    named.entry(name).or_insert_with(|| self.path.key("margins").index(i).key("of"));
                }
            }
            self.names(named.into_iter(), fixed, output == Output::Weights);
        }
        let (margins, seed_table) = margins.zip(seed_table)?;
        if margins.iter().chain(&seed_table).all(|table| table.file().is_none()) {
            let frame = frame::frame(&margins, seed_table.as_ref(), std::path::Path::new(""), self.path);
            self.problems.extend(frame.map(|(_, problems)| problems).into_iter().flatten());
        }
        let fields = fields?;
        let tolerance = fields.tolerance.unwrap_or(TOLERANCE);
        let max_iterations = fields.max_iterations.map_or(ITERATIONS, NonZeroU32::get);
        Some(How::Raked(Raking { margins, seed_table, output, tolerance, max_iterations }))
    }

    fn margins(&mut self) -> Option<Vec<margin::Written>> {
        let path = self.path.key("margins");
        let Some(node) = self.field("margins") else {
            self.missing(
                "margins",
                "write a margin, such as { of = \"gender\", weights = { female = 0.5, male = 0.5 } }",
            );
            return None;
        };
        if node.items().is_empty() {
            let message = "`margins` must be a list of at least one table with `of` and `weights` or `file`";
            self.problems.error("wrong-type", path, message);
            return None;
        }
        let read = |(i, item): (usize, &Node)| {
            if item.get("of").is_some_and(|of| of.items().len() > 2) {
                let message = "a margin is about one or two characteristics";
                self.problems.error("bad-value", path.index(i).key("of"), message);
            }
            margin::Written::decode(item, &path.index(i), self.problems)
        };
        let margins: Vec<Option<margin::Written>> = node.items().iter().enumerate().map(read).collect();
        margins.into_iter().collect()
    }
}
