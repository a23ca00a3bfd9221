//! Quotes: the position of quoted words in a text.

use icu_normalizer::DecomposingNormalizerBorrowed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Exact,
    /// Identical except for case, white space, the shape of quotation marks and dashes, and Unicode forms (NFKD).
    Normalised,
    Fuzzy,
}

impl Match {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Match::Exact => "exact",
            Match::Normalised => "normalised",
            Match::Fuzzy => "fuzzy",
        }
    }
}

/// The position of a quote: from character `start` up to, but not including, `end`, in Unicode scalar values from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) how: Match,
}

/// Finds the first occurrence of `quote` in `text`: exact or else normalised. Otherwise, with a `ratio`, finds the part
/// with the largest similarity of at least `ratio`. Similarity: 1 - Levenshtein distance of the normalised texts /
/// length of the quote. Outer quotation marks of `quote` are ignored.
pub(crate) fn find(text: &str, quote: &str, ratio: Option<f64>) -> Option<Location> {
    let quote = quote.trim_matches(|c: char| c.is_whitespace() || straight(c) == '"');
    if quote.is_empty() {
        return None;
    }
    if let Some(at) = text.find(quote) {
        let start = text[..at].chars().count();
        return Some(Location { start, end: start + quote.chars().count(), how: Match::Exact });
    }
    let (text, quote) = (normalised(text), normalised(quote));
    let letters: Vec<char> = quote.iter().map(|n| n.letter).collect();
    let found =
        |first: usize, last: usize, how: Match| Location { start: text[first].from, end: text[last].from + 1, how };
    let same = |window: &[Normal]| window.iter().map(|n| n.letter).eq(letters.iter().copied());
    if let Some(at) = text.windows(letters.len().max(1)).position(same) {
        return Some(found(at, at + letters.len() - 1, Match::Normalised));
    }
    let (first, last, distance) = nearest(&text, &letters)?;
    let close = 1.0 - distance as f64 / letters.len() as f64 >= ratio?;
    close.then(|| found(first, last, Match::Fuzzy))
}

/// The text in lower case and NFKD, with single spaces, straight quotation marks and plain dashes.
pub(crate) fn normal_text(text: &str) -> String {
    normalised(text).iter().map(|n| n.letter).collect()
}

struct Normal {
    letter: char,
    from: usize,
}

/// Normalises a text: lower case, NFKD, single spaces, straight quotation marks and dashes.
fn normalised(text: &str) -> Vec<Normal> {
    let nfkd = DecomposingNormalizerBorrowed::new_nfkd();
    let mut out: Vec<Normal> = Vec::new();
    let mut push = |from: usize, letter: char| {
        let letter = if letter.is_whitespace() { ' ' } else { letter };
        // Invisible characters (soft hyphens, zero-width joiners) are dropped.
        let unseen = matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{feff}');
        let repeated = letter == ' ' && out.last().is_none_or(|n| n.letter == ' ');
        if !unseen && !repeated {
            out.push(Normal { letter, from });
        }
    };
    for (from, c) in text.chars().enumerate() {
        match straight(c) {
            // NFKD does not change these.
            c if c.is_ascii() => push(from, c.to_ascii_lowercase()),
            c => {
                let letters = nfkd.normalize_iter(std::iter::once(c)).flat_map(char::to_lowercase);
                letters.for_each(|letter| push(from, letter));
            }
        }
    }
    while out.last().is_some_and(|n| n.letter == ' ') {
        out.pop();
    }
    out
}

fn straight(c: char) -> char {
    match c {
        '“' | '”' | '„' | '«' | '»' => '"',
        '‘' | '’' | '‚' | '`' | '´' => '\'',
        '‐'..='―' | '−' => '-',
        c => c,
    }
}

