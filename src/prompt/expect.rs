//! Expected answers: their form as a JSON Schema for the server, as words for the model, and as a check of the reply.

use serde_json::{Map, Value, json};

use super::answer_type::{AnswerType, normalise_option};
use super::distribution::{Distribution, mass_key};
use super::reply::{self, Distinct};
use super::thoughts;
use super::{Answer, Cell, Probabilities};
use crate::name::listed;
use crate::table::Type;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expect {
    Text,
    /// A text that may be cut off, and whether it was.
    CutText,
    Record(Vec<Field>),
    /// A vector, of this length if it is given.
    Vector(Option<u32>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) kind: AnswerType,
    pub(crate) nullable: bool,
    /// The probability is neither in the schema nor in the prompt.
    pub(crate) prob: bool,
    /// Whether the masses of all labels follow in the answer, as an object.
    pub(crate) masses: bool,
    /// How the distribution of the labels is measured.
    pub(crate) distribution: Option<Distribution>,
    /// The key may be missing, and any scalar is accepted as text.
    pub(crate) loose: bool,
    pub(crate) unknown: Vec<String>,
    pub(crate) description: Option<String>,
}

impl Field {
    /// A field that must have a value of this type.
    pub(crate) fn new(name: impl Into<String>, kind: AnswerType) -> Field {
        Field {
            name: name.into(),
            kind,
            nullable: false,
            prob: false,
            masses: false,
            distribution: None,
            loose: false,
            unknown: Vec::new(),
            description: None,
        }
    }

    pub(crate) fn loose(name: &str) -> Field {
        let kind = AnswerType::Text(None);
        Field { nullable: true, loose: true, ..Field::new(name, kind) }
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
            Some(Value::String(text)) if self.says_unknown(text) => Ok(Cell::Null),
            Some(value) => {
                let wrong = || format!("\"{}\" must be {}, not {}", self.name, self.kind.words(), shown(value));
                self.kind.read(value).ok_or_else(wrong)
            }
        }
    }

    fn written(&self, value: Option<&Value>) -> Result<Value, String> {
        Ok(match (self.read(value)?, value) {
            (Cell::Number(_), Some(number)) => number.clone(),
            (cell, _) => cell.json(),
        })
    }

    fn says_unknown(&self, text: &str) -> bool {
        let options = if let AnswerType::Enum(options) = &self.kind { options.as_slice() } else { &[] };
        // Most replies are an option to the letter.
        if self.unknown.is_empty() || options.iter().any(|option| option == text) {
            return false;
        }
        let text = normalise_option(text);
        let is_said = |word: &String| normalise_option(word) == text;
        !options.iter().any(is_said) && self.unknown.iter().any(is_said)
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = (String, Type)> {
        let prob = self.prob.then(|| (format!("{}_prob", self.name), Type::Number));
        [(self.name.clone(), self.kind.column())].into_iter().chain(prob)
    }

    fn probability(&self, cell: &Cell, probabilities: Option<&Probabilities>) -> Cell {
        let Cell::Text(label) = cell else { return Cell::Null };
        let reported = probabilities.and_then(|keys| keys.get(&self.name)?.get(label)).copied();
        reported.filter(|p| (0.0..=1.0).contains(p)).map_or(Cell::Null, Cell::Number)
    }
}

impl Field {
    /// The masses of the labels, as an object that is empty if the reply could not be followed, and null if the provider
    /// reported nothing. An older record has only the scaled probabilities.
    fn masses(&self, probabilities: Option<&Probabilities>) -> Result<Cell, String> {
        let Some(probabilities) = probabilities else { return Ok(Cell::Null) };
        let masses = probabilities.get(&mass_key(&self.name));
        let masses = masses.ok_or_else(|| format!("the masses of \"{}\" are not recorded", self.name))?;
        let mass = |key: &String, label: &String| Some((label.clone(), Cell::Number(*masses.get(key)?)));
        Ok(Cell::Object(match &self.kind {
            AnswerType::Labelled(choices) => choices.iter().filter_map(|(key, label)| mass(key, label)).collect(),
            AnswerType::Enum(labels) => labels.iter().filter_map(|label| mass(label, label)).collect(),
            _ => Vec::new(),
        }))
    }

