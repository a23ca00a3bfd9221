//! Searches of small tables.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, ArrayRef, ListArray, RecordBatch, StringArray};
use arrow_schema::{Field, Schema};
use serde_json::{Value, json};

use super::*;
use crate::document::{self, Document, Path, SpecFormat};
use crate::random::Streams;
use crate::stage::InputTable;
use crate::table::{Guard, cells_at};

/// A row: a key, a text and a vector.
type Line<'a> = (&'a str, Option<&'a str>, Option<Vec<f32>>);

fn table(lines: &[Line<'_>]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(lines.iter().map(|line| Some(line.0)).collect::<StringArray>());
    let texts: ArrayRef = Arc::new(lines.iter().map(|line| line.1).collect::<StringArray>());
    let vector = |line: &Line<'_>| line.2.clone().map(|vector| vector.into_iter().map(Some).collect::<Vec<_>>());
    let vectors: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lines.iter().map(vector)));
    let columns = [("id", keys), ("text", texts), ("embedding", vectors)];
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, column)| column).collect()).unwrap()
}

/// The items of each row of `input`, or the problems.
fn retrieved(spec: &str, input: &RecordBatch, from: &RecordBatch) -> Result<Vec<Value>, Vec<String>> {
    retrieved_with(spec, (input, "questions"), (from, &[]), Some(0))
}

fn retrieved_with(
    spec: &str,
    (input, name): (&RecordBatch, &str),
    (from, guards): (&RecordBatch, &[Vec<Guard>]),
    key: Option<usize>,
) -> Result<Vec<Value>, Vec<String>> {
    let text = format!("input = {name:?}\nfrom = \"texts\"\n{spec}");
    let document = Document::parse("spec.toml", text, SpecFormat::Toml).unwrap();
    let mut problems = Problems::default();
    let config = document::decode::<Retrieve>(&document.root, &Path::root(), &mut problems).unwrap();
    let none = vec![Vec::new(); 3];
    let guards = if guards.is_empty() { &none } else { guards };
    let (left, right) = (input.schema(), from.schema());
    let tables = [
        InputTable { name: "texts", schema: &right, key, guards, origins: &[] },
        InputTable { name, schema: &left, key: Some(0), guards: &none, origins: &[] },
    ];
    let path = Path::of(["stages", "found"]);
    let context = TransformContext { name: "found", path: &path, inputs: &tables, seed: 0, read: &|_| unreachable!() };
    let said = |problem: document::Diagnostic| problem.message;
    let Some(bound) = config.bind(&context, &mut problems) else {
        return Err(problems.into_iter().map(said).collect());
    };
    let mut work = bound.work.start();
    let mut made = Vec::new();
    // Rows that come in pieces make the same table.
    for (place, table) in [(FROM, from), (INPUT, input)] {
        for first in (0..table.num_rows()).step_by(2) {
            let piece = table.slice(first, 2.min(table.num_rows() - first));
            made.extend(work.take(place, &piece).map_err(|e| vec![e.words()])?);
        }
    }
    made.extend(work.finish().map_err(|e| vec![e.words()])?);
    assert!(made.iter().all(|batch| batch.schema() == bound.info.schema));
    Ok(made.iter().flat_map(|batch| (0..batch.num_rows()).map(|i| cells_at(batch, i)["context"].clone())).collect())
}

fn ids(items: &Value) -> Vec<&str> {
    items.as_array().map(|items| items.iter().filter_map(|item| item["id"].as_str()).collect()).unwrap_or_default()
}

const WORDS: &str = "text_column = \"text\"\nfrom_text_columns = [\"text\"]\n";
const VECTORS: &str = "vector_column = \"embedding\"\n";

fn texts() -> RecordBatch {
    table(&[
        ("a", Some("The railway reaches Ulm"), Some(vec![1.0, 0.0])),
        ("b", Some("War and peace"), Some(vec![0.0, 2.0])),
        ("c", None, Some(vec![3.0, 3.0])),
        ("d", Some("The war for the railway, the war"), None),
    ])
}