/// Finds the first part of `text` with the least edit distance to `quote`. Returns its ends and the distance (Sellers
/// 1980, <https://doi.org/10.1016/0196-6774(80)90016-4>). Time: product of the lengths; memory: length of the quote.
fn nearest(text: &[Normal], quote: &[char]) -> Option<(usize, usize, usize)> {
    // For each prefix of the quote: the distance to the nearest part of the text that ends here, and the start of that
    // part.
    let mut column: Vec<(usize, usize)> = (0..=quote.len()).map(|i| (i, 0)).collect();
    let mut best: Option<(usize, usize, usize)> = None;
    for (at, n) in text.iter().enumerate() {
        let mut diagonal = column[0];
        column[0] = (0, at + 1);
        diagonal.1 = at;
        for (i, letter) in quote.iter().enumerate() {
            let replaced = (diagonal.0 + usize::from(*letter != n.letter), diagonal.1);
            let (above, left) = (column[i], column[i + 1]);
            diagonal = left;
            column[i + 1] = [replaced, (left.0 + 1, left.1), (above.0 + 1, above.1)]
                .into_iter()
                .min_by_key(|(distance, _)| *distance)
                .unwrap_or(replaced);
        }
        let (distance, start) = column[quote.len()];
        if start <= at && best.is_none_or(|(_, _, least)| distance < least) {
            best = Some((start, at, distance));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str, quote: &str, ratio: Option<f64>) -> Option<(String, &'static str)> {
        let found = find(text, quote, ratio)?;
        let part: String = text.chars().skip(found.start).take(found.end - found.start).collect();
        Some((part, found.how.name()))
    }

    fn some(part: &str, how: &'static str) -> Option<(String, &'static str)> {
        Some((part.to_owned(), how))
    }

    #[test]
    fn quotes_are_found_exactly_or_normalised_with_their_place() {
        let text = "Élan vital.\n  The “Peace”\u{a0}of  Ghent — signed 1814, ﬁnally.";
        assert_eq!(shown(text, "signed 1814", None), some("signed 1814", "exact"));
        assert_eq!(shown(text, " \"signed 1814\" ", None), some("signed 1814", "exact"));
        assert_eq!(
            shown(text, "the \"peace\" of ghent - SIGNED", None),
            some("The “Peace”\u{a0}of  Ghent — signed", "normalised")
        );
        assert_eq!(shown(text, "e\u{301}lan VITAL", None), some("Élan vital", "normalised"));
        assert_eq!(shown(text, "finally.", None), some("ﬁnally.", "normalised"));
        for absent in ["signed 1815", "peace of Paris", "", "\"\"", "  "] {
            assert_eq!(shown(text, absent, None), None, "{absent}");
        }
        assert_eq!(find("", "a", Some(0.0)), None);
    }

    #[test]
    fn a_quote_with_some_other_letters_is_found_above_the_ratio_alone() {
        let text = "We have concluded a treaty of peace and friendship with the Sultan of Muscat.";
        let quote = "We have concluded a traety of piece and friendships";
        // 4 letters replaced and one added, of 51.
        assert_eq!(shown(text, quote, Some(0.9)), some("We have concluded a treaty of peace and friendship", "fuzzy"));
        assert_eq!(shown(text, quote, Some(0.91)), None);
        assert_eq!(shown(text, quote, None), None);
    }

    proptest! {
        #[test]
        fn any_part_of_a_text_is_found_where_the_same_letters_stand(text in "[a-cA-C é\u{301}“\\-—\n]{1,40}", from in 0usize..40, length in 1usize..12) {
            let part: String = text.chars().skip(from).take(length).collect();
            let found = find(&text, &part, None);
            let letters = |text: &str| normalised(text).iter().map(|n| n.letter).collect::<String>();
            let trimmed = part.trim_matches(|c: char| c.is_whitespace() || straight(c) == '"');
            if let Some(found) = found {
                let place: String = text.chars().skip(found.start).take(found.end - found.start).collect();
                prop_assert_eq!(letters(&place), letters(trimmed));
            } else {
                prop_assert!(trimmed.is_empty());
            }
        }

        #[test]
        fn the_nearest_part_is_as_near_as_it_is_said_to_be(text in "[ab ]{1,14}", quote in "[ab]{1,6}") {
            let normal = normalised(&text);
            let letters: Vec<char> = quote.chars().collect();
            let distance = |part: &[Normal]| strsim::generic_levenshtein(&part.iter().map(|n| n.letter).collect::<Vec<_>>(), &letters);
            if let Some((first, last, least)) = nearest(&normal, &letters) {
                prop_assert_eq!(distance(&normal[first..=last]), least);
                for a in 0..normal.len() {
                    for b in a..normal.len() {
                        prop_assert!(distance(&normal[a..=b]) >= least);
                    }
                }
            }
        }
    }
}
