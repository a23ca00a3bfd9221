//! The JSON Schema of a spec, generated from the doc comments of its structs, for editors, `fanfold schema` and CI.
//!
//! The schema uses Draft-07, which editors support best. Every object is closed, so that typos are found.

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
    stages.iter_mut().for_each(spelling::of_stage);
    let mut tests = kinds(ASSERTIONS, Some(&test), generator);
    tests.iter_mut().for_each(spelling::of_test);
    let sections = [
        ("models", "Models by name: a provider, the model's id there, and its sampling.", model),
        ("providers", "Endpoints by name, with their limits.", one_of(PROVIDERS, Some(&limits), generator)),
        ("sources", "The sources of rows, by name.", one_of(SOURCES, None, generator)),
        (
            "stages",
            "Stages by name: they ask models about rows, or derive tables from tables.",
            json!({ "oneOf": stages }),
        ),
        ("outputs", "The tables to write, by name.", output),
    ];
    let mut properties = top["properties"].take();
    for (name, about, item) in sections {
        properties[name] = named(about, item);
    }
    properties["tests"] = json!({
        "description": "Requirements on the tables; `fanfold test` checks them.",
        "type": "array", "items": { "oneOf": tests },
    });
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#", "title": "fanfold pipeline spec",
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

fn one_of<T>(registry: &'static [Kind<T>], shared: Option<&Value>, generator: &mut SchemaGenerator) -> Value {
    match <[Value; 1]>::try_from(kinds(registry, shared, generator)) {
        Ok([only]) => only,
        Err(kinds) => json!({ "oneOf": kinds }),
    }
}

/// Returns the kinds of a registry: the fields of each kind, `type`, and the fields that all kinds share.
fn kinds<T>(kinds: &'static [Kind<T>], shared: Option<&Value>, generator: &mut SchemaGenerator) -> Vec<Value> {
    let kinds = kinds.iter().map(|kind| {
        let own = (kind.schema)(generator).to_value();
        let mut properties = Map::new();
        properties.insert("type".to_owned(), json!({ "const": kind.name, "description": kind.about }));
        let mut required = vec![json!("type")];
        for part in shared.into_iter().chain([&own]) {
            properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
            required.extend(part["required"].as_array().cloned().unwrap_or_default());
        }
        json!({
            "description": kind.about, "type": "object", "properties": properties, "required": required,
            "additionalProperties": false,
        })
    });
    kinds.collect()
}

/// Removes number formats and the null of optional fields, which TOML can't write.
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
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every object schema in `schema` that isn't closed.
    fn open(schema: &Value, path: &str, found: &mut Vec<String>) {
        match schema {
            Value::Object(object) => {
                if object.get("type") == Some(&json!("object")) && !object.contains_key("additionalProperties") {
                    found.push(path.to_owned());
                }
                object.iter().for_each(|(key, value)| open(value, &format!("{path}/{key}"), found));
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
        let stages = schema["properties"]["stages"]["additionalProperties"]["oneOf"].as_array().unwrap();
        assert_eq!(stages.len(), STAGES.len() + TRANSFORMS.len());
        for (name, field) in stages.iter().flat_map(|stage| stage["properties"].as_object().unwrap()) {
            assert!(field["description"].is_string(), "{name}");
        }
        assert!(!schema.to_string().contains("$ref"));
    }
}
