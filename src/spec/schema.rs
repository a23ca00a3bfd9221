//! The JSON Schema of a spec, generated from the doc comments of its structs, for editors, `fanfold schema` and CI.
//!
//! The schema uses Draft-07, which editors support best. Every object is closed, so that typos are found. `type` selects
//! the fields of a table by `if` and `then`: a problem is then reported where it is, and not as a failure of all kinds.

use indexmap::{IndexMap, IndexSet};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::language::{Header, ModelTable, OutputTable, StageTable, TestTable};
use super::limits::Limits;
use super::spelling;
use crate::assertion::ASSERTIONS;
use crate::provider::{Options, PROVIDERS};
use crate::registry::Kind;
use crate::source::SOURCES;
use crate::stage::{STAGES, TRANSFORMS};

/// The address of the schema. It stays the same from version to version.
const ID: &str = concat!(env!("CARGO_PKG_HOMEPAGE"), "/pipeline.schema.json");

pub(crate) fn schema() -> Value {
    let settings = SchemaSettings::draft07().with(|s| s.inline_subschemas = true);
    let generator = &mut settings.into_generator();
    let mut top = generator.subschema_for::<Header>().to_value();
    let mut model = generator.subschema_for::<ModelTable>().to_value();
    let options = generator.subschema_for::<Options>().to_value();
    if let (Some(fields), Some(options)) = (model["properties"].as_object_mut(), options["properties"].as_object()) {
        fields.extend(options.clone());
    }
    let output = generator.subschema_for::<OutputTable>().to_value();
    let stage = generator.subschema_for::<StageTable>().to_value();
    let limits = generator.subschema_for::<Limits>().to_value();
    let test = generator.subschema_for::<TestTable>().to_value();
    let mut stages = [kinds(STAGES, Some(&stage), generator), kinds(TRANSFORMS, None, generator)].concat();
    stages.iter_mut().for_each(|stage| spelling::of_stage(&mut stage.schema));
    let mut tests = kinds(ASSERTIONS, Some(&test), generator);
    tests.iter_mut().for_each(|test| spelling::of_test(&mut test.schema));
    let sections = [
        ("models", "Models by name: a provider, the model's id there, and its sampling.", model),
        (
            "providers",
            "Endpoints by name, with their limits.",
            by_type("What the server is.", kinds(PROVIDERS, Some(&limits), generator)),
        ),
        (
            "sources",
            "The sources of rows, by name.",
            by_type("Where the rows come from.", kinds(SOURCES, None, generator)),
        ),
        (
            "stages",
            "Stages by name: they ask models about rows, or derive tables from tables.",
            by_type("What the stage does.", stages),
        ),
        ("outputs", "The tables to write, by name.", output),
    ];
    let mut properties = top["properties"].take();
    for (name, about, item) in sections {
        properties[name] = named(about, item);
    }
    properties["tests"] = json!({
        "description": "Requirements on the tables; `fanfold test` checks them.",
        "type": "array", "items": by_type("What the table must fulfil.", tests),
    });
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "$id": ID, "title": "fanfold pipeline spec",
        "description": "Language models over tables, declared in a spec.", "type": top["type"],
        "properties": properties, "additionalProperties": top["additionalProperties"],
    });
    tidy(&mut schema);
    schema
}

fn named(about: &str, item: Value) -> Value {
    json!({
        "description": about,
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_-]{0,63}$" },
        "additionalProperties": item,
    })
}

