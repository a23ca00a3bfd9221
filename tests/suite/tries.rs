//! Further tries: each differs from those before it, says what was wrong with them, and is recorded. Transport faults
//! send the same request again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::pack::json_of;
use crate::project::Project;
use crate::recipe::{TYPED, openai_spec, project, spec};
use crate::server::{Asked, Say, Server};

const OUT: &str = "out/tone.parquet";
const RUN: [&str; 2] = ["run", "pipeline.toml"];
/// An answer is on disk this time after it came.
const ON_DISK: Duration = Duration::from_secs(1);

fn stage(lines: &str) -> String {
    format!("models = [\"llama\"]\nmax_attempts = 4\nmax_failed = 1\n{lines}\n{TYPED}")
}

/// The requests of a run over one row with a server that always says this.
fn requests(text: &str, say: &Say) -> (Project, Vec<Asked>) {
    let say = say.clone();
    let server = Server::new().script(move |_, _| say.clone()).start();
    let project = project(&server, text, 1);
    project.run(&RUN);
    (project, server.asked())
}

fn seeds(asked: &[Asked]) -> Vec<Option<u64>> {
    let seed = |asked: &Asked| asked.body.pointer("/options/seed").or(asked.body.get("seed")).and_then(Value::as_u64);
    asked.iter().map(seed).collect()
}

fn bodies(asked: &[Asked]) -> BTreeSet<String> {
    asked.iter().map(Asked::call).collect()
}

#[test]
fn no_try_after_a_bad_reply_repeats_another() {
    let cases = [
        (Say::Text("I would say it is sad.".into()), "there is no JSON object in it"),
        (Say::Json(json!({ "label": "glad", "score": 3 })), "\"label\" must be one of"),
        (Say::Truncated("{\"label\": \"neu".into()), "it was too long and was cut off"),
        (Say::EmptyChoices, "the reply has no text"),
    ];
    for (say, reason) in cases {
        let (_, asked) = requests(&spec(&stage("")), &say);
        assert_eq!((asked.len(), bodies(&asked).len()), (4, 4), "{reason}");
        assert_eq!(seeds(&asked).into_iter().collect::<BTreeSet<_>>().len(), 4, "{reason}");
        for (n, request) in asked.iter().enumerate() {
            // The conversation stays short: the prompt, the last reply, and the reasons of all replies.
            assert_eq!(request.messages.len(), if n == 0 { 2 } else { 4 }, "{reason}");
            let said = &request.messages.last().expect("a question").1;
            assert_eq!(said.matches(&format!("- {reason}")).count(), n.saturating_sub(1), "{said}");
        }
        let (_, again) = requests(&spec(&stage("")), &say);
        assert_eq!(bodies(&again), bodies(&asked), "a function of the spec and the replies");
    }
}

#[test]
fn a_server_without_seeds_gets_other_words() {
    let text = openai_spec("", &stage("")).replace("seed = 42\n", "").replace("temperature = 0.0", "temperature = 0.9");
    let (_, asked) = requests(&text, &Say::Text("sad".into()));
    assert_eq!((asked.len(), bodies(&asked).len()), (4, 4));
    assert_eq!(seeds(&asked), [None; 4]);
}

#[test]
fn transport_faults_send_the_same_request_again() {
    for fault in [Say::status(500), Say::Reset, Say::CutBody] {
        let server = Server::new()
            .script(move |asked, _| match asked.number {
                0 | 2 => fault.clone(),
                1 => Say::Text("sad".into()),
                _ => Say::Default,
            })
            .start();
        let project = project(&server, &spec(&stage("")), 1);
        project.run(&RUN).exits(0);
        let asked = server.asked();
        assert_eq!(asked.len(), 4);
        assert_eq!((asked[0].call(), asked[2].call()), (asked[1].call(), asked[3].call()));
        assert_ne!(asked[1].call(), asked[2].call());
    }
}

