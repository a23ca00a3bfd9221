//! Batches of OpenAI, Anthropic and Gemini: their tables are those of direct calls, whatever happens to a batch or to a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::project::Project;
use crate::recipe::{TYPED, rows};
use crate::server::{Asked, Builder, Course, Dialect, Job, Say, Server};

pub(crate) const OUT: &str = "out/tone.parquet";
pub(crate) const RUN: [&str; 2] = ["run", "pipeline.toml"];
const ALL: [Dialect; 3] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini];

/// A stage over the rows, with a model of this dialect and these lines in its provider.
pub(crate) fn spec(dialect: Dialect, provider: &str) -> String {
    let (kind, address) = match dialect {
        Dialect::OpenAi => ("openai", "LAB_URL"),
        Dialect::Anthropic => ("anthropic", "LAB_ROOT"),
        _ => ("gemini", "LAB_ROOT"),
    };
    format!(
        r#"name = "tones"
seed = 42

[providers.lab]
type = "{kind}"
base_url_env = "{address}"
{provider}

[models.one]
provider = "lab"
model = "small"
temperature = 0.0
max_tokens = 64

[sources.speeches]
type = "file"
path = "data.csv"
key = "id"

[outputs.tone]
input = "tone"
path = "{OUT}"

[stages.tone]
type = "analysis"
input = "speeches"
models = ["one"]
prompt = "What is the tone?\n\n{{{{ text }}}}"
chunk_size = 16
{TYPED}"#
    )
}

fn server() -> Builder {
    Server::new().models(&["small"]).script(|asked, _| good(asked))
}

/// An answer that fits: Anthropic's schema has no bounds.
fn good(asked: &Asked) -> Say {
    if asked.schema.as_ref().is_none_or(|schema| schema["properties"].get("score").is_none()) {
        return Say::Default;
    }
    let (label, score) = (["positive", "neutral", "negative"][row(asked) % 3], row(asked) % 11);
    Say::Json(json!({"label": label, "score": score}))
}

pub(crate) fn project(server: &Server, spec: &str, count: usize) -> Project {
    let project = Project::new().env("LAB_ROOT", &server.url()).env("LAB_URL", &server.openai_url());
    project.spec(spec).csv("data.csv", &rows(count))
}

fn batched(server: &Server, dialect: Dialect, count: usize) -> Project {
    project(server, &spec(dialect, "batch = true"), count)
}

/// The table of direct calls.
fn expected(dialect: Dialect, count: usize) -> Vec<u8> {
    let server = server().start();
    let project = project(&server, &spec(dialect, ""), count);
    project.run(&RUN).exits(0);
    assert!(server.jobs().is_empty() && server.direct() == count);
    project.bytes(OUT)
}

pub(crate) fn row(asked: &Asked) -> usize {
    (0..1000).find(|row| asked.question().contains(&format!("Speech {row},"))).expect("a row of the data")
}

/// How often each call is in a batch.
fn times(jobs: &[Job]) -> BTreeMap<&str, usize> {
    let mut times = BTreeMap::new();
    jobs.iter().flat_map(|job| &job.calls).for_each(|call| *times.entry(call.as_str()).or_default() += 1);
    times
}

