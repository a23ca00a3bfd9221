//! Pieces: cuts a text. The boundaries of graphemes, words and sentences follow Unicode Standard Annex 29.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tiktoken_rs::CoreBPE;
use unicode_segmentation::UnicodeSegmentation;

use crate::prompt::{cl100k, o200k};
use crate::table::PAGE_END;

/// What a size counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    /// Unicode code points.
    Chars,
    /// Words: segments between word boundaries that contain a letter or a digit.
    Words,
    /// Tokens.
    Tokens,
}

/// Where a piece may end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// After any unit.
    #[default]
    Fixed,
    /// After a sentence.
    Sentence,
    /// After a blank line.
    Paragraph,
    /// At the end of a page (a form feed).
    Page,
}

/// A tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tokenizer {
    /// Of GPT-4o and later.
    O200kBase,
    /// Of GPT-4.
    Cl100kBase,
}

impl Tokenizer {
    fn encoding(self) -> &'static CoreBPE {
        match self {
            Tokenizer::O200kBase => o200k(),
            Tokenizer::Cl100kBase => cl100k(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Cutter {
    pub(crate) size: usize,
    /// The most units that two pieces share; less than `size`.
    pub(crate) overlap: usize,
    pub(crate) unit: Unit,
    pub(crate) by: By,
    /// Counts tokens, if they are the unit.
    pub(crate) tokenizer: Tokenizer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) text: &'a str,
    /// The position of the piece, in code points from 0.
    pub(crate) characters: Range<usize>,
    /// The page, from 1, if pieces end at pages.
    pub(crate) page: Option<usize>,
}

/// A segment of a text that is not cut: its end in bytes, and its number of units.
#[derive(Clone, Copy, Debug)]
struct Atom {
    end: usize,
    units: usize,
}

impl Cutter {
    /// Returns the pieces of `text`, in order; at least one. Each piece starts at the end of the previous piece or up
    /// to `overlap` units earlier, so together the pieces are the whole text. A unit (or a grapheme in which a unit
    /// ends) larger than `size` is a separate piece. If pieces end at pages, the form feeds and blank pages are left
    /// out.
    pub(crate) fn pieces<'a>(&self, text: &'a str) -> Vec<Piece<'a>> {
        if self.by != By::Page {
            return self.pieces_of(text, self.by);
        }
        let (mut pieces, mut before) = (Vec::new(), 0);
        for (page, number) in text.split(PAGE_END).zip(1..) {
            if !page.trim().is_empty() {
                let found = self.pieces_of(page, By::Paragraph).into_iter();
                pieces.extend(found.map(|piece| Piece {
                    characters: piece.characters.start + before..piece.characters.end + before,
                    page: Some(number),
                    ..piece
                }));
            }
            before += page.chars().count() + 1;
        }
        if pieces.is_empty() {
            pieces.push(Piece { text: "", characters: 0..0, page: Some(1) });
        }
        pieces
    }

