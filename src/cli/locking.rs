//! The lock of a run: checked before the first call, written at the end.
//!
//! A plain run accepts changes of the author (spec, inputs) and rewrites the lock. Changes that happened by themselves
//! (a model build, the format of call keys) stop it until `--update-lock` accepts them. With `--locked`, nothing may differ.

use std::path::{Path, PathBuf};

use super::error::Failure;
use super::exit::Exit;
use super::terminal::Terminal;
use crate::lock::{Drift, Lock};
use crate::report::drift;

/// What a run may do to its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Accept changes of the author.
    Follow,
    /// Accept no change.
    Locked,
    /// Accept every change.
    Update,
    /// Ignore the lock, because only some rows or stages run.
    Aside,
}

/// A spec's lock as it was before the run.
pub struct Keeper {
    path: PathBuf,
    mode: Mode,
    old: Option<Lock>,
}

impl Keeper {
    /// Reads the lock of the spec at `spec`.
    pub fn open(spec: &Path, mode: Mode) -> Result<Keeper, Failure> {
        let path = Lock::path_of(spec);
        let failure = |message: String, help: &str| Err(Failure::new(Exit::Lock, message).help(help));
        let old = match Lock::read(&path) {
            Ok(None) if mode == Mode::Locked => {
                let message = format!("there is no lock `{}`", path.display());
                return failure(message, "a run without `--locked` writes it");
            }
            Ok(old) => old,
            Err(_) if matches!(mode, Mode::Update | Mode::Aside) => None,
            Err(error) => return failure(error.to_string(), "fix it, or replace it with `--update-lock`"),
        };
        Ok(Keeper { path, mode, old })
    }

    /// Compares the inputs of the run, `now`, with the lock; fails before the first call.
    pub fn check(&self, now: &Lock) -> Result<(), Failure> {
        let Some(old) = &self.old else { return Ok(()) };
        let (drift, help) = match self.mode {
            Mode::Update | Mode::Aside => return Ok(()),
            Mode::Locked => {
                let (old, mut now) = (old.facets(), now.facets());
                now.assume(&old);
                (old.compare(&now).drift, "run without `--locked` to accept the change, or restore the old input")
            }
            Mode::Follow => (old.moved(now), "run with `--update-lock` to accept the change, or restore the old input"),
        };
        if drift.is_empty() {
            return Ok(());
        }
        let message = format!("the lock `{}` does not match the current inputs:", self.path.display());
        Err(Failure::new(Exit::Lock, with_drift(message, &drift)).help(help).note("nothing was sent"))
    }

    /// Writes the lock of a finished run if it changed. With `--locked`, fails if the tables differ from the lock.
    pub fn end(&self, new: Option<&Lock>, terminal: &Terminal) -> Result<(), Failure> {
        let path = self.path.display();
        let Some(new) = new.filter(|_| self.mode != Mode::Aside) else {
            if self.mode == Mode::Aside {
                terminal.note(&format!("{path} is not written: only some rows or stages were run"));
            }
            return Ok(());
        };
        let drift = self.old.as_ref().map(|old| old.drift(new));
        match &drift {
            Some(drift) if drift.is_empty() => return Ok(()),
            Some(drift) if self.mode == Mode::Locked => {
                let message = format!("the tables differ from the lock `{path}`:");
                return Err(Failure::new(Exit::Lock, with_drift(message, drift)));
            }
            _ => {}
        }
        new.write(&self.path).map_err(|error| Failure::new(Exit::Environment, error.to_string()))?;
        terminal.note(&match drift {
            None => format!("wrote {path}"),
            Some(drift) => with_drift(format!("updated {path}:"), &drift),
        });
        Ok(())
    }
}

fn with_drift(message: String, drift: &[Drift]) -> String {
    format!("{message}\n{}", drift::lines(drift, "  ").trim_end())
}
