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
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let signed = |number: f64| if negative { -number } else { number };
    if let Some((radix, digits)) = radix(text) {
        return Some(i64::from_str_radix(digits, radix).map(Value::Integer).map_err(|_| TooLarge));
    }
    match unsigned {
        ".inf" | ".Inf" | ".INF" => return Some(Ok(Value::Float(signed(f64::INFINITY)))),
        ".nan" | ".NaN" | ".NAN" if unsigned.len() == text.len() => return Some(Ok(Value::Float(f64::NAN))),
        _ => {}
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let whole_fits = digits(whole) && (whole.len() < 2 || !whole.starts_with('0'));
    let some_digits = !whole.is_empty() || fraction.is_some_and(|f| !f.is_empty());
    let exponent_fits = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    if !(whole_fits && some_digits && digits(fraction.unwrap_or_default()) && exponent_fits) {
        return None;
    }
    if fraction.is_none() && exponent.is_none() {
        return Some(text.parse().map(Value::Integer).map_err(|_| TooLarge));
    }
    match unsigned.parse::<f64>() {
        Ok(number) if number.is_finite() => Some(Ok(Value::Float(signed(number)))),
        _ => Some(Err(TooLarge)),
    }
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
