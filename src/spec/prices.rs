//! Prices of models: what the tokens of calls cost, and the prices of well-known hosted models for specs that give none.
//!
//! A row of [`PRICES`] needs a source that shows the prices of the standard tier, and the day on which it was read. A price
//! that the source does not show is left out. Prices change: the `price` in a spec always wins.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::provider::Endpoint;

/// The price of a model, in US dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Price {
    /// For a million tokens of prompts.
    pub(crate) input: f64,
    /// For a million tokens of replies.
    pub(crate) output: f64,
    /// For a million tokens of prompts that the server read from its cache. Default: `input`.
    pub(crate) cached_input: Option<f64>,
    /// For a million tokens of prompts that the server wrote to its cache. Default: `input`.
    pub(crate) cache_write: Option<f64>,
    /// The share of these prices that the calls of a batch cost, such as 0.5. Default: 1.
    pub(crate) batch: Option<f64>,
}

/// The tokens of one or more calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallTokens {
    /// All tokens of the prompts.
    pub(crate) prompt: u64,
    /// Those that the server read from its cache.
    pub(crate) cached: u64,
    /// Those that the server wrote to its cache.
    pub(crate) cache_writes: u64,
    pub(crate) reply: u64,
}

impl CallTokens {
    pub(crate) fn plus(self, other: CallTokens) -> CallTokens {
        CallTokens {
            prompt: self.prompt.saturating_add(other.prompt),
            cached: self.cached.saturating_add(other.cached),
            cache_writes: self.cache_writes.saturating_add(other.cache_writes),
            reply: self.reply.saturating_add(other.reply),
        }
    }
}

impl Price {
    /// The cost in US dollars. `batched`: the calls were sent as a batch.
    pub(crate) fn cost(&self, tokens: CallTokens, batched: bool) -> f64 {
        let cached = tokens.cached.min(tokens.prompt);
        let written = tokens.cache_writes.min(tokens.prompt - cached);
        let input = self.input_cost((tokens.prompt - cached - written) as f64, cached as f64, written as f64);
        let share = if batched { self.batch.unwrap_or(1.0) } else { 1.0 };
        (input + tokens.reply as f64 * self.output) / 1e6 * share
    }

    /// The mean price of a million tokens of prompts, if these shares of them are read from a cache and written to it.
    pub(crate) fn mean_input(&self, cached: f64, written: f64) -> f64 {
        self.input_cost(1.0 - cached - written, cached, written)
    }

    fn input_cost(&self, plain: f64, cached: f64, written: f64) -> f64 {
        let (read, write) = (self.cached_input.unwrap_or(self.input), self.cache_write.unwrap_or(self.input));
        plain * self.input + cached * read + written * write
    }

