//! Probabilities of the labels in a typed answer, from the probabilities of the reply's tokens. Pure.
//!
//! The probability of a token that begins one label counts for that label. Labels that begin with the same token share
//! it equally, unless the reply contains that token: then it is followed. Other tokens are ignored; the sum is scaled
//! to 1.

use indexmap::IndexMap;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Probabilities;
use super::reply::last_object;
use super::thoughts::without_thinking;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    /// The bytes of the token; a character may be spread over several tokens.
    pub(crate) bytes: Vec<u8>,
    pub(crate) probability: f64,
    /// The list may contain the token itself.
    pub(crate) likeliest: Vec<(Vec<u8>, f64)>,
}

type Label = (String, Vec<u8>);

/// Leaves out each key whose value cannot be followed. Returns `None` without tokens.
pub(crate) fn label_probabilities(reply: &str, tokens: &[Token], schema: &Value) -> Option<Probabilities> {
    if tokens.is_empty() {
        return None;
    }
    let object: IndexMap<String, &RawValue> = last_object(without_thinking(reply).ok()?)?;
    let said: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    // Some servers also report tokens outside the text of the reply.
    let shift = find(&said, reply.as_bytes())?;
    let mut found = Probabilities::new();
    for (key, property) in schema["properties"].as_object()? {
        let labels: Vec<Label> = property["enum"].as_array().into_iter().flatten().map(label).collect();
        let Some(value) = object.get(key).filter(|_| !labels.is_empty()) else { continue };
        let place = value.get().as_ptr() as usize - reply.as_ptr() as usize + shift;
        if let Some(shares) = follow(tokens, place, &labels) {
            found.insert(key.clone(), labels.iter().map(|(name, _)| name.clone()).zip(shares).collect());
        }
    }
    (!found.is_empty()).then_some(found)
}

fn label(value: &Value) -> Label {
    let written = value.to_string();
    (value.as_str().map_or_else(|| written.clone(), str::to_owned), written.into_bytes())
}

fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len().max(1)).position(|window| window == part)
}

fn follow(tokens: &[Token], place: usize, labels: &[Label]) -> Option<Vec<f64>> {
    let mut start = 0;
    let at = tokens.iter().position(|token| {
        start += token.bytes.len();
        start > place
    })?;
    // The first token may begin before the label.
    let mut before = place + tokens[at].bytes.len() - start;
    let mut shares = vec![0.0; labels.len()];
    let mut possible: Vec<usize> = (0..labels.len()).collect();
    let (mut path, mut read) = (1.0, 0);
    for token in &tokens[at..] {
        let begun = |bytes: &[u8]| -> Vec<usize> {
            let Some(rest) = bytes.strip_prefix(&token.bytes[..before]).filter(|rest| !rest.is_empty()) else {
                return Vec::new();
            };
            let fits = |label: &&usize| {
                let left = &labels[**label].1[read..];
                left.starts_with(rest) || rest.starts_with(left)
            };
            possible.iter().filter(fits).copied().collect()
        };
        for (other, probability) in token.likeliest.iter().filter(|(other, _)| *other != token.bytes) {
            let begun = begun(other);
            begun.iter().for_each(|label| shares[*label] += path * probability / begun.len() as f64);
        }
        path *= token.probability;
        let left = begun(&token.bytes);
        read += token.bytes.len() - before;
        before = 0;
        match left.as_slice() {
            [] => return None,
            [label] => {
                shares[*label] += path;
                let sum: f64 = shares.iter().sum();
                return (sum > 0.0).then(|| shares.iter().map(|share| share / sum).collect());
            }
            _ => possible = left,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(text: &str, probability: f64, others: &[(&str, f64)]) -> Token {
        let likeliest = others.iter().map(|(text, p)| (text.as_bytes().to_vec(), *p));
        let itself = (text.as_bytes().to_vec(), probability);
        Token { bytes: itself.0.clone(), probability, likeliest: [itself].into_iter().chain(likeliest).collect() }
    }

    fn tone() -> Value {
        json!({"properties": {
            "why": {"type": "string"},
            "tone": {"type": ["string", "null"], "enum": ["positive", "possible", "negative", null]},
        }})
    }

    fn near(found: &Probabilities, key: &str, want: &[(&str, f64)]) {
        for (label, share) in want {
            assert!((found[key][*label] - share).abs() < 1e-12, "{label}: {found:?}");
        }
    }

    #[test]
    fn labels_share_what_their_tokens_had() {
        let tokens = [
            token("{\"why\": \"é\", ", 1.0, &[]),
            token("\"tone\":", 1.0, &[]),
            token(" \"", 0.9, &[(" null", 0.1)]),
            token("pos", 0.5, &[("neg", 0.25), ("x", 0.25)]),
            token("itive", 0.8, &[("sible", 0.2)]),
            token("\"}", 1.0, &[]),
        ];
        let reply: String = tokens.iter().map(|t| String::from_utf8(t.bytes.clone()).unwrap()).collect();
        let found = label_probabilities(&reply, &tokens, &tone()).unwrap();
        let sum = 0.1 + 0.9 * 0.75;
        let want = [
            ("positive", 0.9 * 0.5 * 0.8 / sum),
            ("possible", 0.9 * 0.5 * 0.2 / sum),
            ("negative", 0.9 * 0.25 / sum),
            ("null", 0.1 / sum),
        ];
        near(&found, "tone", &want);
        assert_eq!(found.len(), 1, "a text has no labels");
    }

    #[test]
    fn a_token_may_hold_the_label_and_more_and_tokens_around_the_text_count_nothing() {
        let tokens = [
            token("<start>", 1.0, &[]),
            token("{\"tone\":\"", 1.0, &[]),
            token("negative\"}", 0.75, &[("positive\"}", 0.25), ("po", 0.0)]),
            token("<end>", 1.0, &[]),
        ];
        let found = label_probabilities("{\"tone\":\"negative\"}", &tokens, &tone()).unwrap();
        near(&found, "tone", &[("negative", 0.75), ("positive", 0.25), ("possible", 0.0), ("null", 0.0)]);
    }

    #[test]
    fn what_can_not_be_followed_has_no_probabilities() {
        let tokens = [token("{\"tone\":\"", 1.0, &[]), token("glad\"}", 1.0, &[])];
        assert_eq!(label_probabilities("{\"tone\":\"glad\"}", &tokens, &tone()), None, "no label");
        assert_eq!(label_probabilities("{\"tone\":\"negative\"}", &tokens, &tone()), None, "other tokens");
        assert_eq!(label_probabilities("{\"tone\":\"glad\"}", &[], &tone()), None);
        assert_eq!(label_probabilities("no object", &[token("no object", 1.0, &[])], &tone()), None);
    }
}