    /// The same field without what is measured about its value.
    pub(crate) fn plain(&self) -> Field {
        Field { prob: false, masses: false, distribution: None, ..self.clone() }
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Expect {
    pub(crate) fn is_vector(&self) -> bool {
        matches!(self, Expect::Vector(_))
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self, Expect::Text | Expect::CutText)
    }

    fn of_text(&self, text: &str, is_cut: bool) -> Answer {
        let flag = (*self == Expect::CutText).then_some(Cell::Boolean(is_cut));
        [Cell::Text(text.to_owned())].into_iter().chain(flag).collect()
    }

    /// Reads a reply that was cut off, if such a reply is an answer.
    pub(crate) fn read_cut(&self, reply: &str) -> Result<Answer, String> {
        match thoughts::without_thinking(reply)? {
            text if *self == Expect::CutText && !text.is_empty() => Ok(self.of_text(text, true)),
            _ => Err("the reply was cut off".to_owned()),
        }
    }

    /// Whether the answer has a field with this name.
    pub(crate) fn has_key(&self, name: &str) -> bool {
        matches!(self, Expect::Record(fields) if fields.iter().any(|field| field.name == name))
    }

    pub(crate) fn schema(&self) -> Option<Value> {
        let Expect::Record(fields) = self else { return None };
        let properties: Map<String, Value> = fields.iter().map(|f| (f.name.clone(), f.schema())).collect();
        let required: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
        Some(json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        }))
    }

    pub(crate) fn instruction(&self) -> Option<String> {
        let Expect::Record(fields) = self else { return None };
        let lines: Vec<String> = fields.iter().map(Field::words).collect();
        Some(format!("Answer with one JSON object and nothing else. Its keys:\n{}", lines.join("\n")))
    }

    pub(super) fn reminder(&self) -> &'static str {
        match self {
            Expect::Text | Expect::CutText | Expect::Vector(_) => "Answer again.",
            Expect::Record(_) => "Answer again, with the JSON object and nothing else.",
        }
    }

    pub(crate) fn is_loose(&self) -> bool {
        matches!(self, Expect::Record(fields) if fields.iter().any(|f| f.loose))
    }

    pub(crate) fn needs_probabilities(&self) -> bool {
        matches!(self, Expect::Record(fields) if fields.iter().any(|f| f.prob || f.masses))
    }

    pub(crate) fn read(&self, reply: &str, probabilities: Option<&Probabilities>) -> Result<Answer, String> {
        let text = thoughts::without_thinking(reply)?;
        match self {
            Expect::Text | Expect::CutText if text.is_empty() => Err("the answer is empty".to_owned()),
            Expect::Text | Expect::CutText => Ok(self.of_text(text, false)),
            Expect::Record(fields) => answer(fields, &reply::maps(text)?, probabilities),
            Expect::Vector(length) => vector(text, *length).map(|vector| vec![vector]),
        }
    }

    /// Reads a reply that was an answer when it was recorded. Of several objects in it, the last one was.
    pub(crate) fn read_recorded(&self, reply: &str, probabilities: Option<&Probabilities>) -> Result<Answer, String> {
        self.read(reply, probabilities).or_else(|reason| {
            let Expect::Record(fields) = self else { return Err(reason) };
            let last = reply::last_object(thoughts::without_thinking(reply)?).ok_or(reason)?;
            cells(fields, &last, probabilities)
        })
    }

    pub(crate) fn written(&self, answer: &Value) -> Result<String, String> {
        match (self, answer) {
            (Expect::Text | Expect::CutText, Value::String(text)) if text.trim().is_empty() => {
                Err("it is empty".to_owned())
            }
            (Expect::Text | Expect::CutText, Value::String(text)) => Ok(text.trim().to_owned()),
            (Expect::Text | Expect::CutText, other) => Err(format!("it must be text, not {}", shown(other))),
            (Expect::Vector(_), _) => Err("a vector can't be written by hand".to_owned()),
            (Expect::Record(fields), Value::Object(object)) => {
                let known = |key: &String| fields.iter().any(|field| field.name == *key);
                if let Some(key) = object.keys().find(|key| !known(key)) {
                    let keys = listed(fields.iter().map(|field| field.name.as_str()));
                    return Err(format!("\"{key}\" is not asked for; the keys are {keys}"));
                }
                let entry = |field: &Field| Ok((field.name.clone(), field.written(object.get(&field.name))?));
                let entries = fields.iter().map(entry).collect::<Result<Map<String, Value>, String>>()?;
                Ok(Value::Object(entries).to_string())
            }
            (Expect::Record(fields), other) => {
                let keys = listed(fields.iter().map(|field| field.name.as_str()));
                Err(format!("it must be a table of {keys}, not {}", shown(other)))
            }
        }
    }

    pub(super) fn read_part(&self, part: &str) -> Result<Answer, String> {
        match self {
            Expect::Text | Expect::CutText => match serde_json::from_str::<String>(part) {
                Ok(text) if text.trim().is_empty() => Err("the answer is empty".to_owned()),
                Ok(text) => Ok(self.of_text(text.trim(), false)),
                Err(_) => Err("the answer is not text".to_owned()),
            },
            Expect::Vector(_) => Err("a vector is about one row".to_owned()),
            Expect::Record(fields) => match serde_json::from_str::<Distinct>(part) {
                Ok(Distinct { map, contradicted: None }) => cells(fields, &map, None),
                _ => Err("the answer is not an object with keys of its own".to_owned()),
            },
        }
    }

    pub(crate) fn read_repaired(&self, reply: &str, probabilities: Option<&Probabilities>) -> Option<Answer> {
        let Expect::Record(fields) = self else { return None };
        let object = reply::repaired(thoughts::without_thinking(reply).ok()?)?;
        cells(fields, &object, probabilities).ok()
    }
}

