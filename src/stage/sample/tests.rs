//! Samples of small tables: which rows are drawn, with which probability and split, and the messages for bad input.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use arrow_array::Int64Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_schema::Schema;

use super::*;
use crate::document::{Diagnostic, Path};
use crate::stage::InputTable;

static SPEECHES: LazyLock<RecordBatch> = LazyLock::new(table);

fn speeches() -> RecordBatch {
    SPEECHES.clone()
}

/// 100 speeches: 60 of party a, 30 of b and 10 without a party. A speech has between 1 and 100 words.
fn table() -> RecordBatch {
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(1000..1100));
    let party = |i| if i < 60 { Some("a") } else { Some("b").filter(|_| i < 90) };
    let party: ArrayRef = Arc::new((0..100).map(party).collect::<StringArray>());
    let words: ArrayRef = Arc::new(Int64Array::from_iter_values((0..100).map(|i| 1 + i * 37 % 100)));
    // In party a all speeches are positive.
    let tone: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..100).map(|i| ["good", "bad"][usize::from(i > 59 && i % 2 == 0)])));
    RecordBatch::try_from_iter_with_nullable([
        ("id", id, true),
        ("party", party, true),
        ("words", words, true),
        ("tone", tone, true),
    ])
    .unwrap()
}

fn config(settings: &str) -> Sample {
    toml::from_str(&format!("input = 'speeches'\n{settings}")).unwrap()
}

fn bound(settings: &str, seed: u64, name: &str) -> (Option<Transform>, Vec<String>) {
    bind(&config(settings), seed, name)
}

fn bind(sample: &Sample, seed: u64, name: &str) -> (Option<Transform>, Vec<String>) {
    let schema = speeches().schema();
    let guards = [vec![], vec![], vec![], vec![]];
    let input = InputTable { name: "speeches", schema: &schema, key: Some(0), guards: &guards, origins: &[] };
    let (path, mut problems) = (Path::of(["stages", name]), Problems::default());
    let context = TransformContext { name, path: &path, inputs: &[input, input], seed, read: &|_| unreachable!() };
    let bound = sample.bind(&context, &mut problems);
    let said = |d: Diagnostic| d.message + &d.help.map(|help| format!(" ({help})")).unwrap_or_default();
    (bound, problems.into_iter().map(said).collect())
}

/// The sample of the speeches that come in batches of this size.
fn drawn(bound: &Transform, batch: &RecordBatch, size: usize) -> Result<Vec<RecordBatch>, String> {
    let mut pass = bound.work.start();
    let mut made = Vec::new();
    for input in 0..2 {
        for start in (0..batch.num_rows()).step_by(size) {
            let batch = batch.slice(start, size.min(batch.num_rows() - start));
            made.extend(pass.take(input, &batch).map_err(DataError::words)?);
        }
    }
    assert!(pass.finish().unwrap().is_empty());
    Ok(made)
}

/// The ids of the sample with their probability, stratum and split.
type Row = (i64, f64, String, String);

fn rows(settings: &str, seed: u64, size: usize) -> Vec<Row> {
    rows_of(&config(settings), seed, size)
}

fn rows_of(sample: &Sample, seed: u64, size: usize) -> Vec<Row> {
    let (bound, problems) = bind(sample, seed, "drawn");
    let bound = bound.unwrap_or_else(|| panic!("{problems:?}"));
    let made = drawn(&bound, &speeches(), size).unwrap();
    let row = |batch: &RecordBatch, i: usize| {
        let text = |name| batch.column_by_name(name).map_or("", |column| column.as_string::<i32>().value(i)).to_owned();
        let id = batch.column(0).as_primitive::<arrow_array::types::Int64Type>().value(i);
        let p = batch.column_by_name(PROBABILITY).unwrap().as_primitive::<Float64Type>().value(i);
        (id, p, text(STRATUM), text(SPLIT))
    };
    made.iter().flat_map(|batch| (0..batch.num_rows()).map(|i| row(batch, i)).collect::<Vec<_>>()).collect()
}

fn counts<'a>(of: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
    of.fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

