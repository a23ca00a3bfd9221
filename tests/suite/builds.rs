//! A model that changes on its server during a run: the run stops, and no answer of the new build counts as the old one.

use std::time::Duration;

use crate::project::{Project, Ran};
use crate::recipe::{TYPED, openai_spec, project, spec, spec_with, told};
use crate::server::{Asked, Build, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];

fn one_lane(stage: &str) -> String {
    spec_with("max_concurrent_calls = 1", &format!("models = [\"llama\"]\n{stage}\n{TYPED}"))
}

/// All models get a new build with the answer to this row.
fn rebuilt_at(row: usize) -> impl Fn(&Asked, usize) -> Say + Send + Sync {
    let question = format!("Speech {row},");
    move |asked, _| match asked.question().contains(&question) && asked.digest.is_empty() {
        true => Say::Rebuilt("f", Box::new(Say::Default)),
        false => Say::Default,
    }
}

#[track_caller]
fn stops(project: &Project) -> Ran {
    let ran = project.run(&RUN).exits(5).says("changed on its server during the run").says("--update-lock");
    assert!(!project.has(OUT) && !project.has("pipeline.toml.lock"), "no table, no lock");
    ran
}

/// Fails unless every label is that of this build's answer.
#[track_caller]
fn labels_are_of(project: &Project, server: &Server, rows: usize) {
    let labels = project.table(OUT).strings("label");
    for (row, label) in labels.into_iter().enumerate().take(rows) {
        let label = label.unwrap_or_default();
        let answer = told(server, "llama3.2", &format!("Speech {row},"));
        assert!(answer.contains(&format!("\"{label}\"")), "row {row}: {label} is not in {answer}");
    }
}

#[test]
fn the_run_stops_names_both_builds_and_serves_none_of_the_answers() {
    let server = Server::new().script(rebuilt_at(25)).start();
    let project = project(&server, &one_lane("workers = 1\nbatch_size = 1\nchunk_size = 10"), 40);
    let ran = stops(&project).says("not used: 40 answers since the last check");
    assert!(ran.stderr.contains("models.llama.build.digest") && ran.stderr.contains(".. -> "), "{}", ran.stderr);
    let ledger = project.run(&["ledger", "info"]).exits(0).stdout;
    assert!(ledger.contains("40 outdated"), "{ledger}");
    // Back on the old build, all rows are asked of it again: no part and no answer was kept.
    server.rebuild(|build| *build = Build::default());
    server.forget();
    let again = Server::new().start();
    let project = project.env("OLLAMA_HOST", &again.url());
    project.run(&RUN).exits(0);
    assert_eq!(again.requests(), 40);
    labels_are_of(&project, &again, 40);
}

#[test]
fn the_new_build_answers_all_rows_after_the_lock_is_updated() {
    let server = Server::new().start();
    let project = project(&server, &one_lane(""), 20);
    project.run(&RUN).exits(0);
    let other = Server::new().script(rebuilt_at(3)).start();
    let project = project.env("OLLAMA_HOST", &other.url());
    std::fs::remove_dir_all(project.path(".fanfold")).expect("the folder");
    project.run(&RUN).exits(5).says("models.llama.build.digest");
    project.run(&RUN).exits(5).says("the lock `pipeline.toml.lock` does not match");
    other.forget();
    project.run(&["run", "pipeline.toml", "--update-lock"]).exits(0).says("models.llama  build.digest");
    assert_eq!(other.requests(), 20);
    labels_are_of(&project, &other, 20);
}

#[test]
fn what_was_answered_before_the_last_good_look_is_kept() {
    let server = Server::new().latency_ms(40).start();
    let project = project(&server, &one_lane("workers = 1\nbatch_size = 1\nchunk_size = 10"), 150);
    let run = project.spawn(&RUN);
    assert!(server.wait_answered(100));
    server.rebuild(|build| build.digest = "f".to_owned());
    let ran = run.wait().exits(5).says("changed on its server");
    let of_new = server.asked().iter().filter(|asked| !asked.digest.is_empty()).count();
    assert!(of_new > 0 && server.requests() < 150, "it stops before the end: {}", server.requests());
    server.rebuild(|build| *build = Build::default());
    server.forget();
    project.run(&RUN).exits(0);
    let again = server.requests();
    assert!((50..150).contains(&again), "{again} asked again\n{}", ran.stderr);
    labels_of_default(&project, 150);
}