#[test]
fn the_table_is_that_of_direct_calls_and_all_calls_are_in_one_batch() {
    for dialect in ALL {
        let server = server().batches(|_, _| Course::after(300)).start();
        let project = batched(&server, dialect, 60);
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected(dialect, 60), "{dialect:?}");
        let jobs = server.jobs();
        assert_eq!((jobs.len(), jobs[0].calls.len(), server.direct()), (1, 60, 0), "{dialect:?}");
        assert!(times(&jobs).values().all(|times| *times == 1));
        assert!(dialect == Dialect::Anthropic || jobs[0].name.starts_with("fanfold-"));
        let notes = project.calls().strings("notes");
        assert!(notes.iter().flatten().filter(|notes| notes.contains(r#""batch":{"prompt":"#)).count() == 60);
        let status = project.run(&["status", "pipeline.toml"]).exits(0).stdout;
        assert!(!status.contains("batch "), "it is over: {status}");
        assert!(project.files(".fanfold/batches").is_empty(), "the results are in the ledger");
        project.run(&RUN).exits(0).says("0 calls sent");
        // Direct calls have the same keys.
        project.write("pipeline.toml", spec(dialect, ""));
        project.run(&RUN).exits(0).says("0 calls sent");
        assert_eq!((server.jobs().len(), server.direct()), (1, 0));
    }
}

#[test]
fn only_what_an_expired_batch_lacks_is_sent_again() {
    for dialect in ALL {
        let course = |_: &Job, number| match number {
            0 => Course { misses: |place| place % 3 == 0, ..Course::default() },
            1 => Course { misses: |place| place > 0, ..Course::default() },
            _ => Course::default(),
        };
        let server = server().batches(course).start();
        let project = batched(&server, dialect, 30);
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected(dialect, 30), "{dialect:?}");
        let sizes: Vec<usize> = server.jobs().iter().map(|job| job.calls.len()).collect();
        assert_eq!(sizes, [30, 10, 9], "{dialect:?}");
        assert_eq!((server.requests(), server.direct()), (30, 0), "each call was answered once");
    }
}

#[test]
fn errors_of_rows_are_retried_directly_or_in_batches() {
    let script = |asked: &Asked, attempt: usize| match (row(asked), attempt) {
        (1, _) => Say::Status {
            code: 400,
            retry_after: None,
            body: json!({"error": {"message": "no", "type": "x"}}).to_string(),
        },
        (2, 1) => Say::status(500),
        (3, 1) => Say::Text("none".to_owned()),
        _ => good(asked),
    };
    for dialect in ALL {
        for (retries, several, direct) in [("", false, 2), ("\nbatch_retries = \"batched\"", true, 0)] {
            let server = server().script(script).start();
            let text =
                spec(dialect, &format!("batch = true{retries}")).replace("chunk_size", "max_failed = 1\nchunk_size");
            let project = project(&server, &text, 20);
            project.run(&RUN).exits(0);
            let errors = project.table(OUT).strings("tone_error");
            assert_eq!(errors.iter().flatten().count(), 1, "{dialect:?} {errors:?}");
            assert!(errors[1].as_ref().is_some_and(|error| error.starts_with("rejected: ")), "{dialect:?} {errors:?}");
            assert_eq!(server.jobs().len() > 1, several, "{dialect:?} {retries}");
            // If the refusal is read before any answer, one call asks directly whether the form is the reason.
            let sought = server.direct().checked_sub(direct);
            assert!(sought.is_some_and(|sought| sought <= 1), "{dialect:?} {retries}: {}", server.direct());
        }
    }
}

#[test]
fn a_form_that_a_server_refuses_is_found_by_one_call_and_sent_in_a_further_batch() {
    let good = || Say::Json(json!({"label": "neutral", "score": 1}));
    let script = move |asked: &Asked, _: usize| refused_form(asked).unwrap_or_else(good);
    let server = server().script(script).start();
    let project = batched(&server, Dialect::OpenAi, 20);
    project.run(&RUN).exits(0);
    let sizes: Vec<usize> = server.jobs().iter().map(|job| job.calls.len()).collect();
    assert_eq!((sizes, server.direct()), (vec![20, 19], 1));
    assert_eq!(project.table(OUT).ints("score"), vec![Some(1); 20]);
}

/// Refuses the form of the request.
fn refused_form(asked: &Asked) -> Option<Say> {
    let is_refused = asked.body.pointer("/response_format/json_schema").is_some();
    let body = || json!({"error": {"message": "response_format is not supported"}}).to_string();
    is_refused.then(|| Say::Status { code: 400, retry_after: None, body: body() })
}

#[test]
fn the_form_of_calls_in_a_batch_is_known_to_the_next_run() {
    let script = |asked: &Asked, _: usize| {
        refused_form(asked).unwrap_or_else(|| match asked.messages.len() {
            ..=2 => Say::Text("none".to_owned()),
            _ => Say::Json(json!({"label": "neutral", "score": 1})),
        })
    };
    let course = |_: &Job, number| Course::after(if number == 2 { 4_000 } else { 0 });
    let server = server().script(script).batches(course).start();
    let text = spec(Dialect::OpenAi, "batch = true\nbatch_retries = \"batched\"");
    let text = text.replace("chunk_size", "max_failed = \"100%\"\nchunk_size");
    let project = project(&server, &text, 20);
    let running = project.spawn(&RUN);
    wait_jobs(&server, 3);
    std::thread::sleep(Duration::from_millis(1_000));
    running.sigint();
    running.wait().exits(130);
    project.run(&RUN).exits(0);
    let calls: usize = server.jobs().iter().map(|job| job.calls.len()).sum();
    assert_eq!((server.jobs().len(), calls, server.direct()), (3, 59, 1));
    let notes = project.calls().strings("notes");
    assert!(notes.iter().flatten().all(|notes| notes.contains("structured_output")), "{notes:?}");
    // The form of the answers in the ledger is not that of the spec, so it is sought again.
    let project = project.csv("data.csv", &rows(25));
    project.run(&RUN).exits(0).says("25 answered");
}

#[test]
fn workers_do_not_pay_the_calls_of_a_batch() {
    let server = server().batches(|_, _| Course::after(3_000)).start();
    let project = batched(&server, Dialect::OpenAi, 20);
    project.run(&["run", "pipeline.toml", "--detach"]).exits(0);
    project.write("pipeline.toml", spec(Dialect::OpenAi, ""));
    let on = ["run", "pipeline.toml", "--on", "local"];
    project.run(&on).exits(2).says("batches are at a provider").says("`fanfold batches --cancel`");
    project.run(&["batches", "pipeline.toml", "--cancel"]).exits(0);
    project.run(&on).exits(0);
    assert!(project.bytes(OUT) == expected(Dialect::OpenAi, 20));
}

#[test]
fn a_batch_that_fails_as_a_whole_stops_the_run() {
    for dialect in [Dialect::OpenAi, Dialect::Gemini] {
        let fails = Some(("invalid_request", "the model is not for batches"));
        let server = server().batches(move |_, _| Course { fails, ..Course::default() }).start();
        let project = batched(&server, dialect, 20);
        project.run(&RUN).exits(3).says("the batch failed: the model is not for batches");
        assert_eq!((server.jobs().len(), server.direct()), (1, 0));
    }
}

#[test]
fn a_full_queue_makes_batches_smaller() {
    let course = |job: &Job, _| {
        let fails = (job.calls.len() > 12).then_some(("token_limit_exceeded", "Enqueued token limit reached"));
        Course { fails, ..Course::default() }
    };
    let server = server().batches(course).start();
    let project = batched(&server, Dialect::OpenAi, 30);
    project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == expected(Dialect::OpenAi, 30));
    let good: Vec<usize> = server.jobs().iter().map(|job| job.calls.len()).filter(|calls| *calls <= 12).collect();
    assert_eq!((good.iter().sum::<usize>(), server.direct()), (30, 0), "{good:?}");
}

