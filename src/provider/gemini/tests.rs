//! Gemini's requests and replies, after the examples of its public API documents.

use serde_json::json;

use super::*;
use crate::provider::Sampling;

fn wire(structured_output: StructuredOutput) -> Gemini {
    Gemini { structured_output }
}

const WIRE: Gemini = Gemini { structured_output: StructuredOutput::JsonSchema };

fn decode(answer: Answer<'_>) -> Result<Reply, CallError> {
    WIRE.decode(answer)
}

fn answer(status: u16, body: &str) -> Answer<'_> {
    Answer { status, retry_after: None, body: body.as_bytes() }
}

fn model(id: &str) -> Model {
    Model { id: id.to_owned(), sampling: Sampling::default() }
}

fn sent(encoded: &Encoded) -> &str {
    assert_eq!(encoded.keyed, encoded.body.len());
    std::str::from_utf8(&encoded.body[encoded.unsent..]).unwrap()
}

/// A reply as the documents show it, with this candidate.
fn replied(candidate: &str) -> String {
    format!(
        r#"{{"candidates":[{candidate}],"usageMetadata":{{"promptTokenCount":12,"candidatesTokenCount":3,"totalTokenCount":35,"thoughtsTokenCount":20,"promptTokensDetails":[{{"modality":"TEXT","tokenCount":12}}]}},"modelVersion":"gemini-2.5-flash-001","responseId":"r"}}"#
    )
}

