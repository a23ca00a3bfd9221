//! Values of cells in templates: nested ones can be reached into and are printed as JSON, and JSON text can be read.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Rest};
use minijinja::{Environment, Error, State, Value};

use super::render_budget::{JSON, charge, refused};
use crate::table::Cell;
use crate::table::json::{Step, Written, place, read};

/// The filter that takes steps into a nested column.
pub(super) const AT: &str = "_at";

pub(super) fn value_of(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::from(()),
        Cell::Boolean(b) => Value::from(b),
        Cell::Integer(i) => Value::from(i),
        Cell::Number(n) => Value::from(n),
        Cell::Text(t) => Value::from(t),
        Cell::List(items) if !items.iter().any(|item| matches!(item, Cell::List(_) | Cell::Object(_))) => {
            items.into_iter().map(value_of).collect()
        }
        nested => Value::from_object(Nested { cell: nested, written: None }),
    }
}

/// A list or an object.
#[derive(Debug)]
struct Nested {
    cell: Cell,
    /// Its JSON as written.
    written: Option<String>,
}

impl Object for Nested {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if let Cell::List(_) = self.cell { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = match &self.cell {
            Cell::List(items) => items.get(key.as_usize()?)?,
            Cell::Object(members) => &members.iter().rev().find(|(name, _)| Some(name.as_str()) == key.as_str())?.1,
            _ => return None,
        };
        Some(value_of(found.clone()))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match &self.cell {
            Cell::List(items) => Enumerator::Seq(items.len()),
            Cell::Object(members) => {
                Enumerator::Values(members.iter().map(|(name, _)| Value::from(name.as_str())).collect())
            }
            _ => Enumerator::Empty,
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written.clone().unwrap_or_else(|| self.cell.text()))
    }
}

/// The filters that read nested values.
pub(super) fn add_filters(environment: &mut Environment<'static>) {
    environment.add_filter(AT, at);
    environment.add_filter(JSON, json);
}

/// The value that the steps lead to in a nested value or in JSON text; null where they lead nowhere.
fn at(state: &mut State<'_, '_>, value: &Value, steps: Rest<Value>) -> Result<Value, Error> {
    if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
        charge(state, text.len())?;
        let steps: Vec<Step> = steps.iter().map(step).collect();
        return Ok(read(text, &steps).map_err(refused)?.map_or(Value::from(()), written));
    }
    let mut here = value.clone();
    for step in &steps.0 {
        let next = match (here.len(), step.as_i64()) {
            (Some(length), Some(index)) if here.kind() == minijinja::value::ValueKind::Seq => {
                place(index, length).map(|at| here.get_item(&Value::from(at)))
            }
            _ if here.is_none() || here.is_undefined() => None,
            _ => Some(here.get_item(step)),
        };
        here = next.transpose()?.filter(|next| !next.is_undefined()).unwrap_or(Value::from(()));
    }
    Ok(here)
}

fn step(value: &Value) -> Step {
    match value.as_i64() {
        Some(index) => Step::Index(index),
        None => Step::Key(value.to_string()),
    }
}

fn json(state: &mut State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let Some(text) = value.as_str() else { return Ok(value.clone()) };
    charge(state, text.len())?;
    let start: String = text.chars().take(40).collect();
    let found = read(text, &[]).map_err(|error| refused(format!("{start:?} can't be read as JSON: {error}")))?;
    Ok(found.map_or(Value::from(()), written))
}

fn written(found: Written) -> Value {
    match found.cell {
        cell @ (Cell::List(_) | Cell::Object(_)) => Value::from_object(Nested { cell, written: Some(found.text) }),
        cell => value_of(cell),
    }
}
