//! Streams: the documents of bodies that are sent in pieces, though no stream was asked for. Pure.
//!
//! Source of the format of events: <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use serde_json::{Map, Value};

use super::failure::is_event_stream;

/// The body without white space and byte-order marks around it.
pub(super) fn trimmed(body: &[u8]) -> &[u8] {
    let body = body.trim_ascii();
    match body.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) => trimmed(rest),
        None => body,
    }
}

/// The documents of server-sent events, of lines of JSON or of a list; `None` for any other body.
pub(super) fn events(body: &[u8]) -> Option<Vec<Value>> {
    let body = trimmed(body);
    let is_lines = || {
        let mut lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        lines.next().is_some_and(|line| line.starts_with(b"{") && line.ends_with(b"}")) && lines.next().is_some()
    };
    let documents: Vec<Value> = match body.first()? {
        b'[' => serde_json::from_slice(body).ok()?,
        b'{' if is_lines() => serde_json::Deserializer::from_slice(body).into_iter().collect::<Result<_, _>>().ok()?,
        b'{' => return None,
        _ => of_events(str::from_utf8(body).ok()?)?,
    };
    (!documents.is_empty() && documents.iter().all(Value::is_object)).then_some(documents)
}

fn of_events(text: &str) -> Option<Vec<Value>> {
    if !is_event_stream(text) {
        return None;
    }
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut documents = Vec::new();
    let mut data: Vec<&str> = Vec::new();
    // The last event may lack its empty line.
    for line in text.lines().chain([""]) {
        if let Some(rest) = line.strip_prefix("data:") {
            data.push(rest.strip_prefix(' ').unwrap_or(rest));
        } else if line.starts_with('{') && data.is_empty() {
            // Some gateways send comments to keep a connection open, and then a plain reply.
            documents.push(serde_json::from_str(line).ok()?);
        } else if line.is_empty() && !data.is_empty() {
            let event = data.join("\n");
            data.clear();
            if !matches!(event.trim(), "[DONE]" | "") {
                documents.push(serde_json::from_str(&event).ok()?);
            }
        }
    }
    Some(documents)
}

/// Texts and lists grow; any other value replaces the earlier one.
/// Takes the value at a JSON pointer, such as `/delta/text`. Null if there is none.
pub(super) fn taken(value: &mut Value, pointer: &str) -> Value {
    value.pointer_mut(pointer).map(Value::take).unwrap_or_default()
}

/// The field of an object. A value of another type becomes an object first.
pub(super) fn field<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    &mut value[name]
}

pub(super) fn append(place: &mut Value, value: Value) {
    match (place, value) {
        (_, Value::Null) => {}
        (Value::String(text), Value::String(more)) => text.push_str(&more),
        (Value::Array(items), Value::Array(more)) => items.extend(more),
        (place, value) => *place = value,
    }
}

/// The events with one value replaced by a value of another type, in all places.
#[cfg(test)]
pub(super) fn with_odd_values(events: &[Value]) -> Vec<Vec<Value>> {
    fn pointers(value: &Value, at: String, all: &mut Vec<String>) {
        let fields: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
            Value::Array(items) => items.iter().enumerate().map(|(i, value)| (i.to_string(), value)).collect(),
            _ => Vec::new(),
        };
        fields.into_iter().for_each(|(name, value)| pointers(value, format!("{at}/{name}"), all));
        all.push(at);
    }
    let (whole, mut all) = (Value::from(events.to_vec()), Vec::new());
    pointers(&whole, String::new(), &mut all);
    let odd = [Value::Null, 1.into(), "x".into(), Value::Array(vec![1.into()]), Value::Object(Map::new())];
    let places = all.iter().filter(|at| !at.is_empty()).flat_map(|at| odd.iter().map(move |odd| (at, odd)));
    let replaced = places.map(|(at, odd)| {
        let mut events = whole.clone();
        *events.pointer_mut(at).expect("a place") = odd.clone();
        events.as_array().cloned().unwrap_or_default()
    });
    replaced.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_in_pieces_is_read_in_all_forms() {
        let both = vec![json!({ "a": 1 }), json!({ "b": 2 })];
        for body in [
            "data: {\"a\":1}\n\ndata: {\"b\":2}\n\ndata: [DONE]\n\n",
            "\u{feff}: comment\r\n\r\nevent: x\r\nid: 1\r\ndata:{\"a\":1}\r\n\r\ndata:{\"b\":2}",
            "data: {\"a\":1}\r\rdata: {\"b\":2}\r\r",
            "data: {\ndata: \"a\":1}\n\ndata: {\"b\":2}\n\n",
            "{\"a\":1}\n{\"b\":2}\n",
            "[{\"a\":1},\n {\"b\":2}]",
        ] {
            assert_eq!(events(body.as_bytes()), Some(both.clone()), "{body:?}");
        }
        let kept_open = ": PROCESSING\n\n: PROCESSING\n\n{\"a\":1}";
        assert_eq!(events(kept_open.as_bytes()), Some(both[..1].to_vec()));
    }

    #[test]
    fn other_bodies_are_left_alone() {
        for body in [
            "",
            "{\"a\":1}",
            "{\n\"a\":1}\n",
            "<html>data: x</html>",
            "data: hello\n\n",
            "data: [DONE]\n\n",
            "data: 3\n\n",
            "[]",
            "[1]",
        ] {
            assert_eq!(events(body.as_bytes()), None, "{body}");
        }
        assert_eq!(events(b"data: \xff\n\n"), None);
    }

    #[test]
    fn marks_and_white_space_are_left_out() {
        for body in ["\u{feff}{}", " \n\u{feff} {} \n", "\n\n{}"] {
            assert_eq!(trimmed(body.as_bytes()), b"{}");
        }
    }
}
