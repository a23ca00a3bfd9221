//! The `validation` stage: predictions beside the truth that people coded.

use crate::project::{Cell, Project, Table};

/// Ten speeches; the fifth is not coded, and the first coder has no label of the sixth.
const ROWS: &str = "id,human,a,b,party,split,p,author\n\
    1,pos,pos,pos,X,test,0.5,u\n2,neg,neg,pos,X,test,0.5,u\n3,pos,pos,neg,Y,test,0.25,v\n4,neu,pos,neu,Y,dev,0.25,v\n\
    5,,pos,pos,X,,,w\n6,neg,,neg,Y,test,0.5,w\n7,pos,neg,pos,X,dev,0.5,x\n8,neg,neg,neg,X,test,0.5,x\n\
    9,neu,neu,pos,Y,test,1,y\n10,pos,pos,pos,Y,test,0.5,y\n";

/// Columns called `p`, `n` and `m` hold numbers.
fn project(rows: &str, stage: &str) -> Project {
    let header: Vec<&str> = rows.lines().next().unwrap_or_default().split(',').collect();
    let numbers = ["p", "n", "m"].into_iter().filter(|name| header.contains(name));
    let types: Vec<String> = numbers.map(|name| format!("{name} = \"number\"")).collect();
    let spec = format!(
        "name = \"how-good\"\nseed = 1\n[sources.rows]\ntype = \"file\"\npath = \"rows.csv\"\n\
         types = {{ {} }}\n[stages.check]\ntype = \"validation\"\ninput = \"rows\"\n{stage}\n[outputs.check]\ninput = \"check\"\npath = \"check.parquet\"\n",
        types.join(", ")
    );
    Project::new().spec(&spec).file("rows.csv", rows)
}

fn table(rows: &str, stage: &str) -> Table {
    let project = project(rows, stage);
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.table("check.parquet")
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Int(number) => number.to_string(),
        Cell::Float(number) => number.to_string(),
        _ => String::new(),
    }
}

/// A column of the only row with these cells; empty for null.
#[track_caller]
pub(crate) fn only(table: &Table, cells: &[(&str, &str)], column: &str) -> String {
    let of = |column: &str| table.cells(column).iter().map(text).collect::<Vec<_>>();
    let columns: Vec<Vec<String>> = cells.iter().map(|(column, _)| of(column)).collect();
    let fits = |row: &usize| cells.iter().zip(&columns).all(|((_, cell), column)| column[*row] == *cell);
    let rows: Vec<usize> = (0..table.len()).filter(fits).collect();
    assert_eq!(rows.len(), 1, "{cells:?}");
    of(column)[rows[0]].clone()
}

#[track_caller]
pub(crate) fn estimate(table: &Table, cells: &[(&str, &str)]) -> f64 {
    only(table, cells, "estimate").parse().unwrap_or(f64::NAN)
}

#[track_caller]
pub(crate) fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
}

#[test]
fn labels_have_scores_per_class_averages_and_a_matrix() {
    let table = table(ROWS, "predicted = [\"a\", \"b\"]\ntruth = \"human\"\nby = [\"party\"]");
    let of = |statistic: &str, column: &str, label: &str| {
        estimate(&table, &[("party", ""), ("statistic", statistic), ("column", column), ("label", label)])
    };
    near(of("accuracy", "a", ""), 0.75);
    near(of("precision", "a", "neg"), 2.0 / 3.0);
    near(of("recall", "a", "neu"), 0.5);
    near(of("f1", "a", "neg"), 0.8);
    near(of("support", "b", "neg"), 3.0);
    near(of("balanced_accuracy", "a", ""), 0.75);
    near(of("f1_macro", "a", ""), (0.8 + 2.0 / 3.0 + 0.75) / 3.0);
    let all = |cells: &[(&str, &str)]| estimate(&table, &[&[("party", "")], cells].concat());
    near(all(&[("statistic", "confusion"), ("column", "a"), ("label", "pos"), ("predicted", "neg")]), 1.0);
    near(all(&[("statistic", "confusion"), ("column", "a"), ("label", "neg"), ("predicted", "pos")]), 0.0);
    // Only the rows in which both have a label.
    near(all(&[("statistic", "accuracy_difference"), ("column", "a"), ("versus", "b")]), 0.125);
    let mcnemar = [("party", ""), ("statistic", "mcnemar_p")];
    assert_eq!(only(&table, &mcnemar, "note"), "3 rows where only `a` is right, 2 where only `b` is");
    near(all(&[("statistic", "mcnemar_p")]), 1.0);
    let accuracy = [("party", ""), ("statistic", "accuracy"), ("column", "a")];
    assert_eq!(only(&table, &accuracy, "note"), "left out: 1 without `human`, 1 without `a`");
    let figures = ["n", "left_out", "method"].map(|column| only(&table, &accuracy, column));
    assert_eq!(figures, ["8", "2", "wilson"]);
    near(estimate(&table, &[("party", "Y"), ("statistic", "accuracy"), ("column", "b")]), 0.6);
}

