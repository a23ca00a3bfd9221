//! Reruns: the calls after a change, counted at the server, and `run --fresh`, which makes all calls again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;

use crate::project::Project;
use crate::recipe::{TYPED, project, rows, spec};
use crate::server::{Asked, Say, Server, answer};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const FRESH: [&str; 3] = ["run", "pipeline.toml", "--fresh"];

/// Runs with these arguments. Returns the requests.
#[track_caller]
fn asked_by(project: &Project, server: &Server, args: &[&str]) -> Vec<Asked> {
    let before = server.requests();
    project.run(args).exits(0);
    server.asked().split_off(before)
}

/// Runs. Returns the number of requests.
#[track_caller]
fn calls(project: &Project, server: &Server) -> usize {
    asked_by(project, server, &RUN).len()
}

/// Answers and retired answers of the ledger.
fn held(project: &Project) -> (u64, u64) {
    let ran = project.run(&["ledger", "info", "--format", "json"]).exits(0);
    let info: Value = ran.json();
    let count = |name: &str| info["contents"][name].as_u64().expect("a number");
    (count("answers"), count("retired"))
}

/// Calls that a run would send, as `fanfold plan` says.
fn planned(project: &Project) -> u64 {
    let ran = project.run(&["plan", "pipeline.toml", "--format", "json"]).exits(0);
    let plan: Value = ran.json();
    plan["stages"][0]["calls_to_send"].as_u64().unwrap_or_else(|| panic!("no calls in {plan}"))
}

/// A server whose answers contain the generation of the counter.
fn changing() -> (Server, Arc<AtomicUsize>) {
    let generation = Arc::new(AtomicUsize::new(1));
    let now = generation.clone();
    let say = move |asked: &Asked, _: usize| {
        Say::Text(format!("{} in generation {}", answer(asked), now.load(Ordering::SeqCst)))
    };
    (Server::new().script(say).start(), generation)
}

/// The number of cells of `tone` of this generation.
fn of_generation(project: &Project, generation: usize) -> usize {
    let end = format!("in generation {generation}");
    project.table(OUT).texts("tone").iter().filter(|text| text.ends_with(&end)).count()
}

#[test]
fn only_an_added_model_is_asked() {
    let server = Server::new().start();
    let with = |models: &str| spec(&format!("models = [{models}]\nfanout = true\n{TYPED}"));
    let project = project(&server, &with("\"llama\""), 20);
    assert_eq!(calls(&project, &server), 20);
    let before = project.table(OUT).texts("label_llama");
    project.write("pipeline.toml", with("\"llama\", \"mistral\""));
    assert_eq!(calls(&project, &server), 20);
    assert_eq!(server.requests_of("mistral"), 20);
    assert_eq!(project.table(OUT).texts("label_llama"), before);
    // A new order and a removed model cause no calls.
    project.write("pipeline.toml", with("\"mistral\", \"llama\""));
    assert_eq!(calls(&project, &server), 0);
    project.write("pipeline.toml", with("\"mistral\""));
    assert_eq!(calls(&project, &server), 0);
}

#[test]
fn only_new_rows_are_asked_at_any_position() {
    for key in ["key = \"id\"\n", ""] {
        let server = Server::new().start();
        let spec = spec(&format!("models = [\"llama\"]\nchunk_size = 7\n{TYPED}")).replace("key = \"id\"\n", key);
        let project = project(&server, &spec, 20);
        assert_eq!(calls(&project, &server), 20);
        let labels = project.table(OUT).texts("label");
        // At the end, at the top, and in the middle.
        let mut data = rows(21);
        let new = |i: usize| [format!("n{i}"), "2001".to_owned(), format!("A new speech, number {i}.")];
        data.insert(1, new(1));
        data.insert(12, new(2));
        let project = project.csv("data.csv", &data);
        let asked = asked_by(&project, &server, &RUN);
        let questions: BTreeSet<&str> = asked.iter().map(Asked::question).collect();
        assert_eq!((asked.len(), questions.len()), (3, 3), "`{key}`: {questions:?}");
        assert!(questions.iter().all(|q| q.contains("new speech") || q.contains("Speech 20,")), "{questions:?}");
        let now = project.table(OUT).texts("label");
        assert_eq!([&now[1..11], &now[12..22]].concat(), labels, "`{key}`");
        // Removed and moved rows cost nothing.
        data.swap(3, 9);
        data.remove(5);
        let project = project.csv("data.csv", &data);
        assert_eq!(calls(&project, &server), 0, "`{key}`");
    }
}

