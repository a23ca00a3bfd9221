//! Typed columns: parses cells of text into Arrow arrays.
//!
//! To add a type, add a variant of [`Type`] and a line to each `match`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::error::SourceError;
use super::text::Position;
use crate::name::{listed, nearest};

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

pub(crate) fn check_types(types: &BTreeMap<String, Type>, names: &[String], shown: &str) -> Result<(), SourceError> {
    match types.keys().find(|name| !names.contains(name)) {
        None => Ok(()),
        Some(name) => Err(no_column(name, names, shown).at(["types", name])),
    }
}

pub(crate) fn no_column(name: &str, names: &[String], shown: &str) -> SourceError {
    let error = SourceError::new(format!("{shown}: has no column `{name}`"));
    match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => error.meant(Some(near)),
        None if names.len() > 20 => error,
        None => error.help(format!("its columns are {}", listed(names.iter().map(String::as_str)))),
    }
}

pub(crate) struct Column {
    name: String,
    ty: Type,
    cells: Cells,
}

enum Cells {
    Text(StringBuilder),
    Integer(Int64Builder),
    Number(Float64Builder),
    Boolean(BooleanBuilder),
}

impl Column {
    pub(crate) fn new(name: &str, ty: Type) -> Self {
        let cells = match ty {
            Type::String => Cells::Text(StringBuilder::new()),
            Type::Integer => Cells::Integer(Int64Builder::new()),
            Type::Number => Cells::Number(Float64Builder::new()),
            Type::Boolean => Cells::Boolean(BooleanBuilder::new()),
        };
        Column { name: name.to_owned(), ty, cells }
    }

    pub(crate) fn of(field: &Field) -> Self {
        let ty = match field.data_type() {
            DataType::Int64 => Type::Integer,
            DataType::Float64 => Type::Number,
            DataType::Boolean => Type::Boolean,
            _ => Type::String,
        };
        Column::new(field.name(), ty)
    }

    #[must_use]
    pub(crate) fn push(&mut self, text: &str) -> bool {
        match &mut self.cells {
            Cells::Text(cells) => {
                cells.append_value(text);
                true
            }
            Cells::Integer(cells) => text.trim_ascii().parse().map(|n| cells.append_value(n)).is_ok(),
            Cells::Number(cells) => match text.trim_ascii().parse::<f64>() {
                Ok(x) if x.is_finite() => {
                    cells.append_value(x);
                    true
                }
                _ => false,
            },
            Cells::Boolean(cells) => {
                let text = text.trim_ascii();
                let yes = text == "1" || text.eq_ignore_ascii_case("true");
                let no = text == "0" || text.eq_ignore_ascii_case("false");
                if yes || no {
                    cells.append_value(yes);
                }
                yes || no
            }
        }
    }

    pub(crate) fn push_null(&mut self) {
        match &mut self.cells {
            Cells::Text(cells) => cells.append_null(),
            Cells::Integer(cells) => cells.append_null(),
            Cells::Number(cells) => cells.append_null(),
            Cells::Boolean(cells) => cells.append_null(),
        }
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        match &mut self.cells {
            Cells::Text(cells) => Arc::new(cells.finish()),
            Cells::Integer(cells) => Arc::new(cells.finish()),
            Cells::Number(cells) => Arc::new(cells.finish()),
            Cells::Boolean(cells) => Arc::new(cells.finish()),
        }
    }

    pub(crate) fn refused(&self, text: &str, shown: &str, position: Position) -> SourceError {
        let Column { name, ty, .. } = self;
        let mut short: String = text.chars().take(40).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        let message = format!("{shown}: {position}: column `{name}` is {short:?}, not {}", ty.noun());
        let help = format!("if it means null, add it to `null_values`; or give `{name}` the type \"string\"");
        SourceError::new(message).help(help).at(["types", name])
    }
}
