//! The `ensemble` stage: one label from the labels of several coders.

use crate::project::{Project, Table};
use crate::validation::{estimate, near, only};

const ROWS: &str = "id,a,b,c,h\n1,x,x,y,x\n2,x,y,,x\n3,,,,\n4,y,y,y,y\n5,y,x,x,y\n6,z,y,x,\n7,x,x,x,x\n8,y,y,x,y\n";

fn project(rows: &str, stage: &str) -> Project {
    let spec = format!(
        "name = \"votes\"\n[sources.rows]\ntype = \"file\"\npath = \"rows.csv\"\n[stages.label]\ntype = \"ensemble\"\n\
         input = \"rows\"\n{stage}\n[outputs.label]\ninput = \"label\"\npath = \"label.parquet\"\n[outputs.coders]\n\
         input = \"label.coders\"\npath = \"coders.parquet\"\n"
    );
    Project::new().spec(&spec).file("rows.csv", rows)
}

fn tables(rows: &str, stage: &str) -> (Table, Table) {
    let project = project(rows, stage);
    project.run(&["run", "pipeline.toml"]).exits(0);
    (project.table("label.parquet"), project.table("coders.parquet"))
}

fn labels(rows: &str, stage: &str) -> Vec<String> {
    tables(rows, stage).0.strings("label").into_iter().map(|label| label.unwrap_or_else(|| "-".into())).collect()
}

const WIDE: &str = "coders = [\"a\", \"b\", \"c\"]\n";

#[test]
fn ties_are_null_or_resolved_by_the_first_coder_or_the_prior() {
    for (ties, expected) in [("null", "x--yx-xy"), ("first", "xx-yxzxy"), ("prior", "xx-yxxxy")] {
        let found = labels(ROWS, &format!("{WIDE}method = \"majority\"\nties = \"{ties}\"")).concat();
        assert_eq!(found, expected, "{ties}");
    }
    let (table, coders) = tables(ROWS, &format!("{WIDE}method = \"majority\""));
    assert_eq!(table.columns(), ["id", "a", "b", "c", "h", "label", "label_posterior", "label_entropy"]);
    let (posterior, entropy) = (table.floats("label_posterior"), table.floats("label_entropy"));
    assert_eq!((posterior[1], entropy[1], posterior[2], entropy[2]), (Some(0.5), Some(1.0), None, None));
    assert_eq!((posterior[6], entropy[6]), (Some(1.0), Some(0.0)));
    let prior = estimate(&coders, &[("statistic", "prior"), ("truth", "z")]);
    near(prior, 1.0 / 20.0);
}

#[test]
fn coders_count_by_their_accuracy_on_gold() {
    let stage = format!("{WIDE}method = \"weighted\"\ntruth = \"h\"");
    let (table, coders) = tables(ROWS, &stage);
    // The first coder is always right on gold, so it outvotes both others in row 5.
    assert_eq!(table.strings("label")[4].as_deref(), Some("y"));
    near(estimate(&coders, &[("statistic", "accuracy"), ("coder", "a")]), 1.0);
    near(estimate(&coders, &[("statistic", "accuracy"), ("coder", "c")]), 2.0 / 5.0);
    assert_eq!(only(&coders, &[("statistic", "accuracy"), ("coder", "b")], "n"), "6");
}

#[test]
fn before_the_first_truth_nobody_outvotes_another() {
    let stage = "coders = [\"a\", \"b\"]\nmethod = \"weighted\"\ntruth = \"h\"";
    let (table, coders) = tables("a,b,h\nx,y,\ny,y,\n", stage);
    assert_eq!(table.strings("label"), [None, None]);
    let accuracy = [("statistic", "accuracy"), ("coder", "a")];
    let note = "no row has both its label and a truth, so it counts as right in every second row";
    assert_eq!((only(&coders, &accuracy, "note").as_str(), only(&coders, &accuracy, "estimate").as_str()), (note, ""));
    // The second coder has no label with a truth.
    let (table, coders) = tables("a,b,h\nx,,x\ny,,y\ny,x,\n", stage);
    assert_eq!(table.strings("label").last(), Some(&Some("y".to_owned())));
    assert_eq!(only(&coders, &[("statistic", "accuracy"), ("coder", "b")], "note"), note);
}

/// Dawid and Skene's patients in rows: three codes by the first observer, one by each of the others.
fn patients() -> String {
    let text = include_str!("../data/methods/dawid_skene.txt");
    let mut rows = String::from("patient,observer,code\n");
    for (patient, line) in text.lines().enumerate() {
        for (observer, codes) in line.split(' ').enumerate() {
            codes.chars().for_each(|code| rows += &format!("{patient},{},{code}\n", observer + 1));
        }
    }
    rows
}

