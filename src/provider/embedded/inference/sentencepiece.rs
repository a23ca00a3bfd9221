//! SentencePiece vocabularies (`tokenizer.ggml.model = "llama"`): Llama 2, Mistral, Gemma, Phi 3.
//!
//! A text starts as its characters. Of all neighbours that are a piece together, those with the highest score merge
//! first. A character without a piece becomes its bytes. Source: <https://github.com/google/sentencepiece> and
//! `llm_tokenizer_spm` in llama.cpp.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use aho_corasick::{AhoCorasick, MatchKind};

use super::gguf::broken;
use crate::provider::EndpointError;

/// What pieces write for a space.
const SPACE: char = '▁';

pub(super) struct SentencePiece {
    /// The pieces that merging may make, with their scores.
    pieces: HashMap<String, (u32, Score)>,
    bytes: HashMap<u8, u32>,
    /// Finds the pieces that are kept whole wherever a text has them: in Gemma runs of spaces and line breaks, and tags.
    whole: AhoCorasick,
    whole_ids: Vec<u32>,
    unknown: u32,
    space_prefix: bool,
}

/// The meaning of a token for the tokenizer.
pub(super) enum Piece {
    /// Made by merging.
    Merged,
    Byte(u8),
    /// Kept whole.
    Whole,
    /// Never made from a text.
    Special,
}

#[derive(Clone, Copy, PartialEq)]
struct Score(f32);

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A part of the text, from its start up to its end, and its neighbours. An empty part was merged into its left one.
struct Part {
    start: usize,
    end: usize,
    left: Option<usize>,
    right: Option<usize>,
}

impl SentencePiece {
    pub(super) fn new<'a>(
        tokens: impl Iterator<Item = (&'a str, f32, Piece)>,
        unknown: u32,
        space_prefix: bool,
    ) -> Result<Self, EndpointError> {
        let (mut pieces, mut bytes) = (HashMap::new(), HashMap::new());
        let (mut whole, mut whole_ids) = (Vec::new(), Vec::new());
        for (id, (text, score, piece)) in (0..).zip(tokens) {
            match piece {
                Piece::Merged => drop(pieces.insert(text.to_owned(), (id, Score(score)))),
                Piece::Byte(byte) => drop(bytes.insert(byte, id)),
                Piece::Whole if text.is_empty() => {}
                Piece::Whole => {
                    whole.push(text.replace(SPACE, " "));
                    whole_ids.push(id);
                }
                Piece::Special => {}
            }
        }
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(whole);
        let whole = finder.map_err(|e| broken(&format!("the vocabulary can't be searched for: {e}")))?;
        Ok(SentencePiece { pieces, bytes, whole, whole_ids, unknown, space_prefix })
    }

    /// The meaning of a piece that is written like a byte, `<0x0A>`.
    pub(super) fn byte(text: &str) -> Option<u8> {
        let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
        if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
    }

    /// The text that a piece writes.
    pub(super) fn text(piece: &str) -> String {
        piece.replace(SPACE, " ")
    }

    /// The tokens of a text at the start or after a special token; many vocabularies put a space before it.
    pub(super) fn tokens(&self, text: &str) -> Vec<u32> {
        self.cut(text, self.space_prefix)
    }

    /// The tokens of a text that goes on after other text.
    pub(super) fn further_tokens(&self, text: &str) -> Vec<u32> {
        self.cut(text, false)
    }

    fn cut(&self, text: &str, mut prefix: bool) -> Vec<u32> {
        let mut tokens = Vec::new();
        let mut from = 0;
        for found in self.whole.find_iter(text) {
            self.merge(&text[from..found.start()], prefix, &mut tokens);
            tokens.push(self.whole_ids[found.pattern()]);
            from = found.end();
            prefix = self.space_prefix;
        }
        self.merge(&text[from..], prefix, &mut tokens);
        tokens
    }

