//! Formats between fanfold and other programs, in both directions: Parquet, CSV, TSV, JSON and OpenDocument. The formats
//! with labels and sheets are in `formats` and `outputs`.

use serde_json::{Value, json};

use crate::formats::{read, refused, with_files};
use crate::project::Project;
use crate::python::Python;

const PARQUET: &str = r#"
import pyarrow as pa, pyarrow.parquet as pq, datetime as dt, decimal
table = pa.table({
    "id": pa.array([1, 2, 3], pa.int8()),
    "text": ["Zürich \U0001f600", None, ""],
    "long": pa.array(["x" * 40000, None, "y"], pa.large_string()),
    "word": pa.array(["a", None, "b"]).dictionary_encode(),
    "single": pa.array([4.7, None, 0.1], pa.float32()),
    "double": [0.1, None, -1e300],
    "huge": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "price": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")], pa.decimal128(10, 2)),
    "yes": [True, None, False],
    "day": pa.array([dt.date(2020, 1, 31), None, dt.date(1, 1, 1)]),
    "clock": pa.array([1, None, 3], pa.time64("us")),
    "stamp": pa.array([1, None, 10**18], pa.timestamp("ns")),
    "zone": pa.array([dt.datetime(2020, 7, 1, 12), None, None], pa.timestamp("us", "Europe/Berlin")),
    "user": [{"name": "Ann", "tags": ["x", None]}, None, {"name": None, "tags": []}],
    "scores": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "bytes": pa.array([b"ab", None, b"\xff"]),
    "none": pa.nulls(3),
})
for codec in ("none", "snappy", "gzip", "zstd", "lz4", "brotli"):
    pq.write_table(table, f"{codec}.parquet", compression=codec, row_group_size=2)
pq.write_table(table, "pages.parquet", data_page_version="2.0", version="1.0", use_dictionary=False, allow_truncated_timestamps=True, coerce_timestamps="us")
kind, value = pa.int64(), 1
for _ in range(70):
    kind, value = pa.list_(kind), [value]
pq.write_table(pa.table({"id": [1, 2], "deep": pa.array([value, None], kind), "t": ["a", "b"]}), "deep.parquet")
pq.write_table(table.select(["id", "word"]), "one.parquet", compression={"id": "snappy", "word": "brotli"})
"#;

