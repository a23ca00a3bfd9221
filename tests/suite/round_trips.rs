//! Round trips: a table with columns of every type, written in each format and read back by fanfold itself.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow_schema::{DataType, Field, Fields, Schema};
use parquet::arrow::ArrowWriter;
use serde_json::{Map, Value, json};

use crate::project::Project;

const FORMATS: [&str; 7] = ["parquet", "arrow", "jsonl", "csv", "xlsx", "dta", "sav"];

/// Three rows; in each column a value, then null or its edge, then another value.
fn table() -> RecordBatch {
    let long = "é\"".repeat(1500);
    let mut tags = ListBuilder::new(StringBuilder::new());
    tags.append_value([Some("x"), None, Some("")]);
    tags.append_null();
    tags.append_value([None::<&str>; 0]);
    let mut scores = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    scores.keys().append_value("a b");
    scores.values().append_value(1);
    scores.append(true).unwrap();
    scores.append(false).unwrap();
    scores.append(true).unwrap();
    let singles: ArrayRef = Arc::new(Float32Array::from(vec![Some(4.7), None, Some(-0.1)]));
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("Ann \"A\""), None, None]));
    let parts: Fields =
        vec![Field::new("name", DataType::Utf8, true), Field::new("score", DataType::Float32, true)].into();
    let user = StructArray::new(parts, vec![names, singles.clone()], Some(vec![true, false, true].into()));
    let moments = [Some(1_719_835_200_123), None, Some(-86_400_000_000)];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("text", Arc::new(StringArray::from(vec![Some("Zürich 😀\n\"q\", =1"), None, Some("e\u{301}\u{200b} x")]))),
        ("empty", Arc::new(StringArray::from(vec![Some(""), None, Some("x")]))),
        ("essay", Arc::new(StringArray::from(vec![Some(long.as_str()), None, Some("y")]))),
        ("whole", Arc::new(Int64Array::from(vec![Some(-5), None, Some(2_000_000)]))),
        ("big", Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), None, Some(1)]))),
        ("huge", Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(7)]))),
        ("single", singles),
        ("ratio", Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-1e300)]))),
        ("yes", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("day", Arc::new(Date32Array::from(vec![Some(19_000), None, Some(-1)]))),
        ("old", Arc::new(Date32Array::from(vec![Some(-43_829), None, Some(-141_000)]))),
        ("stamp", Arc::new(TimestampMillisecondArray::from(moments.to_vec()))),
        ("zone", Arc::new(TimestampMicrosecondArray::from(moments.to_vec()).with_timezone("Europe/Berlin"))),
        ("tags", Arc::new(tags.finish())),
        ("user", Arc::new(user)),
        ("scores", Arc::new(scores.finish())),
        ("region", Arc::new(Int64Array::from(vec![Some(1), None, Some(-9)]))),
        ("place", Arc::new(StringArray::from(vec![Some("N"), None, Some("S")]))),
    ];
    let labels = |name: &str| match name {
        "region" => ("Region, \"wide\"", r#"[[1,"North"],[-9,"refused"]]"#),
        "place" => ("Place", r#"[["N","Norden"],["S","Süden"]]"#),
        _ => ("", ""),
    };
    let field = |(name, array): &(&str, ArrayRef)| {
        let (label, values) = labels(name);
        let labels = [("fanfold.label", label), ("fanfold.value_labels", values)].into_iter();
        let labels = labels.filter(|(_, text)| !text.is_empty()).map(|(key, text)| (key.to_owned(), text.to_owned()));
        Field::new(*name, array.data_type().clone(), true).with_metadata(labels.collect::<HashMap<_, _>>())
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, column)| column).collect()).unwrap()
}

/// A project with the table in each format.
fn written() -> Project {
    let outputs = FORMATS.map(|end| format!("[outputs.{end}]\ninput = \"x\"\npath = \"out.{end}\"\n")).concat();
    let project = Project::new().spec(&format!("sources.x = {{ type = \"file\", path = \"x.parquet\" }}\n{outputs}"));
    let batch = table();
    let mut writer =
        ArrowWriter::try_new(File::create(project.path("x.parquet")).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    project.run(&["run", "pipeline.toml"]).exits(0);
    project
}

fn objects(text: &str) -> Vec<Map<String, Value>> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The rows of a file that fanfold wrote.
fn back(project: &Project, path: &str, fields: &str) -> Vec<Map<String, Value>> {
    project.write(
        "pipeline.toml",
        format!("[sources.x]\ntype = \"file\"\npath = \"{path}\"\n{fields}\n[outputs.o]\ninput = \"x\"\npath = \"back.jsonl\"\n"),
    );
    project.run(&["run", "pipeline.toml"]).exits(0);
    objects(&project.text("back.jsonl"))
}

/// The cell as text, and null for an empty one.
fn text(value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => Value::Null,
        Value::Null | Value::String(_) => value.clone(),
        other => other.to_string().into(),
    }
}