#[test]
fn a_column_that_no_prompt_reads_costs_nothing() {
    let server = Server::new().start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 10);
    assert_eq!(calls(&project, &server), 10);
    let wider: Vec<Vec<String>> = rows(10).iter().map(|row| [row.as_slice(), &["more".to_owned()]].concat()).collect();
    let project = project.csv("data.csv", &wider);
    assert_eq!(calls(&project, &server), 0);
    assert!(project.table(OUT).has("more"));
}

#[test]
fn only_an_added_question_is_asked() {
    let survey = |questions: &str| {
        let stage = format!("models = [\"llama\"]\nquestions = [{questions}]");
        spec(&stage)
            .replace("type = \"analysis\"", "type = \"survey\"")
            .replace("prompt = \"What is the tone?\\n\\n{{ text }}\"", "")
    };
    let one = "{ id = \"trust\", text = \"Do you trust the news?\", options = [\"yes\", \"no\"] }";
    let two = format!("{{ id = \"age\", text = \"How do you feel?\" }}, {one}");
    let server = Server::new().start();
    let project = project(&server, &survey(one), 12);
    assert_eq!(calls(&project, &server), 12);
    project.write("pipeline.toml", survey(&two));
    let asked = asked_by(&project, &server, &RUN);
    assert_eq!(asked.len(), 12);
    assert!(asked.iter().all(|a| a.messages.iter().any(|(_, text)| text.contains("How do you feel?"))));
}

/// Three stages: `why` reads `tone`, `aside` reads the source.
fn chained(tone: &str, why: &str) -> String {
    let stage = |name: &str, input: &str, prompt: &str| {
        format!(
            "\n[stages.{name}]\ntype = \"analysis\"\ninput = \"{input}\"\nmodels = [\"mistral\"]\nprompt = \"{prompt}\"\n"
        )
    };
    let text = spec("models = [\"llama\"]\nchunk_size = 4").replace("What is the tone?", tone);
    text + &stage("why", "tone", why) + &stage("aside", "speeches", "Aside: {{ text }}")
}

#[test]
fn a_changed_prompt_asks_its_stage_and_dependent_stages_again() {
    let server = Server::new().start();
    let why = "Why {{ tone }}?";
    let project = project(&server, &chained("What is the tone?", why), 10);
    assert_eq!(calls(&project, &server), 30);
    let of = |asked: &[Asked], start: &str| asked.iter().filter(|a| a.question().starts_with(start)).count();
    project.write("pipeline.toml", chained("Which tone is it?", why));
    let asked = asked_by(&project, &server, &RUN);
    assert_eq!((asked.len(), of(&asked, "Which"), of(&asked, "Why")), (20, 10, 10));
    project.write("pipeline.toml", chained("Which tone is it?", "Whence {{ tone }}?"));
    let asked = asked_by(&project, &server, &RUN);
    assert_eq!((asked.len(), of(&asked, "Whence")), (10, 10));
    // Only the prompts count, not the position of the stage: the old prompts cause no calls.
    project.write("pipeline.toml", chained("What is the tone?", why));
    assert_eq!(calls(&project, &server), 0);
}

