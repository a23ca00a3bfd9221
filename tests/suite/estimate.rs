//! Samples and corrected estimates in whole runs: from all rows to the sheet, the codes and the estimate.

use crate::project::Project;

const SPEC: &str = r#"
seed = 7

[sources.speeches]
type = "file"
path = "speeches.csv"
key = "id"
types = { year = "integer" }

[stages.drawn]
type = "sample"
input = "speeches"
n = 60
strata = ["party"]
allocation = "equal"
split = { dev = 0.4, test = 0.6 }

[outputs.sheet]
input = "drawn"
path = "out/sheet.csv"
"#;

const ESTIMATE: &str = r#"
[sources.codes]
type = "file"
path = "codes.csv"

[stages.with_codes]
type = "join"
input = "speeches"
with = "codes"
on = ["id"]
columns = ["human"]

[stages.coded]
type = "join"
input = "with_codes"
with = "drawn"
on = ["id"]
columns = ["inclusion_probability"]

[stages.effect]
type = "estimate"
input = "coded"
outcome = "label == 'good'"
gold = "human == 'good'"
model = "ols"
formula = "y ~ party + year"
methods = ["naive", "gold_only", "dsl", "ppi++"]
power = [120]

[outputs.effect]
input = "effect"
path = "out/effect.csv"

[outputs.effect_parquet]
input = "effect"
path = "out/effect.parquet"
"#;

/// Whether a speech is good, and what the machine says: it takes all speeches of the Whigs from 1850 on for good.
fn label(i: usize) -> (&'static str, &'static str) {
    let (good, whig) = (i * 7 % 10 < 3, i.is_multiple_of(3));
    let word = |good| if good { "good" } else { "bad" };
    (word(good), word(good || (whig && year(i) >= 1850)))
}

fn year(i: usize) -> usize {
    1800 + i * 13 % 100
}

fn project(spec: &str) -> Project {
    let mut rows = vec![["id", "party", "year", "label"].map(str::to_owned).to_vec()];
    for i in 0..600usize {
        let party = if i.is_multiple_of(3) { "Whig" } else { "Tory" };
        rows.push(vec![format!("s{i}"), party.to_owned(), year(i).to_string(), label(i).1.to_owned()]);
    }
    Project::new().spec(spec).csv("speeches.csv", &rows)
}

/// The sheet, with a column of codes.
fn filled(project: &Project) -> Vec<Vec<String>> {
    let sheet = project.text("out/sheet.csv");
    let rows = sheet.lines().enumerate().map(|(line, text)| {
        let id = text.split(',').next().unwrap();
        let code = if line == 0 { "human" } else { label(id[1..].parse().unwrap()).0 };
        vec![id.to_owned(), code.to_owned()]
    });
    rows.collect()
}

#[test]
fn a_sample_is_coded_and_corrects_the_estimate() {
    let project = project(SPEC);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let sheet = project.text("out/sheet.csv");
    assert_eq!(sheet.lines().next(), Some("id,party,year,label,inclusion_probability,stratum,split"));
    let lines: Vec<Vec<&str>> = sheet.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let count = |column: usize, value: &str| lines.iter().filter(|line| line[column] == value).count();
    assert_eq!((count(5, "Whig"), count(5, "Tory"), count(4, "0.15"), count(4, "0.075")), (30, 30, 30, 30));
    assert!((23..=25).contains(&count(6, "dev")) && count(6, "dev") + count(6, "test") == 60, "{lines:?}");

    let project = project.spec(&format!("{SPEC}{ESTIMATE}"));
    let codes = filled(&project);
    let project = project.csv("codes.csv", &codes);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.text("out/sheet.csv"), sheet, "the same sample");
    let effect = project.table("out/effect.parquet");
    let (terms, methods, notes) = (effect.strings("term"), effect.texts("method"), effect.strings("note"));
    let estimates = effect.floats("estimate");
    let whig = |method: &str| {
        (0..effect.len()).find(|i| terms[*i].as_deref() == Some("party[Whig]") && methods[*i] == method).unwrap()
    };
    // The machine finds a difference between the parties. There is none.
    assert!(estimates[whig("naive")].unwrap() > 0.3, "{estimates:?}");
    for method in ["gold_only", "dsl", "ppi++"] {
        assert!(estimates[whig(method)].unwrap().abs() < 0.25, "{method}: {estimates:?}");
    }
    let note = notes[whig("naive")].as_deref().unwrap_or_default();
    assert!(note.starts_with("this interval excludes the corrected estimate (dsl: "), "{notes:?}");
    assert_eq!(effect.texts("statistic").iter().filter(|name| *name == "expected_std_error").count(), 9);

    // A second run makes nothing anew, and the table is the same from another place of the same rows.
    let before = project.text("out/effect.csv");
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.text("out/effect.csv"), before);
    project.run(&["verify", "pipeline.toml"]).exits(0);
}

#[test]
fn tables_that_allow_no_estimate_stop_the_run() {
    let all = project(&format!("{SPEC}{ESTIMATE}"));
    let all = all.csv("codes.csv", &[["id", "human"], ["s1", "good"], ["s2", "bad"], ["s3", ""], ["s4", "good"]]);
    all.run(&["validate", "pipeline.toml"]).exits(0);
    let said = all.run(&["run", "pipeline.toml"]).exits(2).says("so gold is outside the sample").stderr;
    assert!(said.contains("gold = \"human == 'good'\"") && said.contains("help: remove these codes"), "{said}");
    // Every command that makes the tables shows the place.
    all.run(&["status", "pipeline.toml"]).exits(2).says("so gold is outside the sample");
    // An empty cell of the sheet is not a code. The naive estimate needs none.
    let none = all.csv("codes.csv", &[["id", "human"], ["s1", ""], ["s2", ""]]);
    none.run(&["run", "pipeline.toml"]).exits(0).says("`gold` is missing in all 600 rows, so nothing can be corrected");
    assert!(none.table("out/effect.parquet").floats("estimate")[0].is_some());
}

#[test]
fn an_unknown_input_of_a_sample_is_reported_once() {
    let project = project(&SPEC.replace("input = \"speeches\"", "input = \"speechs\""));
    let said = project.run(&["validate", "pipeline.toml"]).exits(2).stderr;
    assert_eq!(said.matches("there is no source or stage `speechs`").count(), 1, "{said}");
}
