//! JSON Schemas of characteristics and margins, for editors. `characteristic` and `margin` decode them.

use schemars::json_schema;
use serde_json::{Value, json};

use super::expression::ExpressionTable;
use super::numeric::Numeric;
use crate::document::inline_schema;

/// The levels of nested tables that the schema describes; deeper tables may contain anything.
const DEPTH: usize = 3;

pub(crate) struct Characteristics;
pub(crate) struct FixedValues;
pub(crate) struct Names;
pub(crate) struct Nested;

inline_schema! {
    Characteristics: |generator| {
        let numeric = generator.subschema_for::<Numeric>().to_value();
        let given = json!({
            "type": "object",
            "description": "A characteristic whose distribution depends on others.",
            "properties": {
                "depends_on": {
                    "description": "The parent, or a list of parents; characteristics with options.",
                    "anyOf": names(),
                },
                "distributions": {
                    "description": "A distribution for each value of the parent; with several, nested.",
                    "type": "object",
                    "additionalProperties": { "anyOf": laws(&numeric, Some(DEPTH)) },
                },
            },
            "required": ["depends_on", "distributions"],
            "additionalProperties": false,
        });
        let mut shapes = laws(&numeric, None);
        shapes.push(given);
        shapes.push(json!({
            "description": "Options with the weights of a CSV file. Its columns are the characteristic and `count`, `weight` or `share`.",
            "type": "object", "properties": { "file": { "type": "string" } }, "required": ["file"],
            "additionalProperties": false,
        }));
        shapes.push(generator.subschema_for::<ExpressionTable>().to_value());
        json_schema!({ "type": "object", "minProperties": 1, "additionalProperties": { "anyOf": shapes } })
    };
    FixedValues: |_| {
        json_schema!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } })
    };
    Names: |_| json_schema!({ "anyOf": names() });
    Nested: |_| json_schema!({ "type": "object", "minProperties": 1, "additionalProperties": weights(DEPTH) });
}

fn names() -> Value {
    json!([
        { "type": "string" },
        { "type": "array", "items": { "type": "string" }, "minItems": 1, "uniqueItems": true },
    ])
}

fn laws(numeric: &Value, depth: Option<usize>) -> Vec<Value> {
    let weight = json!({ "type": "number", "minimum": 0 });
    let (about, inner) = match depth {
        None => ("Options with their weights.", weight),
        Some(0) => ("A distribution for each value of the next parent.", json!(true)),
        Some(depth) => {
            let mut inner = laws(numeric, Some(depth - 1));
            inner.push(weight);
            (
                "Options with their weights, or a distribution for each value of the next parent.",
                json!({ "anyOf": inner }),
            )
        }
    };
    vec![
        json!({
            "description": "Options, equally likely, all of one type.", "type": "array",
            "minItems": 1, "uniqueItems": true, "items": { "type": ["string", "integer", "boolean"] },
        }),
        numeric.clone(),
        json!({ "description": about, "type": "object", "minProperties": 1, "additionalProperties": inner }),
    ]
}

/// Weights inside up to `depth` levels of tables; deeper tables may contain anything.
fn weights(depth: usize) -> Value {
    let inner = if depth == 0 { json!(true) } else { weights(depth - 1) };
    json!({ "anyOf": [
        { "type": "number", "minimum": 0 },
        { "type": "object", "minProperties": 1, "additionalProperties": inner },
    ] })
}
