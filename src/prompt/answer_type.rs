//! Answer types: a value's type as a JSON Schema, as words, as a column, and as a check of a reply.

use std::num::NonZeroU32;

use icu_normalizer::ComposingNormalizerBorrowed;
use serde_json::{Map, Value, json};

use super::distribution::TOLERANCE;
use crate::table::{Cell, Simple, Type};

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum AnswerType {
    /// Text of at most this many characters (Unicode scalar values).
    Text(Option<NonZeroU32>),
    Enum(Vec<String>),
    Integer(Option<f64>, Option<f64>),
    Number(Option<f64>, Option<f64>),
    Boolean,
    List(Box<AnswerType>),
    Labelled(Vec<(String, String)>),
    Some(Box<AnswerType>, usize),
    /// A probability for each label, by its key in the reply.
    Probabilities(Vec<(String, String)>),
}

/// What the probabilities of a [`AnswerType::Probabilities`] are, in its schema.
pub(crate) const SUM_TO_ONE: &str = "probabilities that sum to 1";

impl AnswerType {
    /// Any value of a column of this type.
    pub(crate) fn any(kind: Type) -> AnswerType {
        match kind {
            Type::Text => AnswerType::Text(None),
            Type::Integer => AnswerType::Integer(None, None),
            Type::Number => AnswerType::Number(None, None),
            Type::Boolean => AnswerType::Boolean,
            Type::List(item) => AnswerType::List(Box::new(AnswerType::any(item.into()))),
            Type::Vector => AnswerType::List(Box::new(AnswerType::Number(None, None))),
        }
    }

    /// Returns the cell of a value that a person has written as text. All but texts are written as JSON.
    pub(crate) fn read_text(&self, text: &str) -> Option<Cell> {
        if self.column() == Type::Text {
            return self.read(&Value::String(text.to_owned()));
        }
        let text = text.trim();
        let json = serde_json::from_str(text).or_else(|_| serde_json::from_str(&text.to_lowercase()));
        self.read(&json.ok()?)
    }

    pub(crate) fn column(&self) -> Type {
        match self {
            AnswerType::Text(_) | AnswerType::Enum(_) | AnswerType::Labelled(_) | AnswerType::Probabilities(_) => {
                Type::Text
            }
            AnswerType::Some(..) => Type::List(Simple::Text),
            AnswerType::Integer(..) => Type::Integer,
            AnswerType::Number(..) => Type::Number,
            AnswerType::Boolean => Type::Boolean,
            AnswerType::List(item) => Type::List(item.column().simple()),
        }
    }

    pub(crate) fn labels(&self) -> Vec<String> {
        match self {
            AnswerType::Enum(options) => options.clone(),
            AnswerType::Labelled(choices) => choices.iter().map(|(_, choice)| choice.clone()).collect(),
            AnswerType::Boolean => vec![true.to_string(), false.to_string()],
            _ => Vec::new(),
        }
    }

