//! `fanfold bench`: the number of calls, in total and in flight, the counts, the refusals, and the untouched ledger. No time
//! is asserted.

use serde_json::Value;

use crate::project::{Project, Ran};
use crate::recipe::{TYPED, openai_spec, project, spec, spec_with};
use crate::server::{Say, Server};
use crate::weights;

const QUICKSTART: &str = include_str!("../../pipelines/quickstart.toml");
const PARAGRAPHS: &str = include_str!("../../pipelines/data/paragraphs.csv");

/// The stage `tone` of the model `llama` alone.
fn one() -> String {
    format!("models = [\"llama\"]\n{TYPED}")
}

/// Runs a bench of the project with these arguments and JSON.
fn bench(project: &Project, arguments: &[&str]) -> (Ran, Value) {
    let ran = project.run(&[&["bench", "pipeline.toml", "--format", "json"], arguments].concat());
    let value = serde_json::from_str(&ran.stdout).unwrap_or(Value::Null);
    (ran, value)
}

#[test]
fn a_level_keeps_its_number_of_calls_in_flight() {
    let server = Server::new().latency_ms(40).start();
    let project = project(&server, &spec(&one()), 60);
    for lanes in [1, 2, 5] {
        server.forget();
        let (ran, found) = bench(&project, &["--concurrency", &lanes.to_string(), "--runs", "4", "--warmup", "2"]);
        ran.exits(0);
        assert_eq!(server.max_in_flight(), lanes);
        assert_eq!(server.requests(), 2 + 4 * lanes);
        let level = &found["models"][0]["levels"][0];
        assert_eq!(level["in_flight"], lanes);
        assert_eq!((&level["calls"], &level["answered"]), (&(4 * lanes).into(), &(4 * lanes).into()));
        assert_eq!(found["models"][0]["warmup"].as_array().map(Vec::len), Some(2));
        assert!(server.times_asked().values().all(|times| *times == 1), "every row is asked once");
    }
}

#[test]
fn all_models_and_the_usual_levels() {
    let server = Server::new().start();
    let project = project(&server, &spec(&format!("models = [\"llama\", \"mistral\"]\nfanout = true\n{TYPED}")), 10);
    let (ran, found) = bench(&project, &["--runs", "2"]);
    ran.exits(0).says("62 calls; the ledger is not used");
    let each = 1 + 2 * (1 + 2 + 4 + 8);
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (each, each));
    assert_eq!(server.model_switches(), 1, "one model after the other");
    assert_eq!(
        (&found["stage"], &found["prompts"], &found["repeated_prompts"]),
        (&"tone".into(), &10.into(), &21.into())
    );
    for model in found["models"].as_array().expect("models") {
        let levels = model["levels"].as_array().expect("levels");
        let lanes: Vec<i64> = levels.iter().filter_map(|level| level["in_flight"].as_i64()).collect();
        assert_eq!(lanes, [1, 2, 4, 8]);
        for level in levels {
            assert_eq!((&level["failed"], &level["whole"]), (&Value::Object(serde_json::Map::new()), &true.into()));
            for number in [&level["calls_per_sec"]["value"], &level["tokens_per_sec"], &level["latency"]["p95"]] {
                assert!(number.as_f64().is_some_and(|number| number > 0.0), "{level}");
            }
            // By the server's own times, which Ollama reports.
            assert!(level["first_token"]["p50"].is_number(), "{level}");
        }
        assert!(lanes.contains(&model["recommendation"]["in_flight"].as_i64().expect("a recommendation")));
    }
    let human = project.run(&["bench", "pipeline.toml", "--runs", "2", "--model", "mistral"]).exits(0).stdout;
    for part in [
        "pipeline tones: 10 prompts of stage tone, 2 runs per call in flight",
        "mistral: mistral of ollama at http://127.0.0.1:",
        "in flight  calls  failed  calls/s",
        "calls per second",
        "█",
        "use ",
        "prompts were sent more than once",
    ] {
        assert!(human.contains(part), "`{part}` is not in:\n{human}");
    }
    assert!(human.lines().all(|line| !line.starts_with("  ") || line.chars().count() <= 130), "{human}");
}

#[test]
fn the_ledger_is_neither_read_nor_written() {
    let server = Server::new().start();
    let project = project(&server, &spec(&one()), 5);
    bench(&project, &["--concurrency", "1", "--runs", "4"]).0.exits(0);
    assert!(!project.has(".fanfold") && !project.has("out") && !project.has("pipeline.toml.lock"));
    project.run(&["run", "pipeline.toml"]).exits(0);
    let before = project.files(".fanfold").into_iter().map(|file| (project.bytes(&file), file)).collect::<Vec<_>>();
    server.forget();
    bench(&project, &["--concurrency", "1", "--runs", "4"]).0.exits(0);
    assert_eq!(server.requests(), 5, "what the ledger knows is asked all the same");
    let after = project.files(".fanfold").into_iter().map(|file| (project.bytes(&file), file)).collect::<Vec<_>>();
    assert!(before == after, "the project's folder has changed");
}

