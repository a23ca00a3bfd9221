//! Tests of `jsonl`: values, and every message in full.

use std::io::Cursor;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_schema::DataType;
use arrow_select::concat::concat_batches;

use super::*;

fn read(bytes: &[u8], types: &[(&str, Type)], nulls: &[&str]) -> Result<RecordBatch, SourceError> {
    let types = types.iter().map(|(name, ty)| ((*name).to_owned(), *ty)).collect();
    let nulls: Vec<String> = nulls.iter().map(|&n| n.to_owned()).collect();
    let text = || Text::new(Box::new(Cursor::new(bytes.to_vec())), "a.jsonl", None, 7);
    let mut columns = Columns::default();
    scan(text()?, "a.jsonl", &nulls, &mut columns)?;
    let options = File { types, null_values: nulls, ..File::default() };
    let names: Vec<String> = columns.0.keys().cloned().collect();
    let schema = columns.schema(&Layout::new(&options, &names, "a.jsonl", "")?, &options.types);
    let jsonl = Jsonl::new(text()?, "a.jsonl", Arc::clone(&schema), &options)?;
    let batches = jsonl.into_batches().collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches).unwrap())
}

fn message(bytes: &[u8]) -> String {
    read(bytes, &[], &[]).unwrap_err().message
}

fn texts(lines: &str) -> Vec<Option<String>> {
    let table = read(lines.as_bytes(), &[], &[]).unwrap();
    assert_eq!(table.schema().field(0).data_type(), &DataType::Utf8);
    table.column(0).as_string::<i32>().iter().map(|c| c.map(str::to_owned)).collect()
}

fn some(cells: &[&str]) -> Vec<Option<String>> {
    cells.iter().map(|c| Some((*c).to_owned())).collect()
}

#[test]
fn columns_are_the_union_of_keys_in_order_and_missing_is_null() {
    let table = read(b"{\"b\":1,\"a\":true}\r\n\n{\"c\":\"x\",\"b\":null}\n{}\n{\"b\":2.5}", &[], &[]).unwrap();
    let names: Vec<&str> = table.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["b", "a", "c"]);
    let b: Vec<_> = table.column(0).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(b, [Some(1.0), None, None, Some(2.5)]);
    assert_eq!(table.column(1).as_boolean().iter().collect::<Vec<_>>(), [Some(true), None, None, None]);
    assert_eq!(table.column(2).as_string::<i32>().iter().collect::<Vec<_>>(), [None, Some("x"), None, None]);
}

#[test]
fn values_are_kept_as_they_are_written() {
    assert_eq!(texts("{\"a\":12345678901234567890}\n{\"a\":1}"), some(&["12345678901234567890", "1"]));
    assert_eq!(texts("{\"a\":\"1\"}\n{\"a\":2.50}\n{\"a\":true}"), some(&["1", "2.50", "true"]));
    assert_eq!(texts("{\"a\":[1, {\"b\":2}]}\n{\"a\":\"x\"}"), some(&["[1, {\"b\":2}]", "x"]));
    assert_eq!(texts("{\"a\":\"t\\u00e9\\n\\\"\"}"), some(&["té\n\""]));
    assert_eq!(texts("{\"a\":null}\n{\"a\":null}"), [None, None]);
    assert_eq!(texts("{\"a\":\"\"}"), some(&[""]));
    let table = read(b"{\"a\":9223372036854775807}\n{\"a\":-1}", &[], &[]).unwrap();
    let integers: Vec<_> = table.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(integers, [Some(i64::MAX), Some(-1)]);
}

#[test]
fn declared_types_and_nulls() {
    let lines = b"{\"id\":7,\"n\":\"12\",\"x\":-99}\n{\"id\":8,\"n\":3,\"x\":1}";
    let table = read(lines, &[("id", Type::String), ("n", Type::Integer)], &["-99"]).unwrap();
    assert_eq!(table.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("7"), Some("8")]);
    assert_eq!(table.column(1).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(12), Some(3)]);
    assert_eq!(table.column(2).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [None, Some(1)]);
    let error = read(b"{\"n\":1}\n\n{\"n\":[1]}", &[("n", Type::Integer)], &[]).unwrap_err();
    assert_eq!(error.message, "a.jsonl: row 2 (line 3, byte 9): column `n` is \"[1]\", not an integer");
}