    pub(super) fn schema(&self) -> Value {
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
            AnswerType::Text(None) => json!({ "type": "string" }),
            AnswerType::Text(Some(most)) => json!({ "type": "string", "maxLength": most }),
            AnswerType::Enum(options) => json!({ "type": "string", "enum": options }),
            AnswerType::Integer(low, high) => bounded("integer", low, high),
            AnswerType::Number(low, high) => bounded("number", low, high),
            AnswerType::Boolean => json!({ "type": "boolean" }),
            AnswerType::List(item) => json!({ "type": "array", "items": item.schema() }),
            AnswerType::Labelled(choices) => {
                let labels: Vec<&str> = choices.iter().map(|(label, _)| label.as_str()).collect();
                json!({ "type": "string", "enum": labels })
            }
            AnswerType::Some(choice, most) => json!({ "type": "array", "items": choice.schema(), "maxItems": most }),
            AnswerType::Probabilities(labels) => {
                let keys: Vec<&str> = labels.iter().map(|(key, _)| key.as_str()).collect();
                let number = json!({ "type": "number", "minimum": 0, "maximum": 1 });
                let properties: Map<String, Value> =
                    keys.iter().map(|key| ((*key).to_owned(), number.clone())).collect();
                json!({
                    "type": "object", "description": SUM_TO_ONE, "properties": properties, "required": keys,
                    "additionalProperties": false,
                })
            }
        }
    }

    pub(crate) fn words(&self) -> String {
        let bounds = |low: &Option<f64>, high: &Option<f64>| match (low, high) {
            (Some(low), Some(high)) => format!(" from {low} to {high}"),
            (Some(low), None) => format!(" of {low} or more"),
            (None, Some(high)) => format!(" of {high} or less"),
            (None, None) => String::new(),
        };
        match self {
            AnswerType::Text(None) => "text".to_owned(),
            AnswerType::Text(Some(NonZeroU32::MIN)) => "text, at most 1 character".to_owned(),
            AnswerType::Text(Some(most)) => format!("text, at most {most} characters"),
            AnswerType::Enum(options) => one_of(options.iter()),
            AnswerType::Labelled(choices) => one_of(choices.iter().map(|(label, _)| label)),
            AnswerType::Some(choice, _) => format!("a list without repetitions, each item {}", choice.words()),
            AnswerType::Integer(low, high) => format!("a whole number{}", bounds(low, high)),
            AnswerType::Number(low, high) => format!("a number{}", bounds(low, high)),
            AnswerType::Boolean => "true or false".to_owned(),
            AnswerType::List(item) => format!("a list, each item {}", item.words()),
            AnswerType::Probabilities(labels) => {
                let keys: Vec<String> = labels.iter().map(|(key, _)| format!("\"{key}\"")).collect();
                format!("an object with the keys {}, whose values are {SUM_TO_ONE}", keys.join(", "))
            }
        }
    }

    /// Returns the cell of a value; `None` if the value does not fit or fits two choices.
    pub(super) fn read(&self, value: &Value) -> Option<Cell> {
        let within = |n: f64, low: &Option<f64>, high: &Option<f64>| {
            low.is_none_or(|low| n >= low) && high.is_none_or(|high| n <= high)
        };
        match (self, value) {
            (AnswerType::Text(most), Value::String(text)) => {
                let fits = most.is_none_or(|most| text.chars().nth(most.get() as usize).is_none());
                fits.then(|| Cell::Text(text.clone()))
            }
            (AnswerType::Enum(options), Value::String(text)) => {
                let exact = options.iter().find(|o| *o == text);
                let option =
                    exact.or_else(|| options.iter().find(|o| normalise_option(o) == normalise_option(text)))?;
                Some(Cell::Text(option.clone()))
            }
            (AnswerType::Integer(low, high), Value::Number(number)) => {
                let whole = number.as_i64().or_else(|| {
                    let float = number.as_f64()?;
                    (float.fract() == 0.0 && float.abs() < 9e15).then_some(float as i64)
                })?;
                within(whole as f64, low, high).then_some(Cell::Integer(whole))
            }
            (AnswerType::Number(low, high), Value::Number(number)) => {
                let number = number.as_f64().filter(|n| n.is_finite())?;
                within(number, low, high).then_some(Cell::Number(number))
            }
            (AnswerType::Boolean, Value::Bool(value)) => Some(Cell::Boolean(*value)),
            (AnswerType::Labelled(choices), Value::String(text)) => labelled(choices, text),
            // Labels can be numbers, which a model without a schema writes without quotes.
            (AnswerType::Labelled(choices), Value::Number(number)) => labelled(choices, &number.to_string()),
            (AnswerType::Some(choice, _), Value::Array(values)) => {
                let mut items = values.iter().map(|v| choice.read(v)).collect::<Option<Vec<_>>>()?;
                let all = items.clone();
                let mut at = 0;
                items.retain(|item| {
                    at += 1;
                    !all[..at - 1].contains(item)
                });
                Some(Cell::List(items))
            }
            (AnswerType::Probabilities(labels), Value::Object(members)) => probabilities(labels, members),
            (AnswerType::List(item), Value::Array(values)) => {
                values.iter().map(|v| item.read(v)).collect::<Option<Vec<_>>>().map(Cell::List)
            }
            _ => None,
        }
    }
}

/// The probability of each label, scaled to the sum 1. `None` if a label has none, if a key names no label, or if the sum
/// is not about 1.
fn probabilities(labels: &[(String, String)], members: &Map<String, Value>) -> Option<Cell> {
    let named = |name: &str, key: &str| name == key || normalise_option(name) == normalise_option(key);
    let of = |key: &str| -> Option<f64> {
        let mut found = members.iter().filter(|(name, _)| named(name, key));
        let (_, value) = found.next().filter(|_| members.len() == labels.len())?;
        value.as_f64().filter(|p| found.next().is_none() && (0.0..=1.0).contains(p))
    };
    let stated: Vec<f64> = labels.iter().map(|(key, _)| of(key)).collect::<Option<_>>()?;
    let sum: f64 = stated.iter().sum();
    let scaled = labels.iter().zip(stated).map(|((_, label), p)| (label.clone(), Cell::Number(p / sum)));
    ((sum - 1.0).abs() <= TOLERANCE + f64::EPSILON * 8.0).then(|| Cell::Object(scaled.collect()))
}