    fn pieces_of<'a>(&self, text: &'a str, by: By) -> Vec<Piece<'a>> {
        let mut atoms = Vec::new();
        self.atoms(text, 0, by, &mut atoms);
        let mut pieces: Vec<Piece<'a>> = Vec::new();
        let (mut first, mut start) = (0, 0);
        let mut counted = (0, 0);
        while first < atoms.len() {
            let mut units = 0;
            let mut last = first;
            while last < atoms.len() && (last == first || units + atoms[last].units <= self.size) {
                units += atoms[last].units;
                last += 1;
            }
            let end = atoms[last - 1].end;
            let from = advance(text, &mut counted, start);
            let characters = from..from + text[start..end].chars().count();
            pieces.push(Piece { text: &text[start..end], characters, page: None });
            if last == atoms.len() {
                break;
            }
            let mut shared = 0;
            let mut next = last;
            // An overlap has at least one unit, and it must let the next piece advance.
            while self.overlap > 0
                && next > first + 1
                && shared + atoms[next - 1].units <= self.overlap
                && shared + atoms[next - 1].units + atoms[last].units <= self.size
            {
                next -= 1;
                shared += atoms[next].units;
            }
            start = atoms[next - 1].end;
            first = next;
        }
        if pieces.is_empty() {
            pieces.push(Piece { text, characters: 0..0, page: None });
        }
        pieces
    }

    fn atoms(&self, text: &str, at: usize, by: By, out: &mut Vec<Atom>) {
        let parts: Vec<&str> = match by {
            By::Fixed => return self.units(text, at, out),
            By::Sentence => text.split_sentence_bounds().collect(),
            By::Paragraph | By::Page => paragraphs(text),
        };
        let smaller = if by == By::Sentence { By::Fixed } else { By::Sentence };
        let mut start = at;
        for part in parts {
            match self.count(part) {
                units if units > self.size => self.atoms(part, start, smaller, out),
                units => out.push(Atom { end: start + part.len(), units }),
            }
            start += part.len();
        }
    }

    fn count(&self, text: &str) -> usize {
        match self.unit {
            Unit::Chars => text.chars().count(),
            Unit::Words => text.unicode_words().count(),
            Unit::Tokens => self.tokenizer.encoding().encode_ordinary(text).len(),
        }
    }

    fn units(&self, text: &str, at: usize, out: &mut Vec<Atom>) {
        let first = out.len();
        match self.unit {
            Unit::Chars => {
                let graphemes = text.grapheme_indices(true);
                out.extend(graphemes.map(|(start, g)| Atom { end: at + start + g.len(), units: g.chars().count() }));
            }
            Unit::Words => {
                for (start, part) in text.split_word_bound_indices() {
                    let end = at + start + part.len();
                    match out[first..].last_mut() {
                        // Other segments belong to the previous word, or at the very start to the first word.
                        Some(atom) if !is_word(part) => atom.end = end,
                        Some(atom) if atom.units == 0 => *atom = Atom { end, units: 1 },
                        _ => out.push(Atom { end, units: usize::from(is_word(part)) }),
                    }
                }
            }
            Unit::Tokens => self.tokens(text, at, out),
        }
    }

    /// Adds the tokens of `text`. Tokens that end within a grapheme are merged with the next tokens.
    fn tokens(&self, text: &str, at: usize, out: &mut Vec<Atom>) {
        let tokenizer = self.tokenizer.encoding();
        let mut boundaries = text.grapheme_indices(true).map(|(start, g)| start + g.len()).peekable();
        let (mut end, mut units) = (0, 0);
        for token in tokenizer.encode_ordinary(text) {
            end += tokenizer.decode_bytes(&[token]).map_or(0, |bytes| bytes.len());
            units += 1;
            while boundaries.next_if(|boundary| *boundary < end).is_some() {}
            if boundaries.peek() == Some(&end) {
                out.push(Atom { end: at + end, units });
                units = 0;
            }
        }
    }
}

fn is_word(part: &str) -> bool {
    part.chars().any(char::is_alphanumeric)
}

/// Returns the number of code points before byte `to`, counting on from the last (byte, code points).
fn advance(text: &str, counted: &mut (usize, usize), to: usize) -> usize {
    let (byte, characters) = *counted;
    *counted = (to, characters + text[byte..to].chars().count());
    counted.1
}

