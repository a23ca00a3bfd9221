//! Fields: the keys of a typed answer as the spec writes them, and the step from there to what is expected.
//!
//! A new rule is an option of [`FieldSpec`] with its check here, and what it means to a reply in `expect`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::expect::Field;
use super::kind::{Kind, normal};

/// One key of a typed answer, as the spec writes it; becomes one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// What the value is.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// The texts that are allowed, for `type = "string"`.
    #[serde(rename = "enum", default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<String>>,
    /// The most characters of a text (Unicode scalar values), for `type = "string"` without `enum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<NonZeroU32>,
    /// The smallest value, for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// The largest value, for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// What the items are, for `type = "array"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<ItemSpec>,
    /// Whether the model may say `null`. Default: false.
    #[serde(default)]
    pub nullable: bool,
    /// Whether a column `<column>_prob` follows, with how probable the model found the label that it gave (0 to 1), for
    /// `enum` and providers that report it. Default: false.
    #[serde(default)]
    pub prob: bool,
    /// What the value means; the model reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// The items of an array, as the spec writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemSpec {
    /// What an item is.
    #[serde(rename = "type")]
    pub kind: ItemType,
    /// The texts that are allowed, for `type = "string"`.
    #[serde(rename = "enum", default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<String>>,
    /// The most characters of a text (Unicode scalar values), for `type = "string"` without `enum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<NonZeroU32>,
    /// The smallest value, for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    /// The largest value, for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
}

/// The types of an answer's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A list.
    Array,
}

/// The types of an array's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ItemType {
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
}

impl ItemSpec {
    fn kind(&self) -> Result<Kind, (&'static str, String)> {
        let numeric = matches!(self.kind, ItemType::Integer | ItemType::Number);
        if !numeric && (self.minimum.is_some() || self.maximum.is_some()) {
            let key = if self.minimum.is_some() { "minimum" } else { "maximum" };
            return Err((key, format!("`{key}` is for `integer` and `number` only")));
        }
        if let (Some(low), Some(high)) = (self.minimum, self.maximum)
            && low > high
        {
            return Err(("minimum", format!("`minimum` ({low}) is above `maximum` ({high})")));
        }
        if self.options.is_some() && self.kind != ItemType::String {
            return Err(("enum", "`enum` is for `string` only".to_owned()));
        }
        if self.max_length.is_some() && self.kind != ItemType::String {
            return Err(("max_length", "`max_length` is for `string` only".to_owned()));
        }
        if self.max_length.is_some() && self.options.is_some() {
            return Err(("max_length", "`max_length` is for free text, not for an `enum`".to_owned()));
        }
        Ok(match self.kind {
            ItemType::Integer => Kind::Integer(self.minimum, self.maximum),
            ItemType::Number => Kind::Number(self.minimum, self.maximum),
            ItemType::Boolean => Kind::Boolean,
            ItemType::String => match &self.options {
                None => Kind::Text(self.max_length),
                Some(options) => Kind::Enum(checked_options(options)?),
            },
        })
    }
}

/// The options, if each can be told from the others.
fn checked_options(options: &[String]) -> Result<Vec<String>, (&'static str, String)> {
    if options.is_empty() {
        return Err(("enum", "`enum` has no values".to_owned()));
    }
    for (i, option) in options.iter().enumerate() {
        if let Some(twin) = options[..i].iter().find(|o| normal(o) == normal(option)) {
            return Err(("enum", format!("`enum` has `{twin}` and `{option}`, which can't be told apart")));
        }
    }
    Ok(options.to_vec())
}

impl FieldSpec {
    /// The field called `name`; the error is the key that is wrong and why.
    pub fn field(&self, name: &str) -> Result<Field, (&'static str, String)> {
        let simple = |kind| ItemSpec {
            kind,
            options: self.options.clone(),
            max_length: self.max_length,
            minimum: self.minimum,
            maximum: self.maximum,
        };
        let kind = match (self.kind, &self.items) {
            (FieldType::Array, Some(items)) => {
                let there = [
                    ("enum", self.options.is_some()),
                    ("max_length", self.max_length.is_some()),
                    ("minimum", self.minimum.is_some()),
                    ("maximum", self.maximum.is_some()),
                ];
                if let Some((key, _)) = there.into_iter().find(|(_, there)| *there) {
                    return Err((key, format!("`{key}` belongs into `items`")));
                }
                Kind::List(Box::new(items.kind().map_err(|(_, message)| ("items", message))?))
            }
            (FieldType::Array, None) => {
                return Err(("type", "`array` needs `items`, such as `items = { type = \"string\" }`".to_owned()));
            }
            (_, Some(_)) => return Err(("items", "`items` is for `array` only".to_owned())),
            (FieldType::String, None) => simple(ItemType::String).kind()?,
            (FieldType::Integer, None) => simple(ItemType::Integer).kind()?,
            (FieldType::Number, None) => simple(ItemType::Number).kind()?,
            (FieldType::Boolean, None) => simple(ItemType::Boolean).kind()?,
        };
        if self.prob && !matches!(kind, Kind::Enum(_)) {
            return Err(("prob", "`prob` is for `enum` only".to_owned()));
        }
        Ok(Field {
            name: name.to_owned(),
            kind,
            nullable: self.nullable,
            prob: self.prob,
            loose: false,
            unknown: Vec::new(),
            description: self.description.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn field_specs_that_contradict_themselves_are_refused() {
        let cases = [
            (json!({ "type": "string", "enum": [] }), "enum", "`enum` has no values"),
            (
                json!({ "type": "string", "enum": ["a", "A"] }),
                "enum",
                "`enum` has `a` and `A`, which can't be told apart",
            ),
            (
                json!({ "type": "number", "minimum": 2, "maximum": 1 }),
                "minimum",
                "`minimum` (2) is above `maximum` (1)",
            ),
            (json!({ "type": "boolean", "minimum": 2 }), "minimum", "`minimum` is for `integer` and `number` only"),
            (json!({ "type": "number", "enum": ["a"] }), "enum", "`enum` is for `string` only"),
            (json!({ "type": "integer", "max_length": 9 }), "max_length", "`max_length` is for `string` only"),
            (
                json!({ "type": "string", "enum": ["a"], "max_length": 9 }),
                "max_length",
                "`max_length` is for free text, not for an `enum`",
            ),
            (
                json!({ "type": "array", "items": { "type": "string" }, "max_length": 9 }),
                "max_length",
                "`max_length` belongs into `items`",
            ),
            (
                json!({ "type": "array", "items": { "type": "boolean", "max_length": 9 } }),
                "items",
                "`max_length` is for `string` only",
            ),
            (json!({ "type": "string", "prob": true }), "prob", "`prob` is for `enum` only"),
            (
                json!({ "type": "array", "items": { "type": "string", "enum": ["a"] }, "prob": true }),
                "prob",
                "`prob` is for `enum` only",
            ),
            (json!({ "type": "array" }), "type", "`array` needs `items`, such as `items = { type = \"string\" }`"),
        ];
        for (spec, key, message) in cases {
            let spec: FieldSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(spec.field("x").unwrap_err(), (key, message.to_owned()));
        }
    }
}
