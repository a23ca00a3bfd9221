//! Words: the terms of a text that is searched.

use icu_normalizer::ComposingNormalizerBorrowed;
use unicode_segmentation::UnicodeSegmentation;

/// Returns the words of a text by Unicode's rules (UAX #29), in NFKC and in lower case, in their order.
pub(super) fn words(text: &str) -> Vec<String> {
    let normal = ComposingNormalizerBorrowed::new_nfkc().normalize(text).to_lowercase();
    normal.unicode_words().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_one_form() {
        assert_eq!(
            words("The Ærie, U.S.A.: 1,000 \u{fb01}sh; don't"),
            ["the", "ærie", "u.s.a", "1,000", "fish", "don't"]
        );
        assert_eq!(words("cafe\u{301} CAFÉ"), ["café", "café"]);
        assert_eq!(words(" -- "), Vec::<String>::new());
    }
}
