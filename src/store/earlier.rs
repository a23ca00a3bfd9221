//! Earlier runs: their tables, and the copies of sources that only they use, are cut into pieces when a run ends.
//!
//! The tables of a run that has just ended and of the last run of each pipeline stay ordinary files, which other
//! programs can read, and so do those of a run that has not finished.

use super::clean::{is_copy_of, kept};
use super::error::StoreError;
use super::history::{NamedRun, named_runs};
use super::manifest::{Manifest, State};
use super::pieces::{Pieces, join};
use super::project::Project;
use super::rundir::{RunDir, tables_in};

/// Cuts the tables of earlier runs, and makes those of the run in `dir` ordinary files again. Does nothing while another
/// run uses the project. The caller must hold no lock of the tables.
pub(crate) fn cut_earlier(project: &Project, dir: &RunDir) -> Result<(), StoreError> {
    let Some(_alone) = project.change_unused_tables()? else { return Ok(()) };
    let runs = named_runs(project)?;
    let last = kept(&runs, 1, &|run| run.dir.name() == dir.name());
    let is_earlier = |run: &&NamedRun| run.manifest.state == State::Done && !last.contains(&run.dir.name());
    let (earlier, later): (Vec<&NamedRun>, Vec<&NamedRun>) = runs.iter().partition(is_earlier);
    let own = later.iter().filter(|run| run.dir.name() == dir.name());
    let whole: Vec<&Manifest> = later.iter().map(|run| &run.manifest).collect();
    let is_used = |name: &str, by: &[&Manifest]| {
        by.iter().flat_map(|manifest| manifest.sources.values()).any(|source| is_copy_of(name, &source.content))
    };
    let own: Vec<&Manifest> = own.map(|run| &run.manifest).collect();
    let (mut cut, mut joined) = (Vec::new(), dir.tables()?);
    for run in earlier {
        cut.extend(run.dir.tables()?);
    }
    // A run without a readable manifest may use any copy.
    let all_known = runs.len() == project.run_dirs()?.len();
    for copy in tables_in(&project.sources())? {
        let name = copy.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if is_used(&name, &own) {
            joined.push(copy);
        } else if all_known && !is_used(&name, &whole) {
            cut.push(copy);
        }
    }
    joined.iter().try_for_each(|file| join(file))?;
    cut.retain(|file| file.exists());
    if cut.is_empty() {
        return Ok(());
    }
    Pieces::open(project.root())?.cut(&cut)
}