#[test]
fn the_patients_of_dawid_and_skene() {
    let stage = "unit = \"patient\"\ncoder = \"observer\"\nvalue = \"code\"\nmethod = \"dawid_skene\"";
    let (table, coders) = tables(&patients(), stage);
    let of = |cells: &[(&str, &str)]| estimate(&coders, cells);
    for (label, expected) in [("1", 0.3996), ("2", 0.4220), ("3", 0.1118), ("4", 0.0667)] {
        assert!((of(&[("statistic", "prior"), ("truth", label)]) - expected).abs() < 5e-5, "{label}");
    }
    assert!((of(&[("statistic", "log_likelihood")]) + 192.8909).abs() < 5e-5);
    for (truth, label, expected) in [("1", "1", 0.889), ("2", "2", 0.876), ("3", "2", 0.339), ("4", "3", 0.556)] {
        let cells = [("statistic", "confusion"), ("coder", "1"), ("truth", truth), ("label", label)];
        assert!((of(&cells) - expected).abs() < 5e-4, "{cells:?}");
    }
    // Every row of a patient has the same label: 7 rows for each of 45 patients.
    let labels = table.strings("label");
    assert_eq!(labels.len(), 315);
    assert!(labels.chunks(7).all(|of| of.iter().all(|label| *label == of[0])));
}

#[test]
fn the_order_of_rows_and_coders_changes_no_label() {
    let (rows, mut lines) = (ROWS.to_owned(), ROWS.lines().collect::<Vec<_>>());
    lines[1..].reverse();
    let reversed = lines.join("\n") + "\n";
    for method in ["majority", "dawid_skene"] {
        let one = labels(&rows, &format!("{WIDE}method = \"{method}\""));
        let mut other = labels(&reversed, &format!("coders = [\"c\", \"a\", \"b\"]\nmethod = \"{method}\""));
        other.reverse();
        assert_eq!(one, other, "{method}");
    }
}

#[test]
fn the_labels_have_the_type_of_the_coders() {
    let rows = "a,b\n1,1\n2,1\n,2\n";
    let spec = "name = \"n\"\n[sources.rows]\ntype = \"file\"\npath = \"rows.csv\"\ntypes = { a = \"integer\", b = \"integer\" }\n\
                [stages.label]\ntype = \"ensemble\"\ninput = \"rows\"\ncoders = [\"a\", \"b\"]\nmethod = \"majority\"\n\
                [stages.check]\ntype = \"filter\"\ninput = \"label.coders\"\nwhen = \"statistic == 'prior'\"\n\
                [outputs.label]\ninput = \"label\"\npath = \"label.parquet\"\n[outputs.check]\ninput = \"check\"\n\
                path = \"check.parquet\"\n";
    let project = Project::new().spec(spec).file("rows.csv", rows);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.table("label.parquet").ints("label"), [Some(1), None, Some(2)]);
    assert_eq!(project.table("check.parquet").len(), 2, "another stage reads the table of the coders");
    // A run from before finds both tables again.
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.run(&["verify", "pipeline.toml"]).exits(0);
}

#[test]
fn mistakes_have_a_message() {
    for (stage, place, message) in [
        ("coders = [\"a\"]\nmethod = \"majority\"", "coders", "`coders` must name at least two columns"),
        ("coders = [\"a\", \"a\"]\nmethod = \"majority\"", "coders", "`a` is a coder twice"),
        ("coders = [\"a\", \"bb\"]\nmethod = \"majority\"", "coders", "has no column `bb`"),
        ("unit = \"id\"\ncoder = \"a\"\nmethod = \"majority\"", "stages.label", "`value` is missing"),
        ("coders = [\"a\", \"b\"]\nmethod = \"weighted\"", "stages.label", "`truth` is missing"),
        ("coders = [\"a\", \"b\"]\nmethod = \"majority\"\ntruth = \"h\"", "truth", "`truth` has no effect without"),
        ("coders = [\"a\", \"b\"]", "stages.label", "method"),
    ] {
        let ran = project(ROWS, stage).run(&["validate", "pipeline.toml"]).exits(2);
        assert!(ran.stderr.contains(message) && ran.stderr.contains(place), "{stage}: {}", ran.stderr);
        assert!(ran.stderr.contains("1 error, "), "only this error, also of the output: {stage}: {}", ran.stderr);
    }
    // Only the tables that a stage makes can be read.
    let stage = "coders = [\"a\", \"b\"]\nmethod = \"majority\"";
    let project = project(ROWS, stage);
    project.write("pipeline.toml", project.text("pipeline.toml").replace("label.coders", "label.coder"));
    let ran = project.run(&["validate", "pipeline.toml"]).exits(2);
    assert!(ran.stderr.contains("there is no source or stage `label.coder`"), "{}", ran.stderr);
}