#[test]
fn a_dealt_row_that_moves_may_get_another_model() {
    let server = Server::new().start();
    let project = project(&server, &spec(&format!("models = [\"llama\", \"mistral\"]\nfanout = false\n{TYPED}")), 10);
    assert_eq!(calls(&project, &server), 10);
    let with = |new: usize| {
        let mut data = rows(10);
        let row = |i: usize| [format!("n{i}"), "2001".to_owned(), format!("A new speech, number {i}.")];
        data.splice(1..1, (0..new).map(row));
        data
    };
    // At the end of the table only the new row is asked.
    let project = project.csv("data.csv", &rows(11));
    assert_eq!(calls(&project, &server), 1);
    // As many new rows as models: every row keeps its model.
    let project = project.csv("data.csv", &with(2));
    assert_eq!(calls(&project, &server), 2);
    // One new row: all later rows move to the other model, since the position decides; no model is asked twice.
    let project = project.csv("data.csv", &with(1));
    // The new row was asked before, of the same model.
    assert_eq!(calls(&project, &server), 10);
    let table = project.table(OUT);
    let dealt: Vec<String> = ["llama", "mistral"].iter().cycle().take(11).map(|&m| m.to_owned()).collect();
    assert_eq!(table.texts("tone_model"), dealt);
    assert!(server.times_asked().values().all(|times| *times == 1));
    let project = project.csv("data.csv", &rows(10));
    assert_eq!(calls(&project, &server), 0);
}

#[test]
fn replicates_are_separate_answers() {
    let with = |n: usize| spec(&format!("models = [\"llama\"]\nreplicates = {n}"));
    // Equal answers to equal questions, except for a counter that would reveal a cache.
    let number = AtomicUsize::new(0);
    let server =
        Server::new().script(move |_, _| Say::Text(format!("answer {}", number.fetch_add(1, Ordering::SeqCst))));
    let server = server.start();
    let project = project(&server, &with(3), 6);
    assert_eq!(calls(&project, &server), 18);
    let three = project.table(OUT);
    let distinct = |texts: &[String]| texts.iter().collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(&three.texts("tone")), 18);
    project.write("pipeline.toml", with(5));
    assert_eq!(calls(&project, &server), 12);
    let five = project.table(OUT);
    assert_eq!((five.len(), distinct(&five.texts("tone"))), (30, 30));
    let first: Vec<String> = five.texts("tone").chunks(5).flat_map(|row| row[..3].to_vec()).collect();
    assert_eq!(first, three.texts("tone"), "the first three stay");
    project.write("pipeline.toml", with(2));
    assert_eq!(calls(&project, &server), 0);
    project.write("pipeline.toml", with(3));
    assert_eq!(asked_by(&project, &server, &FRESH).len(), 18);
    let again = project.table(OUT);
    let both: BTreeSet<String> = again.texts("tone").into_iter().chain(three.texts("tone")).collect();
    assert_eq!(both.len(), 36, "all are new");
    assert_eq!(held(&project), (30, 18), "18 new answers, 12 of the other replicates, 18 as history");
}

#[test]
fn a_fresh_run_asks_everything_and_keeps_the_old_answers() {
    let (server, generation) = changing();
    let project = project(
        &server,
        &spec("models = [\"llama\", \"mistral\"]\nfanout = true\nlayout = \"long\"\nchunk_size = 4"),
        10,
    );
    assert_eq!(calls(&project, &server), 20);
    generation.store(2, Ordering::SeqCst);
    assert_eq!(calls(&project, &server), 0);
    assert_eq!(asked_by(&project, &server, &FRESH).len(), 20);
    assert_eq!((of_generation(&project, 2), held(&project)), (20, (20, 20)));
    let table = project.bytes(OUT);
    // A finished run does not begin again.
    generation.store(3, Ordering::SeqCst);
    assert_eq!(calls(&project, &server), 0);
    assert!(project.bytes(OUT) == table);
    assert_eq!(asked_by(&project, &server, &FRESH).len(), 20);
    assert_eq!((of_generation(&project, 3), held(&project)), (20, (20, 40)));
}