    fn merge(&self, text: &str, prefix: bool, tokens: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        let text = if prefix { format!(" {text}") } else { text.to_owned() }.replace(' ', "▁");
        let ends = text.char_indices().map(|(at, c)| (at, at + c.len_utf8()));
        let last = text.chars().count() - 1;
        let part = |(i, (start, end)): (usize, (usize, usize))| Part {
            start,
            end,
            left: i.checked_sub(1),
            right: (i < last).then_some(i + 1),
        };
        let mut parts: Vec<Part> = ends.enumerate().map(part).collect();
        let mut queue = BinaryHeap::new();
        // The best is the one with the highest score, then the leftmost one.
        let pair = |parts: &[Part], left: Option<usize>, right: Option<usize>| {
            let (left, right) = (left?, right?);
            let (start, end) = (parts[left].start, parts[right].end);
            let (_, score) = self.pieces.get(&text[start..end])?;
            Some((*score, Reverse(left), right, end - start))
        };
        queue.extend((0..last).filter_map(|i| pair(&parts, Some(i), Some(i + 1))));
        while let Some((_, Reverse(left), right, length)) = queue.pop() {
            let size = |part: &Part| part.end - part.start;
            // A part of the pair has merged since.
            if size(&parts[left]) == 0 || size(&parts[right]) == 0 || size(&parts[left]) + size(&parts[right]) != length
            {
                continue;
            }
            parts[left].end = parts[right].end;
            parts[left].right = parts[right].right;
            parts[right].start = parts[right].end;
            if let Some(next) = parts[left].right {
                parts[next].left = Some(left);
            }
            queue.extend(pair(&parts, parts[left].left, Some(left)));
            queue.extend(pair(&parts, Some(left), parts[left].right));
        }
        for part in parts.iter().filter(|part| part.end > part.start) {
            let text = &text[part.start..part.end];
            match self.pieces.get(text) {
                Some((id, _)) => tokens.push(*id),
                None => tokens.extend(text.bytes().map(|byte| *self.bytes.get(&byte).unwrap_or(&self.unknown))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(space_prefix: bool) -> SentencePiece {
        let merged = ["▁", "a", "b", "c", "ab", "bc", "abc", "▁a"]
            .into_iter()
            .zip([-9.0, -9.0, -9.0, -9.0, -2.0, -1.0, -5.0, -3.0]);
        let merged = merged.map(|(text, score)| (text, score, Piece::Merged));
        let bytes = [("<0xC3>", 0.0, Piece::Byte(0xC3)), ("<0xA4>", 0.0, Piece::Byte(0xA4))];
        let others = [("\n\n", 0.0, Piece::Whole), ("x", -1.0, Piece::Special)];
        SentencePiece::new(merged.chain(bytes).chain(others), 99, space_prefix).unwrap()
    }

    #[test]
    fn the_highest_score_merges_first_then_the_leftmost() {
        let vocabulary = vocabulary(false);
        for (text, tokens) in [
            ("ab", vec![4]),
            ("abc", vec![6]),
            ("bcbc", vec![5, 5]),
            ("aab", vec![1, 4]),
            (" abc", vec![7, 5]),
            ("a a", vec![1, 7]),
            ("ä", vec![8, 9]),
            ("x", vec![99]),
            ("a\n\nb", vec![1, 10, 2]),
            ("\n\n\n", vec![10, 99]),
            ("", vec![]),
        ] {
            assert_eq!(vocabulary.tokens(text), tokens, "{text:?}");
        }
    }

    #[test]
    fn a_space_is_put_before_texts_but_not_inside() {
        let vocabulary = vocabulary(true);
        assert_eq!((vocabulary.tokens("a"), vocabulary.further_tokens("a")), (vec![7], vec![1]));
        assert_eq!((vocabulary.tokens("\n\na"), vocabulary.tokens("")), (vec![10, 7], vec![]));
    }

    #[test]
    fn bytes_have_two_digits() {
        let read = ["<0x0A>", "<0xFf>", "<0xA>", "<0x00A>", "<0xZZ>", "0x0A"].map(SentencePiece::byte);
        assert_eq!(read, [Some(10), Some(255), None, None, None, None]);
    }
}
