//! What a server adds to requests: the version of Ollama, and SYSTEM and PARAMETER of a Modelfile. They are recorded and
//! reported, and stop nothing.

use serde_json::Value;

use crate::project::Project;
use crate::recipe::{project, spec};
use crate::server::Server;

const RUN: [&str; 2] = ["run", "pipeline.toml"];
const LOCK: &str = "pipeline.toml.lock";
const OUT: &str = "out/tone.parquet";

/// A server whose models have a Modelfile.
fn server() -> Server {
    let server = Server::new().start();
    server.rebuild(|build| {
        build.version = "0.17.4".to_owned();
        build.system = "Answer as a historian.\nBe brief.".to_owned();
        build.parameters =
            "top_k                          20\nstop                           \"<|im_end|>\"".to_owned();
    });
    server
}

fn llama(stage: &str) -> String {
    spec(&format!("models = [\"llama\"]\n{stage}\n"))
}

fn studied(server: &Server, stage: &str) -> Project {
    let project = project(server, &llama(stage), 4);
    project.run(&RUN).exits(0);
    project
}

fn manifest(project: &Project) -> Value {
    let file = project.files(".fanfold/runs").into_iter().find(|file| file.ends_with("manifest.json"));
    serde_json::from_str(&project.text(&file.expect("a manifest"))).expect("JSON")
}

#[test]
fn manifest_lock_and_explain_have_it() {
    let project = studied(&server(), "");
    let service = &manifest(&project)["models"]["llama"]["service"];
    assert_eq!(service["software"], "Ollama 0.17.4");
    assert_eq!(service["system"], "Answer as a historian.\nBe brief.");
    assert_eq!(service["parameters"], serde_json::json!(["stop \"<|im_end|>\"", "top_k 20"]));
    let lock = project.text(LOCK);
    assert!(lock.contains("[models.llama.build.service]\nsoftware = \"Ollama 0.17.4\"\nsystem = \""), "{lock}");
    assert!(lock.contains("top_k 20") && !lock.contains("historian"), "the lock has a hash of the text:\n{lock}");
    let explained = project.run(&["explain", OUT, "s0001"]).exits(0).stdout;
    for line in [
        "server  Ollama 0.17.4",
        "parameters, where the request has none: stop \"<|im_end|>\", top_k 20",
        "adds this system text, from its Modelfile\n      | Answer as a historian.\n      | Be brief.",
    ] {
        assert!(explained.contains(line), "`{line}` is not in:\n{explained}");
    }
}

#[test]
fn a_system_text_of_the_spec_replaces_that_of_the_modelfile() {
    let project = studied(&server(), "system = \"Be fair.\"");
    let explained = project.run(&["explain", OUT, "s0001"]).exits(0).stdout;
    assert!(explained.contains("| Be fair.") && !explained.contains("historian"), "{explained}");
}

#[test]
fn a_change_is_reported_and_stops_nothing() {
    type Change = fn(&Server);
    let changes: [(&str, &str, Change); 3] = [
        ("software", "Ollama 0.17.4 -> Ollama 0.18.0", |s| s.rebuild(|b| b.version = "0.18.0".to_owned())),
        ("parameters", "top_k 20 -> top_k 30", |s| s.rebuild(|b| b.parameters = "top_k 30".to_owned())),
        ("system", " -> ", |s| s.rebuild(|b| b.system = "Other.".to_owned())),
    ];
    for (name, values, change) in changes {
        let server = server();
        let project = studied(&server, "");
        let lock = project.bytes(LOCK);
        let facet = format!("models.llama.build.service.{name}");
        change(&server);
        server.forget();
        for args in [&RUN[..], &["run", "pipeline.toml", "--locked"]] {
            let ran = project.run(args).exits(0).says(&facet).says(values);
            assert!(ran.stderr.contains("pipeline.toml.lock still holds"), "{}", ran.stderr);
        }
        let verified = project.run(&["verify", "pipeline.toml", "--models"]).exits(0).stdout;
        assert!(verified.contains("changed, but not part of the check") && verified.contains(&facet), "{verified}");
        let json = project.run(&["verify", "pipeline.toml", "--models", "--format", "json"]).exits(0).stdout;
        let json: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!((&json["verified"], &json["reported"][0]["facet"]), (&true.into(), &facet.as_str().into()));
        assert_eq!((server.requests(), project.bytes(LOCK)), (0, lock), "{name}");
        let status = project.run(&["status", "pipeline.toml", "--format", "json"]).exits(0).stdout;
        assert!(status.contains("done") && !status.contains("stale"), "{status}");
    }
}

#[test]
fn a_lock_that_is_written_anew_has_the_new_version() {
    let server = server();
    let project = studied(&server, "");
    server.rebuild(|build| build.version = "0.18.0".to_owned());
    project.write("pipeline.toml", llama("system = \"Be fair.\""));
    project.run(&RUN).exits(0).says("updated pipeline.toml.lock").says("Ollama 0.17.4 -> Ollama 0.18.0");
    assert!(project.text(LOCK).contains("Ollama 0.18.0"));
}

#[test]
fn a_server_that_tells_nothing_is_fine() {
    let server = Server::new().start();
    server.rebuild(|build| (build.version, build.template) = ("0.12.0".to_owned(), String::new()));
    let project = studied(&server, "");
    assert_eq!(manifest(&project)["models"]["llama"]["service"], serde_json::json!({"software": "Ollama 0.12.0"}));
    let explained = project.run(&["explain", OUT, "s0001"]).exits(0).stdout;
    assert!(!explained.contains("adds"), "{explained}");
    // A replay names the builds and does not know the version.
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    drop(server);
    project.run(&["run", "pipeline.toml", "--replay", "calls.parquet", "--locked"]).exits(0);
}
