//! The command `fanfold clean`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::{Exit, Failure, OutputFormat, Terminal, load::load_again, only_spec::specs_in};
use crate::lock::Lock;
use crate::report::clean::CleanReport;
use crate::run::current;
use crate::store::{self, NamedRun, Project};
use crate::table::files::folder_of;

/// Lists old runs, copies of sources that no run needs, and temporary files, and deletes them with `--yes`.
///
/// These runs stay: those of the specs in the folder as they are now, those of their locks, and the last ones of each
/// pipeline. Tables outside `.fanfold` and the answers in the ledger are not touched, so a deleted run can be made again
/// for free. `fanfold ledger gc` deletes the answers that no remaining run uses.
#[derive(Debug, clap::Args)]
pub(crate) struct Clean {
    /// A spec or its folder.
    #[arg(value_name = "SPEC|FOLDER", default_value = ".")]
    place: PathBuf,
    /// Keep the last N finished runs of each pipeline.
    #[arg(long, value_name = "N", default_value_t = 1)]
    keep: usize,
    /// Delete what is listed.
    #[arg(short, long)]
    yes: bool,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Clean {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let folder = if self.place.is_dir() { &self.place } else { folder_of(&self.place) };
        let project = Project::of(folder);
        if !project.root().exists() {
            let message = format!("{} does not exist", project.root().display());
            let help = "nothing has been run there yet; name another spec or folder";
            return Err(Failure::new(Exit::Environment, message).help(help));
        }
        let (names, causes) = in_use(folder, &project);
        let is_kept = |run: &NamedRun| {
            let name = run.dir.name();
            let lock = || Lock::of_manifest(&run.manifest).map(|lock| lock.causes());
            names.contains(name.trim_end_matches("-replay")) || lock().is_some_and(|lock| causes.contains(&lock))
        };
        let bytes_before = store::size(project.root());
        let find = if self.yes { store::delete } else { store::garbage };
        let garbage = find(&project, self.keep, &is_kept)?;
        let bytes_freed = garbage.iter().map(|garbage| garbage.bytes).sum();
        let (dry_run, path) = (!self.yes, project.root().to_owned());
        let report = CleanReport { schema_version: 1, dry_run, path, bytes_before, bytes_freed, garbage };
        self.format.write(&report, terminal);
        Ok(Exit::Ok)
    }
}

/// The folders of the runs of the specs as they are now, and the causes in their locks. A spec with mistakes has none,
/// but the last run of its pipeline stays.
fn in_use(folder: &Path, project: &Project) -> (HashSet<String>, HashSet<String>) {
    let specs: Vec<PathBuf> = specs_in(folder).into_iter().map(|name| folder.join(name)).collect();
    let runs = specs.iter().filter_map(|path| Some(current(load_again(path, &[]).ok()?, project).ok()?.name()));
    let locks = specs.iter().filter_map(|path| Some(Lock::read(&Lock::path_of(path)).ok()??.causes()));
    (runs.collect(), locks.collect())
}
