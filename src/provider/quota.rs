//! Quotas: the limits and waits that a server reports in headers and words. Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::failure::LONGEST_WAIT;

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quota {
    /// The most requests or tokens.
    pub(crate) limit: Option<f64>,
    pub(crate) remaining: f64,
    /// The time until the whole limit is available again.
    pub(crate) reset: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Quotas {
    pub(crate) requests: Option<Quota>,
    pub(crate) tokens: Option<Quota>,
}

const REMAINING: [&str; 4] = [
    "x-ratelimit-remaining-requests",
    "x-ratelimit-remaining-tokens",
    "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-tokens-remaining",
];

impl Quotas {
    /// Reads the headers of [OpenAI] (also Azure, Groq, Mistral and vLLM gateways) and of [Anthropic].
    ///
    /// [OpenAI]: <https://platform.openai.com/docs/guides/rate-limits>
    /// [Anthropic]: <https://platform.claude.com/docs/en/api/rate-limits>
    pub(super) fn of<'a>(header: impl Fn(&str) -> Option<&'a str>, now: DateTime<Utc>) -> Self {
        // Most servers send none of them.
        if !REMAINING.iter().any(|name| header(name).is_some()) {
            return Quotas::default();
        }
        let read = |what: &str| {
            let field = |name: &str| {
                header(&format!("x-ratelimit-{name}-{what}"))
                    .or_else(|| header(&format!("anthropic-ratelimit-{what}-{name}")))
            };
            let number = |name: &str| field(name)?.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
            let reset = field("reset").and_then(|text| duration(text).or_else(|| until(text, now)));
            Some(Quota { limit: number("limit"), remaining: number("remaining")?, reset })
        };
        Quotas { requests: read("requests"), tokens: read("tokens") }
    }

    /// The time until a quota that is used up is available again.
    pub(super) fn reset(&self) -> Option<Duration> {
        let spent = [self.requests, self.tokens].into_iter().flatten().filter(|quota| quota.remaining < 1.0);
        spent.filter_map(|quota| quota.reset).max()
    }
}

fn until(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let then = DateTime::parse_from_rfc3339(text.trim()).ok()?;
    Some((then.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

/// Reads `20`, `1.5s`, `6m0s`, `250ms`, `1h2m3s`, `2 days and 3 hours`; a number alone means seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (found, rest) = leading_duration(text.trim_start());
    // A larger number is a point in time.
    found.filter(|found| rest.trim().is_empty() && *found < LONGEST_WAIT)
}

/// The duration at the start of a text, and the rest.
fn leading_duration(text: &str) -> (Option<Duration>, &str) {
    let (mut sum, mut rest) = (None, text);
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (Ok(number), after) = (rest[..digits].trim_end_matches('.').parse::<f64>(), rest[digits..].trim_start())
        else {
            return (sum, rest);
        };
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let seconds = match after[..letters].to_ascii_lowercase().as_str() {
            "ms" | "millisecond" | "milliseconds" => 1e-3,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            _ if sum.is_none() => return (Duration::try_from_secs_f64(number).ok(), after),
            _ => return (sum, rest),
        };
        let Ok(part) = Duration::try_from_secs_f64(number * seconds) else { return (sum, rest) };
        sum = Some(sum.unwrap_or_default() + part);
        rest = after[letters..].trim_start_matches([' ', ',']);
        rest = rest.strip_prefix("and ").unwrap_or(rest);
    }
}

/// The wait in a message such as `Please try again in 7m12s.`
pub(super) fn wait_in_words(message: &str) -> Option<Duration> {
    let lower = message.to_ascii_lowercase();
    let places =
        ["again in ", "again after ", "retry in ", "retry after ", "resets in ", "reset in ", "wait ", "reset after "];
    let found = |words: &str| {
        let place = lower.find(words)? + words.len();
        leading_duration(lower[place..].trim_start_matches("about ").trim_start_matches("for ")).0
    };
    places.iter().filter_map(|words| found(words)).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(headers: &[(&str, &'static str)]) -> Quotas {
        let now = DateTime::parse_from_rfc3339("2026-11-21T12:00:00Z").expect("a time").with_timezone(&Utc);
        Quotas::of(|name| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| *value), now)
    }

    #[test]
    fn headers_of_three_providers_are_read() {
        let openai = quotas(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]);
        let secs = |secs| Some(Duration::from_secs(secs));
        assert_eq!(openai.requests, Some(Quota { limit: Some(60.0), remaining: 59.0, reset: secs(1) }));
        assert_eq!(openai.tokens, Some(Quota { limit: Some(150000.0), remaining: 0.0, reset: secs(360) }));
        assert_eq!(openai.reset(), secs(360));
        let anthropic = quotas(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-11-21T12:00:30Z"),
        ]);
        assert_eq!(anthropic.requests, Some(Quota { limit: Some(50.0), remaining: 0.0, reset: secs(30) }));
        assert_eq!(anthropic.tokens, None);
        let azure = quotas(&[("x-ratelimit-remaining-requests", "9"), ("x-ratelimit-remaining-tokens", "-1")]);
        assert_eq!(azure.requests, Some(Quota { limit: None, remaining: 9.0, reset: None }));
        assert_eq!((azure.tokens, azure.reset()), (None, None));
        assert_eq!(quotas(&[]), Quotas::default());
    }

    #[test]
    fn durations_are_read_in_all_forms() {
        for (text, millis) in [
            ("20", 20_000),
            ("1.5s", 1500),
            ("6m0s", 360_000),
            ("250ms", 250),
            ("1h2m3.5s", 3_723_500),
            ("2 days and 3 hours", 183_600_000),
            ("1 minute, 5 seconds", 65_000),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "soon", "-1s", "1x", "NaN", "5 apples", "1795000000"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_wait_in_words_is_found() {
        for (message, secs) in [
            ("Rate limit reached. Please try again in 7m12s. Visit https://x.example/1", 432.0),
            ("Please retry after 20 seconds.", 20.0),
            ("Too many requests, retry in 1.5s", 1.5),
            ("Your limit resets in 4 days and 18 hours", 410_400.0),
            ("You must wait 60 seconds", 60.0),
        ] {
            assert_eq!(wait_in_words(message), Some(Duration::from_secs_f64(secs)), "{message}");
        }
        for message in ["slow down", "try again in a while", "try again later", "wait for the 5th"] {
            assert_eq!(wait_in_words(message), None, "{message}");
        }
    }
}