/// Returns the schema of a table whose `type` is one of the kinds and selects its other fields.
fn by_type(about: &str, kinds: Vec<Kinded>) -> Value {
    let values = kinds.iter().map(|kind| json!({ "const": kind.name, "description": kind.about }));
    let selector = json!({ "description": about, "oneOf": values.collect::<Vec<_>>() });
    // taplo reads no `if`. It completes and explains the fields of every branch of an `anyOf`, so one branch lists the
    // fields of all kinds. `not` keeps other servers from using it. `true` accepts every table.
    let fields = json!({ "properties": fields_of_all(&kinds), "not": {} });
    let selected = kinds.into_iter().map(|kind| {
        let selects =
            json!({ "type": "object", "properties": { "type": { "const": kind.name } }, "required": ["type"] });
        json!({ "if": selects, "then": kind.schema })
    });
    json!({
        "type": "object", "properties": { "type": selector }, "required": ["type"],
        "allOf": selected.collect::<Vec<_>>(), "anyOf": [fields, true],
    })
}

/// The names of the kinds that describe a field by a text.
type KindsByText<'a> = IndexMap<String, Vec<&'a str>>;

/// The fields of all kinds, each once for each form that it has. Its text names the kinds where they differ in it.
fn fields_of_all(kinds: &[Kinded]) -> Map<String, Value> {
    let mut fields: IndexMap<&str, Vec<(Value, KindsByText<'_>)>> = IndexMap::new();
    for kind in kinds {
        for (name, field) in
            kind.schema["properties"].as_object().into_iter().flatten().filter(|(name, _)| *name != "type")
        {
            let mut form = of_types(field.clone());
            let text = form.as_object_mut().and_then(|form| form.remove("description"));
            let text = text.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
            let forms = fields.entry(name).or_default();
            let known = forms.iter().position(|(other, _)| *other == form).unwrap_or_else(|| {
                forms.push((form, IndexMap::new()));
                forms.len() - 1
            });
            forms[known].1.entry(text).or_default().push(kind.name);
        }
    }
    let merged = fields.into_iter().map(|(name, forms)| {
        let several = forms.iter().map(|(_, texts)| texts.len()).sum::<usize>() > 1;
        let mut forms: Vec<Value> = forms.into_iter().map(|(form, texts)| described(form, &texts, several)).collect();
        let only = if forms.len() == 1 { forms.pop() } else { None };
        (name.to_owned(), only.unwrap_or_else(|| json!({ "anyOf": forms })))
    });
    merged.collect()
}

/// Writes an `anyOf` of plain types as one type: taplo shows the branches of an `anyOf`, and not its text.
fn of_types(mut form: Value) -> Value {
    let nested = ["properties", "additionalProperties", "enum", "const", "anyOf"];
    let is_plain = |branch: &Value| branch["type"].is_string() && nested.iter().all(|key| branch.get(key).is_none());
    let branches = form.get("anyOf").and_then(Value::as_array).filter(|branches| branches.iter().all(is_plain));
    if let Some(branches) = branches {
        let types: IndexSet<&str> = branches.iter().filter_map(|branch| branch["type"].as_str()).collect();
        let types = json!(types);
        form["type"] = types;
        form.as_object_mut().and_then(|form| form.remove("anyOf"));
    }
    form
}

/// Adds the texts to the form of a field; with `named`, each after the kinds that it is about.
fn described(mut form: Value, texts: &KindsByText<'_>, named: bool) -> Value {
    let texts = texts.iter().map(|(text, kinds)| match named {
        true => format!("`{}`: {text}", kinds.join("`, `")),
        false => text.clone(),
    });
    form["description"] = json!(texts.collect::<Vec<_>>().join("\n\n"));
    form
}

/// Adds the texts of the values of an `enum`: a field for yaml-language-server and VS Code, and one for taplo.
fn describe_values(schema: &mut Map<String, Value>, texts: &[Value]) {
    schema.insert("enumDescriptions".to_owned(), json!(texts));
    schema.insert("x-taplo".to_owned(), json!({ "docs": { "enumValues": texts } }));
}

/// The schema of the table of one kind.
#[derive(Clone)]
struct Kinded {
    name: &'static str,
    about: &'static str,
    schema: Value,
}

/// Returns the kinds of a registry: the fields of each kind, `type`, and the fields that all kinds share.
fn kinds<T>(kinds: &'static [Kind<T>], shared: Option<&Value>, generator: &mut SchemaGenerator) -> Vec<Kinded> {
    let kinds = kinds.iter().map(|kind| {
        let own = (kind.schema)(generator).to_value();
        let mut properties = Map::new();
        properties.insert("type".to_owned(), json!({ "const": kind.name }));
        let mut required = Vec::new();
        for part in shared.into_iter().chain([&own]) {
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        let schema = json!({
            "title": kind.name, "description": kind.about, "type": "object", "properties": properties,
            "required": required, "additionalProperties": false,
        });
        let schema = if shared.is_some_and(|shared| !shared["properties"]["grid"].is_null()) {
            if own["properties"]["root"].is_null() { or_of_grid(schema) } else { without_models(schema) }
        } else {
            schema
        };
        Kinded { name: kind.name, about: kind.about, schema }
    });
    kinds.collect()
}

/// A stage whose models have a field each has no `models`.
fn without_models(mut stage: Value) -> Value {
    if let Some(required) = stage["required"].as_array_mut() {
        required.retain(|field| field != "models");
    }
    if let Some(properties) = stage["properties"].as_object_mut() {
        properties.remove("models");
    }
    stage
}

/// The models of a stage may be an axis of its grid.
fn or_of_grid(mut stage: Value) -> Value {
    if let Some(required) = stage["required"].as_array_mut() {
        required.retain(|field| field != "models");
    }
    stage["anyOf"] = json!([{ "required": ["models"] }, { "required": ["grid"] }]);
    stage
}

/// Removes number formats and the null of optional fields, which TOML can't write. Makes an `enum` of texts that are
/// described one by one.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.get("format").is_some_and(Value::is_string) {
                object.remove("format");
            }
            if let Some(Value::Array(kinds)) = object.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                if let [only] = kinds.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(options)) = object.get_mut("anyOf") {
                options.retain(|option| option != &json!({ "type": "null" }));
                if let [Value::Object(only)] = options.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    for (key, value) in only {
                        object.entry(key).or_insert(value);
                    }
                }
            }
            if let Some(Value::Array(options)) = object.get_mut("enum") {
                options.retain(|option| !option.is_null());
            }
            list_values(object);
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Editors show the text of each branch of a `oneOf`, where that of the field is expected.
fn list_values(schema: &mut Map<String, Value>) {
    let Some(branches) = schema.get("oneOf").and_then(Value::as_array) else { return };
    let pick = |key: &str| branches.iter().map(|branch| branch.get(key).cloned()).collect::<Option<Vec<_>>>();
    let (Some(values), Some(texts)) = (pick("const"), pick("description")) else { return };
    schema.remove("oneOf");
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), json!(values));
    describe_values(schema, &texts);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every object schema in `schema` that isn't closed.
    fn open(schema: &Value, path: &str, found: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                let closed = ["additionalProperties", "allOf"].iter().any(|key| object.contains_key(*key));
                if object.get("type") == Some(&json!("object")) && !closed {
                    found.push(path.to_owned());
                }
                let parts = object.iter().filter(|(key, _)| *key != "if");
                parts.for_each(|(key, value)| open(value, &format!("{path}/{key}"), found));
            }
            Value::Array(items) => items.iter().for_each(|item| open(item, path, found)),
            _ => {}
        }
    }

    #[test]
    fn every_object_is_closed_and_every_field_described() {
        let schema = schema();
        let mut found = Vec::new();
        open(&schema, "", &mut found);
        assert!(found.is_empty(), "{found:?}");
        let stages = schema["properties"]["stages"]["additionalProperties"]["allOf"].as_array().unwrap();
        assert_eq!(stages.len(), STAGES.len() + TRANSFORMS.len());
        for (name, field) in stages.iter().flat_map(|stage| stage["then"]["properties"].as_object().unwrap()) {
            assert!(name == "type" || field["description"].is_string(), "{name}");
        }
        assert!(!schema.to_string().contains("$ref"));
    }
}
