//! Settings: compares the settings of two runs that can change a table, and shows changed words of texts.

use serde::Serialize;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

/// The number of words shown before and after a change.
const AROUND: usize = 4;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SettingChange {
    /// The path in the spec, such as `stages.tone.prompt`.
    pub(crate) setting: String,
    pub(crate) old: Option<Value>,
    pub(crate) new: Option<Value>,
}

/// Compares two values of [`crate::spec::Spec::meaning`].
pub(crate) fn setting_changes(old: &Value, new: &Value) -> Vec<SettingChange> {
    let mut changes = Vec::new();
    compare(&mut Vec::new(), Some(old), Some(new), &mut changes);
    changes
}

fn compare<'a>(
    path: &mut Vec<&'a str>,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
    changes: &mut Vec<SettingChange>,
) {
    if old == new {
        return;
    }
    let table = |value: Option<&'a Value>| value.and_then(Value::as_object);
    let (before, after) = (table(old), table(new));
    // A table that is new or gone is one change, unless it is a section.
    if before.is_some() && after.is_some() {
        let keys = before.into_iter().chain(after).flat_map(|table| table.keys());
        let mut keys: Vec<&str> = keys.map(String::as_str).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            path.push(key);
            compare(path, before.and_then(|table| table.get(key)), after.and_then(|table| table.get(key)), changes);
            path.pop();
        }
        return;
    }
    let known = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
    changes.push(SettingChange { setting: setting(path), old: known(old), new: known(new) });
}

/// The path of a setting as the spec has it.
fn setting(path: &[&str]) -> String {
    let inner = match path {
        ["stages", name, "stage", rest @ ..] if !rest.is_empty() => [&["stages", *name], rest].concat(),
        ["models", name, "model", "sampling", rest @ ..] => [&["models", *name], rest].concat(),
        ["models", name, "model", "id"] => vec!["models", *name, "model"],
        path => path.to_vec(),
    };
    inner.join(".").replace(".schema.properties.", ".output.")
}

impl SettingChange {
    /// One line: changed words of a text, or the old and the new value.
    pub(crate) fn words(&self) -> String {
        match (&self.old, &self.new) {
            (Some(Value::String(old)), Some(Value::String(new))) if [old, new].iter().any(|text| is_prose(text)) => {
                format!("{}: {}", self.setting, word_diff(old, new))
            }
            (Some(old), Some(new)) => format!("{}: {} -> {}", self.setting, shown(old), shown(new)),
            (None, Some(new)) => format!("{} is new: {}", self.setting, shown(new)),
            (Some(old), None) => format!("{} is gone: {}", self.setting, shown(old)),
            (None, None) => self.setting.clone(),
        }
    }
}

pub(crate) fn is_prose(text: &str) -> bool {
    text.split_whitespace().count() > 2
}

pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => line(text),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

enum Piece {
    Same(String),
    Changed(String, String),
}

