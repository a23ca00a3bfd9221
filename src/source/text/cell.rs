//! Typed columns: parses cells of text into Arrow arrays.
//!
//! To add a type, add a variant of [`Type`] and a line to each `match`.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Position;
use super::numbers::{Notation, has_comma};
use crate::name::{listed, nearest};
use crate::source::batches::{SourceError, record_batch};
use crate::table::{ColumnBuilder, Value};

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Type {
    /// Text, exactly as written.
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A floating point number of 64 bits.
    Number,
    /// `true` or `false` (or `1` and `0`), in any case.
    Boolean,
}

impl Type {
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Type::String => DataType::Utf8,
            Type::Integer => DataType::Int64,
            Type::Number => DataType::Float64,
            Type::Boolean => DataType::Boolean,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Type::String => "text",
            Type::Integer => "an integer",
            Type::Number => "a number",
            Type::Boolean => "a boolean (true, false, 1 or 0)",
        }
    }
}

pub(crate) fn schema<'a>(columns: impl IntoIterator<Item = (&'a str, Type)>) -> SchemaRef {
    let fields: Vec<Field> = columns.into_iter().map(|(name, ty)| Field::new(name, ty.data_type(), true)).collect();
    Arc::new(Schema::new(fields))
}

/// A batch of the `rows` rows in `columns`, which it empties; `None` without rows.
pub(crate) fn batch_of<'a>(
    schema: &SchemaRef,
    columns: impl IntoIterator<Item = &'a mut Column>,
    rows: usize,
    shown: &str,
) -> Result<Option<RecordBatch>, SourceError> {
    let columns = columns.into_iter().map(Column::finish).collect();
    record_batch(schema, columns, rows, shown).map(|batch| (rows > 0).then_some(batch))
}

pub(crate) fn no_column(name: &str, names: &[String], shown: &str) -> SourceError {
    let error = SourceError::new(format!("{shown}: has no column `{name}`"));
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if names.len() > 20 => error,
        None => error.help(format!("its columns are {}", listed(names.iter().map(String::as_str)))),
    }
}

pub(crate) struct Column {
    name: String,
    ty: Type,
    cells: ColumnBuilder,
    notation: Notation,
    buffer: String,
}

impl Column {
    pub(crate) fn new(name: &str, ty: Type) -> Self {
        let cells = ColumnBuilder::new(&ty.data_type());
        Column { name: name.to_owned(), ty, cells, notation: Notation::default(), buffer: String::new() }
    }

    /// The column, whose numbers are written in `notation`.
    pub(crate) fn with(self, notation: Notation) -> Self {
        Column { notation, ..self }
    }

    pub(crate) fn of(field: &Field) -> Self {
        let types = [Type::Integer, Type::Number, Type::Boolean];
        let ty = types.into_iter().find(|ty| ty.data_type() == *field.data_type());
        Column::new(field.name(), ty.unwrap_or(Type::String))
    }

    #[must_use]
    pub(crate) fn push(&mut self, text: &str) -> bool {
        let plain = text.trim_ascii();
        let value = match self.ty {
            Type::String => Some(text.into()),
            Type::Integer => {
                self.notation.plain(plain, &mut self.buffer).and_then(|n| n.parse().ok()).map(Value::Integer)
            }
            Type::Number => {
                let number = self.notation.plain(plain, &mut self.buffer).and_then(|number| number.parse().ok());
                number.filter(|number: &f64| number.is_finite()).map(Value::Number)
            }
            Type::Boolean if plain == "1" || plain.eq_ignore_ascii_case("true") => Some(Value::Boolean(true)),
            Type::Boolean if plain == "0" || plain.eq_ignore_ascii_case("false") => Some(Value::Boolean(false)),
            Type::Boolean => None,
        };
        value.map(|value| self.cells.push(value)).is_some()
    }

    pub(crate) fn push_null(&mut self) {
        self.cells.push(Value::Null);
    }

    fn finish(&mut self) -> ArrayRef {
        self.cells.finish()
    }

    pub(crate) fn refused(&self, text: &str, shown: &str, position: Position) -> SourceError {
        let Column { name, ty, .. } = self;
        let mut short: String = text.chars().take(40).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        let message = format!("{shown}: {position}: column `{name}` is {short:?}, not {}", ty.noun());
        let other = "set `decimal` or `thousands`, such as decimal = \",\"";
        let has_mark = matches!(ty, Type::Integer | Type::Number) && text.split(['.', ' ']).any(has_comma);
        let null = "if it means null, add it to `null_values`";
        let help = format!("{}; or give `{name}` the type \"string\"", if has_mark { other } else { null });
        SourceError::new(message).help(help).at(["types", name])
    }
}
