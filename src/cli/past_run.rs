//! The past run that a command shows: the run of a spec as it is, or an earlier one.

use std::path::Path;

use super::recorded::replay_of_clone;
use super::run::Run;
use super::terminal::typed;
use super::{Exit, Failure, Terminal, load::load_again};
use crate::lock::committed_counts;
use crate::name::suggestion;
use crate::plan::Plan;
use crate::run::{run_or_replay, uncounted};
use crate::spec::Spec;
use crate::store::{Manifest, NamedRun, Project, RunDir, State, named_runs};

pub(super) struct PastRun {
    /// The plan of the spec as it is now.
    pub(super) plan: Plan,
    pub(super) dir: RunDir,
    pub(super) manifest: Manifest,
    /// Whether the run is of the spec as it is now. Its rows may be others.
    pub(super) is_current: bool,
}

impl PastRun {
    /// The run of the spec as it is, or else the last run of the pipeline. A note names an earlier run.
    pub(super) fn last(spec: Spec, path: &Path, terminal: &Terminal) -> Result<PastRun, Failure> {
        let project = Project::of(&spec.folder);
        let plan = uncounted(spec)?;
        let dir = run_or_replay(&plan, &project);
        Manifest::check(&dir)?;
        if let Some(manifest) = Manifest::read(&dir) {
            return Ok(PastRun { plan, dir, manifest, is_current: true });
        }
        let runs = named_runs(&project)?.into_iter().rev();
        let whole = runs.filter(|run| run.manifest.lock.is_some());
        let Some(run) = whole.into_iter().find(|run| run.manifest.pipeline == plan.spec.name) else {
            let help = format!("start one: fanfold run {}", typed(path));
            return Err(Failure::new(Exit::Environment, format!("`{}` has no run", path.display())).help(help));
        };
        terminal.note(&format!("of the run {}; the spec or its data have changed since", run.name));
        Ok(PastRun::of(plan, run))
    }

    /// The same. A clone without a run first makes the tables of the spec from its replay file.
    pub(super) fn last_or_replayed(spec: Spec, path: &Path, terminal: &Terminal) -> Result<PastRun, Failure> {
        let replay = replay_of_clone(&spec)?;
        let plan = uncounted(spec)?;
        let has_run = Manifest::read(&run_or_replay(&plan, &Project::of(&plan.spec.folder))).is_some();
        if let Some(replay) = replay.filter(|_| !has_run) {
            terminal.note(&format!("making the tables from {}; nothing is sent", replay.display()));
            Run::replay(path, &replay).quietly(terminal)?;
            return PastRun::last(load_again(path, &[])?, path, terminal);
        }
        PastRun::last(plan.spec, path, terminal)
    }

    /// The run with this name.
    pub(super) fn named(spec: Spec, name: &str) -> Result<PastRun, Failure> {
        let project = Project::of(&spec.folder);
        let plan = uncounted(spec)?;
        let runs = named_runs(&project)?;
        let of_pipeline = |run: &&NamedRun| run.manifest.pipeline == plan.spec.name;
        let names: Vec<String> = runs.iter().filter(of_pipeline).map(|run| run.name.clone()).collect();
        let Some(run) = runs.into_iter().find(|run| run.name == name && of_pipeline(&run)) else {
            let help = suggestion(name, "there are", names.iter().map(String::as_str));
            return Err(Failure::new(Exit::Environment, format!("there is no run `{name}` of this spec")).help_if(help));
        };
        Ok(PastRun::of(plan, run))
    }

    fn of(plan: Plan, run: NamedRun) -> PastRun {
        let is_current = run.manifest.spec_hash == plan.spec_hash;
        PastRun { plan, dir: run.dir, manifest: run.manifest, is_current }
    }

    /// Adds what the run knows to the plan and the manifest: the rows of the sources, and of a run without an end the
    /// rows so far.
    pub(super) fn counted(mut self) -> PastRun {
        let ids: Vec<_> = self.plan.spec.sources().map(|(id, source)| (id, source.name.to_string())).collect();
        for (id, name) in ids {
            if let Some(entry) = self.manifest.sources.get(&name) {
                self.plan.sources.entry(id).or_default().rows = entry.rows;
            }
        }
        if self.manifest.state != State::Done && self.is_current {
            committed_counts(&self.plan, &self.dir, &mut self.manifest.stages);
        }
        self
    }
}
