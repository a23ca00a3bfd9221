//! Estimates of small tables, with the reference numbers, and the messages for bad input.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};

use super::*;
use crate::document::{Diagnostic, Path};
use crate::stage::{DataError, InputTable};

/// A row: the machine's label, the code, the probability, the party, the year, and the speaker.
type Row = (Option<&'static str>, Option<&'static str>, Option<f64>, Option<&'static str>, i64, &'static str);

const COLUMNS: [&str; 6] = ["label", "human", "inclusion_probability", "party", "year", "speaker"];

fn batch(rows: &[Row]) -> RecordBatch {
    let text = |of: &dyn Fn(&Row) -> Option<&'static str>| -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<StringArray>())
    };
    let columns: [ArrayRef; 6] = [
        text(&|row| row.0),
        text(&|row| row.1),
        Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>()),
        text(&|row| row.3),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.4))),
        text(&|row| Some(row.5)),
    ];
    RecordBatch::try_from_iter_with_nullable(COLUMNS.into_iter().zip(columns).map(|(n, c)| (n, c, true))).unwrap()
}

/// The thirty documents of the reference numbers: ten with gold. Only these have a probability.
fn thirty() -> Vec<Row> {
    let gold = [1, 0, 1, 1, 0, 0, 1, 0, 1, 1];
    let machine = [1, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1];
    let word = |positive: i32| if positive == 1 { "positive" } else { "negative" };
    let row = |i: usize| {
        let code = gold.get(i).map(|code| word(*code));
        let party = ["a", "b", "c"][i % 3];
        (
            Some(word(machine[i])),
            code,
            code.map(|_| 1.0 / 3.0),
            Some(party),
            1900 + (i * 7 % 11) as i64,
            ["x", "y", "z", "u", "v"][i / 2 % 5],
        )
    };
    (0..30).map(row).collect()
}

const SPEC: &str = "outcome = 'label == \"positive\"'\ngold = 'human == \"positive\"'\n";
const ALL: &str = "methods = ['naive', 'gold_only', 'dsl', 'ppi', 'ppi++']\n";

/// The table, and the messages of the spec.
fn estimated(settings: &str, rows: &[Row]) -> Result<RecordBatch, String> {
    let config: Estimate =
        toml::from_str(&format!("input = 'coded'\n{settings}")).map_err(|error| error.to_string())?;
    let batch = batch(rows);
    let schema = batch.schema();
    let guards = vec![vec![]; COLUMNS.len()];
    let input = InputTable { name: "coded", schema: &schema, key: None, guards: &guards, origins: &[] };
    let (path, mut problems) = (Path::of(["stages", "effect"]), Problems::default());
    let context =
        TransformContext { name: "effect", path: &path, inputs: &[input], seed: 1, read: &|_| unreachable!() };
    let bound = config.bind(&context, &mut problems);
    let said = |d: Diagnostic| d.message + &d.help.map(|help| format!(" ({help})")).unwrap_or_default();
    let problems: Vec<String> = problems.into_iter().map(said).collect();
    let Some(bound) = bound else { return Err(problems.join("; ")) };
    let mut pass = bound.work.start();
    for start in (0..rows.len()).step_by(7) {
        pass.take(0, &batch.slice(start, 7.min(rows.len() - start))).map_err(DataError::words)?;
    }
    pass.finish().map(|mut made| made.remove(0)).map_err(DataError::words)
}

/// The rows of the table: statistic, term and method, estimate, standard error, n and note.
fn lines(table: &RecordBatch) -> Vec<String> {
    let text = |name: &str, i: usize| {
        let column = table.column_by_name(name).unwrap().as_string::<i32>();
        column.iter().nth(i).flatten().unwrap_or("-").to_owned()
    };
    let number = |name: &str, i: usize| {
        let column = table.column_by_name(name).unwrap().as_primitive::<Float64Type>();
        column.iter().nth(i).flatten().map_or("-".to_owned(), |number| format!("{number:.6}"))
    };
    let n = |i: usize| table.column_by_name("n").unwrap().as_primitive::<Int64Type>().value(i);
    let line = |i: usize| {
        let (statistic, term, method) = (text("statistic", i), text("term", i), text("method", i));
        let (estimate, low, high) = (number("estimate", i), number("ci_low", i), number("ci_high", i));
        format!("{statistic} {term} {method} {estimate} [{low} {high}] n={} {}", n(i), text("note", i))
    };
    (0..table.num_rows()).map(line).collect()
}

