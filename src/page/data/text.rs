//! Texts of the data: cut, and counted in bytes.

use serde::Serialize;

use crate::report::text::{cut, number, printable};

/// The most characters of a cell.
pub(super) const CELL: usize = 300;

/// The bytes of a value as JSON.
pub(crate) fn size(value: &impl Serialize) -> f64 {
    serde_json::to_string(value).map_or(0, |text| text.len()) as f64
}

/// A text as the page shows it: without control characters, and at most this long.
pub(super) fn plain(text: &str, most: usize) -> String {
    let more = text.chars().count().saturating_sub(most) as u64;
    let text = cut(&printable(text), most);
    if more > 0 { format!("{text} ({} more characters)", number(more)) } else { text }
}
