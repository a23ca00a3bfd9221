//! The report page: what a run did and what it found, for people to look at.
//!
//! ```text
//!  Subject (plan, folder and manifest of a run)
//!     |  sections: one file each, and the views of every stage
//!  Page (titles, text, figures, tables: data only)
//!     |------------------|------------------|
//!   html               markdown           JSON
//! ```
//!
//! [`content`] has the types of a page. A figure is a [`chart::Chart`] with its numbers; `chart` draws it as SVG.

mod calls;
#[allow(dead_code, unused_imports, reason = "the sections come next")]
mod chart;
mod content;
mod data;
mod format;
mod html;
mod sections;
mod views;

use std::cell::OnceCell;

use calls::Calls;
pub(crate) use content::Page;

use crate::plan::Plan;
use crate::store::{Manifest, RunDir};

/// The run that a page is about.
pub(crate) struct Subject<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) folder: &'a RunDir,
    pub(crate) manifest: &'a Manifest,
    calls: OnceCell<Result<Calls, String>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(plan: &'a Plan, folder: &'a RunDir, manifest: &'a Manifest) -> Subject<'a> {
        Subject { plan, folder, manifest, calls: OnceCell::new() }
    }

    /// What the calls table shows. It is read once, when a section first needs it.
    fn calls(&self) -> Result<&Calls, String> {
        self.calls.get_or_init(|| Calls::read(self.folder)).as_ref().map_err(Clone::clone)
    }
}

/// The page about a run. The error is a sentence.
pub(crate) fn page(subject: &Subject<'_>) -> Result<Page, String> {
    let mut sections = Vec::new();
    for make in sections::FIRST {
        sections.extend(make(subject)?);
    }
    sections.extend(views::sections(subject)?);
    for make in sections::SECTIONS {
        sections.extend(make(subject)?);
    }
    let Subject { manifest, .. } = subject;
    Ok(Page { title: manifest.pipeline.clone(), lead: sections::lead(subject), notices: Vec::new(), sections })
}

impl Page {
    /// One HTML file that needs no other file and no network.
    pub(crate) fn html(&self) -> Result<String, String> {
        html::html(self)
    }
}
