//! Sections: the parts of a page, one file each. To add one, write a file and a row of [`SECTIONS`].

mod changes;
mod data;
mod failures;
mod head;
mod methods;
mod money;
mod rows;
mod tests;

use super::Subject;
use super::content::Section;
use crate::report::text::count;

/// `None` if the section has nothing to say about this run. The error is a sentence.
type Make = fn(&Subject<'_>) -> Result<Option<Section>, String>;

/// The sections before those on stages.
pub(super) static FIRST: &[Make] = &[head::section, rows::section];
pub(super) static SECTIONS: &[Make] =
    &[failures::section, money::section, changes::section, tests::section, methods::section, data::section];

/// What the run is, in one sentence.
pub(super) fn lead(subject: &Subject<'_>) -> String {
    let rows = subject.manifest.sources.values().map(|source| source.rows).sum();
    let models: Vec<&str> = subject.manifest.models.values().map(|model| model.model.as_str()).collect();
    format!("{} and {}: {}.", count(rows, "row"), count(models.len() as u64, "model"), models.join(", "))
}
