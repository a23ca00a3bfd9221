//! The `deduplicate` stage: which rows are in a group, and which are kept.

use crate::project::Project;

const TEXTS: [[&str; 2]; 6] = [
    ["id", "text"],
    ["a", "Peace and plenty to all states of the union."],
    ["b", "We mourn our dead."],
    ["c", "Peace and plenty to all states of the union, again!"],
    ["d", ""],
    ["e", "We mourn our dead"],
];

fn spec(more: &str) -> String {
    format!(
        r#"name = "unique"
[sources.texts]
type = "file"
path = "texts.csv"
key = "id"
[stages.same]
type = "deduplicate"
input = "texts"
{more}
[outputs.same]
input = "same"
path = "out/same.parquet"
"#
    )
}

#[test]
fn near_duplicates_share_a_group() {
    let project = Project::new().spec(&spec("text_column = \"text\"\nthreshold = 0.7")).csv("texts.csv", &TEXTS);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let table = project.table("out/same.parquet");
    assert_eq!(table.columns(), ["id", "text", "same_group", "same_rows", "same_of", "same_similarity"]);
    assert_eq!(table.ints("same_group"), [Some(1), Some(2), Some(1), None, Some(2)]);
    assert_eq!(table.ints("same_rows"), [Some(2), Some(2), Some(2), None, Some(2)]);
    let of: Vec<Option<String>> = [None, None, Some("a"), None, Some("b")].map(|of| of.map(str::to_owned)).to_vec();
    assert_eq!(table.strings("same_of"), of);
    let similarity = table.floats("same_similarity");
    assert_eq!((similarity[0], similarity[4]), (None, Some(1.0)));
    assert!(similarity[2].is_some_and(|similarity| (0.7..1.0).contains(&similarity)), "{similarity:?}");
}

#[test]
fn only_the_first_rows_may_be_kept() {
    let more = "text_column = \"text\"\nthreshold = 0.7\nkeep = \"first\"";
    let project = Project::new().spec(&spec(more)).csv("texts.csv", &TEXTS);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.table("out/same.parquet").texts("id"), ["a", "b", "d"]);
}

#[test]
fn vectors_are_compared_by_their_angle() {
    let lines = "{\"id\": \"a\", \"v\": [1, 0]}\n{\"id\": \"b\", \"v\": [0, 1.5]}\n{\"id\": \"c\", \"v\": [2, 0.1]}\n";
    let text = spec("vector_column = \"v\"\nthreshold = 0.9").replace("texts.csv", "texts.jsonl");
    let project = Project::new().spec(&text).file("texts.jsonl", lines);
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.table("out/same.parquet").ints("same_group"), [Some(1), Some(2), Some(1)]);
}

#[test]
fn validate_names_what_does_not_fit() {
    for (more, message) in [
        ("threshold = 0.7", "a `deduplicate` compares the texts of `text_column` or the vectors of `vector_column`"),
        ("text_column = \"text\"\nthreshold = 1.5", "`threshold` must be above 0 and at most 1"),
        ("vector_column = \"text\"\nthreshold = 0.5", "`text` holds text, not vectors"),
        ("text_column = \"text\"\nthreshold = 0.5\nshingle = 0", "`shingle` must be at least 1"),
    ] {
        let project = Project::new().spec(&spec(more)).csv("texts.csv", &TEXTS);
        let ran = project.run(&["validate", "pipeline.toml"]).exits(2);
        assert!(ran.stderr.contains(message), "{more}: {}", ran.stderr);
    }
}
