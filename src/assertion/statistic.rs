//! `type = "statistic"`: statistics of a tidy table are within bounds.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::config::{Assertion, AssertionConfig, Check, Rule};
use super::context::{Bounds, Scalar, TestContext};
use super::finding::{Finding, RowsView, Violations, count, rounded, shown};
use crate::document::Problems;
use crate::name::nearest;
use crate::registry::Kind;
use crate::table::{Cell, Type, column};

pub(crate) const KIND: Kind<Box<dyn AssertionConfig>> =
    Kind::new::<Statistic>("statistic", "Statistics of the table of a method are within bounds.");

const ESTIMATE: &str = "estimate";
/// The columns that say nothing about which statistic a row is.
const FIGURES: [&str; 2] = ["method", "note"];
/// The most values of a column that are kept to correct a wrong one.
const MOST_VALUES: usize = 1000;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Statistic {
    /// The rows to test, by the values of their columns: `where = { statistic = "krippendorff_alpha" }`. Each row that fits
    /// is tested, such as one for each group. An empty text is a column without a value: `party = ""` is the row of all
    /// parties together.
    #[serde(rename = "where")]
    rows: IndexMap<String, Scalar>,
    /// The column of the number: `estimate`, or an end of its interval, `ci_low` or `ci_high`. Default: `estimate`.
    of: Option<String>,
    /// The least number.
    minimum: Option<f64>,
    /// The greatest number.
    maximum: Option<f64>,
}

/// Which columns of the table are what.
#[derive(Debug)]
struct Figure {
    /// The columns that choose rows, with their values.
    chosen: Vec<(usize, Cell)>,
    value: usize,
    bounds: Bounds<f64>,
    /// The columns that tell rows apart, with their names.
    names: Vec<(usize, String)>,
    /// The interval and its level, if the table has them.
    interval: Option<[usize; 3]>,
    estimate: Option<usize>,
    note: Option<usize>,
    words: String,
}

impl AssertionConfig for Statistic {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let before = problems.mark();
        let bounds = Bounds::new(context, (self.minimum, self.maximum), "both", problems);
        let value = context.column("of", self.of.as_deref().unwrap_or(ESTIMATE), problems)?;
        if !context.kind(value).is_numeric() {
            let message = format!(
                "`{}` holds {}, and a test of a statistic needs numbers",
                context.name(value),
                context.kind(value).words()
            );
            problems.error("wrong-type", context.path.key("of"), message);
        }
        let at = context.path.key("where");
        if self.rows.is_empty() {
            let help = "write for example `where = { statistic = \"krippendorff_alpha\" }`";
            problems.error("bad-value", at.clone(), "`where` is empty").help(help);
        }
        let mut chosen = Vec::new();
        for (name, value) in &self.rows {
            let at = at.key(name);
            let table = format!("the table `{}`", context.table);
            let Some(index) = column(context.schema, name, &table, at.clone(), problems) else { continue };
            let kind = context.kind(index);
            match value.cell(kind.simple()).filter(|_| !matches!(kind, Type::List(_))) {
                _ if value.is_empty() => chosen.push((index, Cell::Null)),
                Some(cell) => chosen.push((index, cell)),
                None => {
                    let message = format!("`{name}` holds {}, so it is never {value}", kind.words());
                    problems.error("wrong-type", at, message);
                }
            }
        }
        let bounds = bounds.filter(|_| problems.clean_since(before))?;
        let find = |name: &str| context.schema.index_of(name).ok();
        let is_name = |column: &usize| {
            let name = context.name(*column);
            context.kind(*column) == Type::Text && !FIGURES.contains(&name) && !self.rows.contains_key(name)
        };
        let names =
            (0..context.schema.fields().len()).filter(is_name).map(|column| (column, context.name(column).to_owned()));
        let names: Vec<(usize, String)> = names.collect();
        let interval =
            find("ci_low").zip(find("ci_high")).zip(find("level")).map(|((low, high), level)| [low, high, level]);
        let (estimate, note) = (find(ESTIMATE), find("note"));
        let words = |(name, value): (&String, &Scalar)| match value.is_empty() {
            true => format!("no {name}"),
            false => format!("{name} = {value}"),
        };
        let words: Vec<String> = self.rows.iter().map(words).collect();
        let words = words.join(", ");
        let reads =
            chosen.iter().map(|(column, _)| *column).chain(names.iter().map(|(column, _)| *column)).chain([value]);
        let reads: BTreeSet<usize> = reads.chain(interval.into_iter().flatten()).chain(estimate).chain(note).collect();
        let of = if context.name(value) == ESTIMATE { String::new() } else { format!("{} of ", context.name(value)) };
        let title = format!("{of}{words} {}", bounds.words());
        let figure = Figure { chosen, value, bounds, names, interval, estimate, note, words };
        Some(Assertion::new(title, reads.into_iter().collect(), figure))
    }
}

