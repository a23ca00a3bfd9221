//! Stages without a model: `split` and `join`, and the stages after them.

use crate::project::Project;
use crate::server::Server;

const CORPUS: &[u8] = include_bytes!("../../pipelines/data/sotu.parquet");

/// A spec with these stages and outputs, over the sources `people` and `towns`.
fn spec(stages: &str) -> String {
    format!(
        r#"name = "reshaped"
seed = 1
[models.llama]
provider = "ollama"
model = "llama3.2"
num_ctx = 4096
[sources.people]
type = "file"
path = "people.csv"
key = "id"
[sources.towns]
type = "file"
path = "towns.csv"
{stages}
"#
    )
}

fn project(server: &Server, stages: &str) -> Project {
    let people = [["id", "town", "text"], ["a", "Ulm", "One two. Three."], ["b", "Bonn", ""], ["c", "Ulm", "Four"]];
    let towns = [["town", "state"], ["Ulm", "south"], ["Kiel", "north"]];
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(&spec(stages));
    project.csv("people.csv", &people).csv("towns.csv", &towns)
}

#[test]
fn the_pieces_of_every_address_give_it_back() {
    let spec = r#"
[sources.addresses]
type = "file"
path = "sotu.parquet"
key = "id"
[stages.piece]
type = "split"
input = "addresses"
text_column = "text"
size = 1000
unit = "words"
by = "sentence"
[outputs.piece]
input = "piece"
path = "out/piece.parquet"
"#;
    let project = Project::new().spec(spec).file("sotu.parquet", CORPUS);
    project.run(&["run", "pipeline.toml"]).exits(0);
    let (whole, pieces) = (project.table("sotu.parquet"), project.table("out/piece.parquet"));
    assert!(!pieces.has("text"), "the text is not repeated in each piece");
    let (owners, texts) = (pieces.texts("id"), pieces.texts("piece"));
    let (starts, ends) = (pieces.ints("piece_start"), pieces.ints("piece_end"));
    let mut at = 0;
    for (id, text) in whole.texts("id").iter().zip(whole.texts("text")) {
        let mut back = String::new();
        let mut end = 0;
        for number in 1.. {
            if owners.get(at) != Some(id) {
                break;
            }
            assert_eq!(pieces.texts("piece_id")[at], format!("{id}#{number}"));
            assert_eq!(pieces.ints("piece_number")[at], Some(number));
            assert_eq!(starts[at], Some(end), "{id}: piece {number}");
            end += texts[at].chars().count() as i64;
            assert_eq!(ends[at], Some(end), "{id}: piece {number}");
            back.push_str(&texts[at]);
            at += 1;
        }
        assert!(back == text, "{id} is not what its pieces say");
    }
    assert_eq!(at, pieces.len());
    assert!(at > 1500, "only {at} pieces of 10.8 MB");
}

#[test]
fn a_join_looks_up_and_stages_read_what_it_found() {
    let server = Server::new().start();
    let stages = r#"
[stages.placed]
type = "join"
input = "people"
with = "towns"
on = ["town"]
[stages.tone]
type = "analysis"
input = "placed"
models = ["llama"]
prompt = "{{ id }} of {{ state }}"
[outputs.tone]
input = "tone"
path = "out/tone.parquet"
[outputs.placed]
input = "placed"
path = "out/placed.csv"
"#;
    let project = project(&server, stages);
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(plan.contains("join placed: 3 rows, of towns and people, no calls"), "{plan}");
    project.run(&["run", "pipeline.toml"]).exits(0);
    let table = project.table("out/tone.parquet");
    assert_eq!(table.columns(), ["id", "town", "text", "state", "tone", "tone_error"]);
    assert_eq!(table.strings("state"), [Some("south".to_owned()), None, Some("south".to_owned())]);
    let asked: Vec<String> = server.asked().iter().map(|a| a.question().to_owned()).collect();
    for question in ["a of south", "b of ", "c of south"] {
        assert!(asked.iter().any(|a| a == question), "{question} in {asked:?}");
    }
    assert_eq!(project.text("out/placed.csv").lines().nth(2), Some("b,Bonn,,"));
    // The rows keep their keys.
    let told = project.run(&["explain", "out/tone.parquet", "c", "tone"]).exits(0).stdout;
    assert!(told.contains("c of south") && told.contains("join of towns and people"), "{told}");

    project.write("pipeline.toml", spec(&stages.replace("on = [\"town\"]", "on = [\"town\"]\nhow = \"inner\"")));
    project.run(&["run", "pipeline.toml"]).exits(0);
    assert_eq!(project.table("out/tone.parquet").texts("id"), ["a", "c"]);
    assert_eq!(server.requests(), 3, "both have been asked about");

    project.write("towns.csv", "town,state\nUlm,south\nUlm,west\n");
    let ran = project.run(&["run", "pipeline.toml"]).exits(2);
    let ran = ran.says("stage `placed`: one key is repeated in the table to join with: \"Ulm\" (rows 1, 2)");
    ran.says("`duplicates = \"first\"`");
}

