//! Each kind over a small table, in batches of every size: what holds, what does not, what is found.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};

use super::*;
use crate::document::{Document, Path, Problems, SpecFormat};
use crate::table::{Cell, Simple, Type, array_of};

/// Six rows with keys, of a stage `tone` that failed once.
fn table() -> RecordBatch {
    let tags = |tags: &[&str]| Cell::List(tags.iter().map(|tag| Cell::Text((*tag).to_owned())).collect());
    let tags = [tags(&["a"]), tags(&["a", "b"]), Cell::Null, tags(&[]), tags(&["c"]), tags(&["b"])];
    let columns: [(&str, ArrayRef); 7] = [
        ("id", Arc::new(StringArray::from(vec!["r1", "r2", "r3", "r4", "r5", "r6"]))),
        (
            "label",
            Arc::new(StringArray::from(vec![Some("pro"), Some("con"), None, Some("pro"), Some("?"), Some("pro")])),
        ),
        ("score", Arc::new(Int64Array::from(vec![Some(3), Some(7), None, Some(11), Some(3), Some(3)]))),
        ("prob", Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None, Some(0.0), Some(-0.0), Some(1.0)]))),
        ("refund", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(false), Some(false), None]))),
        ("tags", array_of(Type::List(Simple::Text), tags.iter())),
        ("tone_error", Arc::new(StringArray::from(vec![None, None, Some("timeout: no answer"), None, None, None]))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

/// The test `text` says, and the problems of binding it.
fn bound(text: &str, table: &RecordBatch) -> (Option<Assertion>, Problems) {
    let document = Document::parse("t.toml", text.to_owned(), SpecFormat::Toml).unwrap();
    let mut node = document.root.clone();
    let kind = node.get("type").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap();
    if let crate::document::Value::Table(entries) = &mut node.value {
        entries.retain(|entry| entry.key != "type");
    }
    let kind = ASSERTIONS.iter().find(|known| known.name == kind).unwrap();
    let mut problems = Problems::default();
    let config = (kind.decode)(&node, &Path::root(), &mut problems);
    let stages = [StageErrors { name: "tone".to_owned(), errors: vec![6] }];
    let schema = table.schema();
    let site = TestContext { path: &Path::root(), table: "tone", schema: &schema, stages: &stages };
    (config.and_then(|config| config.bind(&site, &mut problems)), problems)
}

/// What is found, the same for every size of a batch.
fn found_in(text: &str, table: &RecordBatch) -> Finding {
    let (assertion, problems) = bound(text, table);
    let assertion = assertion.unwrap_or_else(|| panic!("{text}: {problems:?}"));
    let findings = [1, 2, 6].map(|size| {
        // Only what it reads, and the key.
        let mut read = [assertion.reads.clone(), vec![0]].concat();
        read.sort_unstable();
        read.dedup();
        let places: HashMap<usize, usize> = read.iter().enumerate().map(|(place, column)| (*column, place)).collect();
        let columns = table.project(&read).unwrap();
        let mut check = assertion.rule.check();
        for first in (0..table.num_rows()).step_by(size) {
            let rows = columns.slice(first, size.min(table.num_rows() - first));
            check.take(&RowsView { batch: &rows, places: &places, key: Some(0), first: first as u64 + 1 });
        }
        check.finding(table.num_rows() as u64)
    });
    assert!(findings.windows(2).all(|w| w[0] == w[1]), "{text}: {findings:?}");
    findings[0].clone()
}

#[track_caller]
fn finds(text: &str, holds: bool, found: &str, rows: &[&str]) {
    let finding = found_in(text, &table());
    let shown: Vec<String> = finding.examples.iter().map(|e| format!("{} {}", e.row, e.value)).collect();
    assert_eq!(
        (finding.holds, finding.found.as_str(), shown),
        (holds, found, rows.iter().map(|r| (*r).to_owned()).collect()),
        "{text}"
    );
}

#[test]
fn rows_are_counted() {
    finds("type = 'rows'\nequals = 6", true, "6 rows", &[]);
    finds("type = 'rows'\nequals = 7", false, "6 rows", &[]);
    finds("type = 'rows'\nminimum = 6\nmaximum = 6", true, "6 rows", &[]);
    finds("type = 'rows'\nminimum = 7", false, "6 rows", &[]);
    finds("type = 'rows'\nmaximum = 5", false, "6 rows", &[]);
}

#[test]
fn failed_rows_are_counted() {
    let failed = ["r3 timeout: no answer"];
    finds("type = 'failed'\nmaximum = 1", true, "1 of 6 failed", &failed);
    finds("type = 'failed'\nmaximum = 0\nstage = 'tone'", false, "1 of 6 failed", &failed);
    finds("type = 'failed'\nmaximum = '17%'", true, "1 of 6 failed", &failed);
    finds("type = 'failed'\nmaximum = '16 %'", false, "1 of 6 failed", &failed);
}

#[test]
fn other_values_are_found() {
    finds("type = 'allowed'\ncolumn = 'label'\nvalues = ['pro', 'con', '?']", true, "nothing else", &[]);
    finds("type = 'allowed'\ncolumn = 'label'\nvalues = ['pro', 'con']", false, "1 row with another value", &["r5 ?"]);
    finds("type = 'allowed'\ncolumn = 'score'\nvalues = [3, 7]", false, "1 row with another value", &["r4 11"]);
    finds("type = 'allowed'\ncolumn = 'prob'\nvalues = [0, 0.5, 1]", false, "1 row with another value", &["r2 NaN"]);
    finds("type = 'allowed'\ncolumn = 'refund'\nvalues = [true, false]", true, "nothing else", &[]);
    finds("type = 'allowed'\ncolumn = 'tags'\nvalues = ['a', 'b']", false, "1 row with another value", &["r5 [c]"]);
}

#[test]
fn shares_are_of_the_rows_with_a_value() {
    finds("type = 'share'\ncolumn = 'label'\nvalue = 'pro'\nminimum = 0.6\nmaximum = 0.6", true, "0.6 (3 of 5)", &[]);
    finds("type = 'share'\ncolumn = 'label'\nvalue = 'pro'\nminimum = 0.61", false, "0.6 (3 of 5)", &[]);
    finds("type = 'share'\ncolumn = 'refund'\nvalue = true\nmaximum = 0.2", false, "0.25 (1 of 4)", &[]);
    finds("type = 'share'\ncolumn = 'prob'\nvalue = 0\nminimum = 0.4", true, "0.4 (2 of 5)", &[]);
    let empty = found_in("type = 'share'\ncolumn = 'label'\nvalue = 'pro'\nmaximum = 1", &table().slice(2, 1));
    assert!(!empty.holds && empty.found == "no row has a value", "{empty:?}");
}

#[test]
fn repeated_values_are_found() {
    finds("type = 'unique'\ncolumn = 'id'", true, "no value twice", &[]);
    finds("type = 'unique'\ncolumn = 'score'", false, "2 rows repeat an earlier one", &["r5 3", "r6 3"]);
    finds("type = 'unique'\ncolumns = ['label', 'score']", false, "1 row repeats an earlier one", &["r6 pro, 3"]);
    finds("type = 'unique'\ncolumn = 'prob'", false, "1 row repeats an earlier one", &["r5 -0"]);
    finds("type = 'unique'\ncolumn = 'tags'", true, "no value twice", &[]);
}

#[test]
fn nulls_are_found() {
    finds("type = 'not_null'\ncolumn = 'id'", true, "no null", &[]);
    let nulls = ["r3 score is null", "r6 refund is null"];
    finds("type = 'not_null'\ncolumns = ['score', 'refund']", false, "2 of 6 rows with a null", &nulls);
}

#[test]
fn numbers_outside_are_found() {
    finds("type = 'between'\ncolumn = 'score'\nminimum = 3\nmaximum = 11", true, "from 3 to 11", &[]);
    finds(
        "type = 'between'\ncolumn = 'score'\nminimum = 3.5\nmaximum = 10",
        false,
        "4 rows outside, from 3 to 11",
        &["r1 3", "r4 11", "r5 3", "r6 3"],
    );
    finds("type = 'between'\ncolumn = 'prob'\nminimum = 0", false, "1 row outside, from 0 to 1", &["r2 NaN"]);
}

/// The table of a method: two statistics, one of them for two groups, and one that is undefined.
fn tidy() -> RecordBatch {
    let texts = |texts: [Option<&str>; 4]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
    let numbers = |numbers: [Option<f64>; 4]| -> ArrayRef { Arc::new(Float64Array::from(numbers.to_vec())) };
    let columns: [(&str, ArrayRef); 8] = [
        ("party", texts([None, Some("A"), Some("B"), None])),
        ("statistic", texts([Some("kappa"), Some("alpha"), Some("alpha"), Some("ac1")])),
        ("estimate", numbers([Some(0.74341), Some(0.9), Some(0.5), None])),
        ("ci_low", numbers([Some(0.61), Some(0.85), None, None])),
        ("ci_high", numbers([Some(0.85), Some(0.95), None, None])),
        ("level", numbers([Some(0.95), Some(0.95), None, None])),
        ("n", Arc::new(Int64Array::from(vec![12, 6, 6, 0]))),
        ("note", texts([None, None, Some("one replicate"), Some("only one label")])),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

#[test]
fn statistics_are_within_bounds() {
    let test = |rows: &str, rest: &str| {
        let found = found_in(&format!("type = 'statistic'\nwhere = {{ {rows} }}\n{rest}"), &tidy());
        (found.holds, found.found, found.examples.into_iter().map(|example| example.value).collect::<Vec<_>>())
    };
    let kappa = "0.7434 (95 % CI 0.61 to 0.85)".to_owned();
    assert_eq!(test("statistic = 'kappa'", "minimum = 0.7"), (true, kappa.clone(), vec![]));
    assert_eq!(test("statistic = 'kappa'", "minimum = 0.8"), (false, kappa.clone(), vec![kappa.clone()]));
    assert_eq!(test("statistic = 'kappa'", "maximum = 0.7"), (false, kappa.clone(), vec![kappa]));
    let low = "0.61 (estimate 0.7434)".to_owned();
    assert_eq!(test("statistic = 'kappa'", "minimum = 0.7\nof = 'ci_low'"), (false, low.clone(), vec![low]));
    let b = "0.5 (one replicate, party B)".to_owned();
    let both = "1 of 2 statistics outside, from 0.5 to 0.9".to_owned();
    assert_eq!(test("statistic = 'alpha'", "minimum = 0.8"), (false, both, vec![b.clone()]));
    assert_eq!(test("statistic = 'alpha'", "minimum = 0.4").1, "2 statistics, from 0.5 to 0.9");
    assert_eq!(
        test("statistic = 'alpha', party = 'B'", "minimum = 0.4"),
        (true, "0.5 (one replicate)".to_owned(), vec![])
    );
    let null = "null (only one label)".to_owned();
    assert_eq!(test("statistic = 'ac1'", "maximum = 1"), (false, null.clone(), vec![null]));
    assert!(test("n = 12", "minimum = 0.7").0);
    // The row of all parties together.
    assert!(test("statistic = 'kappa', party = ''", "minimum = 0.7").0);
    let none = "no row has statistic = alpha, no party".to_owned();
    assert_eq!(test("statistic = 'alpha', party = ''", "minimum = 0"), (false, none, vec![]));
    let none = "no row has statistic = kapa; did you mean `kappa`?".to_owned();
    assert_eq!(test("statistic = 'kapa'", "minimum = 0"), (false, none, vec![]));
}

#[test]
fn expressions_are_true_or_not() {
    let expression = |text: &str| format!("type = 'expression'\nexpression = '''{text}'''");
    finds(&expression("rows > 5 and failed == 1"), true, "failed = 1, rows = 6", &[]);
    finds(&expression("shares.refund > 0.25"), false, "shares.refund = 0.25", &[]);
    finds(&expression("means.score == 5.4 and nulls.refund < 3"), true, "means.score = 5.4, nulls.refund = 2", &[]);
    finds(&expression("shares['refund'] == 0.25"), true, "shares.refund = 0.25", &[]);
    let none = found_in(&expression("shares.refund < 0.5 and rows > 0"), &table().slice(2, 1));
    assert!(!none.holds && none.found == "shares.refund is unknown: no row has a value", "{none:?}");
    let divided = found_in(&expression("rows // (failed - 1) > 0"), &table());
    assert!(!divided.holds, "{divided:?}");
}

#[test]
fn what_a_table_has_not_is_told() {
    let told = |text: &str, told: &str| {
        let (assertion, problems) = bound(text, &table());
        let all: Vec<String> =
            problems.iter().map(|p| format!("{}; {}", p.message, p.help.as_deref().unwrap_or_default())).collect();
        assert!(assertion.is_none() && all.iter().any(|p| p.contains(told)), "{text}: {all:?}");
    };
    told("type = 'rows'", "`minimum` is missing");
    told("type = 'rows'\nequals = 1\nminimum = 1", "not both");
    told("type = 'rows'\nminimum = 2\nmaximum = 1", "must not be more");
    told("type = 'failed'\nmaximum = 0\nstage = 'tune'", "did you mean `tone`?");
    told("type = 'failed'\nmaximum = '120%'", "is not a share");
    told("type = 'allowed'\ncolumn = 'lable'\nvalues = ['a']", "did you mean `label`?");
    told("type = 'allowed'\ncolumn = 'label'\nvalues = []", "`values` is empty");
    told("type = 'allowed'\ncolumn = 'label'\nvalues = ['a', 2]", "holds text, so it is never 2");
    told("type = 'share'\ncolumn = 'refund'\nvalue = 'yes'\nminimum = 0", "holds true and false, so it is never yes");
    told("type = 'share'\ncolumn = 'label'\nvalue = 'pro'\nminimum = 5", "is a share, from 0 to 1");
    told("type = 'share'\ncolumn = 'tags'\nvalue = 'a'\nminimum = 0", "holds lists");
    told("type = 'unique'", "`column` is missing");
    told("type = 'unique'\ncolumn = 'id'\ncolumns = ['id']", "not both");
    told("type = 'not_null'\ncolumns = []", "`columns` is empty");
    told("type = 'between'\ncolumn = 'label'\nminimum = 1", "holds text, and this test is for numbers");
    told("type = 'between'\ncolumn = 'score'\nminimum = nan", "must be a finite number");
    told("type = 'statistic'\nwhere = { lable = 'x' }\nof = 'score'\nminimum = 1", "did you mean `label`?");
    told(
        "type = 'statistic'\nwhere = { score = 'x' }\nof = 'score'\nminimum = 1",
        "holds whole numbers, so it is never x",
    );
    told(
        "type = 'statistic'\nwhere = { label = 'x' }\nof = 'label'\nminimum = 1",
        "a test of a statistic needs numbers",
    );
    told("type = 'statistic'\nwhere = { label = 'x' }\nminimum = 1", "has no column `estimate`");
    told("type = 'statistic'\nwhere = {}\nof = 'score'\nminimum = 1", "`where` is empty");
    told("type = 'statistic'\nwhere = { label = 'x' }\nof = 'score'", "`minimum` is missing");
    told("type = 'expression'\nexpression = 'rows >'", "does not compile");
    told("type = 'expression'\nexpression = 'row > 1'", "did you mean `rows`?");
    told("type = 'expression'\nexpression = 'shares.label > 1'", "this table has no figure `shares.label`");
    told("type = 'expression'\nexpression = 'means.scoer > 1'", "did you mean `means.score`?");
}
