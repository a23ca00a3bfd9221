//! The mock: answers in the process, the same everywhere, so that a spec can be tried without a model.

use std::borrow::Cow;
use std::future::ready;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use super::endpoint::{ConnectContext, Endpoint, EndpointError};
use super::{Boxed, Build, Call, CallError, CallErrorKind, Encoded, Finish, Model, Provider, Reply, Sampling};
use crate::prompt::{Message, Probabilities, SUM_TO_ONE};

const KIND: &str = "mock";

/// Must change whenever the same call is answered differently.
const BUILD: &str = "mock-1";

/// Made-up answers, the same for the same call; no model and no network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mock {
    /// The value of an `enum` in answers: `random`, by a hash of the call, or always the `first`, as a respondent who
    /// does not read on. Default: `random`.
    pick: Pick,
}

/// The value of an `enum` in answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Pick {
    /// Any.
    #[default]
    Random,
    /// The first that isn't null.
    First,
}

impl Pick {
    fn is_default(&self) -> bool {
        *self == Pick::default()
    }
}

impl Endpoint for Mock {
    fn kind(&self) -> &'static str {
        KIND
    }

    /// A spec is tried with all its options.
    fn option_field(&self, option: &str) -> Option<String> {
        Some(option.to_owned())
    }

    fn has_embeddings(&self) -> bool {
        true
    }

    fn connect(&self, _: &ConnectContext<'_>) -> Result<Arc<dyn Provider>, EndpointError> {
        Ok(Arc::new(Answers { pick: self.pick }))
    }
}

#[derive(Debug)]
struct Answers {
    pick: Pick,
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    model: Cow<'a, str>,
    messages: Cow<'a, [Message]>,
    sampling: Cow<'a, Sampling>,
    schema: Option<Cow<'a, Value>>,
    /// Omitted if it is the default, so that older call keys stay valid.
    #[serde(default, skip_serializing_if = "Pick::is_default")]
    pick: Pick,
}

impl Provider for Answers {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn encode(&self, call: &Call<'_>) -> Encoded {
        let body = Body {
            model: Cow::Borrowed(&call.model.id),
            messages: Cow::Borrowed(call.messages),
            sampling: Cow::Borrowed(&call.model.sampling),
            schema: call.schema.map(Cow::Borrowed),
            pick: self.pick,
        };
        let body = serde_json::to_vec(&body).expect("text and numbers are always JSON, and a vector takes all bytes");
        let keyed = body.len();
        Encoded { body, unsent: 0, keyed }
    }

    fn send(&self, call: Encoded) -> Boxed<'_, Result<Reply, CallError>> {
        Box::pin(ready(answer(&call)))
    }

    fn embed(&self, calls: Vec<Encoded>) -> Boxed<'_, Result<Vec<Result<Reply, CallError>>, CallError>> {
        Box::pin(ready(Ok(calls.iter().map(vector).collect())))
    }

    fn inspect<'a>(&'a self, _: &'a Model) -> Boxed<'a, Result<Build, CallError>> {
        Box::pin(ready(Ok(Build { digest: Some(BUILD.to_owned()), ..Build::default() })))
    }
}

fn body(call: &Encoded) -> Result<Body<'_>, CallError> {
    let keyed = &call.body[..call.keyed.min(call.body.len())];
    let wrong = |e| CallError::new(CallErrorKind::Rejected, format!("this is not a call of the mock: {e}"));
    serde_json::from_slice(keyed).map_err(wrong)
}

fn answer(call: &Encoded) -> Result<Reply, CallError> {
    let keyed = &call.body[..call.keyed.min(call.body.len())];
    let asked = body(call)?;
    let mut dice = Dice { numbers: blake3::Hasher::new().update(keyed).finalize_xof(), pick: asked.pick };
    let (text, probabilities) = match &asked.schema {
        Some(schema) => {
            let value = made_up(schema, &mut dice);
            (value.to_string(), probabilities(schema, &value, &mut dice))
        }
        None => (format!("mock answer {:08x} (not a model's)", dice.roll() as u32), None),
    };
    let prompt: usize = asked.messages.iter().map(|message| message.content.len()).sum();
    Ok(Reply {
        prompt_tokens: Some((prompt as u64).div_ceil(4)),
        completion_tokens: Some((text.len() as u64).div_ceil(4)),
        build: Some(BUILD.to_owned()),
        probabilities,
        ..Reply::new(text, Finish::Stop)
    })
}

/// The length of a vector, if the call does not say it.
const DIMENSIONS: u32 = 64;

/// A vector whose cosine similarity grows with the words that two texts share: each word adds a direction.
fn vector(call: &Encoded) -> Result<Reply, CallError> {
    let asked = body(call)?;
    let length = asked.sampling.embedding.and_then(|embedding| embedding.dimensions).unwrap_or(DIMENSIONS);
    let mut numbers = vec![0.0f32; length as usize];
    let text = asked.messages.iter().map(|message| message.content.to_lowercase()).collect::<Vec<_>>().join("\n");
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let mut dice =
            Dice { numbers: blake3::Hasher::new().update(word.as_bytes()).finalize_xof(), pick: Pick::First };
        numbers.iter_mut().for_each(|number| *number += dice.below(2001) as f32 / 1000.0 - 1.0);
    }
    let tokens = Some((text.len() as u64).div_ceil(4));
    let text = serde_json::to_string(&numbers).unwrap_or_default();
    Ok(Reply {
        prompt_tokens: tokens,
        completion_tokens: Some(0),
        build: Some(BUILD.to_owned()),
        ..Reply::new(text, Finish::Stop)
    })
}

