//! A server that holds one model gets one (model, context) at a time, over all stages.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::project::Project;
use crate::recipe::rows;
use crate::server::{Ollama, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];

/// A spec with the models `a` (`llama3.2`) and `b` (`mistral`), and these stages.
fn spec(models: &str, stages: &str) -> String {
    format!(
        r#"
[models.a]
provider = "ollama"
model = "llama3.2"
[models.b]
provider = "ollama"
model = "mistral"
{models}
[sources.speeches]
type = "file"
path = "data.csv"
key = "id"
{stages}
"#
    )
}

/// A stage that asks these models about the rows of `input`, and its output.
fn stage(name: &str, input: &str, models: &str, more: &str) -> String {
    format!(
        "[stages.{name}]\ntype = \"analysis\"\ninput = \"{input}\"\nmodels = {models}\n\
         prompt = \"{name}? {{{{ text }}}}\"\nworkers = 2\nbatch_size = 2\n{more}\n\
         [outputs.{name}]\ninput = \"{name}\"\npath = \"out/{name}.csv\"\n"
    )
}

fn run(server: &Server, spec: &str, count: usize) -> Project {
    let project = Project::new().env("OLLAMA_HOST", &server.url()).spec(spec).csv("data.csv", &rows(count));
    project.run(&RUN).exits(0);
    project
}

fn loads(server: &Server) -> Vec<(String, u64)> {
    server.loads()
}

#[test]
fn two_stages_with_two_models_are_two_loads() {
    let server = Server::new().latency_ms(10).ollama(Ollama::default()).start();
    let stages = stage("tone", "speeches", "[\"a\"]", "") + &stage("topic", "speeches", "[\"b\"]", "");
    run(&server, &spec("", &stages), 10);
    assert_eq!((server.requests(), loads(&server).len()), (20, 2), "{:?}", loads(&server));
}

#[test]
fn two_contexts_of_one_model_are_two_loads() {
    let server = Server::new().latency_ms(10).ollama(Ollama { loaded: 3, ..Ollama::default() }).start();
    let wide = "[models.wide]\nprovider = \"ollama\"\nmodel = \"llama3.2\"\nnum_ctx = 8192\n";
    let stages = stage("tone", "speeches", "[\"a\"]", "") + &stage("topic", "speeches", "[\"wide\"]", "");
    run(&server, &spec(wide, &stages), 10);
    assert_eq!((server.requests(), loads(&server).len()), (20, 2), "{:?}", loads(&server));
}

#[test]
fn two_contexts_of_one_model_are_a_hint() {
    let hints = |contexts: [&str; 2], id: &str| {
        let [one, two] = contexts;
        let wide = format!("{one}\n[models.wide]\nprovider = \"ollama\"\nmodel = \"{id}\"\n{two}\n");
        let project = Project::new().spec(&spec(&wide, &stage("tone", "speeches", "[\"a\"]", "")));
        let project = project.csv("data.csv", &rows(3));
        project.run(&["validate", "pipeline.toml"]).exits(0).stderr
    };
    let hint = hints(["", "num_ctx = 8192"], "mistral");
    assert!(hint.contains("`b` and `wide` are `mistral` with a `num_ctx` of 4096 and of 8192"), "{hint}");
    for (contexts, id) in [(["", "num_ctx = 4096"], "mistral"), (["num_ctx = 2048", ""], "phi4"), (["", ""], "mistral")]
    {
        let hint = hints(contexts, id);
        assert!(!hint.contains("num_ctx"), "{contexts:?} {id}: {hint}");
    }
}

#[test]
fn a_stage_that_reads_another_one_waits_for_its_model() {
    let server = Server::new().latency_ms(10).ollama(Ollama::default()).start();
    let stages = stage("tone", "speeches", "[\"a\"]", "chunk_size = 5") + &stage("topic", "tone", "[\"b\"]", "");
    run(&server, &spec("", &stages), 20);
    assert_eq!((server.requests(), loads(&server).len()), (40, 2), "{:?}", loads(&server));
}

