//! Spellings: accepts other common words for a field and other short forms, and rewrites them in the tree.
//!
//! Runs before the tables are decoded, so that the rest of the spec is read as if it had been written in the usual way.

use serde_json::{Value as Json, json};

use crate::document::{Entry, Node, Path, Problems, Value};
use crate::name::{listed, nearest};

type Words = &'static [(&'static str, &'static str)];

/// Other words for the fields of an answer.
const ANSWER: Words = &[
    ("labels", "enum"),
    ("options", "enum"),
    ("values", "enum"),
    ("choices", "enum"),
    ("allowed", "enum"),
    ("min", "minimum"),
    ("max", "maximum"),
];
/// Other words for the fields of a survey's question.
const QUESTION: Words = &[
    ("enum", "options"),
    ("labels", "options"),
    ("values", "options"),
    ("choices", "options"),
    ("allowed", "options"),
    ("minimum", "min"),
    ("maximum", "max"),
];
/// Other words for the fields of a test.
const TEST: Words = &[("min", "minimum"), ("max", "maximum")];
/// Other words for the fields of a method that knows how the rows were sampled.
const SAMPLED: Words = &[("weight", "inclusion_probability")];
const SAMPLED_METHODS: [&str; 3] = ["validation", "calibration", "estimate"];
const TYPES: [&str; 5] = ["string", "integer", "number", "boolean", "array"];
/// The most words of a value in a description.
const VALUE_WORDS: usize = 3;

/// Rewrites the stages and the tests of a spec. Reports every other spelling.
pub(super) fn rewrite(root: &mut Node, problems: &mut Problems) {
    let at = Path::root().key("tests");
    for (i, test) in items(root, "tests").iter_mut().enumerate() {
        rename(test, TEST, &at.index(i), problems);
    }
    let at = Path::root().key("stages");
    for stage in entries(root, "stages") {
        let at = at.key(&stage.key);
        if let Some(models) = stage.node.get_mut("models") {
            as_list(models);
        }
        output(&mut stage.node, &at, problems);
        answers(&mut stage.node, &at, problems);
        let kind = stage.node.get("type").and_then(Node::as_str);
        if kind.is_some_and(|kind| SAMPLED_METHODS.contains(&kind)) {
            rename(&mut stage.node, SAMPLED, &at, problems);
        }
        let at = at.key("questions");
        for (i, question) in items(&mut stage.node, "questions").iter_mut().enumerate() {
            rename(question, QUESTION, &at.index(i), problems);
        }
    }
}

/// Rewrites the keys of a stage's typed answer.
pub(super) fn answers(stage: &mut Node, at: &Path, problems: &mut Problems) {
    for key in ["output", "fields"] {
        let at = at.key(key);
        for field in entries(stage, key) {
            answer(field, &at.key(&field.key), problems);
        }
    }
}

/// Adds the other spellings to the JSON Schema of a stage, so that editors accept them and say what to write.
pub(super) fn of_stage(schema: &mut Json) {
    if let Some(models) = schema.pointer_mut("/properties/models") {
        let mut list = models.take();
        let description = list.as_object_mut().and_then(|list| list.remove("description"));
        *models = json!({ "description": description, "anyOf": [list, { "type": "string" }] });
    }
    for key in ["output", "fields"] {
        let Some(answer) = schema.pointer_mut(&format!("/properties/{key}/additionalProperties")) else { continue };
        of_answer(answer);
        if let Some(items) = answer.pointer_mut("/properties/items") {
            of_answer(items);
        }
    }
    accept(schema, SAMPLED);
    if let Some(question) = schema.pointer_mut("/properties/questions/anyOf/0/items") {
        accept(question, QUESTION);
    }
}

/// The same for a test.
pub(super) fn of_test(schema: &mut Json) {
    accept(schema, TEST);
}

/// The same for a key of an answer, whose type may be left out if its options or items are there.
fn of_answer(schema: &mut Json) {
    accept(schema, ANSWER);
    let is_typed = |word: &str| ["type", "enum", "items"].contains(&word);
    let others = ANSWER.iter().filter(|(_, field)| *field == "enum").map(|(word, _)| *word);
    let known = schema["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    let ways: Vec<Json> = known
        .filter(|key| is_typed(key) || others.clone().any(|word| word == *key))
        .map(|key| json!({ "required": [key] }))
        .collect();
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|field| field != "type");
        schema["anyOf"] = ways.into();
    }
}

