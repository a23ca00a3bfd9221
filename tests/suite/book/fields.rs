//! The fields of a spec as pages: each field of the JSON Schema with its type, default, text and an example, which comes
//! from specs that the suite runs or validates. Knows no files.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// A step from the top of a spec to a field.
#[derive(Clone, Debug)]
enum Step {
    Key(String),
    /// Each value of a table of names, or each item of a list.
    Each,
    /// Only a table of this `type`.
    Kind(String),
}

struct Writer<'a> {
    specs: &'a [Value],
    text: String,
    /// The fields without an example.
    lacking: Vec<String>,
}

/// The pages by their names, each with its fields that have no example.
pub(super) fn pages(schema: &Value, specs: &[Value]) -> BTreeMap<String, (String, Vec<String>)> {
    let mut pages = BTreeMap::new();
    let tables = ["models", "providers", "sources", "stages", "outputs", "tests"];
    let mut top = schema.clone();
    top["properties"].as_object_mut().expect("fields").retain(|name, _| !tables.contains(&name.as_str()));
    let page = |title: &str, about: &Value| Writer { specs, text: heading(title, about), lacking: Vec::new() };
    let mut writer = page("The top level", &Value::Null);
    writer.fields(&top, &[], "");
    pages.insert("top-level".to_owned(), (writer.text, writer.lacking));
    for table in tables {
        let about = &schema["properties"][table];
        let one = about.get("additionalProperties").filter(|one| one.is_object()).unwrap_or(&about["items"]);
        let path = [Step::Key(table.to_owned()), Step::Each];
        let name = if table == "tests" { "[[tests]]".to_owned() } else { format!("[{table}.NAME]") };
        let kinds = kinds(one);
        let mut writer = page(&format!("`{name}`"), &about["description"]);
        for (kind, schema) in &kinds {
            let path = [&path[..], &[Step::Kind(kind.clone())]].concat();
            if table == "stages" {
                let mut own = page(&format!("`type = \"{kind}\"`"), &schema["description"]);
                own.fields(schema, &path, "");
                pages.insert(format!("stage-{kind}"), (own.text, own.lacking));
                let about = first_sentence(&schema["description"]);
                writeln!(writer.text, "- [`{kind}`](stage-{kind}.md): {about}").expect("writing to a string");
            } else {
                write!(writer.text, "\n## `type = \"{kind}\"`\n\n{}\n", flowing(&schema["description"]))
                    .expect("writing");
                writer.fields(schema, &path, "");
            }
        }
        if kinds.is_empty() {
            writer.fields(one, &path, "");
        }
        pages.insert(table.to_owned(), (writer.text, writer.lacking));
    }
    pages
}

fn heading(title: &str, about: &Value) -> String {
    let about = flowing(about);
    format!("# {title}\n{}", if about.is_empty() { String::new() } else { format!("\n{about}\n\n") })
}

fn flowing(text: &Value) -> String {
    text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn first_sentence(text: &Value) -> String {
    let text = flowing(text);
    text.split_once(". ").map_or(text.clone(), |(first, _)| format!("{first}."))
}

/// The variants of a table that has a `type`, by that type.
fn kinds(schema: &Value) -> Vec<(String, Value)> {
    let variants = schema.get("oneOf").or_else(|| schema.get("allOf")).and_then(Value::as_array);
    let mut kinds = Vec::new();
    for variant in variants.into_iter().flatten() {
        // Either the type is a field of the variant, or the condition of the variant.
        let kind = |schema: &Value| schema["properties"]["type"]["const"].as_str().map(str::to_owned);
        if let Some(kind) = kind(variant).or_else(|| kind(&variant["if"])) {
            kinds.push((kind, variant.get("then").unwrap_or(variant).clone()));
        }
    }
    kinds
}

impl Writer<'_> {
    /// Writes the fields of a table, and those of the tables inside of it.
    fn fields(&mut self, schema: &Value, path: &[Step], prefix: &str) {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let alias = flowing(&field["description"]).starts_with("Another word for");
            if alias || field.is_boolean() || field.get("const").is_some() {
                continue;
            }
            let (dotted, path) = (format!("{prefix}{name}"), [path, &[Step::Key(name.clone())]].concat());
            self.field(&dotted, field, &path, required.contains(&name.as_str()));
            self.inside(&dotted, field, &path);
        }
    }

    fn field(&mut self, name: &str, field: &Value, path: &[Step], required: bool) {
        let mut facts = vec![shape(field)];
        facts.extend(required.then(|| "required".to_owned()));
        let about = flowing(&field["description"]);
        let default = field.get("default").filter(|default| !default.is_null() && !about.contains("Default:"));
        facts.extend(default.filter(|d| !is_empty(d)).map(|default| format!("default `{}`", literal(default))));
        let about = if about.is_empty() { about } else { format!("{about}\n\n") };
        let about = about + &values(field);
        let anywhere: Vec<Step> = path.iter().filter(|step| !matches!(step, Step::Kind(_))).cloned().collect();
        let example = self.example(path).or_else(|| self.example(&anywhere)).or_else(|| assumed(field));
        write!(self.text, "\n### `{name}`\n\n*{}*\n\n{about}", facts.join(", ")).expect("writing to a string");
        let key = name.rsplit('.').next().unwrap_or_default();
        match example {
            Some(example) => writeln!(self.text, "```toml\n{key} = {example}\n```").expect("writing to a string"),
            None => self.lacking.push(name.to_owned()),
        }
    }

    /// The shortest value that a spec has at this path, but not a very short one if there are longer ones.
    fn example(&self, path: &[Step]) -> Option<String> {
        let values = self.specs.iter().flat_map(|spec| found(spec, path)).map(literal);
        values.filter(|text| text.chars().count() < 160).min_by_key(|text| (text.len() < 6, text.len(), text.clone()))
    }

    /// The fields of the tables in a field: a table, the items of a list, or one of several forms.
    fn inside(&mut self, name: &str, field: &Value, path: &[Step]) {
        let forms = ["anyOf", "oneOf"].into_iter().filter_map(|word| field[word].as_array()).flatten();
        for form in std::iter::once(field).chain(forms) {
            self.fields(form, path, &format!("{name}."));
            for each in [&form["items"], &form["additionalProperties"]] {
                let of = if each == &form["items"] { name.to_owned() } else { format!("{name}.NAME") };
                let path = [path, &[Step::Each]].concat();
                self.fields(each, &path, &format!("{of}."));
                for form in ["anyOf", "oneOf"].into_iter().filter_map(|word| each[word].as_array()).flatten() {
                    self.fields(form, &path, &format!("{of}."));
                }
            }
        }
    }
}