#[test]
fn a_batch_whose_creation_was_not_confirmed_is_found() {
    for dialect in ALL {
        let server = server().batches(|_, number| Course { is_lost: number == 0, ..Course::default() }).start();
        let project = batched(&server, dialect, 20);
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected(dialect, 20), "{dialect:?}");
        assert_eq!((server.jobs().len(), server.direct()), (1, 0), "{dialect:?}");
    }
}

/// Waits until the server has this many batches.
fn wait_jobs(server: &Server, count: usize) {
    let end = Instant::now() + Duration::from_secs(60);
    while server.jobs().len() < count {
        assert!(Instant::now() < end, "no batch came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn an_interrupted_run_leaves_its_batch_and_the_next_one_fetches_it() {
    for dialect in ALL {
        let server = server().batches(|_, _| Course::after(3_000)).start();
        let project = batched(&server, dialect, 20);
        let running = project.spawn(&RUN);
        wait_jobs(&server, 1);
        std::thread::sleep(Duration::from_millis(300));
        running.sigint();
        let ran = running.wait().exits(130);
        assert!(ran.stderr.contains("1 batch with 20 calls is at the provider; `fanfold run"), "{}", ran.stderr);
        let status = project.run(&["status", "pipeline.toml"]).exits(0).stdout;
        assert!(status.contains("20 calls to small, in_progress") || dialect == Dialect::Gemini, "{status}");
        let shown = project.run(&["batches", "pipeline.toml", "--format", "json"]).exits(0).json();
        assert_eq!((&shown["batches"][0]["calls"], &shown["batches"][0]["cancelled"]), (&json!(20), &json!(false)));
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected(dialect, 20), "{dialect:?}");
        assert_eq!((server.jobs().len(), server.direct()), (1, 0), "{dialect:?}");
    }
}

#[test]
fn a_detached_run_sends_its_batches_and_a_later_run_fetches_them() {
    let server = server().batches(|_, _| Course::after(2_500)).start();
    let later =
        "\n[stages.again]\ntype = \"analysis\"\ninput = \"tone\"\nmodels = [\"one\"]\nprompt = \"{{ label }}\"\n";
    let text = spec(Dialect::Anthropic, "batch = true") + later;
    let project = project(&server, &text.replace("input = \"tone\"\npath", "input = \"again\"\npath"), 20);
    let detached = ["run", "pipeline.toml", "--detach"];
    for _ in 0..2 {
        project
            .run(&detached)
            .exits(0)
            .says("left 20 calls in batches")
            .says("1 batch with 20 calls is at the provider");
        assert!(!project.has(OUT) && server.jobs().len() == 1);
    }
    let plan = project.run(&["plan", "pipeline.toml"]).exits(0).stdout;
    assert!(
        plan.contains("1 batch with 20 calls is at the provider: those of them that this run needs are counted here"),
        "{plan}"
    );
    project.run(&RUN).exits(0);
    let sizes: Vec<usize> = server.jobs().iter().map(|job| job.calls.len()).collect();
    assert_eq!((sizes[0], server.direct()), (20, 0), "{sizes:?}");
    assert_eq!(project.table(OUT).strings("again").iter().flatten().count(), 20);
    project.run(&detached).exits(0);
    project.write("pipeline.toml", spec(Dialect::Anthropic, ""));
    project.run(&detached).exits(2).says("`--detach` leaves workers or batches, and this run has none");
}

#[test]
fn a_batch_is_fetched_though_the_spec_wants_none_any_more() {
    for dialect in ALL {
        let server = server().batches(|_, _| Course::after(1_500)).start();
        let project = batched(&server, dialect, 20);
        project.run(&["run", "pipeline.toml", "--detach"]).exits(0);
        project.write("pipeline.toml", spec(dialect, ""));
        project.run(&["run", "pipeline.toml", "--pilot", "5"]).exits(0).says("5 calls in a batch that has not ended");
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected(dialect, 20), "{dialect:?}");
        assert_eq!((server.jobs().len(), server.direct(), server.requests()), (1, 0, 20), "{dialect:?}");
        let shown = project.run(&["batches", "pipeline.toml", "--format", "json"]).exits(0).json();
        assert_eq!(shown["batches"], json!([]), "it is over: {shown}");
    }
}