/// The answer of a reply's objects: the last one that fits, if no two objects give a key different values.
fn answer(
    fields: &[Field],
    objects: &[Map<String, Value>],
    probabilities: Option<&Probabilities>,
) -> Result<Answer, String> {
    for field in fields {
        let values: Vec<&Value> = objects.iter().filter_map(|object| object.get(&field.name)).collect();
        let same = |one: &Value, other: &Value| match (field.read(Some(one)), field.read(Some(other))) {
            (Ok(one), Ok(other)) => one == other,
            _ => one == other,
        };
        if let Some(other) = values.iter().find(|value| !same(values[0], value)) {
            let (name, first, other) = (&field.name, shown(values[0]), shown(other));
            return Err(format!("it contains different answers: \"{name}\" is {first} and {other}"));
        }
    }
    let read = |object: &Map<String, Value>| cells(fields, object, probabilities);
    // An object with none of the keys is not an answer if there is one with some.
    let asked = |object: &&Map<String, Value>| fields.iter().any(|field| object.contains_key(&field.name));
    let tried: Vec<_> = objects.iter().filter(asked).map(read).collect();
    let last = || objects.last().map_or_else(|| Err("there is no JSON object in it".to_owned()), read);
    tried.iter().rfind(|tried| tried.is_ok()).or(tried.last()).cloned().unwrap_or_else(last)
}

/// Reads a vector of finite numbers, with the precision of 32 bits.
fn vector(reply: &str, length: Option<u32>) -> Result<Cell, String> {
    let numbers: Vec<Option<f32>> =
        serde_json::from_str(reply).map_err(|_| "the reply is not a list of numbers".to_owned())?;
    if numbers.is_empty() {
        return Err("the vector is empty".to_owned());
    }
    if let Some(length) = length.filter(|length| *length as usize != numbers.len()) {
        return Err(format!("the vector has {} numbers, not {length} (`dimensions`)", numbers.len()));
    }
    let number = |number: Option<f32>| {
        // The shortest decimal of 32 bits, as cells of a table have it.
        number.filter(|number| number.is_finite()).and_then(|number| number.to_string().parse().ok()).map(Cell::Number)
    };
    let cells: Option<Vec<Cell>> = numbers.into_iter().map(number).collect();
    cells.map(Cell::List).ok_or_else(|| "the vector contains a value that is not a finite number".to_owned())
}

