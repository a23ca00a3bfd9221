//! The engine `local`: workers as processes of this machine. Shows what the other engines do, without a cluster.

use std::fs::OpenOptions;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Engine, EngineError, JobState, Work, quoted};
use crate::run::FrozenTable;

/// How often a killed worker is started again.
const RETRIES: u32 = 5;
const LOOK: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(crate) struct Local {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), EngineError>>>,
}

#[derive(Default)]
struct Shared {
    cancelled: AtomicBool,
    running: AtomicU64,
}

impl Engine for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn script(&self, work: &Work) -> String {
        let line = |table: &FrozenTable, number: u32| {
            let words = work.arguments(table, &number.to_string());
            let words = [work.program.display().to_string()].into_iter().chain(words);
            words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
        };
        let lines = work.tables.iter().map(|table| {
            let workers: Vec<String> = (0..work.workers_of(table)).map(|number| line(table, number)).collect();
            format!("{} &\nwait\n", workers.join(" &\n"))
        });
        lines.collect()
    }

    fn submit(&mut self, work: &Work) -> Result<Vec<String>, EngineError> {
        let (work, shared) = (work.clone(), self.shared.clone());
        self.thread = Some(std::thread::spawn(move || {
            for table in &work.tables {
                if !make(&work, table, &shared)? {
                    break;
                }
            }
            Ok(())
        }));
        Ok(vec![format!("process {}", std::process::id())])
    }

    fn state(&mut self, _: &[String]) -> Result<JobState, EngineError> {
        match self.thread.take_if(|thread| thread.is_finished()) {
            Some(thread) => thread.join().unwrap_or(Ok(())).map(|()| JobState::Ended),
            None if self.thread.is_none() => Ok(JobState::Ended),
            None => {
                Ok(JobState::Active { running: self.shared.running.load(Ordering::Relaxed), waiting: 0, reason: None })
            }
        }
    }

    fn cancel(&mut self, _: &[String]) -> Result<(), EngineError> {
        self.shared.cancelled.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(Ok(())), JoinHandle::join).unwrap_or(Ok(()))
    }

    fn detaches(&self) -> bool {
        false
    }
}

/// Makes a table with its workers. Returns whether all ended well.
fn make(work: &Work, table: &FrozenTable, shared: &Shared) -> Result<bool, EngineError> {
    let mut workers = Vec::new();
    for number in 0..work.workers_of(table) {
        workers.push((number, 0, start(work, table, number)?));
    }
    let mut well = true;
    while !workers.is_empty() {
        shared.running.store(workers.len() as u64, Ordering::Relaxed);
        if shared.cancelled.load(Ordering::Relaxed) {
            // A worker whose standard input ends finishes its calls in flight, as after a signal.
            workers.iter_mut().for_each(|(.., child)| drop(child.stdin.take()));
            for (.., mut child) in workers {
                let _ = child.wait();
            }
            return Ok(false);
        }
        let mut still = Vec::new();
        for (number, retries, mut child) in workers {
            match child.try_wait().map_err(|error| failed(work, &error))? {
                None => still.push((number, retries, child)),
                Some(status) if status.code().is_none() && retries < RETRIES => {
                    still.push((number, retries + 1, start(work, table, number)?));
                }
                Some(status) => well &= status.success(),
            }
        }
        workers = still;
        std::thread::sleep(LOOK);
    }
    Ok(well)
}

fn failed(work: &Work, error: &std::io::Error) -> EngineError {
    EngineError::new(format!("{} can't be started: {error}", work.program.display()))
}

fn start(work: &Work, table: &FrozenTable, number: u32) -> Result<Child, EngineError> {
    let log = work.logs().join(format!("{}-{number}.log", table.name));
    let open = || {
        std::fs::create_dir_all(work.logs())?;
        let log = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new(&work.program);
        command.args(work.arguments(table, &number.to_string()));
        // The pipe ends with this process, also if it is killed.
        command.arg("--child-of").arg(work.dir.root()).stdin(Stdio::piped());
        command.stdout(log.try_clone()?).stderr(log).spawn()
    };
    open().map_err(|error| failed(work, &error))
}
