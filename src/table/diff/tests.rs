//! Tests of the comparison, in any batches, against a comparison of all pairs.

use std::sync::Arc;

use arrow_schema::Schema;
use proptest::prelude::*;

use super::*;
use crate::table::{Column, Simple, Type, array_of};

const COLUMNS: [(&str, Type); 5] = [
    ("id", Type::Text),
    ("label", Type::Text),
    ("score", Type::Integer),
    ("share", Type::Number),
    ("tags", Type::List(Simple::Text)),
];

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn row(id: &str, label: &str, score: i64) -> Vec<Cell> {
    let label = if label.is_empty() { Cell::Null } else { text(label) };
    vec![text(id), label, Cell::Integer(score), Cell::Number(0.5), Cell::List(vec![text("x"), Cell::Null])]
}

fn batch(columns: &[(&str, Type)], rows: &[Vec<Cell>]) -> RecordBatch {
    let columns: Vec<Column> = columns.iter().map(|(name, kind)| Column::new(*name, *kind)).collect();
    let schema = Arc::new(Schema::new(columns.iter().map(Column::field).collect::<Vec<_>>()));
    let arrays = columns.iter().enumerate().map(|(i, c)| array_of(c.kind, rows.iter().map(|row| &row[i])));
    RecordBatch::try_new(schema, arrays.collect()).unwrap()
}

fn by(columns: &[&str]) -> Matching {
    Matching { columns: columns.iter().map(|c| (*c).to_owned()).collect(), numbered: columns.is_empty() }
}

/// Compares two batches, cut into slices of `cut` rows.
fn compare(a: &RecordBatch, b: &RecordBatch, by: &Matching, cut: usize) -> Result<TableDiff, DiffError> {
    let reader = |batch: &RecordBatch| {
        let batch = batch.clone();
        move || -> Result<Batches, String> {
            let rows = batch.num_rows();
            let slices: Vec<_> = (0..rows).step_by(cut).map(|at| Ok(batch.slice(at, cut.min(rows - at)))).collect();
            Ok(Box::new(slices.into_iter()))
        }
    };
    let (read_a, read_b) = (reader(a), reader(b));
    let side_a = Side { schema: a.schema(), read: &read_a, fold: 1 };
    diff(
        &side_a,
        &Side { schema: b.schema(), read: &read_b, fold: 1 },
        by,
        &Wanted { examples: 2, ..Wanted::default() },
    )
}

fn column<'a>(found: &'a TableDiff, name: &str) -> &'a ColumnDiff {
    found.columns.iter().find(|column| column.name == name).unwrap()
}

#[test]
fn rows_are_matched_by_their_key_wherever_they_stand() {
    let a = batch(&COLUMNS, &[row("p", "yes", 1), row("q", "no", 2), row("r", "yes", 3), row("s", "", 4)]);
    let b = batch(&COLUMNS, &[row("new", "no", 9), row("q", "yes", 4), row("p", "yes", 1), row("s", "no", 4)]);
    for cut in [1, 3, 9] {
        let found = compare(&a, &b, &by(&["id"]), cut).unwrap();
        assert_eq!((found.matched, found.differ, found.only_a, found.only_b), (3, 2, 1, 1));
        assert!(found.reordered && found.differs());
        assert_eq!(
            (&found.examples_only_a, &found.examples_only_b),
            (&vec![vec![text("r")]], &vec![vec![text("new")]])
        );
        let label = column(&found, "label");
        assert_eq!((label.differ, label.null_in_a, label.null_in_b), (2, 1, 0));
        let confusion = label.confusion.as_ref().unwrap();
        assert_eq!(confusion.labels, [text("no"), text("yes"), Cell::Null]);
        assert_eq!(confusion.counts, [[0, 1, 0], [0, 1, 0], [1, 0, 0]]);
        let score = column(&found, "score");
        assert_eq!(score.distance, Some(Distance { mean: 2.0 / 3.0, rows: 3 }));
        assert_eq!((column(&found, "share").differ, column(&found, "tags").differ), (0, 0));
        let changes =
            vec![("label".into(), text("no"), text("yes")), ("score".into(), Cell::Integer(2), Cell::Integer(4))];
        let first = Example { shown: Vec::new(), key: vec![text("q")], changes };
        let second = Example {
            shown: Vec::new(),
            key: vec![text("s")],
            changes: vec![("label".into(), Cell::Null, text("no"))],
        };
        assert_eq!(found.examples, [first, second]);
    }
}

