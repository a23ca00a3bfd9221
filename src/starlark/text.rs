//! Texts of values: as `str`, `repr` and formatted strings show them.

use super::heap::Heap;
use super::meter::{Meter, Stop, error};
use super::value::{DEEPEST_VALUE, Value};

/// A text that grows within what the meter allows.
pub(crate) struct Writer<'a> {
    pub(crate) meter: &'a mut Meter,
    pub(crate) text: String,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(meter: &'a mut Meter) -> Self {
        Writer { meter, text: String::new() }
    }

    pub(crate) fn push(&mut self, text: &str) -> Result<(), Stop> {
        self.meter.take(text.len() as u64)?;
        self.text.push_str(text);
        Ok(())
    }

    /// Writes a value as `str` shows it.
    pub(crate) fn value(&mut self, value: &Value) -> Result<(), Stop> {
        match value {
            Value::Text(text) => self.push(&text.text),
            other => self.repr(other, 0),
        }
    }

    /// Writes a value as `repr` shows it.
    pub(crate) fn repr(&mut self, value: &Value, depth: u32) -> Result<(), Stop> {
        if depth > DEEPEST_VALUE {
            return error("the value is nested too deeply to be shown");
        }
        self.meter.step(1)?;
        match value {
            Value::None => self.push("None"),
            Value::Bool(yes) => self.push(if *yes { "True" } else { "False" }),
            Value::Int(number) => self.push(&number.to_string()),
            Value::Float(number) => self.push(&float(*number)),
            Value::Text(text) => self.quoted(&text.text),
            Value::List(items) => {
                self.push("[")?;
                self.items(&items.values.borrow(), depth)?;
                self.push("]")
            }
            Value::Tuple(items) => {
                let values = items.values.borrow();
                self.push("(")?;
                self.items(&values, depth)?;
                self.push(if values.len() == 1 { ",)" } else { ")" })
            }
            Value::Dict(dict) => {
                self.push("{")?;
                for (i, (key, value)) in dict.entries.borrow().values().enumerate() {
                    self.push(if i > 0 { ", " } else { "" })?;
                    self.repr(key, depth + 1)?;
                    self.push(": ")?;
                    self.repr(value, depth + 1)?;
                }
                self.push("}")
            }
            Value::Range(range) => match range.step {
                1 => self.push(&format!("range({}, {})", range.start, range.stop)),
                step => self.push(&format!("range({}, {}, {step})", range.start, range.stop)),
            },
            Value::Function(function) => self.push(&format!("<function {}>", function.definition.name)),
            Value::Builtin(name) => self.push(&format!("<built-in function {name}>")),
            Value::Method(method) => self.push(&format!("<built-in method {}>", method.1)),
            Value::Failed(failed) => {
                self.push("error(")?;
                self.quoted(&failed.kind)?;
                self.push(", ")?;
                self.quoted(&failed.message)?;
                self.push(")")
            }
        }
    }

    fn items(&mut self, values: &[Value], depth: u32) -> Result<(), Stop> {
        for (i, value) in values.iter().enumerate() {
            self.push(if i > 0 { ", " } else { "" })?;
            self.repr(value, depth + 1)?;
        }
        Ok(())
    }

    fn quoted(&mut self, text: &str) -> Result<(), Stop> {
        // An escaped character has at most ten bytes.
        self.meter.take(text.len() as u64 * 2 + 2)?;
        self.text.push('"');
        for sign in text.chars() {
            match sign {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                _ if sign.is_control() => {
                    self.meter.take(8)?;
                    self.text.push_str(&format!("\\x{:02x}", u32::from(sign)));
                }
                _ => self.text.push(sign),
            }
        }
        self.text.push('"');
        Ok(())
    }
}

/// Returns a value as `str` shows it.
pub(crate) fn display(value: &Value, heap: &mut Heap) -> Result<String, Stop> {
    let mut writer = Writer::new(&mut heap.meter);
    writer.value(value)?;
    Ok(writer.text)
}

