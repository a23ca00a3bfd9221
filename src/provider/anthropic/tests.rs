//! Anthropic's requests and replies, after the examples of its public API documents.

use serde_json::json;

use super::*;
use crate::provider::{Sampling, Thoughts};

const WIRE: Anthropic = Anthropic { structured_output: SchemaOrNone::JsonSchema };

fn decode(answer: Answer<'_>) -> Result<Reply, CallError> {
    WIRE.decode(answer)
}

fn answer(status: u16, body: &str) -> Answer<'_> {
    Answer { status, retry_after: None, body: body.as_bytes() }
}

fn model(sampling: Sampling) -> Model {
    Model { id: "claude-haiku-4-5".to_owned(), sampling }
}

fn encode(
    structured_output: SchemaOrNone,
    sampling: Sampling,
    messages: &[Message],
    schema: Option<&Value>,
) -> Encoded {
    Anthropic { structured_output }.encode(&Call { model: &model(sampling), messages, schema })
}

fn sent(encoded: &Encoded) -> &str {
    assert_eq!(encoded.keyed, encoded.body.len());
    std::str::from_utf8(&encoded.body[encoded.unsent..]).unwrap()
}

/// A reply as the documents show it, with this content and end.
fn replied(content: &str, end: &str) -> String {
    format!(
        r#"{{"id":"msg_01XFDUDYJgAACzvnptvVoYEL","type":"message","role":"assistant","model":"claude-haiku-4-5-20251001","content":{content},{end},"usage":{{"input_tokens":21,"cache_creation_input_tokens":100,"cache_read_input_tokens":7,"output_tokens":5,"service_tier":"standard"}}}}"#
    )
}

const STOP: &str = r#""stop_reason":"end_turn","stop_sequence":null,"stop_details":null"#;

#[test]
fn requests_are_these_bytes() {
    let bare = encode(SchemaOrNone::JsonSchema, Sampling::default(), &[Message::user("hi")], None);
    let head = r#"{"model":"claude-haiku-4-5","max_tokens":1024"#;
    assert_eq!(sent(&bare), format!(r#"{head},"messages":[{{"role":"user","content":"hi"}}]}}"#));
    assert_eq!(bare.unsent, 0);

    let talk = [
        Message::system("Be brief."),
        Message::system("Answer in JSON."),
        Message::user("hi"),
        Message::assistant("no"),
        Message::user("again"),
    ];
    let sampling = Sampling {
        temperature: Some(0.0),
        top_p: Some(0.9),
        max_tokens: Some(64),
        stop: vec!["END".to_owned()],
        seed: Some(7),
        num_ctx: Some(8192),
        ..Sampling::default()
    };
    let schema = json!({
        "type": "object",
        "properties": {
            "label": {"type": ["string", "null"], "enum": ["good", null]},
            "score": {"type": "integer", "minimum": 0, "maximum": 9},
            "words": {"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 2},
        },
        "required": ["label", "score", "words"],
        "additionalProperties": false,
    });
    let full = encode(SchemaOrNone::JsonSchema, sampling.clone(), &talk, Some(&schema));
    let talked = r#""system":"Be brief.\n\nAnswer in JSON.","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"no"},{"role":"user","content":"again"}],"temperature":0.0,"top_p":0.9,"stop_sequences":["END"]"#;
    let format = r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"label":{"anyOf":[{"type":"string","enum":["good"]},{"type":"null"}]},"score":{"type":"integer"},"words":{"type":"array","items":{"type":"string"}}},"required":["label","score","words"],"additionalProperties":false}}}"#;
    let start = r#"{"model":"claude-haiku-4-5","max_tokens":64"#;
    assert_eq!(sent(&full), format!("{start},{talked},{format}}}"));
    let plain = encode(SchemaOrNone::None, sampling, &talk, Some(&schema));
    assert_eq!(sent(&plain), format!("{start},{talked}}}"));
}

#[test]
fn a_seed_makes_another_call_and_is_not_sent() {
    let with =
        |seed| encode(SchemaOrNone::JsonSchema, Sampling { seed, ..Sampling::default() }, &[Message::user("hi")], None);
    let (none, one, two) = (with(None), with(Some(1)), with(Some(2)));
    assert_eq!((sent(&one), sent(&two)), (sent(&none), sent(&none)));
    assert!(one.body[..one.keyed] != two.body[..two.keyed] && one.body != none.body);
}

/// The content of each message, and the text for all rows, of a call that asks for a cache.
fn marked(messages: &[Message]) -> Vec<Value> {
    let caching = Sampling { caches_start: true, ..Sampling::default() };
    let call = encode(SchemaOrNone::None, caching, messages, None);
    let plain = encode(SchemaOrNone::None, Sampling::default(), messages, None);
    let body: Value = serde_json::from_str(sent(&call)).unwrap();
    let text = |value: &Value| value.as_str().or(value[0]["text"].as_str()).map(str::to_owned);
    let contents = |body: &Value| {
        let turns = body["messages"].as_array().into_iter().flatten().map(|turn| turn["content"].clone());
        std::iter::once(body["system"].clone()).chain(turns).collect::<Vec<Value>>()
    };
    let without: Value = serde_json::from_str(sent(&plain)).unwrap();
    let texts = |body| contents(body).iter().map(text).collect::<Vec<_>>();
    assert_eq!(texts(&body), texts(&without), "a mark changes no text");
    contents(&body)
}

