//! Rules about columns, each checked row by row: `allowed`, `between`, `not_null` and `unique`.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Deserialize;

use super::config::{Assertion, AssertionConfig, RowRule};
use super::context::{Bounds, Scalar, TestContext};
use super::finding::{RowsView, count, shown};
use crate::document::Problems;
use crate::registry::Kind;
use crate::table::{Cell, Type, cell_bytes};

pub(crate) const ALLOWED: Kind<Box<dyn AssertionConfig>> =
    Kind::new::<Allowed>("allowed", "A column holds nothing but these values.");

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Allowed {
    /// The column; of a list, each item counts. Null is passed over.
    column: String,
    /// The values.
    values: Vec<Scalar>,
}

#[derive(Debug)]
struct AllowedCells {
    column: usize,
    values: Vec<Cell>,
}

impl AssertionConfig for Allowed {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let at = context.path.key("values");
        if self.values.is_empty() {
            problems.error("bad-value", at.clone(), "`values` is empty");
        }
        let column = context.column("column", &self.column, problems)?;
        let item = context.kind(column).simple();
        let mut values = Vec::new();
        for (i, value) in self.values.iter().enumerate() {
            match value.cell(item) {
                Some(cell) => values.push(cell),
                None => {
                    let holds = Type::from(item).words();
                    let message = format!("`{}` holds {holds}, so it is never {value}", self.column);
                    problems.error("wrong-type", at.index(i), message);
                }
            }
        }
        let all = !values.is_empty() && values.len() == self.values.len();
        let words = format!("allowed values of {}", self.column);
        all.then(|| Assertion::new(words, vec![column], AllowedCells { column, values }))
    }
}

impl AllowedCells {
    fn allows_cell(&self, cell: &Cell) -> bool {
        match cell {
            Cell::Null => true,
            Cell::List(items) => items.iter().all(|item| self.allows_cell(item)),
            value => self.values.contains(value),
        }
    }
}

impl RowRule for AllowedCells {
    type State = ();

    fn violation(&self, rows: &RowsView<'_>, row: usize, (): &mut ()) -> Option<String> {
        let cell = rows.cell(self.column, row);
        (!self.allows_cell(&cell)).then(|| shown(&cell))
    }

    fn found(&self, violations: u64, _: u64, (): ()) -> String {
        match violations {
            0 => "nothing else".to_owned(),
            _ => format!("{} with another value", count(violations, "row")),
        }
    }
}

pub(crate) const BETWEEN: Kind<Box<dyn AssertionConfig>> =
    Kind::new::<Between>("between", "The numbers of a column are within bounds.");

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Between {
    /// The column, of numbers. Null is passed over.
    column: String,
    /// The least number.
    minimum: Option<f64>,
    /// The greatest number.
    maximum: Option<f64>,
}

#[derive(Debug)]
struct WithinBounds {
    column: usize,
    bounds: Bounds<f64>,
}

impl AssertionConfig for Between {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let bounds = Bounds::new(context, (self.minimum, self.maximum), "both", problems);
        let column = context.column("column", &self.column, problems)?;
        if !context.kind(column).is_numeric() {
            context.unfit(column, "numbers", problems);
            return None;
        }
        let bounds = bounds?;
        Some(Assertion::new(
            format!("{} {}", self.column, bounds.words()),
            vec![column],
            WithinBounds { column, bounds },
        ))
    }
}

impl RowRule for WithinBounds {
    type State = Option<(f64, f64)>;

    fn violation(&self, rows: &RowsView<'_>, row: usize, range: &mut Self::State) -> Option<String> {
        let cell = rows.cell(self.column, row);
        let number = match &cell {
            Cell::Integer(i) => *i as f64,
            Cell::Number(n) => *n,
            _ => return None,
        };
        let (least, most) = range.unwrap_or((number, number));
        *range = Some((least.min(number), most.max(number)));
        (!self.bounds.hold(number)).then(|| shown(&cell))
    }

