//! Anthropic and Gemini: their requests, their answers in the table, and their keys.

use std::time::Duration;

use serde_json::{Value, json};

use crate::project::Project;
use crate::recipe::rows;
use crate::server::{Asked, Dialect, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
const CLAUDE_KEY: &str = "sk-ant-canary-0123456789";
const GEMINI_KEY: &str = "AIza-canary-0123456789";

/// Both as models of the stage `tone`, with these lines in it.
fn spec(stage: &str) -> String {
    format!(
        r#"name = "tones"
seed = 42

[providers.anthropic-lab]
type = "anthropic"
base_url_env = "LAB_ROOT"
api_key_env = "CLAUDE_KEY"

[providers.gemini-lab]
type = "gemini"
base_url_env = "LAB_ROOT"
api_key_env = "GOOGLE_KEY"

[models.claude]
provider = "anthropic-lab"
model = "claude-haiku-4-5"
temperature = 0.5
max_tokens = 64

[models.gemini]
provider = "gemini-lab"
model = "gemini-2.5-flash"
temperature = 1.5
top_p = 0.9
stop = ["END"]

[sources.speeches]
type = "file"
path = "data.csv"
key = "id"

[stages.tone]
type = "analysis"
input = "speeches"
system = "You read speeches."
prompt = "What is the tone?\n\n{{{{ text }}}}"
{stage}

[stages.tone.output]
label = {{ type = "string", enum = ["positive", "neutral", "negative"], nullable = true }}
score = {{ type = "integer", minimum = 0, maximum = 10 }}

[outputs.tone]
input = "tone"
path = "{OUT}"
"#
    )
}

const FANOUT: &str = "models = [\"claude\", \"gemini\"]\nfanout = true\nmax_failed = 3";

fn server() -> crate::server::Builder {
    Server::new().models(&["claude-haiku-4-5", "gemini-2.5-flash"])
}

fn project(server: &Server, spec: &str, count: usize) -> Project {
    let project = Project::new().env("LAB_ROOT", &server.url());
    let project = project.env("CLAUDE_KEY", CLAUDE_KEY).env("GOOGLE_KEY", GEMINI_KEY);
    project.spec(spec).csv("data.csv", &rows(count))
}

/// The row of a request.
fn row(asked: &Asked) -> usize {
    (0..100).find(|row| asked.question().contains(&format!("Speech {row},"))).expect("a row of the data")
}

fn good(asked: &Asked) -> Say {
    Say::Json(json!({"label": "neutral", "score": row(asked)}))
}

fn status(code: u16, retry_after: Option<&str>, body: Value) -> Say {
    Say::Status { code, retry_after: retry_after.map(str::to_owned), body: body.to_string() }
}

/// Google's reply when the requests of a minute are used up.
fn exhausted(quota: &str) -> Say {
    let details = json!([
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"},
    ]);
    let error = json!({"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota", "details": details});
    status(429, None, json!({"error": error}))
}

fn anthropic_error(code: u16, kind: &str, retry_after: Option<&str>) -> Say {
    status(code, retry_after, json!({"type": "error", "error": {"type": kind, "message": kind}}))
}

/// The attempts at a row by a model, in order.
fn attempts(server: &Server, dialect: Dialect, of: usize) -> Vec<Asked> {
    server.asked().into_iter().filter(|asked| asked.dialect == dialect && row(asked) == of).collect()
}

#[test]
fn a_fan_out_over_both_handles_all_their_errors() {
    let script = |asked: &Asked, attempt| match (asked.dialect, row(asked), attempt) {
        (Dialect::Anthropic, 1, _) => Say::Truncated(r#"{"label": "neutral", "score": 1}"#.to_owned()),
        (_, 2, _) => Say::Filtered,
        (Dialect::Anthropic, 3, 1) => anthropic_error(429, "rate_limit_error", Some("1")),
        (Dialect::Gemini, 4, 1) => exhausted("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
        (Dialect::Anthropic, 5, 1) => anthropic_error(529, "overloaded_error", None),
        (Dialect::Gemini, 6, 1) => Say::EmptyChoices,
        // Anthropic's schema does not contain the bounds; the reply is checked against them.
        (Dialect::Anthropic, 7, 1) => Say::Json(json!({"label": null, "score": 11})),
        (Dialect::Gemini, 8, _) => Say::Json(json!({"label": null, "score": 8})),
        _ => good(asked),
    };
    let server = server().script(script).start();
    let project = project(&server, &spec(FANOUT), 10);
    project.run(&RUN).exits(0);

    let table = project.table(OUT);
    let scores = |failed: &[usize]| -> Vec<Option<i64>> {
        (0..10).map(|row| (!failed.contains(&(row as usize))).then_some(row)).collect()
    };
    assert_eq!(table.ints("score_claude"), scores(&[1, 2]));
    assert_eq!(table.ints("score_gemini"), scores(&[2]));
    assert_eq!(table.strings("label_gemini")[8], None);
    assert_eq!(table.strings("label_claude")[8].as_deref(), Some("neutral"));
    let errors = |column: &str| -> Vec<(usize, String)> {
        let errors = table.strings(column).into_iter().enumerate();
        errors.filter_map(|(row, error)| Some((row, error?))).collect()
    };
    let claude = errors("tone_error_claude");
    assert!(claude.len() == 2 && claude[0].0 == 1 && claude[0].1.starts_with("truncated: "), "{claude:?}");
    assert_eq!(claude[1], (2, "refused: the model refused".to_owned()));
    let withheld = "refused: the provider withheld the reply (SAFETY)".to_owned();
    assert_eq!(errors("tone_error_gemini"), [(2, withheld)]);

    for (dialect, of) in [(Dialect::Anthropic, 3), (Dialect::Gemini, 4)] {
        let tries = attempts(&server, dialect, of);
        assert_eq!(tries.len(), 2, "{dialect:?}");
        let waited = tries[1].arrived - tries[0].arrived;
        assert!(waited >= Duration::from_secs(1), "{dialect:?} was asked again after {waited:?}");
    }
    for (dialect, of) in [(Dialect::Anthropic, 5), (Dialect::Gemini, 6), (Dialect::Anthropic, 7)] {
        assert_eq!(attempts(&server, dialect, of).len(), 2, "{dialect:?} {of}");
    }
    assert_eq!(attempts(&server, Dialect::Gemini, 2).len(), 1, "a refusal is not tried again");
    let builds = project.calls().strings("model_digest");
    assert_eq!(builds.iter().flatten().filter(|build| *build == "claude-haiku-4-5-20260101").count(), 10);
    assert_eq!(builds.iter().flatten().filter(|build| *build == "001").count(), 10);
}

#[test]
fn requests_follow_both_protocols_and_no_file_contains_the_keys() {
    let server = server().keys(&[CLAUDE_KEY, GEMINI_KEY]).script(|asked, _| good(asked)).start();
    let project = project(&server, &spec(FANOUT), 4);
    let ran = project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 8);
    for asked in server.asked() {
        let (role, system) = &asked.messages[0];
        assert!(role == "system" && system.starts_with("You read speeches.\n\nAnswer with one JSON"), "{system}");
        assert_eq!(asked.header("authorization"), None);
        let body = &asked.body;
        let label =
            json!({"anyOf": [{"type": "string", "enum": ["positive", "neutral", "negative"]}, {"type": "null"}]});
        let schema = asked.schema.as_ref().expect("a schema is sent");
        assert_eq!(schema["properties"]["label"], label);
        match asked.dialect {
            Dialect::Anthropic => {
                assert_eq!(asked.path, "/v1/messages");
                assert_eq!(asked.header("x-api-key"), Some(CLAUDE_KEY));
                assert_eq!(asked.header("anthropic-version"), Some("2023-06-01"));
                assert_eq!((&body["max_tokens"], &body["temperature"]), (&json!(64), &json!(0.5)));
                assert!(body.get("seed").is_none() && body.get("top_p").is_none(), "{body}");
                assert_eq!(schema["properties"]["score"], json!({"type": "integer"}));
            }
            Dialect::Gemini => {
                assert_eq!(asked.path, "/v1beta/models/gemini-2.5-flash:generateContent");
                assert_eq!(asked.header("x-goog-api-key"), Some(GEMINI_KEY));
                let config = &body["generationConfig"];
                assert_eq!((&config["seed"], &config["topP"]), (&json!(42), &json!(0.9)));
                assert_eq!(config["stopSequences"], json!(["END"]));
                assert!(config.get("maxOutputTokens").is_none(), "{body}");
                assert_eq!(schema["properties"]["score"], json!({"type": "integer", "minimum": 0, "maximum": 10}));
            }
            other => panic!("{other:?} was not asked for"),
        }
    }
    let files = project.files(".fanfold").into_iter().chain(project.files("out"));
    let mut kept: Vec<(String, Vec<u8>)> = files.map(|file| (file.clone(), project.bytes(&file))).collect();
    assert!(kept.len() > 2, "a run leaves files");
    kept.push(("the terminal".to_owned(), format!("{}{}", ran.stdout, ran.stderr).into_bytes()));
    for (file, bytes) in kept {
        let found = bytes.windows(6).any(|w| w == b"canary");
        assert!(!found, "{file} contains a key");
    }
}

#[test]
fn replicates_are_separate_calls_without_a_seed() {
    let server = server().script(|asked, _| good(asked)).start();
    let project = project(&server, &spec("models = [\"claude\"]\nreplicates = 3"), 2);
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 6);
    assert_eq!(server.times_asked().values().copied().collect::<Vec<_>>(), [3, 3], "they are sent alike");
    server.forget();
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 0, "and none of them is paid twice");
}

