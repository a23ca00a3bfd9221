//! Detection: what the first rows of a CSV file say about its dialect. The same bytes always lead to the same result.
//!
//! Nothing is detected in a file that the defaults can read, and a setting in the spec always wins.

use super::dialect::{Dialect, shown, written};
use super::records::Records;
use crate::source::batches::SourceError;
use crate::source::text::Text;
use crate::source::text::numbers::has_comma;

/// The most bytes that are looked at.
pub(crate) const SAMPLE: usize = 64 << 10;
/// What each cell of the third header row of a Qualtrics export begins with.
const IMPORT_ID: &str = "{\"ImportId\":";

/// The first bytes of a text, and whether they are all.
pub(crate) struct Sample {
    pub(crate) text: Vec<u8>,
    pub(crate) whole: bool,
}

impl Sample {
    /// The complete records, or `None` if the dialect cannot read them.
    pub(crate) fn records(&self, dialect: Dialect) -> Option<Vec<Vec<String>>> {
        let mut records = Records::new(Text::of(self.text.clone()).ok()?, "", dialect).ok()?;
        let mut rows = Vec::new();
        loop {
            match records.read() {
                Ok(true) => rows.push(records.texts().ok()?),
                Ok(false) if !self.whole => {
                    rows.pop();
                    return Some(rows);
                }
                Ok(false) => return Some(rows),
                Err(_) if records.open_quote && !self.whole => return Some(rows),
                Err(_) => return None,
            }
        }
    }

    /// The delimiter of a first line such as `sep=;`, which Excel writes and hides.
    pub(crate) fn excel_line(&self) -> Option<u8> {
        match self.text.strip_prefix(b"sep=")? {
            [delimiter, b'\r' | b'\n', ..] if delimiter.is_ascii_punctuation() || *delimiter == b'\t' => {
                Some(*delimiter)
            }
            _ => None,
        }
    }

    /// The delimiter, if `dialect` reads one column or cannot read the rows, and exactly this one divides every row into
    /// the same two or more fields. The widest wins. An error if the numbers need a setting as well.
    pub(crate) fn delimiter(&self, dialect: Dialect, is_decimal_known: bool) -> Result<Option<u8>, SourceError> {
        let read = |delimiter: u8| {
            let rows = self.records(Dialect { delimiter, ..dialect })?;
            let width = rows.first()?.len();
            (width > 1 && rows.iter().all(|row| row.len() == width)).then_some((width, delimiter, rows))
        };
        if read(dialect.delimiter).is_some() {
            return Ok(None);
        }
        // Of equal widths the first wins.
        let candidates = [b'|', b'\t', b';'].into_iter().filter_map(read);
        let Some((_, delimiter, rows)) = candidates.max_by_key(|(width, ..)| *width) else { return Ok(None) };
        let names = &rows[0];
        let is_header = names.iter().enumerate().all(|(i, name)| !name.trim().is_empty() && !names[..i].contains(name));
        if !is_header {
            return Ok(None);
        }
        let number = rows[1..].iter().flatten().find(|cell| has_comma(cell));
        match number.filter(|_| !is_decimal_known) {
            None => Ok(Some(delimiter)),
            Some(number) => {
                let message = format!(
                    "its delimiter looks like {}, and its numbers have decimal commas, such as {number}",
                    shown(delimiter)
                );
                let help = format!(
                    "set delimiter = {0}; for columns that are numbers, set decimal = \",\" and `types` as well",
                    written(delimiter)
                );
                Err(SourceError::new(message).help(help).at(["path"]))
            }
        }
    }
}

/// The number of header rows: three in an export of Qualtrics (names, wording, import ids), else one.
pub(crate) fn header_rows(rows: &[Vec<String>]) -> u64 {
    match rows {
        [_, _, ids, ..] if ids.iter().all(|id| id.starts_with(IMPORT_ID)) => 3,
        _ => 1,
    }
}
