//! What the stages' tables have in common: the text column, templates that the spec holds or names a file for, and what an
//! answer is.

use std::collections::HashSet;

use indexmap::IndexMap;

use super::Site;
use crate::document::Problems;
use crate::name::nearest;
use crate::prompt::{Bound, Expect, Field, FieldSpec, Template, Unknown};

/// The index of the column `name`, which stands under `key`; reports a column that isn't there.
pub fn column(site: &Site<'_>, key: &str, name: &str, problems: &mut Problems) -> Option<usize> {
    let index = site.input.index_of(name).ok();
    if index.is_none() {
        let columns = site.input.fields().iter().map(|f| f.name().as_str());
        let message = format!("the input has no column `{name}`");
        problems.error("unknown-column", site.path.key(key), message).meant(nearest(name, columns));
    }
    index
}

/// A template as the spec gives it: written there under `prompt`, or in a file named under `prompt_file`.
pub struct Written<'a> {
    /// The template.
    pub source: Option<&'a str>,
    /// The file.
    pub file: Option<&'a str>,
}

impl Written<'_> {
    /// The template's text with the key that it stands under, if the spec gives one; reports what is wrong.
    fn text(&self, site: &Site<'_>, problems: &mut Problems) -> Option<(String, &'static str)> {
        match (self.source, self.file) {
            (Some(source), None) => Some((source.to_owned(), "prompt")),
            (None, Some(file)) => match (site.read)(file) {
                Ok(source) => Some((source, "prompt_file")),
                Err(message) => {
                    problems.error("unreadable-file", site.path.key("prompt_file"), message);
                    None
                }
            },
            (Some(_), Some(_)) => {
                let message = "a stage has `prompt` or `prompt_file`, not both";
                problems.error_at_key("bad-value", site.path.key("prompt_file"), message);
                None
            }
            (None, None) => None,
        }
    }

    /// Whether the spec gives one.
    pub fn is_given(&self) -> bool {
        self.source.is_some() || self.file.is_some()
    }

    /// The template bound to the input, where `text` stands for column `text`; reports what is wrong. With `text_named`,
    /// a text column that isn't there has been reported already.
    pub fn bind(
        &self,
        site: &Site<'_>,
        text: Option<usize>,
        text_named: bool,
        problems: &mut Problems,
    ) -> Option<Bound> {
        let (source, key) = self.text(site, problems)?;
        bind(site, &source, key, text, text_named, problems)
    }

    /// The template bound to the input and to values called `given`; one that the spec holds stands under `key`.
    pub fn bind_with(&self, site: &Site<'_>, key: &str, given: &[&str], problems: &mut Problems) -> Option<Bound> {
        let (source, own) = self.text(site, problems)?;
        let key = if own == "prompt" { key } else { own };
        bound(site, template(site, &source, key, problems)?.bind(site.input, None, given), key, problems)
    }
}

/// What the spec says of an answer: its keys with their types, the keys alone, or nothing, for a text.
pub struct Answered<'a> {
    /// The keys with their types.
    pub output: Option<&'a IndexMap<String, FieldSpec>>,
    /// The keys of texts that may be null.
    pub json_keys: Option<&'a Vec<String>>,
}

impl Answered<'_> {
    /// What an answer is; reports contradictions.
    pub fn expect(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Expect> {
        let mut bad = |key: &str, message: String| {
            problems.error("bad-value", site.path.key(key), message);
        };
        match (self.output, self.json_keys) {
            (None, None) => Some(Expect::Text),
            (Some(_), Some(_)) => {
                bad("json_keys", "a stage has `output` or `json_keys`, not both".to_owned());
                None
            }
            (None, Some(keys)) => {
                let twice: HashSet<&String> = keys.iter().collect();
                if keys.is_empty() || twice.len() < keys.len() || keys.iter().any(String::is_empty) {
                    bad("json_keys", "`json_keys` must name at least one key, and each once".to_owned());
                    return None;
                }
                Some(Expect::Record(keys.iter().map(|k| Field::loose(k)).collect()))
            }
            (Some(output), None) if output.is_empty() => {
                bad("output", "`output` has no keys".to_owned());
                None
            }
            (Some(output), None) => {
                let mut fields = Vec::new();
                for (name, spec) in output {
                    match spec.field(name) {
                        Ok(field) => fields.push(field),
                        Err((key, message)) => {
                            let path = site.path.key("output").key(name).key(key);
                            problems.error("bad-value", path, message);
                        }
                    }
                }
                (fields.len() == output.len()).then_some(Expect::Record(fields))
            }
        }
    }
}

/// The template `source`, which stands under `key`, bound to the input.
pub fn bind(
    site: &Site<'_>,
    source: &str,
    key: &str,
    text: Option<usize>,
    text_named: bool,
    problems: &mut Problems,
) -> Option<Bound> {
    let bind = template(site, source, key, problems)?.bind(site.input, text, &[]);
    bound(site, bind.map_err(|unknown| if text_named { unknown.without("text") } else { unknown }), key, problems)
}

/// The template `source`, which stands under `key`.
fn template(site: &Site<'_>, source: &str, key: &str, problems: &mut Problems) -> Option<Template> {
    match Template::new(source) {
        Ok(template) => Some(template),
        Err(error) => {
            let line = error.line.map(|l| format!(" (line {l} of the template)")).unwrap_or_default();
            let message = format!("the template does not compile: {}{line}", error.message);
            problems.error("bad-template", site.path.key(key), message);
            None
        }
    }
}

/// A template that is bound; reports the variables that stand for nothing.
fn bound(site: &Site<'_>, bound: Result<Bound, Unknown>, key: &str, problems: &mut Problems) -> Option<Bound> {
    match bound {
        Ok(bound) => Some(bound),
        Err(unknown) => {
            problems.extend(unknown.problems(&site.path.key(key), "the template", site.input));
            None
        }
    }
}
