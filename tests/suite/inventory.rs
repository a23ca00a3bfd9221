//! `fanfold models SPEC`: what the servers have, what a spec needs and lacks. No prompt is sent.

use serde_json::Value;

use crate::project::{Project, Ran};
use crate::recipe::{TYPED, openai_spec, project, spec, spec_with};
use crate::server::Server;
use crate::weights;

const QUICKSTART: &str = include_str!("../../pipelines/quickstart.toml");
const PARAGRAPHS: &str = include_str!("../../pipelines/data/paragraphs.csv");

fn both() -> String {
    format!("models = [\"llama\", \"mistral\"]\nfanout = true\n{TYPED}")
}

fn json(project: &Project) -> (Ran, Value) {
    let ran = project.run(&["models", "pipeline.toml", "--format", "json"]);
    let value = ran.json();
    (ran, value)
}

fn holds(ran: &Ran, parts: &[&str]) {
    for part in parts {
        assert!(ran.stdout.contains(part), "`{part}` is not in:\n{}", ran.stdout);
    }
}

#[test]
fn a_model_that_is_not_pulled_comes_with_the_command_that_gets_it() {
    let server = Server::new().models(&["llama3.2", "phi4"]).start();
    let project = project(&server, &spec(&both()), 5);
    let ran = project.run(&["models", "pipeline.toml"]).exits(3);
    holds(&ran, &["here: Ollama 0.12.0 at http://127.0.0.1:", "llama3.2:latest", "Q4_K_M", "phi4:latest"]);
    holds(&ran, &["needed: llama (llama3.2), available", "missing: mistral: model `mistral` is not pulled"]);
    holds(&ran, &["run `ollama pull mistral`", "missing: 1 model"]);
    let (ran, found) = json(&project);
    ran.exits(3);
    assert_eq!(found["lacking"], 1);
    let here = &found["servers"][0];
    assert_eq!((&here["needs"][0]["there"], &here["needs"][1]["there"]), (&true.into(), &false.into()));
    assert_eq!((&here["has"]["local"], &here["has"]["models"][0]["loaded"]), (&true.into(), &true.into()));
    assert_eq!(server.requests(), 0, "no model is asked anything");
    assert!(!project.has(".fanfold"));
}

#[test]
fn nothing_is_lacking() {
    let server = Server::new().start();
    let project = project(&server, &spec(&both()), 5).env("OLLAMA_NUM_PARALLEL", "1");
    let ran = project.run(&["models", "pipeline.toml"]).exits(0);
    holds(&ran, &["all models are available", "hints", "here: `OLLAMA_NUM_PARALLEL=1` here", "stage `tone` sends 16"]);
    let (ran, found) = json(&project);
    ran.exits(0);
    assert_eq!(found["hints"][0]["kind"], "fewer_slots_than_lanes");
    let bare = Project::new().env("OLLAMA_HOST", &server.url());
    let ran = bare.run(&["models"]).exits(0);
    holds(&ran, &["smollm2-135m: SmolLM2-135M-Instruct", "ollama: Ollama 0.12.0 at", "mistral:latest"]);
}

#[test]
fn the_lists_of_the_other_dialects() {
    let server = Server::new().models(&["llama3.2", "mistral"]).start();
    let openai = project(&server, &openai_spec("max_concurrent_calls = 16", &both()), 5);
    let (ran, found) = json(&openai);
    ran.exits(0);
    assert_eq!(found["servers"][0]["has"]["models"][1]["id"], "mistral");
    for kind in ["anthropic", "gemini"] {
        let text = spec_with(&format!("base_url = \"{}\"", server.url()), &both())
            .replace("\"ollama\"", &format!("\"{kind}\""));
        let other = project(&server, &text.replace("num_ctx = 4096\n", ""), 5);
        let (ran, found) = json(&other);
        ran.exits(0);
        let ids: Vec<&str> = found["servers"][0]["has"]["models"]
            .as_array()
            .expect("models")
            .iter()
            .filter_map(|model| model["id"].as_str())
            .collect();
        assert_eq!(ids, ["llama3.2", "mistral"], "{kind}");
    }
}

#[test]
fn unreachable_servers() {
    let server = Server::new().keys(&["k-1234567"]).start();
    let keyed = openai_spec("api_key_env = \"LAB_KEY\"", &both());
    let unset = project(&server, &keyed, 5);
    let ran = unset.run(&["models", "pipeline.toml"]).exits(3);
    holds(&ran, &["the environment variable `LAB_KEY` is not set", "export LAB_KEY=", "missing: 2 models"]);
    let wrong = project(&server, &keyed, 5).env("LAB_KEY", "k-7654321");
    holds(&wrong.run(&["models", "pipeline.toml"]).exits(3), &["the key [key] is not valid"]);
    let right = project(&server, &keyed, 5).env("LAB_KEY", "k-1234567");
    right.run(&["models", "pipeline.toml"]).exits(0);
    let down = project(&server, &spec(&both()), 5);
    drop(server);
    let (ran, found) = json(&down);
    ran.exits(3);
    assert_eq!((&found["lacking"], &found["servers"][0]["has"]), (&2.into(), &Value::Null));
    assert!(found["servers"][0]["error"].as_str().is_some_and(|error| error.starts_with("no Ollama at")), "{found}");
}

#[test]
fn text_from_a_server_is_escaped() {
    let server = Server::new().models(&["llama3.2", "mistral", "x\u{1b}[2J\nall models are available\u{202e}"]).start();
    let project = project(&server, &spec(&both()), 5);
    let ran = project.run(&["models", "pipeline.toml"]).exits(0);
    assert!(ran.stdout.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", ran.stdout);
    assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("all models are available")).count(), 1);
}

#[test]
fn weights_in_the_process() {
    let project = Project::new().file("pipeline.toml", QUICKSTART).file("data/paragraphs.csv", PARAGRAPHS);
    let project = project.env("FANFOLD_MODELS", "empty");
    if !cfg!(feature = "embedded") {
        let ran = project.run(&["models", "pipeline.toml"]).exits(3);
        holds(&ran, &["this fanfold was built without embedded models"]);
        return;
    }
    let ran = project.run(&["models", "pipeline.toml"]).exits(3);
    holds(&ran, &["missing: small (smollm2:135m)", "`fanfold models pull smollm2:135m`"]);
    let Some(project) = weights::or_skip("weights_in_the_process", project) else { return };
    let ran = project.run(&["models", "pipeline.toml"]).exits(0);
    holds(&ran, &["small (smollm2:135m), available", "98 MB", "Q4_1", "8,192", "all models are available"]);
}
