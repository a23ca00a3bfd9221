//! Prices of well-known hosted models, for specs that give none.
//!
//! A row needs a source that shows the price for input and output of the standard tier, whatever the length of the
//! prompt, and the day on which it was read. Prices change: the `price` in a spec always wins.

use super::limits::Price;
use crate::provider::Endpoint;

#[derive(Debug, PartialEq)]
pub(crate) struct ListedPrice {
    /// The kind of the provider.
    provider: &'static str,
    /// The model's id at its vendor, without the date of a snapshot.
    model: &'static str,
    pub(crate) price: Price,
    /// The day on which the source was read.
    pub(crate) read: &'static str,
    pub(crate) source: &'static str,
}

const CLAUDE: &str = "https://platform.claude.com/docs/en/about-claude/pricing";
const OPENAI: &str = "https://developers.openai.com/api/docs/pricing";
const GEMINI: &str = "https://ai.google.dev/gemini-api/docs/pricing";

const fn anthropic(model: &'static str, input: f64, output: f64) -> ListedPrice {
    ListedPrice { provider: "anthropic", model, price: Price { input, output }, read: "2026-11-28", source: CLAUDE }
}

const fn openai(model: &'static str, input: f64, output: f64) -> ListedPrice {
    ListedPrice { provider: "openai", model, price: Price { input, output }, read: "2026-05-04", source: OPENAI }
}

const fn gemini(model: &'static str, input: f64, output: f64) -> ListedPrice {
    ListedPrice { provider: "gemini", model, price: Price { input, output }, read: "2026-10-07", source: GEMINI }
}

static PRICES: &[ListedPrice] = &[
    anthropic("claude-opus-5", 5.0, 25.0),
    anthropic("claude-opus-4-6", 5.0, 25.0),
    anthropic("claude-opus-4-5", 5.0, 25.0),
    anthropic("claude-opus-4-1", 15.0, 75.0),
    anthropic("claude-sonnet-4-6", 3.0, 15.0),
    anthropic("claude-sonnet-4-5", 3.0, 15.0),
    anthropic("claude-haiku-4-5", 1.0, 5.0),
    openai("gpt-5.5", 5.0, 30.0),
    openai("gpt-5.4", 2.5, 15.0),
    openai("gpt-5.4-mini", 0.75, 4.5),
    openai("gpt-5.4-nano", 0.2, 1.25),
    ListedPrice {
        read: "2026-11-28",
        source: "https://openrouter.ai/openai/gpt-4o-mini-2024-07-18",
        ..openai("gpt-4o-mini", 0.15, 0.6)
    },
    gemini("gemini-3.5-flash", 1.5, 9.0),
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
            assert!(listed.source.starts_with("https://") && listed.price.output > listed.price.input, "{listed:?}");
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
