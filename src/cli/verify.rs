//! The command `fanfold verify`.

use std::collections::HashMap;
use std::path::PathBuf;

use super::runtime::{block_on, env};
use super::{Exit, Failure, OutputFormat, Terminal, load_spec, only_spec};
use crate::lock::{Lock, verify};
use crate::models::{Access, Models, asked_models};
use crate::plan::{Plan, Selection};
use crate::preview;
use crate::report::colors::Palette;
use crate::report::settings::{SettingChange, setting_changes};
use crate::report::verification::VerificationReport;
use crate::run::run_or_replay;
use crate::store::{Project, StoreError, named_runs};

/// Checks the tables, the spec and the inputs against the lock next to the spec, and lists every difference.
///
/// Exit code 5 if something differs. Writes nothing. Sends nothing, except that `--models` asks the servers for their
/// model builds.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The spec [default: the only spec of this folder].
    #[arg(default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    spec: PathBuf,
    /// Also check that the servers have the model builds in the lock.
    #[arg(long)]
    models: bool,
    /// Show the hashes of changed settings too.
    #[arg(short, long)]
    verbose: bool,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Verify {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = load_spec(&self.spec, terminal)?;
        let path = Lock::path_of(&self.spec);
        let failure = |message: String, help: &str| Failure::new(Exit::Lock, message).help(help);
        let lock = Lock::read(&path)
            .map_err(|error| failure(error.to_string(), "replace it with `fanfold run --update-lock`"))?
            .ok_or_else(|| {
                failure(
                    format!("the lock `{}` does not exist", path.display()),
                    "`fanfold run` writes it when it finishes",
                )
            })?;
        let (pipeline, project) = (spec.name.clone(), Project::of(&spec.folder));
        let plan = Plan::new(spec, &Selection::default(), HashMap::new())?;
        let access = Access { env: &env, ledger: None, known: &[] };
        let asked = asked_models(&plan);
        let models = match self.models {
            true => Some(block_on(async { Ok(Models::connect(&plan.spec, &asked, access).await?) })?),
            false => Models::offline(&plan.spec, &asked, access).ok(),
        };
        let (plan, now) = preview::now(plan, models, &lock, &project)?;
        let verified = verify(&lock, now, &plan, &run_or_replay(&plan, &project));
        let exit = if verified.drift.is_empty() { Exit::Ok } else { Exit::Lock };
        let settings = if verified.drift.is_empty() { Vec::new() } else { changed_settings(&lock, &plan, &project)? };
        let report = VerificationReport { pipeline, lock: path, verified, settings, verbose: self.verbose };
        self.format.paint(&report, Palette::Changes, terminal);
        Ok(exit)
    }
}

/// The settings that differ from those of the run that wrote the lock, if it is kept.
fn changed_settings(lock: &Lock, plan: &Plan, project: &Project) -> Result<Vec<SettingChange>, StoreError> {
    let causes = lock.causes();
    let mut runs = named_runs(project)?.into_iter().rev();
    let run = runs.find(|run| Lock::of_manifest(&run.manifest).is_some_and(|lock| lock.causes() == causes));
    let old = run.and_then(|run| run.dir.read_spec());
    Ok(old.map(|old| setting_changes(&old, &plan.spec.meaning())).unwrap_or_default())
}