#[test]
fn rows_in_the_sample_count_by_their_probability() {
    let table = table(ROWS, "predicted = [\"b\"]\ntruth = \"human\"\ninclusion_probability = \"p\"");
    // Right: 1, 4, 6, 7, 8 and 10 with the weights 2, 4, 2, 2, 2, 2; wrong: 2, 3 and 9 with 2, 4, 1.
    near(estimate(&table, &[("statistic", "accuracy")]), 14.0 / 21.0);
    near(estimate(&table, &[("statistic", "support"), ("label", "neu")]), 5.0);
    assert_eq!(only(&table, &[("statistic", "accuracy")], "n"), "9");
}

#[test]
fn weight_is_another_word_for_the_probability_of_inclusion() {
    let spec = |word: &str| format!("predicted = [\"b\"]\ntruth = \"human\"\n{word} = \"p\"");
    let warned = project(ROWS, &spec("weight")).run(&["validate", "pipeline.toml"]).exits(0).stderr;
    assert!(warned.contains("`weight` is read as `inclusion_probability`"), "{warned}");
    let both = ["weight", "inclusion_probability"].map(|word| {
        let table = table(ROWS, &spec(word));
        table.floats("estimate")
    });
    assert_eq!(both[0], both[1]);
    // Both together are not allowed.
    let spec = format!("{}\nweight = \"p\"", spec("inclusion_probability"));
    project(ROWS, &spec).run(&["validate", "pipeline.toml"]).exits(2).says("there is no field `weight` here");
}

#[test]
fn a_part_of_the_split_and_clusters() {
    let stage = "predicted = [\"b\"]\ntruth = \"human\"\nsplit = \"test\"\ncluster = \"author\"\n\
                 bootstrap = { replicates = 200, interval = \"percentile\" }";
    let table = table(ROWS, stage);
    near(estimate(&table, &[("statistic", "accuracy")]), 4.0 / 7.0);
    let method = only(&table, &[("statistic", "accuracy")], "method");
    assert_eq!(method, "bootstrap_percentile", "a Wilson interval knows no clusters");
}

#[test]
fn numbers_texts_and_quotes() {
    let numbers = "n,m\n1,2\n2,2.5\n3,2\n4,5.5\n,1\n";
    let table_of = |stage: &str, rows: &str| table(rows, stage);
    let numbers = table_of("predicted = [\"m\"]\ntruth = \"n\"", numbers);
    for (name, expected) in [("mae", 1.0), ("bias", 0.5), ("rmse", (4.5f64 / 4.0).sqrt())] {
        near(estimate(&numbers, &[("statistic", name)]), expected);
    }
    assert!(estimate(&numbers, &[("statistic", "concordance")]) < estimate(&numbers, &[("statistic", "pearson_r")]));
    let texts = "truth,x\nThe cat.,the cat\nthe cat sat,cat the\nyes,yes\n";
    let texts = table_of("predicted = [\"x\"]\ntruth = \"truth\"\ncompare = \"texts\"", texts);
    for (name, expected) in [("exact_match", 1.0 / 3.0), ("normalised_match", 2.0 / 3.0), ("token_f1", 2.8 / 3.0)] {
        near(estimate(&texts, &[("statistic", name)]), expected);
    }
    let quotes = "speech,q,r\nWe have  peace.,we have peace,we have peace\nWar is over.,over,war\nNo.,,yes\n";
    let quotes = table_of("predicted = [\"q\", \"r\"]\ntext = \"speech\"\ncompare = \"quotes\"", quotes);
    near(estimate(&quotes, &[("statistic", "found"), ("column", "q")]), 1.0);
    near(estimate(&quotes, &[("statistic", "found"), ("column", "r")]), 2.0 / 3.0);
    near(estimate(&quotes, &[("statistic", "found_exactly"), ("column", "q")]), 0.5);
    near(estimate(&quotes, &[("statistic", "found_difference")]), 0.0);
}