#[test]
fn without_a_key_the_number_counts() {
    let a = batch(&COLUMNS, &[row("p", "yes", 1), row("q", "no", 2)]);
    let b = batch(&COLUMNS, &[row("n", "no", 9), row("p", "yes", 1), row("q", "no", 2)]);
    let found = compare(&a, &b, &by(&[]), 2).unwrap();
    assert_eq!((found.matched, found.differ, found.only_a, found.only_b), (2, 2, 0, 1));
    assert_eq!(found.examples_only_b, [[Cell::Integer(3)]]);
    assert_eq!(found.examples[0].key, [Cell::Integer(1)]);
    let same = compare(&a, &a, &by(&[]), 1).unwrap();
    assert!(!same.differs() && same.matched == 2, "{same:?}");
}

#[test]
fn a_key_that_comes_twice_is_refused_in_both_tables() {
    let once = batch(&COLUMNS, &[row("p", "yes", 1), row("q", "no", 2)]);
    let twice = batch(&COLUMNS, &[row("q", "yes", 1), row("n", "", 1), row("n", "no", 2)]);
    for (a, b, side) in [(&once, &twice, Which::B), (&twice, &once, Which::A)] {
        match compare(a, b, &by(&["id"]), 8) {
            Err(DiffError::Twice { side: found, row: 3, key }) => assert_eq!((found, key), (side, vec![text("n")])),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn types_count_and_so_do_the_bits_of_numbers() {
    let of = |kind: Type, cell: Cell| batch(&[("x", kind)], &[vec![cell]]);
    let differ = |a: &RecordBatch, b: &RecordBatch| compare(a, b, &by(&[]), 1).unwrap();
    let number = |x: f64| of(Type::Number, Cell::Number(x));
    assert_eq!(differ(&number(0.1 + 0.2), &number(0.3)).differ, 1);
    assert_eq!(differ(&number(0.0), &number(-0.0)).differ, 1);
    assert!(!differ(&number(f64::NAN), &number(f64::NAN)).differs());
    let found = differ(&number(1.0), &of(Type::Integer, Cell::Integer(1)));
    assert_eq!((found.differ, found.retyped), (1, vec![("x: number".into(), "x: integer".into())]));
    assert_eq!(found.columns[0].distance, Some(Distance { mean: 0.0, rows: 1 }));
    assert_eq!(differ(&of(Type::Text, text("1")), &of(Type::Integer, Cell::Integer(1))).differ, 1);
    assert_eq!(differ(&of(Type::Text, text("")), &of(Type::Text, Cell::Null)).columns[0].null_in_b, 1);
}

#[test]
fn columns_of_one_table_only_are_named() {
    let a = batch(&[("id", Type::Text), ("old", Type::Text)], &[vec![text("p"), text("x")]]);
    let b = batch(&[("new", Type::Boolean), ("id", Type::Text)], &[vec![Cell::Boolean(true), text("p")]]);
    let found = compare(&a, &b, &by(&["id"]), 1).unwrap();
    assert_eq!(found.columns_only_a, ["old: text"]);
    assert_eq!(found.columns_only_b, ["new: boolean"]);
    assert!(found.differs() && found.differ == 0 && found.columns.is_empty());
}

#[test]
fn long_cells_differ_at_their_ends_and_are_shown_by_their_beginnings() {
    let long = |end: &str| text(&("é".repeat(5000) + end));
    let table = |cell: Cell| batch(&[("x", Type::Text)], &[vec![cell]]);
    let found = compare(&table(long("a")), &table(long("b")), &by(&[]), 1).unwrap();
    assert_eq!(found.differ, 1);
    let shown = text(&("é".repeat(200) + "…"));
    assert_eq!(found.examples[0].changes, [("x".to_owned(), shown.clone(), shown)]);
    assert!(!compare(&table(long("a")), &table(long("a")), &by(&[]), 1).unwrap().differs());
}

#[test]
fn only_columns_of_few_values_are_counted_value_by_value() {
    let table = |labels: &[String]| {
        let rows: Vec<Vec<Cell>> = labels.iter().map(|label| vec![text(label)]).collect();
        batch(&[("x", Type::Text)], &rows)
    };
    let confusion = |values: usize, rows: usize| {
        let a: Vec<String> = (0..rows).map(|i| format!("v{:02}", i % values)).collect();
        let mut b = a.clone();
        b.swap(0, 1);
        compare(&table(&a), &table(&b), &by(&[]), 64).unwrap().columns.remove(0).confusion
    };
    assert_eq!(confusion(20, 60).map(|c| c.labels.len()), Some(20));
    assert_eq!(confusion(21, 60), None);
    // A different value in every row: no classes.
    let unique = compare(&table(&["a".into(), "b".into()]), &table(&["a".into(), "c".into()]), &by(&[]), 2).unwrap();
    assert_eq!(unique.columns[0].confusion, None);
}

#[test]
fn kappa_is_cohens() {
    // The example of two raters of 50 proposals: both yes 20, only the first 5, only the second 10, both no 15.
    let labels = vec![text("no"), text("yes")];
    let table = |counts: [[u64; 2]; 2]| Confusion { labels: labels.clone(), counts: counts.map(Vec::from).to_vec() };
    let (kappa, rows) = table([[15, 10], [5, 20]]).kappa().unwrap();
    assert!((kappa - 0.4).abs() < 1e-12 && rows == 50, "{kappa}");
    assert_eq!(table([[0, 0], [0, 7]]).kappa(), None);
    let with_null = Confusion { labels: vec![text("no"), Cell::Null], counts: vec![vec![0, 3], vec![2, 0]] };
    assert_eq!(with_null.kappa(), None);
}

fn cells() -> impl Strategy<Value = Vec<Vec<Cell>>> {
    let cell = prop_oneof![Just(Cell::Null), "[ab]{0,2}".prop_map(Cell::Text)];
    let row = (cell, prop_oneof![Just(Cell::Null), (0..3i64).prop_map(Cell::Integer)]);
    proptest::collection::vec(row, 0..12).prop_map(|rows| {
        let numbered = rows.into_iter().enumerate();
        numbered.map(|(i, (label, score))| vec![text(&format!("k{i}")), label, score]).collect()
    })
}

proptest! {
    /// The counts are those of a comparison of every row with every row.
    #[test]
    fn the_counts_are_those_of_all_pairs(a in cells(), b in cells(), turn in 0..12usize, cut in 1..5usize) {
        let columns = [("id", Type::Text), ("label", Type::Text), ("score", Type::Integer)];
        let mut b = b;
        if !b.is_empty() {
            let by = turn % b.len();
            b.rotate_left(by);
        }
        let found = compare(&batch(&columns, &a), &batch(&columns, &b), &by(&["id"]), cut).unwrap();
        let pairs: Vec<_> = a.iter().filter_map(|x| Some((x, b.iter().find(|y| y[0] == x[0])?))).collect();
        prop_assert_eq!(found.matched as usize, pairs.len());
        prop_assert_eq!(found.only_a as usize, a.len() - pairs.len());
        prop_assert_eq!(found.only_b as usize, b.len() - pairs.len());
        prop_assert_eq!(found.differ as usize, pairs.iter().filter(|(x, y)| x != y).count());
        for (i, name) in [(1, "label"), (2, "score")] {
            let differ = pairs.iter().filter(|(x, y)| x[i] != y[i]);
            prop_assert_eq!(column(&found, name).differ as usize, differ.clone().count());
            let nulls = differ.filter(|(x, _)| x[i] == Cell::Null).count();
            prop_assert_eq!(column(&found, name).null_in_a as usize, nulls);
        }
        if let Some(confusion) = &column(&found, "label").confusion {
            for (i, old) in confusion.labels.iter().enumerate() {
                for (j, new) in confusion.labels.iter().enumerate() {
                    let count = pairs.iter().filter(|(x, y)| x[1] == *old && y[1] == *new).count();
                    prop_assert_eq!(confusion.counts[i][j] as usize, count);
                }
            }
        }
    }
}