const DESIGNS: [&str; 6] = [
    "n = 20",
    "n = 20\nstrata = ['party']\nsplit = { dev = 0.4, test = 0.6 }",
    "n = 20\nstrata = ['party', 'tone']\nallocation = 'equal'",
    "n = 20\nweight = 'words'",
    "n = 20\nweight = 'words'\ndraw = 'systematic'\nstrata = ['party']",
    "n = 20\nstrata = ['party']\nallocation = 'neyman'\noutcome = 'tone == \"good\"'",
];

#[test]
fn the_same_rows_are_drawn_whatever_the_batches() {
    for design in DESIGNS {
        let whole = rows(design, 1, 100);
        assert_eq!(whole.len(), 20, "{design}");
        assert!(whole.is_sorted_by_key(|row| row.0), "{design}: the order of the input");
        for size in [1, 7, 64] {
            assert_eq!(rows(design, 1, size), whole, "{design}, {size}");
        }
        assert_ne!(rows(design, 2, 100), whole, "{design}: another seed");
    }
    let other = bound(DESIGNS[0], 1, "another").0.unwrap();
    let ids = |made: &[RecordBatch]| format!("{:?}", made[0].column(0));
    let same = bound(DESIGNS[0], 1, "drawn").0.unwrap();
    assert_ne!(ids(&drawn(&other, &speeches(), 100).unwrap()), ids(&drawn(&same, &speeches(), 100).unwrap()));
}

#[test]
fn rows_have_the_probabilities_and_the_strata_of_the_design() {
    assert!(rows(DESIGNS[0], 1, 100).iter().all(|row| row.1 == 0.2));
    let proportional = rows(DESIGNS[1], 1, 100);
    let strata = counts(proportional.iter().map(|row| row.2.as_str()));
    assert_eq!(strata, BTreeMap::from([("a", 12), ("b", 6), (MISSING, 2)]));
    assert!(proportional.iter().all(|row| (row.1 - 0.2).abs() < 1e-12));
    let equal = rows(DESIGNS[2], 1, 100);
    let strata = counts(equal.iter().map(|row| row.2.as_str()));
    assert_eq!(
        strata,
        BTreeMap::from([
            ("(missing) / bad", 4),
            ("(missing) / good", 4),
            ("a / good", 4),
            ("b / bad", 4),
            ("b / good", 4)
        ])
    );
    // All speeches of party a are alike, so that one is enough.
    let neyman = rows(DESIGNS[5], 1, 100);
    let neyman = counts_of(&neyman);
    assert_eq!((neyman["a"], neyman["b"] > neyman[MISSING]), (1, true));
    let weighted = rows(DESIGNS[3], 1, 100);
    let words = |id: i64| (1 + (id - 1000) * 37 % 100) as f64;
    assert!(weighted.iter().all(|row| (row.1 - 20.0 * words(row.0) / 5050.0).abs() < 1e-12), "{weighted:?}");
    // A sample that is as large as the table is the table.
    for design in DESIGNS {
        let all = rows(&design.replace("20", "500"), 1, 100);
        assert!(all.len() == 100 && all.iter().all(|row| row.1 == 1.0), "{design}");
    }
}

fn counts_of(rows: &[Row]) -> BTreeMap<&str, usize> {
    counts(rows.iter().map(|row| row.2.as_str()))
}

#[test]
fn a_larger_sample_contains_the_smaller_one_and_keeps_its_splits() {
    for design in [DESIGNS[0], DESIGNS[1]] {
        let design = design.replace("n = 20", "n = N");
        let mut before: Vec<(i64, String)> = Vec::new();
        for n in [4, 5, 9, 20, 21, 60, 99] {
            let now: Vec<_> =
                rows(&design.replace('N', &n.to_string()), 3, 100).into_iter().map(|r| (r.0, r.3)).collect();
            assert!(before.iter().all(|row| now.contains(row)), "{design}, {n}");
            before = now;
        }
    }
    let splits = rows("n = 50\nsplit = { dev = 0.4, test = 0.6 }", 1, 100);
    assert_eq!(counts(splits.iter().map(|row| row.3.as_str())), BTreeMap::from([("dev", 20), ("test", 30)]));
}