#[test]
fn one_prompt_from_the_command_line() {
    let server = Server::new().start();
    let project = project(&server, &spec(&one()), 5);
    let arguments = ["--prompt", "Say hello.", "--max-tokens", "7", "--runs", "3", "--concurrency", "2,1,2"];
    let (ran, found) = bench(&project, &arguments);
    ran.exits(0);
    assert_eq!(server.requests(), 1 + 3 * (1 + 2));
    for asked in server.asked() {
        assert_eq!((asked.question(), asked.schema.is_none()), ("Say hello.", true));
        assert_eq!(asked.body["options"]["num_predict"], 7);
    }
    assert_eq!((&found["stage"], &found["repeated_prompts"]), (&Value::Null, &9.into()));
    assert!(project.run(&["bench", "pipeline.toml", "--prompt", "x", "--stage", "tone"]).code == 2);
}

#[test]
fn failures_are_counted_by_kind_and_prevent_a_recommendation() {
    let server = Server::new().script(|asked, _| match asked.question() {
        q if q.contains("Speech 2,") => Say::status(400),
        q if q.contains("Speech 3,") => Say::status(500),
        q if q.contains("Speech 4,") => Say::Truncated("{".to_owned()),
        _ => Say::Default,
    });
    let server = server.start();
    let project = project(&server, &spec(&one()), 6);
    let (ran, found) = bench(&project, &["--concurrency", "1", "--runs", "5"]);
    ran.exits(3);
    assert_eq!(server.requests(), 6, "nothing is tried again");
    let level = &found["models"][0]["levels"][0];
    assert_eq!(level["failed"], serde_json::json!({"rejected": 1, "server_error": 1}));
    assert_eq!(level["unusable"], serde_json::json!({"truncated": 1}));
    assert_eq!((&level["answered"], &found["models"][0]["recommendation"]), (&3.into(), &Value::Null));
    let human = project.run(&["bench", "pipeline.toml", "--concurrency", "1", "--runs", "5"]).exits(3).stdout;
    for part in [
        "2 of 5 calls failed (1 rejected, 1 server_error)",
        "would not accept 1 of 3 replies",
        "no level was measured well",
    ] {
        assert!(human.contains(part), "`{part}` is not in:\n{human}");
    }
}

#[test]
fn an_overloaded_server_gets_no_larger_level() {
    let server =
        Server::new().script(|asked, _| if asked.number < 2 { Say::Default } else { Say::status(503) }).start();
    let project = project(&server, &spec(&one()), 60);
    let (ran, found) = bench(&project, &["--concurrency", "1,2,4", "--runs", "12"]);
    ran.exits(3);
    // One call of the level is answered, ten fail in a row.
    assert_eq!(server.requests(), 1 + 1 + 10);
    let model = &found["models"][0];
    assert_eq!((&model["levels"][0]["whole"], &model["not_measured"]), (&false.into(), &serde_json::json!([2, 4])));
}

#[test]
fn what_the_limits_forbid_is_refused_before_anything_is_sent() {
    let server = Server::new().start();
    let project = project(&server, &spec_with("max_concurrent_calls = 3", &one()), 40);
    let refused = ["--concurrency", "2,4"];
    bench(&project, &refused).0.exits(2).says("`max_concurrent_calls = 3` of `here`").says("measure up to 3");
    assert_eq!(server.requests(), 0);
    let (ran, found) = bench(&project, &["--runs", "2"]);
    ran.exits(0);
    assert_eq!(found["models"][0]["levels"].as_array().map(Vec::len), Some(2), "1 and 2");
    server.forget();
    let text = project.text("pipeline.toml").replace("seed = 42", "seed = 42\nbudget = { calls = 20 }");
    project.write("pipeline.toml", &text);
    bench(&project, &["--concurrency", "3", "--runs", "7"])
        .0
        .exits(2)
        .says("22 calls, more than the 20 of the `budget`");
    assert_eq!(server.requests(), 0);
    bench(&project, &["--concurrency", "3", "--runs", "5"]).0.exits(0);
    // The limits of a provider that is not measured do not matter.
    let other = "\n[providers.slow]\ntype = \"ollama\"\nmax_concurrent_calls = 1\n[models.slow]\nprovider = \"slow\"\nmodel = \"mistral\"\n\
                 [stages.other]\ntype = \"analysis\"\ninput = \"speeches\"\nmodels = [\"slow\"]\nprompt = \"{{ text }}\"\n";
    project.write("pipeline.toml", format!("{text}{other}"));
    bench(&project, &["--stage", "tone", "--concurrency", "3", "--runs", "5"]).0.exits(0);
    let (ran, found) = bench(&project, &["--concurrency", "3", "--runs", "5"]);
    ran.exits(0);
    assert_eq!((&found["stage"], &found["prompts"]), (&"tone".into(), &16.into()));
    project.write("pipeline.toml", text.replace("calls = 20", "tokens = 500"));
    server.forget();
    let (ran, found) = bench(&project, &["--concurrency", "1", "--runs", "20"]);
    ran.exits(4).says("might exceed the budget of this run (`tokens` is 500)");
    assert!(server.requests() < 10, "{}", server.requests());
    assert_eq!((&found["stopped"], &found["models"][0]["levels"][0]["whole"]), (&"budget".into(), &false.into()));
}

