//! JSON: values of a program from JSON, and JSON from values.

use serde_json::{Map, Number};

use super::heap::Heap;
use super::meter::{Meter, Stop, error};
use super::value::{DEEPEST_VALUE, Value};

/// Makes the value of `json`.
pub(crate) fn from_json(heap: &mut Heap, json: &serde_json::Value) -> Result<Value, Stop> {
    Ok(match json {
        serde_json::Value::Null => Value::None,
        serde_json::Value::Bool(yes) => Value::Bool(*yes),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => heap.text(text)?,
        serde_json::Value::Array(items) => {
            let values = items.iter().map(|item| from_json(heap, item)).collect::<Result<_, _>>()?;
            heap.list(values)?
        }
        serde_json::Value::Object(entries) => {
            let dict = heap.dict()?;
            for (key, value) in entries {
                let key = heap.text(key)?;
                let value = from_json(heap, value)?;
                heap.insert(&dict, key, value)?;
            }
            Value::Dict(dict)
        }
    })
}

/// The bytes of a value in JSON, beside those of its text.
const NODE: u64 = 96;

/// Makes JSON of a value. Functions and failed calls have none.
pub(crate) fn to_json(meter: &mut Meter, value: &Value, depth: u32) -> Result<serde_json::Value, Stop> {
    if depth > DEEPEST_VALUE {
        return error("the value is nested too deeply for JSON");
    }
    meter.take(NODE)?;
    Ok(match value {
        Value::None => serde_json::Value::Null,
        Value::Bool(yes) => serde_json::Value::Bool(*yes),
        Value::Int(number) => serde_json::Value::from(*number),
        Value::Float(number) => match Number::from_f64(*number) {
            Some(number) => serde_json::Value::Number(number),
            None => return error(format!("JSON has no number `{number}`")),
        },
        Value::Text(text) => {
            meter.take(text.text.len() as u64)?;
            serde_json::Value::String(text.text.to_string())
        }
        Value::List(items) | Value::Tuple(items) => {
            let items = items.values.borrow();
            serde_json::Value::Array(
                items.iter().map(|item| to_json(meter, item, depth + 1)).collect::<Result<_, _>>()?,
            )
        }
        Value::Dict(dict) => {
            let mut entries = Map::new();
            for (key, value) in dict.entries.borrow().values() {
                let Value::Text(key) = key else { return error("JSON needs texts as keys") };
                meter.take(key.text.len() as u64)?;
                entries.insert(key.text.to_string(), to_json(meter, value, depth + 1)?);
            }
            serde_json::Value::Object(entries)
        }
        Value::Range(_) | Value::Function(_) | Value::Builtin(_) | Value::Method(_) | Value::Failed(_) => {
            return error(format!("a value of type {} can't be JSON", value.kind()));
        }
    })
}
