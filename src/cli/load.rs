//! Loading: returns a spec, or shows every problem in it and returns a failure.

use std::path::Path;

use super::{Exit, Failure, Terminal};
use crate::document::Document;
use crate::lock::Lock;
use crate::report::runs::settings_in_words;
use crate::spec::Spec;
use crate::spec::load::{self, Loaded};

pub(crate) fn load_spec(path: &Path, terminal: &Terminal) -> Result<Spec, Failure> {
    load_document(path, terminal).map(|(_, spec)| spec)
}

/// Returns the spec with changed settings.
pub(crate) fn load_spec_with(path: &Path, set: &[String], terminal: &Terminal) -> Result<Spec, Failure> {
    let loaded = load::load_with(path, set)?;
    show(&loaded, terminal);
    if !set.is_empty() && !loaded.problems.is_empty() {
        terminal.note(&format!("the spec was checked {}", settings_in_words(set).unwrap_or_default()));
        for path in set.iter().filter_map(|setting| loaded.document.path_to(setting)) {
            terminal.note(&format!("did you mean `--set {path}=..`?"));
        }
    }
    loaded.spec.ok_or(Failure::shown(Exit::Spec))
}

/// Returns the spec again, without showing its problems a second time.
pub(crate) fn load_again(path: &Path, set: &[String]) -> Result<Spec, Failure> {
    load::load_with(path, set)?.spec.ok_or(Failure::shown(Exit::Spec))
}

pub(crate) fn load_document(path: &Path, terminal: &Terminal) -> Result<(Document, Spec), Failure> {
    let loaded = load::load(path)?;
    show(&loaded, terminal);
    let spec = loaded.spec.ok_or(Failure::shown(Exit::Spec))?;
    Ok((loaded.document, spec))
}

fn show(Loaded { problems, document, .. }: &Loaded, terminal: &Terminal) {
    terminal.problems(problems, document);
}

/// Returns the lock next to the spec at `spec`. Reports an unreadable lock and continues without one.
pub(crate) fn load_lock(spec: &Path, terminal: &Terminal) -> Option<Lock> {
    Lock::read(&Lock::path_of(spec)).unwrap_or_else(|error| {
        terminal.error(&error.to_string(), Some("fix it, or replace it with `fanfold run --update-lock`"));
        None
    })
}
