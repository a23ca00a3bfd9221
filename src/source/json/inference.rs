//! Type inference for JSON columns: the narrowest type that keeps every value as written, else text.

use crate::source::text::cell::Type;
use crate::table::Cell;
use crate::table::json::number;

/// 64-bit floating point numbers represent every integer up to this one.
const EXACT: u64 = 1 << 53;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    boolean: bool,
    integer: bool,
    long: bool,
    number: bool,
    other: bool,
}

impl Seen {
    /// Adds a value: the JSON as written, and its text as a cell.
    pub(crate) fn add(&mut self, raw: &str, cell: &str) {
        match raw.as_bytes().first() {
            Some(b't' | b'f') => self.boolean = true,
            Some(b'-' | b'0'..=b'9') => self.add_number(cell),
            _ => self.other = true,
        }
    }

    fn add_number(&mut self, text: &str) {
        match number(text) {
            Cell::Integer(number) => {
                self.integer = true;
                self.long |= number.unsigned_abs() > EXACT;
            }
            Cell::Number(_) => self.number = true,
            _ => self.other = true,
        }
    }

    pub(crate) fn ty(self) -> Type {
        match self {
            Seen { other: true, .. } => Type::String,
            Seen { boolean: true, integer: false, number: false, .. } => Type::Boolean,
            Seen { boolean: false, integer: true, number: false, .. } => Type::Integer,
            Seen { boolean: false, number: true, long: false, .. } => Type::Number,
            _ => Type::String,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Type {
        let mut seen = Seen::default();
        for value in values {
            seen.add(value, value.trim_matches('"'));
        }
        seen.ty()
    }

    #[test]
    fn a_column_gets_the_narrowest_type_that_keeps_its_values() {
        assert_eq!(of(&[]), Type::String);
        assert_eq!(of(&["1", "-2", "9223372036854775807"]), Type::Integer);
        assert_eq!(of(&["1", "2.5", "1e3", "-0"]), Type::Number);
        assert_eq!(of(&["true", "false"]), Type::Boolean);
        assert_eq!(of(&["\"a\""]), Type::String);
        assert_eq!(of(&["[1]"]), Type::String);
        assert_eq!(of(&["true", "1"]), Type::String);
        assert_eq!(of(&["\"1\"", "1"]), Type::String);
    }

    #[test]
    fn numbers_that_would_lose_digits_stay_text() {
        assert_eq!(of(&["12345678901234567890"]), Type::String);
        assert_eq!(of(&["9007199254740993"]), Type::Integer);
        assert_eq!(of(&["9007199254740993", "0.5"]), Type::String);
        assert_eq!(of(&["9007199254740992", "0.5"]), Type::Number);
        assert_eq!(of(&["0.30000000000000004"]), Type::Number);
        assert_eq!(of(&["0.300000000000000000004"]), Type::String);
        assert_eq!(of(&["1e999"]), Type::String);
    }
}