fn accept(schema: &mut Json, words: Words) {
    let Some(properties) = schema["properties"].as_object_mut() else { return };
    for (word, field) in words {
        let Some(mut meant) = properties.get(*field).filter(|_| !properties.contains_key(*word)).cloned() else {
            continue;
        };
        meant["description"] = format!("Another word for `{field}`.").into();
        meant["deprecated"] = true.into();
        meant["deprecationMessage"] = format!("write `{field}`").into();
        properties.insert((*word).to_owned(), meant);
    }
}

fn entries<'n>(node: &'n mut Node, key: &str) -> &'n mut [Entry] {
    match node.get_mut(key).map(|node| &mut node.value) {
        Some(Value::Table(entries)) => entries,
        _ => &mut [],
    }
}

fn items<'n>(node: &'n mut Node, key: &str) -> &'n mut [Node] {
    match node.get_mut(key).map(|node| &mut node.value) {
        Some(Value::List(items)) => items,
        _ => &mut [],
    }
}

/// A single name is a list of one. A text with several names is left as it is, which is an error.
fn as_list(models: &mut Node) {
    if models.as_str().is_some_and(|name| !name.contains([',', ' '])) {
        let name = models.clone();
        models.value = Value::List(vec![name]);
    }
}

/// Gives the fields of `table` their usual names.
fn rename(table: &mut Node, words: Words, at: &Path, problems: &mut Problems) {
    for (word, field) in words {
        if table.get(field).is_some() {
            continue;
        }
        let Value::Table(entries) = &mut table.value else { return };
        if let Some(entry) = entries.iter_mut().find(|entry| entry.key == *word) {
            (*field).clone_into(&mut entry.key);
            let message = format!("`{word}` is read as `{field}`");
            problems.warning_at_key("other-word", at.key(field), message).help(format!("write `{field}`"));
        }
    }
}

/// An `output` that only names its keys.
fn output(stage: &mut Node, at: &Path, problems: &mut Problems) {
    let Some(output) = stage.get_mut("output") else { return };
    let names: Vec<String> = match &output.value {
        Value::String(name) => vec![name.clone()],
        Value::List(names) => names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect(),
        _ => return,
    };
    let at = at.key("output");
    let listed = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let message = format!("`output` must be a table, not {}", output.kind_name());
    problems.error("wrong-type", at.clone(), message).help(format!(
        "write `json_keys = [{listed}]` for plain texts, or a table for each key: `output.{} = {{ type = \"string\" }}`",
        names.first().map_or("label", String::as_str)
    ));
    problems.distrust(at);
    let span = output.span.clone();
    let field = |name: String| {
        let mut node = Node { value: Value::Table(Vec::new()), span: span.clone() };
        node.insert("type", Value::String("string".to_owned()));
        Entry { key: name, key_span: span.clone(), node }
    };
    output.value = Value::Table(names.into_iter().map(field).collect());
}

/// A key of a typed answer: its other spellings, a missing type, and values that only its description lists.
fn answer(field: &mut Entry, at: &Path, problems: &mut Problems) {
    if let Some(table) = shorthand(field) {
        let (key, what) = (&field.key, field.node.kind_name());
        problems
            .error("wrong-type", at.clone(), format!("`{key}` must be a table, not {what}"))
            .help(format!("write `{key} = {table}`"));
        problems.distrust(at.clone());
        field.node.value = Value::Table(Vec::new());
        field.node.insert("type", Value::String("string".to_owned()));
        return;
    }
    rename(&mut field.node, ANSWER, at, problems);
    infer_type(&mut field.node);
    if let Some(items) = field.node.get_mut("items") {
        rename(items, ANSWER, &at.key("items"), problems);
        infer_type(items);
    }
    let kind = field.node.get("type");
    let is_free = field.node.get("enum").is_none() && kind.is_none_or(|kind| kind.as_str() == Some("string"));
    let values = field.node.get("description").and_then(Node::as_str).filter(|_| is_free).and_then(values_in);
    if let Some(values) = values {
        let message = format!("the description of `{}` lists values, but any text is a valid answer", field.key);
        let quoted = values.iter().map(|value| format!("\"{value}\"")).collect::<Vec<_>>().join(", ");
        problems
            .warning("values-in-description", at.key("description"), message)
            .help(format!("write `enum = [{quoted}]` to allow only {}", listed(values)));
    }
}

