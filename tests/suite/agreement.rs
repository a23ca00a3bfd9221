//! The `agreement` stage: wide and long tables, groups, lists of labels, the bootstrap, and what cannot be computed.

use crate::project::{Cell, Project, Table};

/// Krippendorff's four observers and twelve units, with a group and a cluster.
const OBSERVERS: [[&str; 7]; 13] = [
    ["unit", "a", "b", "c", "d", "party", "author"],
    ["1", "1", "1", "", "1", "x", "p"],
    ["2", "2", "2", "3", "2", "x", "p"],
    ["3", "3", "3", "3", "3", "x", "q"],
    ["4", "3", "3", "3", "3", "x", "q"],
    ["5", "2", "2", "2", "2", "x", "r"],
    ["6", "1", "2", "3", "4", "x", "r"],
    ["7", "4", "4", "4", "4", "y", "s"],
    ["8", "1", "1", "2", "1", "y", "s"],
    ["9", "2", "2", "2", "2", "y", "t"],
    ["10", "", "5", "5", "5", "y", "t"],
    ["11", "", "", "1", "1", "", "u"],
    ["12", "", "3", "", "", "y", "u"],
];

const NUMBERS: &str = "types = { a = \"integer\", b = \"integer\", c = \"integer\", d = \"integer\" }\n";

/// A spec with one stage `irr` over the source `coded`.
fn spec(source: &str, stage: &str) -> String {
    format!(
        "seed = 3\n[sources.coded]\ntype = \"file\"\npath = \"coded.csv\"\n{source}\n[stages.irr]\ntype = \"agreement\"\n\
         input = \"coded\"\n{stage}\n[outputs.irr]\ninput = \"irr\"\npath = \"irr.parquet\"\n"
    )
}

fn project<const N: usize>(rows: &[[&str; N]], source: &str, stage: &str) -> Project {
    Project::new().spec(&spec(source, stage)).csv("coded.csv", rows)
}

fn computed(project: &Project) -> Table {
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.table("irr.parquet")
}

/// The estimates with their statistics and coders, for the rows in which `column` is `value`.
fn estimates(table: &Table, column: &str, value: Option<&str>) -> Vec<(String, String, Option<f64>)> {
    let of = table.strings(column);
    let rows = table.texts("statistic").into_iter().zip(table.texts("coders")).zip(table.floats("estimate"));
    let rows = rows.zip(of).filter(|(_, of)| of.as_deref() == value);
    rows.map(|(((statistic, coders), estimate), _)| (statistic, coders, estimate)).collect()
}

fn near(found: Option<f64>, expected: f64) {
    assert!(found.is_some_and(|found| (found - expected).abs() < 5e-5), "{found:?}, expected {expected}");
}

#[test]
fn published_numbers_come_out() {
    for (level, alpha) in [("nominal", 0.7434), ("ordinal", 0.8154), ("interval", 0.8491), ("ratio", 0.7974)] {
        let stage = format!("coders = [\"a\", \"b\", \"c\", \"d\"]\nlevel = \"{level}\"\n");
        let table = computed(&project(&OBSERVERS, NUMBERS, &stage));
        near(table.floats("estimate")[0], alpha);
        assert_eq!(
            (table.texts("statistic")[0].as_str(), table.texts("coders")[0].as_str()),
            ("krippendorff_alpha", "a, b, c, d")
        );
        assert_eq!((table.ints("n")[0], table.ints("left_out")[0]), (Some(11), Some(1)));
        assert_eq!(table.texts("note")[0], "1 unit has fewer than two codes");
    }
    let stage =
        "coders = [\"a\", \"b\", \"c\", \"d\"]\nstatistics = [\"gwet_ac1\", \"krippendorff_alpha\", \"cohen_kappa\"]\n";
    let table = computed(&project(&OBSERVERS, "", stage));
    near(table.floats("estimate")[0], 0.77544);
    near(table.floats("std_error")[0], 0.14295);
    near(table.floats("std_error")[1], 0.14557);
    near(table.floats("ci_low")[0], 0.46081);
    near(table.floats("ci_high")[0], 1.0);
    assert_eq!(table.texts("method")[0], "large_sample");
    assert_eq!(table.floats("level")[0], Some(0.95));
    assert_eq!(table.len(), 2 + 6, "Cohen's kappa has a row for each pair");
    assert_eq!((table.texts("coders")[2].as_str(), table.ints("n")[2]), ("a, b", Some(9)));
    near(table.floats("estimate")[2], 0.844828);
}

