//! Formats of sources: files that pandas, pyreadstat, openpyxl and pyarrow wrote, and what a run reads from them.

use std::io::{Cursor, Write as _};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::project::{Project, Ran};
use crate::python::Python;

pub(crate) fn project(path: &str, fields: &str) -> Project {
    Project::new().spec(&format!(
        "[sources.x]\ntype = \"file\"\npath = \"{path}\"\n{fields}\n\n[outputs.o]\ninput = \"x\"\npath = \"o.jsonl\"\n"
    ))
}

/// The rows that `project` reads, one JSON object each.
#[track_caller]
pub(crate) fn rows(project: &Project) -> Vec<String> {
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.text("o.jsonl").lines().map(str::to_owned).collect()
}

/// A project with the files that `script` writes.
pub(crate) fn with_files(python: &Python, script: &str, path: &str, fields: &str) -> Project {
    python.files(script).iter().fold(project(path, fields), |project, (path, bytes)| project.file(path, bytes))
}

/// The rows of a file that `script` writes.
#[track_caller]
pub(crate) fn read(python: &Python, script: &str, path: &str, fields: &str) -> Vec<String> {
    rows(&with_files(python, script, path, fields))
}

#[track_caller]
pub(crate) fn refused(project: &Project) -> Ran {
    project.run(&["run", "pipeline.toml"]).exits(2)
}

const SAV: &str = r#"
import pandas as pd, numpy as np, pyreadstat, datetime as dt
df = pd.DataFrame({
    "id": [1, 2, 3, 4],
    "q1": [1.0, 2.0, -9.0, np.nan],
    "score": [1.5, 2.25, np.nan, 0.1],
    "text": ["Zürich", "a ", "", "xy" * 400],
    "day": [dt.date(2020, 1, 31), None, dt.date(1999, 12, 31), dt.date(1582, 10, 15)],
    "stamp": [dt.datetime(2020, 1, 31, 12, 30, 5), None, dt.datetime(1969, 12, 31, 23, 59, 59), dt.datetime(2024, 2, 29)],
    "sex": ["m", "f", "m", "u"],
    "income": [100.0, -8.0, -9.0, 250.0],
    "clock": [dt.time(12, 30), None, dt.time(1, 2, 3), dt.time(0, 0)],
})
labels = dict(
    column_labels={"q1": "Did you vote? ä", "text": "Text"},
    variable_value_labels={"q1": {1: "yes", 2: "no", -9: "refused"}, "sex": {"m": "male", "f": "female"},
                           "income": {-8: "don't know", -9: "refused"}},
    missing_ranges={"q1": [-9], "income": [{"lo": -9, "hi": -8}], "sex": ["u"]})
pyreadstat.write_sav(df, "plain.sav", **labels)
pyreadstat.write_sav(df, "bytes.sav", row_compress=True, **labels)
pyreadstat.write_sav(df, "blocks.zsav", compress=True, **labels)
"#;

