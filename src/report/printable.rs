//! Printable text: replaces characters that control a terminal or change the direction of text.
//!
//! Cells, replies, specs, server names and file names can contain them. `cli` passes its output through this module.

use std::borrow::Cow;

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