#[test]
fn what_is_undefined_is_null_with_a_note() {
    let one = "truth,x\npos,pos\npos,pos\npos,neg\n";
    let one = table(one, "predicted = [\"x\"]\ntruth = \"truth\"");
    for (statistic, label, note) in [
        ("matthews", "", "undefined: all true labels are equal"),
        ("recall", "neg", "undefined: the label never occurs in the truth"),
    ] {
        let cells = [("statistic", statistic), ("label", label)];
        assert_eq!((only(&one, &cells, "estimate"), only(&one, &cells, "note")), (String::new(), note.to_owned()));
    }
    let macro_recall = only(&one, &[("statistic", "recall_macro")], "note");
    assert_eq!(macro_recall, "the recall of `neg` is undefined and counts as 0");
    let constant = table("n,m\n1,0.5\n2,0.5\n", "predicted = [\"m\"]\ntruth = \"n\"");
    let note = only(&constant, &[("statistic", "pearson_r")], "note");
    assert_eq!(note, "undefined: one of the columns does not vary");
    // A group without a truth has no figures, but is in the table.
    let groups =
        table("truth,x,g\npos,pos,a\nneg,pos,a\n,pos,b\n", "predicted = [\"x\"]\ntruth = \"truth\"\nby = [\"g\"]");
    assert_eq!(only(&groups, &[("statistic", "accuracy"), ("g", "b")], "estimate"), "");
}

#[test]
fn bad_values_stop_the_run_at_their_place_in_the_spec() {
    const P: &str = "inclusion_probability = \"p\"";
    for (rows, stage, message) in [
        (
            "h,x\npos,positive\nneg,negative\n",
            "",
            "`x` and `h` have no label in common: `x` has `negative` and `positive`",
        ),
        ("h,x,p\na,a,0.5\nb,a,\n", P, "1 row has a value in `h` but none in `p`, so it is outside the sample"),
        ("h,x,p\na,a,0\nb,a,0.5\n", P, "`p` holds 0, but the probability of a row to be in the sample"),
        ("h,x,p\na,a,1.5\nb,a,0.5\n", P, "`p` holds 1.5, but the probability of a row"),
        (
            "h,x,split\na,a,dev\nb,a,dev\n",
            "split = \"test\"",
            "no row has `test` in the column `split`: its values are `dev`",
        ),
    ] {
        let stage = format!("predicted = [\"x\"]\ntruth = \"h\"\n{stage}");
        let ran = project(rows, &stage).run(&["run", "pipeline.toml"]);
        let has_place = ran.stderr.contains("--> pipeline.toml:");
        assert!(ran.code == 2 && has_place && ran.stderr.contains(message), "{message}: {}", ran.stderr);
    }
}

#[test]
fn before_the_first_code_every_figure_is_null_with_a_note() {
    for (rows, more) in [
        ("h,x,z,split\n,a,a,\n,b,a,\n", ""),
        ("h,x,z,split\na,a,b,dev\n,b,b,test\n", "split = \"test\""),
        ("h,x,z,split\n,a,b,\n,b,b,\n", "split = \"test\""),
        ("h,x,z,split\n,a,b,\n,b,b,\n", "cluster = \"z\""),
    ] {
        let stage = format!("predicted = [\"x\", \"z\"]\ntruth = \"h\"\n{more}");
        let project = project(rows, &stage);
        let ran = project.run(&["run", "pipeline.toml"]).exits(0);
        assert!(ran.stderr.contains("check: accuracy of x is undefined; no row has both values"), "{}", ran.stderr);
        let table = project.table("check.parquet");
        assert!(table.len() > 20 && table.floats("estimate").iter().all(Option::is_none), "{rows}");
        assert!(table.strings("note").iter().all(Option::is_some), "{rows}");
        // Nothing was seen of the test part.
        let looks = project.run(&["verify", "pipeline.toml", "--format", "json"]).exits(0).json();
        assert_eq!(looks["test_looks"], serde_json::json!({}), "{rows}");
    }
    // A single code that no prediction equals shows no other spelling.
    let early = table("h,x\npos,neg\n,neg\n", "predicted = [\"x\"]\ntruth = \"h\"");
    near(estimate(&early, &[("statistic", "accuracy")]), 0.0);
}

#[test]
fn very_many_labels_need_no_square_table() {
    let mut rows = String::from("h,x\n");
    (0..3000).for_each(|i| rows += &format!("name {i},name {}\n", if i % 3 == 0 { i + 1 } else { i }));
    let table = table(&rows, "predicted = [\"x\"]\ntruth = \"h\"\nbootstrap = { replicates = 20 }");
    near(estimate(&table, &[("statistic", "accuracy")]), 2.0 / 3.0);
    let names = table.texts("statistic");
    assert_eq!(names.iter().filter(|name| *name == "confusion").count(), 3000);
    let f1 = [("statistic", "f1"), ("label", "name 2")];
    assert_eq!(only(&table, &f1, "note"), "without an interval, since there are more than 100 labels");
    near(estimate(&table, &f1), 1.0);
}