#[test]
fn rate_limits_apply_and_are_reported() {
    let server = Server::new().start();
    let project = project(&server, &spec_with("requests_per_minute = 900", &one()), 40);
    let (ran, found) = bench(&project, &["--concurrency", "4", "--runs", "8"]);
    ran.exits(0);
    let model = &found["models"][0];
    assert!(model["levels"][0]["held"].as_f64().is_some_and(|held| held > 0.0), "{model}");
    assert_eq!(model["recommendation"]["held"], true);
}

#[test]
fn ctrl_c_shows_the_measurements_so_far() {
    let server = Server::new().latency_ms(50).start();
    let project = project(&server, &spec(&one()), 40);
    let running =
        project.spawn(&["bench", "pipeline.toml", "--format", "json", "--concurrency", "1,2", "--runs", "500"]);
    assert!(server.wait_answered(5));
    running.sigint();
    let ran = running.wait().exits(130).says("the report covers the calls made so far");
    let found: Value = ran.json();
    let model = &found["models"][0];
    assert!(model["levels"][0]["answered"].as_u64().is_some_and(|calls| calls >= 3), "{model}");
    assert_eq!((&model["levels"][0]["whole"], &found["stopped"]), (&false.into(), &"signal".into()));
    assert_eq!(model["not_measured"], serde_json::json!([2]));
}

#[test]
fn an_openai_server_shows_no_first_token_and_may_want_another_form() {
    let server = Server::new().script(|asked, _| match asked.body.pointer("/response_format/type") {
        Some(form) if form == "json_schema" => Say::status(400),
        _ => Say::Json(serde_json::json!({"label": "neutral", "score": 3})),
    });
    let server = server.start();
    let project = project(&server, &openai_spec("", &one()), 40);
    let (ran, found) = bench(&project, &["--concurrency", "1", "--runs", "4"]);
    ran.exits(0);
    let model = &found["models"][0];
    assert_eq!((&model["structured_output"], &model["levels"][0]["answered"]), (&"json_object".into(), &4.into()));
    assert_eq!(model["levels"][0]["first_token"], Value::Null);
    let human = project.run(&["bench", "pipeline.toml", "--concurrency", "1"]).exits(0).stdout;
    assert!(human.contains("the time to the first token is unknown"), "{human}");
    let server = Server::new().start();
    let project = crate::recipe::project(&server, &openai_spec("", &one()), 40);
    let (ran, found) = bench(&project, &["--concurrency", "1", "--runs", "4"]);
    ran.exits(0);
    assert_eq!(found["models"][0]["structured_output"], Value::Null, "this server accepts the schema of the spec");
}

#[test]
fn a_request_that_cannot_be_measured_is_refused() {
    let server = Server::new().start();
    let after = "\n[stages.why]\ntype = \"analysis\"\ninput = \"tone\"\nmodels = [\"mistral\"]\nprompt = \"Why {{ label }}?\"\n";
    let project = project(&server, &spec(&format!("{}{after}", one())), 5);
    bench(&project, &["--stage", "ton"]).0.exits(2).says("did you mean `tone`?");
    bench(&project, &["--model", "lama"]).0.exits(2).says("did you mean `llama`?");
    bench(&project, &["--stage", "why"]).0.exits(2).says("no prompt of stage `why`").says("--prompt");
    assert_eq!(server.requests(), 0);
    // Without `--stage`, the first stage with prompts is measured.
    let (ran, found) = bench(&project, &["--concurrency", "1"]);
    ran.exits(0);
    assert_eq!((&found["stage"], server.requests_of("mistral")), (&"tone".into(), 0));
    drop(server);
    bench(&project, &[]).0.exits(3).says("no Ollama at");
}

#[test]
fn a_model_in_the_process() {
    let project = Project::new().file("pipeline.toml", QUICKSTART).file("data/paragraphs.csv", PARAGRAPHS);
    let Some(project) = weights::or_skip("a_model_in_the_process", project) else { return };
    let (ran, found) = bench(&project, &["--concurrency", "1,2", "--runs", "1", "--max-tokens", "8"]);
    assert!(ran.code == 0 || ran.code == 3, "{}", ran.stderr);
    let model = &found["models"][0];
    assert_eq!((&model["provider"], &model["endpoint"]), (&"embedded".into(), &"this process".into()));
    for level in model["levels"].as_array().expect("levels") {
        assert_eq!(level["answered"], level["in_flight"]);
        let (first, whole) = (&level["first_token"]["max"], &level["latency"]["max"]);
        assert!(first.as_f64() > Some(0.0) && first.as_f64() < whole.as_f64(), "{level}");
    }
    assert!(!project.has(".fanfold"));
}