struct Dice {
    numbers: blake3::OutputReader,
    pick: Pick,
}

impl Dice {
    fn roll(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.numbers.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Returns a number from 0 to `end` - 1, or 0 if `end` is 0.
    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    fn choose(&mut self, count: usize) -> usize {
        match self.pick {
            Pick::Random => self.below(count as u64) as usize,
            Pick::First => 0,
        }
    }
}

/// Of several types, uses the first that is not null.
fn made_up(schema: &Value, dice: &mut Dice) -> Value {
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
        return values.get(dice.choose(values.len())).map_or(Value::Null, |value| (*value).clone());
    }
    if let Some(first) = ["anyOf", "oneOf"].iter().find_map(|word| schema.get(word)?.as_array()?.first()) {
        return made_up(first, dice);
    }
    let named = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        Some(other) => other.as_str(),
        None => schema.get("properties").map(|_| "object"),
    };
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    match named {
        Some("object") => {
            let properties = schema.get("properties").and_then(Value::as_object);
            if schema.get("description").and_then(Value::as_str) == Some(SUM_TO_ONE) {
                return parts_of_one(properties.into_iter().flat_map(Map::keys), dice);
            }
            let made = properties.into_iter().flatten().map(|(key, inner)| (key.clone(), made_up(inner, dice)));
            Value::Object(made.collect::<Map<_, _>>())
        }
        Some("array") => {
            let least = bound("minItems").unwrap_or(1);
            let most = bound("maxItems").unwrap_or(least + 2).max(least);
            let length = least + dice.below((most - least + 1).min(3));
            let items = schema.get("items").unwrap_or(&Value::Null);
            Value::Array((0..length).map(|_| made_up(items, dice)).collect())
        }
        Some("integer") => integer(schema, dice),
        Some("number") => number(schema, dice),
        Some("boolean") => Value::Bool(dice.below(2) == 1),
        Some("null") => Value::Null,
        _ => {
            let text = format!("mock {:08x}", dice.roll() as u32);
            let text = text.chars().take(bound("maxLength").map_or(usize::MAX, |n| n as usize)).collect::<String>();
            let least = bound("minLength").map_or(0, |n| n as usize);
            Value::String(format!("{text:.<least$}"))
        }
    }
}

/// Returns an object with these keys, whose values sum to 1.
fn parts_of_one<'k>(keys: impl Iterator<Item = &'k String>, dice: &mut Dice) -> Value {
    let weights: Vec<(&String, u64)> = keys.map(|key| (key, 1 + dice.below(1000))).collect();
    let sum = weights.iter().map(|(_, weight)| *weight).sum::<u64>() as f64;
    weights
        .into_iter()
        .map(|(key, weight)| (key.clone(), Value::from(weight as f64 / sum)))
        .collect::<Map<_, _>>()
        .into()
}

/// The label in `value` has the largest probability. The draw comes after the value, so that the value stays the same.
fn probabilities(schema: &Value, value: &Value, dice: &mut Dice) -> Option<Probabilities> {
    let mut keys = Probabilities::new();
    for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let Some(labels) = inner.get("enum").and_then(Value::as_array) else { continue };
        let weight = |label: &Value| dice.below(1000) + if value.get(key) == Some(label) { 1001 } else { 1 };
        let weights: Vec<u64> = labels.iter().map(weight).collect();
        let sum = weights.iter().sum::<u64>() as f64;
        let name = |label: &Value| label.as_str().map_or_else(|| label.to_string(), str::to_owned);
        keys.insert(key.clone(), labels.iter().map(name).zip(weights.iter().map(|w| *w as f64 / sum)).collect());
    }
    (!keys.is_empty()).then_some(keys)
}

fn integer(schema: &Value, dice: &mut Dice) -> Value {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let least = bound("minimum").map(f64::ceil).or(bound("exclusiveMinimum").map(|n| n.floor() + 1.0));
    let most = bound("maximum").map(f64::floor).or(bound("exclusiveMaximum").map(|n| n.ceil() - 1.0));
    let (least, most) = spread(least, most);
    let span = (most as i64).saturating_sub(least as i64).max(0) as u64;
    Value::from((least as i64).saturating_add(dice.below(span.saturating_add(1)) as i64))
}

fn number(schema: &Value, dice: &mut Dice) -> Value {
    let bound = |names: [&str; 2]| names.iter().find_map(|name| schema.get(name)?.as_f64());
    let (least, most) = spread(bound(["minimum", "exclusiveMinimum"]), bound(["maximum", "exclusiveMaximum"]));
    // From 1 to 999 of 1000, because the bounds may be excluded.
    let way = (1 + dice.below(999)) as f64 / 1000.0;
    let value = if least < most { (least + (most - least) * way).clamp(least, most) } else { least };
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

fn spread(least: Option<f64>, most: Option<f64>) -> (f64, f64) {
    match (least, most) {
        (Some(least), Some(most)) => (least, most),
        (Some(least), None) => (least, least + 100.0),
        (None, Some(most)) => (most - 100.0, most),
        (None, None) => (0.0, 100.0),
    }
}

#[cfg(test)]
mod tests;