#[test]
fn mistakes_in_the_spec_are_shown_at_their_place() {
    for (stage, place, message) in [
        ("predicted = [\"labl\"]\ntruth = \"human\"", "predicted", "has no column `labl`"),
        ("predicted = [\"a\"]\ntruth = \"humn\"", "truth", "has no column `humn`"),
        ("predicted = [\"a\"]", "[stages.check]", "`truth` is missing"),
        ("predicted = []\ntruth = \"human\"", "predicted", "must name at least one column"),
        ("predicted = [\"a\", \"a\"]\ntruth = \"human\"", "predicted", "`a` would be compared with itself"),
        (
            "predicted = [\"a\"]\ntruth = \"human\"\ncompare = \"numbers\"",
            "truth",
            "`human` holds text, but numbers are needed",
        ),
        (
            "predicted = [\"a\"]\ntruth = \"human\"\ninclusion_probability = \"author\"",
            "inclusion_probability",
            "`author` holds text, but numbers are needed",
        ),
        ("predicted = [\"a\"]\ntruth = \"human\"\ntext = \"b\"", "text", "only quotes are looked up in a text"),
        (
            "predicted = [\"a\"]\ntruth = \"human\"\nsplit_column = \"split\"",
            "split_column",
            "has no effect without `split`",
        ),
        ("predicted = [\"a\"]\ntruth = \"human\"\nconfidence = 95", "confidence", "between 0 and 1"),
    ] {
        let ran = project(ROWS, stage).run(&["validate", "pipeline.toml"]).exits(2);
        assert!(ran.stderr.contains(message) && ran.stderr.contains(place), "{stage}: {}", ran.stderr);
    }
}

#[test]
fn the_lock_counts_looks_at_the_test_part() {
    let stage = "predicted = [\"b\"]\ntruth = \"human\"\nsplit = \"test\"";
    let project = project(ROWS, stage);
    let looked = |times: u64| {
        let ran = project.run(&["verify", "pipeline.toml", "--format", "json"]).exits(0);
        assert_eq!(ran.json()["test_looks"]["check"]["looks"], times);
    };
    project.run(&["run", "pipeline.toml"]).exits(0);
    looked(1);
    // The same predictions again are not another look.
    project.run(&["run", "pipeline.toml"]).exits(0);
    looked(1);
    project.write("rows.csv", ROWS.replace("2,neg,neg,pos", "2,neg,neg,neg"));
    project.run(&["run", "pipeline.toml"]).exits(0).says("looks 1 -> 2");
    looked(2);
    let text = project.run(&["verify", "pipeline.toml"]).exits(0).stdout;
    let line = "stage check: the test part was looked at 2 times, with 1 different prompt";
    assert!(text.contains(line), "{text}");
    // Back to the first predictions: the look is counted already.
    project.write("rows.csv", ROWS);
    project.run(&["run", "pipeline.toml"]).exits(0);
    looked(2);
    let dev = project_of_dev();
    assert_eq!(
        dev.run(&["verify", "pipeline.toml", "--format", "json"]).exits(0).json()["test_looks"],
        serde_json::json!({})
    );
}

#[test]
fn the_lock_counts_the_prompts_of_the_looks() {
    let spec = |prompt: &str| {
        format!(
            "name = \"looks\"\n[models.m]\nprovider = \"mock\"\nmodel = \"any\"\n[sources.rows]\ntype = \"file\"\n\
             path = \"rows.csv\"\nkey = \"id\"\n[stages.tone]\ntype = \"analysis\"\ninput = \"rows\"\nmodels = [\"m\"]\n\
             prompt = \"{prompt} {{{{ id }}}}\"\noutput.label = {{ type = \"string\", enum = [\"pos\", \"neg\", \"neu\"] }}\n\
             [stages.check]\ntype = \"validation\"\ninput = \"tone\"\npredicted = [\"label\"]\ntruth = \"human\"\n\
             split = \"test\"\nbootstrap = {{ replicates = 0 }}\n[outputs.check]\ninput = \"check\"\npath = \"check.parquet\"\n"
        )
    };
    let project = Project::new().file("rows.csv", ROWS);
    for (prompt, looks, prompts) in
        [("Tone?", 1, 1), ("Tone?", 1, 1), ("The tone:", 2, 2), ("Which tone?", 3, 3), ("Tone?", 3, 3)]
    {
        project.write("pipeline.toml", spec(prompt));
        project.run(&["run", "pipeline.toml"]).exits(0);
        let looked = project.run(&["verify", "pipeline.toml", "--format", "json"]).exits(0).json();
        assert_eq!(
            looked["test_looks"]["check"],
            serde_json::json!({ "looks": looks, "prompts": prompts }),
            "{prompt}"
        );
    }
}

fn project_of_dev() -> Project {
    let project = project(ROWS, "predicted = [\"b\"]\ntruth = \"human\"\nsplit = \"dev\"");
    project.run(&["run", "pipeline.toml"]).exits(0);
    project
}
