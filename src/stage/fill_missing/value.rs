//! Values: decides which values are missing, and converts present values to cells of their field.

use crate::prompt::AnswerType;
use crate::table::Cell;

/// Whether a cell holds no value: null, NaN, an empty text or white space, the text `NaN`, or one of `nulls`.
pub(crate) fn is_missing(cell: &Cell, nulls: &[String]) -> bool {
    if let Cell::List(items) = cell {
        return items.is_empty();
    }
    let text = plain(cell).unwrap_or_default();
    let text = text.trim();
    text.is_empty() || text.eq_ignore_ascii_case("nan") || nulls.iter().any(|null| null.trim() == text)
}

/// Converts a present value to a cell of type `kind`. The error is a sentence. Bounds and options are not checked.
pub(crate) fn converted(cell: &Cell, kind: &AnswerType) -> Result<Cell, String> {
    let or = |found: Option<Cell>, what: &str| found.ok_or_else(|| format!("{} is not {what}", shown(cell)));
    match (kind, cell) {
        (AnswerType::List(item), Cell::List(items)) => {
            items.iter().map(|cell| converted(cell, item)).collect::<Result<Vec<_>, _>>().map(Cell::List)
        }
        (AnswerType::List(_) | AnswerType::Some(..), _) => or(None, "a list"),
        (_, Cell::List(_) | Cell::Null) => or(None, "a single value"),
        (AnswerType::Text(_) | AnswerType::Enum(_) | AnswerType::Labelled(_), cell) => {
            or(plain(cell).map(Cell::Text), "a single value")
        }
        (AnswerType::Integer(..), cell) => or(integer(cell).map(Cell::Integer), "a whole number"),
        (AnswerType::Number(..), cell) => or(number(cell).map(Cell::Number), "a number"),
        (AnswerType::Boolean, cell) => {
            let truth = plain(cell).and_then(|text| text.trim().to_ascii_lowercase().parse().ok());
            or(truth.map(Cell::Boolean), "true or false")
        }
    }
}

fn integer(cell: &Cell) -> Option<i64> {
    match cell {
        Cell::Integer(n) => Some(*n),
        Cell::Number(n) if n.fract() == 0.0 && n.abs() < 9e15 => Some(*n as i64),
        Cell::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn number(cell: &Cell) -> Option<f64> {
    match cell {
        Cell::Number(n) => Some(*n),
        Cell::Integer(n) => Some(*n as f64),
        Cell::Text(text) => text.trim().parse().ok().filter(|n: &f64| n.is_finite()),
        _ => None,
    }
}

fn plain(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text.clone()),
        Cell::Integer(number) => Some(number.to_string()),
        Cell::Number(number) => Some(number.to_string()),
        Cell::Boolean(value) => Some(value.to_string()),
        Cell::Null | Cell::List(_) => None,
    }
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => match text.char_indices().nth(60) {
            Some((end, _)) => format!("\"{}…\"", &text[..end]),
            None => format!("\"{text}\""),
        },
        Cell::List(_) => "a list".to_owned(),
        other => plain(other).unwrap_or_else(|| "null".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn what_counts_as_missing() {
        let nulls = ["-99".to_owned(), "?".to_owned(), "-1.5".to_owned()];
        for missing in ["", "  \u{a0}", "NaN", " nan ", "?", " -99"] {
            assert!(is_missing(&text(missing), &nulls), "{missing:?}");
        }
        for missing in [Cell::Null, Cell::Number(f64::NAN), Cell::Integer(-99), Cell::Number(-1.5), Cell::List(vec![])]
        {
            assert!(is_missing(&missing, &nulls), "{missing:?}");
        }
        for there in [text("nano"), text("-9"), Cell::Integer(0), Cell::Number(0.0), Cell::Boolean(false)] {
            assert!(!is_missing(&there, &nulls), "{there:?}");
        }
    }

    #[test]
    fn values_that_are_there_keep_their_meaning() {
        let (whole, number) = (AnswerType::Integer(Some(0.0), Some(1.0)), AnswerType::Number(None, None));
        let good = [
            (text(" 1790 "), &whole, Cell::Integer(1790)),
            (Cell::Number(3.0), &whole, Cell::Integer(3)),
            (text("1e3"), &number, Cell::Number(1000.0)),
            (Cell::Integer(2), &number, Cell::Number(2.0)),
            (text("TRUE"), &AnswerType::Boolean, Cell::Boolean(true)),
            (text("else"), &AnswerType::Enum(vec!["a".into()]), text("else")),
            (Cell::Integer(7), &AnswerType::Text(None), text("7")),
            (
                Cell::List(vec![text("1")]),
                &AnswerType::List(Box::new(AnswerType::Integer(None, None))),
                Cell::List(vec![Cell::Integer(1)]),
            ),
        ];
        for (cell, kind, expected) in good {
            assert_eq!(converted(&cell, kind).unwrap(), expected);
        }
        assert_eq!(converted(&text("c. 1790"), &whole).unwrap_err(), "\"c. 1790\" is not a whole number");
        assert_eq!(converted(&Cell::Number(1.5), &whole).unwrap_err(), "1.5 is not a whole number");
        for (cell, kind) in [
            (text("inf"), number),
            (text("1"), AnswerType::Boolean),
            (text("a"), AnswerType::List(Box::new(AnswerType::Boolean))),
        ] {
            assert!(converted(&cell, &kind).is_err(), "{cell:?}");
        }
    }
}
