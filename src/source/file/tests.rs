//! Tests of `file`: fields, formats, several files.

use std::fs;

use arrow_array::RecordBatch;
use arrow_schema::DataType;
use tempfile::TempDir;

use super::*;

const FIELDS: [&str; 23] = [
    "path",
    "format",
    "key",
    "types",
    "null_values",
    "encoding",
    "delimiter",
    "quote",
    "escape",
    "comment",
    "skip_rows",
    "header_rows",
    "names",
    "decimal",
    "thousands",
    "columns",
    "where",
    "sample",
    "limit",
    "sheet",
    "range",
    "values",
    "missing",
];

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn file(json: &str) -> File {
    serde_json::from_str(json).unwrap()
}

fn error(files: &[(&str, &str)], json: &str) -> SourceError {
    let folder = folder(files);
    let schema = file(json).schema(folder.path()).unwrap_err();
    assert_eq!(file(json).read(folder.path()).err().unwrap(), schema);
    schema
}

fn rows(folder: &TempDir, json: &str) -> Result<usize, SourceError> {
    file(json).read(folder.path())?.map(|batch| batch.map(|b| b.num_rows())).sum()
}

#[test]
fn a_glob_is_one_table() {
    let folder = folder(&[("b.csv", "id,t\n3,z\n"), ("a.csv", "id,t\n1,x\n2,y\n")]);
    let source = file(r#"{"path": "*.csv", "key": "id"}"#);
    let batches: Vec<RecordBatch> = source.read(folder.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 1]);
    assert!(batches.iter().all(|b| b.schema() == source.schema(folder.path()).unwrap()));
    assert_eq!(source.files(folder.path()).unwrap().len(), 2);
    assert_eq!((source.key(), source.paths()), (Some("id"), vec![("path", "*.csv".to_owned())]));
}

