//! The `filter` stage: which rows stay, in which order, and what the commands say about it.

use crate::project::Project;
use crate::server::{Say, Server};

const PEOPLE: [[&str; 4]; 5] = [
    ["id", "age", "town", "text"],
    ["a", "17", "Ulm", "one"],
    ["b", "40", "Bonn", "two"],
    ["c", "", "Ulm", "three"],
    ["d", "65", "Kiel", "four"],
];

/// A spec over the source `people` with these stages, the first of which is `adults`.
fn spec(stages: &str) -> String {
    format!(
        r#"name = "filtered"
[models.llama]
provider = "ollama"
model = "llama3.2"
num_ctx = 4096
[sources.people]
type = "file"
path = "people.csv"
key = "id"
types = {{ age = "integer" }}
{stages}
[outputs.adults]
input = "adults"
path = "out/adults.parquet"
"#
    )
}

fn filter(when: &str) -> String {
    format!("[stages.adults]\ntype = \"filter\"\ninput = \"people\"\nwhen = '''{when}'''\n")
}

fn project(stages: &str) -> Project {
    Project::new().spec(&spec(stages)).csv("people.csv", &PEOPLE)
}

/// The ids that stay, in order.
fn ids(project: &Project) -> Vec<String> {
    project.run(&["run", "pipeline.toml"]).exits(0);
    project.table("out/adults.parquet").texts("id")
}

#[test]
fn rows_of_a_source_stay_in_order_with_their_columns() {
    for (when, expected) in [
        ("age is not none and age >= 18", &["b", "d"][..]),
        ("town == 'Ulm' or id == 'd'", &["a", "c", "d"]),
        ("age is none", &["c"]),
        ("age > 100", &[]),
        ("age < 20", &["a"]),
        ("not (age < 20)", &["b", "d"]),
        ("age != 17", &["b", "d"]),
        ("true", &["a", "b", "c", "d"]),
    ] {
        let project = project(&filter(when));
        assert_eq!(ids(&project), expected, "{when}");
        let table = project.table("out/adults.parquet");
        assert_eq!(table.columns(), ["id", "age", "town", "text"]);
        assert_eq!(table.len(), expected.len());
    }
}

#[test]
fn yaml_says_the_same() {
    let yaml = r#"
name: filtered
sources:
  people: { type: file, path: people.csv, key: id, types: { age: integer } }
stages:
  adults: { type: filter, input: people, when: "age is not none and age >= 18" }
outputs:
  adults: { input: adults, path: out/adults.parquet }
"#;
    let project = Project::new().spec_yaml(yaml).csv("people.csv", &PEOPLE);
    project.run(&["run", "pipeline.yaml"]).exits(0);
    assert_eq!(project.table("out/adults.parquet").texts("id"), ["b", "d"]);
    let broken = yaml.replace("age >= 18", "agee >= 18");
    let project = Project::new().spec_yaml(&broken).csv("people.csv", &PEOPLE);
    project.run(&["validate", "pipeline.yaml"]).exits(2).says("the condition uses `agee`").says("did you mean `age`?");
}

#[test]
fn only_the_rows_that_stay_are_asked_about() {
    let server = Server::new().start();
    let stages = filter("town == 'Ulm'")
        + r#"
[stages.tone]
type = "analysis"
input = "adults"
models = ["llama"]
prompt = "Tone: {{ text }}"
[outputs.tone]
input = "tone"
path = "out/tone.parquet"
"#;
    let project = project(&stages).env("OLLAMA_HOST", &server.url());
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("filter adults: 2 rows, of people, no calls"), "{plan}");
    assert!(plan.contains("at most 2 calls"), "{plan}");
    project.run(&["run", "pipeline.toml"]).exits(0).says("2 rows = 2 answered + 0 failed + 0 skipped");
    assert_eq!(server.requests(), 2);
    let told = project.run(&["explain", "out/tone.parquet", "c", "tone"]).exits(0).stdout;
    assert!(told.contains("Tone: three") && told.contains("filter of people"), "{told}");
    project.run(&["status", "pipeline.toml"]).exits(0);
    project.run(&["verify", "pipeline.toml"]).exits(0);
    // Another condition is another table, and the answers that it needs are known.
    project.write("pipeline.toml", spec(&stages.replace("town == 'Ulm'", "id == 'c'")));
    let status = project.run(&["status", "pipeline.toml"]).exits(0).stdout;
    assert!(status.contains("  stage adults, prompts, rows\n"), "{status}");
    project.run(&["run", "pipeline.toml", "--update-lock"]).exits(0).says("0 calls sent, 1 from the ledger");
    let diff = project.run(&["diff", "out/tone.parquet", "out/adults.parquet"]);
    assert!(diff.stdout.contains("1 row"), "{}", diff.stdout);
}

#[test]
fn answers_decide_and_failed_ones_do_not_count_as_null() {
    let server = Server::new()
        .script(|asked, _| match asked.question() {
            question if question.contains("two") => Say::status(400),
            question if question.contains("three") => Say::Text("{\"tone\": null}".to_owned()),
            _ => Say::Text("{\"tone\": \"good\"}".to_owned()),
        })
        .start();
    let stages = |when: &str| {
        format!(
            r#"
[stages.judged]
type = "analysis"
input = "people"
models = ["llama"]
prompt = "Tone: {{{{ text }}}}"
[stages.judged.output]
tone = {{ type = "string", enum = ["good", "bad"], nullable = true }}
[stages.adults]
type = "filter"
input = "judged"
when = '''{when}'''
"#
        )
    };
    let project = project(&stages("tone == 'good'")).env("OLLAMA_HOST", &server.url());
    project.run(&["run", "pipeline.toml"]);
    assert_eq!(project.table("out/adults.parquet").texts("id"), ["a", "d"]);
    for (when, expected) in [
        ("tone is none", &["c"][..]),
        ("tone != 'good' or tone is none", &["c"]),
        // A comparison with null is not true.
        ("tone != 'good'", &[]),
        ("judged_error is not none", &["b"]),
        ("tone == 'bad'", &[]),
    ] {
        project.write("pipeline.toml", spec(&stages(when)));
        project.run(&["run", "pipeline.toml", "--update-lock"]);
        assert_eq!(project.table("out/adults.parquet").texts("id"), expected, "{when}");
    }
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("filter adults: "), "{plan}");
}

#[test]
fn wrong_conditions_are_reported() {
    let validate = |when: &str| project(&filter(when)).run(&["validate", "pipeline.toml"]);
    validate("agee > 18").exits(2).says("the condition uses `agee`").says("did you mean `age`?");
    validate("age >").exits(2).says("the condition does not compile");
    validate("town > 3").exits(2).says("`town > 3` compares text with a number: `town` is text");
    let missing = project("[stages.adults]\ntype = \"filter\"\ninput = \"people\"\n");
    missing.run(&["validate", "pipeline.toml"]).exits(2).says("`when` is missing");
    let unknown = project(&filter("true").replace("\"people\"", "\"poeple\""));
    unknown.run(&["validate", "pipeline.toml"]).exits(2).says("did you mean `people`?");
    project(&filter("age / 0 > 1"))
        .run(&["run", "pipeline.toml"])
        .exits(2)
        .says("stage `adults`: `when` can't be evaluated for row 1: ");
}