#[test]
fn equal_rows_of_a_batch_wait_without_lanes_though_the_spec_wants_none_any_more() {
    let server = server().batches(|_, _| Course::after(4_000)).start();
    let text = |provider| {
        spec(Dialect::OpenAi, provider).replace("chunk_size = 16", "chunk_size = 16\nworkers = 1\nbatch_size = 2")
    };
    // Three texts, ten times each.
    let mut table = rows(3);
    let header = table.remove(0);
    let copies = (0..30).map(|i| [format!("k{i:02}"), table[i % 3][1].clone(), table[i % 3][2].clone()]);
    let all: Vec<[String; 3]> = [header].into_iter().chain(copies).collect();
    let project = project(&server, &text("batch = true"), 3).csv("data.csv", &all);
    project.run(&["run", "pipeline.toml", "--detach"]).exits(0);
    project.write("pipeline.toml", text(""));
    project.run(&RUN).exits(0).says("30 answered");
    assert_eq!((server.jobs().len(), server.direct()), (1, 0));
}

#[test]
fn a_batch_is_sent_though_another_model_waits_for_the_budget_that_it_reserved() {
    let server = server().start();
    let text = spec(Dialect::OpenAi, "batch = true").replacen("\n", "\nbudget = { calls = 6 }\n", 1).replace(
        "models = [\"one\"]",
        "models = [\"one\", \"two\"]\nfanout = true\norder = \"model-major\"\nworkers = 1\nbatch_size = 2",
    );
    let second = "[providers.direct]\ntype = \"openai\"\nbase_url_env = \"LAB_URL\"\n\
        [models.two]\nprovider = \"direct\"\nmodel = \"small\"\ntemperature = 0.5\nmax_tokens = 64\n";
    let project = project(&server, &format!("{text}\n{second}"), 8);
    project.run(&RUN).exits(4);
    let sent: usize = server.jobs().iter().map(|job| job.calls.len()).sum::<usize>() + server.direct();
    assert_eq!(sent, 6);
}

