//! Loading: returns a spec, or shows every problem in it and returns a failure.

use std::path::Path;

use super::{Exit, Failure, Terminal};
use crate::document::Document;
use crate::lock::Lock;
use crate::report::diagnostics;
use crate::spec::{Spec, load};

pub(crate) fn load_spec(path: &Path, terminal: &Terminal) -> Result<Spec, Failure> {
    load_document(path, terminal).map(|(_, spec)| spec)
}

/// Returns the spec again, without showing its problems a second time.
pub(crate) fn load_again(path: &Path) -> Result<Spec, Failure> {
    load::load(path)?.spec.ok_or(Failure::shown(Exit::Spec))
}

pub(crate) fn load_document(path: &Path, terminal: &Terminal) -> Result<(Document, Spec), Failure> {
    let loaded = load::load(path)?;
    if !loaded.problems.is_empty() {
        let problems = diagnostics::human(&loaded.problems, &loaded.document, terminal.color);
        terminal.marked(problems.trim_end());
    }
    let spec = loaded.spec.ok_or(Failure::shown(Exit::Spec))?;
    Ok((loaded.document, spec))
}

/// Returns the lock next to the spec at `spec`. Reports an unreadable lock and continues without one.
pub(crate) fn load_lock(spec: &Path, terminal: &Terminal) -> Option<Lock> {
    Lock::read(&Lock::path_of(spec)).unwrap_or_else(|error| {
        terminal.error(&error.to_string(), Some("fix it, or replace it with `fanfold run --update-lock`"));
        None
    })
}
