//! Grids: formats rows of cells as lines with aligned columns.

use unicode_width::UnicodeWidthStr;

pub(crate) const GAP: usize = 2;

/// The rows as lines; `is_right` selects the right-aligned columns.
pub(crate) fn grid(rows: &[Vec<String>], indent: &str, is_right: impl Fn(usize) -> bool) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(if i == 0 { 0 } else { GAP });
            let space = " ".repeat(width - cell.width());
            line += &if is_right(i) { gap + &space + cell } else { gap + cell + &space };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}