fn shown(settings: &str, rows: &[Row]) -> Vec<String> {
    lines(&estimated(settings, rows).unwrap_or_else(|message| panic!("{settings}: {message}")))
}

#[test]
fn a_mean_has_its_reference_numbers() {
    let found = shown(&format!("{SPEC}{ALL}"), &thirty());
    assert_eq!(
        found,
        [
            "mean - naive 0.700000 [0.536018 0.863982] n=30 -",
            "mean - gold_only 0.600000 [0.296364 0.903636] n=10 -",
            "mean - dsl 0.700000 [0.415741 0.984259] n=30 -",
            "mean - ppi 0.750000 [0.414079 1.085921] n=30 -",
            "mean - ppi++ 0.664444 [0.400534 0.928355] n=30 -",
            "lambda - ppi++ 0.429630 [- -] n=30 -",
        ]
    );
    // The same without probabilities: the codes are a simple random sample.
    let rows: Vec<Row> = thirty().into_iter().map(|row| (row.0, row.1, None, row.3, row.4, row.5)).collect();
    assert_eq!(shown(&format!("{SPEC}{ALL}simple_random = true\n"), &rows), found);
    // Probabilities of all rows, also of those that are not drawn.
    let rows: Vec<Row> = thirty().into_iter().map(|row| (row.0, row.1, Some(1.0 / 3.0), row.3, row.4, row.5)).collect();
    assert_eq!(shown(&format!("{SPEC}{ALL}"), &rows), found);
}

#[test]
fn a_regression_has_a_row_for_each_method_and_term() {
    let settings = format!(
        "{SPEC}methods = ['naive', 'dsl']\nmodel = 'ols'\nformula = 'y ~ party + year'\nreference = {{ party = 'b' }}\n"
    );
    let table = estimated(&settings, &thirty()).unwrap();
    let terms = |table: &RecordBatch| {
        let column = |name: &str| table.column_by_name(name).unwrap().as_string::<i32>().clone();
        let (terms, references) = (column("term"), column("reference"));
        terms
            .iter()
            .zip(&references)
            .map(|(t, r)| format!("{}/{}", t.unwrap_or("-"), r.unwrap_or("-")))
            .collect::<Vec<_>>()
    };
    let one = ["intercept/-", "party[a]/b", "party[c]/b", "year/-"];
    assert_eq!(terms(&table), [one, one].concat());
    // Categories of numbers, products, and the first level as the reference.
    let products = settings.replace("party + year", "party*C(year)").replace("reference = { party = 'b' }\n", "");
    let rows: Vec<Row> = thirty()
        .into_iter()
        .map(|row| (row.0, row.1, row.2, Some(if row.3 == Some("c") { "a" } else { "b" }), 1900 + row.4 % 2, row.5))
        .collect();
    let table = estimated(&products, &rows).unwrap();
    let one = ["intercept/-", "party[b]/a", "year[1901]/1900", "party[b]:year[1901]/a:1900"];
    assert_eq!(terms(&table), [one, one].concat());
    // With clusters the estimates are the same, and the intervals are others.
    let clustered = estimated(&format!("{settings}cluster = 'speaker'\n"), &thirty()).unwrap();
    let table = estimated(&settings, &thirty()).unwrap();
    let number = |table: &RecordBatch, name: &str| format!("{:?}", table.column_by_name(name).unwrap());
    assert_eq!(number(&clustered, "estimate"), number(&table, "estimate"));
    assert_ne!(number(&clustered, "std_error"), number(&table, "std_error"));
    let variance =
        |table: &RecordBatch| table.column_by_name("variance").unwrap().as_string::<i32>().value(4).to_owned();
    assert_eq!((variance(&clustered), variance(&table)), ("CR1".to_owned(), "HC1".to_owned()));
}

