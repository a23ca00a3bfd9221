//! The live lines at the end of a terminal: redrawn in place, erased at the end. Other text goes above them.
//!
//! A terminal that is resized breaks the lines anew, so their rows are counted at the present width. The cursor stays
//! behind the last line, where the terminal shows keys such as `^C`.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use crate::report::wrap::columns;

/// The widths of the lines that standard error shows now.
static DRAWN: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Draws the lines over those of the last time, on a terminal with this width and height.
pub(super) fn draw(lines: &[String], (width, height): (usize, usize)) {
    let lines = &lines[..lines.len().min(height.saturating_sub(1).max(1))];
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    write(&(back(&drawn, width) + &text(lines)));
    *drawn = lines.iter().map(|line| columns(line)).collect();
}

/// Writes a text and a line end above the lines. They are drawn again the next time.
pub(super) fn above(text: &str, width: usize) {
    let mut drawn = DRAWN.lock().unwrap_or_else(PoisonError::into_inner);
    let erased = if drawn.is_empty() { String::new() } else { back(&drawn, width) + "\x1b[J" };
    drawn.clear();
    write(&format!("{erased}{text}\n"));
}

/// Erases the lines.
pub(super) fn erase(width: usize) {
    draw(&[], (width, usize::MAX));
}

fn write(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// To the beginning of the first line.
fn back(drawn: &[usize], width: usize) -> String {
    let rows: usize = drawn.iter().map(|line| line.div_ceil(width.max(1)).max(1)).sum();
    match rows {
        0 => String::new(),
        1 => "\r".to_owned(),
        rows => format!("\r\x1b[{}A", rows - 1),
    }
}

/// The lines, with nothing behind and below them.
fn text(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\x1b[K")).collect();
    lines.join("\r\n") + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_lines_are_counted_at_the_present_width() {
        assert_eq!(back(&[], 80), "");
        assert_eq!(back(&[0], 80), "\r");
        assert_eq!(back(&[70], 80), "\r");
        assert_eq!(back(&[70, 30], 80), "\r\x1b[1A");
        assert_eq!(back(&[70, 30], 35), "\r\x1b[2A");
        assert_eq!(back(&[70, 30], 29), "\r\x1b[4A");
    }

    #[test]
    fn what_a_line_covers_is_cleared() {
        assert_eq!(text(&["a".to_owned(), "b".to_owned()]), "a\x1b[K\r\nb\x1b[K\x1b[J");
        assert_eq!(text(&[]), "\x1b[J");
    }
}
