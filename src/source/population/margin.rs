//! Margins and seed tables as written: weights over one or more characteristics, in the spec or in a CSV file.

use std::path::Path as FilePath;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::characteristic::{names, weight};
use super::schema::{Names, Nested};
use crate::document::{self, Node, Path, Problems, Value};
use crate::name::listed;
use crate::source::batches::SourceError;
use crate::source::csv::Csv;
use crate::source::csv::dialect::Dialect;
use crate::source::matching::neighbours;
use crate::source::settings::File;
use crate::source::text::Text;
use crate::source::text::cell::no_column;

const NUMBERS: [&str; 3] = ["count", "weight", "share"];

/// A table of weights over one or more characteristics.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "`of` and `weights` are read from the tree, which has their positions")]
pub(crate) struct MarginTable {
    /// The characteristic, or a list of characteristics, of the weights.
    #[schemars(with = "Names")]
    of: IgnoredAny,
    /// Counts or shares: a table with a key per value, nested for several characteristics with one level for each.
    #[schemars(with = "Option<Nested>")]
    weights: Option<IgnoredAny>,
    /// Instead of `weights`: a CSV file with a column for each characteristic and a column `count`, `weight` or
    /// `share`.
    file: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Written {
    pub(crate) of: Vec<String>,
    weights: Weights,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
enum Weights {
    Here(Vec<Entry>),
    File(String),
}

pub(crate) type Entry = (Vec<String>, f64);

impl Written {
    /// The weights of the values of characteristic `name` in a file.
    pub(crate) fn of_file(name: &str, file: &str) -> Written {
        Written { of: vec![name.to_owned()], weights: Weights::File(file.to_owned()) }
    }

    pub(crate) fn decode(node: &Node, path: &Path, problems: &mut Problems) -> Option<Written> {
        let before = problems.mark();
        let table: Option<MarginTable> = document::decode(node, path, problems);
        let of = node.get("of").map(|of| names(of, &path.key("of"), problems)).unwrap_or_default();
        let of: Vec<String> = of.into_iter().map(|(name, _)| name.to_owned()).collect();
        let file = table.and_then(|table| table.file);
        let weights = match (node.get("weights"), file) {
            (Some(_), Some(_)) => {
                problems
                    .error_at_key("two-weights", path.key("file"), "`weights` and `file` say the same")
                    .help("remove one of them");
                return None;
            }
            (None, None) => {
                if problems.clean_since(before) {
                    problems
                        .error("missing-field", path.clone(), "`weights` is missing")
                        .help("write the weights here, or name a `file` that contains them");
                }
                return None;
            }
            (None, Some(file)) => Weights::File(file),
            (Some(node), None) => {
                let mut cells = Cells { values: Vec::new(), found: Vec::new(), problems };
                cells.read(node, &path.key("weights"), &of);
                let entries = cells.found;
                if problems.clean_since(before) && entries.iter().all(|(_, weight)| *weight == 0.0) {
                    problems.error("bad-weight", path.key("weights"), "all weights are 0");
                }
                Weights::Here(entries)
            }
        };
        problems.clean_since(before).then_some(Written { of, weights })
    }

    pub(crate) fn file(&self) -> Option<&str> {
        match &self.weights {
            Weights::Here(_) => None,
            Weights::File(path) => Some(path),
        }
    }

    pub(crate) fn entries(&self, folder: &FilePath) -> Result<Vec<Entry>, SourceError> {
        match &self.weights {
            Weights::Here(entries) => Ok(entries.clone()),
            Weights::File(path) => {
                let mut entries = Vec::new();
                if !folder.join(path).exists() {
                    let missing = SourceError::new(format!("there is no file `{path}`"));
                    return Err(missing.help(neighbours(folder, path)));
                }
                let text = Text::open(&folder.join(path), path, None)?;
                let csv = Csv::new(text, path, Dialect::CSV, &File::default())?;
                for batch in csv.into_batches() {
                    self.read(&batch?, path, &mut entries)?;
                }
                match entries.iter().any(|(_, weight)| *weight > 0.0) {
                    true => Ok(entries),
                    false => Err(SourceError::new(format!("{path}: no weight is above 0"))),
                }
            }
        }
    }

    fn read(&self, batch: &RecordBatch, shown: &str, entries: &mut Vec<Entry>) -> Result<(), SourceError> {
        let schema = batch.schema();
        let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let place = |name: &str| columns.iter().position(|column| column == name);
        let of: Vec<usize> = self
            .of
            .iter()
            .map(|name| place(name).ok_or_else(|| no_column(name, &columns, shown)))
            .collect::<Result<_, _>>()?;
        let numbers: Vec<usize> = NUMBERS.iter().filter_map(|name| place(name)).collect();
        let [number] = numbers[..] else {
            let message = format!("{shown}: has {} of the columns {}, not one", numbers.len(), listed(NUMBERS));
            return Err(SourceError::new(message).help("exactly one of them must contain the numbers"));
        };
        let cell = |column: usize, row: usize| {
            let cells = batch.column(column).as_string::<i32>();
            cells.is_valid(row).then(|| cells.value(row).to_owned())
        };
        for row in 0..batch.num_rows() {
            let at = entries.len() + 1;
            let values: Option<Vec<String>> = of.iter().map(|column| cell(*column, row)).collect();
            let values = values.ok_or_else(|| SourceError::new(format!("{shown}: row {at} has an empty cell")))?;
            let text = cell(number, row).unwrap_or_default();
            let weight = text.trim().parse::<f64>().ok().filter(|weight| weight.is_finite() && *weight >= 0.0);
            let weight = weight.ok_or_else(|| {
                let column = &columns[number];
                SourceError::new(format!("{shown}: row {at}: `{column}` is {text:?}, not a number of 0 or more"))
            })?;
            entries.push((values, weight));
        }
        Ok(())
    }
}

/// Reads nested tables of weights, one level per characteristic.
struct Cells<'a> {
    /// The values of the characteristics so far.
    values: Vec<String>,
    found: Vec<Entry>,
    problems: &'a mut Problems,
}

impl Cells<'_> {
    fn read(&mut self, node: &Node, path: &Path, of: &[String]) {
        let Some((name, rest)) = of.split_first() else {
            let weight = weight(node, path, self.problems);
            self.found.extend(weight.map(|weight| (self.values.clone(), weight)));
            return;
        };
        let Value::Table(entries) = &node.value else {
            let message =
                format!("there must be a table here with a key for each value of `{name}`, not {}", node.kind_name());
            self.problems.error("wrong-type", path.clone(), message);
            return;
        };
        if entries.is_empty() {
            self.problems.error("bad-value", path.clone(), format!("there are no values of `{name}`"));
        }
        for entry in entries {
            self.values.push(entry.key.clone());
            self.read(&entry.node, &path.key(&entry.key), rest);
            self.values.pop();
        }
    }
}