#[test]
fn notes_say_what_a_reader_must_know() {
    // A machine that calls everything positive: its interval excludes the truth.
    let mut rows: Vec<Row> = (0..200)
        .map(|i| (Some(["positive", "negative"][usize::from(i % 10 == 9)]), None, None, Some("a"), i, "x"))
        .collect();
    for (i, row) in rows.iter_mut().enumerate().take(80) {
        (row.1, row.2) = (Some(["negative", "positive"][usize::from(i % 4 == 0)]), Some(0.4));
    }
    let found = shown(&format!("{SPEC}methods = ['naive', 'dsl', 'ppi']\n"), &rows);
    assert_eq!(
        found[0].split_once("n=200 ").unwrap().1,
        "this interval excludes the corrected estimate (dsl: 0.250, ppi: 0.250): the machine's errors change the finding"
    );
    // Half of the sampled rows are not coded yet.
    rows.iter_mut().take(40).for_each(|row| row.1 = None);
    rows[199].0 = None;
    let found = shown(&format!("{SPEC}methods = ['gold_only', 'dsl']\npower = [80, 500]\n"), &rows);
    assert!(
        found[0].ends_with(
            "40 of 80 sampled rows have gold; their probabilities are scaled, as if the others were missing at random; \
             rows left out: 1 without an outcome"
        ),
        "{found:#?}"
    );
    assert_eq!(
        (found[1].starts_with("expected_std_error"), found[2].contains("there are only 199 rows")),
        (true, true)
    );
    // All probabilities are known, and far fewer rows have gold than they say.
    rows.iter_mut().for_each(|row| row.2 = Some(0.4));
    let found = shown(&format!("{SPEC}methods = ['dsl']\n"), &rows);
    assert!(found[0].contains("the probabilities of inclusion sum to 80, but 40 rows have gold"), "{found:?}");
    // All codes are equal.
    rows.iter_mut().filter(|row| row.1.is_some()).for_each(|row| row.1 = Some("negative"));
    let found = shown(&format!("{SPEC}methods = ['gold_only']\n"), &rows);
    assert!(found[0].contains("[- -] n=40 all values are equal, so there is no standard error"), "{found:?}");
}

#[test]
fn groups_without_an_estimate_say_why() {
    let mut rows = thirty();
    for row in &mut rows {
        if row.3 == Some("c") {
            (row.1, row.2) = (None, None);
        }
    }
    let found = shown(&format!("{SPEC}by = ['party']\nmethods = ['naive', 'dsl']\n"), &rows);
    assert_eq!(found.len(), 8);
    assert!(found[6].starts_with("mean - naive 0.") && found[6].ends_with(" n=10 -"), "{found:?}");
    assert_eq!(found[7], "mean - dsl - [- -] n=0 `gold` is missing in all 10 rows, so nothing can be corrected");
    let logit = "model = 'logit'\nformula = 'y ~ speaker'\nmethods = ['naive', 'gold_only']\n";
    let speaker = |i: usize| ["x", "y", "x", "z"][i % 4];
    let rows: Vec<Row> = thirty()
        .into_iter()
        .enumerate()
        .map(|(i, r)| {
            // The speaker z is always positive for people, and only for them.
            let code = r.1.map(|code| if speaker(i) == "z" { "positive" } else { code });
            (r.0, code, r.2, r.3, r.4, speaker(i))
        })
        .collect();
    let found = shown(&format!("{SPEC}{logit}"), &rows);
    assert!(!found[0].contains("not finite"), "{found:#?}");
    assert!(found[3].ends_with("the coefficients are not finite: `speaker[z]` separates the outcomes"), "{found:#?}");
}