fn said(text: &str, reason: &str) -> String {
    format!(r#"{{"content":{{"parts":[{{"text":{text:?}}}],"role":"model"}},"finishReason":"{reason}","index":0}}"#)
}

#[test]
fn requests_are_these_bytes() {
    let hi = [Message::user("hi")];
    let encode = |structured_output, model: &Model, messages: &[Message], schema: Option<&Value>| {
        wire(structured_output).encode(&Call { model, messages, schema })
    };
    let bare = encode(StructuredOutput::JsonSchema, &model("gemini-2.5-flash"), &hi, None);
    let contents = r#""contents":[{"role":"user","parts":[{"text":"hi"}]}]"#;
    assert_eq!(sent(&bare), format!(r#"{{{contents},"generationConfig":{{}}}}"#));

    let schema = json!({
        "type": "object",
        "properties": {
            "tone": {"type": "string", "maxLength": 9},
            "label": {"type": ["string", "null"], "enum": ["good", null]},
            "score": {"type": "integer", "minimum": 0, "maximum": 9},
        },
        "required": ["tone", "label", "score"],
        "additionalProperties": false,
    });
    let mut full = model("gemini-2.5-flash");
    full.sampling = Sampling {
        temperature: Some(0.0),
        top_p: Some(0.9),
        max_tokens: Some(64),
        stop: vec!["END".to_owned()],
        seed: Some(u64::MAX),
        num_ctx: Some(8192),
        ..Sampling::default()
    };
    let talk = [
        Message::system("Be brief."),
        Message::system("Answer in JSON."),
        Message::user("hi"),
        Message::assistant("no"),
        Message::user("again"),
    ];
    let whole = encode(StructuredOutput::JsonSchema, &full, &talk, Some(&schema));
    let body: Value = serde_json::from_str(sent(&whole)).unwrap();
    let seed = body["generationConfig"]["seed"].as_i64().unwrap();
    assert!(i32::try_from(seed).is_ok(), "the protocol's seed has 32 bits, one of them the sign");
    assert_eq!(
        sent(&whole),
        format!(
            r#"{{"systemInstruction":{{"parts":[{{"text":"Be brief.\n\nAnswer in JSON."}}]}},"contents":[{{"role":"user","parts":[{{"text":"hi"}}]}},{{"role":"model","parts":[{{"text":"no"}}]}},{{"role":"user","parts":[{{"text":"again"}}]}}],"generationConfig":{{"temperature":0.0,"topP":0.9,"maxOutputTokens":64,"stopSequences":["END"],"seed":{seed},"responseMimeType":"application/json","responseJsonSchema":{{"type":"object","properties":{{"tone":{{"type":"string"}},"label":{{"anyOf":[{{"type":"string","enum":["good"]}},{{"type":"null"}}]}},"score":{{"type":"integer","minimum":0,"maximum":9}}}},"required":["tone","label","score"],"additionalProperties":false,"propertyOrdering":["tone","label","score"]}}}}}}"#
        )
    );
    let object = encode(StructuredOutput::JsonObject, &model("m"), &hi, Some(&schema));
    assert_eq!(
        sent(&object),
        format!(r#"{{{contents},"generationConfig":{{"responseMimeType":"application/json"}}}}"#)
    );
    let none = encode(StructuredOutput::None, &model("m"), &hi, Some(&schema));
    assert_eq!(sent(&none), format!(r#"{{{contents},"generationConfig":{{}}}}"#));
}

#[test]
fn the_model_stands_in_the_path_and_in_the_key() {
    let wire = wire(StructuredOutput::JsonSchema);
    let encode = |id: &str| wire.encode(&Call { model: &model(id), messages: &[Message::user("hi")], schema: None });
    let (one, other) = (encode("gemini-2.5-flash"), encode("tunedModels/mine"));
    assert_eq!(sent(&one), sent(&other));
    assert_ne!(one.body, other.body);
    let path = |call: &Encoded| wire.path(std::str::from_utf8(&call.body[..call.unsent]).unwrap()).into_owned();
    assert_eq!(path(&one), "v1beta/models/gemini-2.5-flash:generateContent");
    assert_eq!(path(&other), "v1beta/tunedModels/mine:generateContent");
    assert_eq!(wire.models_path(&model("models/gemini-2.5-flash")), "v1beta/models/gemini-2.5-flash");
}

#[test]
fn replies_are_read_with_their_end() {
    let read = |candidate: &str| decode(answer(200, &replied(candidate)));
    let parts = r#"{"content":{"parts":[{"text":"Let me think.","thought":true},{"text":"h\u00e9","thoughtSignature":"x"},{"functionCall":{"name":"f"}},{"text":"\n"}],"role":"model"},"finishReason":"STOP"}"#;
    let want = Reply {
        text: "hé\n".to_owned(),
        finish: Finish::Stop,
        prompt_tokens: Some(12),
        cached_tokens: 0,
        cache_writes: 0,
        completion_tokens: Some(23),
        build: Some("gemini-2.5-flash-001".to_owned()),
        probabilities: None,
        tokens: Vec::new(),
        thoughts: Thoughts { text: Some("Let me think.".to_owned()), tokens: Some(20) },
        quotas: Default::default(),
    };
    assert_eq!(read(parts).unwrap(), want);
    for (reason, finish) in [
        ("MAX_TOKENS", Finish::Length),
        ("OTHER", Finish::Other("OTHER".to_owned())),
        ("MALFORMED_FUNCTION_CALL", Finish::Other("MALFORMED_FUNCTION_CALL".to_owned())),
    ] {
        assert_eq!(read(&said("x", reason)).unwrap().finish, finish, "{reason}");
    }
    let cached = r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":50,"cachedContentTokenCount":32}}"#;
    let cached = decode(answer(200, cached)).unwrap();
    assert_eq!((cached.prompt_tokens, cached.cached_tokens), (Some(50), 32));
    // All tokens went into thoughts.
    assert_eq!(read(r#"{"content":{"role":"model"},"finishReason":"MAX_TOKENS"}"#).unwrap().text, "");
    let spare = format!(r#"{{"candidates":[{}]}}"#, said("x", "STOP"));
    let spare = decode(answer(200, &spare)).unwrap();
    assert_eq!((spare.prompt_tokens, spare.completion_tokens, spare.build), (None, None, None));
}

#[test]
fn probabilities_of_tokens_are_asked_for_and_read() {
    let mut model = model("gemini-2.5-flash");
    model.sampling.logprobs = true;
    let sent = wire(StructuredOutput::None).encode(&Call { model: &model, messages: &[], schema: None }).body;
    assert!(String::from_utf8(sent).unwrap().contains(r#""responseLogprobs":true,"logprobs":20"#));
    let candidate = r#"{"content":{"parts":[{"text":"a"}]},"finishReason":"STOP","logprobsResult":{
        "topCandidates":[{"candidates":[{"token":"a","tokenId":1,"logProbability":-0.6931471805599453},{"token":"b","tokenId":2,"logProbability":-1.3862943611198906}]}],
        "chosenCandidates":[{"token":"a","tokenId":1,"logProbability":-0.6931471805599453}]}}"#;
    let tokens = decode(answer(200, &replied(candidate))).unwrap().tokens;
    assert!(tokens.len() == 1 && tokens[0].bytes == b"a" && (tokens[0].probability - 0.5).abs() < 1e-12);
    assert!(tokens[0].likeliest[1].0 == b"b" && (tokens[0].likeliest[1].1 - 0.25).abs() < 1e-12);
}

#[test]
fn what_is_withheld_is_refused_with_its_reason() {
    for reason in ["SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"] {
        for candidate in [said("half", reason), format!(r#"{{"finishReason":"{reason}"}}"#)] {
            let error = decode(answer(200, &replied(&candidate))).unwrap_err();
            assert_eq!(error.kind, CallErrorKind::Refused);
            assert_eq!(error.message, format!("the provider withheld the reply ({reason})"));
        }
    }
    let told = replied(r#"{"finishReason":"SAFETY","finishMessage":"no"}"#);
    assert!(decode(answer(200, &told)).unwrap_err().message.ends_with("(SAFETY): no"));
    let blocked = r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{"promptTokenCount":9}}"#;
    let error = decode(answer(200, blocked)).unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Refused);
    assert_eq!(error.message, "the prompt was blocked (PROHIBITED_CONTENT)");
}

#[test]
fn broken_replies_have_their_class() {
    use CallErrorKind as K;
    let kind = |status, body: &str| decode(answer(status, body)).unwrap_err().kind;
    let thought = r#"{"content":{"parts":[{"text":"Hm.","thought":true}]},"finishReason":"STOP"}"#;
    let empty = r#"{"content":{"role":"model"},"finishReason":"STOP"}"#;
    for candidate in [&said("", "STOP"), empty, r#"{"finishReason":"OTHER"}"#, thought] {
        assert_eq!(decode(answer(200, &replied(candidate))).unwrap().text, "", "{candidate}");
    }
    assert_eq!(kind(200, &replied(r#"{"content":{"parts":[{"text":"half"}]}}"#)), K::Truncated);
    assert_eq!(kind(200, "{}"), K::Malformed);
    assert_eq!(kind(200, r#"{"candidates":[{"content""#), K::Truncated);
    let busy = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
    assert_eq!(kind(503, busy), K::Unavailable { retry_after: None });
    assert_eq!(kind(200, busy), K::Unavailable { retry_after: None });
    assert_eq!(kind(404, r#"{"error":{"code":404,"message":"x","status":"NOT_FOUND"}}"#), K::UnknownModel);
}

#[test]
fn a_models_page_tells_its_build() {
    let find = |status, body: &str| WIRE.find_model(&model("gemini-2.5-flash"), "http://h", answer(status, body));
    let page = r#"{"name":"models/gemini-2.5-flash","version":"001","displayName":"Gemini 2.5 Flash","inputTokenLimit":1048576,"outputTokenLimit":65536,"supportedGenerationMethods":["generateContent","countTokens"]}"#;
    assert_eq!(find(200, page).unwrap().digest.as_deref(), Some("001"));
    let embedding = page.replace("generateContent", "embedContent");
    assert_eq!(find(200, &embedding).unwrap().digest.as_deref(), Some("001"));
    let error = find(200, &page.replace("generateContent", "predict")).unwrap_err();
    assert_eq!(error.kind, CallErrorKind::UnknownModel);
    assert_eq!(error.message, "the model `gemini-2.5-flash` on http://h makes neither texts nor vectors");
    let missing = r#"{"error":{"code":404,"message":"models/x is not found","status":"NOT_FOUND"}}"#;
    assert_eq!(find(404, missing).unwrap_err().message, "http://h doesn't serve the model `gemini-2.5-flash`");
    for (status, body) in [(404, "<html>"), (501, ""), (200, "[]"), (200, "{}")] {
        assert_eq!(find(status, body), Ok(Build::default()), "{status} {body}");
    }
    let key = r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
    assert_eq!(find(400, key).unwrap_err().kind, CallErrorKind::Unauthorized);
}

#[test]
fn the_list_of_models() {
    let list = r#"{"models":[{"name":"models/gemini-2.5-flash","inputTokenLimit":1048576},{"name":"tunedModels/b"},{"name":"models/e","supportedGenerationMethods":["embedContent"]}],"nextPageToken":"x"}"#;
    let found = WIRE.inventory(&[], &[Some(answer(200, list))]).unwrap();
    let known: Vec<_> = found.models.iter().map(|m| (m.id.as_str(), m.context)).collect();
    assert_eq!((known, found.more), (vec![("gemini-2.5-flash", Some(1_048_576)), ("tunedModels/b", None)], true));
    assert_eq!(WIRE.inventory(&[], &[Some(answer(404, "no"))]), Ok(Inventory::default()));
}

#[test]
fn chunks_of_a_stream_are_one_reply() {
    let first =
        r#"{"candidates":[{"content":{"parts":[{"text":"Hm.","thought":true},{"text":"ye"}]}}],"modelVersion":"v"}"#;
    let last = r#"{"candidates":[{"content":{"parts":[{"text":"s"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2,"thoughtsTokenCount":3}}"#;
    for body in [
        format!("data: {first}\r\n\r\ndata: {last}\r\n\r\n"),
        format!("[{first},\n{last}]"),
        format!("{first}\n{last}\n"),
    ] {
        let reply = decode(answer(200, &body)).unwrap();
        assert_eq!((reply.text.as_str(), reply.thoughts.text.as_deref()), ("yes", Some("Hm.")), "{body}");
        assert_eq!(
            (reply.completion_tokens, reply.thoughts.tokens, reply.build.as_deref()),
            (Some(5), Some(3), Some("v"))
        );
    }
}

#[test]
fn events_of_any_shape_are_joined_without_a_panic() {
    let events = [
        json!({ "candidates": [{ "content": { "parts": [{ "text": "Hm.", "thought": true }] } }], "modelVersion": "v" }),
        json!({ "candidates": [{ "content": { "parts": [{ "text": "s" }] }, "finishReason": "STOP" }], "usageMetadata": { "promptTokenCount": 5 } }),
    ];
    for events in crate::provider::stream::with_odd_values(&events) {
        let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        // What the reply then is does not matter here.
        let _ = decode(answer(200, &body));
    }
}
