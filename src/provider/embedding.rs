//! Embeddings: vectors of texts, of which one request asks for many.
//!
//! A call is about one text, and its bytes are everything that can change the vector. A dialect is an [`EmbedWire`] of pure
//! functions, which makes one request of several calls. The reply to a call is the vector as a list in JSON.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::answer::Answer;
use super::call::{Call, Embedding, Encoded, Finish, Model, Reply};
use super::extra::{added_fields, merge};
use super::failure::{CallError, CallErrorKind};

pub(super) trait EmbedWire: fmt::Debug + Send + Sync {
    /// The path of a request, one of whose calls is `call`.
    fn embed_path(&self, call: &Value) -> Cow<'static, str>;

    /// A call about one text, as an object.
    fn one(&self, model: &Model, text: &str, embedding: Embedding) -> Value;

    /// The request of several calls, of which there is at least one.
    fn request(&self, calls: Vec<Value>) -> Value;

    /// Reads the vectors. Some of the `count` texts may lack theirs.
    fn read(&self, answer: Answer<'_>, count: usize) -> Result<Embedded, CallError>;
}

/// The numbers of a vector. A value that is not a number is `None`.
pub(super) type Vector = Vec<Option<f32>>;

#[derive(Debug)]
pub(super) struct Embedded {
    /// For each text, its vector if there is one.
    pub(super) vectors: Vec<Option<Vector>>,
    /// The tokens of all texts together.
    pub(super) tokens: Option<u64>,
    pub(super) build: Option<String>,
}

impl Embedded {
    /// Vectors in the order of the texts, of which there are `count`.
    pub(super) fn in_order(vectors: Vec<Vector>, count: usize) -> Result<Vec<Option<Vector>>, CallError> {
        match vectors.len() == count {
            true => Ok(vectors.into_iter().map(Some).collect()),
            false => {
                let message = format!("the server returned {} vectors for {count} texts", vectors.len());
                Err(CallError::raw(CallErrorKind::Malformed, message))
            }
        }
    }
}

/// A call about the text of its messages. All bytes are keyed.
pub(super) fn encode(wire: &dyn EmbedWire, call: &Call<'_>, embedding: Embedding) -> Encoded {
    let mut one = wire.one(call.model, &text(call), embedding);
    merge(&mut one, &added_fields(&call.model.sampling, |_, _| None));
    let body = one.to_string().into_bytes();
    let keyed = body.len();
    Encoded { body, unsent: 0, keyed }
}

/// The text that a call is about.
pub(super) fn text(call: &Call<'_>) -> String {
    call.messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n")
}

/// The first of the calls with the texts of all in `input`, for dialects that have such a list.
pub(super) fn joined(calls: Vec<Value>) -> Value {
    let texts: Vec<Value> = calls.iter().map(|call| call["input"].clone()).collect();
    let mut request = calls.into_iter().next().unwrap_or_default();
    request["input"] = Value::Array(texts);
    request
}

/// The path and the body of a request of these calls.
pub(super) fn request(wire: &dyn EmbedWire, calls: &[Encoded]) -> (Cow<'static, str>, Vec<u8>) {
    let calls: Vec<Value> = calls.iter().map(|call| serde_json::from_slice(&call.body).unwrap_or_default()).collect();
    let path = calls.first().map(|call| wire.embed_path(call)).unwrap_or_default();
    (path, wire.request(calls).to_string().into_bytes())
}

/// The replies to the calls, in their order. Their tokens are those of the request, divided by the lengths of the calls.
pub(super) fn replies(calls: &[Encoded], embedded: Embedded) -> Vec<Result<Reply, CallError>> {
    let Embedded { vectors, tokens, build } = embedded;
    let lengths: Vec<u64> = calls.iter().map(|call| call.body.len() as u64).collect();
    let tokens = tokens.map(|tokens| shares(tokens, &lengths));
    let usual = usual_length(&vectors);
    let reply = |(i, vector): (usize, Option<Vector>)| match vector {
        Some(vector) if !vector.is_empty() && usual != Some(vector.len()) => {
            let message = format!(
                "the server returned a vector of {} numbers, unlike those of most texts of the request",
                vector.len()
            );
            Err(CallError::raw(CallErrorKind::Malformed, message))
        }
        Some(vector) => Ok(Reply {
            prompt_tokens: tokens.as_ref().map(|tokens| tokens[i]),
            completion_tokens: Some(0),
            build: build.clone(),
            ..Reply::new(serde_json::to_string(&vector).unwrap_or_default(), Finish::Stop)
        }),
        None => {
            let message = "the server returned no vector for this text, but for others of the request";
            Err(CallError::raw(CallErrorKind::Malformed, message))
        }
    };
    vectors.into_iter().enumerate().map(reply).collect()
}

/// The length that most vectors have; `None` if no length is more frequent than each other one.
fn usual_length(vectors: &[Option<Vector>]) -> Option<usize> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for vector in vectors.iter().flatten().filter(|vector| !vector.is_empty()) {
        *counts.entry(vector.len()).or_default() += 1;
    }
    let (length, most) = counts.iter().max_by_key(|(_, count)| **count)?;
    (counts.values().filter(|count| *count == most).count() == 1).then_some(*length)
}

/// Divides a number by these weights. The first one gets what rounding leaves.
fn shares(whole: u64, weights: &[u64]) -> Vec<u64> {
    let sum = weights.iter().sum::<u64>().max(1);
    let mut shares: Vec<u64> =
        weights.iter().map(|weight| (u128::from(whole) * u128::from(*weight) / u128::from(sum)) as u64).collect();
    let left = whole - shares.iter().sum::<u64>();
    if let Some(first) = shares.first_mut() {
        *first += left;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_a_request_are_divided_without_a_rest() {
        assert_eq!(shares(10, &[1, 1, 1]), [4, 3, 3]);
        assert_eq!(shares(0, &[5, 5]), [0, 0]);
        assert_eq!(shares(7, &[0, 7]), [0, 7]);
        assert_eq!(shares(u64::MAX, &[u64::MAX / 4, u64::MAX / 4]).iter().sum::<u64>(), u64::MAX);
    }

    #[test]
    fn a_vector_is_a_reply_that_reads_as_it() {
        let call = Encoded { body: b"{}".to_vec(), unsent: 0, keyed: 2 };
        let embedded = Embedded { vectors: vec![Some(vec![Some(0.1), None]), None], tokens: Some(3), build: None };
        let replies = replies(&[call.clone(), call], embedded);
        let first = replies[0].as_ref().unwrap();
        assert_eq!(
            (first.text.as_str(), first.prompt_tokens, first.completion_tokens),
            ("[0.1,null]", Some(2), Some(0))
        );
        assert_eq!(replies[1].as_ref().unwrap_err().kind, CallErrorKind::Malformed);
    }

    #[test]
    fn a_vector_of_another_length_than_most_is_malformed() {
        let call = Encoded { body: b"{}".to_vec(), unsent: 0, keyed: 2 };
        let are_good = |lengths: &[usize]| -> Vec<bool> {
            let vectors = lengths.iter().map(|length| Some(vec![Some(0.5); *length])).collect();
            let embedded = Embedded { vectors, tokens: None, build: None };
            replies(&vec![call.clone(); lengths.len()], embedded).iter().map(Result::is_ok).collect()
        };
        assert_eq!(are_good(&[4, 3, 3]), [false, true, true]);
        assert_eq!(are_good(&[4, 3]), [false, false], "each may be the wrong one");
        assert_eq!(are_good(&[0, 3, 0]), [true, true, true], "a reply without numbers is refused later");
    }
}
