//! Clusters: makes the parts of a frozen plan with the workers of an engine, such as Slurm.
//!
//! An engine places, starts and repeats workers, and notices when one dies. fanfold only brings a task that may be
//! killed, repeated and doubled: `fanfold task`.

mod kubernetes;
mod local;
mod ray;
mod slurm;
mod storage;

use std::path::{Path, PathBuf};

use crate::run::FrozenTable;
use crate::store::{RunDir, SharedDir};

pub(crate) use kubernetes::Kubernetes;
pub(crate) use local::Local;
pub(crate) use ray::Ray;
pub(crate) use slurm::Slurm;
pub(crate) use storage::{RACERS, probe, probe_store, racer};

/// Why an engine can't run the work. `help` is what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct EngineError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl EngineError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        EngineError { message: message.into(), help: None }
    }
}

/// The work of a frozen run.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// The program, the same on all machines.
    pub(crate) program: PathBuf,
    pub(crate) dir: RunDir,
    /// The folder or the address of the run, for workers.
    pub(crate) run: String,
    pub(crate) workers: u32,
    /// The tables that workers make, after those that they read.
    pub(crate) tables: Vec<FrozenTable>,
}

impl Work {
    /// The number of workers of a table: not more than its parts.
    pub(crate) fn workers_of(&self, table: &FrozenTable) -> u32 {
        let parts = table.parts.map_or(self.workers, |parts| u32::try_from(parts).unwrap_or(u32::MAX));
        if table.is_stage { self.workers.min(parts.max(1)) } else { 1 }
    }

    /// The arguments of a worker after the program.
    pub(crate) fn arguments(&self, table: &FrozenTable, worker: &str) -> Vec<String> {
        let first = ["task".to_owned(), self.run.clone(), table.name.clone()];
        let share = if table.is_stage { vec!["--worker".to_owned(), worker.to_owned()] } else { vec!["0".to_owned()] };
        first.into_iter().chain(share).collect()
    }

    /// Lines of shell that make all tables with one worker, whose number is in the variable `index`. The worker waits for
    /// the parts of others.
    pub(crate) fn sequence(&self, program: &str, run: &str, index: &str) -> String {
        let line = |table: &FrozenTable| {
            let [program, run, name] = [program, run, table.name.as_str()].map(quoted);
            match (table.is_stage, self.workers_of(table)) {
                (true, workers) if workers == self.workers => {
                    format!("{program} task {run} {name} --worker \"${index}\" --wait\n")
                }
                (true, workers) => {
                    let worker = format!("{program} task {run} {name} --worker \"${index}\" --wait");
                    format!("if [ \"${index}\" -lt {workers} ]; then {worker}; fi\n")
                }
                (false, _) => format!("if [ \"${index}\" = 0 ]; then {program} task {run} {name} 0 --wait; fi\n"),
            }
        };
        self.tables.iter().map(line).collect()
    }

    pub(crate) fn logs(&self) -> PathBuf {
        SharedDir::of(&self.dir).path("logs")
    }

    pub(crate) fn scripts(&self) -> PathBuf {
        SharedDir::of(&self.dir).path("scripts")
    }

    /// For each table, its name, the committed parts, and all parts if their number is known.
    pub(crate) fn progress(&self) -> Vec<(&str, u64, Option<u64>)> {
        self.tables.iter().map(|table| (table.name.as_str(), self.dir.count_parts(&table.name), table.parts)).collect()
    }

    /// Whether every part is committed: their number says so, or that of the workers that found none left.
    pub(crate) fn is_complete(&self) -> bool {
        let shared = SharedDir::of(&self.dir);
        self.tables.iter().all(|table| {
            let has_parts = table.parts.is_some_and(|parts| self.dir.count_parts(&table.name) >= parts);
            let mut workers = 0..u64::from(self.workers_of(table));
            has_parts || workers.all(|worker| shared.has_finished(&table.name, worker))
        })
    }
}

/// What an engine does with a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum JobState {
    /// The workers that run and those that wait, with the reason for the wait.
    Active {
        running: u64,
        waiting: u64,
        reason: Option<String>,
    },
    Ended,
}

pub(crate) trait Engine {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What [`Engine::submit`] hands in, for people who submit by hand.
    fn script(&self, work: &Work) -> String;

    /// Starts all workers, those of a table when the tables that it reads are complete. Returns the engine's names.
    fn submit(&mut self, work: &Work) -> Result<Vec<String>, EngineError>;

    fn state(&mut self, ids: &[String]) -> Result<JobState, EngineError>;

    fn cancel(&mut self, ids: &[String]) -> Result<(), EngineError>;

    /// Why a job ended early, in the engine's words.
    fn failure(&mut self, _: &[String]) -> Option<String> {
        None
    }

    /// Whether its workers continue without this process.
    fn detaches(&self) -> bool {
        true
    }
}

/// The last lines of the newest log with an error, for messages.
pub(crate) fn last_error(logs: &Path) -> Option<String> {
    let files = std::fs::read_dir(logs).ok()?.flatten().map(|entry| entry.path());
    let mut dated: Vec<_> =
        files.filter_map(|path| Some((std::fs::metadata(&path).ok()?.modified().ok()?, path))).collect();
    dated.sort();
    dated.into_iter().rev().find_map(|(_, path)| {
        let text = std::fs::read_to_string(&path).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        let start = lines.iter().rposition(|line| line.starts_with("error"))?;
        let shown = lines[start..lines.len().min(start + 4)].join("\n");
        Some(format!("{}:\n{shown}", path.display()))
    })
}

/// A word as a shell reads it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "._-=/:,+".contains(c));
    if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}
