//! Records: values that a template receives in addition to the row, as objects or lists of objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexSet;
use minijinja::Value;
use minijinja::value::{Enumerator, Object};
use parking_lot::Mutex;

use super::nested::value_of;
use super::template::Bound;
use crate::name::nearest;
use crate::table::{Cell, Row};

#[derive(Clone, Copy, Debug)]
pub(crate) enum TemplateValue<'a> {
    Cell(&'a Cell),
    Record(&'a [String], &'a [Cell]),
    Records(&'a [String], &'a [&'a [Cell]]),
}

impl TemplateValue<'_> {
    pub(super) fn value(&self) -> Value {
        match self {
            TemplateValue::Cell(cell) => value_of((*cell).clone()),
            TemplateValue::Record(names, cells) => record(names, cells),
            TemplateValue::Records(names, rows) => rows.iter().map(|cells| record(names, cells)).collect(),
        }
    }
}

fn record(names: &[String], cells: &[Cell]) -> Value {
    let entries = names.iter().cloned().zip(cells.iter().cloned().map(value_of));
    Value::from(entries.collect::<BTreeMap<String, Value>>())
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) reads: Vec<String>,
    pub(crate) unknown: Vec<(String, Option<String>)>,
}

impl Bound {
    pub(crate) fn render_with(&self, row: Row<'_>, others: &[(&str, TemplateValue<'_>)]) -> Result<String, String> {
        self.render_values(row, others.iter().map(|(name, given)| (*name, given.value())))
    }

    /// Keys in a branch that is not rendered count as read. All keys count as read if the template iterates over them.
    pub(crate) fn trial(&self, variable: &str, names: &[String]) -> Trial {
        let seen = Arc::new(Seen { names: names.to_vec(), ..Seen::default() });
        let records: Value = (0..2).map(|_| Value::from_object(Probe(seen.clone()))).collect();
        let _ = self.render_blank(&[(variable, records)]);
        let found = seen.found.lock();
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let source = self.source();
        let named = |name: &String| {
            source.match_indices(name.as_str()).any(|(at, _)| {
                let (before, after) = (&source[..at], &source[at + name.len()..]);
                !before.ends_with(is_word) && !after.starts_with(is_word)
            })
        };
        let unknown = found.keys.iter().filter(|key| !names.contains(key));
        let near = |key: &String| nearest(key, names.iter().map(String::as_str)).map(str::to_owned);
        Trial {
            unknown: unknown.map(|key| (key.clone(), near(key))).collect(),
            reads: names
                .iter()
                .filter(|name| found.all || found.keys.contains(*name) || named(name))
                .cloned()
                .collect(),
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    names: Vec<String>,
    found: Mutex<Match>,
}

#[derive(Debug, Default)]
struct Match {
    keys: IndexSet<String>,
    all: bool,
}

#[derive(Debug)]
struct Probe(Arc<Seen>);

impl Object for Probe {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        self.0.found.lock().keys.insert(key.to_owned());
        self.0.names.iter().any(|name| name == key).then(|| Value::from("1"))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.0.found.lock().all = true;
        Enumerator::Values(self.0.names.iter().map(|name| Value::from(name.as_str())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::Template;
    use arrow_schema::{DataType, Field, Schema};

    fn bound(source: &str) -> Bound {
        let schema = Arc::new(Schema::new(vec![Field::new("decade", DataType::Int64, true)]));
        Template::new(source).unwrap().bind(&schema, None, &["rows", "answers"]).unwrap()
    }

    fn names() -> Vec<String> {
        ["id", "label", "summary"].map(String::from).to_vec()
    }

    #[test]
    fn a_trial_finds_what_is_read_and_what_is_not_there() {
        let trial =
            bound("{{ decade }}{% for row in rows %}{{ row.sumary }}{{ row.id }}{% endfor %}").trial("rows", &names());
        assert_eq!(trial.unknown, [("sumary".to_owned(), Some("summary".to_owned()))]);
        let trial = bound("{% for r in rows %}{% if r.id == 'x' %}{{ r.label }}{% endif %}{% endfor %}")
            .trial("rows", &names());
        assert_eq!((trial.reads, trial.unknown), (vec!["id".to_owned(), "label".to_owned()], vec![]));
        let trial =
            bound("{% for r in rows %}{% for k in r %}{{ r[k] }}{% endfor %}{% endfor %}").trial("rows", &names());
        assert_eq!((trial.reads, trial.unknown), (names(), vec![]));
        assert_eq!(bound("{{ rows | length }} rows, labelled").trial("rows", &names()).reads, Vec::<String>::new());
    }
}