#[test]
fn specs_that_are_wrong_are_reported() {
    for (settings, message) in [
        ("methods = []", "`methods` names no method (such as `methods = [\"naive\", \"dsl\"]`)"),
        ("formula = 'y ~ party'", "a mean has no formula (set `model = \"ols\"` or `\"logit\"`)"),
        ("model = 'ols'", "a regression needs a formula (such as `formula = \"y ~ party + year\"`)"),
        ("model = 'ols'\nformula = 'y ~ prty'", "`coded` has no column `prty` (did you mean `party`?)"),
        (
            "model = 'ols'\nformula = 'y ~ party +'",
            "the formula can't be read: a term is missing after `+` or `~` (such as `y ~ party + year`)",
        ),
        (
            "model = 'ols'\nformula = 'y ~ year'\nreference = { year = '1900' }",
            "`year` holds numbers, so it has no reference level (write `C(year)` in `formula` if its numbers are categories)",
        ),
        (
            "model = 'ols'\nformula = 'y ~ party'\nreference = { parti = 'a' }",
            "`parti` is not in `formula` (did you mean `party`?)",
        ),
        ("power = [0]", "no standard error can be expected of 0 gold rows (name numbers above 0)"),
        (
            "inclusion_probability = 'label'",
            "`label` holds text, but numbers are needed here (write `types.label = \"number\"` in its source, or name another column)",
        ),
        (
            "inclusion_probability = 'p'",
            "`coded` has no column `p` (the columns are `label`, `human`, `inclusion_probability`, `party`, `year` and `speaker`)",
        ),
    ] {
        assert_eq!(estimated(&format!("{SPEC}{settings}"), &thirty()).unwrap_err(), message, "{settings}");
    }
    assert_eq!(
        estimated("outcome = 'label == \"positive\"'", &thirty()).unwrap_err(),
        "these methods need gold labels (add `gold`, or set `methods = [\"naive\"]`)"
    );
}

#[test]
fn tables_that_allow_no_estimate_are_reported() {
    let with = |change: &dyn Fn(usize, &mut Row)| {
        let mut rows = thirty();
        rows.iter_mut().enumerate().for_each(|(i, row)| change(i, row));
        rows
    };
    let regression = "model = 'ols'\nformula = 'y ~ party + year + C(year)'\n";
    for (settings, rows, message) in [
        (
            "",
            with(&|i, row| row.1 = row.1.or(Some("negative").filter(|_| i > 27))),
            "rows 29, 30 have `gold` but no probability of inclusion, so gold is outside the sample (remove these codes, or \
             add the probabilities)",
        ),
        (
            "",
            with(&|i, row| row.2 = row.2.map(|p| if i == 4 { 1.5 } else { p })),
            "the probability of inclusion of row 5 is 1.5; it must be above 0 and at most 1",
        ),
        (
            "",
            with(&|i, row| row.2 = row.2.map(|p| if i == 0 { 0.0 } else { p })),
            "the probability of inclusion of row 1 is 0; it must be above 0 and at most 1",
        ),
        (
            "model = 'ols'\nformula = 'y ~ year'\n",
            with(&|_, row| row.4 = 1900),
            "`year` has one value in all rows (remove it from `formula`)",
        ),
        (
            "model = 'ols'\nformula = 'y ~ party + speaker'\n",
            with(&|_, row| row.5 = if row.3 == Some("a") { "x" } else { "y" }),
            "`speaker[y]` is a combination of `party[b]` and `party[c]` (remove one of them from `formula`)",
        ),
        (
            "model = 'ols'\nformula = 'y ~ party'\nreference = { party = 'A' }\n",
            thirty(),
            "no row has `party` = `A`, the reference level (did you mean `a`?)",
        ),
        (
            "model = 'ols'\nformula = 'y ~ speaker'\n",
            with(&|i, row| row.5 = ["1850", "1851", " 1852.5"][i % 3]),
            "all values of `speaker` are numbers, but its column holds text (declare its type in the source, such as \
             `types = { speaker = \"number\" }`; for a coefficient of each value, write `C(speaker)` in `formula`)",
        ),
    ] {
        assert_eq!(estimated(&format!("{SPEC}{settings}"), &rows).unwrap_err(), message, "{settings}");
    }
    let message = estimated(&format!("{SPEC}{regression}"), &thirty()).unwrap_err();
    assert!(
        message.starts_with("`year[1910]` is a combination of `intercept` and `year` and `year[1901]`"),
        "{message}"
    );
}