#[test]
fn the_last_message_that_all_rows_share_is_marked() {
    let long = |word: &str| word.repeat(2100 / word.len() + 1);
    let (system, question) = (|| Message::system(long("Judge. ")).for_all(), || Message::user("Good?"));
    let example = || [Message::user(long("Fine. ")).for_all(), Message::assistant("good").for_all()];
    let is_marked = |content: &Value| content[0]["cache_control"] == json!({ "type": "ephemeral" });
    let marks = |messages: &[Message]| marked(messages).iter().map(is_marked).collect::<Vec<_>>();
    assert_eq!(marks(&[system(), question()]), [true, false]);
    let [asked, answered] = example();
    assert_eq!(marks(&[system(), asked.clone(), answered.clone(), question()]), [false, false, true, false]);
    assert_eq!(marks(&[asked.clone(), answered.clone(), question()]), [false, false, true, false]);
    // A cache holds the start of a prompt, which is different for each row here.
    let own = Message::system(long("You are Ann. "));
    assert_eq!(marks(&[own, asked, answered, question()]), [false; 4]);
    let short = Message::system("Judge.").for_all();
    assert_eq!(marks(&[short, question()]), [false; 2]);
    // Several texts for all rows are sent as one.
    assert_eq!(marks(&[system(), system(), question()]), [true, false]);
    assert_eq!(marks(&[system(), Message::system("Year 1790."), question()]), [false; 2]);
    // The last message is the question, even if all rows have the same.
    assert_eq!(marks(&[system(), Message::user(long("Why? ")).for_all()]), [true, false]);
}

