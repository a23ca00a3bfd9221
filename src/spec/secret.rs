//! Literal keys: reports API keys in a spec, since specs are kept in git. Keys are never shown.

use std::ops::Range;

use crate::document::{Diagnostic, Document, Node, Path, Problems, SourcePosition, Value};

/// Fields that probably contain a secret.
const FIELDS: &[&str] = &["api_key", "apikey", "key_secret", "secret", "password", "access_token", "auth_token"];
/// Prefixes of the keys of well-known services, with the minimum length of a whole key.
const PREFIXES: &[(&str, usize)] =
    &[("sk-", 20), ("sk_", 20), ("AIza", 30), ("hf_", 20), ("gsk_", 20), ("ghp_", 20), ("xai-", 20), ("Bearer ", 20)];

/// Reports every literal key, removes it from the tree and replaces it in the text by `*`.
pub(crate) fn find(document: &mut Document, problems: &mut Problems) {
    let mut spans = Vec::new();
    clean(&mut document.root, &Path::root(), &mut spans, problems);
    for span in spans {
        let stars = document.text.get(span.clone()).map(|text| "*".repeat(text.len()));
        if let Some(stars) = stars {
            document.text.replace_range(span, &stars);
        }
    }
}

fn clean(node: &mut Node, path: &Path, spans: &mut Vec<Range<usize>>, problems: &mut Problems) {
    match &mut node.value {
        Value::Table(entries) => entries.retain_mut(|entry| {
            let path = path.key(&entry.key);
            let secret = match &entry.node.value {
                Value::String(text) => FIELDS.contains(&entry.key.as_str()) || looks_secret(text),
                _ => false,
            };
            if secret {
                let message = "an API key must not be written into a spec";
                let help = "name the environment variable that holds it: `api_key_env = \"MY_KEY\"`; and since it was \
                            written to a file, consider replacing the key";
                // The node is removed, so the problem is placed at the bytes of the text.
                let place = SourcePosition::Span(entry.node.span.clone());
                problems.push(Diagnostic { place, ..Diagnostic::error("literal-key", path, message).help(help) });
                spans.push(entry.node.span.clone());
            } else {
                clean(&mut entry.node, &path, spans, problems);
            }
            !secret
        }),
        Value::List(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                clean(item, &path.index(i), spans, problems);
            }
        }
        _ => {}
    }
}

fn looks_secret(text: &str) -> bool {
    let plain = |rest: &str| rest.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    PREFIXES.iter().any(|(prefix, least)| {
        text.len() >= *least
            && text.strip_prefix(prefix).is_some_and(|rest| plain(rest) && rest.chars().any(|c| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_by_their_look() {
        for key in
            ["sk-proj-abcdefgh12345678901234", "AIzaSyA0123456789012345678901234567890", "Bearer abcdefgh1234567890"]
        {
            assert!(looks_secret(key), "{key}");
        }
        for text in ["sk-learn", "What is the tone?", "llama3.2", "sk-this-is-a-name-of-a-thing", "OPENAI_API_KEY"] {
            assert!(!looks_secret(text), "{text}");
        }
    }
}
