//! `fanfold ledger`: care of the store of finished calls. A file per subcommand.

mod export;
mod gc;
mod import;
mod info;
mod verify;

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use serde::Serialize;

use super::exit::Exit;
use super::terminal::Terminal;
use crate::store::{self, LedgerError, Project, StoreError};

/// Looks after the ledger: the store of every finished call of a project, which all specs of a folder share.
#[derive(Debug, clap::Args)]
pub struct Ledger {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Info(info::Info),
    Verify(verify::Verify),
    Gc(gc::Gc),
    Export(export::Export),
    Import(import::Import),
}

/// How something is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// One JSON object.
    Json,
}

impl Ledger {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        match self.command {
            Command::Info(command) => command.run(terminal),
            Command::Verify(command) => command.run(terminal),
            Command::Gc(command) => command.run(terminal),
            Command::Export(command) => command.run(terminal),
            Command::Import(command) => command.run(terminal),
        }
    }
}

/// The project of a spec or of a folder.
fn project(place: &Path) -> Project {
    if place.is_dir() { Project::of(place) } else { Project::of(&folder(place)) }
}

/// The folder that a file is in.
fn folder(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_owned()
}

/// The ledger of a project that has one; without one, that has been said.
fn existing(place: &Path, terminal: &Terminal) -> Option<(Project, store::Ledger)> {
    let project = project(place);
    let path = project.ledger();
    if !path.exists() {
        let help = "nothing has been run there yet; give a spec or its folder";
        terminal.error(&format!("there is no ledger at {}", path.display()), Some(help));
        return None;
    }
    match store::Ledger::open(&path) {
        Ok(ledger) => Some((project, ledger)),
        Err(error) => {
            failed_ledger(&error, terminal);
            None
        }
    }
}

/// Shows an error of the store.
fn failed(error: &StoreError, terminal: &Terminal) -> Exit {
    let help = match error {
        StoreError::InUse | StoreError::Cleaning => Some("try again when it has ended".to_owned()),
        error => damaged(error),
    };
    terminal.error(&error.to_string(), help.as_deref());
    Exit::Environment
}

/// Shows an error of a ledger.
pub fn failed_ledger(error: &LedgerError, terminal: &Terminal) -> Exit {
    terminal.error(&error.to_string(), of_damage(error).as_deref());
    Exit::Environment
}

/// What to do when the error is a damaged ledger.
pub fn damaged(error: &StoreError) -> Option<String> {
    if let StoreError::Ledger(error) = error { of_damage(error) } else { None }
}

fn of_damage(error: &LedgerError) -> Option<String> {
    let LedgerError::Damaged { path, .. } = error else { return None };
    let (file, folder) = (path.display(), folder(path));
    // The ledger stands in the project's `.fanfold`.
    let place = folder.parent().filter(|place| !place.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let aside = folder.join("damaged.sqlite");
    let aside = aside.display();
    Some(format!(
        "what can still be read of it is saved with\n  mv {file} {aside}; mv {file}-wal {aside}-wal; rm -f {file}-shm\n  \
         fanfold ledger import {aside} --into {}\nwhat can't be read is asked again by the next run",
        place.display()
    ))
}

/// Shows `found` as JSON.
fn show_json(found: &impl Serialize, terminal: &Terminal) {
    terminal.data(&(serde_json::to_string_pretty(found).unwrap_or_default() + "\n"));
}
