//! Output files: what other programs read in them, the columns that they have, and their codebooks.

use std::fs::File;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::project::Project;
use crate::python::Python;
use crate::server::{Say, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// A source with a column of each type, and a stage whose answers fail, are skipped or are null.
const SPEC: &str = r#"name = "people"
models.a = { provider = "ollama", model = "one" }
sources.people = { type = "file", path = "people.parquet", key = "id" }

[stages.tone]
type = "analysis"
input = "people"
models = ["a"]
text_column = "remark"
prompt = "What is the tone? {{ text[:60] }}"
max_attempts = 1
max_failed = 9
chunk_size = 2

[stages.tone.output]
tone = { type = "string", enum = ["glad", "sad", "so so"], description = "Tone of the remark" }
score = { type = "integer", nullable = true }
war = { type = "boolean" }
why-not = { type = "string" }
"#;

fn server() -> Server {
    let script = |asked: &crate::server::Asked, _: usize| {
        let question = asked.question();
        let tone = ["so so", "sad"].into_iter().find(|tone| question.contains(tone)).unwrap_or("glad");
        match question.contains("Bad") {
            true => Say::Text("I can't say.".to_owned()),
            false => {
                let score = if question.contains("null") { Value::Null } else { json!(-8) };
                Say::Json(json!({ "tone": tone, "score": score, "war": tone == "sad", "why-not": "=1+1" }))
            }
        }
    };
    Server::new().models(&["one"]).script(script).start()
}

/// The remarks: an answer, a failed call, a row that is not asked, a null, and long texts.
fn remarks() -> Vec<String> {
    let long = "é".repeat(40_000);
    ["sad =cmd", "Bad", "", "so so null", "=SUM(A1)\u{1}\t\"x\"\r\n<b>&amp;", &long].map(str::to_owned).to_vec()
}

fn people(project: &Project) {
    let remarks = remarks();
    let rows = remarks.len() as i64;
    let labels = |label: &str, values: &str| {
        std::collections::HashMap::from([
            ("fanfold.label".to_owned(), label.to_owned()),
            ("fanfold.value_labels".to_owned(), values.to_owned()),
        ])
    };
    let place = labels("Where do you live?", r#"[["N","North"],["S","South \"x\""]]"#);
    let region = labels("Region", r#"[[1,"North"],[2,"South"],[-9,"refused"]]"#);
    let fields = vec![
        Field::new("id", DataType::Int64, true),
        Field::new("remark", DataType::Utf8, true),
        Field::new("born", DataType::Date32, true),
        Field::new("seen", DataType::Timestamp(TimeUnit::Millisecond, None), true),
        Field::new("huge", DataType::Int64, true),
        Field::new("ratio", DataType::Float64, true),
        Field::new("yes", DataType::Boolean, true),
        Field::new("place", DataType::Utf8, true).with_metadata(place),
        Field::new("region", DataType::Int64, true).with_metadata(region),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(1..=rows)),
        Arc::new(StringArray::from_iter(remarks.iter().map(|text| (!text.is_empty()).then_some(text)))),
        // 2000-02-29, 1850-01-01 and no date.
        Arc::new(Date32Array::from_iter((0..rows).map(|row| [Some(11_016), Some(-43_829), None][row as usize % 3]))),
        Arc::new(TimestampMillisecondArray::from_iter((0..rows).map(|row| Some(1_700_000_000_123 + row)))),
        Arc::new(Int64Array::from_iter((0..rows).map(|row| Some(i64::MAX - row)))),
        Arc::new(Float64Array::from_iter((0..rows).map(|row| [Some(0.1), None, Some(-1e300)][row as usize % 3]))),
        Arc::new(BooleanArray::from_iter((0..rows).map(|row| [Some(true), Some(false), None][row as usize % 3]))),
        Arc::new(StringArray::from_iter((0..rows).map(|row| [Some("N"), Some("S"), None][row as usize % 3]))),
        Arc::new(Int64Array::from_iter((0..rows).map(|row| [Some(1), Some(-9), None][row as usize % 3]))),
    ];
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a table");
    let file = File::create(project.path("people.parquet")).expect("a file");
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

/// A project whose run has ended, with this output.
fn project(server: &Server, output: &str) -> Project {
    let project = Project::new().spec(&format!("{SPEC}\n[outputs.out]\ninput = \"tone\"\n{output}\n"));
    people(&project);
    project.env("OLLAMA_HOST", &server.url())
}

fn read(python: &Python, project: &Project, script: &str) -> Value {
    let script = format!("import json, math, datetime, pandas as pd, numpy as np\n{script}\n");
    let text = python.run(project.folder(), &script);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// The text of row 5 in files that cannot hold more than this of a long text.
fn long(bytes: usize) -> String {
    "é".repeat(bytes)
}

#[test]
fn excel_reads_a_workbook_with_dates_texts_and_labels() {
    let Some(python) = Python::or_skip("excel_reads_a_workbook_with_dates_texts_and_labels") else { return };
    let server = server();
    let project = project(&server, "path = \"out/t.xlsx\"\nlabels = { tone = \"The \\\"tone\\\"\" }");
    let ran = project.run(&RUN).exits(0);
    assert!(ran.stderr.contains("`remark`: 1 text is cut after 32,767 characters"), "{}", ran.stderr);
    let found = read(
        &python,
        &project,
        r#"
import openpyxl
book = openpyxl.load_workbook("out/t.xlsx")
sheet = book["data"]
rows = [[c for c in row] for row in sheet.iter_rows()]
names = [c.value for c in rows[0]]
cell = lambda row, name: rows[row][names.index(name)]
print(json.dumps({
    "names": names, "rows": len(rows), "sheets": book.sheetnames, "frozen": sheet.freeze_panes,
    "born": [str(cell(i, "born").value) for i in (1, 2, 3)], "date": cell(1, "born").is_date,
    "seen": cell(1, "seen").value.isoformat(), "huge": cell(1, "huge").value,
    "ratio": [cell(i, "ratio").value for i in (1, 2, 3)], "yes": [cell(i, "yes").value for i in (1, 2, 3)],
    "formula": [cell(5, "remark").data_type, cell(1, "why-not").data_type, cell(1, "why-not").value],
    "remark": openpyxl.utils.escape.unescape(cell(5, "remark").value), "long": len(cell(6, "remark").value),
    "score": [cell(i, "score").value for i in (1, 2, 4)], "created": book.properties.created.isoformat(),
    "labels": [[c.value for c in row] for row in book["labels"].iter_rows(min_row=2)],
}))
"#,
    );
    let names = ["id", "remark", "born", "seen", "huge", "ratio", "yes", "place", "region"];
    let answers = ["tone", "score", "war", "why-not", "tone_error"];
    assert_eq!(found["names"], json!([names.as_slice(), &answers].concat()));
    assert_eq!((&found["rows"], &found["sheets"]), (&json!(7), &json!(["data", "labels"])));
    assert_eq!(found["born"], json!(["2000-02-29 00:00:00", "1850-01-01", "None"]));
    assert_eq!((&found["date"], &found["frozen"]), (&json!(true), &json!("A2")));
    assert_eq!(found["seen"], json!("2023-11-14T22:13:20.123000"));
    assert_eq!(found["huge"], json!(i64::MAX.to_string()));
    assert_eq!(found["ratio"], json!([0.1, null, -1e300]));
    assert_eq!(found["yes"], json!([true, false, null]));
    assert_eq!(found["formula"], json!(["s", "s", "=1+1"]));
    assert_eq!(found["remark"], json!(remarks()[4]));
    assert_eq!(found["long"], json!(32_767));
    assert_eq!(found["score"], json!([-8, null, null]));
    assert_eq!(found["created"], json!("2000-01-01T00:00:00"));
    let labels = json!([
        ["place", null, "Where do you live?"],
        ["place", "N", "North"],
        ["place", "S", "South \"x\""],
        ["region", null, "Region"],
        ["region", 1, "North"],
        ["region", 2, "South"],
        ["region", -9, "refused"],
        ["tone", null, "The \"tone\""],
    ]);
    assert_eq!(found["labels"], labels);
}

#[test]
fn stata_reads_labels_dates_long_texts_and_missing_codes() {
    let Some(python) = Python::or_skip("stata_reads_labels_dates_long_texts_and_missing_codes") else { return };
    let server = server();
    let project = project(
        &server,
        "path = \"out/t.dta\"\nmissing_codes = true\ncodebook = \"out/book.md\"\nlabels = { war = \"About war\" }",
    );
    let ran = project.run(&RUN).exits(0);
    let book = project.text("out/book.md");
    assert!(book.contains(".a = call failed") && !book.contains("-8 = "), "{book}");
    assert!(ran.stderr.contains("`why-not` is called `why_not`"), "{}", ran.stderr);
    let found = read(
        &python,
        &project,
        r#"
import pyreadstat
with pd.io.stata.StataReader("out/t.dta", convert_categoricals=False, convert_missing=True, convert_dates=False) as reader:
    frame, labels, values = reader.read(), reader.variable_labels(), reader.value_labels()
with pd.io.stata.StataReader("out/t.dta") as reader:
    shown = reader.read()
_, meta = pyreadstat.read_dta("out/t.dta", user_missing=True)
other, _ = pyreadstat.read_dta("out/t.dta")
text = lambda column: [str(x) for x in frame[column]]
print(json.dumps({
    "names": list(frame.columns), "labels": labels,
    "values": {k: {str(int(c)): t for c, t in v.items()} for k, v in values.items()},
    "tone": text("tone"), "shown": [str(x) for x in shown["tone"]], "score": text("score"), "war": text("war"),
    "why": list(frame["why_not"]), "huge": list(frame["huge"])[0],
    "born": [str(x) for x in shown["born"]], "seen": str(shown["seen"][0]),
    "ratio": text("ratio"), "yes": text("yes"), "place": list(frame["place"]), "region": text("region"),
    "remark": [len(t) for t in frame["remark"]], "same": list(other["remark"]) == list(frame["remark"]),
    "fifth": frame["remark"][4], "user": meta.missing_user_values,
}))
"#,
    );
    assert_eq!(found["labels"]["tone"], json!("Tone of the remark"));
    assert_eq!(found["labels"]["war"], json!("About war"));
    assert_eq!(found["labels"]["why_not"], json!("why-not"));
    assert_eq!(found["labels"]["place"], json!("Where do you live?"));
    let codes = json!({ "2147483622": "call failed", "2147483623": "not asked" });
    let with = |own: Value| {
        let mut all = own;
        all.as_object_mut().expect("codes").extend(codes.as_object().expect("codes").clone());
        all
    };
    assert_eq!(found["values"]["tone"], with(json!({ "1": "glad", "2": "sad", "3": "so so" })));
    assert_eq!(found["values"]["region"], json!({ "1": "North", "2": "South", "-9": "refused" }));
    assert_eq!(found["values"]["yes"], json!({ "0": "false", "1": "true" }));
    assert_eq!(found["tone"], json!(["2", ".a", ".b", "3", "1", "1"]));
    assert_eq!(found["shown"][0], json!("sad"));
    assert_eq!(found["score"], json!(["-8", ".a", ".b", ".", "-8", "-8"]));
    assert_eq!(found["war"], json!(["1", ".a", ".b", "0", "0", "0"]));
    assert_eq!(found["why"], json!(["=1+1", "", "", "=1+1", "=1+1", "=1+1"]));
    assert_eq!(found["huge"], json!(i64::MAX.to_string()));
    assert_eq!(
        found["born"].as_array().map(|born| &born[..3]),
        Some(&[json!("2000-02-29 00:00:00"), json!("1850-01-01 00:00:00"), json!("NaT")][..])
    );
    assert_eq!(found["seen"], json!("2023-11-14 22:13:20.123000"));
    assert_eq!(
        found["ratio"].as_array().map(|ratio| &ratio[..3]),
        Some(&[json!("0.1"), json!("."), json!("-1e+300")][..])
    );
    assert_eq!(found["place"], json!(["N", "S", "", "N", "S", ""]));
    assert_eq!(found["remark"], json!([8, 3, 0, 10, remarks()[4].chars().count(), 40_000]));
    assert_eq!((&found["same"], &found["fifth"]), (&json!(true), &json!(remarks()[4])));
}

#[test]
fn spss_reads_labels_dates_long_texts_and_missing_codes() {
    let Some(python) = Python::or_skip("spss_reads_labels_dates_long_texts_and_missing_codes") else { return };
    let server = server();
    let project = project(&server, "path = \"out/t.sav\"\nmissing_codes = true\nlabels = { war = \"About war\" }");
    let ran = project.run(&RUN).exits(0);
    assert!(ran.stderr.contains("`why-not` is called `why_not`"), "{}", ran.stderr);
    assert!(ran.stderr.contains("`remark`: 1 text is cut after 32,767 bytes"), "{}", ran.stderr);
    let found = read(
        &python,
        &project,
        r#"
import pyreadstat
frame, meta = pyreadstat.read_sav("out/t.sav", user_missing=True)
clean, _ = pyreadstat.read_sav("out/t.sav")
value = lambda x: None if x is None or (isinstance(x, float) and math.isnan(x)) else x
column = lambda name, of=frame: [value(x) for x in of[name]]
print(json.dumps({
    "names": list(frame.columns), "labels": meta.column_names_to_labels, "rows": meta.number_rows,
    "values": {k: [[c, t] for c, t in v.items()] for k, v in meta.variable_value_labels.items()},
    "ranges": meta.missing_ranges, "encoding": meta.file_encoding,
    "tone": column("tone"), "clean": column("tone", clean), "score": column("score"), "war": column("war"),
    "why": column("why_not"), "huge": column("huge")[0], "born": [str(x) for x in frame["born"]][:3],
    "seen": pd.Timestamp(frame["seen"][0]).round("ms").isoformat(), "ratio": column("ratio")[:3], "yes": column("yes")[:3],
    "place": column("place")[:3], "region": column("region")[:3], "remark": column("remark"),
}))
"#,
    );
    assert_eq!((&found["rows"], &found["encoding"]), (&json!(6), &json!("UTF-8")));
    assert_eq!(found["labels"]["tone"], json!("Tone of the remark"));
    assert_eq!(found["labels"]["war"], json!("About war"));
    assert_eq!(found["labels"]["region"], json!("Region"));
    let tone = json!([[1.0, "glad"], [2.0, "sad"], [3.0, "so so"], [-8.0, "call failed"], [-9.0, "not asked"]]);
    assert_eq!(found["values"]["tone"], tone);
    assert_eq!(found["values"]["place"], json!([["N", "North"], ["S", "South \"x\""]]));
    assert_eq!(found["values"]["region"], json!([[1.0, "North"], [2.0, "South"], [-9.0, "refused"]]));
    assert_eq!(found["tone"], json!([2.0, -8.0, -9.0, 3.0, 1.0, 1.0]));
    assert_eq!(found["clean"], json!([2.0, null, null, 3.0, 1.0, 1.0]));
    // A row holds -8, so other codes mean missing.
    assert_eq!(found["score"], json!([-8.0, -98.0, -99.0, null, -8.0, -8.0]));
    let ranges = |name: &str| found["ranges"][name].as_array().map_or(0, Vec::len);
    assert_eq!((ranges("tone"), ranges("score"), ranges("war"), ranges("region")), (2, 2, 2, 0));
    assert_eq!(found["war"], json!([1.0, -8.0, -9.0, 0.0, 0.0, 0.0]));
    assert_eq!(found["why"], json!(["=1+1", "", "", "=1+1", "=1+1", "=1+1"]));
    assert_eq!(found["huge"], json!(i64::MAX.to_string()));
    assert_eq!(found["born"], json!(["2000-02-29", "1850-01-01", "nan"]));
    assert_eq!(found["seen"], json!("2023-11-14T22:13:20.123000"));
    assert_eq!(found["ratio"], json!([0.1, null, -1e300]));
    assert_eq!(found["yes"], json!([1.0, 0.0, null]));
    assert_eq!((&found["place"], &found["region"]), (&json!(["N", "S", ""]), &json!([1.0, -9.0, null])));
    let remark: Vec<String> =
        found["remark"].as_array().expect("texts").iter().map(|t| t.as_str().unwrap_or_default().to_owned()).collect();
    let mut expected = remarks();
    expected[5] = long(32_767 / 2);
    assert_eq!(remark, expected);
}

#[test]
fn pyarrow_reads_an_arrow_file_with_types_and_labels() {
    let Some(python) = Python::or_skip("pyarrow_reads_an_arrow_file_with_types_and_labels") else { return };
    let server = server();
    let project =
        project(&server, "path = \"out/t.arrow\"\ndrop = [\"remark\", \"huge\"]\nrename = { born = \"birth\" }");
    project.run(&RUN).exits(0);
    let found = read(
        &python,
        &project,
        r#"
import pyarrow.feather as feather
table = feather.read_table("out/t.arrow")
print(json.dumps({
    "names": table.column_names, "types": [str(t) for t in table.schema.types], "rows": table.num_rows,
    "label": table.schema.field("region").metadata[b"fanfold.label"].decode(),
    "birth": str(table["birth"][0].as_py()), "tone": table["tone"].to_pylist(),
    "run": b"fanfold.run" in table.schema.metadata,
}))
"#,
    );
    let names =
        ["id", "birth", "seen", "ratio", "yes", "place", "region", "tone", "score", "war", "why-not", "tone_error"];
    assert_eq!(found["names"], json!(names));
    assert_eq!(found["types"][1], json!("date32[day]"));
    assert_eq!(found["types"][2], json!("timestamp[ms]"));
    assert_eq!((&found["rows"], &found["label"]), (&json!(6), &json!("Region")));
    assert_eq!((&found["birth"], &found["run"]), (&json!("2000-02-29"), &json!(true)));
    assert_eq!(found["tone"], json!(["sad", null, null, "so so", "glad", "glad"]));
}

#[test]
fn every_format_is_the_same_bytes_however_the_rows_are_cut() {
    let server = server();
    let outputs = ["t.parquet", "t.csv", "t.jsonl", "t.xlsx", "t.dta", "t.sav", "t.arrow", "t.md", "book.csv"];
    let project = project(&server, "path = \"out/t.parquet\"\ncodebook = \"out/book.csv\"");
    let more = outputs[1..8].iter().enumerate();
    let more: String =
        more.map(|(i, path)| format!("[outputs.more{i}]\ninput = \"tone\"\npath = \"out/{path}\"\n")).collect();
    let spec = project.text("pipeline.toml") + &more;
    project.write("pipeline.toml", &spec);
    project.run(&RUN).exits(0);
    let bytes = || outputs.map(|path| project.bytes(&format!("out/{path}")));
    let before = bytes();
    let sent = server.requests();
    // Parts of another size, and a folder without the files.
    project.write("pipeline.toml", spec.replace("chunk_size = 2", "chunk_size = 5"));
    outputs.iter().for_each(|path| std::fs::remove_file(project.path(&format!("out/{path}"))).expect("a file"));
    project.run(&RUN).exits(0);
    for ((path, before), after) in outputs.iter().zip(before).zip(bytes()) {
        assert!(before == after, "{path}");
    }
    assert_eq!(server.requests(), sent + 1, "only the failed row is asked again");
    project.run(&["verify", "pipeline.toml"]).exits(0);
    assert!(project.files("out").iter().all(|file| !file.contains(".tmp")));
}

#[test]
fn outputs_of_some_columns_are_tested_verified_and_compared() {
    let server = server();
    let shape = "columns = [\"tone\", \"id\"]\nrename = { tone = \"mood\" }";
    let project = project(&server, &format!("path = \"out/t.csv\"\n{shape}"));
    let more = format!(
        "[outputs.parquet]\ninput = \"tone\"\npath = \"out/t.parquet\"\n{shape}\n\
         [[tests]]\ninput = \"out\"\ntype = \"allowed\"\ncolumn = \"tone\"\nvalues = [\"glad\", \"sad\", \"so so\"]\n\
         [[tests]]\ninput = \"parquet\"\ntype = \"between\"\ncolumn = \"id\"\nminimum = 1\nmaximum = 6\n\
         [[tests]]\ninput = \"parquet\"\ntype = \"failed\"\nmaximum = 1\n"
    );
    project.write("pipeline.toml", project.text("pipeline.toml") + &more);
    project.run(&RUN).exits(0);
    assert_eq!(project.text("out/t.csv"), "mood,id\nsad,1\n,2\n,3\nso so,4\nglad,5\nglad,6\n");
    assert_eq!(project.table("out/t.parquet").columns(), ["mood", "id"]);
    project.run(&["test", "pipeline.toml"]).exits(0);
    project.run(&["verify", "pipeline.toml"]).exits(0);
    project.run(&["status", "pipeline.toml"]);
    let shown = project.run(&["explain", "out/t.csv", "1", "tone"]).exits(0);
    assert!(shown.stdout.contains("sad"), "{}", shown.stdout);
    // A changed file is noticed.
    project.write("out/t.csv", "mood,id\nglad,1\n");
    project.run(&["verify", "pipeline.toml"]).exits(5);
}

#[test]
fn a_csv_begins_with_a_byte_order_mark_only_if_the_spec_says_so() {
    let server = server();
    let plain = project(&server, "path = \"out/t.csv\"\ncolumns = [\"id\"]");
    plain.run(&RUN).exits(0);
    assert_eq!(plain.text("out/t.csv"), "id\n1\n2\n3\n4\n5\n6\n");
    let marked = project(&server, "path = \"out/t.csv\"\ncolumns = [\"id\"]\nbom = true");
    marked.run(&RUN).exits(0);
    assert_eq!(marked.text("out/t.csv"), "\u{feff}id\n1\n2\n3\n4\n5\n6\n");
    marked.run(&["verify", "pipeline.toml"]).exits(0);
}

#[test]
fn a_codebook_describes_every_column() {
    let server = server();
    let project = project(
        &server,
        "path = \"out/t.sav\"\nmissing_codes = true\ncodebook = \"out/book.md\"\nlabels = { yes = \"<b>*Yes*</b> | `no`\\n# x\" }",
    );
    let more = "[outputs.rows]\ninput = \"tone\"\npath = \"out/t.csv\"\ncodebook = \"out/book.csv\"\n";
    project.write("pipeline.toml", project.text("pipeline.toml") + more);
    let ran = project.run(&RUN).exits(0);
    assert!(ran.stderr.contains("wrote out/book.md: a codebook of 14 columns"), "{}", ran.stderr);
    let book = project.text("out/book.md");
    let hash = book.lines().find(|line| line.starts_with("- prompt hash: ")).expect("a hash").to_owned();
    assert_eq!(hash.len(), "- prompt hash: ".len() + 64);
    insta::assert_snapshot!(book.replace(&hash, "- prompt hash: [hash]"));
    let csv = project.text("out/book.csv");
    insta::assert_snapshot!(csv.replace(hash.trim_start_matches("- prompt hash: "), "[hash]"));
    for command in ["test", "verify", "status"] {
        let code = project.run(&[command, "pipeline.toml"]).code;
        assert!(code == 0 || command == "status", "{command}: {code}");
    }
}

#[test]
fn no_file_is_written_where_a_folder_is_or_below_a_file() {
    let server = server();
    for (output, message) in [
        ("path = \"kept.csv\"", "`kept.csv` is a folder"),
        ("path = \"o.csv\"\ncodebook = \"kept.md\"", "`kept.md` is a folder"),
        ("path = \"data/o.csv/o.csv\"", "`data/o.csv/o.csv` would be in `o.csv`, which is a file"),
    ] {
        let project = project(&server, output).file("kept.csv/a", "").file("kept.md/a", "").file("data/o.csv", "");
        project.run(&["validate", "pipeline.toml"]).exits(2).says(message);
    }
}

#[test]
fn wrong_columns_and_fields_of_an_output_are_reported() {
    let server = server();
    let cases = [
        ("path = \"o.parqet\"", "`o.parqet` does not say the format", "did you mean `.parquet`? the formats are"),
        ("path = \"o.xls\"", "`o.xls` does not say the format", "did you mean `.xlsx`?"),
        ("path = \"o.csv\"\ncolumns = [\"tome\"]", "the input has no column `tome`", "did you mean `tone`?"),
        ("path = \"o.csv\"\ndrop = [\"remrak\"]", "the input has no column `remrak`", "did you mean `remark`?"),
        ("path = \"o.csv\"\nrename = { tonne = \"x\" }", "the input has no column `tonne`", "did you mean `tone`?"),
        ("path = \"o.sav\"\nlabels = { tonne = \"x\" }", "the input has no column `tonne`", "did you mean `tone`?"),
        ("path = \"o.csv\"\ncolumns = [\"id\"]\ndrop = [\"id\"]", "an output has `columns` or `drop`, not both", ""),
        ("path = \"o.csv\"\ncolumns = [\"id\", \"id\"]", "`id` is listed twice in `columns`", ""),
        ("path = \"o.csv\"\ncolumns = []", "the output has no columns", ""),
        ("path = \"o.csv\"\nrename = { tone = \"id\" }", "two columns of the output are called `id`", ""),
        ("path = \"o.csv\"\nrename = { tone = \" \" }", "the new name is empty", ""),
        ("path = \"o.csv\"\ncolumns = [\"id\"]\nrename = { tone = \"x\" }", "the output does not have `tone`", ""),
        ("path = \"o.csv\"\nlabels = { tone = \"x\" }", "a text file has no place for `labels`", "add `codebook"),
        ("path = \"o.parquet\"\nbom = true", "`bom` is for CSV", "remove it"),
        ("path = \"o.csv\"\nmissing_codes = true", "`missing_codes` is for Stata (.dta) and SPSS (.sav)", "remove it"),
        ("path = \"o.csv\"\ncodebook = \"o.txt\"", "`o.txt` does not say the format of the codebook", ".md` or `.csv"),
        ("path = \"o.csv\"\ncodebook = \"o.csv\"", "the output itself is written to this file", ""),
        ("path = \"o.csv\"\ncolums = [\"id\"]", "colums", "did you mean `columns`?"),
    ];
    for (output, message, help) in cases {
        let ran = project(&server, output).run(&["validate", "pipeline.toml"]).exits(2);
        assert!(ran.stderr.contains(message) && ran.stderr.contains(help), "{output}:\n{}", ran.stderr);
    }
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_table_with_more_rows_than_excel_holds_is_refused_before_the_run() {
    let project = Project::new()
        .spec("sources.s = { type = \"file\", path = \"s.csv\" }\noutputs.o = { input = \"s\", path = \"o.xlsx\" }")
        .file("s.csv", "a\n".repeat(1_048_577));
    for command in ["plan", "run"] {
        let ran = project.run(&[command, "pipeline.toml"]).exits(2);
        ran.says("`o.xlsx` would have 1048576 rows; its format holds 1048575");
    }
    assert!(!project.has("o.xlsx"));
}

/// A survey, a fan-out over its answers with a column per model, and one with a row per model.
const SURVEYED: &str = r#"
models.small = { provider = "mock", model = "small" }
models.large = { provider = "mock", model = "large" }
sources.people = { type = "file", path = "people.csv", key = "id", types = { age = "integer" } }

[stages.opinion]
type = "survey"
input = "people"
models = ["small"]
persona = "You are {{ age }} years old."
questions = [
  { id = "vote", text = "Did you vote?", type = "single", options = ["yes", "no"] },
  { id = "trust", text = "Do you trust | parliament?", type = "scale", min = 1, max = 7, min_label = "not at all", max_label = "fully", when = "vote == 'yes'" },
  { id = "media", text = "Which media do you use?", type = "multiple", options = ["radio", "press"] },
  { id = "why", text = "Why?", type = "text" },
]

[stages.tone]
type = "analysis"
input = "opinion"
models = ["small", "large"]
fanout = true
layout = "wide"
prompt = "What is the tone? {{ why }}"
output.tone = { type = "string", enum = ["glad", "sad"], description = "Tone of the answer" }

[stages.long]
type = "analysis"
input = "people"
models = ["small", "large"]
fanout = true
layout = "long"
prompt = "{{ age }}?"
output.big = { type = "boolean" }

[outputs.wide]
input = "tone"
path = "wide.sav"
drop = ["age", "why", "opinion_error", "tone_error_small", "tone_error_large"]
codebook = "wide.md"

[outputs.long]
input = "long"
path = "long.csv"
codebook = "long-book.csv"
"#;

#[test]
fn codebooks_of_surveys_and_of_several_models() {
    let people = "id,age\n1,30\n2,41\n3,52\n4,63\n";
    let project = Project::new().spec(SURVEYED).file("people.csv", people);
    project.run(&RUN).exits(0);
    let hashless = |text: &str, mark: &str| -> String {
        text.lines().map(|line| line.split_once(mark).map_or(line, |(start, _)| start).to_owned() + "\n").collect()
    };
    insta::assert_snapshot!(hashless(&project.text("wide.md"), "- prompt hash: "));
    let long = project.text("long-book.csv");
    let rows: Vec<&str> =
        long.lines().skip(1).map(|row| row.rsplit_once(',').map_or(row, |(start, _)| start)).collect();
    assert_eq!(
        rows[2..4],
        [
            "model,,text,,5 characters,5 characters,8,0,0.0000,0,0,\"stage long (analysis), the model that answered\",",
            "big,,true and false,,,,8,0,0.0000,0,0,stage long (analysis),small (mock small); large (mock large)",
        ]
    );
    let Some(python) = Python::or_skip("codebooks_of_surveys_and_of_several_models") else { return };
    let found = read(
        &python,
        &project,
        r#"
import pyreadstat
_, meta = pyreadstat.read_sav("wide.sav")
print(json.dumps({"labels": meta.column_names_to_labels, "values": {k: {str(c): t for c, t in v.items()} for k, v in meta.variable_value_labels.items()}}))
"#,
    );
    assert_eq!(found["labels"]["trust"], json!("Do you trust | parliament?"));
    assert_eq!(found["values"]["trust"], json!({ "1.0": "not at all", "7.0": "fully" }));
    assert_eq!(found["values"]["vote"], json!({ "1.0": "yes", "2.0": "no" }));
    assert_eq!(found["labels"]["tone_large"], json!("Tone of the answer"));
    assert_eq!(found["values"]["tone_small"], json!({ "1.0": "glad", "2.0": "sad" }));
}

#[test]
fn no_output_overwrites_a_file_of_the_spec() {
    let spec = |line: &str, output: &str| {
        format!(
            r#"
replay = "replay.parquet"
models.m = {{ provider = "mock", model = "m" }}
sources.s = {{ type = "file", path = "d.csv", key = "id" }}
outputs.o = {{ input = "a", {output} }}
[stages.a]
type = "analysis"
input = "s"
models = ["m"]
{line}
"#
        )
    };
    let prompt = "prompt = \"Tone of {{ t }}\"";
    let cases = [
        ("prompt_file = \"p.md\"".to_owned(), "path = \"p.md\"", "p.md"),
        ("prompt_file = \"p.md\"".to_owned(), "path = \"o.csv\", codebook = \"./p.md\"", "p.md"),
        (format!("{prompt}\nexamples_file = \"examples.csv\""), "path = \"examples.csv\"", "examples.csv"),
        (format!("{prompt}\ncorrections = \"people.csv\""), "path = \"people.csv\"", "people.csv"),
        (prompt.to_owned(), "path = \"replay.parquet\"", "replay.parquet"),
    ];
    for (line, output, file) in cases {
        let project = Project::new()
            .spec(&spec(&line, output))
            .file("p.md", "Tone of {{ t }}")
            .csv("examples.csv", &[["t", "a"], ["war", "bad"]])
            .csv("people.csv", &[["stage", "key", "column", "value"], ["a", "1", "a", "bad"]])
            .csv("d.csv", &[["id", "t"], ["1", "peace"]]);
        let told = project.run(&["validate", "pipeline.toml"]).exits(2).stderr;
        assert!(told.contains("error[output-over-input]") && told.contains(file), "{output}: {told}");
    }
}

#[test]
fn no_output_is_a_file_that_the_next_run_would_read() {
    let spec = |glob: &str, output: &str| {
        format!(
            r#"
models.m = {{ provider = "mock", model = "m" }}
sources.s = {{ type = "file", path = "{glob}" }}
stages.a = {{ type = "analysis", input = "s", models = ["m"], prompt = "Tone of {{{{ t }}}}" }}
outputs.o = {{ input = "a", path = "{output}" }}
"#
        )
    };
    let cases = [
        ("*.csv", "./o.csv", 2),
        ("*.csv", "out/../o.csv", 2),
        ("./**/*.csv", "out/o.csv", 2),
        ("x [ab]/*.csv", "x [ab]/o.csv", 2),
        ("*.csv", "out/o.csv", 0),
        ("d[1].csv", "d1.csv", 0),
    ];
    for (glob, output, code) in cases {
        let mut project = Project::new().spec(&spec(glob, output));
        for file in ["d.csv", "d[1].csv", "x [ab]/d.csv"] {
            project = project.csv(file, &[["t"], ["peace"]]);
        }
        let told = project.run(&["validate", "pipeline.toml"]).exits(code).stderr;
        assert_eq!(told.contains("so the next run would read this output too"), code == 2, "{glob}: {told}");
    }
}