#[test]
fn rows_without_a_text_stay_and_are_skipped_behind_a_split() {
    let server = Server::new().start();
    let stages = r#"
[stages.bit]
type = "split"
input = "people"
text_column = "text"
size = 1
unit = "words"
[stages.tone]
type = "analysis"
input = "bit"
models = ["llama"]
text_column = "bit"
prompt = "Tone: {{ text }}"
chunk_size = 2
[outputs.tone]
input = "tone"
path = "out/tone.parquet"
"#;
    let project = project(&server, stages);
    project.run(&["run", "pipeline.toml"]).exits(0).says("5 rows = 4 answered + 0 failed + 1 skipped");
    let table = project.table("out/tone.parquet");
    assert_eq!(table.texts("bit_id"), ["a#1", "a#2", "a#3", "b#1", "c#1"]);
    assert_eq!(table.strings("bit")[2..4], [Some("Three.".to_owned()), None]);
    assert_eq!(table.nulls("tone"), 1);
    let told = project.run(&["explain", "out/tone.parquet", "a#2", "tone"]).exits(0).stdout;
    assert!(told.contains("Tone: two. ") && told.contains("split of people"), "{told}");
    project.run(&["verify", "pipeline.toml"]).exits(0);
    // Another size is another table, and only its new pieces are asked about.
    project.write("pipeline.toml", spec(&stages.replace("size = 1\n", "size = 2\n")));
    let status = project.run(&["status", "pipeline.toml"]).exits(0).stdout;
    assert!(status.contains("  stage bit, prompts, rows\n"), "{status}");
    project.run(&["run", "pipeline.toml"]).exits(0).says("1 call sent, 2 from the ledger");
    assert_eq!(server.requests(), 5);
}

#[test]
fn two_stages_of_one_source_are_joined_by_its_key() {
    let server = Server::new().start();
    let stages = r#"
[stages.plain]
type = "analysis"
input = "people"
models = ["llama"]
prompt = "Plain: {{ text }}"
output.label = { type = "string" }
[stages.careful]
type = "analysis"
input = "people"
models = ["llama"]
prompt = "With care: {{ text }}"
output.label = { type = "string" }
[stages.after]
type = "analysis"
input = "careful"
models = ["llama"]
prompt = "After {{ label }}: {{ text }}"
output.reason = { type = "string" }
[stages.both]
type = "join"
input = "plain"
with = "careful"
on = ["id"]
[stages.chain]
type = "join"
input = "after"
with = "careful"
on = ["id"]
[stages.towns_of]
type = "join"
input = "plain"
with = "careful"
on = ["town"]
duplicates = "first"
[outputs.both]
input = "both"
path = "both.parquet"
[outputs.chain]
input = "chain"
path = "chain.parquet"
[outputs.towns]
input = "towns_of"
path = "towns.parquet"
"#;
    let project = project(&server, stages);
    project.run(&["run"]).exits(0);
    let both = project.table("both.parquet");
    let names = ["id", "town", "text", "label", "plain_error", "label_careful", "careful_error"];
    assert_eq!(both.columns(), names);
    let answers = |prompt: &str| {
        let answer = |text: &str| recipe_answer(&server, &format!("{prompt}{text}"));
        ["One two. Three.", "Four"].map(answer)
    };
    for (column, prompt) in [("label", "Plain: "), ("label_careful", "With care: ")] {
        let found = both.texts(column);
        assert_eq!([found[0].clone(), found[2].clone()], answers(prompt), "{column}");
    }
    // The columns of an earlier stage are the same for the same row.
    let chain = ["id", "town", "text", "label", "careful_error", "reason", "after_error"];
    assert_eq!(project.table("chain.parquet").columns(), chain);
    // Rows of one town are not the same row, so nothing is shared but the town.
    let towns = ["id", "town", "text", "label", "plain_error", "id_careful", "text_careful", "label_careful"];
    assert_eq!(project.table("towns.parquet").columns()[..8], towns);
}

/// The label that the server gave for the prompt that ends so.
fn recipe_answer(server: &Server, prompt: &str) -> String {
    let asked = server.asked();
    let one = asked.iter().find(|asked| asked.question().contains(prompt)).expect("a request");
    let answer: serde_json::Value = serde_json::from_str(&crate::server::answer(one)).expect("JSON");
    answer["label"].as_str().expect("a label").to_owned()
}
