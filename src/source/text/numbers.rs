//! Notation of numbers: a decimal comma, and marks between groups of three digits.

/// How numbers are written in the typed columns of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notation {
    pub(crate) decimal: char,
    pub(crate) thousands: Option<char>,
}

impl Default for Notation {
    fn default() -> Self {
        Notation { decimal: '.', thousands: None }
    }
}

impl Notation {
    /// Returns the number as Rust parses it, if `text` groups its digits as this notation does.
    pub(crate) fn plain<'a>(self, text: &'a str, buffer: &'a mut String) -> Option<&'a str> {
        if self == Notation::default() {
            return Some(text);
        }
        // Most numbers are digits with at most one decimal mark.
        let bytes = text.as_bytes();
        let Some(at) = bytes.iter().position(|byte| !byte.is_ascii_digit()) else { return Some(text) };
        buffer.clear();
        if char::from(bytes[at]) == self.decimal && bytes[at + 1..].iter().all(u8::is_ascii_digit) {
            buffer.extend([&text[..at], ".", &text[at + 1..]]);
            return Some(buffer);
        }
        if self.decimal != '.' && self.thousands != Some('.') && text.contains('.') {
            return None;
        }
        let (whole, fraction) = match text.split_once(self.decimal) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        match self.thousands {
            None => buffer.push_str(whole),
            Some(mark) => push_groups(whole, mark, buffer)?,
        }
        if let Some(fraction) = fraction {
            // A fraction has no marks, so "1,234.5" is not a number with a decimal comma.
            if fraction.contains('.') {
                return None;
            }
            buffer.push('.');
            buffer.push_str(fraction);
        }
        Some(buffer)
    }
}

/// Whether `found` separates groups where `mark` was written: all spaces are equal, and so are both apostrophes.
fn is_mark(found: char, mark: char) -> bool {
    let alike: &[char] = match mark {
        ' ' | '\u{a0}' | '\u{202f}' | '\u{2009}' => &[' ', '\u{a0}', '\u{202f}', '\u{2009}'],
        '\'' | '\u{2019}' => &['\'', '\u{2019}'],
        _ => return found == mark,
    };
    alike.contains(&found)
}

/// Appends the digits of `whole` without its marks; `None` unless each mark is followed by three digits.
fn push_groups(whole: &str, mark: char, buffer: &mut String) -> Option<()> {
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let mut groups = whole.split(|c| is_mark(c, mark));
    let first = groups.next()?;
    buffer.push_str(first);
    let mut lengths = 0;
    for group in groups {
        if group.len() != 3 || !is_digits(group) {
            return None;
        }
        buffer.push_str(group);
        lengths += 1;
    }
    let digits = first.trim_start_matches(['+', '-']);
    (lengths == 0 || (matches!(digits.len(), 1..=3) && is_digits(digits))).then_some(())
}

/// Whether `text` is a number with a comma, such as `3,5`.
pub(crate) fn has_comma(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    digits.split_once(',').is_some_and(|(whole, fraction)| all(whole) && all(fraction))
}

/// Whether the cells of number columns have decimal commas: each with a comma can have one, and one can mean nothing
/// else. `1,234` may also be a group of three digits.
pub(crate) fn decimal_commas<'a>(cells: impl Iterator<Item = &'a str>) -> bool {
    let mut sure = false;
    for cell in cells.map(str::trim_ascii) {
        if cell.contains('.') || (cell.contains(',') && !has_comma(cell)) {
            return false;
        }
        let fraction = cell.split_once(',').map(|(whole, fraction)| (whole.trim_start_matches(['+', '-']), fraction));
        sure |= fraction.is_some_and(|(whole, fraction)| fraction.len() != 3 || whole == "0" || whole.len() > 3);
    }
    sure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(decimal: char, thousands: Option<char>, text: &str) -> Option<f64> {
        let mut buffer = String::new();
        Notation { decimal, thousands }.plain(text, &mut buffer)?.parse().ok()
    }

    #[test]
    fn a_decimal_comma_and_groups_of_three_digits() {
        let good = [
            (',', None, "3,5", 3.5),
            (',', None, "-0,25", -0.25),
            (',', None, "12", 12.0),
            (',', None, "1,5e3", 1500.0),
            (',', Some('.'), "1.234.567,8", 1_234_567.8),
            (',', Some('.'), "1234,8", 1234.8),
            ('.', Some(','), "+1,234.50", 1234.5),
            ('.', Some('\''), "1\u{2019}234.5", 1234.5),
            (',', Some(' '), "1\u{202f}234\u{a0}567,8", 1_234_567.8),
            ('.', Some('_'), "1_000", 1000.0),
        ];
        for (decimal, thousands, text, wanted) in good {
            assert_eq!(read(decimal, thousands, text), Some(wanted), "{text}");
        }
        let bad = [
            (',', None, "3.5"),
            (',', None, "1.234,5"),
            (',', None, "1,2,3"),
            (',', Some('.'), "3.5"),
            (',', Some('.'), "1.23.456"),
            (',', Some('.'), "1,234.5"),
            (',', Some('.'), "1234.567"),
            (',', Some('.'), "1..234"),
            (',', Some('.'), ".234"),
            ('.', Some(','), "1,2345"),
            ('.', None, "3,5"),
            (',', None, "abc"),
        ];
        for (decimal, thousands, text) in bad {
            assert_eq!(read(decimal, thousands, text), None, "{text}");
        }
    }

    #[test]
    fn a_decimal_comma_is_detected_only_if_it_can_mean_nothing_else() {
        let detected = |cells: &[&str]| decimal_commas(cells.iter().copied());
        for yes in [&["3,5", "12", ""][..], &["0,125"], &["1,234", "1,5"], &["1234,567"], &["-3,5"]] {
            assert!(detected(yes), "{yes:?}");
        }
        for no in [&["1,234"][..], &[], &["12"], &["3,5", "1.5"], &["3,5", "1,234,567"], &["3,5", "a,b"]] {
            assert!(!detected(no), "{no:?}");
        }
    }
}
