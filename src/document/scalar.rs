//! Plain scalars of YAML: values without quotes, by the core schema of version 1.2. One difference: a number with
//! leading zeros (`012`) is text, since it is usually a code.

use super::tree::Value;

struct TooLarge;

/// Returns the value of a plain scalar, or `None` for a number that does not fit.
pub(super) fn plain(text: &str) -> Option<Value> {
    Some(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => match number(text) {
            Some(number) => number.ok()?,
            None => Value::String(text.to_owned()),
        },
    })
}

/// Parses a plain scalar that is a number. The error is for a number that does not fit.
fn number(text: &str) -> Option<Result<Value, TooLarge>> {
    if let Some((radix, digits)) = radix(text) {
        return Some(i64::from_str_radix(digits, radix).map(Value::Integer).map_err(|_| TooLarge));
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" if text.starts_with('-') => return Some(Ok(Value::Float(f64::NEG_INFINITY))),
        ".inf" | ".Inf" | ".INF" => return Some(Ok(Value::Float(f64::INFINITY))),
        ".nan" | ".NaN" | ".NAN" if unsigned == text => return Some(Ok(Value::Float(f64::NAN))),
        _ => {}
    }
    let whole = unsigned.split(['.', 'e', 'E']).next().unwrap_or_default();
    let is_code = whole.len() > 1 && whole.starts_with('0');
    // Rust also reads `inf` and a second sign, which are text in YAML.
    let has_letters = unsigned.starts_with(['-', '+']) || unsigned.contains(|c: char| !"0123456789.eE+-".contains(c));
    if is_code || has_letters {
        return None;
    }
    let number = text.parse::<f64>().ok()?;
    Some(match whole.len() == unsigned.len() {
        true => text.parse().map(Value::Integer).map_err(|_| TooLarge),
        false if number.is_finite() => Ok(Value::Float(number)),
        false => Err(TooLarge),
    })
}

fn radix(text: &str) -> Option<(u32, &str)> {
    let (radix, digits) = match (text.strip_prefix("0o"), text.strip_prefix("0x")) {
        (Some(digits), _) => (8, digits),
        (_, Some(digits)) => (16, digits),
        _ => return None,
    };
    (!digits.is_empty() && digits.chars().all(|c| c.is_digit(radix))).then_some((radix, digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema() {
        for (text, wanted) in [
            ("0", Value::Integer(0)),
            ("-12", Value::Integer(-12)),
            ("+3", Value::Integer(3)),
            ("0x1F", Value::Integer(31)),
            ("0o17", Value::Integer(15)),
            ("1.5", Value::Float(1.5)),
            ("-.5", Value::Float(-0.5)),
            ("1.", Value::Float(1.0)),
            ("1e3", Value::Float(1000.0)),
            ("-1.5E-1", Value::Float(-0.15)),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            ("True", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("", Value::Null),
            ("~", Value::Null),
            ("null", Value::Null),
        ] {
            assert_eq!(plain(text), Some(wanted), "{text}");
        }
        assert!(matches!(plain(".nan"), Some(Value::Float(x)) if x.is_nan()));
        assert_eq!(plain("9223372036854775808"), None);
        assert_eq!(plain("-1e999"), None);
    }
}
