//! Joins of small tables.

use super::*;
use std::sync::Arc;

use crate::document::{self, Document, Path, SpecFormat};
use crate::stage::{ColumnOrigin, InputTable};
use crate::table::Cell;
use arrow_array::{Int64Array, StringArray};
use arrow_schema::{DataType, Schema};

fn table(names: [&str; 2], rows: &[(Option<&str>, i64)]) -> RecordBatch {
    let schema =
        Schema::new(vec![Field::new(names[0], DataType::Utf8, true), Field::new(names[1], DataType::Int64, true)]);
    let keys = rows.iter().map(|(key, _)| *key).collect::<StringArray>();
    let values = Int64Array::from_iter_values(rows.iter().map(|(_, value)| *value));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(keys), Arc::new(values)]).unwrap()
}

fn joined(spec: &str, input: &RecordBatch, with: &RecordBatch) -> Result<Vec<Vec<Cell>>, Vec<String>> {
    joined_of(spec, (input, &[]), (with, &[])).map(|(_, rows)| rows)
}

type Table<'a> = (&'a RecordBatch, &'a [ColumnOrigin]);
/// The names of the columns, and the rows.
type Joined = (Vec<String>, Vec<Vec<Cell>>);

fn joined_of(
    spec: &str,
    (input, input_origins): Table<'_>,
    (with, with_origins): Table<'_>,
) -> Result<Joined, Vec<String>> {
    let text = format!("input = \"a\"\nwith = \"b\"\n{spec}");
    let document = Document::parse("spec.toml", text, SpecFormat::Toml).unwrap();
    let mut problems = Problems::default();
    let config = document::decode::<Join>(&document.root, &Path::root(), &mut problems).unwrap();
    let (left, right) = (input.schema(), with.schema());
    let given = |name, schema, origins| InputTable { name, schema, key: Some(0), guards: &[], origins };
    let path = Path::of(["stages", "j"]);
    let site = TransformContext {
        name: "j",
        path: &path,
        inputs: &[given("b", &right, with_origins), given("a", &left, input_origins)],
        seed: 0,
        read: &|_| unreachable!(),
    };
    let bound = config.bind(&site, &mut problems);
    let Some(bound) = bound else { return Err(problems.into_iter().map(|p| p.message).collect()) };
    let names = bound.info.schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut work = bound.work.start();
    let mut made = Vec::new();
    // Rows that come one by one make the same table.
    for (place, table) in [(WITH, with), (INPUT, input)] {
        for row in 0..table.num_rows() {
            made.extend(work.take(place, &table.slice(row, 1)).map_err(|e| vec![e.words()])?);
        }
    }
    made.extend(work.finish().map_err(|e| vec![e.words()])?);
    let row = |batch: &RecordBatch, row| batch.columns().iter().map(|c| cell_at(c.as_ref(), row)).collect();
    Ok((names, made.iter().flat_map(|batch| (0..batch.num_rows()).map(move |i| row(batch, i))).collect()))
}

fn rows(found: &[Vec<Cell>]) -> Vec<String> {
    found.iter().map(|row| row.iter().map(|c| c.json().to_string()).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn rows_keep_their_order_and_what_has_no_match_stays_or_goes() {
    let input = table(["id", "n"], &[(Some("x"), 1), (None, 2), (Some("y"), 3), (Some("x"), 4)]);
    let with = table(["id", "age"], &[(Some("y"), 30), (None, 99), (Some("x"), 20)]);
    let left = joined("on = [\"id\"]", &input, &with).unwrap();
    assert_eq!(rows(&left), ["\"x\" 1 20", "null 2 null", "\"y\" 3 30", "\"x\" 4 20"]);
    let inner = joined("on = [\"id\"]\nhow = \"inner\"", &input, &with).unwrap();
    assert_eq!(rows(&inner), ["\"x\" 1 20", "\"y\" 3 30", "\"x\" 4 20"]);
    let other = table(["name", "age"], &[(Some("x"), 20)]);
    let other = joined("on = [\"id\"]\nwith_on = [\"name\"]\nhow = \"inner\"", &input, &other).unwrap();
    assert_eq!(rows(&other), ["\"x\" 1 20", "\"x\" 4 20"]);
}

#[test]
fn repeated_keys_are_explicit() {
    let input = table(["id", "n"], &[(Some("x"), 1), (Some("y"), 2)]);
    let with = table(["id", "age"], &[(Some("x"), 20), (Some("y"), 5), (Some("x"), 21)]);
    let error = joined("on = [\"id\"]", &input, &with).unwrap_err().join("");
    assert!(error.starts_with("one key is repeated in the table to join with: \"x\" (rows 1, 3); "), "{error}");
    let first = joined("on = [\"id\"]\nduplicates = \"first\"", &input, &with).unwrap();
    assert_eq!(rows(&first), ["\"x\" 1 20", "\"y\" 2 5"]);
    let all = joined("on = [\"id\"]\nduplicates = \"all\"", &input, &with).unwrap();
    assert_eq!(rows(&all), ["\"x\" 1 20", "\"x\" 1 21", "\"y\" 2 5"]);
}

#[test]
fn keys_of_other_types_and_names_that_are_taken_are_refused() {
    let input = table(["id", "n"], &[]);
    let error = |spec: &str, with: &RecordBatch| joined(spec, &input, with).unwrap_err();
    let with = table(["id", "n"], &[]);
    let types = error("on = [\"id\"]\nwith_on = [\"n\"]", &with);
    assert!(types[0].contains("so that they are never equal"), "{types:?}");
    assert_eq!(error("on = []", &with)[0], "`on` must name at least one column");
    assert_eq!(error("on = [\"ids\"]", &with)[0], "`a` has no column `ids`");
    let taken = joined("on = [\"n_b\"]\nwith_on = [\"id\"]", &table(["n_b", "n"], &[]), &with).unwrap_err();
    assert_eq!(taken, ["both tables have a column `n`, and `n_b` is there too"]);
}

#[test]
fn copies_are_shared_and_other_columns_of_one_name_get_a_suffix() {
    let (input, with) = (table(["id", "n"], &[(Some("x"), 1)]), table(["id", "n"], &[(Some("x"), 2)]));
    let names = |spec: &str, input_origins: &[ColumnOrigin], with_origins: &[ColumnOrigin]| {
        joined_of(spec, (&input, input_origins), (&with, with_origins)).unwrap().0
    };
    let origin = |table, column, key| ColumnOrigin { place: (table, column), key };
    let source = [origin(0, 0, Some((0, 0))), origin(0, 1, Some((0, 0)))];
    let on = "on = [\"id\"]";
    assert_eq!(names(on, &source, &source), ["id", "n"]);
    // Another source, a source without a key, and a stage that fills the column.
    let other = [origin(1, 0, Some((1, 0))), origin(1, 1, Some((1, 0)))];
    let keyless = [origin(0, 0, None), origin(0, 1, None)];
    let filled = [source[0], origin(2, 1, Some((0, 0)))];
    for origins in [(&source, &other), (&keyless, &keyless), (&source, &filled)] {
        assert_eq!(names(on, origins.0, origins.1), ["id", "n", "n_b"]);
    }
    // Rows with equal values in another column may be different rows.
    assert_eq!(names("on = [\"n\"]", &source, &source), ["id", "n", "id_b"]);
    let rows = joined_of(on, (&input, &source), (&with, &other)).unwrap().1;
    assert_eq!(rows[0][2].json(), 2);
}
