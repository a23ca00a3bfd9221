//! Variables: the columns of a table as statistics programs hold them, with numbers, texts, labels and missing values.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Date64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};

use super::names::Rules;
use super::origin::{Absence, Reason, absence, origin};
use super::table::Output;
use crate::spec::TableFormat;
use crate::store::StoreError;
use crate::table::{Cell, Labels, Type, cell_at};

/// The largest whole number up to which a double holds all.
const EXACT: u64 = 1 << 53;

/// The codes of a failed call and of a question that was not asked, in the order in which they are tried.
const MISSING_CODES: [[f64; 2]; 4] = [[-8.0, -9.0], [-98.0, -99.0], [-998.0, -999.0], [-9998.0, -9999.0]];
/// The largest number of Stata.
pub(super) const MOST_DOUBLE: f64 = 8.988_465_674_311_579e307;
/// What the codes mean.
pub(super) const FAILED: &str = "call failed";
pub(super) const NOT_ASKED: &str = "not asked";

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Moment {
    /// Days since 1970-01-01.
    Day(i32),
    /// Milliseconds since 1970-01-01, without a time zone.
    Milliseconds(f64),
}

/// A date or a time without a zone.
pub(super) fn moment(array: &dyn Array, row: usize) -> Option<Moment> {
    if array.is_null(row) {
        return None;
    }
    let milliseconds = |count: i64, per: f64| Some(Moment::Milliseconds(count as f64 / per));
    match array.data_type() {
        DataType::Date32 => Some(Moment::Day(array.as_primitive::<Date32Type>().value(row))),
        DataType::Date64 => milliseconds(array.as_primitive::<Date64Type>().value(row), 1.0),
        DataType::Timestamp(unit, None) => match unit {
            TimeUnit::Second => milliseconds(array.as_primitive::<TimestampSecondType>().value(row), 1e-3),
            TimeUnit::Millisecond => milliseconds(array.as_primitive::<TimestampMillisecondType>().value(row), 1.0),
            TimeUnit::Microsecond => milliseconds(array.as_primitive::<TimestampMicrosecondType>().value(row), 1e3),
            TimeUnit::Nanosecond => milliseconds(array.as_primitive::<TimestampNanosecondType>().value(row), 1e6),
        },
        _ => None,
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Whole numbers, from the smallest to the largest that the column holds.
    Whole(i64, i64),
    Number,
    Boolean,
    Day,
    Time,
    /// The options of an answer, as the codes 1, 2, ...
    Options(Vec<String>),
    /// Text of at most this many bytes.
    Text(usize),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variable {
    /// The name in the file.
    pub(super) name: String,
    /// The name of the column.
    pub(super) column: String,
    pub(super) label: Option<String>,
    pub(super) kind: Kind,
    /// The codes and their texts.
    pub(super) values: Vec<(Cell, String)>,
    /// The codes of a failed call and of a question that was not asked; no row holds them as a number.
    pub(super) missing: Option<[f64; 2]>,
    /// The number of texts with a character that ends texts in these files.
    nuls: u64,
    /// The number of finite numbers that are too large for Stata.
    huge: u64,
    index: usize,
    absence: Option<Absence>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stored<'a> {
    Missing,
    Failed,
    NotAsked,
    Number(f64),
    Text(Cow<'a, str>),
}

/// The variables of an output and the number of its rows; reads all rows once.
pub(super) fn variables(output: &Output<'_>, rules: &Rules) -> Result<(Vec<Variable>, u64), StoreError> {
    let schema = &output.output.schema;
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut columns: Vec<Column> = (0..names.len()).map(|at| Column::new(output, at)).collect();
    let mut rows = 0;
    for batch in (output.read)() {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        columns.iter_mut().for_each(|column| column.scan(batch.column(column.index).as_ref()));
    }
    let named = columns.into_iter().zip(names.iter().zip(rules.names(&names)));
    Ok((named.map(|(column, (given, name))| column.variable(given, name)).collect(), rows))
}

/// A sentence for each variable that has another name than its column, and for each whose values changed.
pub(super) fn changed(variables: &[Variable], format: TableFormat) -> Vec<String> {
    let mut notes = Vec::new();
    for Variable { name, column, nuls, huge, .. } in variables {
        if name != column {
            notes.push(format!("`{column}` is called `{name}`"));
        }
        if *nuls > 0 {
            notes.push(format!("`{column}`: the character NUL became U+FFFD ({nuls})"));
        }
        if *huge > 0 && format == TableFormat::Dta {
            notes.push(format!("`{column}`: numbers above {MOST_DOUBLE:.3e} are missing ({huge})"));
        }
    }
    notes
}

/// A column with what its cells have shown so far.
struct Column {
    index: usize,
    arrow: DataType,
    labels: Labels,
    question: Option<String>,
    options: Vec<String>,
    absence: Option<Absence>,
    bytes: usize,
    range: Option<(i64, i64)>,
    /// Whether a cell is text; a number with more than 64 bits is.
    text: bool,
    /// Whether a cell is not one of the options.
    other: bool,
    /// Which of [`MISSING_CODES`] the cells hold.
    taken: [bool; MISSING_CODES.len()],
    nuls: u64,
    huge: u64,
}

impl Column {
    fn new(output: &Output<'_>, at: usize) -> Self {
        let (spec, input, index) = (output.spec, output.output.input, output.output.columns[at]);
        let field = output.output.schema.field(at);
        let origin = origin(spec, input, index);
        let mut labels = Labels::of(field);
        if labels.values.is_empty() {
            labels.values = origin.codes();
        }
        Column {
            index,
            arrow: field.data_type().clone(),
            labels,
            question: origin.question().map(str::to_owned),
            options: if origin.filled.is_some() { Vec::new() } else { origin.options().to_vec() },
            absence: Some(()).filter(|()| output.output.missing_codes).and_then(|()| absence(spec, input, index)),
            bytes: 0,
            range: None,
            text: false,
            other: false,
            taken: [false; MISSING_CODES.len()],
            nuls: 0,
            huge: 0,
        }
    }

    fn scan(&mut self, array: &dyn Array) {
        if matches!(self.arrow, DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, None)) {
            return;
        }
        for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
            let number = match cell_at(array, row) {
                Cell::Integer(number) => {
                    let (low, high) = self.range.unwrap_or((number, number));
                    self.range = Some((low.min(number), high.max(number)));
                    self.bytes = self.bytes.max(20);
                    number as f64
                }
                Cell::Number(number) => {
                    self.huge += u64::from(number.is_finite() && number.abs() > MOST_DOUBLE);
                    number
                }
                Cell::Boolean(_) | Cell::Null => continue,
                other => {
                    let text = other.text();
                    self.nuls += u64::from(text.contains('\0'));
                    self.bytes = self.bytes.max(clean(&text).len());
                    self.text = true;
                    self.other |= !self.options.contains(&text);
                    continue;
                }
            };
            for (taken, codes) in self.taken.iter_mut().zip(MISSING_CODES) {
                *taken |= codes.contains(&number);
            }
        }
    }

    fn kind(&mut self) -> Kind {
        let small = |number: i64| number.unsigned_abs() <= EXACT;
        match self.arrow {
            DataType::Date32 => Kind::Day,
            DataType::Date64 | DataType::Timestamp(_, None) => Kind::Time,
            _ => match (Type::of_cells(&self.arrow), self.range.unwrap_or_default()) {
                (Type::Boolean, _) => Kind::Boolean,
                (Type::Number, _) => Kind::Number,
                (Type::Integer, (low, high)) if !self.text && small(low) && small(high) => Kind::Whole(low, high),
                (Type::Text, _) if !self.options.is_empty() && !self.other => {
                    Kind::Options(std::mem::take(&mut self.options))
                }
                _ => Kind::Text(self.bytes),
            },
        }
    }

    fn variable(mut self, column: &str, name: String) -> Variable {
        let kind = self.kind();
        let values = match &kind {
            Kind::Options(options) => (1..).map(Cell::Integer).zip(options.iter().cloned()).collect(),
            Kind::Boolean if self.labels.values.is_empty() => {
                vec![(Cell::Integer(0), "false".to_owned()), (Cell::Integer(1), "true".to_owned())]
            }
            _ => self.labels.values,
        };
        let numeric = matches!(kind, Kind::Whole(..) | Kind::Number | Kind::Boolean | Kind::Options(_));
        let labelled =
            |codes: &[f64; 2]| values.iter().any(|(code, _)| number(code).is_some_and(|n| codes.contains(&n)));
        let free = MISSING_CODES.iter().zip(self.taken).find(|(codes, taken)| !taken && !labelled(codes));
        let missing = free.map(|(codes, _)| *codes).filter(|_| numeric && self.absence.is_some());
        // The label of a column whose name had to change is its own name.
        let own = (name != column).then(|| column.to_owned());
        let label = self.labels.variable.or(self.question).or(own);
        let absence = self.absence.filter(|_| missing.is_some());
        let Column { nuls, huge, index, .. } = self;
        Variable { name, column: column.to_owned(), label, kind, values, missing, nuls, huge, index, absence }
    }
}

impl Variable {
    /// The value of row `row` of the input.
    pub(super) fn value(&self, batch: &RecordBatch, row: usize) -> Stored<'static> {
        let array = batch.column(self.index).as_ref();
        if array.is_null(row) {
            return match self.absence.as_ref().and_then(|absence| absence.reason(batch, row)) {
                Some(Reason::Failed) => Stored::Failed,
                Some(Reason::NotAsked) => Stored::NotAsked,
                None => Stored::Missing,
            };
        }
        match moment(array, row) {
            Some(Moment::Day(day)) => return Stored::Number(f64::from(day)),
            Some(Moment::Milliseconds(time)) => return Stored::Number(time),
            None => {}
        }
        match (&self.kind, cell_at(array, row)) {
            (Kind::Text(_), cell) => Stored::Text(clean(&cell.text()).into_owned().into()),
            (_, Cell::Boolean(truth)) => Stored::Number(f64::from(u8::from(truth))),
            (_, Cell::Integer(number)) => Stored::Number(number as f64),
            (_, Cell::Number(number)) if number.is_finite() => Stored::Number(number),
            (Kind::Options(options), Cell::Text(text)) => {
                let code = options.iter().position(|option| *option == text);
                code.map_or(Stored::Missing, |code| Stored::Number(code as f64 + 1.0))
            }
            _ => Stored::Missing,
        }
    }

    /// The codes of missing answers in the file with their meaning.
    pub(super) fn missing_labels(&self, format: TableFormat) -> Vec<String> {
        let Some(codes) = self.missing else { return Vec::new() };
        let codes = match format {
            TableFormat::Dta => [".a", ".b"].map(str::to_owned),
            _ => codes.map(|code| code.to_string()),
        };
        codes.iter().zip([FAILED, NOT_ASKED]).map(|(code, text)| format!("{code} = {text}")).collect()
    }
}

/// A code as a number.
pub(super) fn number(code: &Cell) -> Option<f64> {
    match code {
        Cell::Integer(number) => Some(*number as f64),
        Cell::Number(number) => Some(*number),
        _ => None,
    }
}

/// A text without the character that ends texts in these files.
fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// The longest beginning of `text` of at most `most` bytes.
pub(super) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