#[test]
fn the_key_stays_and_what_was_sent_is_recorded_and_explained() {
    let server = Server::new()
        .script(|asked, _| if asked.number < 2 { Say::Text(format!("sad {}", asked.number)) } else { Say::Default })
        .start();
    let project = project(&server, &spec(&stage("")), 1);
    project.run(&RUN).exits(0);
    let asked = server.asked();
    let tries = json_of(project.calls().strings("earlier_tries")[0].as_deref().expect("tries"));
    for n in [0, 1] {
        let then = &tries[n]["then"];
        assert_eq!(then["said"], asked[n + 1].messages.last().expect("a question").1.as_str());
        assert_eq!(then["seed"].as_u64(), seeds(&asked)[n + 1]);
        assert_eq!(tries[n]["reply"], format!("sad {n}"));
    }
    let shown = project.run(&["explain", OUT, "s0000"]).exits(0).stdout;
    for line in
        ["then sent, with the seed ", "| That answer can't be used: there is no JSON object in it.", "| - there is no"]
    {
        assert!(shown.contains(line), "`{line}` is not in:\n{shown}");
    }
    let key = project.calls().texts("call_key");
    std::fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs");
    project.run(&RUN).exits(0).says("0 calls sent, 1 from the ledger");
    assert_eq!(project.calls().texts("call_key"), key);
}

/// A server that cuts speech 3 off below 100 tokens, and speech 5 at its first try.
fn cutting() -> Server {
    let script = |asked: &Asked, _: usize| {
        let limit = asked.body.pointer("/options/num_predict").and_then(Value::as_u64).unwrap_or(0);
        let is_long = asked.question().contains("Speech 3,") || asked.question().contains("Speech 5,");
        let is_first = asked.messages.len() < 4;
        match limit < 100 && is_long && (is_first || asked.question().contains("Speech 3,")) {
            true => Say::Truncated("{\"label\": \"neu".into()),
            false => Say::Default,
        }
    };
    Server::new().script(script).start()
}

#[test]
fn a_killed_run_leaves_its_limit_without_its_folder() {
    let late = |asked: &Asked, _: usize| match asked.question().contains("Speech 9,") {
        true => Say::Late(60_000, Box::new(Say::Default)),
        false => Say::Default,
    };
    let server = Server::new().script(late).start();
    let text = spec(&format!("models = [\"llama\"]\n{TYPED}"));
    let project = project(&server, &text, 10);
    let running = project.spawn(&RUN);
    assert!(server.wait_answered(9), "nine answers do not come");
    std::thread::sleep(ON_DISK);
    running.kill();
    std::fs::remove_dir_all(project.path(".fanfold/runs")).expect("the folder of the run");
    let runs = project.run(&["runs"]).exits(0).stdout;
    assert!(runs.contains("stopped"), "a run without a folder does not run: {runs}");
    project.write("pipeline.toml", text.replace("max_tokens = 64", "max_tokens = 256"));
    let plan = project.run(&["plan", "--format", "json"]).exits(0).json();
    assert_eq!((&plan["stages"][0]["from_ledger"], &plan["stages"][0]["calls_to_send"]), (&json!(9), &json!(1)));
}