#[test]
fn parquet_of_pyarrow_in_every_compression() {
    let Some(python) = Python::or_skip("parquet_of_pyarrow_in_every_compression") else { return };
    let long = "x".repeat(40_000);
    let wanted = [
        format!(
            r#"{{"id":1,"text":"Zürich 😀","long":"{long}","word":"a","single":4.7,"double":0.1,"huge":"18446744073709551615","price":"1.50","yes":true,"day":"2020-01-31","clock":"00:00:00.000001","stamp":"1970-01-01T00:00:00.000000001","zone":"2020-07-01T14:00:00+02:00","user":{{"name":"Ann","tags":["x",null]}},"scores":{{"k":1}},"bytes":"6162","none":null}}"#
        ),
        r#"{"id":2,"text":null,"long":null,"word":null,"single":null,"double":null,"huge":null,"price":null,"yes":null,"day":null,"clock":null,"stamp":null,"zone":null,"user":null,"scores":null,"bytes":null,"none":null}"#.to_owned(),
        r#"{"id":3,"text":"","long":"y","word":"b","single":0.1,"double":-1e+300,"huge":0,"price":"-2.25","yes":false,"day":"0001-01-01","clock":"00:00:00.000003","stamp":"2001-09-09T01:46:40","zone":null,"user":{"name":null,"tags":[]},"scores":{},"bytes":"ff","none":null}"#.to_owned(),
    ];
    for path in ["none.parquet", "snappy.parquet", "gzip.parquet", "zstd.parquet", "lz4.parquet"] {
        assert_eq!(read(&python, PARQUET, path, ""), wanted, "{path}");
    }
    // A column with a compression that is not supported is null, unless something reads it.
    assert_eq!(read(&python, PARQUET, "one.parquet", "limit = 1"), [r#"{"id":1,"word":null}"#]);
    assert_eq!(read(&python, PARQUET, "deep.parquet", "limit = 1"), [r#"{"id":1,"deep":null,"t":"a"}"#]);
    let whole = with_files(&python, PARQUET, "brotli.parquet", "key = \"id\"");
    refused(&whole).says("column `id` is compressed by brotli").says("write it again with zstd");
    // Version 1.0 of the format has no nanoseconds.
    let coarse = wanted.map(|row| row.replace(".000000001", ""));
    assert_eq!(read(&python, PARQUET, "pages.parquet", ""), coarse);
}

const CSV: &str = r#"
import pandas as pd, numpy as np, csv
frame = pd.DataFrame({
    "id": [1, 2, 3], "t": ["Zürich, \"x\"\nline", "", None], "u": ["\U0001f600", "a\tb;|", "é\u0301 \u200b"],
    "n": [1.5, np.nan, -1e300], "b": [True, False, True], "w": pd.array([1, None, 3], dtype="Int64"),
    "f": np.array([4.7, 0.1, np.nan], dtype="float32"), "big": [2**53 + 1, 1, 2]})
frame.to_csv("plain.csv", index=False)
frame.to_csv("semicolons.csv", index=False, sep=";", decimal=",")
frame.to_csv("quoted.csv", index=False, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
frame.to_csv("escaped.csv", index=False, doublequote=False, escapechar="\\")
frame.to_csv("wide.csv", index=False, encoding="utf-16")
frame.to_csv("marked.csv", index=False, encoding="utf-8-sig")
frame.to_csv("na.csv", index=False, na_rep="NA")
frame.to_csv("pipes.csv", index=False, sep="|")
frame.to_csv("packed.csv.gz", index=False)
frame.to_csv("tabs.tsv", index=False, sep="\t")
frame.drop(columns="u").to_csv("western.csv", index=False, encoding="cp1252")
with open("free.tsv", "w", newline="") as file:
    csv.writer(file, "excel-tab", quoting=csv.QUOTE_NONE, quotechar=None).writerows([["a", "b"], ['5" tall', '"'], ["x", ""]])
"#;

#[test]
fn csv_and_tsv_of_pandas_in_every_dialect() {
    let Some(python) = Python::or_skip("csv_and_tsv_of_pandas_in_every_dialect") else { return };
    let wanted = [
        r#"{"id":"1","t":"Zürich, \"x\"\nline","u":"😀","n":"1.5","b":"True","w":"1","f":"4.7","big":"9007199254740993"}"#,
        r#"{"id":"2","t":null,"u":"a\tb;|","n":null,"b":"False","w":null,"f":"0.1","big":"1"}"#,
        "{\"id\":\"3\",\"t\":null,\"u\":\"é\u{301} \u{200b}\",\"n\":\"-1e+300\",\"b\":\"True\",\"w\":\"3\",\"f\":null,\"big\":\"2\"}",
    ];
    for (path, fields) in [
        ("plain.csv", ""),
        ("quoted.csv", ""),
        ("escaped.csv", "escape = \"\\\\\""),
        ("wide.csv", "encoding = \"utf-16le\""),
        ("marked.csv", ""),
        ("na.csv", "null_values = [\"NA\"]"),
        ("pipes.csv", "delimiter = \"|\""),
        ("packed.csv.gz", ""),
        ("tabs.tsv", "quote = \"\\\"\""),
    ] {
        assert_eq!(read(&python, CSV, path, fields), wanted, "{path}");
    }
    let typed = "types = { id = \"integer\", n = \"number\", b = \"boolean\", w = \"integer\", f = \"number\", big = \"integer\" }";
    let numbers = [
        r#""n":1.5,"b":true,"w":1,"f":4.7,"big":9007199254740993}"#,
        r#""n":null,"b":false,"w":null,"f":0.1,"big":1}"#,
        r#""n":-1e+300,"b":true,"w":3,"f":null,"big":2}"#,
    ];
    let semicolons = format!("delimiter = \";\"\ndecimal = \",\"\n{typed}");
    for (path, fields) in [("plain.csv", typed), ("semicolons.csv", &semicolons)] {
        for (row, end) in read(&python, CSV, path, fields).iter().zip(numbers) {
            assert!(row.ends_with(end), "{path}: {row}");
        }
    }
    let western = read(&python, CSV, "western.csv", "encoding = \"windows-1252\"");
    assert!(western[0].starts_with(r#"{"id":"1","t":"Zürich, \"x\"\nline","n":"1.5""#), "{}", western[0]);
    let free = read(&python, CSV, "free.tsv", "");
    assert_eq!(free, [r#"{"a":"5\" tall","b":"\""}"#, r#"{"a":"x","b":null}"#]);
}

const JSON: &str = r#"
import pandas as pd, json
rows = [{"id": 1, "t": "Zürich \U0001f600\n", "n": 0.1, "b": True, "user": {"name": "Ann", "tags": [1, {"x": None}]}, "none": None},
        {"id": 2**53 + 1, "t": "", "n": -1e300, "b": False, "user": {}, "none": None},
        {"id": 3, "t": None, "n": float("nan"), "b": None, "user": None, "none": None}]
with open("lines.jsonl", "w") as file:
    file.writelines(json.dumps(row) + "\n" for row in rows)
with open("plain.ndjson", "w", encoding="utf-8") as file:
    file.writelines(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\r\n" for row in rows)
with open("list.json", "w") as file:
    json.dump(rows, file, indent=2)
frame = pd.DataFrame(rows)
frame["b"] = frame["b"].astype("boolean")
frame.to_json("frame.jsonl", orient="records", lines=True, force_ascii=False)
frame.to_json("frame.json", orient="records", indent=1)
frame.to_json("packed.jsonl.gz", orient="records", lines=True)
frame.to_json("columns.json")
"#;

#[test]
fn json_lines_and_lists_of_json_and_pandas() {
    let Some(python) = Python::or_skip("json_lines_and_lists_of_json_and_pandas") else { return };
    let wanted = [
        json!({"id": 1, "t": "Zürich 😀\n", "n": 0.1, "b": true, "user": {"name": "Ann", "tags": [1, {"x": null}]}, "none": null}),
        json!({"id": 9_007_199_254_740_993_i64, "t": "", "n": -1e300, "b": false, "user": {}, "none": null}),
        json!({"id": 3, "t": null, "n": null, "b": null, "user": null, "none": null}),
    ];
    for path in ["lines.jsonl", "plain.ndjson", "list.json", "frame.jsonl", "frame.json", "packed.jsonl.gz"] {
        let found: Vec<Value> = read(&python, JSON, path, "").iter().map(|row| value(row)).collect();
        assert_eq!(found, wanted, "{path}");
    }
    let columns = with_files(&python, JSON, "columns.json", "");
    refused(&columns).says("columns.json: can't be read: byte 0: an object, not a list");
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn opendocument_sheets_of_odfpy() {
    let Some(python) = Python::or_skip("opendocument_sheets_of_odfpy") else { return };
    let script = r#"
import pandas as pd, datetime as dt
frame = pd.DataFrame({"id": [1, 2], "t": ["Zürich  & <b>\nline", None], "x": [0.5, -1e300], "yes": [True, False],
    "day": [dt.date(2020, 1, 31), None], "stamp": pd.to_datetime(["2020-01-31 12:30:05", None])})
with pd.ExcelWriter("a.ods", engine="odf") as book:
    frame.to_excel(book, sheet_name="Data", index=False)
    frame.head(1).to_excel(book, sheet_name="More", index=False)
"#;
    let wanted = [
        r#"{"id":1,"t":"Zürich  & <b>\nline","x":0.5,"yes":true,"day":"2020-01-31","stamp":"2020-01-31T12:30:05"}"#,
        r#"{"id":2,"t":null,"x":-1e+300,"yes":false,"day":null,"stamp":null}"#,
    ];
    assert_eq!(read(&python, script, "a.ods", "sheet = \"Data\""), wanted);
    assert_eq!(
        read(&python, script, "a.ods", "sheet = \"More\"\nrange = \"A1:B2\""),
        [r#"{"id":1,"t":"Zürich  & <b>\nline"}"#]
    );
}

/// A project that writes one table with a column of each type to all text formats and Parquet.
fn written() -> Project {
    let outputs = ["csv", "jsonl", "parquet"];
    let outputs = outputs.map(|end| format!("[outputs.{end}]\ninput = \"x\"\npath = \"out.{end}\"\n")).concat();
    let rows = [
        r#"{"id": 1, "t": "Zürich 😀, \"q\"\r\n;", "n": 0.1, "b": true, "user": {"name": "Ann", "tags": [1, null]}, "big": 9007199254740993}"#,
        r#"{"id": 2, "t": "", "n": -1e300, "b": false, "user": {"name": "Bo\n"}, "big": 1}"#,
        r#"{"id": 3}"#,
    ];
    let spec = format!("sources.x = {{ type = \"file\", path = \"x.jsonl\" }}\n{outputs}");
    let project = Project::new().spec(&spec).file("x.jsonl", rows.join("\n"));
    project.run(&["run", "pipeline.toml"]).exits(0);
    project
}

#[test]
fn pandas_and_pyarrow_read_csv_json_lines_and_parquet() {
    let Some(python) = Python::or_skip("pandas_and_pyarrow_read_csv_json_lines_and_parquet") else { return };
    let project = written();
    let script = r#"
import json, csv, pandas as pd, pyarrow.parquet as pq
table = pq.read_table("out.parquet")
with open("out.csv", newline="", encoding="utf-8") as file:
    plain = list(csv.reader(file))
frame = pd.read_csv("out.csv")
lines = pd.read_json("out.jsonl", lines=True)
print(json.dumps({
    "types": [str(t) for t in table.schema.types], "parquet": table.to_pylist(), "csv": plain,
    "frame": [str(t) for t in frame.dtypes], "n": list(frame["n"][:2]), "user": json.loads(frame["user"][0]),
    "jsonl": [json.loads(line) for line in open("out.jsonl", encoding="utf-8")], "lines": list(lines["t"][:2]),
}))
"#;
    let found = value(&python.run(project.folder(), script));
    let (text, ann) = ("Zürich 😀, \"q\"\r\n;", json!({"name": "Ann", "tags": [1, null]}));
    assert_eq!(found["types"], json!(["int64", "string", "double", "bool", "string", "int64"]));
    let parquet = &found["parquet"];
    assert_eq!(
        (&parquet[0]["t"], &parquet[0]["n"], &parquet[0]["big"]),
        (&json!(text), &json!(0.1), &json!(9_007_199_254_740_993_i64))
    );
    assert_eq!(value(parquet[0]["user"].as_str().expect("JSON text")), ann);
    assert_eq!((&parquet[1]["t"], &parquet[2]["t"], &parquet[2]["b"]), (&json!(""), &json!(null), &json!(null)));
    let user = r#"{"name": "Ann", "tags": [1, null]}"#;
    assert_eq!(found["csv"][1], json!(["1", text, "0.1", "true", user, "9007199254740993"]));
    assert_eq!((&found["csv"][2][1], &found["csv"][3]), (&json!(""), &json!(["3", "", "", "", "", ""])));
    assert_eq!((&found["n"], &found["user"]), (&json!([0.1, -1e300]), &ann));
    assert_eq!(found["frame"][2], json!("float64"));
    assert_eq!((&found["jsonl"][0]["user"], &found["jsonl"][0]["t"]), (&ann, &json!(text)));
    assert_eq!(
        found["jsonl"][1],
        json!({"id": 2, "t": "", "n": -1e300, "b": false, "user": {"name": "Bo\n"}, "big": 1})
    );
    assert_eq!(found["jsonl"][2], json!({"id": 3, "t": null, "n": null, "b": null, "user": null, "big": null}));
    assert_eq!(found["lines"], json!([text, ""]));
}
