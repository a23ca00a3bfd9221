//! The example pipelines: every spec is valid for `validate` and for an independent JSON Schema checker, and those without
//! a server run. The schema in `schemas/` is the one that the program prints.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::{Map, Value, json};
use toml::de::{DeTable, DeValue};

use crate::project::Project;
use crate::server::Server;
use crate::weights;

pub(crate) const SCHEMA: &str = include_str!("../../schemas/pipeline.schema.json");

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")
}

/// The names of the specs, in order.
pub(crate) fn specs() -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the folder is there").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".toml") || name.ends_with(".yaml")).collect();
    names.sort();
    assert!(names.len() >= 5, "{names:?}");
    names
}

/// A copy of all pipelines with their prompts and data.
pub(crate) fn copy() -> Project {
    fn add(from: &Path, name: &str, project: &Project) {
        for entry in fs::read_dir(from).expect("a folder").flatten() {
            let inner = format!("{name}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                if inner != "out" && inner != ".fanfold" {
                    add(&entry.path(), &format!("{inner}/"), project);
                }
            } else {
                project.write(&inner, fs::read(entry.path()).expect("a file"));
            }
        }
    }
    let project = Project::new();
    add(&folder(), "", &project);
    project
}

/// A spec as JSON.
pub(crate) fn json_of(name: &str, text: &str) -> Value {
    if name.ends_with(".yaml") {
        serde_yaml::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"))
    } else {
        table(DeTable::parse(text).unwrap_or_else(|e| panic!("{name}: {e}")).get_ref())
    }
}

fn table(table: &DeTable<'_>) -> Value {
    Value::Object(
        table.iter().map(|(key, node)| (key.get_ref().to_string(), value(node.get_ref()))).collect::<Map<_, _>>(),
    )
}

fn value(node: &DeValue<'_>) -> Value {
    match node {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => Value::from(i64::from_str_radix(number.as_str(), number.radix()).expect("64 bits")),
        DeValue::Float(number) => Value::from(number.as_str().parse::<f64>().expect("a number")),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| value(item.get_ref())).collect(),
        DeValue::Table(inner) => table(inner),
    }
}

#[test]
fn the_schema_is_what_the_program_prints() {
    let printed = Project::new().run(&["schema"]).exits(0).stdout;
    assert!(printed == SCHEMA, "refresh it: cargo run -- schema > schemas/pipeline.schema.json");
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    jsonschema::meta::validate(&schema).unwrap_or_else(|e| panic!("not a schema: {e}"));
}

#[test]
fn every_object_of_the_schema_is_closed() {
    fn open(at: &str, value: &Value, found: &mut Vec<String>) {
        if let Value::Object(fields) = value {
            // A branch that fits nothing; the fields of a type, which `then` closes.
            let never = fields.get("not") == Some(&json!({}));
            let selects = fields.get("properties").and_then(|fields| fields["type"].get("enum")).is_some();
            let closed =
                fields.contains_key("additionalProperties") || never || selects && fields.contains_key("allOf");
            if fields.get("properties").is_some_and(Value::is_object) && !closed {
                found.push(at.to_owned());
            }
            let parts = fields.iter().filter(|(name, _)| *name != "if");
            parts.for_each(|(name, inner)| open(&format!("{at}/{name}"), inner, found));
        } else if let Value::Array(items) = value {
            items.iter().enumerate().for_each(|(i, inner)| open(&format!("{at}/{i}"), inner, found));
        }
    }
    let mut found = Vec::new();
    open("#", &serde_json::from_str(SCHEMA).expect("JSON"), &mut found);
    assert!(found.is_empty(), "a wrong field would pass in an editor: {found:?}");
}

#[test]
fn every_spec_fits_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("JSON");
    let checker = jsonschema::draft7::new(&schema).expect("a schema");
    for name in specs() {
        let text = fs::read_to_string(folder().join(&name)).expect("a spec");
        let spec = json_of(&name, &text);
        let problems: Vec<String> = checker.iter_errors(&spec).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(problems.is_empty(), "{name}: {problems:#?}");
        let comment = if name.ends_with(".yaml") {
            "# yaml-language-server: $schema=../schemas/pipeline.schema.json"
        } else {
            "#:schema ../schemas/pipeline.schema.json"
        };
        assert_eq!(text.lines().next(), Some(comment), "{name}: editors find the schema by the first line");
        let mut tables = vec![String::new()];
        for section in ["models", "providers", "sources", "stages", "outputs"] {
            tables.extend(spec[section].as_object().into_iter().flatten().map(|(key, _)| format!("/{section}/{key}")));
        }
        tables.extend(spec["tests"].as_array().into_iter().flatten().enumerate().map(|(i, _)| format!("/tests/{i}")));
        for table in tables {
            let mut wrong = spec.clone();
            wrong.pointer_mut(&table).expect("a table")["wrokers"] = Value::from(1);
            let problems: Vec<_> = checker.iter_errors(&wrong).collect();
            assert_eq!(problems.len(), 1, "{name}: {table}: {problems:#?}");
            assert_eq!(problems[0].instance_path().to_string(), table, "{name}");
        }
    }
}