#[test]
fn equal_rows_of_a_pilot_share_an_answer() {
    let server = server().start();
    let mut table = rows(2);
    table
        .extend((0..8).map(|i| [format!("k{i}"), "1900".to_owned(), format!("Speech {}, on trade and peace.", i % 2)]));
    let project = project(&server, &spec(Dialect::OpenAi, ""), 1).csv("data.csv", &table);
    project.run(&["run", "pipeline.toml", "--pilot", "10"]).exits(0);
    assert_eq!(server.direct(), 2);
}

#[test]
fn calls_of_a_batch_settle_though_all_lanes_wait_for_the_budget() {
    let server = server().batches(|_, _| Course::after(2_000)).start();
    let lanes = "workers = 1\nbatch_size = 2\nchunk_size = 16";
    let text = |line: &str, provider| {
        let text = spec(Dialect::OpenAi, provider).replace("chunk_size = 16", lanes);
        text.replacen("\n", &format!("\n{line}\n"), 1)
    };
    let project = project(&server, &text("", "batch = true"), 10);
    project.run(&["run", "pipeline.toml", "--detach"]).exits(0);
    // The calls of the batch reserve nearly all of it, and more rows than lanes want the rest.
    project.write("pipeline.toml", text("budget = { calls = 12 }", ""));
    let more = project.text("data.csv")
        + &(0..10).map(|i| format!("m{i},1900,\"Speech {}, more.\"\n", 50 + i)).collect::<String>();
    project.write("data.csv", more);
    project.run(&RUN).exits(4);
    assert_eq!((server.jobs().len(), server.direct()), (1, 2));
}

#[test]
fn a_pilot_and_a_spec_without_batches_send_no_further_batch() {
    for pilot in [false, true] {
        let course = |_: &Job, _| Course { misses: |place| place % 4 == 0, ..Course::after(2_000) };
        let server = server().batches(course).start();
        let project = batched(&server, Dialect::OpenAi, 20);
        project.run(&["run", "pipeline.toml", "--detach"]).exits(0);
        std::thread::sleep(Duration::from_millis(2_100));
        if !pilot {
            project.write("pipeline.toml", spec(Dialect::OpenAi, ""));
        }
        let run = ["run", "pipeline.toml", "--pilot", "20"];
        project.run(if pilot { &run } else { &run[..2] }).exits(0);
        assert_eq!((server.jobs().len(), server.direct()), (1, 5), "what the batch lacks is sent at once");
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected(Dialect::OpenAi, 20));
        assert_eq!(server.requests(), 20);
    }
}

#[test]
fn a_second_try_in_a_batch_is_fetched_after_an_interrupt() {
    let script = |asked: &Asked, _: usize| match asked.messages.len() <= 2 && !asked.call().contains("Speech 0,") {
        true => Say::Text("none".to_owned()),
        false => Say::Json(json!({"label": "neutral", "score": 1})),
    };
    let course = |_: &Job, number| Course::after(if number == 1 { 6_000 } else { 0 });
    let server = server().script(script).batches(course).start();
    let text = spec(Dialect::OpenAi, "batch = true\nbatch_retries = \"batched\"");
    let project = project(&server, &text, 10);
    let running = project.spawn(&RUN);
    wait_jobs(&server, 2);
    std::thread::sleep(Duration::from_millis(1_000));
    running.sigint();
    running.wait().exits(130);
    project.run(&RUN).exits(0).says("10 answered");
    let sizes: Vec<usize> = server.jobs().iter().map(|job| job.calls.len()).collect();
    assert_eq!((sizes, server.direct(), server.requests()), (vec![10, 9], 0, 19), "the second batch is not paid again");
}

