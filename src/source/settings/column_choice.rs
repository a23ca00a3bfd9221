//! Choices of columns: the entries of `columns = [..]`, which choose and rename the columns of a file.

use schemars::json_schema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::document::inline_schema;

/// A column of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ColumnRef {
    Name(String),
    /// The number of the column, from 1.
    Number(usize),
}

/// An entry of `columns`: a column and its name in the table. Without a name it keeps its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub(crate) struct ColumnChoice {
    pub(crate) from: ColumnRef,
    pub(crate) name: Option<String>,
}

impl TryFrom<Value> for ColumnChoice {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let Value::Object(mut entry) = value else {
            return Ok(ColumnChoice { from: reference(value)?, name: None });
        };
        let from = entry.remove("from").ok_or(r#"an entry needs `from`: { from = "Q1 (text)", name = "q1" }"#)?;
        let name = match entry.remove("name") {
            None => None,
            Some(Value::String(name)) => Some(name),
            Some(other) => return Err(format!("`name` is {other}, not a text")),
        };
        match entry.keys().next() {
            None => Ok(ColumnChoice { from: reference(from)?, name }),
            Some(key) => Err(format!("an entry has no field `{key}`, only `from` and `name`")),
        }
    }
}

impl ColumnChoice {
    /// The path of the part of a nested column that is chosen, in a file with the columns `header`.
    pub(crate) fn path(&self, header: &[String]) -> Option<&str> {
        match &self.from {
            ColumnRef::Name(name) if name.contains(['.', '[']) && !header.contains(name) => Some(name),
            _ => None,
        }
    }
}

fn reference(value: Value) -> Result<ColumnRef, String> {
    match value {
        Value::String(name) => Ok(ColumnRef::Name(name)),
        Value::Number(number) => {
            let number = number.as_u64().and_then(|number| usize::try_from(number).ok()).filter(|&number| number > 0);
            number.map(ColumnRef::Number).ok_or_else(|| "the number of a column is 1 or more".to_owned())
        }
        other => Err(format!("{other} is not a column: write its name, its number, or {{ from = .., name = .. }}")),
    }
}

impl From<ColumnChoice> for Value {
    fn from(choice: ColumnChoice) -> Value {
        let from = match choice.from {
            ColumnRef::Name(name) => json!(name),
            ColumnRef::Number(number) => json!(number),
        };
        match choice.name {
            None => from,
            Some(name) => json!({ "from": from, "name": name }),
        }
    }
}

inline_schema! {
    ColumnChoice: |_| {
        let column = json!([{ "type": "string" }, { "type": "integer", "minimum": 1 }]);
        let renamed = json!({
            "type": "object",
            "properties": { "from": { "anyOf": column }, "name": { "type": "string" } },
            "required": ["from"],
            "additionalProperties": false,
        });
        json_schema!({ "anyOf": [column[0], column[1], renamed] })
    };
}
