//! Comparisons in conditions, as in SQL: a comparison with null is neither true nor false, and values of different
//! kinds can't be compared.

use std::cmp::Ordering;

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Value};

use super::render_budget::refused;

pub(super) const COMPARE: &str = "_compare";
pub(super) const TRUTH: &str = "_truth";
pub(super) const MISSING: &str = "_missing";

pub(super) fn add_filters(environment: &mut Environment<'static>) {
    environment.add_filter(COMPARE, compare);
    environment.add_filter(TRUTH, truth);
    environment.add_filter(MISSING, is_missing);
}

pub(super) fn is_missing(value: &Value) -> bool {
    value.is_none() || value.is_undefined()
}

/// Whether the comparison of two values is known, and is `wanted`. `shown` is the comparison in messages.
pub(super) fn compare(left: &Value, sign: &str, right: &Value, wanted: bool, shown: &str) -> Result<bool, Error> {
    let known = if sign == "in" { contained(left, right) } else { ordered(left, sign, right) };
    match known {
        Ok(known) => Ok(known == Some(wanted)),
        Err((left, right)) => Err(refused(format!("`{shown}` compares {left} with {right}"))),
    }
}

/// Whether the value counts as `wanted`: a boolean does by itself, a number by not being 0, a list by not being empty.
pub(super) fn truth(value: &Value, wanted: bool, shown: &str) -> Result<bool, Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => Ok(false),
        ValueKind::String => Err(refused(format!("`{shown}` is text, not true or false"))),
        _ => Ok(value.is_true() == wanted),
    }
}

type Kinds = (&'static str, &'static str);

fn ordered(left: &Value, sign: &str, right: &Value) -> Result<Option<bool>, Kinds> {
    if unknown(left) || unknown(right) {
        return Ok(None);
    }
    if kind(left) != kind(right) {
        return Err((kind(left), kind(right)));
    }
    let order = left.cmp(right);
    Ok(Some(match sign {
        "==" => left == right,
        "!=" => left != right,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }))
}

fn contained(left: &Value, right: &Value) -> Result<Option<bool>, Kinds> {
    if is_missing(right) {
        return Ok(None);
    }
    match (right.as_str(), right.kind()) {
        (Some(_), _) if unknown(left) => Ok(None),
        (Some(text), _) => match left.as_str() {
            Some(part) => Ok(Some(text.contains(part))),
            None => Err((kind(left), kind(right))),
        },
        (None, ValueKind::Seq | ValueKind::Iterable | ValueKind::Map) => {
            let items = || right.try_iter().into_iter().flatten();
            let is_there = items().any(|item| if unknown(left) { is_missing(&item) } else { item == *left });
            let is_open = unknown(left) || items().any(|item| is_missing(&item));
            Ok(if is_there { Some(true) } else { (!is_open).then_some(false) })
        }
        _ => Err((kind(left), kind(right))),
    }
}

/// Null, or a number that is none.
fn unknown(value: &Value) -> bool {
    is_missing(value) || value.kind() == ValueKind::Number && f64::try_from(value.clone()).is_ok_and(f64::is_nan)
}

fn kind(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => "null",
        ValueKind::Bool => "true or false",
        ValueKind::Number => "a number",
        ValueKind::String => "text",
        ValueKind::Map => "an object",
        _ => "a list",
    }
}
