//! The keeper of a lock: compares it with a run before the first call, writes it at the end, and verifies it later.
//!
//! A normal run accepts changes of the author (spec, inputs) and rewrites the lock. Other changes (a model build, the
//! format of call keys) stop the run until [`LockMode::Update`] accepts them.

use std::path::{Path, PathBuf};

use super::facts::parts_of;
use super::{Comparison, Drift, Lock, LockError, Looked};
use crate::models::KnownBuild;
use crate::plan::Plan;
use crate::spec::TableId;
use crate::store::{ChangesByModel, RunDir, StoreError};

/// How a run uses the lock next to its spec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockMode {
    /// Accept changes of the spec and the inputs, but not of a model's build.
    #[default]
    Follow,
    /// Do not accept any change.
    Locked,
    /// Accept every change and write the lock.
    Update,
    /// Ignore the lock, because only some rows or stages run.
    Ignore,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LockFailure {
    #[error("the lock `{0}` does not exist")]
    Missing(PathBuf),
    #[error("the lock has no wordings of the prompt that stage `{0}` varies")]
    Unwritten(String),
    #[error(transparent)]
    Unreadable(#[from] LockError),
    #[error("the lock `{path}` does not match the current inputs")]
    Inputs { path: PathBuf, drift: Vec<Drift>, needs_update: bool },
    #[error("the tables differ from the lock `{path}`")]
    Tables { path: PathBuf, drift: Vec<Drift> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LockChange {
    Ignored(PathBuf),
    Unchanged,
    /// The lock is unchanged, although facets that are only reported differ.
    Reported(PathBuf, Vec<Drift>),
    Created(PathBuf),
    Updated(PathBuf, Vec<Drift>),
}

pub(crate) struct LockKeeper {
    path: PathBuf,
    mode: LockMode,
    old: Option<Lock>,
}

impl LockKeeper {
    pub(crate) fn open(spec: &Path, mode: LockMode) -> Result<LockKeeper, LockFailure> {
        let path = Lock::path_of(spec);
        let old = match Lock::read(&path) {
            Err(_) if matches!(mode, LockMode::Update | LockMode::Ignore) => None,
            read => read?.filter(|lock| !lock.is_bare()),
        };
        if old.is_none() && mode == LockMode::Locked {
            return Err(LockFailure::Missing(path));
        }
        Ok(LockKeeper { path, mode, old })
    }

    pub(crate) fn builds(&self) -> Vec<KnownBuild> {
        self.old.as_ref().map(Lock::builds).unwrap_or_default()
    }

    pub(crate) fn check(&self, now: &Lock) -> Result<(), LockFailure> {
        let Some(old) = &self.old else { return Ok(()) };
        let moved = old.moved(now);
        let needs_update = !moved.is_empty();
        let drift = match self.mode {
            LockMode::Update | LockMode::Ignore => return Ok(()),
            LockMode::Locked => {
                let (old, mut now) = (old.facets(), now.facets());
                now.assume(&old);
                old.compare(&now).drift
            }
            LockMode::Follow => moved,
        };
        match drift.is_empty() {
            true => Ok(()),
            false => Err(LockFailure::Inputs { path: self.path.clone(), drift, needs_update }),
        }
    }

    /// Writes the lock of a finished run if it changed. In [`LockMode::Locked`] a change is a failure.
    pub(crate) fn end(self, new: Option<&Lock>) -> Result<LockChange, LockFailure> {
        let LockKeeper { path, mode, old } = self;
        let Some(new) = new.filter(|_| mode != LockMode::Ignore) else {
            return Ok(if mode == LockMode::Ignore { LockChange::Ignored(path) } else { LockChange::Unchanged });
        };
        let mut new = new.clone();
        let looks = old.as_ref().map(|old| add_looks(&mut new, old)).unwrap_or_default();
        let looks = if mode == LockMode::Locked { Vec::new() } else { looks };
        let reported = old.as_ref().map(|old| old.reported(&new)).unwrap_or_default();
        let drift = old.map(|old| [old.drift(&new), looks].concat());
        match drift {
            Some(drift) if drift.is_empty() && reported.is_empty() => Ok(LockChange::Unchanged),
            Some(drift) if drift.is_empty() => Ok(LockChange::Reported(path, reported)),
            Some(drift) if mode == LockMode::Locked => Err(LockFailure::Tables { path, drift }),
            drift => {
                new.write(&path)?;
                Ok(match drift {
                    None => LockChange::Created(path),
                    Some(drift) => LockChange::Updated(path, [drift, reported].concat()),
                })
            }
        }
    }
}

/// Adds the looks of an older lock. Returns the stages with new looks, as drift of their number.
fn add_looks(new: &mut Lock, old: &Lock) -> Vec<Drift> {
    let mut added = Vec::new();
    for (name, transform) in &mut new.transforms {
        let before = old.transforms.get(name).map(|old| old.looks.clone()).unwrap_or_default();
        let count = before.len();
        transform.looks.extend(before);
        if transform.looks.len() > count {
            let [old, new] = [count, transform.looks.len()].map(|looks| Some(looks.to_string()));
            added.push(Drift { facet: format!("reshapes.{name}.looks"), old, new });
        }
    }
    added
}

pub(crate) struct Verified {
    pub(crate) drift: Vec<Drift>,
    /// Differences that do not count as drift.
    pub(crate) reported: Vec<Drift>,
    /// The facets that cannot be checked in this environment.
    pub(crate) unchecked: Vec<String>,
    pub(crate) same: usize,
    /// For each stage that looked at the test part of a split, how often.
    pub(crate) looked: Vec<(String, Looked)>,
    /// For each stage of a fresh run, the answers that it changed.
    pub(crate) changes: Vec<(String, ChangesByModel)>,
}

/// `now` is the lock that a run of `plan` would start with, and `dir` the folder of its run. Streams each output file once.
pub(crate) fn verify(lock: &Lock, mut now: Lock, plan: &Plan, dir: &RunDir) -> Verified {
    now.add_counts(plan, dir);
    now.add_outputs(plan);
    let (old, mut new) = (lock.facets(), now.facets());
    let unchecked = new.assume(&old);
    let Comparison { drift, same } = old.compare(&new);
    let changed = |id: TableId| Some((plan.spec.stage(id).name.to_string(), parts_of(plan, dir, id)?.changes));
    let changes = plan.stages().filter_map(changed).filter(|(_, changes)| !changes.is_empty()).collect();
    let looked = lock.transforms.iter().filter_map(|(name, transform)| Some((name.clone(), transform.looked()?)));
    let (looked, reported, same) = (looked.collect(), lock.reported(&now), same - unchecked.len());
    Verified { drift, reported, same, unchecked, looked, changes }
}
