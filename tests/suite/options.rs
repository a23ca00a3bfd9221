//! Settings of a model and of an Ollama server: which requests carry them, and under which name.

use serde_json::{Value, json};

use crate::project::Project;
use crate::recipe::{TYPED, project, rows, spec, spec_with};
use crate::server::{Dialect, Server};

const RUN: [&str; 2] = ["run", "pipeline.toml"];

fn llama() -> String {
    format!("models = [\"llama\"]\n{TYPED}")
}

/// The usual spec with these lines in the table of the model `llama`.
fn with_options(options: &str) -> String {
    spec(&llama()).replacen("num_ctx = 4096\n", &format!("num_ctx = 4096\n{options}\n"), 1)
}

fn keep_alive(server: &Server) -> Vec<Option<Value>> {
    let mut found: Vec<_> = server.asked().iter().map(|asked| asked.body.get("keep_alive").cloned()).collect();
    found.dedup();
    found
}

#[test]
fn keep_alive_is_sent_only_if_the_spec_has_it() {
    let server = Server::new().start();
    let project = project(&server, &spec(&llama()), 3);
    project.run(&RUN).exits(0);
    assert_eq!(keep_alive(&server), [None]);
    let table = project.bytes("out/tone.parquet");
    // It does not change an answer: with any value the answers of before count.
    for (line, sent) in [
        ("keep_alive = 300", json!(300)),
        ("keep_alive = \"300\"", json!(300)),
        ("keep_alive = -1", json!(-1)),
        ("keep_alive = \"1h30m\"", json!("1h30m")),
    ] {
        server.forget();
        project.write("pipeline.toml", spec_with(line, &llama()));
        project.run(&RUN).exits(0);
        assert_eq!((server.requests(), project.bytes("out/tone.parquet")), (0, table.clone()), "{line}");
        project.run(&["run", "pipeline.toml", "--fresh"]).exits(0);
        assert_eq!(keep_alive(&server), [Some(sent)], "{line}");
    }
    // Nor does it count when it is taken out again.
    server.forget();
    project.write("pipeline.toml", spec(&llama()));
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 0);
}

#[test]
fn a_bench_sends_no_keep_alive_either() {
    let server = Server::new().start();
    let project = project(&server, &spec(&llama()), 3);
    project.run(&["bench", "pipeline.toml", "--concurrency", "1", "--runs", "2", "--warmup", "1"]).exits(0);
    assert!(server.requests() > 0);
    assert_eq!(keep_alive(&server), [None]);
}

#[test]
fn options_of_ollama_are_sent_locked_and_keyed() {
    let server = Server::new().start();
    let options = "top_k = 40\nmin_p = 0.05\ntypical_p = 0.9\nrepeat_penalty = 1.1\nrepeat_last_n = -1\n\
                   presence_penalty = 0.5\nfrequency_penalty = -0.5\nnum_thread = 4\nnum_gpu = 0\nmain_gpu = 0\n\
                   num_batch = 256\nuse_mmap = false";
    let project = project(&server, &with_options(options), 3);
    project.run(&RUN).exits(0);
    let wanted = json!({
        "num_ctx": 4096, "temperature": 0.0, "num_predict": 64, "seed": 42, "top_k": 40, "min_p": 0.05, "typical_p": 0.9,
        "repeat_penalty": 1.1, "repeat_last_n": -1, "presence_penalty": 0.5, "frequency_penalty": -0.5, "num_thread": 4,
        "num_gpu": 0, "main_gpu": 0, "num_batch": 256, "use_mmap": false,
    });
    assert!(server.asked().iter().all(|asked| asked.body["options"] == wanted), "{}", server.asked()[0].body);
    let lock = project.text("pipeline.toml.lock");
    for line in ["\"options.top_k\" = 40", "\"options.repeat_penalty\" = 1.1", "\"options.use_mmap\" = false"] {
        assert!(lock.contains(line), "`{line}` is not in:\n{lock}");
    }
    // Each option counts: another value is another call.
    for (old, new) in [("top_k = 40", "top_k = 20"), ("num_gpu = 0", "num_gpu = 1"), ("use_mmap = false", "")] {
        server.forget();
        project.write("pipeline.toml", with_options(&options.replace(old, new)));
        project.run(&RUN).exits(0);
        assert_eq!(server.requests(), 3, "{new}");
    }
}

