//! Limits: the limits of an endpoint for every kind of provider, and the budget of a run.

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
    /// What `max_concurrent_calls` limits in a run on several machines (`--on`): the calls of each `worker`, which may
    /// have its own server, or those of the whole `run`, which are divided among the workers. Default: `worker`.
    #[serde(default)]
    pub(crate) per: Per,
}

/// What a limit of calls in flight counts in a run on several machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Per {
    /// Each worker has the whole limit.
    #[default]
    Worker,
    /// The workers share the limit.
    Run,
}

impl Limits {
    /// The share of one of `workers`. The error names a limit that is too small to be divided, with its value.
    pub(crate) fn share(self, workers: u32) -> Result<Limits, (&'static str, u64)> {
        let divided = |name: &'static str, limit: Option<NonZeroU32>| match limit {
            None => Ok(None),
            Some(limit) => NonZeroU32::new(limit.get() / workers).map(Some).ok_or((name, limit.get().into())),
        };
        let calls = match self.max_concurrent_calls {
            Some(Concurrency::Calls(calls)) if self.per == Per::Run => {
                divided("max_concurrent_calls", Some(calls))?.map(Concurrency::Calls)
            }
            other => other,
        };
        Ok(Limits {
            max_concurrent_calls: calls,
            requests_per_minute: divided("requests_per_minute", self.requests_per_minute)?,
            tokens_per_minute: divided("tokens_per_minute", self.tokens_per_minute)?,
            burst: self.burst.map(|burst| NonZeroU32::new(burst.get() / workers).unwrap_or(NonZeroU32::MIN)),
            min_interval: self.min_interval.map(|interval| Interval(interval.0 * workers)),
            ..self
        })
    }
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

impl Spending {
    /// The share of one of `workers` in what is left after `spent`.
    pub(crate) fn share(self, spent: Spending, workers: u64) -> Spending {
        let divided = |limit: Option<NonZeroU64>, spent: Option<NonZeroU64>| {
            let left = limit?.get().saturating_sub(spent.map_or(0, NonZeroU64::get));
            // A budget of nothing has no number: the first call is then the one that it refuses.
            Some(NonZeroU64::new(left / workers).unwrap_or(NonZeroU64::MIN))
        };
        Spending {
            calls: divided(self.calls, spent.calls),
            tokens: divided(self.tokens, spent.tokens),
            usd: self.usd.map(|usd| (usd - spent.usd.unwrap_or_default()).max(0.0) / workers as f64),
        }
    }

    /// For each limit the smaller one.
    pub(crate) fn least(self, other: Spending) -> Spending {
        let usd = [self.usd, other.usd].into_iter().flatten().reduce(f64::min);
        let least = |a: Option<NonZeroU64>, b: Option<NonZeroU64>| a.into_iter().chain(b).min();
        Spending { calls: least(self.calls, other.calls), tokens: least(self.tokens, other.tokens), usd }
    }
}

impl Budget {
    /// The budget of one of `workers`: a limit of all calls that the worker has sent. `spent` is what earlier runs cost.
    pub(crate) fn share(&self, spent: Spending, workers: u64) -> Budget {
        let total = self.total.map(|total| total.share(spent, workers)).unwrap_or_default();
        let total = self.of_a_run().share(Spending::default(), workers).least(total);
        Budget { total: (total != Spending::default()).then_some(total), ..Budget::default() }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(text: &str) -> Limits {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_shares_of_all_workers_do_not_exceed_the_limits() {
        let all = limits(
            "max_concurrent_calls = 8\nrequests_per_minute = 100\ntokens_per_minute = 1000\nmin_interval = \"1s\"",
        );
        for workers in [1, 2, 3, 7, 100] {
            let share = all.share(workers).unwrap();
            assert!(share.requests_per_minute.unwrap().get() * workers <= 100);
            assert!(share.tokens_per_minute.unwrap().get() * workers <= 1000);
            assert_eq!(share.min_interval.unwrap().0, Duration::from_secs(workers.into()));
            assert_eq!(share.max_concurrent_calls, all.max_concurrent_calls, "each worker has its own calls");
        }
        assert_eq!(all.share(1), Ok(all));
        assert_eq!(all.share(101), Err(("requests_per_minute", 100)));
        let run = limits("max_concurrent_calls = 8\nper = \"run\"");
        assert_eq!(run.share(3).unwrap().max_concurrent_calls, limits("max_concurrent_calls = 2").max_concurrent_calls);
        assert_eq!(run.share(9), Err(("max_concurrent_calls", 8)));
    }

    #[test]
    fn a_budget_is_divided_and_what_was_spent_before_counts() {
        let budget: Budget = toml::from_str("calls = 100\nusd = 4.0\ntotal = { calls = 90, tokens = 1000 }").unwrap();
        let spent: Spending = toml::from_str("calls = 30\ntokens = 200\nusd = 1.0").unwrap();
        let expected: Spending = toml::from_str("calls = 15\ntokens = 200\nusd = 1.0").unwrap();
        assert_eq!(budget.share(spent, 4), Budget { total: Some(expected), ..Budget::default() });
        assert_eq!(Budget::default().share(spent, 4), Budget::default());
    }
}