/// Returns the paragraphs of a text, each with the blank lines after it.
fn paragraphs(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut at, mut blank) = (0, 0, false);
    for line in text.split_inclusive('\n') {
        let is_blank = line.trim().is_empty();
        if blank && !is_blank {
            found.push(&text[start..at]);
            start = at;
        }
        // Blank lines at the very start belong to the first paragraph.
        blank = is_blank && (blank || !text[start..at].trim().is_empty());
        at += line.len();
    }
    if start < text.len() {
        found.push(&text[start..]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cutter(size: usize, overlap: usize, unit: Unit, by: By) -> Cutter {
        Cutter { size, overlap, unit, by, tokenizer: Tokenizer::O200kBase }
    }

    fn texts<'a>(cutter: &Cutter, text: &'a str) -> Vec<&'a str> {
        cutter.pieces(text).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn pieces_end_where_the_spec_says() {
        let text = "  The first one. The second, longer one!\r\n\r\nA new paragraph: short.\n";
        assert_eq!(
            texts(&cutter(3, 0, Unit::Words, By::Fixed), text),
            ["  The first one. ", "The second, longer ", "one!\r\n\r\nA new ", "paragraph: short.\n"]
        );
        assert_eq!(
            texts(&cutter(4, 0, Unit::Words, By::Sentence), text),
            ["  The first one. ", "The second, longer one!\r\n\r\n", "A new paragraph: short.\n"]
        );
        let paragraphs = ["  The first one. The second, longer one!\r\n\r\n", "A new paragraph: short.\n"];
        assert_eq!(texts(&cutter(7, 0, Unit::Words, By::Paragraph), text), paragraphs);
        assert_eq!(texts(&cutter(2, 1, Unit::Words, By::Fixed), "a b c d"), ["a b ", "b c ", "c d"]);
        assert_eq!(texts(&cutter(2, 0, Unit::Chars, By::Fixed), "abcde"), ["ab", "cd", "e"]);
        assert_eq!(texts(&cutter(9, 0, Unit::Chars, By::Fixed), ""), [""]);
        // A family of four is one grapheme of seven code points; an accent stays with its letter.
        let family = "e\u{301}👨‍👩‍👧‍👦x";
        assert_eq!(texts(&cutter(2, 0, Unit::Chars, By::Fixed), family), ["e\u{301}", "👨‍👩‍👧‍👦", "x"]);
        let places: Vec<_> =
            cutter(2, 0, Unit::Chars, By::Fixed).pieces(family).into_iter().map(|p| p.characters).collect();
        assert_eq!(places, [0..2, 2..9, 9..10]);
    }

    #[test]
    fn pages_are_never_joined_and_keep_their_numbers() {
        let text = "é one\n\u{c} \n\u{c}two three\n\nfour five\u{c}";
        let found = |size| {
            let pieces = cutter(size, 0, Unit::Words, By::Page).pieces(text);
            pieces.into_iter().map(|p| (p.page.unwrap(), p.characters, p.text)).collect::<Vec<_>>()
        };
        assert_eq!(found(usize::MAX), [(1, 0..6, "é one\n"), (3, 10..30, "two three\n\nfour five")]);
        assert_eq!(found(2), [(1, 0..6, "é one\n"), (3, 10..21, "two three\n\n"), (3, 21..30, "four five")]);
        let blank = cutter(9, 0, Unit::Words, By::Page).pieces(" \u{c}");
        assert_eq!(blank, [Piece { text: "", characters: 0..0, page: Some(1) }]);
    }

    #[test]
    fn tokens_are_those_of_the_tokenizer() {
        let text = "Fellow-citizens of the Senate and House of Representatives: 🙏🏽 été";
        let cutter = cutter(5, 0, Unit::Tokens, By::Fixed);
        let pieces = texts(&cutter, text);
        assert_eq!(pieces.concat(), text);
        assert!(pieces.len() > 2, "{pieces:?}");
        let all = cutter.count(text);
        assert!((all.div_ceil(5)..=all).contains(&pieces.len()), "{pieces:?}");
    }

    proptest! {
        #[test]
        fn the_pieces_together_are_the_text(
            text in "([a-z]{1,6}|[ .!?]|\r\n|\n|\n\n|é|e\u{301}|👨‍👩‍👧|漢字|\u{200d}|\\PC){0,60}",
            size in 1usize..12,
            overlap in 0usize..11,
            unit in prop_oneof![Just(Unit::Chars), Just(Unit::Words), Just(Unit::Tokens)],
            by in prop_oneof![Just(By::Fixed), Just(By::Sentence), Just(By::Paragraph)],
        ) {
            let overlap = overlap.min(size - 1);
            let cutter = cutter(size, overlap, unit, by);
            let pieces = cutter.pieces(&text);
            let boundaries: Vec<usize> = text.grapheme_indices(true).map(|(i, _)| i).chain([text.len()]).collect();
            let mut whole = String::new();
            let mut characters = 0;
            for (i, piece) in pieces.iter().enumerate() {
                let start = piece.text.as_ptr() as usize - text.as_ptr() as usize;
                prop_assert!(start <= whole.len(), "a gap before piece {i}");
                prop_assert!(start + piece.text.len() > whole.len() || text.is_empty(), "piece {i} brings nothing new");
                prop_assert_eq!(text[..start].chars().count(), piece.characters.start);
                prop_assert_eq!(piece.text.chars().count(), piece.characters.len());
                prop_assert!(text.is_empty() || boundaries.contains(&start), "piece {i} begins within a grapheme");
                if overlap == 0 {
                    prop_assert_eq!(start, whole.len());
                }
                whole.push_str(&piece.text[whole.len() - start..]);
                characters = piece.characters.end;
            }
            prop_assert_eq!(&whole, &text);
            prop_assert_eq!(characters, text.chars().count());
        }
    }
}
