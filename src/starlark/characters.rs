//! Texts: their positions count characters, and are found without reading the whole text.

use std::cell::OnceCell;

/// A text. Its positions count characters.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) text: Box<str>,
    pub(crate) chars: usize,
    /// The byte of every 256th character, if characters and bytes differ.
    marks: OnceCell<Vec<usize>>,
}

/// The characters between two marks.
const STRIDE: usize = 256;

impl Text {
    pub(crate) fn new(text: Box<str>) -> Self {
        let chars = text.chars().count();
        Text { text, chars, marks: OnceCell::new() }
    }

    /// The byte where a character begins; the length for the end.
    pub(crate) fn byte(&self, character: usize) -> usize {
        if self.chars == self.text.len() {
            return character.min(self.chars);
        }
        let marks = self.marks.get_or_init(|| self.text.char_indices().step_by(STRIDE).map(|(at, _)| at).collect());
        let start = marks.get(character / STRIDE).copied().unwrap_or(self.text.len());
        let rest = &self.text[start..];
        rest.char_indices().nth(character % STRIDE).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// The number of characters before a byte.
    pub(crate) fn character(&self, byte: usize) -> usize {
        if self.chars == self.text.len() {
            return byte;
        }
        let marks = self.marks.get_or_init(|| self.text.char_indices().step_by(STRIDE).map(|(at, _)| at).collect());
        let mark = marks.partition_point(|at| *at <= byte).saturating_sub(1);
        let start = marks.get(mark).copied().unwrap_or(0);
        mark * STRIDE + self.text[start..byte].chars().count()
    }

    pub(crate) fn slice(&self, start: usize, end: usize) -> &str {
        &self.text[self.byte(start)..self.byte(end)]
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Text {}
