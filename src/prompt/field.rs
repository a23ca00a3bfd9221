//! Fields: the keys of a typed answer as the spec writes them, and their checks.
//!
//! A new rule is an option of [`FieldSpec`] with its check here, and its effect on a reply in `answer_type`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer_type::{AnswerType, normalise_option};
use super::distribution::{Distribution, Mode};
use super::expect::Field;
use crate::table::Simple;

/// One key of a typed answer, as the spec writes it; becomes one column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldSpec {
    /// What the value is.
    #[serde(rename = "type")]
    pub(crate) kind: FieldType,
    /// The texts that are allowed, for `type = "string"`.
    #[serde(rename = "enum", default, skip_serializing_if = "Option::is_none")]
    pub(crate) options: Option<Vec<String>>,
    /// The most characters of a text (Unicode scalar values), for `type = "string"` without `enum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_length: Option<NonZeroU32>,
    /// The smallest value, for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) minimum: Option<f64>,
    /// The largest value, for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) maximum: Option<f64>,
    /// What the items are, for `type = "array"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) items: Option<ItemSpec>,
    /// Whether the model may say `null`. Default: false.
    #[serde(default)]
    pub(crate) nullable: bool,
    /// Whether a column `<column>_prob` follows, with how probable the model found the label that it gave (0 to 1), for
    /// `enum` and providers that report it. Default: false.
    #[serde(default)]
    pub(crate) prob: bool,
    /// How probable each label is, for `enum`: a column `<column>_distribution_<mode>` for each of these modes. Default:
    /// none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) distribution: Vec<Mode>,
    /// The number of answers of the mode `sample`, of which the first is the answer in the table. Default: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) samples: Option<u32>,
    /// The least probability of all labels together in the mode `logprobs`; a row with less fails. Default: 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min_option_mass: Option<f64>,
    /// What the value means; the model reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
}

/// The items of an array, as the spec writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ItemSpec {
    /// What an item is.
    #[serde(rename = "type")]
    pub(crate) kind: Simple,
    /// The texts that are allowed, for `type = "string"`.
    #[serde(rename = "enum", default, skip_serializing_if = "Option::is_none")]
    pub(crate) options: Option<Vec<String>>,
    /// The most characters of a text (Unicode scalar values), for `type = "string"` without `enum`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_length: Option<NonZeroU32>,
    /// The smallest value, for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) minimum: Option<f64>,
    /// The largest value, for numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) maximum: Option<f64>,
}

/// The types of an answer's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FieldType {
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

impl ItemSpec {
    fn answer_type(&self) -> Result<AnswerType, (&'static str, String)> {
        let text = self.kind == Simple::Text;
        let numeric = matches!(self.kind, Simple::Integer | Simple::Number);
        let key = if self.minimum.is_some() { "minimum" } else { "maximum" };
        match (self.minimum, self.maximum) {
            (Some(_), _) | (_, Some(_)) if !numeric => {
                Err((key, format!("`{key}` is for `integer` and `number` only")))
            }
            (Some(low), Some(high)) if low > high => {
                Err(("minimum", format!("`minimum` ({low}) is above `maximum` ({high})")))
            }
            (Some(low), Some(high)) if self.kind == Simple::Integer && low.ceil() > high.floor() => {
                Err(("minimum", format!("there is no whole number from `minimum` ({low}) to `maximum` ({high})")))
            }
            _ if self.options.is_some() && !text => Err(("enum", "`enum` is for `string` only".to_owned())),
            _ if self.max_length.is_some() && !text => {
                Err(("max_length", "`max_length` is for `string` only".to_owned()))
            }
            _ if self.max_length.is_some() && self.options.is_some() => {
                Err(("max_length", "`max_length` is for free text, not for an `enum`".to_owned()))
            }
            bounds => Ok(match (self.kind, &self.options) {
                (Simple::Integer, _) => AnswerType::Integer(bounds.0, bounds.1),
                (Simple::Number, _) => AnswerType::Number(bounds.0, bounds.1),
                (Simple::Boolean, _) => AnswerType::Boolean,
                (Simple::Text, None) => AnswerType::Text(self.max_length),
                (Simple::Text, Some(options)) => AnswerType::Enum(distinct(options)?),
            }),
        }
    }
}

