//! Drift: formats the changed facets of a lock as text.

use std::fmt::Write;

use super::text::{cut, number};
use crate::lock::Drift;

const VALUE: usize = 80;
const HASH: usize = 12;
/// The longest value that a line about a whole table shows.
const SHORT: usize = 20;

/// One line per facet with its old and new value, indented by `indent`.
pub(crate) fn lines(drift: &[Drift], indent: &str) -> String {
    let width = drift.iter().map(|d| d.facet.len()).max().unwrap_or(0);
    let mut out = String::new();
    for Drift { facet, old, new } in drift {
        let _ = match (old, new) {
            (Some(old), Some(new)) => writeln!(out, "{indent}{facet:width$}  {} -> {}", shown(old), shown(new)),
            (None, Some(new)) => writeln!(out, "{indent}{facet:width$}  is new: {}", shown(new)),
            (Some(old), None) => writeln!(out, "{indent}{facet:width$}  is gone: {}", shown(old)),
            (None, None) => Ok(()),
        };
    }
    out
}

/// A change of the data or of a model's build. The settings show the other changes better.
pub(crate) fn data_change(Drift { facet, old, new }: &Drift) -> Option<String> {
    let (table, rest) = facet.split_once('.')?;
    let (name, field) = rest.split_once('.')?;
    match (table, field) {
        ("sources", "rows") => {
            let rows = |rows: &Option<String>| rows.as_ref().and_then(|rows| rows.parse().ok()).map_or(0, |n: u64| n);
            Some(format!("source {name}: {} -> {} rows", number(rows(old)), number(rows(new))))
        }
        ("sources", "content") if old.is_some() && new.is_some() => Some(format!("source {name}: other values")),
        ("models", field) if field.starts_with("build.") && field != "build.replies" => {
            Some(format!("model {name}: another build"))
        }
        _ => None,
    }
}

/// One line per table of the lock: the facets that changed, with short values.
pub(crate) fn grouped(drift: &[Drift], indent: &str) -> String {
    let mut tables: Vec<(String, Vec<&Drift>)> = Vec::new();
    for drift in drift {
        let mut parts = drift.facet.splitn(3, '.');
        let table = [parts.next(), parts.next()].into_iter().flatten().collect::<Vec<_>>().join(".");
        match tables.iter_mut().find(|(name, _)| *name == table) {
            Some((_, changes)) => changes.push(drift),
            None => tables.push((table, vec![drift])),
        }
    }
    let width = tables.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, changes) in tables {
        let word = |drift: &&Drift| {
            let field = drift.facet.strip_prefix(&name).unwrap_or_default().trim_start_matches('.');
            let is_short = |value: &Option<String>| value.as_ref().is_none_or(|value| value.len() <= SHORT);
            let field = if field.is_empty() { "changed" } else { field };
            match (&drift.old, &drift.new) {
                (Some(old), Some(new)) if is_short(&drift.old) && is_short(&drift.new) => {
                    format!("{field} {} -> {}", shown(old), shown(new))
                }
                _ => field.to_owned(),
            }
        };
        let only = |side: fn(&Drift) -> &Option<String>| changes.iter().all(|drift| side(drift).is_none());
        let words = match (only(|drift| &drift.old), only(|drift| &drift.new)) {
            (true, _) => "new".to_owned(),
            (_, true) => "gone".to_owned(),
            _ => changes.iter().map(word).collect::<Vec<_>>().join(", "),
        };
        let _ = writeln!(out, "{indent}{name:width$}  {}", cut(&words, VALUE));
    }
    out
}

fn shown(value: &str) -> String {
    let plain = value.strip_prefix("sha256:").unwrap_or(value);
    if plain.len() == 64 && plain.bytes().all(|b| b.is_ascii_hexdigit()) {
        return format!("{}..", &value[..value.len() - plain.len() + HASH]);
    }
    let line: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.is_empty() { "(empty)".to_owned() } else { cut(&line, VALUE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_grouped_by_table() {
        let drift = |facet: &str, old: Option<&str>, new: Option<&str>| Drift {
            facet: facet.into(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let hash = |c: &str| c.repeat(64);
        let all = [
            drift("spec.meaning", Some(&hash("a")), Some(&hash("b"))),
            drift("sources.s.rows", Some("3"), Some("4")),
            drift("sources.s.content", Some(&hash("a")), Some(&hash("b"))),
            drift("models.m.provider", None, Some("mock")),
            drift("models.m.model", None, Some("any")),
            drift("models.n.model", Some("any"), None),
        ];
        let expected = "\
- spec.meaning  changed
- sources.s     rows 3 -> 4, content
- models.m      new
- models.n      gone
";
        assert_eq!(grouped(&all, "- "), expected);
    }

    #[test]
    fn a_line_shows_the_old_and_the_new_value() {
        let hash = |c: &str| Some(c.repeat(64));
        let drift = |facet: &str, old: Option<&str>, new: Option<&str>| Drift {
            facet: facet.into(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let all = [
            Drift { facet: "spec.meaning".into(), old: hash("a"), new: hash("b") },
            drift("models.llama.build.digest", Some(&format!("sha256:{}", "c".repeat(64))), Some("e")),
            drift("sources.s.rows", None, Some("3")),
            drift("stages.t.when", Some("a\n> 1"), None),
            drift("sources.s.columns", Some(&"x, ".repeat(60)), Some("")),
        ];
        let expected = format!(
            "\
- spec.meaning               aaaaaaaaaaaa.. -> bbbbbbbbbbbb..
- models.llama.build.digest  sha256:cccccccccccc.. -> e
- sources.s.rows             is new: 3
- stages.t.when              is gone: a > 1
- sources.s.columns          {}.. -> (empty)
",
            &"x, ".repeat(60)[..80]
        );
        assert_eq!(lines(&all, "- "), expected);
    }
}
