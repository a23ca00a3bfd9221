//! Expectations: what an answer must be; as a JSON Schema for the server, as words for the model, as a check of the reply.

use std::num::NonZeroU32;

use serde_json::{Map, Value, json};

use super::reply;
use super::{Answer, Cell, Probabilities};
use crate::table::{Simple, Type};

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
    /// Whether a column with the probability of its label follows; neither in the schema nor in the words.
    pub prob: bool,
    /// Whether the key may be missing and any scalar will do as text (the `json_keys` shorthand).
    pub loose: bool,
    /// What it means.
    pub description: Option<String>,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Any text, of at most so many characters (Unicode scalar values).
    Text(Option<NonZeroU32>),
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

impl Field {
    /// A key of the `json_keys` shorthand: text or null, and it may be missing.
    pub fn loose(name: &str) -> Field {
        let kind = Kind::Text(None);
        Field { name: name.to_owned(), kind, nullable: true, prob: false, loose: true, description: None }
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

    /// The columns of its cells.
    fn columns(&self) -> impl Iterator<Item = (String, Type)> {
        let prob = self.prob.then(|| (format!("{}_prob", self.name), Type::Number));
        [(self.name.clone(), self.kind.column())].into_iter().chain(prob)
    }

    /// The probability of the label in `cell`; null where none is reported, and for null.
    fn probability(&self, cell: &Cell, probabilities: Option<&Probabilities>) -> Cell {
        let Cell::Text(label) = cell else { return Cell::Null };
        let reported = probabilities.and_then(|keys| keys.get(&self.name)?.get(label)).copied();
        reported.filter(|p| (0.0..=1.0).contains(p)).map_or(Cell::Null, Cell::Number)
    }
}

impl Kind {
    /// What a column of such values holds.
    pub fn column(&self) -> Type {
        match self {
            Kind::Text(_) | Kind::Enum(_) => Type::Text,
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
            Kind::Text(None) => json!({ "type": "string" }),
            Kind::Text(Some(most)) => json!({ "type": "string", "maxLength": most }),
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
            Kind::Text(None) => "text".to_owned(),
            Kind::Text(Some(NonZeroU32::MIN)) => "text, at most 1 character".to_owned(),
            Kind::Text(Some(most)) => format!("text, at most {most} characters"),
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
            (Kind::Text(most), Value::String(text)) => {
                let fits = most.is_none_or(|most| text.chars().nth(most.get() as usize).is_none());
                fits.then(|| Cell::Text(text.clone()))
            }
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
pub(super) fn normal(text: &str) -> String {
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
            Expect::Record(fields) => fields.iter().flat_map(Field::columns).collect(),
        }
    }

    /// Whether some of its columns hold probabilities, which only some providers report.
    pub fn needs_probabilities(&self) -> bool {
        matches!(self, Expect::Record(fields) if fields.iter().any(|f| f.prob))
    }

    /// Reads a reply, with what its provider reported beside it, into cells; the error is the reason why it can't be
    /// used, in words for the model and the user.
    pub fn read(&self, reply: &str, probabilities: Option<&Probabilities>) -> Result<Answer, String> {
        let text = reply::without_thinking(reply)?;
        match self {
            Expect::Text if text.is_empty() => Err("the answer is empty".to_owned()),
            Expect::Text => Ok(vec![Cell::Text(text.to_owned())]),
            Expect::Record(fields) => {
                let object = reply::object(text)?;
                let mut cells = Vec::with_capacity(fields.len());
                for field in fields {
                    let cell = field.read(object.get(&field.name))?;
                    let probability = field.prob.then(|| field.probability(&cell, probabilities));
                    cells.extend([cell].into_iter().chain(probability));
                }
                Ok(cells)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::FieldSpec;
    use super::*;
    use indexmap::IndexMap;

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
        let cells = tone().read(reply, None).unwrap();
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
            let said = tone().read(reply, None).unwrap_err();
            assert!(said.contains(reason), "{reply}: {said}");
        }
    }

    #[test]
    fn a_text_longer_than_allowed_is_refused() {
        let expect = record(json!({
            "why": { "type": "string", "max_length": 3, "nullable": true },
            "words": { "type": "array", "items": { "type": "string", "max_length": 1 } },
        }));
        let properties = &expect.schema().unwrap()["properties"];
        assert_eq!(properties["why"], json!({ "type": ["string", "null"], "maxLength": 3 }));
        assert_eq!(properties["words"], json!({ "type": "array", "items": { "type": "string", "maxLength": 1 } }));
        let words = expect.instruction().unwrap();
        assert!(words.contains("- \"why\": text, at most 3 characters, or null"), "{words}");
        assert!(words.contains("- \"words\": a list, each item text, at most 1 character"), "{words}");
        assert!(expect.read(r#"{"why": "äß🙂", "words": ["é", ""]}"#, None).is_ok(), "characters count, not bytes");
        let said = expect.read(r#"{"why": "four", "words": []}"#, None).unwrap_err();
        assert_eq!(said, "\"why\" must be text, at most 3 characters, not \"four\"");
        let said = expect.read(r#"{"why": null, "words": ["ab"]}"#, None).unwrap_err();
        assert_eq!(said, "\"words\" must be a list, each item text, at most 1 character, not [\"ab\"]");
    }

    #[test]
    fn the_probability_of_a_label_stands_beside_it() {
        let spec = |prob: bool| {
            record(json!({
                "label": { "type": "string", "enum": ["yes", "no"], "nullable": true, "prob": prob },
                "why": { "type": "string" },
            }))
        };
        let expect = spec(true);
        let names: Vec<String> = expect.columns("x").into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["label", "label_prob", "why"]);
        assert_eq!(expect.columns("x")[1].1, Type::Number);
        assert_eq!((expect.schema(), expect.instruction()), (spec(false).schema(), spec(false).instruction()));
        assert!(expect.needs_probabilities() && !spec(false).needs_probabilities());
        let reported = |p: f64| {
            let labels = IndexMap::from([("yes".to_owned(), p), ("null".to_owned(), 0.5)]);
            Some(Probabilities::from([("label".to_owned(), labels)]))
        };
        let read = |label: Value, reported: Option<Probabilities>| {
            let reply = json!({ "label": label, "why": "w" }).to_string();
            expect.read(&reply, reported.as_ref()).unwrap()[1].clone()
        };
        assert_eq!(read(json!("Yes."), reported(0.75)), Cell::Number(0.75), "of the label, not of how it was written");
        assert_eq!(read(json!("no"), reported(0.75)), Cell::Null);
        assert_eq!(read(json!(null), reported(0.75)), Cell::Null);
        assert_eq!(read(json!("yes"), None), Cell::Null);
        assert_eq!(read(json!("yes"), reported(f64::NAN)), Cell::Null);
        assert_eq!(spec(false).read(r#"{"label": "yes", "why": "w"}"#, reported(0.75).as_ref()).unwrap().len(), 2);
    }

    #[test]
    fn json_keys_take_any_scalar_as_text() {
        let expect = Expect::Record(vec![Field::loose("a"), Field::loose("b"), Field::loose("c")]);
        let cells = expect.read(r#"{"a": 1.50, "b": "null"}"#, None).unwrap();
        assert_eq!(cells, vec![Cell::Text("1.5".into()), Cell::Text("null".into()), Cell::Null]);
    }
}
