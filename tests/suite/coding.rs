//! The way from models to findings through people: from the first run, before a code is there, to the last one.

use crate::project::Project;

/// Labels of two models with a probability, and sheets for two coders.
const SPEC: &str = r#"
name = "study"
seed = 1

[sources.speeches]
type = "file"
path = "speeches.csv"
key = "id"
types = { prob = "number", year = "integer" }

[stages.drawn]
type = "sample"
input = "speeches"
n = 60
strata = ["party"]
split = { dev = 0.5, test = 0.5 }

[outputs.anna]
input = "drawn"
path = "coding/anna.csv"
columns = ["id", "text"]
blind = true
keep = true
fill = { tone = ["good", "bad"] }

[outputs.ben]
input = "drawn"
path = "coding/ben.csv"
columns = ["id", "text"]
blind = true
keep = true
fill = { tone = ["good", "bad"] }

[sources.anna]
type = "file"
path = "coding/anna.csv"
key = "id"
columns = ["id", { from = "tone", name = "anna" }]

[sources.ben]
type = "file"
path = "coding/ben.csv"
key = "id"
columns = ["id", { from = "tone", name = "ben" }]

[stages.with_anna]
type = "join"
input = "speeches"
with = "anna"
on = ["id"]

[stages.with_both]
type = "join"
input = "with_anna"
with = "ben"
on = ["id"]

[stages.coded]
type = "join"
input = "with_both"
with = "drawn"
on = ["id"]
columns = ["inclusion_probability", "split"]

[stages.irr]
type = "agreement"
input = "coded"
coders = ["label", "other", "anna", "ben"]
pairs = true

[stages.check]
type = "validation"
input = "coded"
predicted = ["label", "other"]
truth = "anna"
split = "test"
inclusion_probability = "inclusion_probability"

[stages.trust]
type = "calibration"
input = "coded"
prob = "prob"
predicted = "label"
truth = "anna"
fit = "dev"
split = "test"
accuracy = 0.3

[stages.best]
type = "ensemble"
input = "coded"
coders = ["label", "other"]
method = "weighted"
truth = "anna"

[stages.share]
type = "estimate"
input = "coded"
outcome = "label == 'good'"
gold = "anna == 'good'"
methods = ["naive", "gold_only", "dsl", "ppi", "ppi++"]

[stages.effect]
type = "estimate"
input = "coded"
outcome = "label == 'good'"
gold = "anna == 'good'"
model = "logit"
formula = "y ~ party + year"

[outputs.share]
input = "share"
path = "share.parquet"

[outputs.coders]
input = "best.coders"
path = "coders.csv"

[[tests]]
input = "irr"
type = "statistic"
where = { statistic = "krippendorff_alpha" }
minimum = 0.0
"#;

fn project() -> Project {
    let mut rows = String::from("id,party,year,text,label,other,prob\n");
    for i in 0..200 {
        let label = |wrong: bool| if (i % 2 == 0) != wrong { "good" } else { "bad" };
        let (label, other) = (label(i % 5 == 0), label(i % 3 == 0));
        let (party, prob) = (["Whig", "Tory"][i / 7 % 2], 0.55 + 0.4 * (i % 11) as f64 / 11.0);
        rows += &format!("s{i},{party},{},speech {i},{label},{other},{prob}\n", 1850 + i % 13);
    }
    Project::new().spec(SPEC).file("speeches.csv", rows)
}

/// Codes the first rows of a sheet, a few of them wrongly.
fn fill(project: &Project, coder: &str, rows: usize) {
    let path = format!("coding/{coder}.csv");
    let sheet = project.text(&path);
    let mut lines = sheet.lines();
    let mut filled = format!("{}\n", lines.next().unwrap());
    for (row, line) in lines.enumerate() {
        let [id, text, _] = line.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let number: usize = id[1..].parse().unwrap();
        let is_good = (number.is_multiple_of(2)) != (number % 17 == coder.len());
        let code = if row >= rows { "" } else { ["bad", "good"][usize::from(is_good)] };
        filled += &format!("{id},{text},{code}\n");
    }
    project.write(&path, filled);
}

#[test]
fn a_study_runs_before_the_first_code_and_after_each_further_one() {
    let project = project();
    let said = |rows: [usize; 2]| {
        let ran = project.run(&["run", "pipeline.toml"]).exits(0).stderr;
        let status = project.run(&["status", "pipeline.toml"]).exits(0).stdout;
        for (coder, rows) in ["anna", "ben"].into_iter().zip(rows) {
            assert!(status.contains(&format!("{rows} of 60 rows coded in coding/{coder}.csv")), "{status}");
        }
        ran
    };
    let first = said([0, 0]);
    for line in [
        "check: accuracy of label is undefined; no row has both values",
        "trust: accuracy is undefined; no row has a probability and a truth",
        "best.coders: accuracy of label is undefined; no row has both its label and a truth",
        "share: mean, gold only is undefined; `gold` is missing in all 200 rows, so nothing can be corrected",
        "share: mean, DSL is undefined",
        "effect: coefficient of party[Whig] (against Tory), naive ",
    ] {
        assert!(first.contains(line), "{line}: {first}");
    }
    assert!(project.table("share.parquet").floats("estimate")[0].is_some(), "the naive share");
    assert_eq!(project.text("coding/anna.csv").lines().count(), 61);
    // One code of one coder.
    fill(&project, "anna", 1);
    said([1, 0]);
    fill(&project, "anna", 30);
    fill(&project, "ben", 20);
    let half = said([30, 20]);
    assert!(half.contains("30 of 60 sampled rows have gold"), "{half}");
    fill(&project, "anna", 60);
    fill(&project, "ben", 60);
    let whole = said([60, 60]);
    assert!(!whole.contains("is undefined") && !whole.contains("sampled rows have gold"), "{whole}");
    for line in ["trust: threshold of the probability ", "effect: coefficient of year, DSL ", "share: mean, PPI++ "] {
        assert!(whole.contains(line), "{line}: {whole}");
    }
    project.run(&["test", "pipeline.toml"]).exits(0);
    // The part `test` was looked at once with each set of codes, not before the first of them.
    let looks = project.run(&["verify", "pipeline.toml", "--format", "json"]).exits(0).json();
    assert!(looks["test_looks"]["check"]["looks"].as_u64().is_some_and(|looks| (2..=3).contains(&looks)), "{looks}");
}