#[test]
fn stages_that_need_each_others_models_in_turn_come_to_an_end() {
    let server = Server::new().latency_ms(5).ollama(Ollama::default()).start();
    let stages = stage("one", "speeches", "[\"a\"]", "chunk_size = 5")
        + &stage("two", "one", "[\"b\"]", "chunk_size = 5")
        + &stage("three", "two", "[\"a\"]", "chunk_size = 5")
        + &stage("four", "speeches", "[\"b\"]", "");
    run(&server, &spec("", &stages), 15);
    assert_eq!(server.requests(), 60);
    assert!(loads(&server).len() <= 4, "{:?}", loads(&server));
}

#[test]
fn row_by_row_over_two_models_is_no_stall_and_few_loads() {
    let server = Server::new().latency_ms(10).ollama(Ollama::default()).start();
    let fan_out = "fanout = true\norder = \"row-major\"";
    let begun = Instant::now();
    run(&server, &spec("", &stage("tone", "speeches", "[\"a\", \"b\"]", fan_out)), 10);
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(loads(&server).len() < 10, "{:?}", loads(&server));
}

#[test]
fn a_fallback_on_the_other_model_gets_its_turn() {
    let script = |asked: &crate::server::Asked, _: usize| match asked.model.as_str() {
        "llama3.2" if asked.question().contains("Speech 3,") => crate::server::Say::status(400),
        _ => crate::server::Say::Default,
    };
    let server = Server::new().latency_ms(5).ollama(Ollama::default()).script(script).start();
    let text = spec("", &stage("tone", "speeches", "[\"a\"]", ""));
    let text = text.replace("model = \"llama3.2\"", "model = \"llama3.2\"\nfallback = [\"b\"]");
    run(&server, &text, 12);
    assert_eq!((server.requests_of("llama3.2"), server.requests_of("mistral")), (12, 1));
    assert!(loads(&server).len() <= 3, "{:?}", loads(&server));
}

#[test]
fn a_server_that_holds_both_models_gets_both() {
    let server = Server::new().latency_ms(60).ollama(Ollama { loaded: 3, ..Ollama::default() }).start();
    let stages = stage("tone", "speeches", "[\"a\"]", "") + &stage("topic", "speeches", "[\"b\"]", "");
    let project = run(&server, &spec("", &stages), 24);
    server.forget();
    // Both are loaded by now.
    let text = project.text("pipeline.toml").replace("tone? ", "Which tone? ").replace("topic? ", "Which topic? ");
    project.write("pipeline.toml", text);
    project.run(&RUN).exits(0);
    assert_eq!((loads(&server).len(), server.requests()), (2, 48));
    assert!(server.model_switches() > 1, "the calls of both are in flight at the same time");
}

#[test]
fn the_scripted_ollama_stalls_as_the_real_one() {
    let server = Server::new().latency_ms(100).ollama(Ollama { slots: 1, ..Ollama::default() }).start();
    let ask = |model: &str, keep: &str| {
        let body = format!("{{\"model\":\"{model}\",\"messages\":[],\"keep_alive\":{keep}}}");
        let mut stream = TcpStream::connect(server.url().trim_start_matches("http://")).expect("a connection");
        let head = format!("POST /api/chat HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).expect("sent");
        stream
    };
    let wait = |mut stream: TcpStream| {
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).expect("a reply");
        assert_eq!(&reply, b"HTTP/1.1 200");
    };
    // Two calls of one model, then one of the other; the second call ends after the other one was asked.
    let took = |keep: &str| {
        let (first, second) = (ask("llama3.2", keep), ask("llama3.2", keep));
        std::thread::sleep(Duration::from_millis(30));
        let begun = Instant::now();
        let other = ask("mistral", keep);
        std::thread::sleep(Duration::from_millis(30));
        let late = ask("llama3.2", keep);
        [first, second, late, other].into_iter().for_each(wait);
        wait(ask("mistral", "0"));
        begun.elapsed()
    };
    let (without, with) = (took("null"), took("\"2s\""));
    assert!(without < Duration::from_secs(2), "{without:?}");
    assert!(with >= Duration::from_secs(2), "the loaded model stays for its time: {with:?}");
}

#[test]
fn a_full_queue_is_refused_and_nothing_is_lost() {
    let server = Server::new().latency_ms(20).ollama(Ollama { queue: 1, slots: 1, ..Ollama::default() }).start();
    let stages = stage("tone", "speeches", "[\"a\"]", "") + &stage("topic", "speeches", "[\"b\"]", "");
    run(&server, &spec("", &stages), 8);
    assert_eq!(server.answered(), 16);
}
