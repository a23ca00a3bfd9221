//! The `calibration` stage: whether stated probabilities are true.

use crate::project::{Project, Table};
use crate::validation::{estimate, near, only};

/// Rows whose answer with the probability p is right in a share of p: 200 in `dev` and 200 in `test`. The stated
/// probability is `tempered` by a temperature of 1/2, so it is too sure.
fn rows() -> String {
    let mut text = String::from("h,x,p,split,g,right\n");
    for part in ["dev", "test"] {
        for (p, right, of) in [(0.6, 30, 50), (0.75, 60, 80), (0.9, 63, 70)] {
            let odds: f64 = p / (1.0 - p);
            let stated = odds * odds / (1.0 + odds * odds);
            for i in 0..of {
                let answer = if i < right { "yes" } else { "no" };
                let group = if i % 2 == 0 { "a" } else { "b" };
                text += &format!("yes,{answer},{stated},{part},{group},{}\n", i < right);
            }
        }
    }
    text + "yes,yes,,test,a,\n,yes,0.5,test,a,\n"
}

fn project(rows: &str, stage: &str) -> Project {
    let spec = format!(
        "name = \"trust\"\nseed = 1\n[sources.rows]\ntype = \"file\"\npath = \"rows.csv\"\n\
         types = {{ p = \"number\", right = \"boolean\" }}\n[stages.trust]\ntype = \"calibration\"\ninput = \"rows\"\n\
         prob = \"p\"\n{stage}\n[outputs.trust]\ninput = \"trust\"\npath = \"trust.parquet\"\n"
    );
    Project::new().spec(&spec).file("rows.csv", rows)
}

fn table(rows: &str, stage: &str) -> Table {
    let project = project(rows, stage);
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.table("trust.parquet")
}

const ANSWERS: &str = "predicted = \"x\"\ntruth = \"h\"\nbootstrap = { replicates = 100 }\n";

#[test]
fn a_fit_on_one_part_is_shown_on_another() {
    let table = table(&rows(), &format!("{ANSWERS}fit = \"dev\"\nsplit = \"test\"\naccuracy = 0.8"));
    let of = |statistic: &str, version: &str| estimate(&table, &[("statistic", statistic), ("probability", version)]);
    // The temperature that undoes 1/2 is 2, and then every bin is honest.
    assert!((of("temperature", "temperature") - 2.0).abs() < 1e-6);
    assert!(of("ece", "temperature") < 1e-6 && of("ece", "isotonic") < 1e-12 && of("ece", "stated") > 0.05);
    assert!(
        of("brier", "temperature") < of("brier", "stated") && of("log_loss", "isotonic") < of("log_loss", "stated")
    );
    let parts = ["brier_reliability", "brier_resolution", "brier_uncertainty", "brier_within_bins"];
    let [reliability, resolution, uncertainty, within] = parts.map(|part| of(part, "stated"));
    near(reliability - resolution + uncertainty + within, of("brier", "stated"));
    near(of("auroc", "stated"), of("auroc", "temperature"));
    near(of("accuracy", ""), 153.0 / 200.0);
    let accuracy = [("statistic", "accuracy")];
    assert_eq!(only(&table, &accuracy, "note"), "left out: 1 without `h`, 1 without `p`");
    let bin = |statistic: &str, bin: &str| {
        estimate(&table, &[("statistic", statistic), ("probability", "isotonic"), ("bin", bin)])
    };
    near(bin("bin_accuracy", "1"), 0.6);
    near(bin("bin_probability", "3"), 0.9);
    // 63 of 70 are right: at least 81.9 % by the exact bound; with the next 80 rows it is below 0.8.
    near(estimate(&table, &[("statistic", "threshold")]), 81.0 / 82.0);
    near(estimate(&table, &[("statistic", "threshold_coverage")]), 70.0 / 200.0);
    near(estimate(&table, &[("statistic", "threshold_accuracy")]), 0.9);
    let low: f64 = only(&table, &[("statistic", "threshold_accuracy")], "ci_low").parse().unwrap();
    assert!((low - 0.820_2).abs() < 5e-3, "{low}");
    let note = only(&table, &[("statistic", "threshold")], "note");
    assert!(note.starts_with("found on the part `dev`; the accuracy from there on is at least 0."), "{note}");
    assert_eq!(only(&table, &[("statistic", "threshold")], "ci_low"), "", "its interval would be one of an accuracy");
}