/// A value that the schema itself names.
fn assumed(field: &Value) -> Option<String> {
    let default = field.get("default").filter(|default| !default.is_null() && !is_empty(default));
    let forms = ["oneOf", "anyOf"].into_iter().filter_map(|word| field[word].as_array()).flatten();
    let truth = (field["type"] == "boolean").then(|| "true".to_owned());
    truth
        .or_else(|| default.map(literal))
        .or_else(|| field.get("const").or_else(|| field["enum"].get(0)).map(literal))
        .or_else(|| forms.filter_map(assumed).next())
}

/// A list of the allowed values that have a description.
fn values(field: &Value) -> String {
    let described = |value: &Value, text: &Value| match flowing(text) {
        text if text.is_empty() => None,
        text => Some(format!("- `{}`: {text}\n", literal(value))),
    };
    let listed =
        field["enum"].as_array().into_iter().flatten().zip(field["enumDescriptions"].as_array().into_iter().flatten());
    let forms = field["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|form| Some((form.get("const")?, &form["description"])));
    let list: String = listed.chain(forms).filter_map(|(value, text)| described(value, text)).collect();
    if list.is_empty() { list } else { list + "\n" }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// The type in words.
fn shape(field: &Value) -> String {
    let variants = field.get("oneOf").or_else(|| field.get("anyOf")).and_then(Value::as_array);
    if let Some(variants) = variants {
        let mut shapes: Vec<String> = Vec::new();
        for shape in variants.iter().map(shape).filter(|shape| shape != "null") {
            if !shapes.contains(&shape) {
                shapes.push(shape);
            }
        }
        return shapes.join(" or ");
    }
    if let Some(value) = field.get("const") {
        return format!("`{}`", literal(value));
    }
    if let Some(values) = field["enum"].as_array() {
        return values.iter().map(|value| format!("`{}`", literal(value))).collect::<Vec<_>>().join(" or ");
    }
    let word = match field["type"].as_str().unwrap_or("any value") {
        "string" => "text",
        "integer" => "whole number",
        "boolean" => "`true` or `false`",
        "object" => "table",
        "array" if field["items"].is_object() => return format!("list of {}", shape(&field["items"])),
        "array" => "list",
        other => other,
    };
    match (field["minimum"].as_f64(), field["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!("{word} from {least} to {most}"),
        (Some(least), None) => format!("{word} from {least}"),
        (None, Some(most)) => format!("{word} up to {most}"),
        (None, None) => word.to_owned(),
    }
}

/// The values at a path.
fn found<'a>(spec: &'a Value, path: &[Step]) -> Vec<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return vec![spec] };
    match step {
        Step::Key(name) => spec.get(name).map_or_else(Vec::new, |value| found(value, rest)),
        Step::Kind(kind) if spec["type"].as_str() == Some(kind) => found(spec, rest),
        Step::Kind(_) => Vec::new(),
        Step::Each => {
            let (items, values) = (spec.as_array().into_iter().flatten(), spec.as_object().into_iter().flatten());
            items.chain(values.map(|(_, value)| value)).flat_map(|value| found(value, rest)).collect()
        }
    }
}

/// A value as TOML on one line.
fn literal(value: &Value) -> String {
    toml::Value::try_from(value).map_or_else(|_| value.to_string(), |value| value.to_string())
}