#[test]
fn one_answer_of_a_batch_keeps_the_run_going_whatever_the_order() {
    let script = |asked: &Asked, _: usize| match asked.messages.len() <= 2 && row(asked) != 7 {
        true => Say::Text("none".to_owned()),
        false => good(asked),
    };
    for retries in ["direct", "batched", "direct", "batched"] {
        let server = server().script(script).start();
        let text = spec(Dialect::OpenAi, &format!("batch = true\nbatch_retries = \"{retries}\""));
        let project = project(&server, &text, 20);
        project.run(&RUN).exits(0).says("20 answered");
        assert_eq!(server.requests(), 39, "{retries}");
    }
}

#[test]
fn calls_that_all_failed_in_a_batch_are_asked_again_by_the_next_run() {
    for (retries, status) in [("direct", 500), ("batched", 500), ("direct", 400)] {
        let is_broken = Arc::new(AtomicBool::new(true));
        let broken = is_broken.clone();
        let script = move |asked: &Asked, _: usize| match broken.load(Relaxed) {
            true => Say::status(status),
            false => good(asked),
        };
        let server = server().script(script).start();
        let text = spec(Dialect::OpenAi, &format!("batch = true\nbatch_retries = \"{retries}\""));
        let project = project(&server, &text, 20);
        project.run(&RUN).exits(3).says("nothing was answered");
        is_broken.store(false, Relaxed);
        project.run(&RUN).exits(0).says("20 answered");
        assert!(project.bytes(OUT) == expected(Dialect::OpenAi, 20), "{retries} {status}");
    }
}

#[test]
fn a_small_budget_gets_on_with_a_batch_that_failed() {
    let script = |asked: &Asked, attempt: usize| match attempt == 1 && row(asked) > 0 {
        true => Say::status(500),
        false => good(asked),
    };
    let server = server().script(script).batches(|_, _| Course::after(1_500)).start();
    let text = spec(Dialect::OpenAi, "batch = true");
    let project = project(&server, &text, 60);
    project.run(&["run", "pipeline.toml", "--detach"]).exits(0);
    project.write("pipeline.toml", text.replacen("\n", "\nbudget = { calls = 20 }\n", 1));
    let codes: Vec<_> = (0..7).map(|_| project.run(&RUN).code).collect();
    assert_eq!(codes, [4, 4, 4, 4, 4, 0, 0], "each run gets on by as many calls");
    assert!(project.bytes(OUT) == expected(Dialect::OpenAi, 60));
    assert_eq!(server.requests(), 119);
}

#[test]
fn results_that_are_no_results_are_fetched_again() {
    for dialect in [Dialect::OpenAi, Dialect::Anthropic] {
        let server = server().batches(|_, _| Course { pages: 2, ..Course::default() }).start();
        let project = batched(&server, dialect, 20);
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected(dialect, 20), "{dialect:?}");
        assert_eq!((server.jobs().len(), server.direct()), (1, 0), "{dialect:?}");
    }
}

#[test]
fn calls_whose_results_are_gone_are_paid_again_only_if_someone_gives_them_up() {
    let server = server().batches(|_, number| Course { is_gone: number == 0, ..Course::default() }).start();
    let project = batched(&server, Dialect::OpenAi, 20);
    for _ in 0..2 {
        project.run(&RUN).exits(3).says("no results of batch").says("`fanfold batches --cancel` gives its calls up");
    }
    assert_eq!((server.jobs().len(), server.direct()), (1, 0), "nothing is sent again by itself");
    project.run(&["batches", "pipeline.toml", "--cancel"]).exits(0);
    project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == expected(Dialect::OpenAi, 20));
    assert_eq!((server.jobs().len(), server.direct()), (2, 0));
}

#[test]
fn a_key_that_was_refused_for_one_call_of_a_batch_stops_nothing() {
    let script = |asked: &Asked, _: usize| match (asked.header("x-batch"), row(asked)) {
        (Some(_), 3) => Say::status(401),
        (Some(_), 7) => Say::status(404),
        _ => good(asked),
    };
    let server = server().script(script).start();
    let project = batched(&server, Dialect::OpenAi, 20);
    project.run(&RUN).exits(0).says("20 answered");
    assert!(project.bytes(OUT) == expected(Dialect::OpenAi, 20));
    assert_eq!((server.jobs().len(), server.direct()), (1, 2), "only these two are asked again");
}