#[test]
fn a_key_that_is_not_valid_is_found_before_any_call() {
    let server = server().keys(&["another"]).start();
    for model in ["claude", "gemini"] {
        let project = project(&server, &spec(&format!("models = [\"{model}\"]")), 5);
        let ran = project.run(&RUN).exits(3).says("is not valid").says("api_key_env");
        assert!(!ran.stderr.contains("canary"), "the server repeats the key, we don't:\n{}", ran.stderr);
        assert!(!project.has(OUT));
    }
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_key_or_a_quota_that_ends_during_a_run_stops_it() {
    let invalid = || {
        let reason = json!([{"reason": "API_KEY_INVALID"}]);
        status(400, None, json!({"error": {"code": 400, "message": "API key expired", "details": reason}}))
    };
    let day = || exhausted("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
    let cases: [(&str, &dyn Fn() -> Say); 4] = [
        ("gemini", &invalid),
        ("gemini", &day),
        ("claude", &|| anthropic_error(401, "authentication_error", None)),
        ("claude", &|| anthropic_error(402, "billing_error", None)),
    ];
    for (model, say) in cases {
        let said = say();
        let server = server().latency_ms(5).script(move |_, _| said.clone()).start();
        project(&server, &spec(&format!("models = [\"{model}\"]")), 100).run(&RUN).exits(3);
        assert!(server.requests() <= 16, "{model}: {} requests", server.requests());
        assert!(server.times_asked().values().all(|times| *times == 1), "{model}: nothing is tried again");
    }
}

#[test]
fn extra_fields_are_merged_into_the_body_and_are_part_of_the_call() {
    let server = server().script(|asked, _| good(asked)).start();
    let with = |claude: &str, gemini: &str| {
        let spec = spec(FANOUT).replace("max_tokens = 64\n", &format!("max_tokens = 64\nextra = {{ {claude} }}\n"));
        spec.replace("stop = [\"END\"]\n", &format!("stop = [\"END\"]\nextra = {{ {gemini} }}\n"))
    };
    let effort = "output_config = { effort = \"low\" }, top_k = 5";
    let thinking = "generationConfig = { thinkingConfig = { thinkingBudget = 0 } }";
    let project = project(&server, &with(effort, thinking), 2);
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 4);
    for Asked { dialect, body, .. } in server.asked() {
        match dialect {
            Dialect::Anthropic => {
                assert_eq!((&body["top_k"], &body["output_config"]["effort"]), (&json!(5), &json!("low")));
                assert_eq!(body["output_config"]["format"]["type"], "json_schema");
            }
            _ => {
                let config = &body["generationConfig"];
                assert_eq!(config["thinkingConfig"], json!({"thinkingBudget": 0}));
                assert_eq!((&config["temperature"], &config["seed"]), (&json!(1.5), &json!(42)));
            }
        }
    }
    server.forget();
    project.write("pipeline.toml", with(&effort.replace('5', "6"), thinking));
    project.run(&RUN).exits(0);
    assert!(server.requests() == 2 && server.asked().iter().all(|a| a.dialect == Dialect::Anthropic));

    server.forget();
    project.write("pipeline.toml", with("max_tokens = 9, stream = true", "generationConfig = { topP = 1 }"));
    let ran = project.run(&["validate", "pipeline.toml"]).exits(2);
    for taken in ["max_tokens", "stream", "generationConfig.topP"] {
        assert!(ran.stderr.contains(&format!("`{taken}` is set by fanfold itself")), "{taken}:\n{}", ran.stderr);
    }
    project.write("pipeline.toml", with("a = 1", "b = 1").replace("gemini-lab\"\nmodel", "mock\"\nmodel"));
    let ran = project.run(&["validate", "pipeline.toml"]).exits(2);
    assert!(ran.stderr.contains("`extra` is added to requests, and `mock` sends none"), "{}", ran.stderr);
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_temperature_outside_the_protocol_is_a_problem_of_the_spec() {
    let server = server().start();
    let project = project(&server, &spec(FANOUT).replace("temperature = 0.5", "temperature = 1.2"), 1);
    project.run(&RUN).exits(2).says("`temperature` must be from 0 to 1 for a model of `anthropic`");
    assert_eq!(server.requests(), 0);
}
