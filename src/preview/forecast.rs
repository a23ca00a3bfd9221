//! Forecasts: what the calls to send will cost and how long they will take, and what the figures rest on.
//!
//! Replies, retries and latencies are those of recorded calls: of the same stage and model, else of the model. Without
//! such calls, the length of a reply is assumed and the time is unknown. A maximum has replies of `max_tokens` tokens
//! and no retries.

use tiktoken_rs::tokenizer::{Tokenizer, get_tokenizer};

use super::estimate::StageEstimate;
use super::volume::Volume;
use crate::prompt::{cl100k, o200k};
use crate::run::Cost;
use crate::spec::{CallTokens, Concurrency, ListedPrice, ModelSpec, Price, Spec, StageSpec};
use crate::store::{CallTotals, StoreError};

/// The assumed bytes of a token.
const BYTES: f64 = 4.0;
/// The assumed tokens of a reply.
const REPLY: u64 = 256;
/// The tokens that the JSON around each row of a pack needs.
const ITEM: u64 = 24;

/// An expected amount, and the largest one if there is a bound.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Range {
    pub(crate) expected: f64,
    pub(crate) maximum: Option<f64>,
}

impl Range {
    fn plus(self, other: Range) -> Range {
        let maximum = self.maximum.zip(other.maximum).map(|(a, b)| a + b);
        Range { expected: self.expected + other.expected, maximum }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Amounts {
    pub(crate) calls: u64,
    pub(crate) prompt_tokens: f64,
    pub(crate) reply_tokens: Range,
    /// US dollars; `None` if a price is not known.
    pub(crate) usd: Option<Range>,
    /// The first and the last day on which the sources of its prices were read, if some are not in the spec.
    pub(crate) prices_read: Option<(&'static str, &'static str)>,
    /// `None` if no call of a model was measured.
    pub(crate) seconds: Option<Range>,
}

impl Amounts {
    const NOTHING: Amounts = {
        let nothing = Range { expected: 0.0, maximum: Some(0.0) };
        let (usd, seconds) = (Some(nothing), Some(nothing));
        Amounts { calls: 0, prompt_tokens: 0.0, reply_tokens: nothing, usd, prices_read: None, seconds }
    };

    pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Amounts>) -> Amounts {
        all.filter(|amounts| amounts.calls > 0).fold(Amounts::NOTHING, |sum, more| Amounts {
            calls: sum.calls + more.calls,
            prompt_tokens: sum.prompt_tokens + more.prompt_tokens,
            reply_tokens: sum.reply_tokens.plus(more.reply_tokens),
            usd: sum.usd.zip(more.usd).map(|(a, b)| a.plus(b)),
            prices_read: match (sum.prices_read, more.prices_read) {
                (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
                (one, other) => one.or(other),
            },
            seconds: sum.seconds.zip(more.seconds).map(|(a, b)| a.plus(b)),
        })
    }

    pub(crate) fn tokens(&self) -> Range {
        let maximum = self.reply_tokens.maximum.map(|reply| self.prompt_tokens + reply);
        Range { expected: self.prompt_tokens + self.reply_tokens.expected, maximum }
    }
}

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Recorded calls of the stage and the model.
    Stage(u64),
    /// Recorded calls of the model, also of other stages.
    Model(u64),
    Tokenizer(&'static str),
    Assumed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Basis {
    /// `None` if the price is not known.
    pub(crate) price: Option<Price>,
    /// Where the price was found, if it is not in the spec.
    pub(crate) listed: Option<&'static ListedPrice>,
    pub(crate) bytes_per_token: (f64, Origin),
    /// The shares of the prompts' tokens that the server read from its cache and wrote to it.
    pub(crate) cached: Option<((f64, f64), Origin)>,
    /// Tokens of all replies to a call, with those of its retries.
    pub(crate) reply: (f64, Origin),
    /// Attempts for each call.
    pub(crate) attempts: f64,
    /// Seconds of a call.
    pub(crate) latency: Option<(f64, Origin)>,
    /// Calls in flight.
    pub(crate) in_flight: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelForecast {
    pub(crate) name: String,
    pub(crate) amounts: Amounts,
    pub(crate) basis: Basis,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StageForecast {
    /// The models with calls to send.
    pub(crate) models: Vec<ModelForecast>,
    pub(crate) amounts: Amounts,
}

pub(crate) struct Forecast {
    pub(crate) stages: Vec<StageForecast>,
    /// What earlier runs of the project cost, if the budget limits the total.
    pub(crate) earlier: Option<Cost>,
}

impl Forecast {
    /// The sum of the stages, as if they ran one after the other.
    pub(crate) fn amounts(&self) -> Amounts {
        Amounts::sum(self.stages.iter().map(|stage| &stage.amounts))
    }
}

/// What is known about the calls of a stage to one model.
struct Measured<'a> {
    volume: &'a Volume,
    /// Prompts of the stage.
    sample: &'a str,
    /// Recorded calls of the model.
    recent: CallTotals,
    /// The most calls in flight.
    in_flight: u64,
    calls_per_minute: Option<u64>,
    /// The most tokens of a reply.
    limit: Option<u64>,
}

impl StageForecast {
    pub(super) fn new(
        spec: &Spec,
        stage: &StageSpec,
        estimate: &StageEstimate,
        is_kept: bool,
        recent: impl Fn(&str) -> Result<CallTotals, StoreError>,
    ) -> Result<StageForecast, StoreError> {
        let mut models = Vec::new();
        for (volume, index) in estimate.volumes.iter().zip(&stage.models).filter(|(v, _)| v.calls > 0 && !is_kept) {
            let (name, model) = spec.model(*index);
            let endpoint = &spec.endpoints[&model.endpoint];
            let recent = if volume.recorded.calls == 0 { recent(&model.model.id)? } else { CallTotals::default() };
            let lanes = (stage.workers * stage.batch_size) as u64;
            let measured = Measured {
                volume,
                sample: &estimate.sample,
                recent,
                in_flight: match endpoint.limits.max_concurrent_calls {
                    Some(Concurrency::Calls(most)) => lanes.min(u64::from(most.get())),
                    _ => lanes,
                },
                calls_per_minute: endpoint.limits.requests_per_minute.map(|most| u64::from(most.get())),
                limit: model.model.sampling.max_tokens.map(|tokens| match stage.packs() {
                    true => (u64::from(tokens) + ITEM) * stage.rows_per_prompt,
                    false => u64::from(tokens),
                }),
            };
            let basis = measured.basis(model, endpoint.endpoint.is_free());
            models.push(ModelForecast { name: name.to_string(), amounts: measured.amounts(&basis), basis });
        }
        let amounts = Amounts::sum(models.iter().map(|model| &model.amounts));
        Ok(StageForecast { models, amounts })
    }
}

/// The shares of the prompts' tokens that came from a cache and went to one; `None` without such tokens.
fn cached(totals: &CallTotals, origin: fn(u64) -> Origin) -> Option<((f64, f64), Origin)> {
    let CallTokens { prompt, cached, cache_writes, .. } = totals.tokens();
    let share = |tokens: u64| tokens.min(prompt) as f64 / prompt.max(1) as f64;
    (cached + cache_writes > 0).then(|| ((share(cached), share(cache_writes)), origin(totals.calls)))
}

impl Measured<'_> {
    fn basis(&self, model: &ModelSpec, is_free: bool) -> Basis {
        let (own, recent) = (&self.volume.recorded, &self.recent);
        let mean = |of: fn(&CallTotals) -> f64| {
            let own = own.mean(of(own)).map(|mean| (mean, Origin::Stage(own.calls)));
            own.or_else(|| recent.mean(of(recent)).map(|mean| (mean, Origin::Model(recent.calls))))
        };
        let timed = |totals: &CallTotals, origin: fn(u64) -> Origin| {
            totals.seconds().map(|seconds| (seconds, origin(totals.timed)))
        };
        let assumed = self.limit.map_or(REPLY, |limit| limit.min(REPLY));
        Basis {
            price: model.price.or(is_free.then(Price::default)),
            listed: model.listed,
            bytes_per_token: self.bytes_per_token(&model.model.id),
            cached: cached(own, Origin::Stage).or_else(|| cached(recent, Origin::Model)),
            reply: mean(|totals| totals.completion_tokens as f64).unwrap_or((assumed as f64, Origin::Assumed)),
            attempts: mean(|totals| totals.attempts as f64).map_or(1.0, |(attempts, _)| attempts.max(1.0)),
            latency: timed(own, Origin::Stage).or_else(|| timed(recent, Origin::Model)),
            in_flight: self.in_flight.min(self.volume.calls).max(1),
        }
    }

    fn bytes_per_token(&self, model: &str) -> (f64, Origin) {
        let (bytes, tokens) = self.volume.measured;
        if tokens > 0 {
            return (bytes as f64 / tokens as f64, Origin::Stage(self.volume.recorded.calls));
        }
        // The tokenizers of models that are no longer offered would only make the program larger.
        let tokenizer =
            get_tokenizer(model).filter(|_| !self.sample.is_empty()).and_then(|tokenizer| match tokenizer {
                Tokenizer::O200kBase | Tokenizer::O200kHarmony => Some(o200k()),
                Tokenizer::Cl100kBase => Some(cl100k()),
                _ => None,
            });
        let counted = tokenizer.map(|tokenizer| {
            let tokens = tokenizer.count_ordinary(self.sample).max(1);
            (self.sample.len() as f64 / tokens as f64, Origin::Tokenizer("tiktoken"))
        });
        counted.unwrap_or((BYTES, Origin::Assumed))
    }

    fn amounts(&self, basis: &Basis) -> Amounts {
        let Volume { calls, bytes, of_unknown_size, .. } = *self.volume;
        let sized = calls - of_unknown_size;
        let known = match sized {
            0 => self.sample.len() as f64,
            _ => bytes as f64 / sized as f64,
        };
        let n = calls as f64;
        let prompt_tokens = (bytes as f64 + of_unknown_size as f64 * known) / basis.bytes_per_token.0 * basis.attempts;
        let expected = n * basis.reply.0;
        let longest = self.limit.map(|limit| (n * limit as f64).max(expected));
        let reply_tokens = Range { expected, maximum: longest };
        let usd = basis.price.map(|price| {
            let usd = |input: f64, reply: f64| (prompt_tokens * input + reply * price.output) / 1e6;
            let (read, written) = basis.cached.map_or((0.0, 0.0), |(shares, _)| shares);
            let (input, dearest) = (price.mean_input(read, written), price.mean_input(0.0, written));
            let is_free = price == Price::default();
            let most = longest.map(|longest| usd(dearest, longest));
            Range { expected: usd(input, expected), maximum: if is_free { Some(0.0) } else { most } }
        });
        let prices_read = basis.listed.map(|listed| (listed.read, listed.read));
        let at_least = self.calls_per_minute.map_or(0.0, |most| n * basis.attempts * 60.0 / most as f64);
        let seconds = basis.latency.map(|(latency, _)| {
            let seconds = n * latency / basis.in_flight as f64;
            // A reply takes longer the more tokens it has.
            let slowest = longest.map(|longest| seconds * (longest / expected.max(1.0)).max(1.0));
            Range { expected: seconds.max(at_least), maximum: slowest.map(|seconds| seconds.max(at_least)) }
        });
        Amounts { calls, prompt_tokens, reply_tokens, usd, prices_read, seconds }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basis() -> Basis {
        Basis {
            price: Some(Price { input: 0.5, output: 2.0, ..Price::default() }),
            listed: None,
            bytes_per_token: (4.0, Origin::Assumed),
            cached: None,
            reply: (10.0, Origin::Stage(20)),
            attempts: 1.0,
            latency: Some((2.0, Origin::Stage(20))),
            in_flight: 8,
        }
    }

    fn measured(volume: &Volume, limit: Option<u64>) -> Measured<'_> {
        Measured { volume, sample: "", recent: CallTotals::default(), in_flight: 8, calls_per_minute: None, limit }
    }

    #[test]
    fn a_forecast_is_the_calls_times_what_a_call_needs() {
        let volume = Volume { calls: 1000, bytes: 400_000, ..Volume::default() };
        let amounts = measured(&volume, Some(50)).amounts(&basis());
        assert_eq!((amounts.calls, amounts.prompt_tokens), (1000, 100_000.0));
        assert_eq!(amounts.reply_tokens, Range { expected: 10_000.0, maximum: Some(50_000.0) });
        // 0.1 million in at 0.5; 0.01 or 0.05 million out at 2.
        let usd = amounts.usd.expect("a price is known");
        assert!((usd.expected - 0.07).abs() < 1e-9 && (usd.maximum.expect("a limit") - 0.15).abs() < 1e-9, "{usd:?}");
        assert_eq!(amounts.seconds, Some(Range { expected: 250.0, maximum: Some(1250.0) }));
        let unbounded = measured(&volume, None).amounts(&basis());
        assert_eq!((unbounded.reply_tokens.maximum, unbounded.usd.expect("a price").maximum), (None, None));
    }

    #[test]
    fn recorded_calls_show_how_much_of_the_prompts_a_cache_holds() {
        let volume = Volume { calls: 1000, bytes: 400_000, ..Volume::default() };
        let totals = CallTotals { calls: 10, prompt_tokens: 1000, cached_tokens: 800, ..CallTotals::default() };
        assert_eq!(cached(&totals, Origin::Stage), Some(((0.8, 0.0), Origin::Stage(10))));
        assert_eq!(cached(&CallTotals { cached_tokens: 0, ..totals }, Origin::Stage), None);
        let price = Price { cached_input: Some(0.05), ..basis().price.expect("a price") };
        let basis = Basis { price: Some(price), cached: cached(&totals, Origin::Stage), ..basis() };
        let usd = measured(&volume, Some(10)).amounts(&basis).usd.expect("a price is known");
        // 0.02 million at 0.5, 0.08 million at 0.05, 0.01 million out at 2; at most 0.1 million at 0.5.
        let most = usd.maximum.expect("a limit");
        assert!((usd.expected - 0.034).abs() < 1e-9 && (most - 0.07).abs() < 1e-9, "{usd:?}");
    }

    #[test]
    fn calls_of_unknown_size_have_the_mean_size_and_limits_per_minute_hold() {
        let volume = Volume { calls: 100, bytes: 8000, of_unknown_size: 80, ..Volume::default() };
        let slow = Measured { calls_per_minute: Some(10), ..measured(&volume, None) };
        let amounts = slow.amounts(&Basis { attempts: 2.0, ..basis() });
        assert_eq!(amounts.prompt_tokens, 100.0 * 400.0 / 4.0 * 2.0);
        assert_eq!(amounts.seconds.expect("a latency").expected, 1200.0);
    }

    #[test]
    fn what_is_not_known_of_a_part_is_not_known_of_the_sum() {
        let volume = Volume { calls: 10, bytes: 100, ..Volume::default() };
        let known = measured(&volume, Some(20)).amounts(&basis());
        let unpriced = measured(&volume, None).amounts(&Basis { price: None, latency: None, ..basis() });
        let sum = Amounts::sum([known, unpriced, Amounts::NOTHING].iter());
        assert_eq!((sum.calls, sum.usd, sum.seconds, sum.reply_tokens.maximum), (20, None, None, None));
        assert_eq!(sum.reply_tokens.expected, 200.0);
        assert_eq!(Amounts::sum([].iter()), Amounts::NOTHING);
    }

    #[test]
    fn the_tokenizer_of_a_known_model_is_used_before_the_assumption_and_after_the_servers_count() {
        let volume = Volume::default();
        let text = "internationalisation of international telecommunications";
        let of =
            |volume: &Volume, model: &str| Measured { sample: text, ..measured(volume, None) }.bytes_per_token(model);
        assert_eq!(of(&volume, "llama3.2"), (4.0, Origin::Assumed));
        let (bytes, origin) = of(&volume, "gpt-4o-mini");
        assert!(bytes > 5.0 && origin == Origin::Tokenizer("tiktoken"), "{bytes} {origin:?}");
        let recorded = CallTotals { calls: 3, ..CallTotals::default() };
        let counted = Volume { measured: (90, 30), recorded, ..Volume::default() };
        assert_eq!(of(&counted, "gpt-4o-mini"), (3.0, Origin::Stage(3)));
    }
}