#[test]
fn the_order_of_the_rows_changes_no_draw_of_a_table_with_a_key() {
    let reversed =
        arrow_select::take::take_record_batch(&speeches(), &arrow_array::UInt64Array::from_iter_values((0..100).rev()))
            .unwrap();
    let ids = |made: Vec<RecordBatch>| {
        let mut ids: Vec<i64> = made
            .iter()
            .flat_map(|b| b.column(0).as_primitive::<arrow_array::types::Int64Type>().values().to_vec())
            .collect();
        ids.sort_unstable();
        ids
    };
    for design in [DESIGNS[0], DESIGNS[1], DESIGNS[2], DESIGNS[5]] {
        let bound = bound(design, 1, "drawn").0.unwrap();
        assert_eq!(
            ids(drawn(&bound, &speeches(), 100).unwrap()),
            ids(drawn(&bound, &reversed, 9).unwrap()),
            "{design}"
        );
    }
}

/// The Horvitz-Thompson mean of 2,000 seeds is the mean of the table within three standard errors.
#[test]
fn horvitz_thompson_means_are_unbiased() {
    let value = |id: i64| ((id - 1000) * 53 % 71 + (id - 1000) * 37 % 100) as f64;
    let truth = (1000..1100).map(value).sum::<f64>() / 100.0;
    for design in [DESIGNS[2], DESIGNS[3]] {
        let sample = config(design);
        let mean = |seed| rows_of(&sample, seed, 100).iter().map(|row| value(row.0) / row.1).sum::<f64>() / 100.0;
        let means: Vec<f64> = (0..2000).map(mean).collect();
        let mean = means.iter().sum::<f64>() / 2000.0;
        let error = (means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / 1999.0 / 2000.0).sqrt();
        assert!(error > 0.0 && (mean - truth).abs() < 3.0 * error, "{design}: {mean} {truth} {error}");
    }
}

#[test]
fn designs_that_are_wrong_are_reported() {
    for (settings, message) in [
        ("n = 0", "`n` is 0, so no row is drawn (name the number of rows to draw)"),
        ("n = 9\nallocation = 'equal'", "`allocation` needs strata (add `strata = [\"a column\"]`)"),
        (
            "n = 9\nstrata = ['party']\nallocation = 'neyman'",
            "`neyman` needs an outcome (add `outcome`, such as `outcome = 'label == \"positive\"'`)",
        ),
        ("n = 9\noutcome = 'words'", "only `neyman` uses `outcome` (set `allocation = \"neyman\"`, or remove it)"),
        ("n = 9\ndraw = 'sampford'", "`draw` needs a weight (name a column in `weight`, or remove `draw`)"),
        (
            "n = 9\nsplit = { dev = 0.5, test = 0.6 }",
            "the shares of `split` sum to 1.1, not to 1 (such as { dev = 0.4, test = 0.6 })",
        ),
        ("n = 9\nsplit = { dev = 0.0, test = 1.0 }", "the share of `dev` is 0 (each share is above 0)"),
        ("n = 9\nstrata = ['prty']", "`speeches` has no column `prty` (did you mean `party`?)"),
        (
            "n = 9\nweight = 'party'",
            "`party` holds text, but numbers are needed here (write `types.party = \"number\"` in its source, or name another column)",
        ),
    ] {
        assert_eq!(bound(settings, 1, "drawn").1, [message], "{settings}");
    }
    let run = |settings: &str| drawn(&bound(settings, 1, "drawn").0.unwrap(), &speeches(), 100).unwrap_err();
    assert_eq!(
        run("n = 2\nstrata = ['party']"),
        "`n` is 2, but `strata` makes 3 strata, and each needs a row (raise `n`, or name fewer columns in `strata`)"
    );
    let (bound, _) = bound("n = 9\nweight = 'words'", 1, "drawn");
    let words: ArrayRef = Arc::new(Int64Array::from_iter((0..100).map(|i| Some(i).filter(|i| *i != 50))));
    let mut columns = speeches().columns().to_vec();
    columns[2] = words;
    let batch = RecordBatch::try_new(Arc::new(Schema::clone(&speeches().schema())), columns).unwrap();
    assert_eq!(
        drawn(&bound.unwrap(), &batch, 10).unwrap_err(),
        "the weight `words` of row 1 is 0, but it must be above 0"
    );
}