fn cells(
    fields: &[Field],
    object: &Map<String, Value>,
    probabilities: Option<&Probabilities>,
) -> Result<Answer, String> {
    let mut cells = Vec::with_capacity(fields.len());
    for field in fields {
        let cell = field.read(object.get(&field.name))?;
        let probability = field.prob.then(|| field.probability(&cell, probabilities));
        let masses = field.masses.then(|| field.masses(probabilities)).transpose()?;
        cells.extend([cell].into_iter().chain(probability).chain(masses));
    }
    Ok(cells)
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
    fn different_answers_in_one_reply_are_not_an_answer() {
        let expect = record(json!({
            "label": { "type": "string", "enum": ["positive", "negative"] },
            "score": { "type": "integer", "nullable": true },
        }));
        let whole = r#"{"label":"positive","score":3}"#;
        let answers = [
            whole.to_owned(),
            format!("{whole}\n{whole}"),
            format!("```json\n{whole}\n```\nAgain:\n```\n{{\"score\": 3.0, \"label\": \"Positive.\"}}\n```"),
            format!("[{whole}, {whole}]"),
            format!("{{\"label\": \"positive\"}} with its score: {whole}"),
            format!("{whole} as asked: {{\"type\": \"object\"}}"),
            format!("<think>{{\"label\": \"negative\", \"score\": 1}}</think>{whole}"),
            format!("{{\"label\": \"neg {whole}"),
        ];
        for reply in answers {
            let cells = expect.read(&reply, None).unwrap();
            assert_eq!(cells, [Cell::Text("positive".into()), Cell::Integer(3)], "{reply}");
        }
        let other = r#"{"label":"negative","score":3}"#;
        let refused = [
            format!("{other}\n{whole}"),
            format!("[{other}, {whole}]"),
            format!("```json\n{other}\n```\nor\n```json\n{whole}\n```"),
            format!("{{\"label\": \"negative\"}}, no: {whole}"),
            format!("{{\"label\": \"glad\", \"score\": 3}} {whole}"),
            format!("{{\"label\": null, \"score\": 3}} {whole}"),
        ];
        for reply in &refused {
            let said = expect.read(reply, None).unwrap_err();
            assert!(said.starts_with("it contains different answers: \"label\" is "), "{reply}: {said}");
            let recorded = expect.read_recorded(reply, None).unwrap();
            assert_eq!(recorded, [Cell::Text("positive".into()), Cell::Integer(3)], "it was accepted earlier");
        }
        let parts = r#"{"label":"positive"} {"score":3}"#;
        assert_eq!(expect.read(parts, None).unwrap_err(), "the key \"label\" is missing", "parts are not put together");
        let twice = r#"{"label":"negative","label":"positive","score":3}"#;
        assert_eq!(expect.read(twice, None).unwrap_err(), "\"label\" has two different values in one object");
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
        let Expect::Record(fields) = &expect else { panic!("it is typed") };
        let columns: Vec<(String, Type)> = fields.iter().flat_map(Field::columns).collect();
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["label", "label_prob", "why"]);
        assert_eq!(columns[1].1, Type::Number);
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
    fn an_answer_is_written_as_a_reply_that_reads_as_it() {
        let answer = json!({ "topics": [], "year": 1790.0, "prob": 1, "label": "Positive." });
        let reply = tone().written(&answer).unwrap();
        assert_eq!(reply, r#"{"label":"positive","prob":1,"year":1790,"topics":[]}"#);
        assert_eq!(tone().read(&reply, None), tone().read(&answer.to_string(), None));
        let cases = [
            (json!({ "label": "glad", "prob": 1, "year": 1, "topics": [] }), "\"label\" must be one of"),
            (
                json!({ "label": "neutral", "prob": 2, "year": 1, "topics": [] }),
                "\"prob\" must be a number from 0 to 1",
            ),
            (json!({ "label": "neutral", "year": 1, "topics": [] }), "the key \"prob\" is missing"),
            (json!({ "labl": "neutral" }), "\"labl\" is not asked for; the keys are `label`, `prob`, `year`"),
            (json!("neutral"), "it must be a table of `label`"),
        ];
        for (answer, reason) in cases {
            let said = tone().written(&answer).unwrap_err();
            assert!(said.contains(reason), "{answer}: {said}");
        }
        assert_eq!(Expect::Text.written(&json!(" Trade. ")), Ok("Trade.".to_owned()));
        assert!(Expect::Text.written(&json!("  ")).is_err() && Expect::Text.written(&json!(3)).is_err());
    }

    #[test]
    fn a_vector_is_a_list_of_finite_numbers() {
        let read = |reply: &str, length| Expect::Vector(length).read(reply, None);
        let vector = Cell::List(vec![Cell::Number(0.1), Cell::Number(-2.0), Cell::Number(1e-7)]);
        assert_eq!(read("[0.1, -2, 1e-7]", None), Ok(vec![vector.clone()]));
        assert_eq!(read("[0.1,-2.0,0.0000001]", Some(3)), Ok(vec![vector]));
        assert_eq!(read("[0.1]", Some(3)).unwrap_err(), "the vector has 1 numbers, not 3 (`dimensions`)");
        let said = read("[0.1, null]", None).unwrap_err();
        assert_eq!(said, "the vector contains a value that is not a finite number");
        assert!(read("[1e99]", None).is_err(), "32 bits can't hold it");
        assert_eq!(read("[]", None).unwrap_err(), "the vector is empty");
        assert_eq!(read("{\"a\": 1}", None).unwrap_err(), "the reply is not a list of numbers");
        assert!(Expect::Vector(None).schema().is_none() && !Expect::Vector(None).is_text());
    }

    #[test]
    fn json_keys_take_any_scalar_as_text() {
        let expect = Expect::Record(vec![Field::loose("a"), Field::loose("b"), Field::loose("c")]);
        let cells = expect.read(r#"{"a": 1.50, "b": "null"}"#, None).unwrap();
        assert_eq!(cells, vec![Cell::Text("1.5".into()), Cell::Text("null".into()), Cell::Null]);
    }
}
