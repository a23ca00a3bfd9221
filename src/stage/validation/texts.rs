//! Texts: how much of a true text is in a predicted one, and whether a quote is in a text.

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

use crate::stage::quote::{self, Match};

/// How a predicted text matches the true one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TextMatch {
    pub(super) exact: bool,
    /// Equal words, whatever their case, the punctuation and the form of the letters.
    pub(super) normalised: bool,
    /// The harmonic mean of the shares of tokens that are in the other text (Rajpurkar et al. 2016,
    /// <https://doi.org/10.18653/v1/D16-1264>).
    pub(super) token_f1: f64,
}

/// Whether a quote is in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QuoteMatch {
    pub(super) exact: bool,
    /// Identical except for case, white space, the shape of quotation marks and dashes, and Unicode forms.
    pub(super) found: bool,
}

pub(super) fn compare(truth: &str, predicted: &str) -> TextMatch {
    if truth == predicted {
        return TextMatch { exact: true, normalised: true, token_f1: 1.0 };
    }
    let (truths, predictions) = (quote::normal_text(truth), quote::normal_text(predicted));
    let (a, b): (Vec<&str>, Vec<&str>) = (truths.unicode_words().collect(), predictions.unicode_words().collect());
    let has_words = !(a.is_empty() && b.is_empty());
    let normalised = if has_words { a == b } else { truths == predictions };
    let token_f1 = if has_words { token_f1(&a, &b) } else { f64::from(u8::from(normalised)) };
    TextMatch { exact: false, normalised, token_f1 }
}

fn token_f1(a: &[&str], b: &[&str]) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    a.iter().for_each(|token| *left.entry(token).or_default() += 1);
    let mut take = |token: &str| left.get_mut(token).filter(|n| **n > 0).map(|n| *n -= 1).is_some();
    let shared = b.iter().filter(|token| take(token)).count();
    2.0 * shared as f64 / (a.len() + b.len()) as f64
}

pub(super) fn find(text: &str, quote: &str) -> QuoteMatch {
    let how = quote::find(text, quote, None).map(|found| found.how);
    QuoteMatch { exact: how == Some(Match::Exact), found: how.is_some() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_as_a_bag() {
        let of = |truth: &str, predicted: &str| {
            let found = compare(truth, predicted);
            (found.exact, found.normalised, (found.token_f1 * 1e4).round() / 1e4)
        };
        assert_eq!(of("the cat", "the cat"), (true, true, 1.0));
        assert_eq!(of("The  cat!", "the cat"), (false, true, 1.0));
        assert_eq!(of("the cat sat", "cat the"), (false, false, 0.8));
        // A repeated token counts as often as it is in both.
        assert_eq!(of("no no no", "no no yes"), (false, false, 0.6667));
        assert_eq!(of("Élan", "e\u{301}lan"), (false, true, 1.0));
        assert_eq!(
            (of("?", "!"), of("?", "? "), of("?", "so")),
            ((false, false, 0.0), (false, true, 1.0), (false, false, 0.0))
        );
    }

    #[test]
    fn quotes_are_found_exactly_or_normalised() {
        let text = "We have “peace” at last.";
        let of = |quote: &str| find(text, quote);
        assert_eq!(of("peace"), QuoteMatch { exact: true, found: true });
        assert_eq!(of("WE HAVE \"peace\""), QuoteMatch { exact: false, found: true });
        assert_eq!(of("war"), QuoteMatch { exact: false, found: false });
    }
}