/// Returns the form in which options are compared: the canonical form of Unicode (NFC) in lower case, without invisible
/// characters, with plain quotes and hyphens, with single spaces, and without outer quotes or full stops.
pub(crate) fn normalise_option(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !is_invisible(*c)).map(plain).collect();
    let plain = ComposingNormalizerBorrowed::new_nfc().normalize(&plain).into_owned();
    let text = plain.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '.'));
    text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Soft hyphens, joiners, marks of direction and of byte order, and selectors of a glyph's variant.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
    )
}

/// The plain form of a typographic quote, of a hyphen or of a dash.
fn plain(c: char) -> char {
    match c {
        '‘' | '’' | '‚' | '‛' | '′' | '‹' | '›' | '`' | '´' | 'ʼ' => '\'',
        '“' | '”' | '„' | '‟' | '″' | '«' | '»' => '"',
        '\u{2010}'..='\u{2015}' | '−' | '﹘' | '﹣' | '－' => '-',
        c => c,
    }
}

fn labelled(choices: &[(String, String)], reply: &str) -> Option<Cell> {
    let mut fitting = choices.iter().filter(|(label, choice)| names(reply, label, choice));
    let (_, choice) = fitting.next()?;
    fitting.next().is_none().then(|| Cell::Text(choice.clone()))
}

/// A reply names a choice by its label, its text, or both (`A. good`, `A) good`, `A: good`).
fn names(reply: &str, label: &str, choice: &str) -> bool {
    let (reply, label, choice) = (normalise_option(reply), normalise_option(label), normalise_option(choice));
    let rest = reply.strip_prefix(&label).map(str::trim_start).and_then(|rest| rest.strip_prefix(['.', ')', ':']));
    reply == label || reply == choice || rest.is_some_and(|rest| normalise_option(rest) == choice)
}

fn one_of<'a>(options: impl Iterator<Item = &'a String>) -> String {
    format!("one of {}", options.map(|o| format!("\"{o}\"")).collect::<Vec<_>>().join(", "))
}