#[test]
fn a_budget_for_some_rows_sends_a_batch_for_them() {
    for budget in ["calls = 20", "total = { calls = 20 }"] {
        let server = server().start();
        let text = spec(Dialect::OpenAi, "batch = true");
        let project = project(&server, &text.replacen("\n", &format!("\nbudget = {{ {budget} }}\n"), 1), 60);
        project.run(&RUN).exits(4);
        let sizes = || -> Vec<usize> { server.jobs().iter().map(|job| job.calls.len()).collect() };
        assert_eq!((sizes(), server.direct()), (vec![20], 0), "{budget}");
        project.write("pipeline.toml", text);
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected(Dialect::OpenAi, 60));
        assert_eq!((sizes(), server.direct()), (vec![20, 40], 0), "{budget}");
    }
}

#[test]
fn the_replies_of_a_cancelled_batch_are_kept() {
    for dialect in ALL {
        let server = server().batches(|_, number| Course::after(if number == 0 { 60_000 } else { 0 })).start();
        let project = batched(&server, dialect, 20);
        project.run(&["run", "pipeline.toml", "--detach"]).exits(0);
        project.run(&["batches", "pipeline.toml", "--cancel", "x"]).exits(2).says("no batch is open with the name `x`");
        let ran = project.run(&["batches", "pipeline.toml", "--cancel"]).exits(0);
        assert!(ran.stdout.contains("20 calls to small") && ran.stdout.contains("cancelled"), "{}", ran.stdout);
        project.run(&RUN).exits(0);
        assert!(project.bytes(OUT) == expected(dialect, 20), "{dialect:?}");
        let sizes: Vec<usize> = server.jobs().iter().map(|job| job.calls.len()).collect();
        assert_eq!((sizes, server.requests()), (vec![20, 10], 20), "{dialect:?}");
    }
}

#[test]
fn a_batch_that_is_cancelled_under_a_run_stops_it() {
    let server = server().batches(|_, number| Course::after(if number == 0 { 60_000 } else { 0 })).start();
    let project = batched(&server, Dialect::OpenAi, 20);
    let running = project.spawn(&RUN);
    wait_jobs(&server, 1);
    std::thread::sleep(Duration::from_millis(500));
    project.run(&["batches", "pipeline.toml", "--cancel"]).exits(0);
    running.wait().exits(3).says("its batch was cancelled");
    assert_eq!(server.jobs().len(), 1, "nothing is sent again by itself");
    project.run(&RUN).exits(0);
    assert!(project.bytes(OUT) == expected(Dialect::OpenAi, 20));
}

#[test]
fn questions_after_the_first_answer_are_sent_directly() {
    let server = server().start();
    let survey = "[stages.tone]\ntype = \"survey\"\nmemory = true\nmodels = [\"one\"]\ninput = \"speeches\"\n\
        persona = \"You gave this speech. {{ text }}\"\n[[stages.tone.questions]]\nid = \"a\"\ntext = \"Is it good?\"\n\
        options = [\"yes\", \"no\"]\n[[stages.tone.questions]]\nid = \"b\"\ntext = \"Is it bad?\"\noptions = [\"yes\", \"no\"]\n";
    let text = spec(Dialect::OpenAi, "batch = true");
    let text = format!("{}{survey}", &text[..text.find("[stages.tone]").expect("the stage")]);
    let project = project(&server, &text, 10);
    project.run(&RUN).exits(0);
    assert_eq!((server.jobs().len(), server.jobs()[0].calls.len(), server.direct()), (1, 10, 10));
}

#[test]
fn large_calls_are_divided_into_several_batches() {
    let server = server().start();
    let text = spec(Dialect::Gemini, "batch = true").replace("{{ text }}", "{{ text }} {{ long }}");
    let long = "x".repeat(1 << 20);
    let mut data = rows(24);
    let data: Vec<Vec<String>> = data
        .iter_mut()
        .enumerate()
        .map(|(i, row)| row.iter().cloned().chain([if i == 0 { "long".to_owned() } else { long.clone() }]).collect())
        .collect();
    let project = Project::new().env("LAB_ROOT", &server.url()).spec(&text).csv("data.csv", &data);
    project.run(&RUN).exits(0);
    let jobs = server.jobs();
    assert!(jobs.len() >= 2 && jobs.iter().all(|job| job.calls.len() <= 18), "{}", jobs.len());
    assert_eq!((times(&jobs).len(), server.direct()), (24, 0));
}

