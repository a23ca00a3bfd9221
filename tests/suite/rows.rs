//! Which rows a stage asks about (`when`), how often (`replicates`), and what the summary says of yes and no.

use std::collections::BTreeSet;

use serde_json::json;

use crate::project::{Cell, Project};
use crate::server::{Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// The same, where `after` doesn't read what `tone` answered.
fn blind(provider: &str, stage: &str) -> String {
    spec(provider, stage, "tone").replace(" {{ glad }}", "")
}

/// Two stages: `tone` with these lines, and `after`, which reads what `tone` answered.
fn spec(provider: &str, stage: &str, input: &str) -> String {
    format!(
        r#"name = "tones"
seed = 7
[models.a]
provider = "{provider}"
model = "one"
[models.b]
provider = "{provider}"
model = "two"
[sources.speeches]
type = "file"
path = "data.csv"
key = "id"
types = {{ year = "integer" }}
[stages.tone]
type = "analysis"
input = "speeches"
prompt = "Is it glad? {{{{ text }}}}"
{stage}
[stages.tone.output]
glad = {{ type = "boolean" }}
[stages.after]
type = "analysis"
input = "tone"
models = ["a"]
prompt = "Why? {{{{ text }}}} {{{{ glad }}}}"
[outputs.tone]
input = "{input}"
path = "{OUT}"
"#
    )
}

const ROWS: [[&str; 3]; 6] = [
    ["id", "year", "text"],
    ["1", "1790", "Peace."],
    ["2", "1850", "War."],
    ["3", "", "Bread."],
    ["4", "1900", "Trade."],
    ["5", "1950", "Roads."],
];

fn project(stage: &str) -> Project {
    Project::new().spec(&blind("mock", stage)).csv("data.csv", &ROWS)
}

#[test]
fn rows_for_which_a_condition_is_false_are_skipped_and_go_on_with_nulls() {
    let stage = "models = [\"a\"]\nwhen = \"year is not none and year >= 1850\"";
    let all = Project::new().spec(&spec("mock", stage, "after")).csv("data.csv", &ROWS);
    all.run(&["plan", "pipeline.toml"]).exits(0);
    let ran = all.run(&RUN).exits(0).says("tone   5 rows = 3 answered + 0 failed + 2 skipped");
    // A condition is a choice, not a failure: the stage that reads the answer is asked about every row.
    let ran = ran.says("after  5 rows = 5 answered + 0 failed + 0 skipped");
    assert!(ran.stderr.contains("3 calls sent") && ran.stderr.contains("5 calls sent"), "{}", ran.stderr);
    let table = all.table(OUT);
    assert_eq!(table.len(), 5);
    assert_eq!(table.bools("glad").iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true, true]);
    assert_eq!((table.nulls("tone_error"), table.nulls("after_error"), table.nulls("after")), (5, 5, 0));
    let first = all.bytes(OUT);
    std::fs::remove_dir_all(all.path(".fanfold/runs")).expect("the runs are there");
    all.run(&["plan", "pipeline.toml"]).exits(0);
    all.run(&RUN).exits(0).says("0 calls sent");
    assert!(all.bytes(OUT) == first, "the bytes changed");
}

#[test]
fn a_condition_that_cannot_be_told_fails_its_row() {
    let project = project("models = [\"a\"]\nwhen = \"year / 2 > 900\"");
    project.run(&RUN).exits(1).says("5 rows = 3 answered + 1 failed + 1 skipped").says("failed as when, row 3");
    assert!(project.table(OUT).strings("tone_error")[2].as_deref().is_some_and(|e| e.starts_with("when: ")));
}

#[test]
fn a_stage_does_not_judge_rows_by_answers_that_failed() {
    let server = Server::new().models(&["one", "two"]).script(|asked, _| match asked.question() {
        question if question.contains("War.") => Say::status(400),
        question if question.contains("glad") => Say::Text(json!({ "glad": true }).to_string()),
        _ => Say::Text("because".to_owned()),
    });
    let server = server.start();
    let text =
        spec("ollama", "models = [\"a\"]", "after").replace("prompt = \"Why? ", "when = \"glad\"\nprompt = \"Why? ");
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(&text).csv("data.csv", &ROWS);
    project.run(&RUN).exits(1).says("after  5 rows = 4 answered + 0 failed + 1 skipped");
}

