//! Ranges of a sheet: `B3:F200`, `B3` for the cells from there on, `B:F` for columns, `3:200` for rows.

use crate::source::batches::SourceError;

/// The most rows and columns of Excel.
pub(super) const ROWS: u32 = 1_048_576;
pub(super) const COLUMNS: u32 = 16_384;

/// The first and the last row and column, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) rows: (u32, u32),
    pub(super) columns: (u32, u32),
}

impl Default for Range {
    fn default() -> Self {
        Range { rows: (0, ROWS - 1), columns: (0, COLUMNS - 1) }
    }
}

impl Range {
    pub(super) fn parse(text: &str) -> Result<Self, SourceError> {
        let wrong = || {
            let help = r#"write it like "B3:F200"; "B3" begins there, "B:F" are columns, "3:200" are rows"#;
            SourceError::new(format!("`{text}` is not a range of a sheet")).help(help).at(["range"])
        };
        let (from, to) = text.split_once(':').unwrap_or((text, ""));
        let (first, last) = (corner(from).ok_or_else(wrong)?, corner(to).ok_or_else(wrong)?);
        let all = Range::default();
        let range = Range {
            columns: (first.0.unwrap_or(0), last.0.unwrap_or(all.columns.1)),
            rows: (first.1.unwrap_or(0), last.1.unwrap_or(all.rows.1)),
        };
        let is_empty = range.rows.0 > range.rows.1 || range.columns.0 > range.columns.1;
        let unsaid = from.is_empty() || (to.is_empty() && text.contains(':'));
        if is_empty || unsaid { Err(wrong()) } else { Ok(range) }
    }
}

/// The column and the row of a corner such as `$B$3`, `B` or `3`; `None` if it is none of them.
fn corner(text: &str) -> Option<(Option<u32>, Option<u32>)> {
    let text = text.trim().replace('$', "").to_ascii_uppercase();
    let digits = text.find(|c: char| !c.is_ascii_uppercase()).unwrap_or(text.len());
    let (letters, digits) = text.split_at(digits);
    if letters.len() > 3 {
        return None;
    }
    let column = letters.bytes().fold(0, |column, letter| column * 26 + u32::from(letter - b'A') + 1);
    let row: u32 = if digits.is_empty() { 0 } else { digits.parse().ok().filter(|row| *row > 0)? };
    let fits = column <= COLUMNS && row <= ROWS;
    fits.then_some((column.checked_sub(1), row.checked_sub(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_name_cells_columns_and_rows() {
        let range = |text| Range::parse(text).map(|range| (range.columns, range.rows));
        assert_eq!(range("B3:F200"), Ok(((1, 5), (2, 199))));
        assert_eq!(range("$B$3:$F$200"), Ok(((1, 5), (2, 199))));
        assert_eq!(range("b3"), Ok(((1, COLUMNS - 1), (2, ROWS - 1))));
        assert_eq!(range("B:F"), Ok(((1, 5), (0, ROWS - 1))));
        assert_eq!(range("3:200"), Ok(((0, COLUMNS - 1), (2, 199))));
        assert_eq!(range("AA1:XFD1"), Ok(((26, COLUMNS - 1), (0, 0))));
    }

    #[test]
    fn other_texts_are_not_ranges() {
        for text in ["", ":", "A1:", ":B2", "A0", "B3:A1", "A5:A2", "XFE1", "A1048577", "A1:B2:C3", "A-1", "Ä1", "1A"]
        {
            let error = Range::parse(text).unwrap_err();
            assert_eq!(error.message, format!("`{text}` is not a range of a sheet"));
            assert_eq!(error.field, ["range"]);
        }
    }
}