#[test]
fn the_curve_runs_from_the_surest_rows_to_all() {
    let table = table(&rows(), &format!("{ANSWERS}split = \"test\"\nby = [\"g\"]"));
    let statistics = table.texts("statistic");
    let groups = table.strings("g");
    let of = |name: &str| -> Vec<f64> {
        let rows = (0..table.len()).filter(|row| statistics[*row] == name && groups[*row].is_none());
        rows.filter_map(|row| table.floats("estimate")[row]).collect()
    };
    let (coverage, accuracy) = (of("coverage"), of("accuracy_kept"));
    assert_eq!(coverage.len(), 3);
    for (found, expected) in coverage.iter().zip([0.35, 0.75, 1.0]).chain(accuracy.iter().zip([0.9, 0.82, 0.765])) {
        near(*found, expected);
    }
    assert!(estimate(&table, &[("statistic", "brier"), ("g", "a")]) > 0.0);
}

#[test]
fn an_event_needs_no_answer() {
    let table = table(&rows(), "truth = \"right\"\nsplit = \"test\"\nbootstrap = { replicates = 0 }");
    near(estimate(&table, &[("statistic", "accuracy")]), 153.0 / 200.0);
    assert_eq!(only(&table, &[("statistic", "brier"), ("probability", "stated")], "method"), "");
}

#[test]
fn what_is_undefined_is_null_with_a_note() {
    let one = table("h,x,p,right\na,a,1,\na,a,0.5,\n", ANSWERS);
    let auroc = [("statistic", "auroc")];
    assert_eq!(only(&one, &auroc, "estimate"), "");
    assert!(only(&one, &auroc, "note").contains("undefined: all rows are right"));
    let sure = table("h,x,p,right\na,b,1,\na,a,0.5,\n", ANSWERS);
    let note = only(&sure, &[("statistic", "log_loss")], "note");
    assert!(note.contains("infinite: what happened has the probability 0 in a row"), "{note}");
    let fit = "h,x,p,split,right\na,a,0.7,dev,\na,a,0.5,dev,\na,b,0.6,test,\na,a,0.6,test,\n";
    let fit = table(fit, &format!("{ANSWERS}fit = \"dev\"\nsplit = \"test\""));
    let note = only(&fit, &[("statistic", "temperature")], "note");
    assert_eq!(note, "fitted on the part `dev`; undefined: all its rows are right");
}

#[test]
fn before_the_first_code_every_score_is_null_with_a_note() {
    let more = "fit = \"dev\"\nsplit = \"test\"\naccuracy = 0.9";
    let project = project("h,x,p,right,split\n,a,0.2,,dev\n,a,0.5,,test\n", &format!("{ANSWERS}{more}"));
    let ran = project.run(&["run", "pipeline.toml"]).exits(0);
    let line = "trust: accuracy is undefined; no row has a probability and a truth; left out: 1 without `h`";
    assert!(ran.stderr.contains(line), "{}", ran.stderr);
    let table = project.table("trust.parquet");
    assert!(table.len() > 8 && table.floats("estimate").iter().all(Option::is_none));
    assert!(table.strings("note").iter().all(Option::is_some), "{:?}", table.strings("note"));
}

#[test]
fn bad_values_and_settings_have_a_message() {
    let ran = project("h,x,p,right\na,a,1.2,\na,a,0.5,\n", ANSWERS).run(&["run", "pipeline.toml"]);
    assert!(ran.stderr.contains("`p` holds 1.2, but a probability is from 0 to 1"), "{}", ran.stderr);
    let place = "--> pipeline.toml:";
    assert!(ran.stderr.contains(place), "{}", ran.stderr);
    for (more, place, message) in [
        ("fit = \"dev\"", "fit", "need other rows than those of `fit`"),
        ("fit = \"dev\"\nsplit = \"dev\"", "fit", "`fit` and `split` are both `dev`"),
        ("bins = 0", "bins", "`bins` must be from 1 to 1000"),
        ("accuracy = 95", "accuracy", "the wanted accuracy is between 0 and 1, not 95"),
        ("inclusion_probability = \"x\"", "inclusion_probability", "`x` holds text, but numbers are needed"),
        ("cluster = \"autor\"", "cluster", "has no column `autor`"),
    ] {
        let ran = project(&rows(), &format!("{ANSWERS}{more}")).run(&["validate", "pipeline.toml"]).exits(2);
        assert!(ran.stderr.contains(message) && ran.stderr.contains(place), "{more}: {}", ran.stderr);
    }
    let ran = project(&rows(), "truth = \"h\"").run(&["validate", "pipeline.toml"]).exits(2);
    assert!(ran.stderr.contains("`h` holds text, but true and false are needed"), "{}", ran.stderr);
}
