//! Values: decides which values are missing, and converts present values to cells of their field.

use crate::prompt::AnswerType;
use crate::table::Cell;

/// Whether a cell holds no value: null, NaN, an empty text or white space, the text `NaN`, or one of `nulls`.
pub(crate) fn is_missing(cell: &Cell, nulls: &[String]) -> bool {
    let listed = |text: &str| nulls.iter().any(|null| null.trim() == text);
    match cell {
        Cell::Null => true,
        Cell::Text(text) => {
            let text = text.trim();
            text.is_empty() || text.eq_ignore_ascii_case("nan") || listed(text)
        }
        Cell::Number(number) => number.is_nan() || listed(&number.to_string()),
        Cell::Integer(number) => listed(&number.to_string()),
        Cell::Boolean(value) => listed(&value.to_string()),
        Cell::List(items) => items.is_empty(),
    }
}

/// Converts a present value to a cell of type `kind`. The error is a sentence. Bounds and options are not checked.
pub(crate) fn converted(cell: &Cell, kind: &AnswerType) -> Result<Cell, String> {
    let wrong = |what: &str| Err(format!("{} is not {what}", shown(cell)));
    match (kind, cell) {
        (AnswerType::List(item), Cell::List(items)) => {
            items.iter().map(|cell| converted(cell, item)).collect::<Result<Vec<_>, _>>().map(Cell::List)
        }
        (AnswerType::List(_) | AnswerType::Some(..), _) => wrong("a list"),
        (_, Cell::List(_) | Cell::Null) => wrong("a single value"),
        (AnswerType::Text(_) | AnswerType::Enum(_) | AnswerType::Labelled(_), Cell::Text(_)) => Ok(cell.clone()),
        (AnswerType::Text(_) | AnswerType::Enum(_) | AnswerType::Labelled(_), Cell::Integer(n)) => {
            Ok(Cell::Text(n.to_string()))
        }
        (AnswerType::Text(_) | AnswerType::Enum(_) | AnswerType::Labelled(_), Cell::Number(n)) => {
            Ok(Cell::Text(n.to_string()))
        }
        (AnswerType::Text(_) | AnswerType::Enum(_) | AnswerType::Labelled(_), Cell::Boolean(b)) => {
            Ok(Cell::Text(b.to_string()))
        }
        (AnswerType::Integer(..), Cell::Integer(_)) => Ok(cell.clone()),
        (AnswerType::Integer(..), Cell::Number(n)) if n.fract() == 0.0 && n.abs() < 9e15 => {
            Ok(Cell::Integer(*n as i64))
        }
        (AnswerType::Integer(..), Cell::Text(t)) if t.trim().parse::<i64>().is_ok() => {
            Ok(t.trim().parse().map_or(Cell::Null, Cell::Integer))
        }
        (AnswerType::Integer(..), _) => wrong("a whole number"),
        (AnswerType::Number(..), Cell::Number(_)) => Ok(cell.clone()),
        (AnswerType::Number(..), Cell::Integer(n)) => Ok(Cell::Number(*n as f64)),
        (AnswerType::Number(..), Cell::Text(t)) if t.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
            Ok(t.trim().parse().map_or(Cell::Null, Cell::Number))
        }
        (AnswerType::Number(..), _) => wrong("a number"),
        (AnswerType::Boolean, Cell::Boolean(_)) => Ok(cell.clone()),
        (AnswerType::Boolean, Cell::Text(t)) if t.trim().eq_ignore_ascii_case("true") => Ok(Cell::Boolean(true)),
        (AnswerType::Boolean, Cell::Text(t)) if t.trim().eq_ignore_ascii_case("false") => Ok(Cell::Boolean(false)),
        (AnswerType::Boolean, _) => wrong("true or false"),
    }
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) if text.chars().nth(60).is_some() => {
            format!("\"{}…\"", text.chars().take(60).collect::<String>())
        }
        Cell::Text(text) => format!("\"{text}\""),
        Cell::Integer(number) => number.to_string(),
        Cell::Number(number) => number.to_string(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Null => "null".to_owned(),
        Cell::List(_) => "a list".to_owned(),
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