/// What is read of a cell of `column` that was written in a file of this format.
fn kept(format: &str, column: &str, value: &Value) -> Value {
    let labelled = || match (column, value) {
        ("region", Value::Number(code)) if code.as_i64() == Some(1) => json!("North"),
        ("region", Value::Number(_)) => json!("refused"),
        ("place", Value::String(code)) if format == "sav" => json!(if code == "N" { "Norden" } else { "Süden" }),
        _ => text(value),
    };
    match (format, column) {
        // JSON Lines have no type for numbers of more than 64 bits: the column is text.
        ("jsonl", "huge") => text(value),
        ("parquet" | "arrow" | "jsonl", _) => value.clone(),
        ("csv", _) => text(value),
        // Columns with a number above 15 digits or a day before 1900 are text.
        ("xlsx", "big" | "huge" | "text" | "empty" | "zone" | "old" | "tags" | "user" | "scores") => text(value),
        ("xlsx", _) => value.clone(),
        // True and false are labels.
        ("dta" | "sav", "yes" | "region" | "place") => labelled(),
        ("dta" | "sav", "big" | "huge" | "text" | "empty" | "zone" | "tags" | "user" | "scores") => text(value),
        _ => value.clone(),
    }
}

#[test]
fn every_format_keeps_every_type_as_stated() {
    let project = written();
    let rows = objects(&project.text("out.jsonl"));
    assert_eq!(rows.len(), 3);
    for (column, wanted) in [
        ("user", json!({"name": "Ann \"A\"", "score": 4.7})),
        ("tags", json!(["x", null, ""])),
        ("scores", json!({"a b": 1})),
        ("single", json!(4.7)),
        ("huge", json!("18446744073709551615")),
        ("zone", json!("1970-01-20T22:43:55.200123+01:00")),
        ("stamp", json!("2024-07-01T12:00:00.123")),
        ("old", json!("1850-01-01")),
    ] {
        assert_eq!(rows[0][column], wanted, "{column}");
    }
    for format in FORMATS {
        let found = back(&project, &format!("out.{format}"), "");
        for (number, (row, found)) in rows.iter().zip(&found).enumerate() {
            for (column, value) in row {
                assert_eq!(found[column], kept(format, column, value), "{format}, row {}, `{column}`", number + 1);
            }
        }
        assert_eq!(found.len(), 3, "{format}");
    }
}

#[test]
fn numbers_and_booleans_of_csv_come_back_with_types() {
    let project = written();
    let rows = objects(&project.text("out.jsonl"));
    let types =
        "types = { id = \"integer\", big = \"integer\", single = \"number\", ratio = \"number\", yes = \"boolean\" }";
    for (row, found) in rows.iter().zip(back(&project, "out.csv", types)) {
        for column in ["id", "big", "single", "ratio", "yes"] {
            assert_eq!(found[column], row[column], "{column}");
        }
    }
}

#[test]
fn labels_and_codes_go_through_stata_and_spss_and_back() {
    let project = written();
    let outputs = |source: &str, fields: &str| {
        let ends = ["parquet", "sav", "dta", "arrow"]
            .map(|end| format!("[outputs.{end}]\ninput = \"x\"\npath = \"second.{end}\"\n"));
        let book = "[outputs.book]\ninput = \"x\"\npath = \"book.csv\"\n".replace("book.csv", "book.md");
        let spec = format!("[sources.x]\ntype = \"file\"\npath = \"{source}\"\n{fields}\n{}{book}", ends.concat());
        project.write("pipeline.toml", spec);
        project.run(&["run", "pipeline.toml"]).exits(0);
        project.text("book.md")
    };
    for source in ["out.parquet", "out.arrow", "out.dta", "out.sav"] {
        let book = outputs(
            source,
            "values = \"codes\""
                .replace(
                    "values = \"codes\"",
                    if source.ends_with("a") || source.ends_with("v") { "values = \"codes\"" } else { "" },
                )
                .as_str(),
        );
        assert!(book.contains("Region, \"wide\""), "{source}:\n{book}");
        assert!(book.contains("North") && book.contains("refused"), "{source}:\n{book}");
        for second in ["second.sav", "second.dta"] {
            let found = back(&project, second, "");
            let regions: Vec<&Value> = found.iter().map(|row| &row["region"]).collect();
            assert_eq!(regions, [&json!("North"), &Value::Null, &json!("refused")], "{source} to {second}");
        }
        let codes = back(&project, "second.sav", "values = \"codes\"");
        assert_eq!(codes[2]["region"], json!(-9), "{source}");
    }
}
