//! The command `fanfold batches`.

use std::path::{Path, PathBuf};

use super::runtime::{block_on, env};
use super::{Exit, Failure, OutputFormat, Terminal, load_spec, only_spec};
use crate::report::batches::{BatchesReport, open};
use crate::run::standing;
use crate::spec::Spec;
use crate::store::{Ledger, Project};

/// Shows the batches of calls that are at providers, and how far they are; `--cancel` ends them.
///
/// `fanfold run` fetches the replies of a batch when it has ended. After `--cancel`, the next run keeps the replies that
/// there are, and sends the other calls again.
#[derive(Debug, clap::Args)]
pub(crate) struct Batches {
    /// The spec [default: the only spec of this folder].
    #[arg(default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    spec: PathBuf,
    /// Cancel all of them, or the one with this name.
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    cancel: Option<Option<String>>,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Batches {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = load_spec(&self.spec, terminal)?;
        let ledger = Project::of(&spec.folder).ledger();
        let named = self.cancel.iter().flatten().next();
        if let Some(name) = named
            && !(ledger.exists() && Ledger::read(&ledger)?.open_batches()?.iter().any(|batch| batch.name == *name))
        {
            let help = "`fanfold batches` shows the names";
            return Err(Failure::new(Exit::Spec, format!("no batch is open with the name `{name}`")).help(help));
        }
        let cancels = |name: &str| self.cancel.as_ref().is_some_and(|one| one.as_ref().is_none_or(|one| one == name));
        let found = block_on(async { Ok(standing(&spec, &ledger, &env, |batch| cancels(&batch.name)).await?) })?;
        let is_unknown = found.iter().any(|standing| standing.job.is_err());
        self.format.write(&BatchesReport(found), terminal);
        Ok(if is_unknown { Exit::Environment } else { Exit::Ok })
    }
}

/// Says that batches are at a provider, after a run that did not wait for them.
pub(super) fn left(spec: &Spec, path: &Path, terminal: &Terminal) {
    let ledger = Project::of(&spec.folder).ledger();
    let Ok(batches) = Ledger::read(&ledger).and_then(|ledger| ledger.open_batches()) else { return };
    if let Some(open) = open(&batches) {
        let spec = path.display();
        terminal.note(&format!(
            "{open}; `fanfold run {spec}` fetches the replies, `fanfold batches {spec}` shows how far they are, and with \
             `--cancel` it cancels them"
        ));
    }
}