/// The rows of the naive method, and of the gold rows and DSL.
fn three(settings: &str, rows: &[Row]) -> [Vec<String>; 3] {
    let found = shown(&format!("{SPEC}{settings}methods = ['naive', 'gold_only', 'dsl']\n"), rows);
    ["naive", "gold_only", "dsl"]
        .map(|method| found.iter().filter(|line| line.split(' ').nth(2) == Some(method)).cloned().collect())
}

#[test]
fn before_the_first_code_the_naive_estimate_is_there_and_the_others_say_why_not() {
    let mut rows = thirty();
    rows.iter_mut().for_each(|row| row.1 = None);
    for settings in ["", "model = 'ols'\nformula = 'y ~ party'\n", "model = 'logit'\nformula = 'y ~ party'\n"] {
        let [naive, gold, dsl] = three(settings, &rows);
        assert!(naive.iter().all(|line| line.contains("n=30 -")), "{naive:?}");
        for line in [gold, dsl].concat() {
            assert!(
                line.ends_with("[- -] n=0 `gold` is missing in all 30 rows, so nothing can be corrected"),
                "{line}"
            );
        }
    }
    // Nor is there anything before the machine has read a row.
    rows.iter_mut().for_each(|row| row.0 = None);
    let [naive, ..] = three("", &rows);
    assert!(naive[0].ends_with("[- -] n=0 no row has an outcome and all predictors"), "{naive:?}");
}

#[test]
fn a_logit_of_one_outcome_says_so() {
    let logit = "model = 'logit'\nformula = 'y ~ party'\n";
    let mut rows = thirty();
    rows.iter_mut().for_each(|row| row.1 = row.1.map(|_| "negative"));
    let [naive, gold, _] = three(logit, &rows);
    assert_eq!((naive.len(), gold.len()), (3, 1));
    assert!(
        gold[0].ends_with("`gold` is false in all 10 rows that have it, but a logit needs both outcomes"),
        "{gold:?}"
    );
    let mut rows = thirty();
    rows.iter_mut().for_each(|row| row.0 = Some("positive"));
    let [naive, ..] = three(logit, &rows);
    assert!(
        naive[0].ends_with("`outcome` is true in all 30 rows that have it, but a logit needs both outcomes"),
        "{naive:?}"
    );
}

#[test]
fn formulas_without_an_intercept_have_all_levels() {
    let terms = |formula: &str| {
        let settings = format!("{SPEC}methods = ['naive']\nmodel = 'ols'\nformula = '{formula}'\n");
        let found = shown(&settings, &thirty());
        let term = |line: &String| line.split(' ').skip(1).take(3).map(str::to_owned).collect::<Vec<_>>();
        found.iter().map(|line| (term(line)[0].clone(), term(line)[2].parse::<f64>().unwrap())).collect::<Vec<_>>()
    };
    // Then the coefficients are the means of the groups.
    let with = terms("y ~ party");
    let without = terms("y ~ party - 1");
    let names: Vec<&str> = without.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["party[a]", "party[b]", "party[c]"]);
    for (i, (_, mean)) in without.iter().enumerate() {
        let expected = with[0].1 + if i > 0 { with[i].1 } else { 0.0 };
        assert!((mean - expected).abs() < 2e-6, "{with:?} {without:?}");
    }
    // A slope for each group.
    let slopes = terms("y ~ party + party:year");
    assert_eq!(slopes.len(), 6);
    assert_eq!(slopes[3].0, "party[a]:year");
}

#[test]
fn a_wide_corrected_interval_leaves_open_what_the_errors_do() {
    let mut rows: Vec<Row> = (0..200).map(|i| (Some("positive"), None, None, Some("a"), i, "x")).collect();
    for (i, row) in rows.iter_mut().enumerate() {
        row.0 = Some(if i % 2 == 0 { "positive" } else { "negative" });
        if i < 10 {
            (row.1, row.2) = (Some(if i < 7 { "positive" } else { "negative" }), Some(0.05));
        }
    }
    let found = shown(&format!("{SPEC}methods = ['naive', 'dsl']\n"), &rows);
    assert!(found[0].ends_with("(dsl: 0.700): the machine's errors may change the finding"), "{found:?}");
}