#[test]
fn files_of_a_glob_have_the_same_columns() {
    let wanted = [
        ("id,t", "id,u", "a.csv and b.csv have different columns: column 2 is `t` and `u`"),
        ("id", "id,u", "a.csv and b.csv have different columns: only b.csv has `u`"),
        ("id,t", "id", "a.csv and b.csv have different columns: only a.csv has `t`"),
    ];
    for (a, b, message) in wanted {
        assert_eq!(error(&[("a.csv", a), ("b.csv", b)], r#"{"path": "*.csv"}"#).message, message);
    }
    let two = error(&[("a.csv", "id"), ("b.tsv", "id")], r#"{"path": "*.?sv"}"#);
    assert_eq!(two.message, "`*.?sv` matches files of two formats: a.csv and b.tsv");
}

#[test]
fn json_lines_of_several_files_share_their_columns() {
    let folder = folder(&[("a.jsonl", "{\"a\":1}\n"), ("b.jsonl", "{\"b\":true,\"a\":0.5}\n")]);
    let source = file(r#"{"path": "*.jsonl"}"#);
    let schema = source.schema(folder.path()).unwrap();
    let types: Vec<_> = schema.fields().iter().map(|f| (f.name().as_str(), f.data_type().clone())).collect();
    assert_eq!(types, [("a", DataType::Float64), ("b", DataType::Boolean)]);
    let batches: Vec<RecordBatch> = source.read(folder.path()).unwrap().map(Result::unwrap).collect();
    assert!(batches.iter().all(|b| b.schema() == schema));
}

#[test]
fn the_format_is_said_or_told_from_the_name() {
    let folder = folder(&[("a.TSV", "id\tt\n1\tx,y\n"), ("b.txt", "id,t\n1,x\n"), ("c.ndjson", "{\"a\":1}\n")]);
    assert_eq!(rows(&folder, r#"{"path": "a.TSV"}"#), Ok(1));
    assert_eq!(rows(&folder, r#"{"path": "b.txt", "format": "csv"}"#), Ok(1));
    assert_eq!(rows(&folder, r#"{"path": "c.ndjson"}"#), Ok(1));
    let error = rows(&folder, r#"{"path": "b.t?t"}"#).unwrap_err();
    assert_eq!(error.message, "b.txt: the extension does not name a known format");
    assert!(error.help.unwrap().starts_with(r#"for a row per document, set type = "documents""#));
    let formats = unknown_format("a.x", Path::new("a.x")).help.unwrap();
    assert!(
        formats.starts_with(r#"set `format` to one of "csv", "tsv", "jsonl", "json", "parquet", "arrow""#),
        "{formats}"
    );
    for (path, format) in [
        ("a.CSV.gz", Some(FileFormat::Csv)),
        ("a.json.zst", Some(FileFormat::Json)),
        ("a.parquet.gz", None),
        ("a.gz", None),
        ("a.feather", Some(FileFormat::Arrow)),
        ("a.zsav", Some(FileFormat::Sav)),
    ] {
        assert_eq!(FileFormat::of(Path::new(path)), format, "{path}");
    }
}

#[test]
fn unknown_columns_are_named_with_the_near_one() {
    let files = [("a.csv", "speech_id,t\n"), ("a.jsonl", "{\"speech_id\":1}\n{}\n")];
    for path in ["a.csv", "a.jsonl"] {
        let key = error(&files, &format!(r#"{{"path": "{path}", "key": "speechid"}}"#));
        assert_eq!(key.message, format!("{path}: has no column `speechid`"));
        assert_eq!((key.help.as_deref(), key.field), (Some("did you mean `speech_id`?"), vec!["key".to_owned()]));
        let types = error(&files, &format!(r#"{{"path": "{path}", "types": {{"zzz": "integer"}}}}"#));
        assert_eq!(types.message, format!("{path}: has no column `zzz`"));
        assert_eq!(types.field, ["types", "zzz"]);
    }
}

#[test]
fn an_error_ends_the_rows() {
    let folder = folder(&[("a.csv", "id\n1\n"), ("b.csv", "id\n1,2\n"), ("c.csv", "id\n1\n")]);
    let results: Vec<bool> = file(r#"{"path": "*.csv"}"#).read(folder.path()).unwrap().map(|b| b.is_ok()).collect();
    assert_eq!(results, [true, false]);
}

#[test]
fn fields_are_checked_before_any_file_is_opened() {
    let root = document::Path::of(["sources", "x"]);
    let messages = |json: &str| -> Vec<String> {
        let mut problems = Problems::default();
        file(json).check(&root, &mut problems);
        problems.into_iter().map(|p| p.message).collect()
    };
    assert!(messages(r#"{"path": "a.csv", "encoding": "cp1252", "types": {"a": "integer"}}"#).is_empty());
    assert_eq!(messages(r#"{"path": " "}"#), ["the path is empty"]);
    assert_eq!(messages(r#"{"path": "a.xls"}"#), ["a.xls: the extension does not name a known format"]);
    assert_eq!(messages(r#"{"path": "a.xlsx", "range": "B"}"#), Vec::<String>::new());
    assert_eq!(messages(r#"{"path": "a.xlsx", "range": "B3:A1"}"#), ["`B3:A1` is not a range of a sheet"]);
    assert_eq!(messages(r#"{"path": "a.csv", "sheet": "S"}"#), ["`sheet` does not apply to CSV"]);
    assert_eq!(messages(r#"{"path": "a.ods", "values": "codes"}"#), ["`values` does not apply to OpenDocument"]);
    assert_eq!(messages(r#"{"path": "a.csv", "encoding": "utf8x"}"#), ["there is no encoding `utf8x`"]);
    let parquet = r#"{"path": "a.parquet", "encoding": "utf-8", "types": {"a": "integer"}}"#;
    assert_eq!(messages(parquet), ["`encoding` does not apply to Parquet"]);
}

#[test]
fn the_meaning_is_what_was_written() {
    let source = file(r#"{"types": {"b": "integer", "a": "string"}, "path": "a.csv", "null_values": ["NA"]}"#);
    assert_eq!(
        source.meaning().to_string(),
        r#"{"path":"a.csv","types":{"a":"string","b":"integer"},"null_values":["NA"]}"#
    );
}

/// The rows of a file, cells joined by `/`.
fn table(folder: &TempDir, json: &str) -> Result<Vec<String>, SourceError> {
    let mut source = file(json);
    Source::seed(&mut source, Some(42));
    let schema = source.schema(folder.path())?;
    let mut rows = Vec::new();
    for batch in source.read(folder.path())? {
        let batch = batch?;
        assert_eq!(batch.schema(), schema);
        let row =
            |i: usize| batch.columns().iter().map(|c| crate::table::cell_at(c, i).text()).collect::<Vec<_>>().join("/");
        rows.extend((0..batch.num_rows()).map(row));
    }
    Ok(rows)
}

#[test]
fn rows_and_columns_are_selected_in_every_format() {
    let folder = folder(&[
        ("a.csv", "id,age,t\n1,17,x\n2,40,y\n3,,z\n4,50,w\n"),
        ("a.tsv", "id\tage\tt\n1\t17\tx\n2\t40\ty\n3\t\tz\n4\t50\tw\n"),
        (
            "a.jsonl",
            "{\"id\":1,\"age\":17,\"t\":\"x\"}\n{\"id\":2,\"age\":40,\"t\":\"y\"}\n{\"id\":3,\"t\":\"z\"}\n{\"id\":4,\"age\":50,\"t\":\"w\"}\n",
        ),
    ]);
    let csv = file(r#"{"path": "a.csv", "types": {"id": "integer", "age": "integer"}}"#);
    let batches: Vec<RecordBatch> = csv.read(folder.path()).unwrap().map(Result::unwrap).collect();
    let parquet = fs::File::create(folder.path().join("a.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(parquet, batches[0].schema(), None).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.close().unwrap();
    for (path, types) in [
        ("a.csv", r#", "types": {"years": "integer"}"#),
        ("a.tsv", r#", "types": {"years": "integer"}"#),
        ("a.jsonl", ""),
        ("a.parquet", ""),
    ] {
        let read = |fields: &str| table(&folder, &format!(r#"{{"path": "{path}"{types}, {fields}}}"#)).unwrap();
        let columns = r#""columns": ["t", {"from": "age", "name": "years"}]"#;
        assert_eq!(read(columns), ["x/17", "y/40", "z/", "w/50"], "{path}");
        let condition = r#""where": "years is not none and years > 20 and id | int != 4""#;
        assert_eq!(read(&format!("{columns}, {condition}")), ["y/40"], "{path}");
        assert_eq!(read(&format!(r#"{columns}, "where": "t != 'x'", "limit": 2"#)), ["y/40", "z/"], "{path}");
        let sample = read(&format!(r#"{columns}, "sample": 2"#));
        assert_eq!(sample, read(&format!(r#"{columns}, "sample": 2"#)));
        assert!(sample.len() == 2 && sample.is_sorted_by_key(|row| "xyzw".find(&row[..1])), "{sample:?}");
        assert_eq!(read(&format!(r#"{columns}, "sample": 9, "limit": 0"#)), [] as [&str; 0]);
    }
}

#[test]
fn a_sample_is_drawn_by_the_seed_across_batches() {
    let rows: String = (0..5000).map(|i| format!("{i},x\n")).collect();
    let folder = folder(&[("a.csv", &format!("id,t\n{rows}"))]);
    let sample = |seed: u64| {
        let mut source = file(r#"{"path": "a.csv", "columns": ["id"], "sample": 100, "types": {"id": "integer"}}"#);
        Source::seed(&mut source, Some(seed));
        let ids = source.read(folder.path()).unwrap().flat_map(|batch| {
            let batch = batch.unwrap();
            (0..batch.num_rows())
                .map(|i| crate::table::cell_at(batch.column(0), i).text().parse().unwrap())
                .collect::<Vec<u64>>()
        });
        (ids.collect::<Vec<u64>>(), source.meaning())
    };
    let (one, two) = (sample(1), sample(2));
    assert_eq!((one.0.len(), one.0.is_sorted()), (100, true));
    assert_eq!(one, sample(1));
    assert!(one.0 != two.0 && one.1 != two.1);
    assert!(one.0.iter().any(|id| *id > 4000) && one.0.iter().any(|id| *id < 1000));
}

#[test]
fn conditions_that_can_not_be_are_refused() {
    let files = [("a.csv", "id,age\n1,5\n"), ("a.jsonl", "{\"id\":1,\"age\":\"5\"}\n")];
    let refused = |path: &str, fields: &str| error(&files, &format!(r#"{{"path": "{path}", {fields}}}"#));
    for path in ["a.csv", "a.jsonl"] {
        let unknown = refused(path, r#""where": "agee == 1""#);
        assert_eq!(unknown.message, format!("`where` uses `agee`, but {path} has no such column"));
        assert_eq!(
            (unknown.help.as_deref(), &unknown.field[..]),
            (Some("did you mean `age`?"), &["where".to_owned()][..])
        );
        let text = refused(path, r#""where": "age > 3""#);
        assert_eq!(text.message, "`where`: `age > 3` compares text with a number: `age` is text");
        let bare = refused(path, r#""where": "age""#);
        assert!(bare.message.starts_with("`where`: `age` is text, and every text counts as true"), "{bare}");
        assert!(refused(path, r#""where": "age >""#).message.starts_with("`where`: the condition does not compile"));
        assert_eq!(refused(path, r#""where": "age = 3""#).help.as_deref(), Some("did you mean `==` instead of `=`?"));
    }
    assert_eq!(refused("a.jsonl", r#""columns": [2]"#).message, "a.jsonl: the columns of JSON Lines have no numbers");
}

#[test]
fn what_is_detected_is_a_part_of_the_content_and_nothing_else_is() {
    let content = |name: &str, text: &str, json: &str| {
        let folder = folder(&[(name, text)]);
        crate::source::content(&file(json), folder.path()).unwrap()
    };
    let semicolons = content("a.csv", "a;b\n1;2\n", r#"{"path": "a.csv"}"#);
    assert_ne!(semicolons, content("a.csv", "a;b\n1;2\n", r#"{"path": "a.csv", "delimiter": ","}"#));
    // What release 0.1.0 recorded for this file: a plain file keeps its content.
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"fanfold-source-1").update(br#"{"path":"a.csv"}"#).update(b"\0file\0").update(b"a,b\n1,2\n");
    assert_eq!(content("a.csv", "a,b\n1,2\n", r#"{"path": "a.csv"}"#), hasher.finalize().to_hex().to_string());
}

#[test]
fn files_of_a_glob_may_have_other_labels() {
    let folder = folder(&[("a.csv", "a,b\nA,B\n1,2\n"), ("b.csv", "a,b\nX,\n3,4\n")]);
    assert_eq!(table(&folder, r#"{"path": "*.csv", "header_rows": 2}"#).unwrap(), ["1/2", "3/4"]);
}

#[test]
fn readings_say_how_each_file_is_read() {
    let folder = folder(&[("a.csv", "a,b\n1,2\n"), ("b.csv", "a;b\n1;2\n"), ("c.csv", "a;b\n3;4\n")]);
    let readings = file(r#"{"path": "*.csv"}"#).readings(folder.path()).unwrap();
    let shown: Vec<_> = readings.iter().map(|r| (r.path.as_str(), r.files, r.delimiter.as_deref().unwrap())).collect();
    assert_eq!(shown, [("a.csv", 1, ","), ("b.csv", 2, ";")]);
    assert_eq!(readings[1].detected, [r#"delimiter = ";""#]);
    assert_eq!((readings[0].format.as_str(), readings[0].encoding.as_deref()), ("CSV", Some("utf-8")));
}

#[test]
fn the_registry_knows_the_fields() {
    let mut generator = schemars::SchemaGenerator::default();
    let schema = (KIND.schema)(&mut generator);
    assert_eq!(schema.get("additionalProperties"), Some(&false.into()));
    let properties = schema.get("properties").and_then(|p| p.as_object()).unwrap();
    assert_eq!(properties.keys().collect::<Vec<_>>(), FIELDS);
    assert!(properties.values().all(|p| p.get("description").is_some()));
}

#[test]
fn every_field_applies_to_some_format_and_names_those() {
    for field in (KIND.fields)() {
        assert!(FORMATS.iter().any(|info| info.takes(field)), "{field}");
    }
    for field in EVERY.iter().chain(FORMATS.iter().flat_map(|info| info.fields.concat()).collect::<Vec<_>>().iter()) {
        assert!((KIND.fields)().contains(field), "{field}");
    }
    let folder = folder(&[("a.parquet", "")]);
    let error = rows(&folder, r#"{"path": "*.parquet", "delimiter": ";"}"#).unwrap_err();
    assert_eq!(error.message, "a.parquet: `delimiter` does not apply to Parquet");
    assert_eq!(error.help.unwrap(), "remove it; it applies to CSV and TSV");
    assert_eq!(error.field, ["delimiter"]);
}

#[test]
fn a_spec_is_decoded_with_every_problem() {
    let decoded = |text: &str| {
        let document = document::Document::parse("a.toml", text.to_owned(), document::SpecFormat::Toml).unwrap();
        let mut problems = Problems::default();
        let source = (KIND.decode)(&document.root, &document::Path::root(), &mut problems);
        (source.is_some(), problems.into_iter().map(|p| (p.message, p.help)).collect::<Vec<_>>())
    };
    let good = "path = \"a.csv\"\nkey = \"id\"\ntypes = { age = \"integer\" }\nnull_values = [\"NA\"]";
    assert_eq!(decoded(good), (true, vec![]));
    let (good, problems) = decoded("path = \"a.csv\"\nencoding = \"windows-1259\"");
    assert!(!good);
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].0, "there is no encoding `windows-1259`");
    let (good, problems) = decoded("path = \"a.csv\"\nkye = \"id\"\ntypes = { age = \"int\" }");
    assert!(!good);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!((KIND.fields)(), FIELDS);
}