/// The changed words of a text as `[old -> new]`, with some words around them.
pub(crate) fn word_diff(old: &str, new: &str) -> String {
    let mut pieces: Vec<Piece> = Vec::new();
    for change in TextDiff::from_words(old, new).iter_all_changes() {
        let text = change.value();
        match (change.tag(), pieces.last_mut()) {
            (ChangeTag::Equal, Some(Piece::Same(same))) => same.push_str(text),
            // Space between two changes belongs to both, so that they are one change.
            (ChangeTag::Equal, Some(Piece::Changed(old, new))) if text.trim().is_empty() => {
                old.push_str(text);
                new.push_str(text);
            }
            (ChangeTag::Equal, _) => pieces.push(Piece::Same(text.to_owned())),
            (ChangeTag::Delete, Some(Piece::Changed(old, _))) => old.push_str(text),
            (ChangeTag::Insert, Some(Piece::Changed(_, new))) => new.push_str(text),
            (ChangeTag::Delete, _) => pieces.push(Piece::Changed(text.to_owned(), String::new())),
            (ChangeTag::Insert, _) => pieces.push(Piece::Changed(String::new(), text.to_owned())),
        }
    }
    let last = pieces.len().saturating_sub(1);
    let words = pieces.iter().enumerate().map(|(i, piece)| match piece {
        Piece::Same(text) => around(text, i > 0, i < last),
        Piece::Changed(old, new) => match (line(old), line(new)) {
            (old, new) if old.is_empty() && new.is_empty() => "[space]".to_owned(),
            (old, new) if old.is_empty() => format!("[+ {new}]"),
            (old, new) if new.is_empty() => format!("[- {old}]"),
            (old, new) => format!("[{old} -> {new}]"),
        },
    });
    words.filter(|words| !words.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Both texts in pieces, with the changed words marked.
pub(crate) fn marked_words(old: &str, new: &str) -> [Vec<(String, bool)>; 2] {
    let mut texts: [Vec<(String, bool)>; 2] = Default::default();
    let mut push = |side: usize, text: &str, is_changed: bool| match texts[side].last_mut() {
        Some((before, marked)) if *marked == is_changed => before.push_str(text),
        _ => texts[side].push((text.to_owned(), is_changed)),
    };
    let diff = TextDiff::from_words(old, new);
    let changes: Vec<_> = diff.iter_all_changes().collect();
    for (i, change) in changes.iter().enumerate() {
        let is_change = |near: Option<&similar::Change<&str>>| near.is_some_and(|near| near.tag() != ChangeTag::Equal);
        // Space between two changes is marked too.
        let joins =
            change.value().trim().is_empty() && i > 0 && is_change(changes.get(i - 1)) && is_change(changes.get(i + 1));
        match change.tag() {
            ChangeTag::Equal => [0, 1].into_iter().for_each(|side| push(side, change.value(), joins)),
            ChangeTag::Delete => push(0, change.value(), true),
            ChangeTag::Insert => push(1, change.value(), true),
        }
    }
    texts
}

/// The first and the last words of an unchanged text, where a change is before or after it.
fn around(text: &str, is_after: bool, is_before: bool) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let kept = AROUND * (usize::from(is_after) + usize::from(is_before));
    if words.len() <= kept {
        return words.join(" ");
    }
    let (first, last) = (if is_after { AROUND } else { 0 }, if is_before { AROUND } else { 0 });
    let mut shown = words[..first].to_vec();
    shown.push("..");
    shown.extend(&words[words.len() - last..]);
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changed_words_are_shown_in_their_place() {
        let cases = [
            ("the sentiment of it", "the tone of it", "the [sentiment -> tone] of it"),
            ("Is it good?", "Is it very good?", "Is it [+ very] good?"),
            ("Be brief and kind.", "Be kind.", "Be [- brief and] kind."),
            ("a b c d", "x y c d", "[a b -> x y] c d"),
            ("one\n\ntwo", "one two", "one [space] two"),
        ];
        for (old, new, expected) in cases {
            assert_eq!(word_diff(old, new), expected);
        }
        let long = |word: &str| format!("{}{word}{}", "before ".repeat(9), " after".repeat(9));
        let (before, after) = (["before"; AROUND].join(" "), ["after"; AROUND].join(" "));
        assert_eq!(word_diff(&long("old"), &long("new")), format!(".. {before} [old -> new] {after} .."));
    }

    #[test]
    fn both_texts_keep_all_words_and_only_changed_ones_are_marked() {
        let [old, new] = marked_words("Is the tone of it good?", "Is the very tone of that good?");
        let whole = |parts: &[(String, bool)]| parts.iter().map(|(text, _)| text.as_str()).collect::<String>();
        let marked = |parts: &[(String, bool)]| {
            let marked = parts.iter().filter(|(_, is_marked)| *is_marked);
            marked.map(|(text, _)| text.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            (whole(&old), whole(&new)),
            ("Is the tone of it good?".into(), "Is the very tone of that good?".into())
        );
        assert_eq!((marked(&old), marked(&new)), (vec!["it".to_owned()], vec!["very".to_owned(), "that".to_owned()]));
    }

    #[test]
    fn settings_are_named_as_in_the_spec() {
        let old = json!({
            "seed": 1, "models": { "m": { "model": { "id": "a", "sampling": { "temperature": 0.0 } } } },
            "stages": { "s": { "stage": { "prompt": "What is it?", "system": null,
                "schema": { "properties": { "label": { "enum": ["a", "b"] } } } } } },
        });
        let mut new = old.clone();
        new["models"]["m"]["model"]["sampling"]["temperature"] = json!(0.7);
        new["stages"]["s"]["stage"]["prompt"] = json!("What was it?");
        new["stages"]["s"]["stage"]["system"] = json!("Be kind.");
        new["stages"]["s"]["stage"]["schema"]["properties"]["label"]["enum"] = json!(["a", "c"]);
        new["stages"]["t"] = json!({ "type": "filter" });
        let words: Vec<String> = setting_changes(&old, &new).iter().map(SettingChange::words).collect();
        let expected = [
            "models.m.temperature: 0.0 -> 0.7",
            "stages.s.prompt: What [is -> was] it?",
            "stages.s.output.label.enum: a, b -> a, c",
            "stages.s.system is new: Be kind.",
            "stages.t is new: {\"type\":\"filter\"}",
        ];
        assert_eq!(words, expected);
        assert_eq!(setting_changes(&old, &old), []);
    }
}
