//! Sections: the parts of a page, one file each. To add one, write a file and a row of [`SECTIONS`].

mod changes;
mod codebook;
mod data;
mod failures;
mod head;
mod methods;
mod money;
mod pipeline;
mod rows;
mod tests;

use super::Subject;
use super::content::Section;

pub(super) use head::{lead, notices};

/// `None` if the section has nothing to say about this run. The error is a sentence without its full stop.
pub(super) type Make = fn(&Subject<'_>) -> Result<Option<Section>, String>;

/// The sections before those on stages.
pub(super) static FIRST: &[Make] = &[head::section, pipeline::section, rows::section];
pub(super) static SECTIONS: &[Make] = &[
    failures::section,
    money::section,
    changes::section,
    tests::section,
    methods::section,
    codebook::section,
    data::section,
];
