//! What the stages' tables have in common: the text column, and templates that the spec holds or names a file for.

use super::Site;
use crate::document::Diagnostic;
use crate::name::nearest;
use crate::prompt::{Bound, Template};

/// The index of the column `name`, which stands under `key`; reports a column that isn't there.
pub fn column(site: &Site<'_>, key: &str, name: &str, problems: &mut Vec<Diagnostic>) -> Option<usize> {
    let index = site.input.index_of(name).ok();
    if index.is_none() {
        let columns = site.input.fields().iter().map(|f| f.name().as_str());
        let message = format!("the input has no column `{name}`");
        let problem = Diagnostic::error("unknown-column", site.path.key(key), message);
        problems.push(problem.meant(nearest(name, columns)));
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
    fn text(&self, site: &Site<'_>, problems: &mut Vec<Diagnostic>) -> Option<(String, &'static str)> {
        match (self.source, self.file) {
            (Some(source), None) => Some((source.to_owned(), "prompt")),
            (None, Some(file)) => match (site.read)(file) {
                Ok(source) => Some((source, "prompt_file")),
                Err(message) => {
                    problems.push(Diagnostic::error("unreadable-file", site.path.key("prompt_file"), message));
                    None
                }
            },
            (Some(_), Some(_)) => {
                let message = "a stage has `prompt` or `prompt_file`, not both";
                problems.push(Diagnostic::error_at_key("bad-value", site.path.key("prompt_file"), message));
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
        problems: &mut Vec<Diagnostic>,
    ) -> Option<Bound> {
        let (source, key) = self.text(site, problems)?;
        bind(site, &source, key, text, text_named, problems)
    }
}

/// The template `source`, which stands under `key`, bound to the input.
pub fn bind(
    site: &Site<'_>,
    source: &str,
    key: &str,
    text: Option<usize>,
    text_named: bool,
    problems: &mut Vec<Diagnostic>,
) -> Option<Bound> {
    let path = site.path.key(key);
    let template = match Template::new(source) {
        Ok(template) => template,
        Err(error) => {
            let line = error.line.map(|l| format!(" (line {l} of the template)")).unwrap_or_default();
            let message = format!("the template does not compile: {}{line}", error.message);
            problems.push(Diagnostic::error("bad-template", path, message));
            return None;
        }
    };
    match template.bind(site.input, text, &[]) {
        Ok(bound) => Some(bound),
        Err(unknown) => {
            let unknown = if text_named { unknown.without("text") } else { unknown };
            problems.extend(unknown.problems(&path, "the template", site.input));
            None
        }
    }
}