#[test]
fn lines_that_are_no_objects() {
    assert_eq!(message(b"{\"a\":1}\n\n7\n"), "a.jsonl: row 2 (line 3, byte 9): is not a JSON object");
    assert_eq!(message(b"[{\"a\":1},\n"), "a.jsonl: row 1 (line 1, byte 0): is a list, not an object");
    assert_eq!(message(b"{\"a\":1}\n{\"a\":}\n"), "a.jsonl: row 2 (line 2, byte 13): expected value");
    assert_eq!(message(b"{\"a\":1} x\n"), "a.jsonl: row 1 (line 1, byte 8): trailing characters");
    assert_eq!(message(b"{\"a\":1"), "a.jsonl: row 1 (line 1, byte 5): EOF while parsing an object");
    assert!(message(b"{\"a\":1,\"b\":2,\"a\":3}").starts_with("a.jsonl: row 1 (line 1, byte 1"));
    assert!(message(b"{\"a\":1,\"b\":2,\"\\u0061\":3}").ends_with("the key \"a\" appears twice"));
    assert!(message(b"{\"a\":\"\\ud8\"}").starts_with("a.jsonl: row 1 (line 1, byte "));
    assert_eq!(
        message(b"{\"a\":1}\n{\"a\":\"\xff\"}"),
        "a.jsonl: row 2 (line 2, byte 14): these bytes are not valid UTF-8"
    );
    let many: Vec<String> = (0..40).map(|i| format!("\"k{i}\":1")).collect();
    let twice = format!("{{{},\"k3\":2}}", many.join(","));
    assert!(message(twice.as_bytes()).ends_with("the key \"k3\" appears twice"));
    let late = format!("{{{},\"k30\":2}}", many.join(","));
    assert!(message(late.as_bytes()).ends_with("the key \"k30\" appears twice"));
}

#[test]
fn deep_nesting_is_text_and_never_a_stack_overflow() {
    let bomb = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let line = format!("{{\"a\":{bomb}}}");
    assert_eq!(texts(&line), [Some(bomb)]);
    let open = format!("{{\"a\":{}", "{\"a\":".repeat(300_000));
    assert!(message(open.as_bytes()).ends_with("EOF while parsing a value"), "{}", message(open.as_bytes()));
}

#[test]
fn a_value_above_the_limit_is_refused() {
    let line = format!("{{\"a\":1,\"b\":\"{}\"}}", "x".repeat(CELL_BYTES));
    let text = Text::new(Box::new(Cursor::new(line.into_bytes())), "a.jsonl", None, 1 << 16).unwrap();
    let error = scan(text, "a.jsonl", &[], &mut Columns::default()).unwrap_err();
    assert_eq!(error.message, "a.jsonl: row 1 (line 1, byte 11): the value is above 16 MiB");
}

#[test]
fn what_json_lacks_has_a_stated_reading() {
    assert_eq!(texts(r#"{"a":"cut \ud83d"}"#), some(&["cut \u{fffd}"]));
    assert_eq!(texts(r#"{"a":"\ude00\ud83d\ude00"}"#), some(&["\u{fffd}😀"]));
    let table = read(b"{\"\\ud800k\":1}", &[], &[]).unwrap();
    assert_eq!(table.schema().field(0).name(), "\u{fffd}k");
    let table = read(b"{\"x\":NaN,\"t\":\"NaN\"}\n{\"x\":1.5}\n{\"x\":-Infinity}\n{\"x\":Infinity}", &[], &[]).unwrap();
    let numbers: Vec<_> = table.column(0).as_primitive::<Float64Type>().iter().collect();
    assert_eq!(numbers, [None, Some(1.5), None, None]);
    assert_eq!(table.column(1).as_string::<i32>().value(0), "NaN");
    assert_eq!(texts(r#"{"a":{"b":NaN}}"#), some(&[r#"{"b":null}"#]));
    // Nested texts stay as they are written; what reads them repairs them.
    assert_eq!(texts(r#"{"a":{"b":"\ud800"}}"#), some(&[r#"{"b":"\ud800"}"#]));
    assert_eq!(texts("\u{feff}{\"a\":\"x\"}\n\n \n{\"a\":\"y\"}"), some(&["x", "y"]));
    assert!(message(b"{\"a\":nan}").ends_with("expected ident"), "{}", message(b"{\"a\":nan}"));
}

#[test]
fn columns_of_objects_and_lists_are_json_text_and_know_their_keys() {
    let lines = br#"{"user":{"name":"Ann","n":1},"tags":["a"],"mixed":{"x":1},"text":"{}"}
{"user":null,"tags":[],"mixed":"{\"x\":1}","text":"[]"}
{"user":{"n":2.5,"bio":null}}"#;
    let table = read(lines, &[], &[]).unwrap();
    let schema = table.schema();
    assert!(schema.fields().iter().all(|field| *field.data_type() == DataType::Utf8));
    let json: Vec<&str> =
        schema.fields().iter().filter(|field| Shape::is_json(field)).map(|field| field.name().as_str()).collect();
    assert_eq!(json, ["user", "tags"]);
    let Shape::Object(members) = Shape::of(schema.field(0)) else { panic!("{:?}", schema.field(0)) };
    let members: Vec<_> = members.iter().map(|(key, shape)| (key.as_str(), shape.clone())).collect();
    assert_eq!(members, [("name", Shape::Text), ("n", Shape::Number), ("bio", Shape::Null)]);
    assert_eq!(table.column(0).as_string::<i32>().value(0), r#"{"name":"Ann","n":1}"#);
    // A column that is declared as text is text.
    let declared = read(lines, &[("user", Type::String)], &[]).unwrap();
    assert!(!Shape::is_json(declared.schema().field(0)));
}