impl Rule for Figure {
    fn check(&self) -> Box<dyn Check + '_> {
        let values = self.chosen.iter().map(|_| BTreeSet::new()).collect();
        Box::new(FigureCheck { figure: self, found: Vec::new(), violations: Violations::default(), values })
    }
}

struct FigureCheck<'a> {
    figure: &'a Figure,
    /// The number of each row that fits, and the row in words.
    found: Vec<(Option<f64>, String)>,
    violations: Violations,
    /// The values of the columns that choose rows.
    values: Vec<BTreeSet<String>>,
}

impl Check for FigureCheck<'_> {
    fn take(&mut self, rows: &RowsView<'_>) {
        let figure = self.figure;
        for row in 0..rows.len() {
            let mut fits = true;
            for ((column, value), values) in figure.chosen.iter().zip(&mut self.values) {
                let cell = rows.cell(*column, row);
                fits &= cell == *value || *value == Cell::Null && shown(&cell).is_empty();
                if values.len() < MOST_VALUES && cell != Cell::Null {
                    values.insert(shown(&cell));
                }
            }
            if !fits {
                continue;
            }
            let number = number(&rows.cell(figure.value, row));
            let words = figure.row(rows, row, number);
            if !number.is_some_and(|number| figure.bounds.hold(number)) {
                self.violations.add(rows, row, words.clone());
            }
            self.found.push((number, words));
        }
    }

    fn finding(self: Box<Self>, _: u64) -> Finding {
        let FigureCheck { figure, found, violations, values } = *self;
        let holds = violations.rows == 0;
        let text = match found.as_slice() {
            [] => {
                let near = figure.chosen.iter().zip(&values).find_map(|((_, value), values)| {
                    let value = shown(value);
                    (!values.contains(&value)).then(|| nearest(&value, values.iter().map(String::as_str)))?
                });
                let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                return Finding::whole(false, format!("no row has {}{near}", figure.words));
            }
            [(_, words)] => words.clone(),
            several => {
                let numbers: Vec<f64> = several.iter().filter_map(|(number, _)| *number).collect();
                let least = numbers.iter().copied().reduce(f64::min).map(rounded);
                let most = numbers.iter().copied().reduce(f64::max).map(rounded);
                let range =
                    least.zip(most).map_or("no number".to_owned(), |(least, most)| format!("from {least} to {most}"));
                let rows = count(several.len() as u64, "statistic");
                if holds {
                    format!("{rows}, {range}")
                } else {
                    format!("{} of {rows} outside, {range}", violations.rows)
                }
            }
        };
        violations.finding(holds, text)
    }
}

impl Figure {
    /// A row in words: its number, its interval or its estimate, and what it is about.
    fn row(&self, rows: &RowsView<'_>, row: usize, value: Option<f64>) -> String {
        let at = |column: usize| rows.cell(column, row);
        let figure = |column: usize| number(&at(column)).map(rounded);
        let mut words = value.map_or("null".to_owned(), |value| rounded(value).to_string());
        let mut details = Vec::new();
        if let Some(estimate) = self.estimate.filter(|estimate| *estimate != self.value).and_then(figure) {
            details.push(format!("estimate {estimate}"));
        }
        if let Some([low, high, level]) = self.interval.filter(|ends| value.is_some() && !ends.contains(&self.value))
            && let (Some(low), Some(high), Some(level)) = (figure(low), figure(high), figure(level))
        {
            details.push(format!("{} % CI {low} to {high}", rounded(100.0 * level)));
        }
        if let Some(note) = self.note.map(at).filter(|note| *note != Cell::Null) {
            details.push(shown(&note));
        }
        let named = self.names.iter().map(|(column, name)| (name, at(*column))).filter(|(_, cell)| *cell != Cell::Null);
        details.extend(named.map(|(name, cell)| format!("{name} {}", shown(&cell))));
        if !details.is_empty() {
            words += &format!(" ({})", details.join(", "));
        }
        words
    }
}

fn number(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Integer(number) => Some(*number as f64),
        Cell::Number(number) => Some(*number).filter(|number| number.is_finite()),
        _ => None,
    }
}
