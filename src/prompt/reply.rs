//! Replies: finding the answer in what a model wrote around it.
//!
//! Nothing is repaired here: a reply either holds a whole answer or it doesn't.

use serde_json::{Map, Value};

/// Places at most that are tried as the start of a JSON object.
const TRIES: usize = 1000;
/// How often, on the average, a reply may be read by tries that fail far behind their start.
const READINGS: usize = 4;

/// The reply without a byte order mark, outer white space and a thinking part before the answer.
pub fn without_thinking(reply: &str) -> Result<&str, String> {
    let text = reply.trim_start_matches('\u{feff}').trim();
    // Some chat templates open the thinking in the prompt, so that only its end stands in the reply.
    match (text.starts_with("<think>"), text.rfind("</think>")) {
        (_, Some(end)) => Ok(text[end + "</think>".len()..].trim()),
        (true, None) => Err("it ends inside its thinking".to_owned()),
        (false, None) => Ok(text),
    }
}

/// The last whole JSON object of `text`, whatever prose or fences stand around it.
pub fn object(text: &str) -> Result<Map<String, Value>, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Ok(object) = serde_json::from_str(text) {
        return Ok(object);
    }
    let mut found = None;
    let mut from = 0;
    let mut work = 0;
    for _ in 0..TRIES {
        if work > READINGS * text.len() + (64 << 10) {
            break;
        }
        let Some(start) = text[from..].find('{').map(|i| from + i) else { break };
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Map<String, Value>>();
        from = match values.next() {
            Some(Ok(object)) => {
                found = Some(object);
                start + values.byte_offset()
            }
            Some(Err(error)) => {
                work += read_until(&text[start..], &error);
                start + 1
            }
            None => start + 1,
        };
    }
    found.ok_or_else(|| "there is no JSON object in it".to_owned())
}

/// How much of `text` was read when this error came up; up to the end of its line.
fn read_until(text: &str, error: &serde_json::Error) -> usize {
    match error.line() {
        0 | 1 => error.column(),
        line => text.split_inclusive('\n').take(line).map(str::len).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_fences_and_thinking_are_left_out() {
        let cases = [
            r#"{"a":1}"#,
            "\u{feff} {\"a\":1}\n",
            "```json\n{\"a\":1}\n```",
            "Sure! Here it is:\n```\n{\"a\": 1}\n```\nTell me if you need {more}.",
            "<think>maybe {\"a\":2}?</think>{\"a\":1}",
            "{\"a\":2} was wrong </think> {\"a\":1}",
            "first {\"a\":3}, then better {\"a\":1}",
            "{not json} {\"a\":1}",
        ];
        for case in cases {
            let found = object(without_thinking(case).unwrap()).unwrap();
            assert_eq!(Value::Object(found), serde_json::json!({ "a": 1 }), "{case}");
        }
    }

    #[test]
    fn half_answers_are_no_answers() {
        for case in ["{\"a\": 1", "[1]", "null", "{", "{\"a\":", "prose { and more"] {
            assert!(object(case).is_err(), "{case}");
        }
        assert!(without_thinking("<think>hm {\"a\":1}").is_err());
        assert_eq!(object("").unwrap_err(), "it is empty");
    }

    #[test]
    fn deep_nesting_and_long_garbage_end_soon() {
        let deep = format!("{}1{}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
        assert!(object(&deep).is_err());
        assert!(object(&"{".repeat(1_000_000)).is_err());
        assert!(object(&"{\"".repeat(100_000)).is_err());
        // Every start is a good one to the end.
        let opened = "{\"a\":[".repeat(50);
        for end in ["", "x", "\n\nx"] {
            assert!(object(&format!("{opened}{}{end}", "0,".repeat(50_000))).is_err());
        }
        let late = format!("{{\"a\": {} so: {{\"a\":1}}", "{\"a\": [0, x ".repeat(300));
        assert_eq!(object(&late).unwrap(), *serde_json::json!({ "a": 1 }).as_object().unwrap());
    }
}
