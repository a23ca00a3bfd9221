//! Text for people: numbers with their nouns, durations, grids of cells, and printable characters.
//!
//! Cells, replies, specs, server names and file names can contain characters that control a terminal or change the
//! direction of text. `cli` passes its output through this module.

use std::borrow::Cow;
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub(crate) const GAP: usize = 2;

/// A number with its noun: `1 row`, `1,234 rows`.
pub(crate) fn count(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", number(n), if n == 1 { "" } else { "s" })
}

pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with at most three significant digits: `853,000`, `13.3`, `0.206`, `1.23e-7`, `1e25`.
pub(crate) fn figure(n: f64) -> String {
    if n == 0.0 || !n.is_finite() {
        return if n == 0.0 { "0".to_owned() } else { n.to_string() };
    }
    // The exponent after rounding: 999.9 becomes 1,000.
    let scientific = format!("{n:.2e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let sign = if n < 0.0 { "-" } else { "" };
    if !(-6..15).contains(&exponent) {
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'));
    }
    if exponent >= 2 {
        let unit = 10_f64.powi(exponent - 2);
        return format!("{sign}{}", number(((n.abs() / unit).round() * unit) as u64));
    }
    let text = format!("{:.*}", (2 - exponent) as usize, n.abs());
    format!("{sign}{}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// An amount of US dollars with at most three significant digits.
pub(crate) fn usd(usd: f64) -> String {
    format!("{} USD", figure(usd))
}

/// A share as a percentage with at most three significant digits.
pub(crate) fn percent(share: f64) -> String {
    format!("{} %", figure(100.0 * share))
}

/// How fast something goes: `607 rows/s`, or `12.5 s/row` below one a second.
pub(crate) fn rate(per_second: f64, noun: &str) -> String {
    match per_second {
        rate if rate <= 0.0 || !rate.is_finite() => format!("0 {noun}s/s"),
        rate if rate < 1.0 => format!("{} s/{noun}", figure(1.0 / rate)),
        rate => format!("{} {noun}s/s", figure(rate)),
    }
}

/// An estimated time: seconds below two minutes, then whole minutes, then tens of minutes, then hours.
pub(crate) fn about(seconds: f64) -> String {
    let step = [(120.0, 1.0), (7200.0, 60.0), (86_400.0, 600.0)].iter().find(|(below, _)| seconds < *below);
    let step = step.map_or(3600.0, |(_, step)| *step);
    duration(Duration::try_from_secs_f64((seconds / step).ceil() * step).unwrap_or(Duration::MAX))
}

/// A duration in its two largest units: `12 s`, `3 min 5 s`, `4 h 10 min`, `2 d 3 h`. Rounds up to whole seconds.
pub(crate) fn duration(time: Duration) -> String {
    let mut rest = time.as_millis().div_ceil(1000);
    let mut parts = Vec::new();
    for (seconds, unit) in [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")] {
        if rest >= seconds || !parts.is_empty() {
            parts.push((rest / seconds, unit));
            rest %= seconds;
        }
    }
    let shown = parts.iter().take(2).filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}"));
    let text = shown.collect::<Vec<_>>().join(" ");
    if text.is_empty() { "0 s".to_owned() } else { text }
}

/// The UTC time of milliseconds since 1970, as `2026-11-28 10:00:05`.
pub(crate) fn moment(milliseconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(milliseconds);
    time.map(|time| time.format("%Y-%m-%d %H:%M:%S").to_string()).unwrap_or_default()
}

/// The text, cut to at most `most` characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

/// The text, cut to at most `width` columns of a terminal.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut taken = 1;
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken > width {
            break;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out + "…"
}

/// ` (512 of thoughts)` after a number of tokens; nothing without thoughts.
pub(crate) fn of_thoughts(tokens: u64) -> String {
    if tokens > 0 { format!(" ({} of thoughts)", number(tokens)) } else { String::new() }
}

/// ` (1,960 from the cache, 40 written to it)` after a number of tokens; nothing without such tokens.
pub(crate) fn from_cache(read: u64, written: u64) -> String {
    let mut parts = Vec::new();
    parts.extend((read > 0).then(|| format!("{} from the cache", number(read))));
    let to = if read > 0 { "it" } else { "the cache" };
    parts.extend((written > 0).then(|| format!("{} written to {to}", number(written))));
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// A list of at most `most` names, and how many more there are.
pub(crate) fn listed_briefly(names: &[impl AsRef<str>], most: usize) -> String {
    let shown = names.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The rows as lines; `is_right` selects the right-aligned columns.
pub(crate) fn grid(rows: &[Vec<String>], indent: &str, is_right: impl Fn(usize) -> bool) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(if i == 0 { 0 } else { GAP });
            let space = " ".repeat(width - cell.width());
            line += &if is_right(i) { gap + &space + cell } else { gap + cell + &space };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// Whether `c` can be printed: not a control character (except line ends and tabs) or a text direction mark.
pub(crate) fn is_printable(c: char) -> bool {
    let turns = matches!(c, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    !turns && (!c.is_control() || c == '\n' || c == '\t')
}

pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    match text.chars().all(is_printable) {
        true => Cow::Borrowed(text),
        false => text.chars().map(|c| if is_printable(c) { c } else { '\u{fffd}' }).collect(),
    }
}

/// Equivalent JSON text whose strings escape unprintable characters.
pub(crate) fn printable_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_printable(c) {
            true => out.push(c),
            false => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_significant_digits() {
        let cases = [
            (0.0, "0"),
            (0.5, "0.5"),
            (0.20612, "0.206"),
            (0.000012345, "0.0000123"),
            (-1.336e-11, "-1.34e-11"),
            (1.0, "1"),
            (9.999, "10"),
            (13.26, "13.3"),
            (999.96, "1,000"),
            (853_214.0, "853,000"),
            (1_000_000.0, "1,000,000"),
            (-12.345, "-12.3"),
            (0.30852910938426886, "0.309"),
        ];
        for (n, text) in cases {
            assert_eq!(figure(n), text, "{n}");
        }
        assert_eq!((usd(0.0001), percent(0.97722), percent(0.0)), ("0.0001 USD".into(), "97.7 %".into(), "0 %".into()));
    }

    #[test]
    fn a_slow_rate_is_a_time() {
        let cases = [(607.2, "607 rows/s"), (1.0, "1 rows/s"), (0.08, "12.5 s/row"), (0.0, "0 rows/s")];
        for (per_second, text) in cases {
            assert_eq!(rate(per_second, "row"), text);
        }
    }

    #[test]
    fn an_estimated_time_is_rounded_up() {
        let cases =
            [(0.2, "1 s"), (119.0, "1 min 59 s"), (481.0, "9 min"), (7300.0, "2 h 10 min"), (200_000.0, "2 d 8 h")];
        for (seconds, text) in cases {
            assert_eq!(about(seconds), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        let cases =
            [(0, "0 s"), (12, "12 s"), (60, "1 min"), (185, "3 min 5 s"), (3600, "1 h"), (12_000, "3 h 20 min")];
        for (seconds, text) in cases.into_iter().chain([(86_400 + 7200, "1 d 2 h"), (411_480, "4 d 18 h")]) {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(duration(Duration::from_millis(1)), "1 s");
    }

    #[test]
    fn control_characters_are_replaced() {
        let text = "a\u{1b}]0;x\u{7}\rb\u{9b}31m\u{202e}c\u{2066}\n\td é 平";
        assert_eq!(printable(text), "a\u{fffd}]0;x\u{fffd}\u{fffd}b\u{fffd}31m\u{fffd}c\u{fffd}\n\td é 平");
        assert!(matches!(printable("plain\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "a\u{1b}\u{9b}\u{202e}\r\n";
        let json = printable_json(&serde_json::to_string(text).unwrap());
        assert!(json.chars().all(is_printable), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