#[test]
fn a_killed_fresh_run_continues() {
    let (server, generation) = changing();
    let text = spec("models = [\"llama\"]\nchunk_size = 5\nworkers = 2\nbatch_size = 2");
    let project = project(&server, &text, 60);
    assert_eq!(calls(&project, &server), 60);
    generation.store(2, Ordering::SeqCst);
    server.forget();
    let running = project.spawn(&FRESH);
    assert!(server.wait_answered(23), "it never came so far");
    let killed = Instant::now();
    running.kill();
    let ran = project.run(&RUN).exits(0);
    assert!(!ran.stderr.contains("60 rows kept"), "{}", ran.stderr);
    let twice = server.paid_twice(killed).len();
    assert!(server.requests() <= 64 && twice <= 4, "{} requests, {twice} paid twice", server.requests());
    assert_eq!(of_generation(&project, 2), 60, "an old answer is in the table");
    assert_eq!(held(&project), (60, 60));
}

#[test]
fn a_stopped_fresh_run_is_planned_and_continues() {
    let (server, generation) = changing();
    let text = spec("models = [\"llama\"]\nchunk_size = 5\nworkers = 1\nbatch_size = 1");
    let project = project(&server, &text, 20);
    assert_eq!(calls(&project, &server), 20);
    generation.store(2, Ordering::SeqCst);
    let stopping = text.replacen("seed = 42\n", "seed = 42\nbudget = { calls = 7 }\n", 1);
    project.write("pipeline.toml", stopping);
    let ran = project.run(&FRESH).exits(4).says("To continue: fanfold run pipeline.toml");
    assert!(!ran.stderr.contains("--fresh"), "{}", ran.stderr);
    project.write("pipeline.toml", text);
    assert_eq!(planned(&project), 13);
    assert_eq!(calls(&project, &server), 13);
    assert_eq!((of_generation(&project, 2), held(&project), planned(&project)), (20, (20, 20), 0));
}

#[test]
fn a_fresh_run_of_a_part_asks_that_part() {
    let server = Server::new().start();
    let project = project(&server, &chained("What is the tone?", "Why {{ tone }}?"), 10);
    assert_eq!(calls(&project, &server), 30);
    let args = |more: &[&'static str]| [&FRESH[..], more].concat();
    assert_eq!(asked_by(&project, &server, &args(&["--limit", "3"])).len(), 9);
    assert_eq!(held(&project), (30, 9));
    let asked = asked_by(&project, &server, &args(&["--select", "why"]));
    assert!(asked.len() == 20 && asked.iter().all(|a| !a.question().starts_with("Aside")));
    assert_eq!(held(&project), (30, 29));
    // The whole run is unchanged.
    assert_eq!(calls(&project, &server), 0);
}

#[test]
fn equal_calls_of_another_spec_get_the_new_answers() {
    let (server, generation) = changing();
    let text = spec("models = [\"llama\"]");
    let project = project(&server, &text, 8);
    let other = ["run", "other.toml"];
    project.write(
        "other.toml",
        text.replace("name = \"tones\"", "name = \"other\"").replace("tone.parquet", "other.parquet"),
    );
    assert_eq!((calls(&project, &server), asked_by(&project, &server, &other).len()), (8, 0));
    generation.store(2, Ordering::SeqCst);
    assert_eq!(asked_by(&project, &server, &FRESH).len(), 8);
    // Its table stays until a run writes it again.
    assert_eq!(asked_by(&project, &server, &other).len(), 0);
    let old = |project: &Project| {
        let texts = project.table("out/other.parquet").texts("tone");
        texts.iter().filter(|text| text.ends_with("generation 1")).count()
    };
    assert_eq!(old(&project), 8);
    let project = project.csv("data.csv", &rows(9));
    assert_eq!((asked_by(&project, &server, &other).len(), old(&project)), (1, 0));
}

#[test]
fn fresh_goes_with_neither_a_replay_nor_a_dry_run() {
    let server = Server::new().start();
    let project = project(&server, &spec("models = [\"llama\"]"), 2);
    for more in [&["--replay", "calls.parquet"][..], &["-n"]] {
        project.run(&[&FRESH[..], more].concat()).exits(2).says("cannot be used with");
    }
    assert_eq!(server.requests(), 0);
}