fn number(bound: f64) -> Value {
    if bound.fract() == 0.0 && bound.abs() < 9e15 { json!(bound as i64) } else { json!(bound) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<Cell> {
        Some(Cell::Text(text.to_owned()))
    }

    #[test]
    fn labelled_choices_are_named_by_label_or_text_and_never_guessed() {
        let choice = |label: &str, text: &str| (label.to_owned(), text.to_owned());
        let kind = AnswerType::Labelled(vec![choice("A", "Very good"), choice("B", "Bad"), choice("C", "a")]);
        assert_eq!(kind.schema(), json!({ "type": "string", "enum": ["A", "B", "C"] }));
        assert_eq!(kind.words(), "one of \"A\", \"B\", \"C\"");
        for reply in ["very  GOOD.", "A. Very good", "a) very good", "A: \"very good\""] {
            assert_eq!(kind.read(&json!(reply)), text("Very good"), "{reply}");
        }
        assert_eq!(kind.read(&json!("b")), text("Bad"));
        // "A" is the label of one and the text of another.
        assert_eq!((kind.read(&json!("A")), kind.read(&json!("c"))), (None, text("a")));
        let numbers = AnswerType::Labelled(vec![choice("1", "Good"), choice("2", "Bad")]);
        assert_eq!((numbers.read(&json!(2)), numbers.read(&json!(3))), (text("Bad"), None));
        for reply in ["D", "A. Bad", "Very", "Very good, not bad", ""] {
            assert_eq!(kind.read(&json!(reply)), None, "{reply}");
        }
    }

    #[test]
    fn an_option_is_the_same_in_another_form_and_never_guessed() {
        let options = ["Often, but not always", "Don't know", "18-24", "Déjà vu", "нет"];
        let kind = AnswerType::Enum(options.map(str::to_owned).to_vec());
        let same = [
            ("“often, but not\u{a0}always”", 0),
            ("« Often,\u{2009}but  not always. »", 0),
            ("\u{feff}Often, but\u{200b} not al\u{ad}ways\u{200e}", 0),
            ("don’t know", 1),
            ("‚DON\u{2bc}T KNOW‘", 1),
            ("`don't know`", 1),
            ("18–24", 2),
            ("18\u{2011}24", 2),
            ("18\u{2212}24.", 2),
            ("De\u{301}ja\u{300} vu", 3),
            ("НЕТ", 4),
        ];
        for (reply, option) in same {
            assert_eq!(kind.read(&json!(reply)), text(options[option]), "{reply}");
        }
        for reply in ["I often do, but not always", "Often", "dont know", "18 24", "Deja vu", "нет, never", "HET", ""]
        {
            assert_eq!(kind.read(&json!(reply)), None, "{reply}");
        }
    }

    #[test]
    fn people_write_values_as_text() {
        let tone = AnswerType::Enum(vec!["glad".into(), "sad".into()]);
        assert_eq!((tone.read_text(" Sad"), tone.read_text("bad")), (text("sad"), None));
        let score = AnswerType::Integer(Some(1.0), Some(5.0));
        assert_eq!((score.read_text(" 3 "), score.read_text("3.0")), (Some(Cell::Integer(3)), Some(Cell::Integer(3))));
        assert_eq!((score.read_text("6"), score.read_text("3.5"), score.read_text("three")), (None, None, None));
        assert_eq!(AnswerType::Boolean.read_text("TRUE"), Some(Cell::Boolean(true)));
        assert_eq!(AnswerType::any(Type::Text).read_text("3"), text("3"));
        let list = AnswerType::List(Box::new(tone));
        assert_eq!(list.read_text(r#"["GLAD"]"#), Some(Cell::List(vec![Cell::Text("glad".into())])));
    }

    #[test]
    fn stated_probabilities_have_all_labels_and_the_sum_one() {
        let label = |key: &str, label: &str| (key.to_owned(), label.to_owned());
        let kind = AnswerType::Probabilities(vec![label("A", "good"), label("B", "bad")]);
        let found = |yes: f64, no: f64| {
            let of = |label: &str, p: f64| (label.to_owned(), Cell::Number(p));
            Some(Cell::Object(vec![of("good", yes), of("bad", no)]))
        };
        assert_eq!(kind.read(&json!({ "B": 0.25, "A": 0.75 })), found(0.75, 0.25));
        assert_eq!(kind.read(&json!({ "a": 1, "b": 0 })), found(1.0, 0.0));
        // Rounded numbers are scaled; others are not an answer.
        assert_eq!(kind.read(&json!({ "A": 0.84, "B": 0.21 })), found(0.84 / 1.05, 0.21 / 1.05));
        assert_eq!(kind.read(&json!({ "A": 0.6, "B": 0.35 })), found(0.6 / 0.95, 0.35 / 0.95));
        for wrong in [
            json!({ "A": 0.9, "B": 0.2 }),
            json!({ "A": 0.5, "B": 0.4 }),
            json!({ "A": 1 }),
            json!({ "A": 0.5, "B": 0.5, "C": 0 }),
            json!({ "A": 1.5, "B": -0.5 }),
            json!({ "A": 60, "B": 40 }),
            json!({ "A": 0.5, "a": 0.5 }),
            json!([0.5, 0.5]),
        ] {
            assert_eq!(kind.read(&wrong), None, "{wrong}");
        }
        let words = "an object with the keys \"A\", \"B\", whose values are probabilities that sum to 1";
        assert_eq!(kind.words(), words);
        assert_eq!(kind.schema()["required"], json!(["A", "B"]));
    }

    #[test]
    fn several_choices_are_a_list_without_repetitions() {
        let kind = AnswerType::Some(Box::new(AnswerType::Enum(vec!["x".into(), "y".into()])), 2);
        let schema = json!({ "type": "array", "items": { "type": "string", "enum": ["x", "y"] }, "maxItems": 2 });
        assert_eq!((kind.schema(), kind.column()), (schema, Type::List(Simple::Text)));
        let both = Cell::List(vec![Cell::Text("y".into()), Cell::Text("x".into())]);
        assert_eq!(kind.read(&json!(["Y", "x", "y."])), Some(both));
        assert_eq!(kind.read(&json!([])), Some(Cell::List(Vec::new())));
        assert_eq!((kind.read(&json!(["z"])), kind.read(&json!("x"))), (None, None));
    }
}