#[test]
fn every_spec_is_valid_and_can_be_planned() {
    let project = copy();
    for name in specs() {
        project.run(&["validate", &name]).exits(0);
        let plan = project.run(&["plan", &name, "--render", "1"]).exits(0);
        assert!(!plan.stdout.is_empty(), "{name}");
    }
    assert!(!project.has("out"), "neither writes outputs");
}

/// The calls of a shipped pipeline without a server, after a run that left whole tables. It runs once for all tests;
/// `None` where it needs a server, or weights that are missing here.
pub(crate) fn calls_without_server(name: &str) -> Option<Vec<u8>> {
    type Calls = OnceLock<Option<Vec<u8>>>;
    static CALLS: Mutex<BTreeMap<String, Arc<Calls>>> = Mutex::new(BTreeMap::new());
    let calls = CALLS.lock().expect("no panic").entry(name.to_owned()).or_default().clone();
    calls.get_or_init(|| run_without_server(name)).clone()
}

fn run_without_server(name: &str) -> Option<Vec<u8>> {
    let mut project = copy();
    let spec = json_of(name, &project.text(name));
    let models = spec["models"].as_object().expect("models");
    if models.values().any(|model| model["provider"] == "embedded") {
        project = weights::or_skip(&format!("{name} runs"), project)?;
    } else if models.values().any(|model| model["provider"] != "mock") {
        return None;
    }
    project.run(&["run", name]).exits(0);
    for (output, fields) in spec["outputs"].as_object().expect("outputs") {
        let path = fields["path"].as_str().expect("a path");
        assert!(project.has(path), "{name}: no {path}");
        if !path.ends_with(".parquet") {
            continue;
        }
        let table = project.table(path);
        let source = spec["sources"].as_object().and_then(|s| s.values().next()).expect("a source");
        let rows = match source["path"].as_str() {
            Some("data/paragraphs.csv") => 40,
            Some(_) => 120,
            None => source["rows"].as_array().expect("rows in the spec").len(),
        };
        let stage = &spec["stages"][fields["input"].as_str().expect("a stage")];
        let models = stage["models"].as_array().map_or(1, Vec::len);
        let expected = if stage["layout"] == "long" { rows * models } else { rows };
        assert_eq!(table.len(), expected, "{name}: output {output}");
        let errors: Vec<&str> = table.columns().into_iter().filter(|c| c.contains("_error")).collect();
        assert!(!errors.is_empty(), "{name}: {:?}", table.columns());
        for column in errors {
            assert_eq!(table.nulls(column), expected, "{name}: {column}");
        }
    }
    project.run(&["ledger", "export", name, "-o", "calls.parquet"]).exits(0);
    Some(project.bytes("calls.parquet"))
}

#[test]
fn the_specs_without_a_server_run() {
    let ran = specs().iter().filter(|name| calls_without_server(name).is_some()).count();
    assert!(ran >= 3, "{ran}");
}

#[test]
fn the_quickstart_uses_ollama_when_one_line_changes() {
    let server = Server::new().models(&["smollm2:135m"]).start();
    let project = copy().env("OLLAMA_HOST", &server.url());
    let text = project.text("quickstart.toml");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("provider = \"embedded\"")).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    project.write("quickstart.toml", text.replace(lines[0], "provider = \"ollama\""));
    project.run(&["validate", "quickstart.toml"]).exits(0);
    project.run(&["run", "quickstart.toml"]).exits(0);
    assert_eq!(server.requests_of("smollm2:135m"), 40);
}

#[test]
fn the_ollama_specs_run_against_an_ollama_server() {
    let server = Server::new().latency_ms(1).start();
    let project = copy().env("OLLAMA_HOST", &server.url());
    project.run(&["run", "ollama-speeches.toml"]).exits(0);
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (120, 120));
    let first = server.asked().remove(0);
    project.run(&["run", "job-survey.toml"]).exits(0).says("200 rows = 200 answered").says("600 calls sent");
    let table = project.table("out/job-survey.parquet");
    assert_eq!((table.len(), table.nulls("job_error")), (200, 200));
    assert!(table.has("benefit_shown") && !table.has("satisfaction_shown"));
    assert!(first.question().contains("Fellow"), "the prompt holds the speech: {}", first.question());
}
