//! Event streams: some gateways always stream. The chunks of a stream are joined to one reply. Pure.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat-streaming>.

use serde_json::{Map, Value, json};

use crate::provider::stream::{append, field, taken};

/// The reply as if it had not been streamed.
pub(super) fn joined(events: Vec<Value>) -> Option<Value> {
    let mut reply = Map::new();
    for event in events {
        let Value::Object(chunk) = event else { continue };
        add(&mut reply, chunk);
    }
    Some(Value::Object(reply))
}

/// Adds a chunk: the choices are joined, and of all other fields the last value counts.
fn add(reply: &mut Map<String, Value>, chunk: Map<String, Value>) {
    for (name, value) in chunk.into_iter().filter(|(_, value)| !value.is_null()) {
        match (name.as_str(), value) {
            ("choices", Value::Array(choices)) => {
                let Some(all) = reply.entry("choices").or_insert_with(|| json!([])).as_array_mut() else { continue };
                for choice in choices {
                    add_choice(all, choice);
                }
            }
            (_, value) => drop(reply.insert(name, value)),
        }
    }
}

fn add_choice(all: &mut Vec<Value>, mut choice: Value) {
    let index = choice["index"].as_u64().unwrap_or(0);
    let known = all.iter().position(|known| known["index"].as_u64() == Some(index));
    let known = known.unwrap_or_else(|| {
        all.push(json!({ "index": index, "message": {} }));
        all.len() - 1
    });
    let joined = &mut all[known];
    for said in ["/delta", "/message"] {
        if let Value::Object(delta) = taken(&mut choice, said) {
            delta.into_iter().for_each(|(name, value)| append(field(field(joined, "message"), &name), value));
        }
    }
    let tokens = taken(&mut choice, "/logprobs/content");
    if tokens.is_array() {
        append(field(field(joined, "logprobs"), "content"), tokens);
    }
    if choice["finish_reason"].is_string() {
        *field(joined, "finish_reason") = taken(&mut choice, "/finish_reason");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str) -> Option<Value> {
        crate::provider::stream::events(body.as_bytes()).and_then(joined)
    }

    #[test]
    fn chunks_are_joined_to_one_reply() {
        let plain = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"{\\\"a\\\": \"}}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"1}\"},\"finish_reason\":null}]}\n\n\
            data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        let message = json!({ "role": "assistant", "content": "{\"a\": 1}" });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        assert_eq!(reply(plain), Some(json!({ "choices": [choice] })));
        // Comments, names of events, CRLF, no space after the colon, no empty line at the end, usage in its own chunk.
        let odd = ": OPENROUTER PROCESSING\r\n\r\nevent: chunk\r\nid: 1\r\n\
            data:{\"choices\":[{\"delta\":{\"content\":\"a\",\"reasoning_content\":\"x\"},\"logprobs\":{\"content\":[1]}}]}\r\n\r\n\
            data:{\"choices\":[{\"delta\":{\"content\":\"b\",\"reasoning_content\":\"y\"},\"logprobs\":{\"content\":[2]},\
            \"finish_reason\":\"length\"}]}\r\n\r\ndata:{\"choices\":[],\"usage\":{\"prompt_tokens\":3}}";
        let joined = reply(odd).unwrap();
        assert_eq!(joined["choices"][0]["message"], json!({ "content": "ab", "reasoning_content": "xy" }));
        assert_eq!(joined["choices"][0]["logprobs"]["content"], json!([1, 2]));
        assert_eq!(
            (&joined["choices"][0]["finish_reason"], &joined["usage"]["prompt_tokens"]),
            (&json!("length"), &json!(3))
        );
        // A whole reply in one event.
        let whole =
            "data: {\"choices\":[{\"index\":0,\"message\":{\"content\":\"yes\"},\"finish_reason\":\"stop\"}]}\n\n";
        assert_eq!(reply(whole).unwrap()["choices"][0]["message"]["content"], "yes");
    }

    #[test]
    fn an_error_in_a_stream_is_kept() {
        let body =
            "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"error\":{\"message\":\"busy\"}}\n\n";
        assert_eq!(reply(body).unwrap()["error"], json!({ "message": "busy" }));
    }

    #[test]
    fn events_of_any_shape_are_joined_without_a_panic() {
        let events = [
            json!({ "choices": [{ "index": 0, "delta": { "content": "a" }, "logprobs": { "content": [1] } }] }),
            json!({ "choices": [{ "index": 0, "message": { "content": "b" }, "finish_reason": "stop" }] }),
        ];
        crate::provider::stream::with_odd_values(&events).into_iter().for_each(|events| drop(joined(events)));
    }
}
