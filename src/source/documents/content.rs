//! Content: what a document contains, and the text that the readers of the formats write.

use crate::table::PAGE_END;

/// The most bytes of a document's text.
pub(super) const MOST_TEXT: usize = 16 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) title: Option<String>,
    pub(super) text: String,
    /// The number of pages; `None` if the document does not say where its pages end.
    pub(super) pages: Option<u64>,
    /// The time of the last change that the document itself records, as written.
    pub(super) modified: Option<String>,
}

/// A text under construction: paragraphs, lines and pages, without control characters.
#[derive(Debug, Default)]
pub(super) struct Prose {
    text: String,
    pages: u64,
}

impl Prose {
    /// Adds a text as it is, without control characters. Fails if the whole becomes too long.
    pub(super) fn push(&mut self, text: &str) -> Result<(), String> {
        self.text.extend(text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')));
        match self.text.len() > MOST_TEXT {
            true => Err(format!("its text is larger than {} MiB", MOST_TEXT >> 20)),
            false => Ok(()),
        }
    }

    /// Adds a text with every run of white space as one space, as HTML shows it.
    pub(super) fn push_words(&mut self, text: &str) -> Result<(), String> {
        if text.starts_with(|c: char| c.is_ascii_whitespace()) {
            self.space();
        }
        for (i, word) in text.split_ascii_whitespace().enumerate() {
            if i > 0 {
                self.space();
            }
            self.push(word)?;
        }
        if text.ends_with(|c: char| c.is_ascii_whitespace()) {
            self.space();
        }
        Ok(())
    }

    /// Separates words, except at the start of a line.
    pub(super) fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with([' ', '\t', '\n', PAGE_END]) {
            self.text.push(' ');
        }
    }

    /// Separates cells of a table.
    pub(super) fn cell(&mut self) {
        self.trim(&[' ']);
        self.text.push('\t');
    }

    /// Begins a cell; HTML need not end the cell before.
    pub(super) fn open_cell(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(['\t', '\n', PAGE_END]) {
            self.cell();
        }
    }

    /// Begins a new line, except at the start of one.
    pub(super) fn line(&mut self) {
        self.trim(&[' ', '\t']);
        if !self.text.is_empty() && !self.text.ends_with(['\n', PAGE_END]) {
            self.text.push('\n');
        }
    }

    /// Ends a line, also an empty one.
    pub(super) fn line_break(&mut self) {
        self.trim(&[' ', '\t']);
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// Begins a new paragraph after a blank line.
    pub(super) fn paragraph(&mut self) {
        self.line();
        if !self.text.is_empty() && !self.text.ends_with("\n\n") && !self.text.ends_with(PAGE_END) {
            self.text.push('\n');
        }
    }

    pub(super) fn page(&mut self) {
        let kept = self.text.trim_end_matches([' ', '\t', '\n']).len();
        self.text.truncate(kept);
        self.line();
        self.pages += 1;
        self.text.push(PAGE_END);
    }

    /// Whether nothing was written since the last end of a page.
    pub(super) fn page_is_blank(&self) -> bool {
        self.text.rsplit(PAGE_END).next().is_none_or(|page| page.trim().is_empty())
    }

    /// The text and the number of pages: one more than the ends of pages, and `None` if there are none.
    pub(super) fn end(mut self) -> (String, Option<u64>) {
        let kept = self.text.trim_end_matches(|c: char| c.is_whitespace() && c != PAGE_END).len();
        self.text.truncate(kept);
        (self.text, (self.pages > 0).then_some(self.pages + 1))
    }

    pub(super) fn trim(&mut self, from: &[char]) {
        let kept = self.text.trim_end_matches(from).len();
        self.text.truncate(kept);
    }
}

/// A title or a date; `None` if it is blank.
pub(super) fn named(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_lines_and_pages_do_not_pile_up() {
        let mut prose = Prose::default();
        prose.paragraph();
        prose.push_words("  One\n  two ").unwrap();
        prose.push_words("three").unwrap();
        prose.paragraph();
        prose.paragraph();
        prose.push("a\u{0}\u{7}b").unwrap();
        prose.page();
        assert!(prose.page_is_blank());
        prose.paragraph();
        prose.push("c").unwrap();
        prose.line();
        assert_eq!(prose.end(), ("One two three\n\nab\n\u{c}c".to_owned(), Some(2)));
        assert_eq!(Prose::default().end(), (String::new(), None));
        let long = Prose::default().push(&"x".repeat(MOST_TEXT + 1)).unwrap_err();
        assert_eq!(long, "its text is larger than 16 MiB");
        assert_eq!((named(" a \n b "), named(" \n")), (Some("a b".to_owned()), None));
    }
}
