//! Verification: checks the files of a spec against its lock.

use super::drift::{Comparison, Drift};
use super::file::Lock;
use crate::plan::Plan;
use crate::store::{Project, RunDir};

pub(crate) struct Verified {
    pub(crate) drift: Vec<Drift>,
    /// The facets that cannot be checked in this environment.
    pub(crate) unchecked: Vec<String>,
    pub(crate) same: usize,
}

/// `now` is the lock that a run of `plan` would start with. Streams each output file once.
pub(crate) fn verify(lock: &Lock, mut now: Lock, plan: &Plan, project: &Project) -> Verified {
    now.add_counts(plan, &RunDir::new(project.run(&plan.run_name())));
    now.add_outputs(plan);
    let (old, mut new) = (lock.facets(), now.facets());
    let unchecked = new.assume(&old);
    let Comparison { drift, same } = old.compare(&new);
    Verified { drift, same: same - unchecked.len(), unchecked }
}
