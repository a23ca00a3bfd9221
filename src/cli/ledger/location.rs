//! Locations: finds the project and the ledger that an argument names.

use std::path::Path;

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::spec::load::folder_of;
use crate::store::{Ledger, Project};

pub(crate) fn project(place: &Path) -> Project {
    if place.is_dir() { Project::of(place) } else { Project::of(&folder_of(place)) }
}

/// Returns the project of a spec or a folder, with its ledger. The ledger must exist.
pub(crate) fn ledger(place: &Path) -> Result<(Project, Ledger), Failure> {
    let project = project(place);
    let path = project.ledger();
    if !path.exists() {
        let message = format!("{} does not exist", path.display());
        let help = "nothing has been run there yet; name another spec or folder";
        return Err(Failure::new(Exit::Environment, message).help(help));
    }
    let ledger = Ledger::open(&path)?;
    Ok((project, ledger))
}
