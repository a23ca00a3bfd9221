//! Formats of cells and texts that HTML and Markdown share: fair rounding, and cuts that are stated.

use serde_json::Value;

use super::content::{Grid, text_of};
use crate::report::text::{cut, figure, number, printable};

/// The most rows of a table that a page shows. The CSV has all of them.
pub(super) const ROWS: usize = 200;
/// The most characters of a cell that a page shows.
const CELL: usize = 1000;
/// The most characters of a text with line breaks.
const TEXT: usize = 20_000;

/// A cell as the reader sees it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Number(n) => match (n.as_u64(), n.as_f64()) {
            // A year needs no comma.
            (Some(whole), _) if whole < 10_000 => whole.to_string(),
            (Some(whole), _) => number(whole),
            (None, Some(real)) if n.is_f64() => rounded(real),
            _ => n.to_string(),
        },
        value => shortened(&printable(&text_of(value)), CELL),
    }
}

/// Three significant digits. Numbers from 1,000 keep their whole part.
fn rounded(real: f64) -> String {
    match real.abs() {
        size if size >= 1e15 || (size < 1e-4 && size > 0.0) => format!("{real:.2e}"),
        size if size >= 1000.0 => {
            format!("{}{}", if real < 0.0 { "-" } else { "" }, number(size.round() as u64))
        }
        _ => figure(real),
    }
}

pub(super) fn long_text(text: &str) -> String {
    shortened(&printable(text), TEXT)
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => format!(
            "{} [cut: {} of {} characters]",
            cut(text, most),
            number(most as u64),
            number(text.chars().count() as u64)
        ),
    }
}

/// The rows that are shown, with a sentence if there are more.
pub(super) fn shown_rows(grid: &Grid) -> (&[Vec<Value>], Option<String>) {
    let all = grid.rows.len();
    let rows = &grid.rows[..all.min(ROWS)];
    let note = (all > ROWS).then(|| format!("The first {} of {} rows.", number(ROWS as u64), number(all as u64)));
    (rows, note)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_are_rounded_fairly() {
        let cases = [
            (json!(2013), "2013"),
            (json!(1_234_567), "1,234,567"),
            (json!(-5), "-5"),
            (json!(0.123456), "0.123"),
            (json!(-0.5), "-0.5"),
            (json!(12.0), "12"),
            (json!(1234.56), "1,235"),
            (json!(0.000_012), "1.20e-5"),
            (json!(null), ""),
            (json!(true), "true"),
            (json!("2.50"), "2.50"),
        ];
        for (value, text) in cases {
            assert_eq!(shown(&value), text, "{value}");
        }
    }

    #[test]
    fn cuts_are_stated() {
        let text = shown(&json!("é".repeat(1001)));
        assert!(text.ends_with("é.. [cut: 1,000 of 1,001 characters]"), "{text}");
        let grid = Grid::new(&["n"], (0..201).map(|n| vec![json!(n)]).collect());
        let (rows, note) = shown_rows(&grid);
        assert_eq!((rows.len(), note.as_deref()), (200, Some("The first 200 of 201 rows.")));
        assert!(grid.csv().expect("CSV").ends_with("\n200\n"));
        assert_eq!(shown_rows(&Grid::default()).1, None);
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(shown(&json!("a\u{1b}[31m\u{202e}b")), "a\u{fffd}[31m\u{fffd}b");
    }
}