#[test]
fn weighted_kappa_has_its_published_numbers() {
    let stage = "coders = [\"a\", \"b\"]\nlevel = \"ordinal\"\nstatistics = [\"cohen_kappa\", \"cohen_kappa_linear\", \
                 \"cohen_kappa_quadratic\"]\n";
    let table = computed(&project(&OBSERVERS, NUMBERS, stage));
    for (found, expected) in table.floats("estimate").into_iter().zip([0.844828, 0.894118, 0.939597]) {
        near(found, expected);
    }
    let rows = std::iter::repeat_n(["y", "y"], 20).chain(std::iter::repeat_n(["y", "n"], 5));
    let rows = rows.chain(std::iter::repeat_n(["n", "y"], 10)).chain(std::iter::repeat_n(["n", "n"], 15));
    let rows: Vec<[&str; 2]> = [["a", "b"]].into_iter().chain(rows).collect();
    let table = computed(&project(&rows, "", "coders = [\"a\", \"b\"]\nstatistics = [\"cohen_kappa\"]\n"));
    near(table.floats("estimate")[0], 0.4);
    near(table.floats("std_error")[0], 0.1270);
}

#[test]
fn a_long_table_says_the_same_as_a_wide_one() {
    let (names, units) = (&OBSERVERS[0], &OBSERVERS[1..]);
    let codes = units.iter().flat_map(|unit| (1..5).map(|i| [unit[0], names[i], unit[i], unit[5], unit[6]]));
    // Neither the order of the rows nor the rows without a code matter.
    let codes = codes.filter(|row| !row[2].is_empty() || row[0] == "1").rev();
    let long: Vec<[&str; 5]> = [["unit", "who", "code", "party", "author"]].into_iter().chain(codes).collect();
    let rest = "pairs = true\nby = [\"party\"]\ncluster = \"author\"\nbootstrap = { replicates = 300 }\n";
    let wide = computed(&project(&OBSERVERS, "", &format!("coders = [\"a\", \"b\", \"c\", \"d\"]\n{rest}")));
    let stage = format!("unit = \"unit\"\ncoder = \"who\"\nvalue = \"code\"\n{rest}");
    let long = computed(&project(&long, "", &stage));
    assert_eq!(wide.columns(), long.columns());
    for column in
        wide.columns().into_iter().filter(|column| !["estimate", "std_error", "ci_low", "ci_high"].contains(column))
    {
        assert_eq!(wide.cells(column), long.cells(column), "{column}");
    }
    for column in ["estimate", "std_error", "ci_low", "ci_high"] {
        for (a, b) in wide.floats(column).into_iter().zip(long.floats(column)) {
            assert!(a.zip(b).map_or(a == b, |(a, b)| (a - b).abs() < 1e-9), "{column}: {a:?} {b:?}");
        }
    }
    assert_eq!(wide.texts("method")[0], "bootstrap_bca");
    assert_eq!(wide.columns()[..3], ["party", "statistic", "coders"]);
    let per_group = wide.len() / 3;
    assert_eq!(wide.nulls("party"), per_group, "all rows, then `x` and `y`; a row without a party has no group");
    assert_eq!(wide.ints("n")[per_group], Some(6));
    assert_eq!(wide.ints("n")[2 * per_group], Some(4));
}