/// A number as Python shows it.
pub(crate) fn float(number: f64) -> String {
    match number {
        _ if number.is_nan() => "nan".to_owned(),
        _ if number.is_infinite() => if number > 0.0 { "inf" } else { "-inf" }.to_owned(),
        _ if number != 0.0 && !(1e-4..1e16).contains(&number.abs()) => {
            let text = format!("{number:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |exponent| ("-", exponent));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        _ => format!("{number:?}"),
    }
}

/// The most characters that a format may fill up to, and the most decimals.
const WIDEST: usize = 1000;

/// Writes a value with the format of an f-string or of `format`: empty, `!r`, or `[<>^][0][width][,][.digits][dfgs%]`.
pub(crate) fn formatted(writer: &mut Writer<'_>, value: &Value, spec: &str) -> Result<(), Stop> {
    let (spec, is_repr) = match spec.strip_prefix('!') {
        None => (spec, false),
        Some(after) => match after.split_once(':').unwrap_or((after, "")) {
            ("r", spec) => (spec, true),
            ("s", spec) => (spec, false),
            _ => return error(format!("the format `{spec}` is unknown")),
        },
    };
    if spec.is_empty() {
        return if is_repr { writer.repr(value, 0) } else { writer.value(value) };
    }
    let Some(format) = Format::read(spec) else { return error(format!("the format `{spec}` is unknown")) };
    let mut text = match value {
        Value::Int(number) if format.digits.is_none() && !matches!(format.kind, Some('f' | '%' | 'g')) => {
            number.to_string()
        }
        Value::Int(number) => format.number(*number as f64),
        Value::Float(number) if format.kind != Some('d') => format.number(*number),
        _ if matches!(format.kind, Some('d' | 'f' | 'g' | '%')) => {
            return error(format!("the format `{spec}` is for a number, not for a {}", value.kind()));
        }
        other => {
            let mut inner = Writer::new(writer.meter);
            if is_repr {
                inner.repr(other, 0)?
            } else {
                inner.value(other)?
            }
            match format.digits {
                Some(most) => inner.text.chars().take(most).collect(),
                None => inner.text,
            }
        }
    };
    if format.has_commas {
        text = with_commas(&text);
    }
    let missing = format.width.saturating_sub(text.chars().count());
    let is_number = matches!(value, Value::Int(_) | Value::Float(_));
    let (before, after) = match format.align.unwrap_or(if is_number { '>' } else { '<' }) {
        '<' => (0, missing),
        '^' => (missing / 2, missing - missing / 2),
        _ => (missing, 0),
    };
    let (sign, digits) = match text.strip_prefix('-').filter(|_| format.fills_zeros && is_number) {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    let fill = if format.fills_zeros { "0" } else { " " };
    for part in [sign, &fill.repeat(before), digits, &fill.repeat(after)] {
        writer.push(part)?;
    }
    Ok(())
}

#[derive(Default)]
struct Format {
    align: Option<char>,
    fills_zeros: bool,
    width: usize,
    has_commas: bool,
    digits: Option<usize>,
    kind: Option<char>,
}

impl Format {
    fn read(spec: &str) -> Option<Format> {
        let mut format = Format::default();
        let mut rest = spec;
        if let Some(align) = rest.chars().next().filter(|sign| matches!(sign, '<' | '>' | '^')) {
            format.align = Some(align);
            rest = &rest[1..];
        }
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number <= WIDEST);
        format.fills_zeros = rest.starts_with('0') && digits(rest) > 1;
        let end = digits(rest);
        if end > 0 {
            format.width = number(&rest[..end])?;
            rest = &rest[end..];
        }
        if let Some(after) = rest.strip_prefix(',') {
            format.has_commas = true;
            rest = after;
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = digits(after);
            format.digits = Some(number(&after[..end]).filter(|digits| *digits <= 100)?);
            rest = &after[end..];
        }
        if let Some(kind) = rest.chars().next() {
            if !matches!(kind, 'd' | 'f' | 'g' | 's' | '%') {
                return None;
            }
            format.kind = Some(kind);
            rest = &rest[1..];
        }
        rest.is_empty().then_some(format)
    }

    fn number(&self, number: f64) -> String {
        let digits = self.digits.unwrap_or(6);
        match self.kind {
            Some('%') => format!("{:.digits$}%", number * 100.0),
            None | Some('g') if self.digits.is_none() => float(number),
            _ => format!("{number:.digits$}"),
        }
    }
}

fn with_commas(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let end = rest.find('.').unwrap_or(rest.len());
    let digits = rest[..end].chars().enumerate();
    let grouped = digits.fold(String::new(), |mut text, (i, digit)| {
        if i > 0 && (end - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
        text
    });
    format!("{sign}{grouped}{}", &rest[end..])
}
