//! The stages that compute methods, with unusual specs and data: misspelt fields, texts as numbers, too few units.

use crate::project::{Project, Table};

const ROWS: [[&str; 5]; 5] = [
    ["id", "a", "b", "p", "group"],
    ["1", "1", "1", "0.5", "x"],
    ["2", "2", "1", "0.5", "x"],
    ["3", "2", "2", "0.5", "x"],
    ["4", "3", "2", "0.9", "y"],
];

/// A spec with one stage `made` over the source `coded`.
fn spec(source: &str, stage: &str) -> String {
    format!(
        "seed = 3\n[sources.coded]\ntype = \"file\"\npath = \"coded.csv\"\nkey = \"id\"\n{source}\n[stages.made]\ninput = \"coded\"\n\
         {stage}\n[outputs.made]\ninput = \"made\"\npath = \"made.parquet\"\n"
    )
}

fn project<const N: usize>(rows: &[[&str; N]], source: &str, stage: &str) -> Project {
    Project::new().spec(&spec(source, stage)).csv("coded.csv", rows)
}

fn computed(project: &Project) -> Table {
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.table("made.parquet")
}

#[test]
fn a_misspelt_field_is_refused_with_the_right_one() {
    let shared = ["by", "bootstrap", "cluster", "confidence"];
    let types: [(&str, &str, &[&str]); 6] = [
        ("agreement", "coders = [\"a\", \"b\"]", &["statistics", "pairs", "level"]),
        ("validation", "predicted = [\"a\"]\ntruth = \"b\"", &["compare", "split", "inclusion_probability"]),
        ("calibration", "prob = \"p\"\npredicted = \"a\"\ntruth = \"b\"", &["bins", "accuracy", "split_column"]),
        ("ensemble", "coders = [\"a\", \"b\"]\nmethod = \"majority\"", &["ties", "truth", "split_column"]),
        ("estimate", "outcome = \"a\"\ngold = \"b\"\nsimple_random = true", &["formula", "power", "reference"]),
        ("sample", "n = 2", &["strata", "allocation", "weight", "split"]),
    ];
    for (kind, stage, fields) in types {
        let own = fields.iter().chain(shared.iter().filter(|field| match kind {
            "ensemble" | "sample" => false,
            "estimate" => **field != "bootstrap",
            _ => true,
        }));
        for field in own {
            // One letter is doubled.
            let (start, end) = field.split_at(1);
            let misspelt = format!("{start}{start}{end}");
            let stage = format!("type = \"{kind}\"\n{stage}\n{misspelt} = 1\n");
            let project = project(&ROWS, "", &stage);
            let ran = project.run(&["validate", "pipeline.toml"]).exits(2);
            let message = format!("there is no field `{misspelt}` here");
            // The help for a short word lists all fields.
            let help = if *field == "by" { "`by`".to_owned() } else { format!("did you mean `{field}`?") };
            assert!(ran.stderr.contains(&message) && ran.stderr.contains(&help), "{kind}: {}", ran.stderr);
        }
    }
    let stage = "type = \"agreement\"\ncoders = [\"a\", \"b\"]\nbootstrap = { replicate = 9 }\n";
    project(&ROWS, "", stage).run(&["validate", "pipeline.toml"]).exits(2).says("did you mean `replicates`?");
}

/// The lines that messages tell to type in a source.
fn declarations(stderr: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        stderr.split('`').filter(|text| text.starts_with("types.")).map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    lines
}

#[test]
fn texts_are_numbers_once_the_source_says_what_the_help_says() {
    let named = [["id", "a", "b b", "p"], ["1", "1", "1.5", "0.5"], ["2", "2", "2", "0.5"], ["3", "4", "3", "1"]];
    let cases = [
        "type = \"agreement\"\ncoders = [\"a\", \"b b\"]\nlevel = \"interval\"",
        "type = \"agreement\"\ncoders = [\"a\", \"b b\"]\nlevel = \"ratio\"",
        "type = \"validation\"\npredicted = [\"a\"]\ntruth = \"b b\"\ncompare = \"numbers\"",
        "type = \"calibration\"\nprob = \"p\"\npredicted = \"a\"\ntruth = \"b b\"",
        "type = \"sample\"\nn = 2\nweight = \"b b\"",
    ];
    for stage in cases {
        let project = project(&named, "", stage);
        let ran = project.run(&["validate", "pipeline.toml"]).exits(2);
        let lines = declarations(&ran.stderr);
        assert!(!lines.is_empty(), "{}", ran.stderr);
        project.write("pipeline.toml", spec(&lines.join("\n"), stage));
        project.run(&["run", "pipeline.toml"]).exits(0);
    }
    // The help of ordinal codes names one of the columns as an example.
    let ordinal = "type = \"agreement\"\ncoders = [\"a\", \"b b\"]\nlevel = \"ordinal\"";
    let ran = project(&named, "", ordinal).run(&["validate", "pipeline.toml"]).exits(2);
    assert_eq!(declarations(&ran.stderr), ["types.a = \"number\""]);
    computed(&project(&named, "types.a = \"number\"\ntypes.\"b b\" = \"number\"", ordinal));
}

