//! Problems: the sink that every check reports to.

use std::ops::Deref;

use super::{Diagnostic, Path};
use crate::name::{listed, nearest};

/// The problems of a document, in the order in which they were found.
#[derive(Debug, Default)]
pub struct Problems(Vec<Diagnostic>);

/// A moment in the life of [`Problems`].
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

/// A problem that was just reported, to add help to.
#[derive(Debug)]
pub struct Reported<'a>(&'a mut Diagnostic);

impl Problems {
    /// Reports an error at the value of `path`.
    pub fn error(&mut self, rule: &'static str, path: Path, message: impl Into<String>) -> Reported<'_> {
        self.report(Diagnostic::error(rule, path, message))
    }

    /// Reports an error at the key of `path`.
    pub fn error_at_key(&mut self, rule: &'static str, path: Path, message: impl Into<String>) -> Reported<'_> {
        self.report(Diagnostic::error_at_key(rule, path, message))
    }

    /// Reports a warning at the value of `path`.
    pub fn warning(&mut self, rule: &'static str, path: Path, message: impl Into<String>) -> Reported<'_> {
        self.report(Diagnostic::warning(rule, path, message))
    }

    /// Adds a problem.
    pub fn push(&mut self, problem: Diagnostic) {
        self.0.push(problem);
    }

    fn report(&mut self, problem: Diagnostic) -> Reported<'_> {
        self.push(problem);
        Reported(self.0.last_mut().expect("one was just pushed"))
    }

    /// The present moment, for [`Problems::had_errors_since`].
    pub fn mark(&self) -> Mark {
        Mark(self.0.len())
    }

    /// Whether an error was reported after `mark`; warnings do not count.
    pub fn had_errors_since(&self, mark: Mark) -> bool {
        self.0[mark.0..].iter().any(Diagnostic::is_error)
    }

    /// The opposite of [`Problems::had_errors_since`].
    pub fn clean_since(&self, mark: Mark) -> bool {
        !self.had_errors_since(mark)
    }
}

impl Reported<'_> {
    /// Adds what to do about it.
    pub fn help(self, help: impl Into<String>) -> Self {
        self.help_if(Some(help.into()))
    }

    /// Adds what to do about it, where that is known.
    pub fn help_if(self, help: Option<String>) -> Self {
        self.0.help = help;
        self
    }

    /// Adds "did you mean" if there is a suggestion.
    pub fn meant(self, suggestion: Option<&str>) -> Self {
        self.help_if(suggestion.map(|word| format!("did you mean `{word}`?")))
    }

    /// For an unknown `word`: suggests the nearest of the `known` ones, or lists them as "the {what} are ..".
    pub fn choices<'w>(self, word: &str, what: &str, known: impl IntoIterator<Item = &'w str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        match nearest(word, known.iter().copied()) {
            Some(near) => self.meant(Some(near)),
            None if known.is_empty() => self,
            None => self.help(format!("the {what} are {}", listed(known))),
        }
    }
}

impl Deref for Problems {
    type Target = [Diagnostic];

    fn deref(&self) -> &[Diagnostic] {
        &self.0
    }
}

impl Extend<Diagnostic> for Problems {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, problems: I) {
        self.0.extend(problems);
    }
}

impl IntoIterator for Problems {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
