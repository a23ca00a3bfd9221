//! Event streams: some gateways always stream. The chunks of a stream are joined to one reply. Pure.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat-streaming>; the format of the lines is the one of
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use serde_json::{Map, Value, json};

/// The reply as if it had not been streamed; `None` if the body is not a stream of JSON events.
pub(super) fn joined(body: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    if !crate::provider::failure::is_event_stream(text) {
        return None;
    }
    let mut reply = Map::new();
    for event in events(text).filter(|event| event != "[DONE]") {
        match serde_json::from_str(&event).ok()? {
            Value::Object(chunk) => add(&mut reply, chunk),
            _ => return None,
        }
    }
    (!reply.is_empty()).then(|| Value::Object(reply).to_string().into_bytes())
}

/// The data of each event. The last event may lack its empty line.
fn events(text: &str) -> impl Iterator<Item = String> {
    let mut lines = text.trim_start_matches('\u{FEFF}').lines().chain([""]);
    std::iter::from_fn(move || {
        let mut data: Vec<&str> = Vec::new();
        for line in lines.by_ref() {
            if let Some(rest) = line.strip_prefix("data:") {
                data.push(rest.strip_prefix(' ').unwrap_or(rest));
            } else if line.is_empty() && !data.is_empty() {
                return Some(data.join("\n"));
            }
        }
        None
    })
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
    for field in ["delta", "message"] {
        if let Value::Object(delta) = choice[field].take() {
            delta.into_iter().for_each(|(name, value)| append(&mut joined["message"][name], value));
        }
    }
    let tokens = choice["logprobs"]["content"].take();
    if tokens.is_array() {
        append(&mut joined["logprobs"]["content"], tokens);
    }
    if choice["finish_reason"].is_string() {
        joined["finish_reason"] = choice["finish_reason"].take();
    }
}

/// Texts and lists grow; any other value replaces the earlier one.
fn append(place: &mut Value, value: Value) {
    match (place, value) {
        (_, Value::Null) => {}
        (Value::String(text), Value::String(more)) => text.push_str(&more),
        (Value::Array(items), Value::Array(more)) => items.extend(more),
        (place, value) => *place = value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str) -> Option<Value> {
        joined(body.as_bytes()).map(|bytes| serde_json::from_slice(&bytes).unwrap())
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
    fn other_bodies_are_left_alone() {
        for body in
            ["", "{\"choices\":[]}", "<html>data: x</html>", "data: hello\n\n", "data: [DONE]\n\n", "data: 3\n\n"]
        {
            assert_eq!(reply(body), None, "{body}");
        }
        assert_eq!(joined(b"data: \xff\n\n"), None);
    }
}