#[test]
fn a_larger_limit_keeps_the_replies_that_ended_by_themselves() {
    let text = spec(&format!("models = [\"llama\"]\nmax_attempts = 2\nmax_failed = 1\n{TYPED}"));
    let server = cutting();
    let project = project(&server, &text, 10);
    project.run(&RUN).exits(0).says("9 answered + 1 failed");
    let before = server.requests();
    assert_eq!(before, 12, "two tries of speech 3 and speech 5");
    let first = project.table(OUT);
    project.write("pipeline.toml", text.replace("max_tokens = 64", "max_tokens = 256"));
    let plan = project.run(&["plan", "--format", "json"]).exits(0).json();
    assert_eq!(plan["stages"][0]["calls_to_send"], 2, "{plan}");
    project.run(&RUN).exits(0).says("10 answered + 0 failed").says("2 calls sent, 8 from the ledger");
    assert_eq!(server.requests(), before + 2);
    let asked: BTreeSet<String> = server.asked()[before..].iter().map(|asked| asked.question().to_owned()).collect();
    assert!(asked.iter().all(|text| text.contains("Speech 3,") || text.contains("Speech 5,")), "{asked:?}");
    let (old, new) = (first.strings("label"), project.table(OUT).strings("label"));
    let kept = |row: &usize| ![3, 5].contains(row);
    assert!((0..10).filter(kept).all(|row| old[row] == new[row] && old[row].is_some()));
    project.run(&["verify"]).exits(0);
    // The ledger answers without the folders of the runs.
    std::fs::remove_dir_all(project.path(".fanfold/runs")).expect("the runs are there");
    let table = project.bytes(OUT);
    project.run(&RUN).exits(0).says("0 calls sent");
    assert!(project.bytes(OUT) == table, "the table differs");
    // A clone has the file, but no earlier run.
    project.run(&["ledger", "export", "pipeline.toml", "-o", "calls.parquet"]).exits(0);
    let copy = Project::new().env("OLLAMA_HOST", "http://127.0.0.1:9");
    for file in ["pipeline.toml", "data.csv", "calls.parquet"] {
        copy.write(file, project.bytes(file));
    }
    copy.run(&["run", "--replay", "calls.parquet"]).exits(0).says("0 calls sent");
    assert!(copy.bytes(OUT) == project.bytes(OUT), "the table differs");
    // Other settings are other calls, and so is a smaller limit.
    project.write("pipeline.toml", text.replace("max_tokens = 64", "max_tokens = 256\ntop_p = 0.5"));
    project.run(&RUN).exits(0).says("10 calls sent");
    project.write("pipeline.toml", text.replace("max_tokens = 64", "max_tokens = 200"));
    project.run(&RUN).exits(0).says("2 calls sent, 8 from the ledger");
}

/// A server that gives only its third reply to each speech in the right form, and its first one to the first speech.
fn third_time_lucky(latency: u64) -> Server {
    let script = |asked: &Asked, _: usize| match asked.messages.last() {
        Some((_, said)) if said.contains("Earlier answers had faults too") => Say::Default,
        _ if asked.call().contains("Speech 0,") => Say::Default,
        _ => Say::Text("sad".into()),
    };
    Server::new().latency_ms(latency).script(script).start()
}

fn tokens_of(ledger: &Value) -> (i64, i64) {
    let sum = |name: &str| ledger["contents"]["models"][0][name].as_i64().expect("a number");
    (sum("prompt_tokens"), sum("completion_tokens"))
}

#[test]
fn a_run_continues_the_calls_that_a_budget_stopped_between_two_tries() {
    let undisturbed = third_time_lucky(0);
    let whole = project(&undisturbed, &spec(&stage("")), 13);
    whole.run(&RUN).exits(0);

    let server = third_time_lucky(0);
    let budget = "seed = 42\nbudget = { calls = 10 }\n";
    let project = project(&server, &spec(&stage("")).replacen("seed = 42\n", budget, 1), 13);
    let first = project.run(&RUN).exits(4);
    assert!(first.stderr.contains("stopped between two tries"), "{}", first.stderr);
    for sent in [20, 30] {
        project.run(&RUN).exits(4);
        assert_eq!(server.requests(), sent);
    }
    project.run(&RUN).exits(0);
    assert_eq!((server.requests(), bodies(&server.asked()).len()), (37, 37), "no try is repeated");
    assert_eq!(bodies(&server.asked()), bodies(&undisturbed.asked()));
    assert!(project.bytes(OUT) == whole.bytes(OUT));
    let tries = |project: &Project| {
        let of_call = |tries: &str| {
            let mut tries = json_of(tries).as_array().cloned().expect("a list");
            tries.retain(|one| one["error"] != "stopped: the run ended between two tries");
            tries
        };
        let all = project.calls().strings("earlier_tries");
        all.iter().map(|tries| tries.as_deref().map(of_call)).collect::<Vec<_>>()
    };
    assert_eq!(tries(&project), tries(&whole));
    let told = project.run(&["explain", OUT, "s0001"]).exits(0).stdout;
    assert!(told.contains("stopped: the run ended between two tries"), "{told}");
    let ledger = |project: &Project| project.run(&["ledger", "info", "--format", "json"]).exits(0).json();
    let (one, other) = (ledger(&project), ledger(&whole));
    assert_eq!(tokens_of(&one), tokens_of(&other), "{one:#}");
    assert_eq!((&one["contents"]["answers"], &one["contents"]["failed_calls"]), (&json!(13), &json!(0)), "{one:#}");
}