#[test]
fn words_find_the_rows_that_have_them() {
    let input = table(&[("1", Some("war railway"), None), ("2", Some("nothing"), None), ("3", None, None)]);
    let found = retrieved(&format!("{WORDS}columns = [\"text\"]\nk = 2"), &input, &texts()).unwrap();
    assert_eq!(ids(&found[0]), ["d", "b"], "of two rows with one of the words, the shorter text");
    let first = &found[0][0];
    let names: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(names, ["rank", "score", "id", "text"]);
    assert_eq!((&first["rank"], &first["text"]), (&json!(1), &json!("The war for the railway, the war")));
    assert!(first["score"].as_f64() > found[0][1]["score"].as_f64());
    assert_eq!((&found[1], &found[2]), (&json!([]), &Value::Null), "no words are found; the query is missing");
}

#[test]
fn vectors_find_the_nearest_rows() {
    let input = table(&[("1", None, Some(vec![0.1, 1.0])), ("2", None, None)]);
    let spec = |more: &str| format!("{VECTORS}columns = [\"id\"]\n{more}");
    let found = retrieved(&spec(""), &input, &texts()).unwrap();
    assert_eq!(ids(&found[0]), ["b", "c", "a"]);
    assert!((found[0][0]["score"].as_f64().unwrap() - 1.0 / 1.01f64.sqrt()).abs() < 1e-7);
    assert_eq!(found[1], Value::Null);
    let found = retrieved(&spec("min_similarity = 0.5"), &input, &texts()).unwrap();
    assert_eq!(ids(&found[0]), ["b", "c"]);
    let found = retrieved(&spec("when = \"id != 'b'\"\nk = 1"), &input, &texts()).unwrap();
    assert_eq!(ids(&found[0]), ["c"]);
}

#[test]
fn both_are_fused_by_rank() {
    let input = table(&[("1", Some("war"), Some(vec![0.0, 1.0])), ("2", Some("war"), None)]);
    let found = retrieved(&format!("{WORDS}{VECTORS}columns = [\"id\"]"), &input, &texts()).unwrap();
    assert_eq!(ids(&found[0]), ["b", "d", "c", "a"]);
    let first = &found[0][0];
    assert_eq!(first["score"], json!(1.0 / 62.0 + 1.0 / 61.0));
    assert_eq!(first["similarity"], json!(1.0));
    assert_eq!((&found[0][1]["similarity"], &found[0][2]["bm25"]), (&Value::Null, &Value::Null));
    assert_eq!(found[1], Value::Null, "a query lacks its vector");
}

#[test]
fn a_row_does_not_find_itself_and_failed_rows_are_not_found() {
    let from = texts();
    let spec = format!("{WORDS}columns = [\"text\"]");
    let found = retrieved_with(&spec, (&from, "texts"), (&from, &[]), Some(0)).unwrap();
    assert_eq!(found.iter().map(ids).collect::<Vec<_>>(), [vec!["d"], vec!["d"], vec![], vec!["a", "b"]]);
    // A row whose text is missing because a call failed.
    let guards = [vec![], vec![Guard::Missing(2)], vec![]];
    let input = table(&[("1", Some("war"), None)]);
    let found = retrieved_with(&spec, (&input, "questions"), (&from, &guards), Some(0)).unwrap();
    assert_eq!(ids(&found[0]), ["b"]);
    // Without a key, an item has the number of its row.
    let when = format!("{spec}\nwhen = \"id != 'a'\"");
    let found = retrieved_with(&when, (&input, "questions"), (&from, &[]), None).unwrap();
    let rows: Vec<&Value> = found[0].as_array().unwrap().iter().map(|item| &item["row"]).collect();
    assert_eq!(rows, [&json!(4), &json!(2)]);
}

