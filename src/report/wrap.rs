//! Line breaks: wraps the lines of a text at the width of a terminal, between words. Pure.
//!
//! A command to copy and a text in backquotes stay on one line if a line has room for them. Codes of colours have no
//! width.

use std::ops::Range;

use unicode_width::UnicodeWidthStr;

/// The columns by which a line that goes on is indented further.
const HANG: usize = 2;
/// The narrowest terminal whose lines are wrapped.
const LEAST: usize = 24;
const COMMAND: &str = "fanfold ";

/// The text with lines of at most `width` columns. Longer words stay whole.
pub(crate) fn wrapped(text: &str, width: usize) -> String {
    if width < LEAST {
        return text.to_owned();
    }
    let wrap = |line: &str| match columns(line) > width {
        true => wrapped_line(line, width),
        false => line.to_owned(),
    };
    text.split('\n').map(wrap).collect::<Vec<_>>().join("\n")
}

fn wrapped_line(line: &str, width: usize) -> String {
    let indent = line.len() - line.trim_start_matches(' ').len();
    // The bar before a quoted text goes on.
    let start = match line[indent..].starts_with("| ") {
        true => format!("{}| ", &line[..indent]),
        false => " ".repeat((indent + HANG).min(width / 2)),
    };
    let whole = whole(line, width - start.len());
    let (mut out, mut taken) = (line[..indent].to_owned(), indent);
    for (gap, word) in pieces(&line[indent..], indent, &whole) {
        let wide = columns(word);
        if taken > start.len().max(indent) && taken + gap.len() + wide > width {
            out = format!("{out}\n{start}{word}");
            taken = start.len() + wide;
        } else {
            out = out + gap + word;
            taken += gap.len() + wide;
        }
    }
    out
}

/// The words with the spaces before them. `at` is the place of `text` in its line.
fn pieces<'a>(text: &'a str, at: usize, whole: &[Range<usize>]) -> Vec<(&'a str, &'a str)> {
    let mut pieces = Vec::new();
    let (mut gap, mut word) = (0, None);
    let is_gap = |place: usize, c: char| c == ' ' && !whole.iter().any(|span| span.contains(&(at + place)));
    for (place, c) in text.char_indices() {
        match (is_gap(place, c), word) {
            (true, Some(start)) => {
                pieces.push((&text[gap..start], &text[start..place]));
                (gap, word) = (place, None);
            }
            (false, None) => word = Some(place),
            _ => {}
        }
    }
    let start = word.unwrap_or(text.len());
    pieces.push((&text[gap..start], &text[start..]));
    pieces
}

/// The parts of the line that stay on one line if they are not wider than `room`.
fn whole(line: &str, room: usize) -> Vec<Range<usize>> {
    let quotes: Vec<usize> = line.match_indices('`').map(|(at, _)| at).collect();
    let quoted = quotes.chunks_exact(2).map(|pair| pair[0]..pair[1] + 1);
    let commands = line.match_indices(COMMAND).map(|(at, _)| {
        let end = [", ", "; ", "`"].iter().filter_map(|end| line[at..].find(end)).min();
        at..end.map_or(line.len(), |end| at + end)
    });
    // What touches them goes with them.
    let words = |span: Range<usize>| {
        let end = line[span.end..].find(' ').map_or(line.len(), |more| span.end + more);
        line[..span.start].rfind(' ').map_or(0, |at| at + 1)..end
    };
    quoted.chain(commands).map(words).filter(|span| columns(&line[span.clone()]) <= room).collect()
}

/// The width of a text without the codes of colours.
pub(crate) fn columns(text: &str) -> usize {
    text.split("\x1b[").enumerate().fold(0, |sum, (i, part)| {
        let shown = if i == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) };
        sum + shown.width()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_go_on_with_an_indentation() {
        for (text, width, expected) in [
            ("short", 30, "short"),
            ("one two three four five six seven", 24, "one two three four five\n  six seven"),
            ("    one two three four five six", 24, "    one two three four\n      five six"),
            ("    | one two three four five six", 24, "    | one two three four\n    | five six"),
            ("name   12  a b c d e f g h i j k", 24, "name   12  a b c d e f g\n  h i j k"),
            ("a_word_that_is_longer_than_the_line and more", 24, "a_word_that_is_longer_than_the_line\n  and more"),
            ("kept. To continue: fanfold run a.toml", 30, "kept. To continue:\n  fanfold run a.toml"),
            ("the help: `--set a.b = 1` changes it", 24, "the help:\n  `--set a.b = 1`\n  changes it"),
            ("one\n\ntwo three four five six seven\n", 24, "one\n\ntwo three four five six\n  seven\n"),
            ("narrow terminals are left alone", 20, "narrow terminals are left alone"),
        ] {
            assert_eq!(wrapped(text, width), expected, "{text}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_word_is_lost() {
        let text = "stopped: the next call might exceed the \u{1b}[31mbudget\u{1b}[0m of this run (`usd` is 0.005); every finished \
                    call is kept. To continue: fanfold run study.toml --limit 5, then `fanfold diff a b`\n      \u{5e73}\u{548c} \
                    \u{81ea}\u{7531} 31 % positive, 12 % negative, 57 % neutral";
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for width in LEAST..160 {
            let found = wrapped(text, width);
            assert_eq!(words(&found), words(text));
            assert!(found.lines().all(|line| columns(line) <= width), "{width}: {found}");
        }
    }
}