fn distinct(options: &[String]) -> Result<Vec<String>, (&'static str, String)> {
    if options.is_empty() {
        return Err(("enum", "`enum` has no values".to_owned()));
    }
    for (i, option) in options.iter().enumerate() {
        if let Some(twin) = options[..i].iter().find(|o| normalise_option(o) == normalise_option(option)) {
            return Err(("enum", format!("`enum` has `{twin}` and `{option}`, which can't be told apart")));
        }
    }
    Ok(options.to_vec())
}

impl FieldSpec {
    /// The error is the wrong key and a sentence.
    pub(crate) fn field(&self, name: &str) -> Result<Field, (&'static str, String)> {
        let kind = match self.kind {
            FieldType::Array => self.list()?,
            _ if self.items.is_some() => return Err(("items", "`items` is for `array` only".to_owned())),
            FieldType::String => self.simple(Simple::Text)?,
            FieldType::Integer => self.simple(Simple::Integer)?,
            FieldType::Number => self.simple(Simple::Number)?,
            FieldType::Boolean => self.simple(Simple::Boolean)?,
        };
        if self.prob && !matches!(kind, AnswerType::Enum(_)) {
            return Err(("prob", "`prob` is for `enum` only".to_owned()));
        }
        let distribution = Distribution::new(&self.distribution, self.samples, self.min_option_mass)?;
        if distribution.is_some() && !matches!(kind, AnswerType::Enum(_)) {
            return Err(("distribution", "`distribution` is for `enum` only".to_owned()));
        }
        if distribution.is_some() && self.nullable {
            let message = "a distribution is over labels, and null is not one: leave `nullable` out, and add a label such as `unclear`";
            return Err(("nullable", message.to_owned()));
        }
        let masses = distribution.as_ref().is_some_and(|distribution| distribution.has(Mode::Logprobs));
        let (nullable, prob, description) = (self.nullable, self.prob, self.description.clone());
        Ok(Field { nullable, prob, masses, distribution, description, ..Field::new(name, kind) })
    }

    fn simple(&self, kind: Simple) -> Result<AnswerType, (&'static str, String)> {
        let (options, max_length) = (self.options.clone(), self.max_length);
        ItemSpec { kind, options, max_length, minimum: self.minimum, maximum: self.maximum }.answer_type()
    }

    fn list(&self) -> Result<AnswerType, (&'static str, String)> {
        let misplaced = [
            ("enum", self.options.is_some()),
            ("max_length", self.max_length.is_some()),
            ("minimum", self.minimum.is_some()),
            ("maximum", self.maximum.is_some()),
        ];
        match (&self.items, misplaced.iter().find(|(_, there)| *there)) {
            (None, _) => Err(("type", "`array` needs `items`, such as `items = { type = \"string\" }`".to_owned())),
            (_, Some((key, _))) => Err((*key, format!("`{key}` belongs into `items`"))),
            (Some(items), None) => {
                let item = items.answer_type().map_err(|(_, message)| ("items", message))?;
                Ok(AnswerType::List(Box::new(item)))
            }
        }
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
                json!({ "type": "string", "enum": ["it’s so", "It's so"] }),
                "enum",
                "`enum` has `it’s so` and `It's so`, which can't be told apart",
            ),
            (
                json!({ "type": "string", "enum": ["cafe\u{301}", "caf\u{e9}\u{200b}"] }),
                "enum",
                "`enum` has `cafe\u{301}` and `caf\u{e9}\u{200b}`, which can't be told apart",
            ),
            (
                json!({ "type": "number", "minimum": 2, "maximum": 1 }),
                "minimum",
                "`minimum` (2) is above `maximum` (1)",
            ),
            (
                json!({ "type": "integer", "minimum": 0.2, "maximum": 0.8 }),
                "minimum",
                "there is no whole number from `minimum` (0.2) to `maximum` (0.8)",
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
            (
                json!({ "type": "string", "distribution": ["sample"] }),
                "distribution",
                "`distribution` is for `enum` only",
            ),
            (
                json!({ "type": "string", "enum": ["a"], "nullable": true, "distribution": ["sample"] }),
                "nullable",
                "a distribution is over labels, and null is not one: leave `nullable` out, and add a label such as `unclear`",
            ),
            (
                json!({ "type": "string", "enum": ["a"], "samples": 5 }),
                "samples",
                "`samples` is for `distribution = [\"sample\"]`",
            ),
            (json!({ "type": "array" }), "type", "`array` needs `items`, such as `items = { type = \"string\" }`"),
        ];
        for (spec, key, message) in cases {
            let spec: FieldSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(spec.field("x").unwrap_err(), (key, message.to_owned()));
        }
    }
}
