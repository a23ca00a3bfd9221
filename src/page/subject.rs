//! The subject of a page: a run with its plan, and what its tables are read for.

use std::cell::OnceCell;

use super::calls::Calls;
use crate::lock::Lock;
use crate::plan::Plan;
use crate::store::{Manifest, RunDir};

/// The run that a page is about.
pub(crate) struct Subject<'a> {
    /// The plan of the spec as it is now.
    pub(crate) plan: &'a Plan,
    pub(crate) folder: &'a RunDir,
    pub(crate) manifest: &'a Manifest,
    /// The lock next to the spec.
    pub(crate) lock: Option<&'a Lock>,
    /// Whether the run is of the spec as it is now. Its rows may be others.
    pub(crate) is_current: bool,
    calls: OnceCell<Result<Calls, String>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(plan: &'a Plan, folder: &'a RunDir, manifest: &'a Manifest) -> Subject<'a> {
        Subject { plan, folder, manifest, lock: None, is_current: true, calls: OnceCell::new() }
    }

    /// What the calls table shows. It is read once, when a section first needs it.
    pub(super) fn calls(&self) -> Result<&Calls, String> {
        self.calls.get_or_init(|| Calls::read(self.folder, &self.manifest.stages)).as_ref().map_err(Clone::clone)
    }
}
