//! Probabilities of the labels of enums, from the scores of tokens.
//!
//! Inside the value of an enum, the scores of the next token are a distribution over the labels that are still
//! possible. A token that begins one label counts for that label. If it begins several labels, the tokens after it
//! decide. Only tokens that fit a label count, always at temperature 1.

use indexmap::IndexMap;
use serde_json::Value;

use super::vocabulary::Vocabulary;
use crate::prompt::{Label, Probabilities, Walk, mass_key};

#[derive(Debug, Default)]
pub(crate) struct EnumScores {
    enums: IndexMap<String, Enum>,
}

#[derive(Debug)]
struct Enum {
    written: Vec<String>,
    sure: Vec<f64>,
    open: f64,
    /// The masses of the labels among all tokens.
    walk: Walk,
}

/// Tokens with less probability do not count for the masses.
const LEAST: f64 = 1e-7;

/// A step of the sampler.
pub(crate) struct Step<'a> {
    /// The tokens that the grammar allows.
    pub(crate) allowed: &'a [u32],
    /// The scores of all tokens.
    pub(crate) scores: &'a [f32],
    /// The chosen token.
    pub(crate) taken: u32,
}

impl Enum {
    /// Adds the step after `value` to the masses, with the probabilities of all tokens at temperature 1.
    fn weigh(&mut self, value: &[u8], step: &Step<'_>, vocabulary: &Vocabulary) {
        if self.walk.is_over() {
            return;
        }
        let top = step.scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |score: f32| if score.is_nan() { 0.0 } else { f64::from(score - top).exp() };
        let sum: f64 = step.scores.iter().map(|score| weight(*score)).sum();
        let share = |token: u32| weight(step.scores[token as usize]) / sum;
        let others = (0..step.scores.len() as u32).filter(|token| *token != step.taken && share(*token) >= LEAST);
        let others = others.map(|token| (vocabulary.bytes(token), share(token)));
        let others = others.filter(|(bytes, _)| !bytes.is_empty());
        self.walk.step(value, (vocabulary.bytes(step.taken), share(step.taken)), others);
    }
}

impl EnumScores {
    pub(crate) fn of(schema: Option<&Value>) -> Self {
        let properties = schema.and_then(|s| s.get("properties")).and_then(Value::as_object);
        let labels = |property: &Value| {
            let values = property.get("enum")?.as_array()?;
            let written: Vec<String> = values.iter().map(Value::to_string).collect();
            let walk = Walk::new(values.iter().map(Label::of_json).collect());
            Some(Enum { sure: vec![0.0; written.len()], written, open: 1.0, walk })
        };
        let enums = properties.into_iter().flatten().filter_map(|(key, p)| Some((key.clone(), labels(p)?)));
        EnumScores { enums: enums.collect() }
    }

    pub(crate) fn is_open(&self, reply: &[u8]) -> bool {
        !self.enums.is_empty() && open_value(reply).is_some_and(|(key, _)| self.enums.contains_key(&key))
    }

    /// Adds the probabilities of the step after `reply`.
    pub(crate) fn see(&mut self, reply: &[u8], step: &Step<'_>, vocabulary: &Vocabulary) {
        let Step { allowed, scores, taken } = *step;
        let Some((key, value)) = open_value(reply) else { return };
        let Some(labels) = self.enums.get_mut(key.as_str()) else { return };
        labels.weigh(value, step, vocabulary);
        let fits = |token: u32| -> Vec<usize> {
            let bytes = [value, vocabulary.bytes(token)].concat();
            let bytes = bytes.trim_ascii_start();
            let fit = |label: &String| label.as_bytes().starts_with(bytes) || bytes.starts_with(label.as_bytes());
            (0..labels.written.len()).filter(|i| fit(&labels.written[*i])).collect()
        };
        let fitting: Vec<(u32, Vec<usize>)> =
            allowed.iter().map(|t| (*t, fits(*t))).filter(|(_, fit)| !fit.is_empty()).collect();
        let top = fitting.iter().map(|(t, _)| scores[*t as usize]).fold(f32::NEG_INFINITY, f32::max);
        let weight = |token: u32| f64::from(scores[token as usize] - top).exp();
        let sum: f64 = fitting.iter().map(|(t, _)| weight(*t)).sum();
        if sum <= 0.0 {
            return;
        }
        let next = fits(taken);
        let mut alone = vec![0.0; labels.written.len()];
        for (token, fit) in fitting.iter().filter(|(_, fit)| fit.len() == 1) {
            alone[fit[0]] += weight(*token) / sum;
        }
        let mut still_open = 0.0;
        let mut got = alone.clone();
        for (token, fit) in fitting.iter().filter(|(_, fit)| fit.len() > 1) {
            let share = weight(*token) / sum;
            if *fit == next {
                still_open += share;
                continue;
            }
            // If a token begins several labels, its probability is divided in proportion to the labels' unambiguous
            // tokens.
            let clear: f64 = fit.iter().map(|i| alone[*i]).sum();
            for i in fit {
                got[*i] += share * if clear > 0.0 { alone[*i] / clear } else { 1.0 / fit.len() as f64 };
            }
        }
        for (sure, got) in labels.sure.iter_mut().zip(got) {
            *sure += labels.open * got;
        }
        labels.open *= still_open;
    }

    /// The probabilities of each enum add up to 1. Returns `None` without enums.
    pub(crate) fn probabilities(self) -> Option<Probabilities> {
        let of = |labels: Enum| -> Option<IndexMap<String, f64>> {
            let sum: f64 = labels.sure.iter().sum();
            let name = |json: &String| match serde_json::from_str(json) {
                Ok(Value::String(label)) => label,
                _ => json.clone(),
            };
            let shares = labels.written.iter().zip(&labels.sure).map(|(json, sure)| (name(json), sure / sum));
            // An enum with one label has no scores, because there is no choice.
            if labels.written.len() == 1 {
                return Some([(name(&labels.written[0]), 1.0)].into());
            }
            (sum > 0.0).then(|| shares.collect())
        };
        let masses: Probabilities = self.enums.iter().map(|(key, e)| (mass_key(key), e.walk.masses())).collect();
        let mut all: Probabilities = self.enums.into_iter().filter_map(|(key, e)| Some((key, of(e)?))).collect();
        if all.is_empty() {
            return None;
        }
        all.extend(masses);
        Some(all)
    }
}

fn open_value(reply: &[u8]) -> Option<(String, &[u8])> {
    let (mut depth, mut quoted, mut escaped) = (0usize, None, false);
    let (mut key, mut value) = (None, None);
    for (i, byte) in reply.iter().enumerate() {
        match (quoted, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(start), b'"') => {
                if depth == 1 && value.is_none() {
                    key = Some(&reply[start..=i]);
                }
                quoted = None;
            }
            (Some(_), _) => {}
            (None, b'"') => quoted = Some(i),
            (None, b'{' | b'[') => depth += 1,
            (None, b'}' | b']') => depth = depth.saturating_sub(1),
            (None, b':') if depth == 1 && value.is_none() => value = Some(i + 1),
            (None, b',') if depth == 1 => (key, value) = (None, None),
            (None, _) => {}
        }
    }
    let value = reply[value?..].trim_ascii_start();
    let whole = depth == 0 || (depth == 1 && quoted.is_none() && value.len() > 1 && value.ends_with(b"\""));
    if whole { None } else { Some((serde_json::from_slice(key?).ok()?, value)) }
}

#[cfg(test)]
#[path = "enum_scores_tests.rs"]
mod tests;