#[test]
fn spss_files_of_every_compression() {
    let Some(python) = Python::or_skip("spss_files_of_every_compression") else { return };
    let long = "xy".repeat(400);
    let wanted = [
        r#"{"id":1,"q1":"yes","score":1.5,"text":"Zürich","day":"2020-01-31","stamp":"2020-01-31T12:30:05","sex":"male","income":100,"clock":"12:30:00"}"#.to_owned(),
        r#"{"id":2,"q1":"no","score":2.25,"text":"a","day":null,"stamp":null,"sex":"female","income":null,"clock":null}"#.to_owned(),
        r#"{"id":3,"q1":null,"score":null,"text":null,"day":"1999-12-31","stamp":"1969-12-31T23:59:59","sex":"male","income":null,"clock":"01:02:03"}"#.to_owned(),
        format!(r#"{{"id":4,"q1":null,"score":0.1,"text":"{long}","day":"1582-10-15","stamp":"2024-02-29T00:00:00","sex":null,"income":250,"clock":"00:00:00"}}"#),
    ];
    for path in ["plain.sav", "bytes.sav", "blocks.zsav"] {
        assert_eq!(read(&python, SAV, path, ""), wanted, "{path}");
    }
}

#[test]
fn spss_codes_and_values_declared_missing_are_in_reach() {
    let Some(python) = Python::or_skip("spss_codes_and_values_declared_missing_are_in_reach") else { return };
    let columns = |rows: Vec<String>| -> Vec<String> {
        let row = |row: &String| {
            let row: serde_json::Value = serde_json::from_str(row).expect("a row");
            format!("{} {} {}", row["q1"], row["sex"], row["income"])
        };
        rows.iter().map(row).collect()
    };
    let codes = columns(read(&python, SAV, "plain.sav", "values = \"codes\""));
    assert_eq!(codes, ["1 \"m\" 100", "2 \"f\" null", "null \"m\" null", "null null 250"]);
    let kept = columns(read(&python, SAV, "plain.sav", "values = \"codes\"\nmissing = \"keep\""));
    assert_eq!(kept, ["1 \"m\" 100", "2 \"f\" -8", "-9 \"m\" -9", "null \"u\" 250"]);
    let labels = columns(read(&python, SAV, "plain.sav", "missing = \"keep\""));
    let wanted = [
        "\"yes\" \"male\" \"100\"",
        "\"no\" \"female\" \"don't know\"",
        "\"refused\" \"male\" \"refused\"",
        "null \"u\" \"250\"",
    ];
    assert_eq!(labels, wanted);
    // A type asks for the codes of one column.
    let typed =
        columns(read(&python, SAV, "plain.sav", "types = { q1 = \"integer\" }\nnull_values = [\"f\", \"100\"]"));
    assert_eq!(typed, ["1 \"male\" null", "2 null null", "null \"male\" null", "null null 250"]);
}

#[test]
fn the_import_of_an_spss_file_names_its_weight_and_counts_its_missing_values() {
    let Some(python) = Python::or_skip("the_import_of_an_spss_file_names_its_weight_and_counts_its_missing_values")
    else {
        return;
    };
    let project = with_files(
        &python,
        SAV,
        "plain.sav",
        "columns = [{ from = \"q1\", name = \"vote\" }, \"income\", \"sex\", \"score\"]",
    );
    // The writer has no option for the weight: it is the place of a variable in a row, after the compression.
    let mut bytes = project.bytes("plain.sav");
    bytes[76..80].copy_from_slice(&3_i32.to_le_bytes());
    project.write("plain.sav", bytes);
    let ran = project.run(&["run", "pipeline.toml"]).exits(0);
    assert!(ran.stderr.contains("plain.sav as SPSS, utf-8, weighted by `score`; 4 rows, 4 columns"), "{}", ran.stderr);
    let counts = "x: null because the file declares the value missing: 1 of `vote`, 2 of `income`, 1 of `sex`";
    assert!(ran.stderr.contains(counts), "{}", ran.stderr);
    project.write(
        "pipeline.toml",
        project.text("pipeline.toml").replace("path = \"plain.sav\"", "path = \"plain.sav\"\nmissing = \"keep\""),
    );
    let kept = project.run(&["run", "pipeline.toml"]).exits(0);
    assert!(!kept.stderr.contains("declares the value missing"), "{}", kept.stderr);
}

const DTA: &str = r#"
import pandas as pd, numpy as np
frame = pd.DataFrame({
    "id": np.array([1, 2, 3], dtype="int8"),
    "vote": np.array([1, 2, 7], dtype="int32"),
    "single": np.array([0.1, 2.5, np.nan], dtype="float32"),
    "whole": [1.0, 2.0, np.nan],
    "text": "",
    "stamp": pd.to_datetime(["2020-01-31 12:30:05", None, "1959-12-31 00:00:00"]),
    "size": pd.Categorical(["low", "high", None], categories=["low", "high"]),
})
for version in (114, 117, 118, 119):
    # pandas writes the long texts of release 117 as UTF-8, and itself reads them as Windows-1252.
    frame["text"] = ["Zürich" if version != 117 else "Zurich", "", ("x" * 200) if version == 114 else "y" * 3000]
    frame.to_stata(f"v{version}.dta", version=version, write_index=False, variable_labels={"vote": "Question"},
                   value_labels={"vote": {1: "yes", 2: "no"}})
"#;

#[test]
fn stata_files_of_every_release_that_pandas_writes() {
    let Some(python) = Python::or_skip("stata_files_of_every_release_that_pandas_writes") else { return };
    for version in [114, 117, 118, 119] {
        let long = if version == 114 { "x".repeat(200) } else { "y".repeat(3000) };
        let town = if version == 117 { "Zurich" } else { "Zürich" };
        let wanted = [
            format!(
                r#"{{"id":1,"vote":"yes","single":0.1,"whole":1,"text":"{town}","stamp":"2020-01-31T12:30:05","size":"low"}}"#
            ),
            r#"{"id":2,"vote":"no","single":2.5,"whole":2,"text":null,"stamp":null,"size":"high"}"#.to_owned(),
            format!(
                r#"{{"id":3,"vote":"7","single":null,"whole":null,"text":"{long}","stamp":"1959-12-31T00:00:00","size":null}}"#
            ),
        ];
        assert_eq!(read(&python, DTA, &format!("v{version}.dta"), ""), wanted, "{version}");
    }
}

#[test]
fn stata_dates_codes_and_missing_codes() {
    let Some(python) = Python::or_skip("stata_dates_codes_and_missing_codes") else { return };
    let script = r#"
import pandas as pd, pyreadstat, datetime as dt
frame = pd.DataFrame({"day": [dt.date(2020, 1, 31), dt.date(1959, 1, 1)], "vote": [1, "a"]})
pyreadstat.write_dta(frame, "a.dta", variable_value_labels={"vote": {1: "yes", "a": "refused"}},
                     missing_user_values={"vote": ["a"]}, column_labels=["Day", "Vote"])
dates = pd.DataFrame({"m": pd.to_datetime(["2020-03-01", "1959-12-01"]), "q": pd.to_datetime(["2020-07-01", "1959-10-01"]),
    "h": pd.to_datetime(["2020-07-01", "1959-07-01"]), "w": pd.to_datetime(["2020-01-08", "1959-12-24"]),
    "y": pd.to_datetime(["2020-01-01", "1959-01-01"])})
dates.to_stata("b.dta", write_index=False, convert_dates={c: f"t{c}" for c in "mqhwy"})
"#;
    let wanted = [r#"{"day":"2020-01-31","vote":"yes"}"#, r#"{"day":"1959-01-01","vote":null}"#];
    assert_eq!(read(&python, script, "a.dta", ""), wanted);
    let kept = read(&python, script, "a.dta", "missing = \"keep\"");
    assert_eq!(kept[1], r#"{"day":"1959-01-01","vote":"refused"}"#);
    let codes = read(&python, script, "a.dta", "values = \"codes\"");
    assert_eq!(codes[0], r#"{"day":"2020-01-31","vote":1}"#);
    let wanted = [
        r#"{"m":"2020-03-01","q":"2020-07-01","h":"2020-07-01","w":"2020-01-08","y":2020}"#,
        r#"{"m":"1959-12-01","q":"1959-10-01","h":"1959-07-01","w":"1959-12-24","y":1959}"#,
    ];
    assert_eq!(read(&python, script, "b.dta", ""), wanted);
}

const XLSX: &str = r#"
import openpyxl, datetime as dt
book = openpyxl.Workbook()
hidden = book.active
hidden.title = "Old"
hidden.append(["x"])
hidden.append([1])
sheet = book.create_sheet("Data")
sheet.append(["id", "name", "day", "stamp", "mixed", "flag", None, 2020, "price", "clock"])
sheet.append([1, "Zürich\n& <b>", dt.date(2020, 1, 31), dt.datetime(2020, 1, 31, 12, 30), 1, True, None, 5, 0.1, dt.time(9, 5)])
sheet.append([])
sheet.append([2, " padded ", dt.date(1999, 12, 31), dt.datetime(2020, 1, 1), "x", False, None, 6, 1.5, dt.timedelta(hours=30)])
sheet.append([3, "=1+1", None, None, 2.5, None, None, None, 1e300, "\x23N/A"])
sheet.merge_cells("A6:B6")
sheet["A6"] = 4
second = book.create_sheet("Second sheet")
second["A1"] = "A title"
second["B3"], second["C3"] = "a", "b"
second["B4"], second["C4"] = 1, "y"
second["B5"] = 2
second["D9"] = "a note"
hidden.sheet_state = "hidden"
book.save("a.xlsx")
"#;

#[test]
fn excel_sheets_with_their_types() {
    let Some(python) = Python::or_skip("excel_sheets_with_their_types") else { return };
    let wanted = [
        r#"{"id":1,"name":"Zürich\n& <b>","day":"2020-01-31","stamp":"2020-01-31T12:30:00","mixed":"1","flag":true,"2020":5,"price":0.1,"clock":"09:05:00"}"#,
        r#"{"id":2,"name":" padded ","day":"1999-12-31","stamp":"2020-01-01T00:00:00","mixed":"x","flag":false,"2020":6,"price":1.5,"clock":"30:00:00"}"#,
        r#"{"id":3,"name":null,"day":null,"stamp":null,"mixed":"2.5","flag":null,"2020":null,"price":1e+300,"clock":null}"#,
        r#"{"id":4,"name":null,"day":null,"stamp":null,"mixed":null,"flag":null,"2020":null,"price":null,"clock":null}"#,
    ];
    assert_eq!(read(&python, XLSX, "a.xlsx", ""), wanted);
    let typed = read(&python, XLSX, "a.xlsx", "key = \"id\"\nnull_values = [\"x\"]\ntypes = { id = \"string\" }");
    assert!(typed[1].starts_with(r#"{"id":"2","name":" padded ","day":"1999-12-31","#), "{}", typed[1]);
    assert!(typed[1].contains(r#""mixed":null"#), "{}", typed[1]);
    let hidden = read(&python, XLSX, "a.xlsx", "sheet = \"Old\"");
    assert_eq!(hidden, [r#"{"x":1}"#]);
    let range = "sheet = \"Second sheet\"\nrange = \"B3:C8\"";
    assert_eq!(read(&python, XLSX, "a.xlsx", range), [r#"{"a":1,"b":"y"}"#, r#"{"a":2,"b":null}"#]);
}

#[test]
fn columns_rows_and_headers_are_chosen_in_every_format() {
    let Some(python) = Python::or_skip("columns_rows_and_headers_are_chosen_in_every_format") else { return };
    let script = r#"
import pandas as pd, pyarrow.feather as feather, pyreadstat
frame = pd.DataFrame({"id": [1, 2, 3], "q": [5.0, 6.0, 7.5], "t": ["a", "b", "c"]})
frame.to_excel("a.xlsx", index=False)
frame.to_stata("a.dta", write_index=False)
frame.to_parquet("a.parquet")
feather.write_feather(frame, "a.feather")
pyreadstat.write_sav(frame, "a.sav")
frame.head(1).to_excel("part1.xlsx", index=False)
frame.tail(2).to_excel("part2.xlsx", index=False)
wording = pd.DataFrame([["id", "q", "t"], ["The id", "A question", "A text"], [1, 5.0, "a"]])
wording.to_excel("wording.xlsx", index=False, header=False)
"#;
    let fields = "columns = [{ from = \"q\", name = \"score\" }, 1]\nwhere = \"t != 'b'\"\ntypes = { score = \"string\" }\nkey = \"id\"";
    for path in ["a.xlsx", "a.dta", "a.parquet", "a.feather", "a.sav"] {
        let found = read(&python, script, path, fields);
        assert_eq!(found, [r#"{"score":"5","id":1}"#, r#"{"score":"7.5","id":3}"#], "{path}");
    }
    // The column is whole in one file only.
    let parts = read(&python, script, "part?.xlsx", "");
    assert_eq!(parts, [r#"{"id":1,"q":5.0,"t":"a"}"#, r#"{"id":2,"q":6.0,"t":"b"}"#, r#"{"id":3,"q":7.5,"t":"c"}"#]);
    let skipped = read(&python, script, "wording.xlsx", "header_rows = 2\nnames = [\"a\", \"b\", \"c\"]");
    assert_eq!(skipped, [r#"{"a":1,"b":5,"c":"a"}"#]);
    let none = read(&python, script, "wording.xlsx", "header_rows = 0\nlimit = 1");
    assert_eq!(none, [r#"{"column_1":"id","column_2":"q","column_3":"t"}"#]);
}

#[test]
fn sheets_and_cells_at_fault_are_named() {
    let Some(python) = Python::or_skip("sheets_and_cells_at_fault_are_named") else { return };
    let broken = |fields: &str, script: &str| refused(&with_files(&python, script, "a.xlsx", fields));
    broken("sheet = \"data\"", XLSX)
        .says("a.xlsx: has no sheet `data`")
        .says("did you mean `Data`? its sheets are `Old`, `Data` and `Second sheet`");
    broken("sheet = \"Second sheet\"\nrange = \"B3\"", XLSX).says("cell D9 has a value, but its column has no name");
    broken("types = { name = \"integer\" }\nwhere = \"name > 1\"", XLSX)
        .says("row 2 of the sheet: column `name` is \"Zürich\\n& <b>\", not a whole");
    broken("range = \"3:1\"", XLSX).says("`3:1` is not a range of a sheet");
    broken("encoding = \"utf-8\"", XLSX).says("`encoding` does not apply to Excel");
    let error = "import openpyxl\nb = openpyxl.Workbook()\nb.active.append(['a', 'b'])\nb.active.append([1, '#REF!'])\nb.save('a.xlsx')";
    broken("key = \"b\"", error).says("a.xlsx: cell B2 is the error #REF!").says("null_values = [\"#REF!\"]");
    assert_eq!(read(&python, error, "a.xlsx", "null_values = [\"#REF!\"]"), [r#"{"a":1,"b":null}"#]);
    // The output copies the column, and nothing reads it.
    let copied = with_files(&python, error, "a.xlsx", "");
    let ran = copied.run(&["run", "pipeline.toml"]).exits(0);
    assert!(
        ran.stderr.contains("x: warning: 1 cell of `b`, which nothing reads, is null: a.xlsx: cell B2"),
        "{}",
        ran.stderr
    );
    assert_eq!(copied.text("o.jsonl"), "{\"a\":1,\"b\":null}\n");
}

#[test]
fn arrow_and_feather_files_of_every_compression() {
    let Some(python) = Python::or_skip("arrow_and_feather_files_of_every_compression") else { return };
    let script = r#"
import pyarrow as pa, pyarrow.feather as feather, datetime as dt
table = pa.table({"id": [1, 2, None], "t": ["a", "b", None], "f": [0.5, None, 1.0],
    "d": pa.array([dt.date(2020, 1, 1), None, None]), "c": pa.array(["x", "y", "x"]).dictionary_encode(), "l": [[1, 2], None, []]})
feather.write_feather(table, "lz4.feather", compression="lz4")
feather.write_feather(table, "zstd.feather", compression="zstd", chunksize=1)
feather.write_feather(table, "plain.arrow", compression="uncompressed")
feather.write_feather(table.drop_columns(["l", "d", "c"]), "one.feather", version=1)
"#;
    let wanted = [
        r#"{"id":1,"t":"a","f":0.5,"d":"2020-01-01","c":"x","l":[1,2]}"#,
        r#"{"id":2,"t":"b","f":null,"d":null,"c":"y","l":null}"#,
        r#"{"id":null,"t":null,"f":1.0,"d":null,"c":"x","l":[]}"#,
    ];
    for path in ["lz4.feather", "zstd.feather", "plain.arrow"] {
        assert_eq!(read(&python, script, path, ""), wanted, "{path}");
    }
    let old = with_files(&python, script, "one.feather", "");
    refused(&old).says("one.feather: is a Feather file of version 1");
}

#[test]
fn text_files_that_pyarrow_compressed() {
    let Some(python) = Python::or_skip("text_files_that_pyarrow_compressed") else { return };
    let script = r#"
import pyarrow as pa
texts = {"a.csv": "id,t\n1,x\n2,\n", "a.tsv": "id\tt\n1\tx\n2\t\n", "a.jsonl": '{"id":"1","t":"x"}\n{"id":"2","t":null}\n',
         "a.json": '[{"id":"1",\n "t":"x"},\n{"id":"2","t":null}]'}
for name, text in texts.items():
    for end, codec in (("gz", "gzip"), ("zst", "zstd")):
        with pa.CompressedOutputStream(f"{name}.{end}", codec) as file:
            file.write(text.encode())
"#;
    for path in ["a.csv", "a.tsv", "a.jsonl", "a.json"] {
        for end in ["gz", "zst"] {
            let found = read(&python, script, &format!("{path}.{end}"), "");
            assert_eq!(found, [r#"{"id":"1","t":"x"}"#, r#"{"id":"2","t":null}"#], "{path}.{end}");
        }
    }
}

#[test]
fn a_json_list_is_read_as_its_lines_are() {
    let list = "[\n  {\"id\": 1, \"t\": \"a,\\n\\\"b\\\"]\"},\n  {\"id\": 2.5}, {}\n]\n";
    let project = project("a.json", "").file("a.json", list);
    let wanted = [r#"{"id":1.0,"t":"a,\n\"b\"]"}"#, r#"{"id":2.5,"t":null}"#, r#"{"id":null,"t":null}"#];
    assert_eq!(rows(&project), wanted);
    for (list, message) in [
        ("{\"data\": []}", "byte 0: an object, not a list"),
        ("[{\"a\": 1},\n {\"a\": }]", "row 2 (byte 18): expected value"),
        ("[{\"a\": 1}", "the list ends without ]"),
        ("[1]", "row 1 (byte 0): is not a JSON object"),
    ] {
        project.write("a.json", list);
        refused(&project).says(message);
    }
}

/// An OpenDocument sheet with this body.
pub(crate) fn ods(body: &str) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let content = format!(
        r#"<?xml version="1.0"?><office:document-content><office:automatic-styles><style:style style:name="h"><style:table-properties table:display="false"/></style:style></office:automatic-styles><office:body><office:spreadsheet>{body}</office:spreadsheet></office:body></office:document-content>"#
    );
    for (name, text) in [("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", &content)] {
        archive.start_file(name, SimpleFileOptions::default()).expect("a part");
        archive.write_all(text.as_bytes()).expect("written");
    }
    archive.finish().expect("an archive").into_inner()
}

fn cell(kind: &str, value: &str, text: &str) -> String {
    format!("<table:table-cell office:value-type=\"{kind}\" {value}><text:p>{text}</text:p></table:table-cell>")
}

#[test]
fn opendocument_sheets() {
    let name = |text: &str| cell("string", "", text);
    let header = ["id", "t", "day", "x", "flag"].map(name).concat();
    let row = [
        cell("float", "office:value=\"1\"", "1.00"),
        cell("string", "", "Zürich<text:s text:c=\"2\"/>&amp; &#x41;</text:p><text:p>two"),
        cell("date", "office:date-value=\"2020-01-31\"", "31.01.20"),
        cell("percentage", "office:value=\"0.5\"", "50 %"),
        cell("boolean", "office:boolean-value=\"true\"", "WAHR"),
    ];
    let filler = "<table:table-row table:number-rows-repeated=\"1048000\"><table:table-cell table:number-columns-repeated=\"16384\"/></table:table-row>";
    let body = format!(
        "<table:table table:name=\"Old\" table:style-name=\"h\"><table:table-row>{}</table:table-row></table:table>\
         <table:table table:name=\"Data\"><table:table-row>{header}</table:table-row>\
         <table:table-row table:number-rows-repeated=\"2\">{}</table:table-row>{filler}</table:table>",
        name("x"),
        row.concat(),
    );
    let project = project("a.ods", "").file("a.ods", ods(&body));
    let wanted = r#"{"id":1,"t":"Zürich  & A\ntwo","day":"2020-01-31","x":0.5,"flag":true}"#;
    assert_eq!(rows(&project), [wanted, wanted]);
}

/// Bytes of an archive with one part of `size` bytes that begins with `start`, more or less.
fn bomb(parts: &[(&str, &str)], name: &str, start: &str, filler: &str, size: usize) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in parts {
        archive.start_file(*name, SimpleFileOptions::default()).expect("a part");
        archive.write_all(text.as_bytes()).expect("written");
    }
    archive.start_file(name, SimpleFileOptions::default()).expect("a part");
    archive.write_all(start.as_bytes()).expect("written");
    let block = filler.repeat((1 << 20) / filler.len().max(1));
    for _ in 0..size >> 20 {
        archive.write_all(block.as_bytes()).expect("written");
    }
    archive.finish().expect("an archive").into_inner()
}

const RELS: &str = r#"<Relationships><Relationship Id="r" Type="x/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#;
const BOOK: &str = r#"<workbook><sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>"#;
const BOOK_RELS: &str =
    r#"<Relationships><Relationship Id="r1" Type="x/worksheet" Target="worksheets/sheet1.xml"/></Relationships>"#;
const PARTS: [(&str, &str); 3] =
    [("_rels/.rels", RELS), ("xl/workbook.xml", BOOK), ("xl/_rels/workbook.xml.rels", BOOK_RELS)];

/// The memory that a run with a hostile file may use, in KiB.
const MEMORY: u64 = 700 << 10;

#[track_caller]
fn hostile(path: &str, bytes: Vec<u8>, message: &str) {
    let project = project(path, "").file(path, bytes);
    project.run_within(MEMORY, &["run", "pipeline.toml"]).exits(2).says(message);
}

#[test]
fn archives_that_grow_without_end() {
    let sheet = |start: &str, filler: &str, size: usize| bomb(&PARTS, "xl/worksheets/sheet1.xml", start, filler, size);
    let texts = bomb(&PARTS, "xl/sharedStrings.xml", "<sst>", "<si/>", 300 << 20);
    hostile("a.xlsx", texts, "far more than its bytes in the file");
    let cells = sheet("<worksheet><sheetData><row>", "<c/>", 300 << 20);
    hostile("a.xlsx", cells, "xl/worksheets/sheet1.xml: above");
    let text = sheet("<worksheet><sheetData><row><c t=\"str\"><v>", "a", 40 << 20);
    hostile("a.xlsx", text, "a text above 16 MiB");
    let styles = bomb(&PARTS, "xl/styles.xml", "<styleSheet><fonts>", "<font/>", 20 << 20);
    hostile("a.xlsx", styles, "xl/styles.xml: above 16777216 bytes");
    let claim = bomb(&PARTS, "xl/sharedStrings.xml", "<sst uniqueCount=\"99999999999\">", "", 0);
    hostile("a.xlsx", claim, "a claim of 99999999999 texts");
    hostile("a.ods", bomb(&[], "content.xml", "<office:body>", "<a/>", 300 << 20), "content.xml: above");
}

#[test]
fn documents_with_entities_are_refused() {
    let entity = r#"<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><worksheet><sheetData><row><c t="inlineStr"><is><t>&e;</t></is></c></row></sheetData></worksheet>"#;
    let sheet = bomb(&PARTS, "xl/worksheets/sheet1.xml", entity, "", 0);
    hostile("a.xlsx", sheet, "xl/worksheets/sheet1.xml: byte 1: a document type, a comment or other markup");
    let unknown = entity.split_once("]>").expect("a document type").1;
    hostile("a.xlsx", bomb(&PARTS, "xl/worksheets/sheet1.xml", unknown, "", 0), "a.xlsx: the sheet is damaged");
    let body = "<table:table table:name=\"S\"><table:table-row><table:table-cell office:value-type=\"string\"><text:p>&e;</text:p></table:table-cell></table:table-row></table:table>";
    hostile("a.ods", ods(body), "the entity &e;");
}

#[test]
fn sheets_that_claim_millions_of_rows_and_columns() {
    let sheet = r#"<worksheet><dimension ref="A1:XFD1048576"/><sheetData><row r="1"><c r="A1" t="str"><v>a</v></c></row><row r="1048576"><c r="A1048576"><v>1</v></c></row></sheetData></worksheet>"#;
    let project = project("a.xlsx", "").file("a.xlsx", bomb(&PARTS, "xl/worksheets/sheet1.xml", sheet, "", 0));
    project.run_within(MEMORY, &["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.text("o.jsonl"), "{\"a\":1}\n");
    let far = sheet.replace("A1048576", "A10485760").replace("r=\"1048576\"", "r=\"10485760\"");
    hostile("a.xlsx", bomb(&PARTS, "xl/worksheets/sheet1.xml", &far, "", 0), "cell A10485760 comes next");
    let text = "a".repeat(1 << 20);
    let wide = format!(
        "<table:table table:name=\"S\"><table:table-row table:number-rows-repeated=\"1000000\"><table:table-cell \
         table:number-columns-repeated=\"16384\" office:value-type=\"string\"><text:p>{text}</text:p></table:table-cell>\
         </table:table-row></table:table>"
    );
    hostile("a.ods", ods(&wide), "row 1: the row is above 64 MiB");
    let cut = ods("<table:table table:name=\"S\"><table:table-row>");
    hostile("a.ods", cut, "content.xml: byte");
}

#[test]
fn files_that_claim_absurd_lengths() {
    // Stata 118: 3 billion variables fit no release; 60,000 are above the limit.
    let header = |variables: u16, rows: u64| {
        let mut bytes = b"<stata_dta><header><release>118</release><byteorder>LSF</byteorder><K>".to_vec();
        bytes.extend(variables.to_le_bytes());
        bytes.extend(b"</K><N>");
        bytes.extend(rows.to_le_bytes());
        bytes.extend(b"</N><label>\0\0</label><timestamp>\0</timestamp></header><map>");
        bytes
    };
    hostile("a.dta", header(60_000, 1), "the Stata file is damaged: 60000 variables");
    hostile("a.dta", header(1, u64::MAX), "the Stata file is damaged");
    let mut sav = b"$FL2".to_vec();
    sav.resize(64, b' ');
    for number in [2_i32, 0, 1, 0, -1] {
        sav.extend(number.to_le_bytes());
    }
    sav.extend(100_f64.to_le_bytes());
    sav.resize(176, b' ');
    // A label of 2 GB.
    for number in [2_i32, 0, 1, 0, 0, 0] {
        sav.extend(number.to_le_bytes());
    }
    sav.extend(b"A       ");
    sav.extend(2_000_000_000_i32.to_le_bytes());
    hostile("a.sav", sav, "a.sav: the SPSS file is damaged: byte 212: a label of 2000000000 bytes");
}

#[test]
fn a_compressed_text_is_read_piece_by_piece() {
    let zeros = |bytes: usize| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(b"a,b\n").expect("written");
        for _ in 0..bytes >> 20 {
            gzip.write_all(&vec![b'x'; 1 << 20]).expect("written");
        }
        gzip.finish().expect("compressed")
    };
    hostile("a.csv.gz", zeros(2000 << 20), "a.csv.gz: row 1");
    let mut cut = zeros(1 << 20);
    cut.truncate(cut.len() / 2);
    hostile("a.csv.gz", cut, "a.csv.gz: row 1");
}