#[test]
fn the_older_form_of_an_option_is_the_same_call() {
    let server = Server::new().start();
    let project = project(&server, &with_options("extra = { options = { top_k = 40, num_thread = 4 } }"), 3);
    project.run(&RUN).exits(0);
    server.forget();
    project.write("pipeline.toml", with_options("top_k = 40\nnum_thread = 4"));
    project.run(&RUN).exits(0);
    assert_eq!(server.requests(), 0);
}

#[test]
fn every_provider_gets_an_option_under_its_own_name() {
    let server = Server::new().start();
    let models = [
        ("ollama", "llama3.2", "top_k = 40\nmin_p = 0.1\npresence_penalty = 0.5", "base_url = \"URL\""),
        ("openai", "llama3.2", "top_k = 40\nmin_p = 0.1\npresence_penalty = 0.5", "base_url = \"URL/v1\""),
        ("openai", "mistral", "top_k = 40\nfrequency_penalty = 0.5", "base_url_env = \"LAB_URL\""),
        ("anthropic", "llama3.2", "top_k = 40", "base_url = \"URL\""),
        ("gemini", "llama3.2", "top_k = 40\npresence_penalty = 0.5", "base_url = \"URL\""),
    ];
    for (kind, model, options, address) in models {
        server.forget();
        let address =
            address.replace("URL\"", &format!("{}\"", server.url())).replace("URL/", &format!("{}/", server.url()));
        let address = if address.contains("LAB_") { "base_url_env = \"LAB_URL\"".to_owned() } else { address };
        let text = format!(
            "[providers.lab]\ntype = \"{kind}\"\n{address}\n[models.a]\nprovider = \"lab\"\nmodel = \"{model}\"\n{options}\n\
             [sources.rows]\ntype = \"file\"\npath = \"data.csv\"\n[stages.tone]\ntype = \"analysis\"\ninput = \"rows\"\n\
             models = [\"a\"]\nprompt = \"{{{{ text }}}}\"\n[outputs.tone]\ninput = \"tone\"\npath = \"out/tone.csv\"\n"
        );
        let project = Project::new().env("LAB_URL", &server.openai_url()).spec(&text).csv("data.csv", &rows(2));
        project.run(&RUN).exits(0);
        let asked = &server.asked()[0];
        let body = &asked.body;
        match (asked.dialect, model) {
            (Dialect::Ollama, _) => {
                let wanted = json!({"num_ctx": 4096, "top_k": 40, "min_p": 0.1, "presence_penalty": 0.5});
                assert_eq!(body["options"], wanted);
            }
            (Dialect::OpenAi, "mistral") => {
                assert_eq!((&body["top_k"], &body["frequency_penalty"]), (&json!(40), &json!(0.5)));
            }
            (Dialect::OpenAi, _) => {
                assert_eq!((&body["top_k"], &body["min_p"]), (&json!(40), &json!(0.1)));
                assert_eq!(body["presence_penalty"], json!(0.5));
            }
            (Dialect::Anthropic, _) => assert_eq!(body["top_k"], json!(40)),
            (Dialect::Gemini, _) => {
                assert_eq!(body["generationConfig"], json!({"topK": 40, "presencePenalty": 0.5}));
            }
        }
    }
}

#[test]
fn options_in_the_wrong_place_stop_a_run() {
    let server = Server::new().start();
    for (line, says) in [
        ("extra = { top_k = 40 }", "write `top_k = 40` in the table of the model"),
        ("extra = { repeat_penalty = 1.1 }", "write `repeat_penalty = 1.1` in the table of the model"),
        ("extra = { num_thread = 4 }", "write `num_thread = 4` in the table of the model"),
        ("extra = { tfs_z = 1.0 }", "write `extra = { options = { tfs_z = 1.0 } }`"),
        ("topk = 40", "did you mean `top_k`?"),
        ("repetition_penalty = 1.1", "did you mean `repeat_penalty`?"),
    ] {
        project(&server, &with_options(line), 3).run(&RUN).exits(2).says(says);
    }
    assert_eq!(server.requests(), 0);
}

#[test]
fn addresses_that_are_not_ollamas() {
    let server = Server::new().start();
    let at = |host: &str| project(&server, &spec(&llama()), 3).env("OLLAMA_HOST", host);
    let plain = server.url().replace("http://", "https://");
    at(&plain).run(&RUN).exits(3).says("a server without TLS needs `http://` in its address");
    for host in ["tcp://127.0.0.1:11434", "unix:///run/ollama.sock"] {
        let ran = at(host).run(&RUN).exits(3).says("`http://127.0.0.1:11434`");
        assert!(!ran.stderr.contains("/v1"), "{}", ran.stderr);
    }
    assert_eq!(server.requests(), 0);
}