/// An estimate, the ends of its interval and its note.
type Figures = (Option<f64>, Option<f64>, Option<f64>, String);

/// The rows of the statistic.
fn figures(table: &Table, statistic: &str) -> Vec<Figures> {
    let columns = ["estimate", "ci_low", "ci_high"].map(|column| table.floats(column));
    let notes = table.strings("note");
    let rows = table.texts("statistic").into_iter().enumerate().filter(|(_, name)| name == statistic);
    rows.map(|(i, _)| (columns[0][i], columns[1][i], columns[2][i], notes[i].clone().unwrap_or_default())).collect()
}

#[test]
fn one_unit_has_no_interval() {
    let one = [["id", "a", "b", "p", "group"], ["1", "1", "1", "0.5", "x"], ["2", "1", "", "0.5", "x"]];
    let numbers = "types = { a = \"number\", b = \"number\", p = \"number\" }";
    let few = "bootstrap = { replicates = 50 }";
    let cases = [
        ("", "type = \"agreement\"\ncoders = [\"a\", \"b\"]", "percent"),
        ("", "type = \"validation\"\npredicted = [\"a\"]\ntruth = \"b\"", "f1_macro"),
        (numbers, "type = \"validation\"\npredicted = [\"a\"]\ntruth = \"b\"\ncompare = \"numbers\"", "mae"),
        (numbers, "type = \"calibration\"\nprob = \"p\"\npredicted = \"a\"\ntruth = \"b\"", "brier"),
    ];
    for (source, stage, statistic) in cases {
        let found = figures(&computed(&project(&one, source, &format!("{stage}\n{few}"))), statistic);
        let (estimate, low, high, note) = &found[0];
        assert!(estimate.is_some() && low.is_none() && high.is_none(), "{stage}: {found:?}");
        assert!(note.contains("one unit is too few for an interval"), "{stage}: {note}");
        // All rows of a group may be in one cluster.
        let stage = format!("{stage}\n{few}\ncluster = \"group\"\nby = [\"group\"]");
        let rows = [&ROWS[..], &[["5", "3", "3", "0.9", "y"]][..]].concat();
        let found = figures(&computed(&project(&rows, source, &stage)), statistic);
        assert!(found[0].1.is_some(), "{stage}: {found:?}");
        for (_, low, _, note) in &found[1..] {
            assert!(low.is_none() && note.contains("all rows are in one cluster"), "{stage}: {found:?}");
        }
    }
}

#[test]
fn kappa_of_a_coder_with_one_code_says_why_it_is_0() {
    let rows = [["id", "a", "b", "c"], ["1", "yes", "no", "no"], ["2", "no", "no", "no"], ["3", "yes", "no", ""]];
    for (coders, more) in [(["a", "b"], ""), (["b", "a"], ""), (["a", "c"], ""), (["a", "b"], "bootstrap = {}")] {
        let stage =
            format!("type = \"agreement\"\ncoders = {coders:?}\nstatistics = [\"cohen_kappa\", \"percent\"]\n{more}");
        let table = computed(&project(&rows, "", &stage));
        let (estimate, low, _, note) = figures(&table, "cohen_kappa").remove(0);
        let constant = if coders[0] == "b" { "b" } else { coders[1] };
        assert_eq!((estimate, low), (Some(0.0), None));
        let words = format!("all codes of `{constant}` are `no`, so kappa is 0 whatever the other codes are");
        assert!(note.contains(&words), "{note}");
        let (_, low, high, _) = figures(&table, "percent").remove(0);
        assert!(low.is_some_and(|low| low >= 0.0) && high.is_some_and(|high| high <= 1.0), "a share: {low:?} {high:?}");
    }
}

#[test]
fn a_label_that_only_the_truth_has_can_win() {
    let rows = [["id", "a", "b", "truth"], ["1", "x", "x", "y"], ["2", "x", "x", "y"], ["3", "x", "x", "y"]];
    let stage = "type = \"ensemble\"\ncoders = [\"a\", \"b\"]\nmethod = \"weighted\"\ntruth = \"truth\"";
    let table = computed(&project(&rows, "", stage));
    assert!(table.floats("made_posterior").iter().all(|posterior| posterior.is_some_and(|p| p > 0.5)));
    assert_eq!(table.texts("made"), ["y"; 3]);
}