#[test]
fn many_rows_are_searched_in_pieces_of_the_same_result() {
    let streams = Streams::new(7, &["rows"]);
    let names: Vec<String> = (0..1500).map(|row| format!("r{row:04}")).collect();
    let line = |(row, name)| -> Line<'_> {
        let mut stream = streams.of(row);
        let vector = (0..6).map(|_| stream.unit() as f32 - 0.5).collect();
        (name, Some("the same words"), Some(vector))
    };
    let lines: Vec<Line<'_>> = (0u64..).zip(names.iter().map(String::as_str)).map(line).collect();
    let all = table(&lines);
    let found = retrieved(&format!("{VECTORS}columns = [\"id\"]\nk = 3"), &all, &all).unwrap();
    assert_eq!(found.len(), 1500);
    let vectors = all.column(2).as_list::<i32>().clone();
    let vector = |row: usize| vectors.value(row).as_primitive::<Float32Type>().values().to_vec();
    for row in [0, 1, 1023, 1024, 1499] {
        let cosine = |other: &usize| {
            let (a, b) = (vector(row), vector(*other));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
        };
        let mut places: Vec<usize> = (0..1500).collect();
        places.sort_by(|a, b| cosine(b).total_cmp(&cosine(a)));
        let nearest: Vec<&str> = places[..3].iter().map(|place| names[*place].as_str()).collect();
        assert_eq!(ids(&found[row]), nearest, "row {row}");
    }
}

#[test]
fn what_does_not_fit_is_reported() {
    let input = table(&[("1", Some("war"), Some(vec![1.0, 0.0]))]);
    let problems = |spec: &str| retrieved(spec, &input, &texts()).unwrap_err();
    let columns = "columns = [\"id\"]\n";
    assert_eq!(problems(columns), ["nothing says how near two rows are"]);
    assert_eq!(problems(&format!("{WORDS}columns = []")), ["`columns` is empty"]);
    assert_eq!(problems(&format!("{WORDS}{columns}k = 0")), ["`k` must be at least 1"]);
    assert_eq!(
        problems(&format!("text_column = \"text\"\n{columns}")),
        ["`from_text_columns` is missing: it names the columns that are searched"]
    );
    assert_eq!(problems(&format!("vector_column = \"text\"\n{columns}"))[0], "`text` holds text, not vectors",);
    assert_eq!(
        problems(&format!("{WORDS}{columns}min_similarity = 0.5")),
        ["`min_similarity` goes with `vector_column`, which is missing"]
    );
    assert_eq!(problems(&format!("{VECTORS}{columns}min_similarity = 2")), ["`min_similarity` must be from -1 to 1"]);
    assert_eq!(problems(&format!("{WORDS}{columns}column = \"text\"")), ["`questions` has a column `text` already"]);
    assert_eq!(problems(&format!("{WORDS}columns = [\"id\", \"id\"]")), ["`id` is listed twice in `columns`"]);
}

#[test]
fn vectors_that_do_not_fit_stop_the_run() {
    let from = texts();
    let spec = format!("{VECTORS}columns = [\"id\"]");
    let said = |input: RecordBatch, from: &RecordBatch| retrieved(&spec, &input, from).unwrap_err().remove(0);
    let longer = table(&[("1", None, Some(vec![1.0, 0.0, 0.0]))]);
    let message = said(longer, &from);
    assert!(message.starts_with("`questions` has vectors of 3 numbers, but `texts` of 2"), "{message}");
    let nan = table(&[("1", None, Some(vec![1.0, f32::NAN]))]);
    assert_eq!(
        said(nan, &from),
        "the vector `embedding` in row 1 of `questions` contains a value that is not a finite number"
    );
    let mixed = table(&[("1", None, Some(vec![1.0])), ("2", None, Some(vec![1.0, 2.0]))]);
    let message = said(table(&[("1", None, Some(vec![1.0]))]), &mixed);
    assert!(message.starts_with("`embedding` has a vector of 2 numbers in row 2 of `texts`, but of 1"), "{message}");
}