#[test]
fn a_run_continues_the_calls_that_an_interrupt_stopped_between_two_tries() {
    let server = third_time_lucky(300);
    let project = project(&server, &spec(&stage("")), 13);
    let running = project.spawn(&RUN);
    assert!(server.wait_answered(4), "{}", running.stderr());
    running.sigint();
    running.wait().exits(130);
    let before = server.requests();
    project.run(&RUN).exits(0);
    assert!(before < server.requests());
    assert_eq!((server.requests(), bodies(&server.asked()).len()), (37, 37), "no try is repeated");
}

#[test]
fn a_run_continues_the_calls_between_whose_tries_it_was_killed() {
    let server = third_time_lucky(300);
    let project = project(&server, &spec(&stage("")), 13);
    let running = project.spawn(&RUN);
    assert!(server.wait_answered(20), "{}", running.stderr());
    running.kill();
    let before = server.requests();
    assert!(before < 37);
    project.run(&RUN).exits(0);
    let repeated = server.requests() - bodies(&server.asked()).len();
    assert!(repeated <= 12, "{repeated} tries were repeated: one of each unfinished call was in flight");
    assert_eq!(bodies(&server.asked()).len(), 37);
    let info = project.run(&["ledger", "info", "--format", "json"]).exits(0).json();
    assert_eq!((&info["contents"]["answers"], &info["contents"]["failed_calls"]), (&json!(13), &json!(0)), "{info:#}");
}

#[test]
fn workers_continue_the_calls_that_a_run_on_one_machine_stopped() {
    let server = third_time_lucky(0);
    let project =
        project(&server, &spec(&stage("")).replacen("seed = 42\n", "seed = 42\nbudget = { calls = 10 }\n", 1), 13);
    project.run(&RUN).exits(4);
    project.write("pipeline.toml", spec(&stage("")));
    let ran = project.run(&["run", "pipeline.toml", "--on", "local", "--workers", "2"]).exits(0);
    assert_eq!((server.requests(), bodies(&server.asked()).len()), (37, 37), "no try is repeated");
    assert!(ran.stderr.contains("workers: 12 calls sent, 15 retries"), "27 tries: {}", ran.stderr);
    let told = project.run(&["explain", OUT, "s0001"]).exits(0).stdout;
    assert!(told.contains("stopped: the run ended between two tries"), "{told}");
}

#[test]
fn the_total_budget_counts_the_tries_of_stopped_calls() {
    let server = Server::new()
        .script(|asked, _| match asked.call().contains("Speech 0,") {
            true => Say::Default,
            false => Say::Text("sad".into()),
        })
        .start();
    let budget = "seed = 42\nbudget = { calls = 10, total = { calls = 25 } }\n";
    let project = project(&server, &spec(&stage("")).replacen("seed = 42\n", budget, 1), 12);
    for sent in [10, 20, 25, 25] {
        project.run(&RUN).exits(4);
        assert_eq!(server.requests(), sent);
    }
}

#[test]
fn a_call_that_its_model_gave_up_goes_on_with_the_fallback() {
    let script = |asked: &Asked, _: usize| match (asked.call().contains("Speech 0,"), asked.model.as_str()) {
        (true, _) | (_, "mistral") => Say::Default,
        _ => Say::Text("sad".into()),
    };
    let server = Server::new().script(script).start();
    let text = spec(&stage("")).replacen("model = \"llama3.2\"", "model = \"llama3.2\"\nfallback = [\"mistral\"]", 1);
    let project = project(&server, &text.replacen("seed = 42\n", "seed = 42\nbudget = { calls = 5 }\n", 1), 2);
    project.run(&RUN).exits(4);
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (5, 0));
    project.run(&RUN).exits(0).says("2 rows = 2 answered");
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (5, 1), "it has had its tries");
}
