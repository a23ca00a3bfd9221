//! The tidy table: a row for each statistic.

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};

use crate::stats::{Bootstrap, Units};
use crate::table::{Cell, TableBuilder, Type, Value};

/// A statistic of some rows. What is undefined or infinite is null in the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Statistic {
    pub(crate) name: &'static str,
    /// What the statistic is of: a value for each of the method's own columns.
    pub(crate) of: Vec<Option<String>>,
    pub(crate) estimate: Option<f64>,
    pub(crate) std_error: Option<f64>,
    /// The ends of the interval.
    pub(crate) interval: Option<(f64, f64)>,
    /// The units that are used, and those that are left out.
    pub(crate) n: u64,
    pub(crate) left_out: u64,
    /// What made the interval, or the standard error.
    pub(crate) method: Option<&'static str>,
    pub(crate) note: Option<String>,
}

impl Statistic {
    pub(crate) fn add_note(&mut self, note: impl Into<String>) {
        let note = note.into();
        self.note = Some(self.note.take().map_or_else(|| note.clone(), |first| format!("{first}; {note}")));
    }
}

/// A number with its noun: "1 unit", "2 units".
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Adds the spreads of a bootstrap to its statistics. `estimates` computes them again from the weight of each unit.
/// `samples` has the units of each sample.
pub(crate) fn add_spreads<S>(statistics: &mut [Statistic], bootstrap: &Bootstrap, samples: &[Units<'_>], estimates: &S)
where
    S: Fn(&[f64]) -> Vec<Option<f64>> + Sync,
{
    if bootstrap.replicates == 0 {
        return;
    }
    let one_cluster = samples.iter().any(|units| units.number_of_clusters() == Some(1));
    for (statistic, spread) in statistics.iter_mut().zip(bootstrap.spreads_of(samples, estimates)) {
        // All draws of one unit are equal, which does not make its statistics certain.
        let too_few = one_cluster || statistic.n < 2;
        let Some(spread) = spread.filter(|_| !too_few) else {
            if statistic.estimate.is_some() {
                statistic.add_note(match too_few {
                    true if one_cluster => "all rows are in one cluster, so it has no interval",
                    true => "one unit is too few for an interval",
                    false => "undefined in at least half of the replicates, so it has no interval",
                });
            }
            continue;
        };
        statistic.std_error = Some(spread.std_error);
        statistic.interval = Some((spread.low, spread.high));
        statistic.method = Some(if spread.is_bca { "bootstrap_bca" } else { "bootstrap_percentile" });
        if spread.undefined > 0 {
            statistic.add_note(format!("undefined in {}", counted(spread.undefined as u64, "replicate", "replicates")));
        }
    }
}

/// The columns after those of `by` and before those of the method.
const STATISTIC: &str = "statistic";
const FIGURES: [(&str, DataType); 9] = [
    ("estimate", DataType::Float64),
    ("std_error", DataType::Float64),
    ("ci_low", DataType::Float64),
    ("ci_high", DataType::Float64),
    ("level", DataType::Float64),
    ("n", DataType::Int64),
    ("left_out", DataType::Int64),
    ("method", DataType::Utf8),
    ("note", DataType::Utf8),
];

/// The columns of the table. `of` names the method's own columns.
pub(super) fn fields(by: &[&Field], of: &[&str]) -> Vec<Field> {
    let by = by.iter().map(|field| Field::new(field.name(), Type::of_cells(field.data_type()).arrow(), true));
    let names = [STATISTIC].into_iter().chain(of.iter().copied()).map(|name| Field::new(name, DataType::Utf8, true));
    by.chain(names).chain(FIGURES.map(|(name, kind)| Field::new(name, kind, true))).collect()
}

/// The statistics of a group, as rows with the values of `by`.
pub(super) struct Tidy {
    builder: TableBuilder,
    confidence: f64,
}

impl Tidy {
    pub(super) fn new(schema: SchemaRef, confidence: f64) -> Self {
        Tidy { builder: TableBuilder::new(schema), confidence }
    }

    pub(super) fn push(&mut self, by: &[Cell], statistics: Vec<Statistic>) {
        for statistic in statistics {
            let finite = |number: Option<f64>| Value::from(number.filter(|number| number.is_finite()));
            let of = statistic.of.iter().map(|of| Value::from(of.as_deref()));
            let (low, high) = (statistic.interval.map(|ends| ends.0), statistic.interval.map(|ends| ends.1));
            let figures = [
                finite(statistic.estimate),
                finite(statistic.std_error),
                finite(low),
                finite(high),
                finite(low.map(|_| self.confidence)),
                Value::Integer(statistic.n as i64),
                Value::Integer(statistic.left_out as i64),
                Value::from(statistic.method),
                Value::from(statistic.note.as_deref()),
            ];
            self.builder.push(by.iter().map(value).chain([Value::from(statistic.name)]).chain(of).chain(figures));
        }
    }

    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.builder.finish()
    }
}

fn value(cell: &Cell) -> Value<'_> {
    match cell {
        Cell::Boolean(truth) => Value::Boolean(*truth),
        Cell::Integer(number) => Value::Integer(*number),
        Cell::Number(number) => Value::Number(*number),
        Cell::Text(text) => Value::from(text.as_str()),
        Cell::Null | Cell::List(_) | Cell::Object(_) => Value::Null,
    }
}