/// Every label is the one of the first build, whichever server run asked for it.
#[track_caller]
fn labels_of_default(project: &Project, rows: usize) {
    let fresh = Server::new().start();
    let other = crate::recipe::project(&fresh, &one_lane(""), rows);
    other.run(&RUN).exits(0);
    assert_eq!(project.table(OUT).strings("label"), other.table(OUT).strings("label"));
}

#[test]
fn quantization_and_template_are_builds_too() {
    let other = |facet: &str| match facet {
        "quantization" => Build { quantization: "Q8_0".to_owned(), ..Build::default() },
        _ => Build { template: "{{ .System }}".to_owned(), ..Build::default() },
    };
    for facet in ["quantization", "template"] {
        let server = Server::new().latency_ms(20).start();
        let project = project(&server, &one_lane(""), 30);
        let run = project.spawn(&RUN);
        assert!(server.wait_answered(5));
        server.rebuild(|build| *build = other(facet));
        run.wait().exits(5).says(&format!("models.llama.build.{facet}"));
    }
}

#[test]
fn hosted_models_that_tell_a_version_are_checked_too() {
    for (kind, path) in [("anthropic", "ANTHROPIC_API_KEY"), ("gemini", "GEMINI_API_KEY")] {
        let server = Server::new().script(rebuilt_at(5)).start();
        let text = spec_with(&format!("base_url = \"{}\"", server.url()), "models = [\"llama\"]");
        let text = text.replace("\"ollama\"", &format!("\"{kind}\"")).replace("num_ctx = 4096\n", "");
        let project = project(&server, &text, 10).env(path, "k-1234567");
        project.run(&RUN).exits(5).says("models.llama.build.digest").says("10 answers");
    }
    // A server that tells no build can't change it.
    let server = Server::new().script(rebuilt_at(5)).start();
    let project = project(&server, &openai_spec("max_concurrent_calls = 2", "models = [\"llama\"]"), 10);
    project.run(&RUN).exits(0);
}

#[test]
fn a_part_that_used_answers_of_a_fallback_is_withdrawn_too() {
    let script = |asked: &Asked, _: usize| match (asked.model.as_str(), asked.question().contains("Speech 8,")) {
        ("llama3.2", _) => Say::status(400),
        (_, true) => Say::Rebuilt("f", Box::new(Say::Default)),
        _ => Say::Default,
    };
    let server = Server::new().script(script).start();
    let text = one_lane("chunk_size = 4").replace("[models.llama]", "[models.llama]\nfallback = [\"mistral\"]");
    let project = project(&server, &text, 12);
    let ran = project.run(&RUN).exits(5);
    assert!(ran.stderr.contains("models.mistral.build.digest"), "{}", ran.stderr);
    assert!(project.files(".fanfold/runs").iter().all(|file| !file.contains("part-")), "no part is left");
}

#[test]
fn another_build_after_an_outage_is_noticed_at_once() {
    let server = Server::new().latency_ms(20).start();
    let project = project(&server, &one_lane("max_attempts = 10"), 100);
    let run = project.spawn(&RUN);
    assert!(server.wait_answered(20));
    server.go_down();
    std::thread::sleep(Duration::from_millis(300));
    server.rebuild(|build| build.digest = "f".to_owned());
    server.come_back();
    run.wait().exits(5).says("models.llama.build.digest");
    let of_new = server.asked().iter().filter(|asked| !asked.digest.is_empty() && asked.answered.is_some()).count();
    assert!((1..20).contains(&of_new), "{of_new} calls of the new build");
}

#[test]
fn an_interrupted_run_looks_once_more() {
    let server = Server::new().latency_ms(30).start();
    let project = project(&server, &spec(&format!("models = [\"llama\"]\n{TYPED}")), 400);
    let run = project.spawn(&RUN);
    assert!(server.wait_answered(20));
    server.rebuild(|build| build.digest = "f".to_owned());
    run.sigint();
    run.wait().exits(5).says("models.llama.build.digest");
}

#[test]
fn a_server_that_is_gone_at_the_end_is_named() {
    let server = Server::new().latency_ms(1000).start();
    let project = project(&server, &spec("models = [\"llama\"]"), 10);
    let run = project.spawn(&RUN);
    assert!(server.wait_requests(10));
    std::thread::sleep(Duration::from_millis(100));
    server.remove("llama3.2");
    run.wait()
        .exits(0)
        .says("model `llama`: the server was not asked again at the end (model `llama3.2` is not pulled");
}