    pub(super) fn is_valid(&self) -> bool {
        let all = [Some(self.input), Some(self.output), self.cached_input, self.cache_write, self.batch];
        all.into_iter().flatten().all(|price| price >= 0.0 && price.is_finite())
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct ListedPrice {
    /// The kind of the provider.
    provider: &'static str,
    /// The model's id at its vendor, without the date of a snapshot.
    model: &'static str,
    pub(crate) price: Price,
    /// The tokens of the longest prompt that has this price, if longer ones cost more.
    pub(crate) longest_prompt: Option<u64>,
    /// The day on which the source was read.
    pub(crate) read: &'static str,
    pub(crate) source: &'static str,
}

impl ListedPrice {
    /// `https://x.example/prices, read on 2026-11-29`, with the longest prompt that the price is for.
    pub(crate) fn origin(&self, number: impl Fn(u64) -> String) -> String {
        let longest = self.longest_prompt.map(|tokens| format!(", for prompts of up to {} tokens", number(tokens)));
        format!("{}, read on {}{}", self.source, self.read, longest.unwrap_or_default())
    }
}

/// A price of the standard tier, of which batches cost half, as all vendors below state.
const fn usd(input: f64, output: f64) -> Price {
    Price { input, output, cached_input: None, cache_write: None, batch: Some(0.5) }
}

impl Price {
    const fn cached(self, cached_input: f64) -> Price {
        Price { cached_input: Some(cached_input), ..self }
    }

    const fn written(self, cache_write: f64) -> Price {
        Price { cache_write: Some(cache_write), ..self }
    }
}

const fn anthropic(model: &'static str, price: Price, source: &'static str) -> ListedPrice {
    ListedPrice { provider: "anthropic", model, price, longest_prompt: None, read: READ, source }
}

const fn openai(model: &'static str, price: Price, source: &'static str) -> ListedPrice {
    ListedPrice { provider: "openai", ..anthropic(model, price, source) }
}

const fn gemini(model: &'static str, price: Price, source: &'static str) -> ListedPrice {
    ListedPrice { provider: "gemini", ..anthropic(model, price, source) }
}

const fn up_to(tokens: u64, listed: ListedPrice) -> ListedPrice {
    ListedPrice { longest_prompt: Some(tokens), ..listed }
}

const READ: &str = "2026-11-29";

const CLAUDE: &str = "https://platform.claude.com/docs/en/about-claude/pricing";
const CLAUDE_4: &str = "https://platform.claude.com/docs/en/docs/about-claude/pricing";
const SONNET_5: &str = "https://platform.claude.com/docs/zh-CN/models/sonnet-5/overview";
const PROMPT_FUEL: &str = "https://github.com/TheKrush/PromptFuel/releases";
const PROMPT_FUEL_21: &str = "https://github.com/TheKrush/PromptFuel/releases/tag/v1.0.21";
const TOKEN_METER: &str = "https://github.com/iyulab/TokenMeter/releases/tag/v0.17.0";
const BENCH_LM: &str = "https://benchlm.ai/blog/posts/openai-api-pricing";
const COPILOT: &str = "https://raw.githubusercontent.com/github/docs/main/data/tables/copilot/models-and-pricing.yml";
const COMMIT_BRIEF: &str = "https://github.com/CommitBrief/commitbrief/wiki/Provider-OpenAI";
const DEPLOYBASE: &str = "https://deploybase.ai/articles/gemini-api-pricing";

static PRICES: &[ListedPrice] = &[
    anthropic("claude-fable-5-1", usd(10.0, 50.0).cached(0.25).written(12.5), CLAUDE),
    anthropic("claude-fable-5", usd(10.0, 50.0).cached(1.0).written(12.5), CLAUDE),
    anthropic("claude-opus-5-5", usd(4.0, 20.0).cached(0.2).written(5.0), PROMPT_FUEL_21),
    anthropic("claude-opus-5", usd(5.0, 25.0).cached(0.5).written(6.25), CLAUDE),
    anthropic("claude-opus-4-8", usd(5.0, 25.0).cached(0.5).written(6.25), CLAUDE),
    anthropic("claude-opus-4-7", usd(5.0, 25.0).cached(0.5).written(6.25), CLAUDE),
    anthropic("claude-opus-4-6", usd(5.0, 25.0).cached(0.5).written(6.25), CLAUDE),
    anthropic("claude-opus-4-5", usd(5.0, 25.0).cached(0.5).written(6.25), CLAUDE),
    anthropic("claude-opus-4-1", usd(15.0, 75.0).cached(1.5).written(18.75), CLAUDE),
    anthropic("claude-sonnet-5", usd(2.0, 10.0).cached(0.2).written(2.5), SONNET_5),
    anthropic("claude-sonnet-4-6", usd(3.0, 15.0).cached(0.3).written(3.75), CLAUDE_4),
    anthropic("claude-sonnet-4-5", usd(3.0, 15.0).cached(0.3).written(3.75), CLAUDE_4),
    up_to(100_000, anthropic("claude-haiku-5-5", usd(0.1, 0.5).cached(0.01).written(0.125), PROMPT_FUEL)),
    anthropic("claude-haiku-4-5", usd(1.0, 5.0).cached(0.1).written(1.25), CLAUDE_4),
    up_to(
        272_000,
        openai(
            "gpt-6.2-sol",
            usd(2.0, 10.0).cached(0.1).written(2.5),
            "https://developers.openai.com/api/docs/models/gpt-6.2-sol",
        ),
    ),
    up_to(272_000, openai("gpt-6.2-astra", usd(8.0, 40.0).cached(0.4).written(10.0), TOKEN_METER)),
    up_to(
        272_000,
        openai(
            "gpt-6.1-terra",
            usd(1.0, 5.0).cached(0.05).written(1.25),
            "https://developers.openai.com/api/docs/models/gpt-6.1-terra",
        ),
    ),
    up_to(272_000, openai("gpt-6-sol", usd(2.0, 10.0).cached(0.2).written(2.5), PROMPT_FUEL_21)),
    up_to(272_000, openai("gpt-6-luna", usd(0.1, 0.5).cached(0.01).written(0.125), PROMPT_FUEL_21)),
    ListedPrice {
        read: "2026-05-04",
        ..openai("gpt-5.5", usd(5.0, 30.0), "https://developers.openai.com/api/docs/pricing")
    },
    up_to(270_000, openai("gpt-5.4", usd(2.5, 15.0).cached(0.25), BENCH_LM)),
    up_to(270_000, openai("gpt-5.4-mini", usd(0.75, 4.5).cached(0.075), BENCH_LM)),
    up_to(270_000, openai("gpt-5.4-nano", usd(0.2, 1.25).cached(0.02), BENCH_LM)),
    openai("gpt-5.2", usd(1.75, 14.0).cached(0.175), BENCH_LM),
    openai("gpt-5.1", usd(1.25, 10.0).cached(0.125), BENCH_LM),
    openai("gpt-5-mini", usd(0.25, 2.0).cached(0.025), COPILOT),
    openai("gpt-4.1", usd(2.0, 8.0).cached(0.5), COPILOT),
    openai("gpt-4.1-mini", usd(0.4, 1.6).cached(0.1), "https://vercel.com/ai-gateway/models/gpt-4.1-mini/providers"),
    openai("gpt-4o", usd(2.5, 10.0).cached(1.25), COMMIT_BRIEF),
    openai("gpt-4o-mini", usd(0.15, 0.6).cached(0.075), COMMIT_BRIEF),
    gemini("gemini-4-neon", usd(3.0, 15.0).cached(0.15), TOKEN_METER),
    gemini("gemini-4-hydrogen", usd(1.5, 7.5).cached(0.075), TOKEN_METER),
    gemini(
        "gemini-3.5-flash",
        usd(1.5, 9.0),
        "https://raw.githubusercontent.com/api-evangelist/deepmind/refs/heads/main/plans/deepmind-plans-pricing.yml",
    ),
    gemini(
        "gemini-3.5-flash-lite",
        usd(0.3, 2.5),
        "https://raw.githubusercontent.com/api-evangelist/deepmind/refs/heads/main/plans/deepmind-plans-pricing.yml",
    ),
    up_to(200_000, gemini("gemini-2.5-pro", usd(1.25, 10.0).cached(0.125), DEPLOYBASE)),
    gemini("gemini-2.5-flash", usd(0.3, 2.5).cached(0.03), DEPLOYBASE),
];

/// The listed price of the model `id` at `endpoint`, if calls go to the vendor itself.
pub(super) fn listed(endpoint: &dyn Endpoint, id: &str) -> Option<&'static ListedPrice> {
    let kind = Some(endpoint.kind()).filter(|_| endpoint.is_vendors())?;
    PRICES.iter().find(|listed| listed.provider == kind && is_snapshot(id, listed.model))
}

/// Whether `id` is `model` or one of its dated snapshots, such as `gpt-4o-mini-2024-07-18`.
fn is_snapshot(id: &str, model: &str) -> bool {
    let date = id.strip_prefix(model).map(|rest| rest.replace('-', ""));
    date.is_some_and(|date| {
        date.is_empty() && id == model || date.len() == 8 && date.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_cost_what_their_kind_costs() {
        let price =
            Price { cached_input: Some(0.1), cache_write: Some(1.25), batch: Some(0.5), input: 1.0, output: 5.0 };
        let tokens = CallTokens { prompt: 1_000_000, cached: 600_000, cache_writes: 200_000, reply: 100_000 };
        // 0.2 plain, 0.06 read, 0.25 written, 0.5 of the reply.
        assert!((price.cost(tokens, false) - 1.01).abs() < 1e-12);
        assert!((price.cost(tokens, true) - 0.505).abs() < 1e-12);
        let plain = Price { input: 1.0, output: 5.0, ..Price::default() };
        assert!(
            (plain.cost(tokens, true) - 1.5).abs() < 1e-12,
            "without own rates, all tokens and calls cost the same"
        );
        // A count of cached tokens that the prompt does not have costs nothing.
        let odd = CallTokens { prompt: 10, cached: 90, cache_writes: 90, reply: 0 };
        assert!((price.cost(odd, false) - 10.0 * 0.1 / 1e6).abs() < 1e-15);
        assert!((price.mean_input(0.6, 0.2) - 0.51).abs() < 1e-12);
    }

    #[test]
    fn a_snapshot_has_the_price_of_its_model_and_a_sibling_has_not() {
        for id in ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-4o-mini-20240718"] {
            assert!(is_snapshot(id, "gpt-4o-mini"), "{id}");
        }
        for id in ["gpt-4o", "gpt-4o-mini-", "gpt-4o-mini-audio-preview", "gpt-4o-mini-2024", "my-gpt-4o-mini"] {
            assert!(!is_snapshot(id, "gpt-4o-mini"), "{id}");
        }
    }

    #[test]
    fn every_row_has_a_source_a_date_and_prices() {
        for listed in PRICES {
            let Price { input, output, cached_input, cache_write, batch } = listed.price;
            assert!(listed.source.starts_with("https://") && listed.price.is_valid() && output > input, "{listed:?}");
            assert!(cached_input.is_none_or(|price| price < input), "{listed:?}");
            assert!(cache_write.is_none_or(|price| price > input) && batch == Some(0.5), "{listed:?}");
            assert!(chrono::NaiveDate::parse_from_str(listed.read, "%Y-%m-%d").is_ok(), "{listed:?}");
            let same = PRICES.iter().filter(|other| (other.provider, other.model) == (listed.provider, listed.model));
            assert_eq!(same.count(), 1, "{listed:?}");
        }
    }

    #[test]
    fn a_kind_has_the_prices_of_its_vendor_alone() {
        let price = |kind: &str, id: &str| {
            let endpoint = crate::provider::default_endpoint(kind).expect("a kind of provider");
            listed(endpoint.as_ref(), id).map(|listed| listed.price.input)
        };
        assert_eq!(price("openai", "gpt-4o-mini"), Some(0.15));
        assert_eq!((price("openai", "claude-haiku-4-5"), price("ollama", "gpt-4o-mini")), (None, None));
    }
}
