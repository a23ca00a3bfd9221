//! Ollama's requests and replies, byte for byte, after its public API documents.

use serde_json::json;

use super::*;
use crate::provider::{Options, Sampling};

fn wire() -> OllamaWire {
    OllamaWire::new(StructuredOutput::default(), None)
}

fn keeping(keep_alive: &str) -> OllamaWire {
    OllamaWire::new(StructuredOutput::default(), Some(&KeepAlive::new(keep_alive)))
}

fn answer(status: u16, body: &str) -> Answer<'_> {
    Answer { status, retry_after: None, body: body.as_bytes() }
}

fn kind(status: u16, body: &str) -> CallErrorKind {
    wire().decode(answer(status, body)).unwrap_err().kind
}

#[test]
fn requests_are_these_bytes() {
    let model = Model { id: "llama3.2".to_owned(), sampling: Sampling::default() };
    let messages = [Message::system("Be brief."), Message::user("Hä?\n\"x\"")];
    let bare = wire().encode(&Call { model: &model, messages: &messages, schema: None });
    assert_eq!(
        String::from_utf8(bare.body.clone()).unwrap(),
        r#"{"model":"llama3.2","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hä?\n\"x\""}],"stream":false,"truncate":false,"shift":false,"options":{"num_ctx":4096}}"#
    );
    assert!(bare.body[..bare.keyed].ends_with(br#""options":{"num_ctx":4096}"#));

    let sampling = Sampling {
        temperature: Some(0.0),
        top_p: Some(0.9),
        max_tokens: Some(128),
        stop: vec!["END".to_owned()],
        seed: Some(42),
        num_ctx: Some(8192),
        ..Sampling::default()
    };
    let model = Model { id: "m".to_owned(), sampling };
    let schema = json!({"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}});
    let full = keeping("-1").encode(&Call { model: &model, messages: &messages[1..], schema: Some(&schema) });
    assert_eq!(
        String::from_utf8(full.body).unwrap(),
        r#"{"model":"m","messages":[{"role":"user","content":"Hä?\n\"x\""}],"stream":false,"truncate":false,"shift":false,"format":{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"string"}}},"options":{"num_ctx":8192,"temperature":0.0,"top_p":0.9,"num_predict":128,"seed":42,"stop":["END"]},"keep_alive":-1}"#
    );
    let other = keeping("1h").encode(&Call { model: &model, messages: &messages[1..], schema: Some(&schema) });
    let again = wire().encode(&Call { model: &model, messages: &messages[1..], schema: Some(&schema) });
    assert_eq!(other.body[..other.keyed], again.body[..again.keyed]);
}

#[test]
fn seeds_fit_every_server() {
    assert_eq!(portable_seed(42), 42);
    assert_eq!(portable_seed(i32::MAX as u64), i32::MAX as u64);
    assert!(portable_seed(u64::MAX) <= i32::MAX as u64);
    assert_ne!(portable_seed(1 << 40), portable_seed(1 << 41));
}

#[test]
fn replies_are_read_with_their_end() {
    let reply = |body: &str| wire().decode(answer(200, body));
    let done = r#"{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"{\"a\":1}"},"done_reason":"stop","done":true,"total_duration":5,"prompt_eval_count":26,"eval_count":9}"#;
    let want = Reply {
        text: r#"{"a":1}"#.to_owned(),
        finish: Finish::Stop,
        prompt_tokens: Some(26),
        cached_tokens: 0,
        cache_writes: 0,
        completion_tokens: Some(9),
        build: None,
        probabilities: None,
        tokens: Vec::new(),
        thoughts: Default::default(),
        quotas: Default::default(),
    };
    assert_eq!(reply(done).unwrap(), want);
    assert_eq!(reply(&done.replace("\"stop\"", "\"length\"")).unwrap().finish, Finish::Length);
    assert_eq!(reply(&done.replace("\"stop\"", "\"odd\"")).unwrap().finish, Finish::Other("odd".to_owned()));
    assert_eq!(reply(r#"{"message":{"content":"x"},"done":true}"#).unwrap().finish, Finish::Stop);
    assert_eq!(reply(r#"{"message":{"content":""},"done":true,"done_reason":"length"}"#).unwrap().text, "");
}

#[test]
fn probabilities_of_tokens_are_asked_for_and_read() {
    let sampling = Sampling { logprobs: true, ..Sampling::default() };
    let model = Model { id: "m".to_owned(), sampling };
    let sent = wire().encode(&Call { model: &model, messages: &[], schema: None }).body;
    assert!(String::from_utf8(sent).unwrap().contains(r#""logprobs":true,"top_logprobs":20,"options""#));
    let done = r#"{"message":{"content":"a"},"done":true,"done_reason":"stop","logprobs":[
        {"token":"a","logprob":-0.6931471805599453,"bytes":[97],"top_logprobs":[{"token":"b","logprob":-1.3862943611198906}]}]}"#;
    let tokens = wire().decode(answer(200, done)).unwrap().tokens;
    assert!(tokens[0].bytes == b"a" && (tokens[0].probability - 0.5).abs() < 1e-12);
    assert!(tokens[0].likeliest[0].0 == b"b" && (tokens[0].likeliest[0].1 - 0.25).abs() < 1e-12);
}

#[test]
fn broken_replies_have_their_class() {
    use CallErrorKind as K;
    for (body, want) in [
        (r#"{"message":{"content":"x"},"done":false}"#, K::Truncated),
        (r#"{"message":{"content":"x"}}"#, K::Truncated),
        (r#"{"message":{"content":"x"#, K::Truncated),
        ("", K::Truncated),
        (r#"{"done":true,"done":true}"#, K::Malformed),
        ("<html>hello</html>", K::Malformed),
        (r#"{"message":"x","done":true}"#, K::Malformed),
        (r#"{"error":"boom"}"#, K::ServerError { retry_after: None }),
    ] {
        assert_eq!(kind(200, body), want, "{body}");
    }
    for reason in ["stop", "load"] {
        let body = format!(r#"{{"message":{{"content":""}},"done":true,"done_reason":"{reason}"}}"#);
        assert_eq!(wire().decode(answer(200, &body)).unwrap().text, "", "{reason}");
    }
    assert_eq!(kind(200, &"[".repeat(10_000)), K::Malformed);
    assert_eq!(kind(200, &format!(r#"{{"x":{}1"#, "[".repeat(100_000))), K::Truncated);
}

#[test]
fn errors_have_their_class() {
    use CallErrorKind as K;
    let missing = wire().decode(answer(404, r#"{"error":"model 'llama9' not found"}"#)).unwrap_err();
    assert_eq!(missing.kind, K::UnknownModel);
    assert!(missing.message.contains("run `ollama pull llama9`"), "{}", missing.message);
    let foreign = wire().decode(answer(404, "404 page not found")).unwrap_err();
    assert_eq!((foreign.kind, foreign.message.contains("ollama pull")), (K::UnknownModel, false));
    assert_eq!(kind(400, r#"{"error":"the input length exceeds the context length"}"#), K::ContextTooLong);
    assert_eq!(kind(400, r#"{"error":"invalid options"}"#), K::Rejected);
    assert_eq!(kind(503, r#"{"error":"server busy"}"#), K::Unavailable { retry_after: None });
    assert_eq!(kind(500, r#"{"error":"llama runner process has terminated"}"#), K::ServerError { retry_after: None });
}

#[test]
fn the_build_comes_from_the_list_of_models() {
    let tags = r#"{"models":[
        {"name":"llama3.2:latest","model":"llama3.2:latest","digest":"abc","details":{"quantization_level":"Q4_K_M"}},
        {"name":"hf.co/x/y:Q4_K_M","digest":"def"}]}"#;
    let find = |id: &str, status: u16, body: &str| {
        wire().find_model(
            &Model { id: id.to_owned(), sampling: Sampling::default() },
            "http://h:1",
            answer(status, body),
        )
    };
    let build = find("llama3.2", 200, tags).unwrap();
    assert_eq!((build.digest.as_deref(), build.quantization.as_deref()), (Some("abc"), Some("Q4_K_M")));
    assert_eq!(find("hf.co/x/y:q4_k_m", 200, tags).unwrap().digest.as_deref(), Some("def"));
    let error = find("llama3.3", 200, tags).unwrap_err();
    assert_eq!(error.kind, CallErrorKind::UnknownModel);
    assert_eq!(
        error.message,
        "model `llama3.3` is not pulled on http://h:1; run `ollama pull llama3.3` (or did you mean `llama3.2:latest`?)"
    );
    assert_eq!(find("llama3.2:1b", 200, tags).unwrap_err().kind, CallErrorKind::UnknownModel);
    assert_eq!(find("x", 404, "404 page not found").unwrap_err().kind, CallErrorKind::Rejected);
}

#[test]
fn options_are_sent_as_ollama_calls_them() {
    let options = json!({"top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1, "num_thread": 4, "use_mmap": false});
    let options: Options = serde_json::from_value(options).unwrap();
    let encode = |sampling: Sampling| {
        let model = Model { id: "m".to_owned(), sampling: Sampling { seed: Some(7), ..sampling } };
        wire().encode(&Call { model: &model, messages: &[Message::user("x")], schema: None })
    };
    let sent = encode(Sampling { options, ..Sampling::default() });
    assert_eq!(
        String::from_utf8(sent.body).unwrap(),
        r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stream":false,"truncate":false,"shift":false,"options":{"num_ctx":4096,"seed":7,"top_k":40,"min_p":0.05,"repeat_penalty":1.1,"num_thread":4,"use_mmap":false}}"#
    );
    // The field and the older form of `extra` are the same call.
    let options: Options = serde_json::from_value(json!({"top_k": 40})).unwrap();
    let extra = json!({"options": {"top_k": 40}}).as_object().cloned().unwrap();
    assert_eq!(encode(Sampling { options, ..Sampling::default() }), encode(Sampling { extra, ..Sampling::default() }));
}

#[test]
fn what_a_modelfile_adds_comes_from_further_pages() {
    let model = Model { id: "llama3.2".to_owned(), sampling: Sampling::default() };
    let pages = wire().build_pages(&model);
    let [show, version] = pages.as_slice() else { panic!("{pages:?}") };
    let body = show.body.as_ref().map(Value::to_string);
    assert_eq!((show.path.as_str(), body.as_deref()), ("api/show", Some(r#"{"model":"llama3.2"}"#)));
    assert_eq!((version.path.as_str(), &version.body), ("api/version", &None));
    let after = |page: &Page, status: u16, body: &str| {
        let mut build = Build { quantization: Some("Q4_0".to_owned()), ..Build::default() };
        build.service.software = Some("before".to_owned());
        wire().add_page(&mut build, page, answer(status, body));
        build
    };
    let hash = blake3::hash(b"{{ .Prompt }}").to_hex().to_string();
    let shown = json!({
        "template": "{{ .Prompt }}", "details": {"quantization_level": "Q8_0"}, "modelfile": "FROM x", "system": "Be brief.",
        "parameters": "top_k                          20\nstop                           \"<|im_end|>\"",
        "messages": [{"role": "user", "content": "Is Toronto in Canada?"}, {"role": "assistant", "content": "yes"}],
    });
    let build = after(show, 200, &shown.to_string());
    assert_eq!((build.quantization.as_deref(), build.template), (Some("Q4_0"), Some(hash)));
    let service = Service {
        software: Some("before".to_owned()),
        system: Some("Be brief.".to_owned()),
        parameters: vec!["stop \"<|im_end|>\"".to_owned(), "top_k 20".to_owned()],
        messages: vec!["user: Is Toronto in Canada?".to_owned(), "assistant: yes".to_owned()],
    };
    assert_eq!(build.service, service);
    assert_eq!(after(version, 200, r#"{"version":"0.17.4"}"#).service.software.as_deref(), Some("Ollama 0.17.4"));
    // A gateway may lack the pages.
    let untouched = after(show, 404, r#"{"error":"model 'x' not found"}"#);
    assert_eq!((&untouched.template, untouched.quantization.as_deref()), (&None, Some("Q4_0")));
    assert_eq!(after(show, 200, "no JSON"), untouched);
    assert_eq!(after(version, 404, "404 page not found"), untouched);
    let empty = after(show, 200, r#"{"system":"","parameters":"","messages":null}"#).service;
    assert_eq!(empty, Service { software: Some("before".to_owned()), ..Service::default() });
}

#[test]
fn what_stands_beside_an_answer_may_be_anything() {
    for side in [
        r#""eval_count":1e999"#,
        r#""eval_count":"many""#,
        r#""prompt_eval_count":null"#,
        r#""done_reason":5"#,
        r#""logprobs":"none""#,
    ] {
        let body = format!("\u{feff}\n{{\"message\":{{\"content\":\"x\"}},\"done\":true,{side}}}");
        let reply = wire().decode(answer(200, &body)).unwrap();
        assert_eq!((reply.text.as_str(), reply.finish, reply.completion_tokens), ("x", Finish::Stop, None), "{side}");
    }
}

#[test]
fn lines_of_a_stream_are_one_reply() {
    let lines = r#"{"message":{"content":"","thinking":"Hm"},"done":false}
        {"message":{"content":"","thinking":", maybe."},"done":false}
        {"message":{"content":"ye"},"done":false}
        {"message":{"content":"s"},"done":true,"done_reason":"stop","eval_count":4}"#;
    let reply = wire().decode(answer(200, lines)).unwrap();
    assert_eq!((reply.text.as_str(), reply.thoughts.text.as_deref()), ("yes", Some("Hm, maybe.")));
    assert_eq!((reply.finish, reply.completion_tokens), (Finish::Stop, Some(4)));
    assert_eq!(
        kind(200, lines.split_once("\n        {\"message\":{\"content\":\"s\"").unwrap().0),
        CallErrorKind::Truncated
    );
}

#[test]
fn lines_of_any_shape_are_joined_without_a_panic() {
    let lines = [
        json!({ "message": { "content": "a", "thinking": "x" }, "logprobs": [1], "done": false }),
        json!({ "message": { "content": "b" }, "done": true, "done_reason": "stop" }),
    ];
    crate::provider::stream::with_odd_values(&lines).into_iter().for_each(|lines| drop(joined(lines)));
}