#[test]
fn lists_are_compared_whole_and_label_by_label() {
    let rows = [
        "{\"a\": [\"tax\", \"war\"], \"b\": [\"war\"]}",
        "{\"a\": [], \"b\": []}",
        "{\"a\": [\"tax\"], \"b\": [\"tax\"]}",
        "{\"a\": [\"war\"], \"b\": [\"tax\", \"war\"]}",
        "{\"a\": [\"tax\"], \"b\": null}",
    ];
    let text = spec("", "coders = [\"a\", \"b\"]\n").replace("coded.csv", "coded.jsonl");
    let table = computed(&Project::new().spec(&text).file("coded.jsonl", rows.join("\n")));
    let whole = estimates(&table, "label", None);
    assert_eq!(whole.iter().map(|row| row.0.as_str()).collect::<Vec<_>>(), ["krippendorff_alpha", "percent"]);
    // Two of four pairs are equal, the others are 2/3 apart; sets {}, {tax}, {war} and {tax, war} occur 2, 2, 2, 2 times.
    let (observed, n) = (2.0 * 2.0 * (2.0 / 3.0), 8.0);
    let expected = 2.0 * 4.0 * (1.0 + 1.0 + 1.0 + 1.0 + 2.0 / 3.0 + 2.0 / 3.0);
    near(whole[0].2, 1.0 - (n - 1.0) * observed / expected);
    near(whole[1].2, 0.5);
    for label in ["tax", "war"] {
        let of_label = estimates(&table, "label", Some(label));
        assert_eq!(of_label.len(), 5, "all statistics of nominal labels of two coders");
        let percent = of_label.iter().find(|row| row.0 == "percent").unwrap().2;
        near(percent, if label == "tax" { 0.5 } else { 1.0 });
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let stage = "coders = [\"a\", \"b\", \"c\"]\npairs = true\nbootstrap = { interval = \"percentile\" }\n";
    let project = project(&OBSERVERS, "", stage);
    let first = computed(&project).cells("ci_low");
    let one = self::project(&OBSERVERS, "", stage);
    // Where the system can tie a process to one processor.
    one.run_by("taskset -c 0 \"$0\" \"$@\" || exec \"$0\" \"$@\"", &["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.bytes("irr.parquet"), one.bytes("irr.parquet"), "on one processor");
    let other = self::project(&OBSERVERS, "", stage);
    other.write("pipeline.toml", other.text("pipeline.toml").replace("seed = 3", "seed = 4"));
    assert_ne!(computed(&other).cells("ci_low"), first);
    assert_eq!(computed(&other).texts("method")[0], "bootstrap_percentile");
}

#[test]
fn undefined_statistics_are_null_with_a_note() {
    let cases = [
        (&[["a", "b"], ["x", "x"], ["x", "x"]][..], "all codes are `x`"),
        (
            &[["a", "b"], ["x", ""], ["y", ""]],
            "no unit has two codes: no codes of `b`; 2 units have fewer than two codes",
        ),
        (&[["a", "b"], ["x", ""], ["", "y"]], "no unit has two codes; 2 units have fewer than two codes"),
        (&[["a", "b"]], "no unit has two codes: no codes of `a`, `b`"),
    ];
    for bootstrap in ["", "bootstrap = { replicates = 50 }\n"] {
        for (rows, note) in cases {
            let stage = format!("coders = [\"a\", \"b\"]\n{bootstrap}");
            let table = computed(&project(rows, "", &stage));
            let found = estimates(&table, "label", None);
            for (row, (statistic, _, estimate)) in found.iter().enumerate() {
                let is_defined = statistic == "percent" && note == "all codes are `x`";
                assert_eq!(*estimate, is_defined.then_some(1.0), "{statistic} {rows:?}");
                if !is_defined {
                    assert_eq!(table.strings("note")[row].as_deref(), Some(note), "{statistic}");
                    let nulls =
                        ["std_error", "ci_low", "ci_high", "level", "method"].map(|c| table.cells(c)[row].clone());
                    assert_eq!(nulls, [const { Cell::Null }; 5], "{statistic}");
                }
            }
        }
    }
}

#[test]
fn wrong_codes_stop_the_run_at_their_place_in_the_spec() {
    let long = "unit = \"a\"\ncoder = \"b\"\nvalue = \"c\"\n";
    let cases = [
        (
            "coders = [\"a\", \"b\"]\nlevel = \"ordinal\"\norder = [\"1\", \"2\", \"3\"]\n",
            "",
            "`a` has the label `4`, which is not in `order`",
        ),
        (
            "coders = [\"a\", \"b\"]\nlevel = \"ratio\"\n",
            "types = { a = \"integer\", b = \"integer\" }\n",
            "`b` has the number -2, but ratios need numbers from 0",
        ),
        (long, "", "the coder `2` has two rows about the unit `1`"),
    ];
    for (stage, source, message) in cases {
        let rows = [["a", "b", "c"], ["1", "2", "x"], ["4", "-2", "y"], ["1", "2", "z"]];
        let project = project(&rows, source, stage);
        let ran = project.run(&["run", "pipeline.toml"]).exits(2);
        assert!(ran.stderr.contains(message) && ran.stderr.contains("--> pipeline.toml:"), "{}", ran.stderr);
    }
    let rows = [["a", "b", "c"], ["1", "llama", "x"], ["2", "llama", "y"]];
    let one = computed(&project(&rows, "", long));
    let note = "the table has only the coder `llama`; agreement needs two coders or more";
    assert!(one.len() > 1 && one.strings("note").iter().all(|found| found.as_deref() == Some(note)), "{:?}", one);
    assert!(one.floats("estimate").iter().all(Option::is_none));
}

#[test]
fn many_different_numbers_have_coefficients_at_each_level() {
    let numbers: Vec<[String; 2]> = (1..=2000).map(|i| [i.to_string(), (i + 1500).to_string()]).collect();
    let rows = [["a".to_owned(), "b".to_owned()]].into_iter().chain(numbers).collect::<Vec<_>>();
    // By the definition, with each code beside each other one.
    let alphas = [
        ("ordinal", -0.327_793_098_356_276_5),
        ("interval", -0.255_500_116_790_708_5),
        ("ratio", -0.335_650_133_818_232_3),
    ];
    for (level, alpha) in alphas {
        let stage = format!("coders = [\"a\", \"b\"]\nlevel = \"{level}\"\n");
        let text = spec("types = { a = \"integer\", b = \"integer\" }\n", &stage);
        let table = computed(&Project::new().spec(&text).csv("coded.csv", &rows));
        assert!(table.floats("estimate").iter().all(Option::is_some), "{level}: {:?}", table.floats("estimate"));
        let found = table.floats("estimate")[0].expect("alpha");
        assert!((found - alpha).abs() < 1e-10, "{level}: {found}");
    }
}
