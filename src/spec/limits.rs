//! Limits: the limits of an endpoint for every kind of provider, the budget of a run and the prices of models.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use schemars::{JsonSchema, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::document::{inline_schema, unexpected};
use crate::provider::duration;

/// The limits of an endpoint; all stages share them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// The most calls in flight, or `auto` to find out how many the server processes concurrently. Left out: no limit
    /// beside those of the stages.
    pub(crate) max_concurrent_calls: Option<Concurrency>,
    /// The most requests per minute, retries included. They are spread evenly unless `burst` allows more at once.
    pub(crate) requests_per_minute: Option<NonZeroU32>,
    /// The most requests that may follow each other at once within `requests_per_minute`. Default: 1.
    pub(crate) burst: Option<NonZeroU32>,
    /// The least time between the starts of two requests, such as `100ms` or `2s`.
    pub(crate) min_interval: Option<Interval>,
    /// The most tokens per minute, prompts and replies together. Estimated before a call (a token for 4 bytes of the
    /// request, plus `max_tokens`) and corrected by the server's count after it.
    pub(crate) tokens_per_minute: Option<NonZeroU32>,
    /// The reaction to a server that is down (no reply to any call, and 10 failures in a row or 3 within some seconds).
    /// `pause` retries for up to 15 minutes and continues when the server replies. `stop` stops the run, which can be
    /// resumed. Default: `pause`.
    #[serde(default)]
    pub(crate) on_outage: OnOutage,
}

/// The most that one `fanfold run` may spend. It stops before it would spend more, with exit code 4; the next run
/// continues. Answers from the ledger cost nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// The most requests, retries included.
    pub(crate) calls: Option<NonZeroU64>,
    /// The most tokens of prompts and replies, as the servers count them.
    pub(crate) tokens: Option<NonZeroU64>,
    /// The most US dollars, by the `price` of the models.
    pub(crate) usd: Option<f64>,
    /// The most that all runs of the project may spend together. A run counts what the ledger records when it starts.
    pub(crate) total: Option<Spending>,
    /// On a terminal, `fanfold run` asks before it sends calls that it expects to cost more than this, in US dollars.
    /// `--yes` answers the question. Without a terminal, a run never asks.
    pub(crate) confirm_above: Option<f64>,
}

/// The most that may be spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Spending {
    /// The most requests, retries included.
    pub(crate) calls: Option<NonZeroU64>,
    /// The most tokens of prompts and replies, as the servers count them.
    pub(crate) tokens: Option<NonZeroU64>,
    /// The most US dollars, by the `price` of the models.
    pub(crate) usd: Option<f64>,
}

impl Budget {
    /// What one run may spend.
    pub(crate) fn of_a_run(&self) -> Spending {
        Spending { calls: self.calls, tokens: self.tokens, usd: self.usd }
    }

    /// The settings in US dollars, by their keys.
    pub(super) fn dollars(&self) -> [(&'static [&'static str], Option<f64>); 3] {
        let total = self.total.and_then(|total| total.usd);
        [(&["usd"], self.usd), (&["total", "usd"], total), (&["confirm_above"], self.confirm_above)]
    }
}

/// The price of a model, in US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    /// For a million tokens of prompts.
    pub(crate) input: f64,
    /// For a million tokens of replies.
    pub(crate) output: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concurrency {
    /// As many as the server processes concurrently, found out from its latency and errors.
    Auto,
    Calls(NonZeroU32),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnOutage {
    /// Wait for it.
    #[default]
    Pause,
    /// Stop the run.
    Stop,
}

/// A time that is written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline)]
pub(crate) struct Interval(pub(crate) Duration);

impl TryFrom<String> for Interval {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let with_unit = duration(&text).filter(|_| text.ends_with(|c: char| c.is_ascii_alphabetic()));
        let wrong = || format!("\"{text}\" is not a time; write for example \"100ms\" or \"2s\"");
        with_unit.map(Interval).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Concurrency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(calls) if !calls.is_f64() => {
                let calls = calls.as_u64().map_or(0, |calls| u32::try_from(calls).unwrap_or(u32::MAX));
                let wrong = "`max_concurrent_calls` must be at least 1; leave it out for no limit";
                NonZeroU32::new(calls).map(Concurrency::Calls).ok_or_else(|| D::Error::custom(wrong))
            }
            Value::String(text) if text == "auto" => Ok(Concurrency::Auto),
            Value::String(text) => {
                Err(D::Error::custom(format!("\"{text}\" is neither a number of calls nor \"auto\"")))
            }
            other => Err(D::Error::invalid_type(unexpected(&other), &"a number of calls or \"auto\"")),
        }
    }
}

inline_schema! {
    Concurrency: |_| json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "const": "auto" }] });
}
