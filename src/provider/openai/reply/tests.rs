//! OpenAI-compatible replies: every way to end, and every class of error.

use serde_json::json;

use super::super::OpenAi;
use super::super::quirks::{self, Quirk};
use super::*;
use crate::prompt::Message;
use crate::provider::address::Address;
use crate::provider::structured_output::StructuredOutput;
use crate::provider::wire::Wire;
use crate::provider::{Call, Sampling};

fn answer(status: u16, body: &str) -> Answer<'_> {
    Answer { status, retry_after: None, body: body.as_bytes() }
}

fn kind(body: &str) -> CallErrorKind {
    decode(answer(200, body)).unwrap_err().kind
}

fn with_choice(choice: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion","choices":[{choice}],"usage":{{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}},"system_fingerprint":"fp_1"}}"#
    )
}

/// OpenAI itself, or another server.
fn server(home: bool) -> &'static quirks::Server {
    let address = if home { "https://api.openai.com/v1" } else { "https://api.openai.com.example.org/v1" };
    let server = quirks::of(&Address::parse(address).unwrap());
    assert_eq!(server.has(Quirk::MaxCompletionTokens), home);
    server
}

#[test]
fn requests_are_these_bytes() {
    let encode = |structured_output, home, model: &Model, schema: Option<&Value>| {
        let call = Call { model, messages: &[Message::user("hi")], schema };
        let encoded = OpenAi { structured_output, server: server(home) }.encode(&call);
        assert_eq!(encoded.keyed, encoded.body.len());
        String::from_utf8(encoded.body).unwrap()
    };
    let bare = Model { id: "gpt-4o-mini".to_owned(), sampling: Sampling::default() };
    let schema = json!({"type": "object"});
    let head = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]"#;
    assert_eq!(encode(StructuredOutput::JsonSchema, true, &bare, None), format!("{head}}}"));
    assert_eq!(
        encode(StructuredOutput::JsonSchema, true, &bare, Some(&schema)),
        format!(
            r#"{head},"response_format":{{"type":"json_schema","json_schema":{{"name":"answer","strict":true,"schema":{{"type":"object"}}}}}}}}"#
        )
    );
    assert_eq!(
        encode(StructuredOutput::JsonObject, true, &bare, Some(&schema)),
        format!(r#"{head},"response_format":{{"type":"json_object"}}}}"#)
    );
    assert_eq!(encode(StructuredOutput::None, true, &bare, Some(&schema)), format!("{head}}}"));

    let sampling = Sampling {
        temperature: Some(0.2),
        top_p: Some(0.9),
        max_tokens: Some(64),
        stop: vec!["END".to_owned()],
        seed: Some(7),
        num_ctx: Some(8192),
        ..Sampling::default()
    };
    let full = Model { id: "m".to_owned(), sampling };
    assert_eq!(
        encode(StructuredOutput::None, false, &full, None),
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0.2,"top_p":0.9,"max_tokens":64,"seed":7,"stop":["END"]}"#
    );
    assert!(encode(StructuredOutput::None, true, &full, None).contains(r#""max_completion_tokens":64,"#));
}

#[test]
fn replies_are_read_with_their_end() {
    let read = |choice: &str| decode(answer(200, &with_choice(choice)));
    let want = Reply {
        text: "hé\n".to_owned(),
        finish: Finish::Stop,
        prompt_tokens: Some(12),
        cached_tokens: 0,
        cache_writes: 0,
        completion_tokens: Some(3),
        build: Some("fp_1".to_owned()),
        probabilities: None,
        tokens: Vec::new(),
        thoughts: Default::default(),
        quotas: Default::default(),
    };
    let plain = r#"{"index":0,"message":{"role":"assistant","content":"h\u00e9\n","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}"#;
    assert_eq!(read(plain).unwrap(), want);
    let parts = r#"{"message":{"content":[{"type":"text","text":"hé"},{"type":"image_url"},{"type":"text","text":"\n"}]},"finish_reason":"stop"}"#;
    assert_eq!(read(parts).unwrap(), want);
    for (word, finish) in [
        ("length", Finish::Length),
        ("content_filter", Finish::ContentFilter),
        ("eos_token", Finish::Other("eos_token".to_owned())),
    ] {
        assert_eq!(read(&plain.replace("\"stop\"", &format!("{word:?}"))).unwrap().finish, finish);
    }
    assert_eq!(read(r#"{"message":{"content":null},"finish_reason":"length"}"#).unwrap().text, "");
    let spare = decode(answer(200, r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":null}"#))
        .unwrap();
    assert_eq!((spare.prompt_tokens, spare.build), (None, None));
}

#[test]
fn probabilities_of_tokens_are_asked_for_and_read() {
    let sampling = Sampling { logprobs: true, ..Sampling::default() };
    let model = Model { id: "m".to_owned(), sampling };
    let call = Call { model: &model, messages: &[], schema: None };
    let sent = OpenAi { structured_output: StructuredOutput::None, server: server(true) }.encode(&call).body;
    assert_eq!(String::from_utf8(sent).unwrap(), r#"{"model":"m","messages":[],"logprobs":true,"top_logprobs":20}"#);
    let choice = r#"{"message":{"content":"é"},"finish_reason":"stop","logprobs":{"refusal":null,"content":[
        {"token":"\\xc3","logprob":0.0,"bytes":[195],"top_logprobs":[]},
        {"token":"\\xa9","logprob":-0.6931471805599453,"bytes":[169],
         "top_logprobs":[{"token":"\\xa9","logprob":-0.6931471805599453,"bytes":[169]},{"token":"x","logprob":-9999.0,"bytes":null}]}]}}"#;
    let tokens = decode(answer(200, &with_choice(choice))).unwrap().tokens;
    assert_eq!(tokens.iter().flat_map(|token| token.bytes.clone()).collect::<Vec<u8>>(), "é".as_bytes());
    assert!(tokens[0].probability == 1.0 && (tokens[1].probability - 0.5).abs() < 1e-12);
    assert_eq!((tokens[1].likeliest.len(), tokens[1].likeliest[1].clone()), (2, (b"x".to_vec(), 0.0)));
}

#[test]
fn broken_replies_have_their_class() {
    use CallErrorKind as K;
    for (choice, want) in [
        (r#"{"message":{"content":5},"finish_reason":"stop"}"#, K::Malformed),
        (r#"{"message":{"content":"half"},"finish_reason":null}"#, K::Truncated),
        (r#"{"message":{"content":null,"refusal":"I can't"},"finish_reason":"stop"}"#, K::Refused),
        ("", K::Malformed),
    ] {
        assert_eq!(kind(&with_choice(choice)), want, "{choice}");
    }
    assert_eq!(kind("{}"), K::Malformed);
    assert_eq!(kind(r#"{"choices":null}"#), K::Malformed);
    assert_eq!(kind(r#"{"choices":[{"message":{"content":"a"#), K::Truncated);
    assert_eq!(kind("\u{0}"), K::Malformed);
    assert_eq!(kind(r#"{"error":{"message":"busy","code":503}}"#), K::Unavailable { retry_after: None });
}

#[test]
fn a_reply_without_text_is_a_reply() {
    for choice in [
        r#"{"message":{"content":null},"finish_reason":"stop"}"#,
        r#"{"message":{"content":""},"finish_reason":"stop"}"#,
        r#"{"finish_reason":"stop"}"#,
        r#"{"message":{"content":null,"tool_calls":[{}]},"finish_reason":"tool_calls"}"#,
    ] {
        assert_eq!(decode(answer(200, &with_choice(choice))).unwrap().text, "", "{choice}");
    }
}

#[test]
fn tokens_from_a_cache_are_counted_under_every_name() {
    let counts = |usage: &str| {
        let body =
            format!(r#"{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"stop"}}],"usage":{{{usage}}}}}"#);
        let reply = decode(answer(200, &body)).unwrap();
        (reply.prompt_tokens, reply.cached_tokens, reply.cache_writes)
    };
    for (usage, want) in [
        (r#""prompt_tokens":40,"prompt_tokens_details":{"cached_tokens":32}"#, (Some(40), 32, 0)),
        (
            r#""prompt_tokens":40,"prompt_tokens_details":{"cached_tokens":20,"cache_write_tokens":9}"#,
            (Some(40), 20, 9),
        ),
        (r#""prompt_tokens":40,"prompt_cache_hit_tokens":7,"prompt_cache_miss_tokens":33"#, (Some(40), 7, 0)),
        (r#""prompt_tokens":40,"cached_tokens":8"#, (Some(40), 8, 0)),
        (r#""prompt_tokens":40,"cache_read_input_tokens":7,"cache_creation_input_tokens":5"#, (Some(40), 7, 5)),
        // The count leaves out the cached tokens.
        (r#""prompt_tokens":40,"prompt_tokens_details":{"cached_tokens":1960}"#, (Some(2000), 1960, 0)),
        (r#""prompt_tokens":40,"cache_read_input_tokens":600,"cache_creation_input_tokens":60"#, (Some(700), 600, 60)),
        (r#""prompt_tokens":40,"prompt_tokens_details":{"cached_tokens":"x"}"#, (Some(40), 0, 0)),
        (r#""prompt_tokens":null,"prompt_tokens_details":{"cached_tokens":5}"#, (None, 5, 0)),
        (r#""prompt_tokens":4,"prompt_tokens_details":null"#, (Some(4), 0, 0)),
        (r#""prompt_tokens":4,"prompt_tokens_details":{}"#, (Some(4), 0, 0)),
    ] {
        assert_eq!(counts(usage), want, "{usage}");
    }
}

#[test]
fn a_404_stops_the_run_and_names_what_to_check() {
    let named = decode(answer(404, r#"{"error":{"message":"no such model","code":"model_not_found"}}"#)).unwrap_err();
    assert_eq!((named.kind, named.message.contains("base_url")), (CallErrorKind::UnknownModel, false));
    let path = decode(answer(404, r#"{"detail":"Not Found"}"#)).unwrap_err();
    assert_eq!((path.kind, path.message.contains("base_url")), (CallErrorKind::UnknownModel, true));
}

#[test]
fn the_list_of_models_is_believed_where_it_can_be() {
    let find = |id: &str, status: u16, body: &str| {
        find_model(&Model { id: id.to_owned(), sampling: Sampling::default() }, "http://h/v1", answer(status, body))
    };
    let list = r#"{"object":"list","data":[{"id":"gpt-4o-mini"},{"id":"gpt-4o"},{"id":"models/gemini"},{"id":"me/qwen:latest"}]}"#;
    for id in ["gpt-4o", "gemini", "me/qwen", "qwen:latest"] {
        assert_eq!(find(id, 200, list), Ok(Build::default()), "{id}");
    }
    let error = find("gpt-4o-mni", 200, list).unwrap_err();
    assert_eq!(error.kind, CallErrorKind::UnknownModel);
    assert_eq!(error.message, "http://h/v1 doesn't serve the model `gpt-4o-mni`; near are `gpt-4o-mini` and `gpt-4o`");
    assert!(find("xyz", 200, list).unwrap_err().message.contains("4 others"));
    for body in [r#"{"data":[{"id":"/models/one.gguf"}]}"#, r#"{"data":[]}"#, "<html>", r#"[{"id":"a"},{"id":"b"}]"#] {
        assert!(find("any", 200, body).is_ok(), "{body}");
    }
    assert!(find("any", 404, "").is_ok() && find("any", 405, "").is_ok());
    assert_eq!(find("any", 401, "{}").unwrap_err().kind, CallErrorKind::Unauthorized);
}

#[test]
fn what_stands_beside_an_answer_may_be_anything() {
    let choice = r#"{"index":0,"message":{"content":"yes"},"finish_reason":"stop"}"#;
    for side in [
        r#""created":1744857525.25"#,
        r#""usage":{}"#,
        r#""usage":[]"#,
        r#""usage":"none""#,
        r#""usage":{"prompt_tokens":null,"completion_tokens":null}"#,
        r#""usage":{"prompt_tokens":[1],"prompt_tokens_details":"x"}"#,
        r#""system_fingerprint":44709"#,
        r#""system_fingerprint":{}"#,
        r#""id":7,"object":null,"model":{}"#,
        r#""error":null"#,
    ] {
        let reply = decode(answer(200, &format!(r#"{{"choices":[{choice}],{side}}}"#))).unwrap();
        assert_eq!((reply.text.as_str(), reply.finish, reply.build), ("yes", Finish::Stop, None), "{side}");
    }
    for usage in
        [r#"{"prompt_tokens":12.0,"completion_tokens":3.0}"#, r#"{"prompt_tokens":"12","completion_tokens":"3"}"#]
    {
        let reply = decode(answer(200, &format!(r#"{{"choices":[{choice}],"usage":{usage}}}"#))).unwrap();
        assert_eq!((reply.prompt_tokens, reply.completion_tokens), (Some(12), Some(3)), "{usage}");
    }
    for field in [r#""refusal":false"#, r#""refusal":"""#, r#""tool_calls":null"#, r#""role":5"#, r#""reasoning":7"#] {
        let choice = format!(
            r#"{{"message":{{"content":"yes",{field}}},"logprobs":"none","stop_reason":13,"finish_reason":"stop"}}"#
        );
        assert_eq!(decode(answer(200, &with_choice(&choice))).unwrap().text, "yes", "{field}");
    }
    for mark in ["\u{feff}", "\n  \n", " \u{feff}\r\n"] {
        assert_eq!(decode(answer(200, &format!("{mark}{}", with_choice(choice)))).unwrap().text, "yes");
    }
}

#[test]
fn a_complete_object_needs_no_reason_for_its_end() {
    let of = |text: &str, finish: &str| {
        let message = json!({ "content": text });
        decode(answer(200, &with_choice(&format!(r#"{{"message":{message}{finish}}}"#))))
    };
    for finish in ["", r#","finish_reason":null"#, r#","finish_reason":"""#, r#","finish_reason":3"#] {
        let whole = of("{\"a\":1}", finish).unwrap();
        assert_eq!(whole.finish, Finish::Other(Finish::UNSTATED.to_owned()), "{finish}");
        for half in ["{\"a\":1", "yes", ""] {
            assert_eq!(of(half, finish).unwrap_err().kind, CallErrorKind::Truncated, "{half} {finish}");
        }
    }
}

#[test]
fn thoughts_are_kept_under_every_name() {
    for field in [
        r#""reasoning_content":"Hm.""#,
        r#""reasoning":"Hm.""#,
        r#""thinking":"Hm.""#,
        r#""reasoning_details":[{"type":"reasoning.text","text":"Hm."}]"#,
        r#""reasoning":null,"reasoning_content":"Hm.""#,
    ] {
        let choice = format!(r#"{{"message":{{"content":"yes",{field}}},"finish_reason":"stop"}}"#);
        let reply = decode(answer(200, &with_choice(&choice))).unwrap();
        assert_eq!((reply.text.as_str(), reply.thoughts.text.as_deref()), ("yes", Some("Hm.")), "{field}");
    }
    let parts = r#"{"message":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm."}]},{"type":"text","text":"yes"}]},"finish_reason":"stop"}"#;
    let reply = decode(answer(200, &with_choice(parts))).unwrap();
    assert_eq!((reply.text.as_str(), reply.thoughts.text.as_deref()), ("yes", Some("Hm.")));
}

#[test]
fn tokens_of_thoughts_are_counted_once() {
    let of = |usage: &str| {
        let body = format!(r#"{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"stop"}}],"usage":{usage}}}"#);
        let reply = decode(answer(200, &body)).unwrap();
        (reply.completion_tokens, reply.thoughts.tokens)
    };
    let within = r#"{"prompt_tokens":10,"completion_tokens":50,"total_tokens":60,"completion_tokens_details":{"reasoning_tokens":40}}"#;
    assert_eq!(of(within), (Some(50), Some(40)));
    let beside = r#"{"prompt_tokens":10,"completion_tokens":9,"total_tokens":59,"completion_tokens_details":{"reasoning_tokens":40}}"#;
    assert_eq!(of(beside), (Some(49), Some(40)), "as xAI counts");
    assert_eq!(of(r#"{"prompt_tokens":1,"completion_tokens":5,"reasoning_tokens":3}"#), (Some(5), Some(3)));
}

#[test]
fn an_error_in_a_choice_is_an_error() {
    use CallErrorKind as K;
    for (choice, want) in [
        (
            r#"{"error":{"message":"slow down now","code":429},"message":{"content":""},"finish_reason":"error"}"#,
            K::RateLimited { retry_after: None },
        ),
        (
            r#"{"error":{"message":"upstream is down","code":502},"finish_reason":"error"}"#,
            K::Unavailable { retry_after: None },
        ),
        (r#"{"error":"upstream broke","message":{"content":"half"}}"#, K::ServerError { retry_after: None }),
        (r#"{"message":{"content":"half"},"finish_reason":"error"}"#, K::ServerError { retry_after: None }),
    ] {
        assert_eq!(kind(&with_choice(choice)), want, "{choice}");
    }
    assert_eq!(kind(r#"[{"error":{"message":"busy","code":503}}]"#), K::Unavailable { retry_after: None });
}
