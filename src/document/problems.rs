//! Problems: collects the problems that all checks report.

use std::ops::Deref;

use super::diagnostic::{Diagnostic, Path, Severity, SourcePosition};
use super::places::Places;
use crate::name::suggestion;

#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Diagnostic>,
    /// Values with a known problem. Further problems with them would only follow from the first.
    distrusted: Vec<Path>,
    dropped: Option<Diagnostic>,
    places: Places,
}

/// A position in the list of [`Problems`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(usize);

#[derive(Debug)]
pub(crate) struct Reported<'a>(&'a mut Diagnostic);

impl Problems {
    pub(crate) fn error(&mut self, rule: &'static str, path: Path, message: impl Into<String>) -> Reported<'_> {
        self.report(Diagnostic::error(rule, path, message))
    }

    pub(crate) fn error_at_key(&mut self, rule: &'static str, path: Path, message: impl Into<String>) -> Reported<'_> {
        self.report(Diagnostic::error_at_key(rule, path, message))
    }

    pub(crate) fn warning(&mut self, rule: &'static str, path: Path, message: impl Into<String>) -> Reported<'_> {
        self.report(Diagnostic::warning(rule, path, message))
    }

    pub(crate) fn warning_at_key(
        &mut self,
        rule: &'static str,
        path: Path,
        message: impl Into<String>,
    ) -> Reported<'_> {
        self.report(Diagnostic { severity: Severity::Warning, ..Diagnostic::error_at_key(rule, path, message) })
    }

    /// Reports a problem, unless its value is distrusted.
    pub(crate) fn push(&mut self, problem: Diagnostic) {
        self.report(problem);
    }

    fn report(&mut self, problem: Diagnostic) -> Reported<'_> {
        let is_dropped = match &problem.place {
            SourcePosition::Value(path) | SourcePosition::Key(path) => self.is_distrusted(path),
            SourcePosition::Span(_) => false,
        };
        if is_dropped {
            return Reported(self.dropped.insert(problem));
        }
        self.found.push(problem);
        Reported(self.found.last_mut().expect("one was just pushed"))
    }

    /// Moves the problems at `made`, a part of the spec that is not in the text, to what made it.
    pub(crate) fn lead(&mut self, made: Path, written: Path) {
        self.places.add(made, written);
    }

    /// Drops all later problems with the value at `path`.
    pub(crate) fn distrust(&mut self, path: Path) {
        self.distrusted.push(path);
    }

    pub(crate) fn is_distrusted(&self, path: &Path) -> bool {
        self.distrusted.iter().any(|distrusted| path.is_within(distrusted))
    }

    pub(crate) fn since(&self, mark: Mark) -> &[Diagnostic] {
        &self.found[mark.0..]
    }

    /// Removes the problems after `mark` that `kept` rejects.
    pub(crate) fn retain_since(&mut self, mark: Mark, kept: impl FnMut(&Diagnostic) -> bool) {
        let later = self.found.split_off(mark.0);
        self.found.extend(later.into_iter().filter(kept));
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.found.len())
    }

    /// Whether an error was reported after `mark`; warnings do not count.
    pub(crate) fn had_errors_since(&self, mark: Mark) -> bool {
        self.since(mark).iter().any(Diagnostic::is_error)
    }

    pub(crate) fn clean_since(&self, mark: Mark) -> bool {
        !self.had_errors_since(mark)
    }
}

impl Reported<'_> {
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        self.help_if(Some(help.into()))
    }

    pub(crate) fn help_if(self, help: Option<String>) -> Self {
        self.0.help = help;
        self
    }

    pub(crate) fn meant(self, suggestion: Option<&str>) -> Self {
        self.help_if(suggestion.map(|word| format!("did you mean `{word}`?")))
    }

    /// For an unknown `word`: suggests the nearest of the `known` ones, or lists them as "the {what} are ..".
    pub(crate) fn choices<'w>(self, word: &str, what: &str, known: impl IntoIterator<Item = &'w str>) -> Self {
        self.help_if(suggestion(word, &format!("the {what} are"), known))
    }
}

impl Deref for Problems {
    type Target = [Diagnostic];

    fn deref(&self) -> &[Diagnostic] {
        &self.found
    }
}

impl Extend<Diagnostic> for Problems {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, problems: I) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}

impl IntoIterator for Problems {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.places.written(self.found).into_iter()
    }
}