#[test]
fn replies_are_read_with_their_end() {
    let read = |content: &str, end: &str| decode(answer(200, &replied(content, end)));
    let blocks = r#"[{"type":"thinking","thinking":"Hm.","signature":"x"},{"type":"text","text":"h\u00e9","citations":null},{"type":"text","text":"\n"},{"type":"tool_use","id":"t","name":"n","input":{}}]"#;
    let want = Reply {
        text: "hé\n".to_owned(),
        finish: Finish::Stop,
        prompt_tokens: Some(128),
        cached_tokens: 7,
        cache_writes: 100,
        completion_tokens: Some(5),
        build: Some("claude-haiku-4-5-20251001".to_owned()),
        probabilities: None,
        tokens: Vec::new(),
        thoughts: Thoughts { text: Some("Hm.".to_owned()), tokens: None },
        quotas: Default::default(),
    };
    assert_eq!(read(blocks, STOP).unwrap(), want);
    for (reason, finish) in [
        ("stop_sequence", Finish::Stop),
        ("max_tokens", Finish::Length),
        ("model_context_window_exceeded", Finish::Length),
        ("pause_turn", Finish::Other("pause_turn".to_owned())),
        ("tool_use", Finish::Other("tool_use".to_owned())),
    ] {
        assert_eq!(read(blocks, &format!(r#""stop_reason":"{reason}""#)).unwrap().finish, finish, "{reason}");
    }
    assert_eq!(read("[]", r#""stop_reason":"max_tokens""#).unwrap().text, "");
    let spare = decode(answer(200, r#"{"content":[{"type":"text","text":"x"}],"stop_reason":"end_turn"}"#)).unwrap();
    assert_eq!((spare.prompt_tokens, spare.completion_tokens, spare.build), (None, None, None));
    let uncached = r#"{"content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"cache_read_input_tokens":null,"output_tokens":1}}"#;
    assert_eq!(decode(answer(200, uncached)).unwrap().prompt_tokens, Some(3));
}

#[test]
fn broken_replies_have_their_class() {
    use CallErrorKind as K;
    let fails = |content: &str, end: &str| decode(answer(200, &replied(content, end))).unwrap_err();
    let text = |content: &str| decode(answer(200, &replied(content, STOP))).unwrap().text;
    for content in ["[]", r#"[{"type":"text","text":""}]"#, r#"[{"type":"thinking","thinking":"x"}]"#] {
        assert_eq!(text(content), "", "{content}");
    }
    assert_eq!(fails("5", STOP).kind, K::Malformed);
    assert_eq!(fails(r#"[{"type":"text","text":"half"}]"#, r#""stop_reason":null"#).kind, K::Truncated);
    let paused = decode(answer(200, &replied("[]", r#""stop_reason":"pause_turn""#))).unwrap();
    assert_eq!(paused.finish, Finish::Other("pause_turn".to_owned()));
    let kind = |status, body: &str| decode(answer(status, body)).unwrap_err().kind;
    assert_eq!(kind(200, r#"{"content":[{"type":"te"#), K::Truncated);
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    assert_eq!(kind(529, overloaded), K::Unavailable { retry_after: None });
    assert_eq!(kind(200, overloaded), K::Unavailable { retry_after: None });
}

#[test]
fn a_refusal_says_what_was_said() {
    let refused = |content: &str, details: &str| {
        let end = format!(r#""stop_reason":"refusal","stop_details":{details}"#);
        let error = decode(answer(200, &replied(content, &end))).unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Refused);
        error.message
    };
    assert_eq!(refused("[]", "null"), "the model refused");
    assert_eq!(refused(r#"[{"type":"text","text":"I can't."}]"#, "null"), "the model refused: I can't.");
    let details = r#"{"type":"refusal","category":"bio","explanation":"It is not allowed."}"#;
    assert_eq!(refused("[]", details), "the model refused (bio): It is not allowed.");
}

#[test]
fn a_models_page_tells_its_build() {
    let find = |status, body: &str| WIRE.find_model(&model(Sampling::default()), "http://h", answer(status, body));
    let page = r#"{"type":"model","id":"claude-haiku-4-5-20251001","display_name":"Claude Haiku 4.5","created_at":"2025-10-15T00:00:00Z","max_input_tokens":200000}"#;
    assert_eq!(find(200, page).unwrap().digest.as_deref(), Some("claude-haiku-4-5-20251001"));
    let missing = r#"{"type":"error","error":{"type":"not_found_error","message":"model: claude-haiku-4-5"}}"#;
    let error = find(404, missing).unwrap_err();
    assert_eq!(error.kind, CallErrorKind::UnknownModel);
    assert_eq!(error.message, "http://h doesn't serve the model `claude-haiku-4-5`");
    // Servers that only speak the protocol of calls.
    for (status, body) in [(404, r#"{"detail":"Not Found"}"#), (405, ""), (200, "<html>"), (200, "{}")] {
        assert_eq!(find(status, body), Ok(Build::default()), "{status} {body}");
    }
    let key = r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;
    assert_eq!(find(401, key).unwrap_err().kind, CallErrorKind::Unauthorized);
}

#[test]
fn the_list_of_models() {
    let list = r#"{"data":[{"type":"model","id":"claude-haiku-4-5-20251001","max_input_tokens":200000},{"id":"b"}],"has_more":true}"#;
    let found = WIRE.inventory(&[], &[Some(answer(200, list))]).unwrap();
    let known: Vec<_> = found.models.iter().map(|m| (m.id.as_str(), m.context)).collect();
    assert_eq!((known, found.more), (vec![("claude-haiku-4-5-20251001", Some(200_000)), ("b", None)], true));
    assert_eq!(WIRE.inventory(&[], &[Some(answer(404, "no"))]), Ok(Inventory::default()));
    let key = r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;
    assert_eq!(WIRE.inventory(&[], &[Some(answer(401, key))]).unwrap_err().kind, CallErrorKind::Unauthorized);
}

#[test]
fn events_of_a_stream_are_one_reply() {
    let body = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[],\"model\":\"m\",\"usage\":{\"input_tokens\":5}}}\n\n\
        data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\n\n\
        data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"Hm.\"}}\n\n\
        data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
        data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"yes\"}}\n\n\
        data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n\
        data: {\"type\":\"message_stop\"}\n\n";
    let reply = WIRE.decode(answer(200, body)).unwrap();
    assert_eq!((reply.text.as_str(), reply.thoughts.text.as_deref()), ("yes", Some("Hm.")));
    assert_eq!((reply.prompt_tokens, reply.completion_tokens, reply.finish), (Some(5), Some(7), Finish::Stop));
}

#[test]
fn what_stands_beside_an_answer_may_be_anything() {
    for side in [r#""usage":[]"#, r#""usage":{"output_tokens":"x"}"#, r#""model":5"#, r#""stop_details":"x""#] {
        let body = format!(r#"{{"content":[{{"type":"text","text":"yes"}}],"stop_reason":"end_turn",{side}}}"#);
        let reply = WIRE.decode(answer(200, &body)).unwrap();
        assert_eq!((reply.text.as_str(), reply.completion_tokens, reply.build), ("yes", None, None), "{side}");
    }
}

#[test]
fn events_of_any_shape_are_joined_without_a_panic() {
    let events = [
        json!({ "type": "message_start", "message": { "content": [], "usage": { "input_tokens": 3 } } }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        json!({ "type": "content_block_delta", "index": 0, "delta": { "text": "a" } }),
        json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" }, "usage": { "output_tokens": 1 } }),
        json!({ "type": "error", "error": { "message": "x" } }),
    ];
    for events in crate::provider::stream::with_odd_values(&events) {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        // What the reply then is does not matter here.
        let _ = decode(answer(200, &body));
    }
}