/// The table that was meant by a text or a list in its place.
fn shorthand(field: &Entry) -> Option<String> {
    let options = |options: &[&str]| {
        let quoted = options.iter().map(|option| format!("\"{option}\"")).collect::<Vec<_>>().join(", ");
        format!("{{ type = \"string\", enum = [{quoted}] }}")
    };
    match &field.node.value {
        Value::String(text) => Some(match (nearest_type(text), values_in(text)) {
            (None, Some(values)) => options(&values),
            (kind, _) => format!("{{ type = \"{}\" }}", kind.unwrap_or("string")),
        }),
        Value::List(items) => Some(options(&items.iter().filter_map(Node::as_str).collect::<Vec<_>>())),
        _ => None,
    }
}

/// The type that is probably meant by a word, such as `int`.
fn nearest_type(word: &str) -> Option<&'static str> {
    let word = word.trim().to_lowercase();
    let exact = TYPES.into_iter().find(|kind| *kind == word);
    let other = match word.as_str() {
        "text" | "str" => Some("string"),
        "int" => Some("integer"),
        "float" => Some("number"),
        "list" => Some("array"),
        _ => None,
    };
    exact.or(other).or_else(|| nearest(&word, TYPES))
}

/// A list of options is of texts, and `items` belong to an array.
fn infer_type(table: &mut Node) {
    let kind = ["enum", "items"].into_iter().zip(["string", "array"]).find(|(key, _)| table.get(key).is_some());
    if let Some((_, kind)) = kind.filter(|_| table.get("type").is_none()) {
        table.insert("type", Value::String(kind.to_owned()));
    }
}

/// The values that a text lists as `a/b/c`, `a | b` or `one of a, b, c`, perhaps after a colon.
fn values_in(text: &str) -> Option<Vec<&str>> {
    let text = text.rsplit_once(':').map_or(text, |(_, list)| list).trim().trim_end_matches('.');
    let (list, separators): (&str, &[char]) = match text.strip_prefix("one of ") {
        Some(list) => (list, &[',', '/', '|']),
        None => (text, &['/', '|']),
    };
    let values: Vec<&str> = list.split(separators).map(|value| value.trim().trim_start_matches("or ")).collect();
    let is_value = |value: &&str| {
        let words = value.split_whitespace().count();
        value.len() > 1 && (1..=VALUE_WORDS).contains(&words) && value.chars().any(char::is_alphabetic)
    };
    (values.len() > 1 && values.iter().all(is_value)).then_some(values)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::{of_stage, values_in};

    #[test]
    fn the_schema_of_a_stage_has_the_other_words() {
        let mut stage = json!({ "properties": {
            "models": { "type": "array", "description": "The models." },
            "output": { "additionalProperties": {
                "properties": { "type": {}, "enum": { "type": "array" }, "minimum": {}, "description": {} },
                "required": ["type"],
            } },
            "questions": { "anyOf": [{ "items": { "properties": { "options": {}, "max": {} }, "required": ["id"] } }] },
        } });
        of_stage(&mut stage);
        let at = |path: &str| stage.pointer(path).cloned().unwrap_or_default();
        let answer = "/properties/output/additionalProperties";
        assert_eq!(at(&format!("{answer}/properties/choices/deprecationMessage")), "write `enum`");
        assert_eq!(at(&format!("{answer}/properties/min/deprecated")), true);
        assert_eq!(at(&format!("{answer}/properties/max")), Json::Null, "there is no `maximum` here");
        assert_eq!(at(&format!("{answer}/required")), json!([]));
        let ways = at(&format!("{answer}/anyOf"));
        assert!(ways.as_array().is_some_and(|ways| ways.contains(&json!({ "required": ["labels"] }))), "{ways}");
        assert!(ways.as_array().is_some_and(|ways| !ways.contains(&json!({ "required": ["minimum"] }))), "{ways}");
        let question = "/properties/questions/anyOf/0/items/properties";
        assert_eq!(at(&format!("{question}/enum/deprecationMessage")), "write `options`");
        assert_eq!(at(&format!("{question}/maximum/deprecationMessage")), "write `max`");
        assert_eq!(at("/properties/models/anyOf/1"), json!({ "type": "string" }));
    }

    #[test]
    fn listed_values_are_found_in_a_text() {
        assert_eq!(values_in("positive/negative/neutral"), Some(vec!["positive", "negative", "neutral"]));
        assert_eq!(values_in("the tone: good | bad"), Some(vec!["good", "bad"]));
        assert_eq!(values_in("The mood: one of very glad, sad, or angry."), Some(vec!["very glad", "sad", "angry"]));
        for text in
            ["the overall tone", "km/h", "speed in km/h", "a, b and c", "the date and/or the place of the event", "1/2"]
        {
            assert_eq!(values_in(text), None, "{text}");
        }
    }
}
