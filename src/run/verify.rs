//! Verification: is everything still what a lock says? Reads the sources and the outputs once, as streams; asks the servers
//! which builds they have if it is told to, and writes nothing.

use std::collections::HashMap;

use super::RunError;
use super::connect::{ConnectError, Variables, inspect, offline};
use super::locking;
use super::preview::{Look, follow};
use crate::plan::{Plan, Selection};
use crate::spec::Spec;
use crate::store::{Drift, Ledger, Lock, Project, RunDir, StoreError};

/// What a verification found.
pub struct Verified {
    /// The facets that are others now.
    pub drift: Vec<Drift>,
    /// The facets that can't be told from here and now.
    pub unchecked: Vec<String>,
    /// How many facets are as the lock says.
    pub same: usize,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The sources or the ledger can't be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A server can't be asked.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Holds `spec`, its sources and its outputs against `lock`; with `env`, which reads environment variables, the servers too.
///
/// What stages ask that read other stages is told by the answers in the ledger, their row accounting by the run's parts.
pub async fn verify(
    spec: Spec,
    lock: &Lock,
    project: &Project,
    env: Option<Variables<'_>>,
) -> Result<Verified, VerifyError> {
    let whole = Selection::default();
    let plan = Plan::new(spec, &whole, HashMap::new()).map_err(RunError::from)?;
    let models = match env {
        Some(env) => Some(inspect(&plan, env).await?),
        None => offline(&plan, None).ok(),
    };
    let found = locking::before(&plan, models.as_ref()).models;
    let path = project.ledger();
    let open = || Ledger::open(&path).map_err(|error| RunError::from(StoreError::from(error)));
    let ledger = if path.exists() { Some(open()?) } else { None };
    let models = models.map(|mut models| {
        models.take_builds(lock);
        models
    });
    let known = models.as_ref().zip(ledger.as_ref());
    let followed = follow(plan, &whole, known, Look { render: 0, leaves: false, since: i64::MIN })?;
    let mut now = locking::before(&followed.plan, None);
    now.models = found;
    followed.add_prompts(&mut now);
    let plan = followed.plan;
    locking::add_counts(&mut now, &plan, &RunDir::new(project.run(&plan.run_name())));
    locking::add_outputs(&mut now, &plan);
    let unchecked = now.assume(lock);
    let drift = lock.drift(&now);
    let gone = drift.iter().filter(|drift| drift.old.is_some()).count();
    Ok(Verified { same: lock.facets().len() - gone - unchecked.len(), drift, unchecked })
}