#[test]
fn a_spec_says_where_batches_make_no_sense() {
    let server = server().start();
    let with = |provider: &str| project(&server, &spec(Dialect::OpenAi, provider), 2);
    with("batch_retries = \"batched\"").run(&RUN).exits(2).says("calls do not go in batches");
    let ran = with("batch = true").run(&["run", "pipeline.toml", "--on", "local"]).exits(2);
    assert!(ran.stderr.contains("workers send no batches"), "{}", ran.stderr);
    let ollama = spec(Dialect::OpenAi, "batch = true").replace("\"openai\"", "\"ollama\"");
    project(&server, &ollama, 2).run(&RUN).exits(2).says("`batch`");
    assert_eq!((server.requests(), server.jobs().len()), (0, 0));
}

/// The batches whose jobs the ledger knows.
fn known_jobs(project: &Project) -> Vec<String> {
    let ledger = project.path(".fanfold/ledger.sqlite");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let Ok(ledger) = rusqlite::Connection::open_with_flags(ledger, flags) else { return Vec::new() };
    let Ok(mut sql) = ledger.prepare("SELECT job FROM batches WHERE job IS NOT NULL") else { return Vec::new() };
    sql.query_map([], |row| row.get(0)).expect("a list").map(|job| job.expect("a text")).collect()
}

/// Numbers that are the same in every run of the test.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Kills a run again and again until one gets to the end. Returns the number of kills.
fn killed_again_and_again(numbers: &mut Numbers, dialect: Dialect, expected: &[u8]) -> usize {
    const ROWS: usize = 40;
    let late = numbers.below(900);
    let course = move |_: &Job, number: usize| Course {
        after_ms: late,
        misses: if number == 0 { |place| place % 5 == 0 } else { |_| false },
        is_lost: number % 4 == 1,
        ..Course::default()
    };
    let server = server().batches(course).start();
    let project = batched(&server, dialect, ROWS);
    // For each job that the ledger knew after a kill: how many jobs there were then.
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut kills = 0;
    loop {
        let mut running = project.spawn(&RUN);
        let latest = [120, 700, 2_000][numbers.below(3) as usize];
        let moment = Instant::now() + Duration::from_millis(5 + numbers.below(latest));
        while Instant::now() < moment && !running.ended() {
            std::thread::sleep(Duration::from_millis(1));
        }
        if running.ended() {
            running.wait().exits(0);
            break;
        }
        running.kill();
        kills += 1;
        let count = server.jobs().len();
        for job in known_jobs(&project) {
            known.entry(job).or_insert(count);
        }
        assert!(kills <= 100, "it does not get on");
    }
    assert!(project.bytes(OUT) == expected, "{dialect:?}: after {kills} kills the table differs");
    let jobs = server.jobs();
    for (place, job) in jobs.iter().enumerate() {
        let Some(since) = known.get(&job.id) else { continue };
        let answered: BTreeSet<&String> = job.answered().collect();
        for later in &jobs[(*since).max(place + 1)..] {
            let twice: Vec<_> = later.calls.iter().filter(|call| answered.contains(call)).collect();
            assert!(twice.is_empty(), "{dialect:?}: {} has calls of {}: {twice:?}", later.id, job.id);
        }
    }
    project.run(&RUN).exits(0).says("0 calls sent");
    assert_eq!((server.jobs().len(), server.direct()), (jobs.len(), 0), "{dialect:?}");
    kills
}

/// `FANFOLD_TEST_KILLS=300 cargo test --test suite -- batches::killed --nocapture` makes more of them.
#[test]
fn killed_at_random_moments_a_run_sends_no_call_of_a_known_batch_again() {
    let wanted = std::env::var("FANFOLD_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(9);
    let tables = ALL.map(|dialect| expected(dialect, 40));
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut kills, mut runs) = (0, 0);
    while kills < wanted {
        let dialect = runs % ALL.len();
        kills += killed_again_and_again(&mut numbers, ALL[dialect], &tables[dialect]);
        runs += 1;
    }
    eprintln!("{kills} kills of {runs} batched runs");
}
