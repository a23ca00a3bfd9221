//! Pieces: cuts a text. The boundaries of graphemes, words and sentences follow Unicode Standard Annex 29.

use std::collections::VecDeque;
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

pub(crate) type Pieces<'a> = Box<dyn Iterator<Item = Piece<'a>> + 'a>;
type Atoms<'a> = Box<dyn Iterator<Item = Atom> + 'a>;

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
    pub(crate) fn pieces<'a>(&'a self, text: &'a str) -> Pieces<'a> {
        if self.by != By::Page {
            return Box::new(Walk::new(self, text, self.by));
        }
        let mut before = 0;
        let pages = text.split(PAGE_END).zip(1..).flat_map(move |(page, number)| {
            let first = before;
            before += page.chars().count() + 1;
            let walk = (!page.trim().is_empty()).then(|| Walk::new(self, page, By::Paragraph));
            walk.into_iter().flatten().map(move |piece| Piece {
                characters: piece.characters.start + first..piece.characters.end + first,
                page: Some(number),
                ..piece
            })
        });
        let mut pages = pages.peekable();
        let blank = pages.peek().is_none().then_some(Piece { text: "", characters: 0..0, page: Some(1) });
        Box::new(pages.chain(blank))
    }

    fn atoms<'a>(&'a self, text: &'a str, at: usize, by: By) -> Atoms<'a> {
        let parts: Box<dyn Iterator<Item = &'a str> + 'a> = match by {
            By::Fixed => return self.units(text, at),
            By::Sentence => Box::new(text.split_sentence_bounds()),
            By::Paragraph | By::Page => Box::new(paragraphs(text).into_iter()),
        };
        let smaller = if by == By::Sentence { By::Fixed } else { By::Sentence };
        let mut end = at;
        Box::new(parts.flat_map(move |part| -> Atoms<'a> {
            let start = end;
            end += part.len();
            match self.count(part) {
                units if units > self.size => self.atoms(part, start, smaller),
                units => Box::new(std::iter::once(Atom { end, units })),
            }
        }))
    }

    fn count(&self, text: &str) -> usize {
        match self.unit {
            Unit::Chars => text.chars().count(),
            Unit::Words => text.unicode_words().count(),
            Unit::Tokens => self.tokenizer.encoding().encode_ordinary(text).len(),
        }
    }

    fn units<'a>(&'a self, text: &'a str, at: usize) -> Atoms<'a> {
        match self.unit {
            Unit::Chars => {
                let graphemes = text.grapheme_indices(true);
                Box::new(graphemes.map(move |(start, g)| Atom { end: at + start + g.len(), units: g.chars().count() }))
            }
            Unit::Words => {
                let mut parts = text.split_word_bound_indices().peekable();
                Box::new(std::iter::from_fn(move || {
                    let (start, part) = parts.next()?;
                    let mut atom = Atom { end: at + start + part.len(), units: usize::from(is_word(part)) };
                    // Other segments belong to the previous word, or at the very start to the first word.
                    while let Some((start, part)) = parts.next_if(|(_, part)| atom.units == 0 || !is_word(part)) {
                        atom.end = at + start + part.len();
                        atom.units += usize::from(is_word(part));
                    }
                    Some(atom)
                }))
            }
            Unit::Tokens => self.tokens(text, at),
        }
    }

    /// The tokens of `text`. Tokens that end within a grapheme are merged with the next tokens.
    fn tokens<'a>(&'a self, text: &'a str, at: usize) -> Atoms<'a> {
        let tokenizer = self.tokenizer.encoding();
        let mut boundaries = text.grapheme_indices(true).map(|(start, g)| start + g.len()).peekable();
        let (mut end, mut units) = (0, 0);
        Box::new(tokenizer.encode_ordinary(text).into_iter().filter_map(move |token| {
            end += tokenizer.decode_bytes(&[token]).map_or(0, |bytes| bytes.len());
            units += 1;
            while boundaries.next_if(|boundary| *boundary < end).is_some() {}
            (boundaries.peek() == Some(&end)).then(|| Atom { end: at + end, units: std::mem::take(&mut units) })
        }))
    }
}

/// Puts the atoms of a text together to pieces, and holds those of one piece at a time.
struct Walk<'a> {
    cutter: &'a Cutter,
    text: &'a str,
    atoms: std::iter::Fuse<Atoms<'a>>,
    /// The atoms from the start of the next piece on that have been read.
    read: VecDeque<Atom>,
    /// The first byte of the next piece. `None` after the last one.
    start: Option<usize>,
    /// A byte and the number of code points before it.
    counted: (usize, usize),
}

impl<'a> Walk<'a> {
    fn new(cutter: &'a Cutter, text: &'a str, by: By) -> Walk<'a> {
        let atoms = cutter.atoms(text, 0, by).fuse();
        Walk { cutter, text, atoms, read: VecDeque::new(), start: Some(0), counted: (0, 0) }
    }

    fn atom(&mut self, place: usize) -> Option<Atom> {
        if place == self.read.len() {
            self.read.extend(self.atoms.next());
        }
        self.read.get(place).copied()
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let Cutter { size, overlap, .. } = *self.cutter;
        let start = self.start.take()?;
        let (mut units, mut taken) = (0, 0);
        while let Some(atom) = self.atom(taken).filter(|atom| taken == 0 || units + atom.units <= size) {
            units += atom.units;
            taken += 1;
        }
        // A text without atoms is one piece.
        let end = if taken == 0 { self.text.len() } else { self.read[taken - 1].end };
        let from = advance(self.text, &mut self.counted, start);
        let characters = from..from + self.text[start..end].chars().count();
        if let Some(after) = self.atom(taken).filter(|_| taken > 0) {
            let (mut next, mut shared) = (taken, 0);
            // An overlap has at least one unit, and it must let the next piece advance.
            while overlap > 0
                && next > 1
                && shared + self.read[next - 1].units <= overlap
                && shared + self.read[next - 1].units + after.units <= size
            {
                next -= 1;
                shared += self.read[next].units;
            }
            self.start = Some(self.read[next - 1].end);
            self.read.drain(..next);
        }
        Some(Piece { text: &self.text[start..end], characters, page: None })
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

    fn texts<'a>(cutter: &'a Cutter, text: &'a str) -> Vec<&'a str> {
        cutter.pieces(text).map(|piece| piece.text).collect()
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
        let places: Vec<_> = cutter(2, 0, Unit::Chars, By::Fixed).pieces(family).map(|p| p.characters).collect();
        assert_eq!(places, [0..2, 2..9, 9..10]);
    }

    #[test]
    fn pages_are_never_joined_and_keep_their_numbers() {
        let text = "é one\n\u{c} \n\u{c}two three\n\nfour five\u{c}";
        let found = |size| {
            let cutter = cutter(size, 0, Unit::Words, By::Page);
            cutter.pieces(text).map(|p| (p.page.unwrap(), p.characters, p.text.to_owned())).collect::<Vec<_>>()
        };
        let piece = |page: usize, place: Range<usize>, text: &str| (page, place, text.to_owned());
        let first = || piece(1, 0..6, "é one\n");
        assert_eq!(found(usize::MAX), [first(), piece(3, 10..30, "two three\n\nfour five")]);
        assert_eq!(found(2), [first(), piece(3, 10..21, "two three\n\n"), piece(3, 21..30, "four five")]);
        let blank = cutter(9, 0, Unit::Words, By::Page);
        assert_eq!(blank.pieces(" \u{c}").collect::<Vec<_>>(), [Piece { text: "", characters: 0..0, page: Some(1) }]);
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
            let pieces: Vec<_> = cutter.pieces(&text).collect();
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
