//! Expectations: what an answer must be; as a JSON Schema for the server, as words for the model, as a check of the reply.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::reply;
use super::{Answer, Cell};
use crate::table::{Simple, Type};

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

/// What a reply must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// Any text that is not empty.
    Text,
    /// A JSON object with these keys.
    Record(Vec<Field>),
}

/// One key of a typed answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The key, and the column.
    pub name: String,
    /// What the value must be.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
    /// Whether the key may be missing and any scalar will do as text (the `json_keys` shorthand).
    pub loose: bool,
    /// What it means.
    pub description: Option<String>,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// One of these texts.
    Enum(Vec<String>),
    /// A whole number within bounds, both included.
    Integer(Option<f64>, Option<f64>),
    /// A number within bounds, both included.
    Number(Option<f64>, Option<f64>),
    /// True or false.
    Boolean,
    /// A list of values that are not lists.
    List(Box<Kind>),
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
        Ok(match self.kind {
            ItemType::Integer => Kind::Integer(self.minimum, self.maximum),
            ItemType::Number => Kind::Number(self.minimum, self.maximum),
            ItemType::Boolean => Kind::Boolean,
            ItemType::String => match &self.options {
                None => Kind::Text,
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
        let simple =
            |kind| ItemSpec { kind, options: self.options.clone(), minimum: self.minimum, maximum: self.maximum };
        let kind = match (self.kind, &self.items) {
            (FieldType::Array, Some(items)) => {
                if let Some(key) = [("enum", self.options.is_some()), ("minimum", self.minimum.is_some())]
                    .into_iter()
                    .chain([("maximum", self.maximum.is_some())])
                    .find_map(|(key, there)| there.then_some(key))
                {
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
        let description = self.description.clone();
        Ok(Field { name: name.to_owned(), kind, nullable: self.nullable, loose: false, description })
    }
}

impl Field {
    /// A key of the `json_keys` shorthand: text or null, and it may be missing.
    pub fn loose(name: &str) -> Field {
        Field { name: name.to_owned(), kind: Kind::Text, nullable: true, loose: true, description: None }
    }

    fn schema(&self) -> Value {
        let mut schema = self.kind.schema();
        if self.nullable {
            schema["type"] = json!([schema["type"], "null"]);
            if let Some(options) = schema.get_mut("enum").and_then(Value::as_array_mut) {
                options.push(Value::Null);
            }
        }
        if let Some(description) = &self.description {
            schema["description"] = json!(description);
        }
        schema
    }

    fn words(&self) -> String {
        let mut line = format!("- \"{}\": {}", self.name, self.kind.words());
        if self.nullable {
            line.push_str(", or null");
        }
        if let Some(description) = &self.description {
            line.push_str(&format!(" ({description})"));
        }
        line
    }

    fn read(&self, value: Option<&Value>) -> Result<Cell, String> {
        match value {
            None if self.loose => Ok(Cell::Null),
            None => Err(format!("the key \"{}\" is missing", self.name)),
            Some(Value::Null) if self.nullable => Ok(Cell::Null),
            Some(Value::Null) => Err(format!("\"{}\" is null", self.name)),
            Some(Value::String(text)) if self.loose => Ok(Cell::Text(text.clone())),
            Some(other) if self.loose => Ok(Cell::Text(other.to_string())),
            Some(value) => {
                let wrong = || format!("\"{}\" must be {}, not {}", self.name, self.kind.words(), shown(value));
                self.kind.read(value).ok_or_else(wrong)
            }
        }
    }
}

impl Kind {
    /// What a column of such values holds.
    pub fn column(&self) -> Type {
        match self {
            Kind::Text | Kind::Enum(_) => Type::Text,
            Kind::Integer(..) => Type::Integer,
            Kind::Number(..) => Type::Number,
            Kind::Boolean => Type::Boolean,
            Kind::List(item) => Type::List(match item.column() {
                Type::Integer => Simple::Integer,
                Type::Number => Simple::Number,
                Type::Boolean => Simple::Boolean,
                Type::Text | Type::List(_) => Simple::Text,
            }),
        }
    }

    fn schema(&self) -> Value {
        let bounded = |kind: &str, low: &Option<f64>, high: &Option<f64>| {
            let mut schema = json!({ "type": kind });
            for (key, bound) in [("minimum", low), ("maximum", high)] {
                if let Some(bound) = bound {
                    schema[key] = number(*bound);
                }
            }
            schema
        };
        match self {
            Kind::Text => json!({ "type": "string" }),
            Kind::Enum(options) => json!({ "type": "string", "enum": options }),
            Kind::Integer(low, high) => bounded("integer", low, high),
            Kind::Number(low, high) => bounded("number", low, high),
            Kind::Boolean => json!({ "type": "boolean" }),
            Kind::List(item) => json!({ "type": "array", "items": item.schema() }),
        }
    }

    fn words(&self) -> String {
        let bounds = |low: &Option<f64>, high: &Option<f64>| match (low, high) {
            (Some(low), Some(high)) => format!(" from {low} to {high}"),
            (Some(low), None) => format!(" of {low} or more"),
            (None, Some(high)) => format!(" of {high} or less"),
            (None, None) => String::new(),
        };
        match self {
            Kind::Text => "text".to_owned(),
            Kind::Enum(options) => {
                let options: Vec<String> = options.iter().map(|o| format!("\"{o}\"")).collect();
                format!("one of {}", options.join(", "))
            }
            Kind::Integer(low, high) => format!("a whole number{}", bounds(low, high)),
            Kind::Number(low, high) => format!("a number{}", bounds(low, high)),
            Kind::Boolean => "true or false".to_owned(),
            Kind::List(item) => format!("a list, each item {}", item.words()),
        }
    }

    fn read(&self, value: &Value) -> Option<Cell> {
        let within = |n: f64, low: &Option<f64>, high: &Option<f64>| {
            low.is_none_or(|low| n >= low) && high.is_none_or(|high| n <= high)
        };
        match (self, value) {
            (Kind::Text, Value::String(text)) => Some(Cell::Text(text.clone())),
            (Kind::Enum(options), Value::String(text)) => {
                let exact = options.iter().find(|o| *o == text);
                let option = exact.or_else(|| options.iter().find(|o| normal(o) == normal(text)))?;
                Some(Cell::Text(option.clone()))
            }
            (Kind::Integer(low, high), Value::Number(number)) => {
                let whole = number.as_i64().or_else(|| {
                    let float = number.as_f64()?;
                    (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
                })?;
                within(whole as f64, low, high).then_some(Cell::Integer(whole))
            }
            (Kind::Number(low, high), Value::Number(number)) => {
                let number = number.as_f64().filter(|n| n.is_finite())?;
                within(number, low, high).then_some(Cell::Number(number))
            }
            (Kind::Boolean, Value::Bool(value)) => Some(Cell::Boolean(*value)),
            (Kind::List(item), Value::Array(values)) => {
                values.iter().map(|v| item.read(v)).collect::<Option<Vec<_>>>().map(Cell::List)
            }
            _ => None,
        }
    }
}

/// How options are compared: without case, outer white space, quotes and a full stop.
fn normal(text: &str) -> String {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '.')).to_lowercase()
}

/// A bound as JSON, a whole number without `.0`.
fn number(bound: f64) -> Value {
    if bound.fract() == 0.0 && bound.abs() < 9e15 { json!(bound as i64) } else { json!(bound) }
}

/// A value in a message, cut short.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Expect {
    /// The JSON Schema that a server can enforce; none for plain text.
    pub fn schema(&self) -> Option<Value> {
        let Expect::Record(fields) = self else { return None };
        let properties: Map<String, Value> = fields.iter().map(|f| (f.name.clone(), f.schema())).collect();
        let required: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
        Some(json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        }))
    }

    /// What the model is told about the form of its answer; none for plain text.
    pub fn instruction(&self) -> Option<String> {
        let Expect::Record(fields) = self else { return None };
        let lines: Vec<String> = fields.iter().map(Field::words).collect();
        Some(format!("Answer with one JSON object and nothing else. Its keys:\n{}", lines.join("\n")))
    }

    /// What the model is told when its reply can't be used.
    pub(super) fn reminder(&self) -> &'static str {
        match self {
            Expect::Text => "Answer again.",
            Expect::Record(_) => "Answer again, with the JSON object and nothing else.",
        }
    }

    /// Whether any scalar will do as text (the `json_keys` shorthand).
    pub fn is_loose(&self) -> bool {
        matches!(self, Expect::Record(fields) if fields.iter().any(|f| f.loose))
    }

    /// The columns of an answer, in the order of its cells; `name` is the column of a plain text.
    pub fn columns(&self, name: &str) -> Vec<(String, Type)> {
        match self {
            Expect::Text => vec![(name.to_owned(), Type::Text)],
            Expect::Record(fields) => fields.iter().map(|f| (f.name.clone(), f.kind.column())).collect(),
        }
    }

    /// Reads a reply into cells; the error is the reason why it can't be used, in words for the model and the user.
    pub fn read(&self, reply: &str) -> Result<Answer, String> {
        let text = reply::without_thinking(reply)?;
        match self {
            Expect::Text if text.is_empty() => Err("the answer is empty".to_owned()),
            Expect::Text => Ok(vec![Cell::Text(text.to_owned())]),
            Expect::Record(fields) => {
                let object = reply::object(text)?;
                fields.iter().map(|f| f.read(object.get(&f.name))).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(fields: Value) -> Expect {
        let specs: Map<String, Value> = fields.as_object().unwrap().clone();
        let fields = specs
            .iter()
            .map(|(name, spec)| serde_json::from_value::<FieldSpec>(spec.clone()).unwrap().field(name).unwrap());
        Expect::Record(fields.collect())
    }

    fn tone() -> Expect {
        record(json!({
            "label": { "type": "string", "enum": ["positive", "neutral", "negative"], "description": "overall tone" },
            "prob": { "type": "number", "minimum": 0, "maximum": 1 },
            "year": { "type": "integer", "nullable": true },
            "topics": { "type": "array", "items": { "type": "string" } },
        }))
    }

    #[test]
    fn the_schema_is_closed_and_complete() {
        let schema = tone().schema().unwrap();
        assert_eq!(schema["required"], json!(["label", "prob", "year", "topics"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["prob"], json!({ "type": "number", "minimum": 0, "maximum": 1 }));
        assert_eq!(schema["properties"]["year"], json!({ "type": ["integer", "null"] }));
        let words = tone().instruction().unwrap();
        assert!(
            words.contains("- \"label\": one of \"positive\", \"neutral\", \"negative\" (overall tone)"),
            "{words}"
        );
        assert!(words.contains("- \"year\": a whole number, or null"), "{words}");
    }

    #[test]
    fn replies_become_typed_cells() {
        let reply = r#"{"label":" Positive.","prob":0.75,"year":null,"topics":["a"],"more":1}"#;
        let cells = tone().read(reply).unwrap();
        let topics = Cell::List(vec![Cell::Text("a".into())]);
        assert_eq!(cells, vec![Cell::Text("positive".into()), Cell::Number(0.75), Cell::Null, topics]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let cases = [
            (r#"{"label":"positive","prob":2,"year":1,"topics":[]}"#, "\"prob\" must be a number from 0 to 1, not 2"),
            (r#"{"label":"glad","prob":1,"year":1,"topics":[]}"#, "\"label\" must be one of"),
            (
                r#"{"label":"positive","prob":"1","year":1,"topics":[]}"#,
                "\"prob\" must be a number from 0 to 1, not \"1\"",
            ),
            (r#"{"label":"positive","prob":1,"year":1.5,"topics":[]}"#, "\"year\" must be a whole number, not 1.5"),
            (
                r#"{"label":"positive","prob":1,"year":"null","topics":[]}"#,
                "\"year\" must be a whole number, not \"null\"",
            ),
            (r#"{"label":null,"prob":1,"year":1,"topics":[]}"#, "\"label\" is null"),
            (r#"{"prob":1,"year":1,"topics":[]}"#, "the key \"label\" is missing"),
            (r#"{"label":"positive","prob":1,"year":1,"topics":[1]}"#, "\"topics\" must be a list, each item text"),
            ("I cannot help with that.", "there is no JSON object in it"),
            ("", "it is empty"),
        ];
        for (reply, reason) in cases {
            let said = tone().read(reply).unwrap_err();
            assert!(said.contains(reason), "{reply}: {said}");
        }
    }

    #[test]
    fn json_keys_take_any_scalar_as_text() {
        let expect = Expect::Record(vec![Field::loose("a"), Field::loose("b"), Field::loose("c")]);
        let cells = expect.read(r#"{"a": 1.50, "b": "null"}"#).unwrap();
        assert_eq!(cells, vec![Cell::Text("1.5".into()), Cell::Text("null".into()), Cell::Null]);
    }

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
            (json!({ "type": "array" }), "type", "`array` needs `items`, such as `items = { type = \"string\" }`"),
        ];
        for (spec, key, message) in cases {
            let spec: FieldSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(spec.field("x").unwrap_err(), (key, message.to_owned()));
        }
    }
}