#[test]
fn every_replicate_is_a_row_and_a_call_of_its_own() {
    for (stage, columns, fold) in [
        ("models = [\"a\", \"b\"]\nfanout = false", vec!["replicate", "glad", "tone_model", "tone_error"], 3),
        (
            "models = [\"a\", \"b\"]\nfanout = true",
            vec!["replicate", "glad_a", "tone_error_a", "glad_b", "tone_error_b"],
            3,
        ),
        (
            "models = [\"a\", \"b\"]\nfanout = true\nlayout = \"long\"",
            vec!["replicate", "model", "glad", "tone_error"],
            6,
        ),
    ] {
        let project = project(&format!("{stage}\nreplicates = 3"));
        project.run(&["plan", "pipeline.toml"]).exits(0);
        project.run(&RUN).exits(0).says("tone   5 rows = 5 answered + 0 failed + 0 skipped");
        let table = project.table(OUT);
        assert_eq!((table.len(), &table.columns()[3..]), (5 * fold, &columns[..]), "{stage}");
        let expected: Vec<_> = (0..5 * fold).map(|i| Some((i / (fold / 3) % 3 + 1) as i64)).collect();
        assert_eq!(table.ints("replicate"), expected, "{stage}");
        assert_eq!(table.texts("id")[..fold], vec!["1"; fold][..], "{stage}");
        let calls = project.calls();
        let keys: BTreeSet<String> = calls.texts("call_key").into_iter().collect();
        let tone = calls.texts("stage").iter().filter(|stage| *stage == "tone").count();
        let asked = if stage.contains("fanout = true") { 30 } else { 15 };
        assert_eq!(
            (tone, calls.len(), keys.len()),
            (asked, asked + 5 * fold, calls.len() - repeated(&project)),
            "{stage}"
        );
        let first = project.bytes(OUT);
        std::fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs are there");
        project.run(&["plan", "pipeline.toml"]).exits(0);
        project.run(&RUN).exits(0).says("0 calls sent");
        assert!(project.bytes(OUT) == first, "{stage}: the bytes changed");
    }
}

/// Calls of the stage after, which asks some things twice.
fn repeated(project: &Project) -> usize {
    let calls = project.calls();
    let after = calls.texts("stage").into_iter().zip(calls.texts("call_key")).filter(|(stage, _)| stage == "after");
    let keys: Vec<String> = after.map(|(_, key)| key).collect();
    keys.len() - keys.iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn each_replicate_is_sent_a_seed_of_its_own_and_more_of_them_ask_only_what_is_new() {
    let server =
        Server::new().models(&["one", "two"]).script(|_, _| Say::Text(json!({ "glad": true }).to_string())).start();
    let with = |n: usize| spec("ollama", &format!("models = [\"a\"]\nreplicates = {n}"), "tone");
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(&with(1)).csv("data.csv", &ROWS);
    project.run(&["run", "pipeline.toml", "--select", "tone"]).exits(0).says("5 calls sent");
    project.write("pipeline.toml", with(3));
    project.run(&["run", "pipeline.toml", "--select", "tone"]).exits(0).says("10 calls sent, 5 from the ledger");
    let mut seeds: Vec<i64> =
        server.asked().iter().filter_map(|asked| asked.body.pointer("/options/seed")?.as_i64()).collect();
    seeds.sort_unstable();
    assert_eq!(seeds, [[7; 5], [8; 5], [9; 5]].concat());
}

#[test]
fn the_summary_says_how_many_answers_are_yes_with_an_interval() {
    let server = Server::new().models(&["one", "two"]).script(|asked, _| {
        let yes = asked.question().contains("War.") || asked.model == "two";
        Say::Text(json!({ "glad": yes }).to_string())
    });
    let server = server.start();
    let stage = "models = [\"a\", \"b\"]\nfanout = true\nchunk_size = 2";
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(&blind("ollama", stage));
    let project = project.csv("data.csv", &ROWS);
    let lines = [
        "glad_a  1/5 (20 %, 95 % sampling interval 3.62 to 62.4 %)",
        "glad_b  5/5 (100 %, 95 % sampling interval 56.6 to 100 %)",
    ];
    for _ in 0..2 {
        // The second run keeps the parts, and says the same.
        let ran = project.run(&["run", "pipeline.toml", "--select", "tone", "-v"]).exits(0);
        assert!(lines.iter().all(|line| ran.stderr.contains(line)), "{}", ran.stderr);
    }
    project.write("pipeline.toml", blind("ollama", &format!("{stage}\nlayout = \"long\"")));
    let ran = project.run(&["run", "pipeline.toml", "--select", "tone", "-v"]).exits(0);
    ran.says("glad (a)  1/5").says("glad (b)  5/5");
    assert_eq!(project.table("out/tone.select-tone.parquet").cells("glad")[2], Cell::Bool(true));
}