    fn found(&self, violations: u64, _: u64, range: Self::State) -> String {
        let range = match range {
            Some((least, most)) => format!("from {least} to {most}"),
            None => "no number".to_owned(),
        };
        match violations {
            0 => range,
            _ => format!("{} outside, {range}", count(violations, "row")),
        }
    }
}

pub(crate) const NOT_NULL: Kind<Box<dyn AssertionConfig>> =
    Kind::new::<NotNull>("not_null", "Every row has a value in these columns.");

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NotNull {
    /// The column.
    column: Option<String>,
    /// Several columns.
    columns: Option<Vec<String>>,
}

#[derive(Debug)]
struct NoNull(Vec<(usize, String)>);

impl AssertionConfig for NotNull {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let columns = context.columns(self.column.as_deref(), self.columns.as_deref(), problems)?;
        let names: Vec<&str> = columns.iter().map(|column| context.name(*column)).collect();
        let words = format!("no null in {}", names.join(", "));
        let named = columns.iter().copied().zip(names.into_iter().map(str::to_owned)).collect();
        Some(Assertion::new(words, columns, NoNull(named)))
    }
}

impl RowRule for NoNull {
    type State = ();

    fn violation(&self, rows: &RowsView<'_>, row: usize, (): &mut ()) -> Option<String> {
        let null = self.0.iter().find(|(column, _)| rows.array(*column).is_null(row));
        null.map(|(_, name)| format!("{name} is null"))
    }

    fn found(&self, violations: u64, rows: u64, (): ()) -> String {
        match violations {
            0 => "no null".to_owned(),
            _ => format!("{violations} of {} with a null", count(rows, "row")),
        }
    }
}

pub(crate) const UNIQUE: Kind<Box<dyn AssertionConfig>> =
    Kind::new::<Unique>("unique", "No two rows have the same values in these columns.");

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Unique {
    /// The column.
    column: Option<String>,
    /// Several columns, whose values together must be unique. A row where one of them is null is passed over.
    columns: Option<Vec<String>>,
}

#[derive(Debug)]
struct NoRepeat(Vec<usize>);

impl AssertionConfig for Unique {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let columns = context.columns(self.column.as_deref(), self.columns.as_deref(), problems)?;
        let names = columns.iter().map(|column| context.name(*column)).collect::<Vec<_>>().join(", ");
        Some(Assertion::new(format!("unique {names}"), columns.clone(), NoRepeat(columns)))
    }
}

impl RowRule for NoRepeat {
    /// The values so far, as 128-bit hashes. Only this state grows with the rows, by 20 to 50 bytes per row.
    type State = HashSet<[u8; 16]>;

    fn violation(&self, rows: &RowsView<'_>, row: usize, seen: &mut Self::State) -> Option<String> {
        let cells: Vec<Cell> = self.0.iter().map(|column| rows.cell(*column, row)).collect();
        let again = !cells.contains(&Cell::Null) && !seen.insert(hash_of(&cells));
        again.then(|| cells.iter().map(shown).collect::<Vec<_>>().join(", "))
    }

    fn found(&self, violations: u64, _: u64, _: Self::State) -> String {
        match violations {
            0 => "no value twice".to_owned(),
            1 => "1 row repeats an earlier one".to_owned(),
            _ => format!("{} repeat an earlier one", count(violations, "row")),
        }
    }
}

fn hash_of(cells: &[Cell]) -> [u8; 16] {
    let mut bytes = Vec::new();
    cells.iter().for_each(|cell| add(&mut bytes, cell));
    *blake3::hash(&bytes).as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Adds a cell; different cells add different bytes.
fn add(bytes: &mut Vec<u8>, cell: &Cell) {
    match cell {
        // Adding 0.0 turns -0.0 into 0.0, since the two are equal.
        Cell::Number(number) => cell_bytes(bytes, &Cell::Number(number + 0.0)),
        Cell::List(items) => {
            bytes.push(b'l');
            bytes.extend((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| add(bytes, item));
        }
        cell => cell_bytes(bytes, cell),
    }
}
