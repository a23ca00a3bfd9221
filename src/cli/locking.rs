//! The lock in `fanfold run`: what is checked before the first call, and what is written at the end.
//!
//! A plain run follows what the author changed (the spec, the inputs) and writes the lock anew. What moved by itself (the
//! build of a model, how calls are keyed) stops it until `--update-lock` takes it over. With `--locked` nothing may differ.

use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::terminal::Terminal;
use crate::lock::{Drift, Lock};
use crate::report::drift;

/// What a run may do about its lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Follow what the author changed.
    Follow,
    /// Change nothing.
    Locked,
    /// Write it anew, whatever it says.
    Update,
    /// Leave it alone: only some rows or stages are run.
    Aside,
}

/// A spec's lock as it was before the run.
pub struct Keeper {
    path: PathBuf,
    mode: Mode,
    old: Option<Lock>,
}

impl Keeper {
    /// Reads the lock of the spec at `spec`; without one that the run can go by, why has been shown.
    pub fn open(spec: &Path, mode: Mode, terminal: &Terminal) -> Result<Keeper, Exit> {
        let path = Lock::path_of(spec);
        let old = match Lock::read(&path) {
            Ok(None) if mode == Mode::Locked => {
                let help = "a run without `--locked` writes it";
                terminal.error(&format!("there is no lock `{}`", path.display()), Some(help));
                return Err(Exit::Lock);
            }
            Ok(old) => old,
            Err(_) if matches!(mode, Mode::Update | Mode::Aside) => None,
            Err(error) => {
                terminal.error(&error.to_string(), Some("mend it, or write a new one with `--update-lock`"));
                return Err(Exit::Lock);
            }
        };
        Ok(Keeper { path, mode, old })
    }

    /// Holds what the run would be made from, `now`, against the lock; refuses before the first call.
    pub fn check(&self, now: &Lock, terminal: &Terminal) -> Result<(), Exit> {
        let Some(old) = &self.old else { return Ok(()) };
        let (drift, what, help) = match self.mode {
            Mode::Update | Mode::Aside => return Ok(()),
            Mode::Locked => {
                let (old, mut now) = (old.facets(), now.facets());
                now.assume(&old);
                (
                    old.compare(&now).drift,
                    "differs from what would be run",
                    "a run without `--locked` follows the change",
                )
            }
            Mode::Follow => {
                let help = "to go on with what is there now: `--update-lock`; else bring back what was";
                (old.moved(now), "names what is not there any more", help)
            }
        };
        if drift.is_empty() {
            return Ok(());
        }
        terminal.error(&format!("the lock `{}` {what}", self.path.display()), None);
        tell(&drift, terminal);
        terminal.note(&format!("help: {help}\nnothing was sent"));
        Err(Exit::Lock)
    }

    /// Writes the lock of a run that has ended, if it is another one; with `--locked` the tables must be those of the lock.
    pub fn end(&self, new: Option<&Lock>, terminal: &Terminal) -> Exit {
        let path = self.path.display();
        let Some(new) = new.filter(|_| self.mode != Mode::Aside) else {
            if self.mode == Mode::Aside {
                terminal.note(&format!("{path} is not written: only a part was run"));
            }
            return Exit::Ok;
        };
        let drift = self.old.as_ref().map(|old| old.drift(new));
        match drift {
            Some(drift) if drift.is_empty() => return Exit::Ok,
            Some(drift) if self.mode == Mode::Locked => {
                terminal.error(&format!("what was run is not what the lock `{path}` says"), None);
                tell(&drift, terminal);
                return Exit::Lock;
            }
            _ => {}
        }
        if let Err(error) = new.write(&self.path) {
            terminal.error(&error.to_string(), None);
            return Exit::Environment;
        }
        match drift {
            None => terminal.note(&format!("wrote {path}")),
            Some(drift) => {
                terminal.note(&format!("updated {path}:"));
                tell(&drift, terminal);
            }
        }
        Exit::Ok
    }
}

fn tell(drift: &[Drift], terminal: &Terminal) {
    terminal.note(drift::lines(drift, "  ").trim_end());
}
