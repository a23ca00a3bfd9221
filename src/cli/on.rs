//! The arguments of `run` about workers on other machines, and the course of such a run.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::json;

use super::runtime::{block_on, env};
use super::terminal::Notes;
use super::{Exit, Failure, Terminal};
use crate::cluster::{
    Engine, EngineError, JobState, Kubernetes, Local, Ray, Slurm, Work, last_error, probe, probe_store, quoted,
};
use crate::object::Address;
use crate::pipeline::{PipelineError, Ready};
use crate::report::text::{count, number};
use crate::run::{FrozenPlan, FrozenTable, RunError};
use crate::spec::Spec;
use crate::store::{ActiveJob, RunDir, SharedDir, StoreError, learn, pull};

/// What makes the parts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum On {
    /// Processes of this machine.
    Local,
    /// Jobs of a Slurm cluster, submitted from its login node.
    Slurm,
    /// A job of a Ray cluster, submitted to the address in `RAY_API_SERVER_ADDRESS`.
    Ray,
    /// Only with `--dry-run`: the manifest of a Job, for `kubectl apply -f -`.
    Kubernetes,
}

/// Arguments about the workers of a run.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct OnArguments {
    /// Make the parts with workers of this engine. The tables are those of a run on one machine.
    #[arg(long, value_enum, value_name = "ENGINE", conflicts_with_all = ["replay", "pilot", "serve"])]
    pub(crate) on: Option<On>,
    /// The number of workers, which share the limits of the spec [default: 4].
    #[arg(long, value_name = "N", requires = "on", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    workers: Option<u32>,
    /// Options of `sbatch` for all jobs, such as "--partition=short --time=2:00:00".
    #[arg(long, value_name = "OPTIONS", requires = "on", allow_hyphen_values = true)]
    sbatch: Option<String>,
    /// Submit the jobs of `--on`, or the batches of providers with `batch = true`, and leave. The same command without
    /// `--detach` follows them and ends the run.
    #[arg(long, conflicts_with_all = ["dry_run", "replay", "pilot", "serve"])]
    detach: bool,
}

const WORKERS: u32 = 4;
const LOOK: Duration = Duration::from_millis(500);
/// The time between two lines about the progress.
const LINE: Duration = Duration::from_secs(10);
/// The time between two looks for parts on an object store.
const PULL: Duration = Duration::from_secs(5);

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Failure::new(Exit::Environment, error.message).help_if(error.help)
    }
}

/// How the workers ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// All parts are committed.
    All,
    /// The jobs continue without this process.
    Left,
}

/// Why following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Followed {
    Ended,
    Cancelled,
    Left,
}

impl OnArguments {
    /// Whether batches are left.
    pub(crate) fn leaves_batches(&self) -> bool {
        self.detach && self.on.is_none()
    }

    /// The arguments as they are typed, each after a space.
    pub(crate) fn typed(&self) -> String {
        let on = self.on.and_then(|on| Some(format!(" --on {}", on.to_possible_value()?.get_name())));
        let workers = self.workers.map(|workers| format!(" --workers {workers}"));
        let sbatch = self.sbatch.as_ref().map(|options| format!(" --sbatch {}", quoted(options)));
        [on, workers, sbatch].into_iter().flatten().collect()
    }

    /// `None` if fanfold does not submit to it.
    fn engine(&self, on: On, spec: &Spec) -> Option<Box<dyn Engine>> {
        let options = self.sbatch.iter().flat_map(|options| options.split_whitespace()).map(str::to_owned);
        match on {
            On::Local => Some(Box::new(Local::default())),
            On::Slurm => Some(Box::new(Slurm { cluster: spec.cluster.clone(), options: options.collect() })),
            On::Ray => {
                let endpoints = spec.endpoints.values().map(|spec| &spec.endpoint);
                let variables = endpoints.flat_map(|endpoint| [endpoint.secret_env(), endpoint.address_env()]);
                let variables = variables.flatten().chain(["OLLAMA_HOST"]).map(str::to_owned);
                let variables = variables.chain(spec.cluster.address().iter().flat_map(Address::variables)).collect();
                Some(Box::new(Ray { cluster: spec.cluster.clone(), variables }))
            }
            On::Kubernetes => None,
        }
    }

    /// Freezes a prepared run, and prints what the engine would be given.
    pub(crate) fn show_script(&self, on: On, ready: &Ready, spec: &Path, terminal: &Terminal) -> Result<Exit, Failure> {
        let work = self.freeze(ready, spec)?;
        let cluster = &ready.spec().cluster;
        let text = match (self.engine(on, ready.spec()), &cluster.kubernetes) {
            (Some(engine), _) => engine.script(&work),
            (None, Some(pods)) => Kubernetes { cluster, pods }.manifest(&work),
            (None, None) => {
                let help = "write `[cluster.kubernetes]` with `image`, `claim` and `path` into the spec";
                return Err(Failure::new(Exit::Spec, "the spec does not describe the pods of its workers").help(help));
            }
        };
        terminal.data(&text);
        Ok(Exit::Ok)
    }

    fn freeze(&self, ready: &Ready, spec: &Path) -> Result<Work, Failure> {
        let batched = ready.spec().endpoints.iter().find(|(_, endpoint)| endpoint.endpoint.batch().is_some());
        if let Some((name, _)) = batched {
            let help = "leave out `--on`, as the provider does the work; or leave out `batch`";
            return Err(Failure::new(Exit::Spec, format!("workers send no batches, and `{name}` has `batch = true`"))
                .help(help));
        }
        let frozen = ready.freeze(spec, self.workers.unwrap_or(WORKERS))?;
        let work = Work::of(ready.folder().root(), frozen)?;
        if !work.is_complete() && ready.has_batches(&env)? {
            let help = "leave out `--on` to fetch their replies; after `fanfold batches --cancel`, workers pay these calls again";
            return Err(Failure::new(Exit::Spec, "batches are at a provider, and workers would pay their calls again")
                .help(help));
        }
        Ok(work)
    }

    /// Checks the folder or the object store that the workers share.
    fn probe(work: &Work, terminal: &Terminal) -> Result<(), Failure> {
        let found = match Address::parse(&work.run) {
            Some(address) => probe_store(&address.map_err(EngineError::from)?.folder(), &work.program)?,
            None => probe(work.dir.root(), &work.program)?,
        };
        if found.clock_differs() {
            terminal.note("warning: the clocks differ; `fanfold doctor storage` shows by how much");
        }
        Ok(())
    }

    /// Makes the parts of a run with the workers of the engine. Follows the job of an earlier command first.
    pub(crate) fn make_parts(
        &self,
        on: On,
        spec: &Path,
        prepare: impl Fn() -> Result<Ready, PipelineError>,
        terminal: &Terminal,
    ) -> Result<Made, Failure> {
        if on == On::Kubernetes {
            let help = "add `--dry-run`, and give its output to `kubectl apply -f -`";
            return Err(Failure::new(Exit::Spec, "fanfold does not submit to Kubernetes itself").help(help));
        }
        let ready = match prepare() {
            Err(PipelineError::Run(RunError::Store(StoreError::OnCluster { run, job }))) => {
                if self.follow_earlier(on, run, &job, terminal)? == Made::Left {
                    return Ok(Made::Left);
                }
                prepare()?
            }
            ready => ready?,
        };
        let Some(mut engine) = self.engine(on, ready.spec()) else { return Ok(Made::Left) };
        let work = self.freeze(&ready, spec)?;
        if work.is_complete() {
            return Ok(Made::All);
        }
        work.tables.iter().for_each(|table| terminal.note(&plan_line(&work, table)));
        shares(ready.spec(), work.workers).iter().for_each(|line| terminal.note(line));
        let shared = SharedDir::of(&work.dir);
        if engine.detaches() {
            Self::probe(&work, terminal)?;
        }
        let ids = engine.submit(&work)?;
        let submitted_at = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let job = ActiveJob { engine: engine.name().to_owned(), ids, submitted_at };
        // The workers of another machine need the folder; the marker of the job then keeps other runs away.
        let held = if engine.detaches() {
            shared.set_job(Some(&job))?;
            terminal.note(&format!("submitted to {}: job {}", job.engine, job.ids.join(", ")));
            drop(ready);
            None
        } else {
            Some(ready)
        };
        if self.detach && engine.detaches() {
            terminal.note("to follow it and to write the tables, run the same command without `--detach`");
            return Ok(Made::Left);
        }
        let followed = block_on(follow(engine.as_mut(), &job, &work, terminal))?;
        drop(held);
        finished(followed, (engine.as_mut(), &job), &work)
    }

    /// Follows the job of an earlier command to its end.
    fn follow_earlier(&self, on: On, run: PathBuf, job: &ActiveJob, terminal: &Terminal) -> Result<Made, Failure> {
        let dir = RunDir::new(run);
        let shared = SharedDir::of(&dir);
        let mut engine: Box<dyn Engine> = match on {
            On::Slurm => Box::new(Slurm { cluster: Default::default(), options: Vec::new() }),
            On::Ray => Box::new(Ray { cluster: Default::default(), variables: Vec::new() }),
            On::Local | On::Kubernetes => Box::new(Local::default()),
        };
        if engine.name() != job.engine {
            return Err(StoreError::OnCluster { run: dir.root().to_owned(), job: job.clone() }.into());
        }
        let Some(frozen) = FrozenPlan::read(&shared)? else {
            shared.set_job(None)?;
            return Ok(Made::All);
        };
        let work = Work::of(dir.root(), frozen)?;
        terminal.note(&format!("on {} since {}: job {}", job.engine, job.submitted_at, job.ids.join(", ")));
        if self.detach {
            pull(&dir)?;
            terminal.note(&progress_text(&engine.state(&job.ids)?, &work, false));
            return Ok(Made::Left);
        }
        match block_on(follow(engine.as_mut(), job, &work, terminal))? {
            Followed::Ended => shared.set_job(None).map(|()| Made::All).map_err(Failure::from),
            followed => finished(followed, (engine.as_mut(), job), &work),
        }
    }
}

impl Work {
    fn of(run: &Path, frozen: FrozenPlan) -> Result<Work, Failure> {
        let broken = |error: std::io::Error| Failure::new(Exit::Environment, error.to_string());
        let program = std::env::current_exe().map_err(broken)?;
        let dir = RunDir::new(std::path::absolute(run).map_err(broken)?);
        let run = SharedDir::of(&dir).address()?;
        let run = run.map_or_else(|| dir.root().display().to_string(), |address| address.to_string());
        Ok(Work { program, dir, run, workers: frozen.workers, tables: frozen.tables })
    }
}

fn finished(followed: Followed, (engine, job): (&mut dyn Engine, &ActiveJob), work: &Work) -> Result<Made, Failure> {
    let shared = SharedDir::of(&work.dir);
    match followed {
        Followed::Left => return Ok(Made::Left),
        Followed::Cancelled => {
            shared.set_job(None)?;
            let failure = Failure::new(Exit::Interrupted, "the workers were cancelled; every finished call is kept");
            return Err(learned(failure.help("to continue, run the same command again"), work));
        }
        Followed::Ended => shared.set_job(None)?,
    }
    pull(&work.dir)?;
    if work.is_complete() {
        return Ok(Made::All);
    }
    let left: Vec<String> = work.progress().iter().map(|(name, done, all)| line(name, *done, *all)).collect();
    let message = format!("the workers ended before all parts were committed: {}", left.join(", "));
    let failure = Failure::new(Exit::Environment, message).help("to continue, run the same command again");
    let failure = match last_error(&work.logs()).or_else(|| engine.failure(&job.ids)) {
        Some(error) => failure.note(error),
        None => failure,
    };
    Err(learned(failure, work))
}

/// Adds the calls of the workers to the ledger. If that fails too, the failure says so.
fn learned(failure: Failure, work: &Work) -> Failure {
    match learn(&work.dir) {
        Ok(()) => failure,
        Err(error) => failure.note(format!("their calls can't be added to the ledger: {error}")),
    }
}

fn plan_line(work: &Work, table: &FrozenTable) -> String {
    let workers = count(u64::from(work.workers_of(table)), "worker");
    match table.parts {
        Some(parts) if table.is_stage => format!("{}: {} for {workers}", table.name, count(parts, "part")),
        Some(_) => format!("{}: one task", table.name),
        None => format!("{}: {workers}; its parts are counted when its input is complete", table.name),
    }
}

/// The limits of each worker, for display.
fn shares(spec: &Spec, workers: u32) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, endpoint) in &spec.endpoints {
        let Ok(share) = endpoint.limits.share(workers) else { continue };
        let limits = [
            (share.requests_per_minute.map(|limit| limit.get()), "requests per minute"),
            (share.tokens_per_minute.map(|limit| limit.get()), "tokens per minute"),
        ];
        let limits = limits.into_iter().filter_map(|(limit, what)| Some(format!("{} {what}", number(limit?.into()))));
        let limits: Vec<String> = limits.collect();
        if !limits.is_empty() {
            lines.push(format!("each worker may send {} to {name}", limits.join(" and ")));
        }
    }
    let budget = spec.budget.share(Default::default(), workers.into()).total.unwrap_or_default();
    let limits = [
        budget.calls.map(|calls| count(calls.get(), "call")),
        budget.tokens.map(|tokens| count(tokens.get(), "token")),
        budget.usd.map(|usd| format!("{usd:.4} US dollars")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    lines.extend((!limits.is_empty()).then(|| format!("each worker may spend at most {}", limits.join(", "))));
    lines
}

fn line(name: &str, committed: u64, parts: Option<u64>) -> String {
    let of = parts.map_or(String::new(), |parts| format!(" of {}", number(parts)));
    format!("{name} {}{of}", number(committed))
}

/// Shows the progress until the job ends, or until Ctrl-C.
async fn follow(
    engine: &mut dyn Engine,
    job: &ActiveJob,
    work: &Work,
    terminal: &Terminal,
) -> Result<Followed, Failure> {
    let mut interrupted = Box::pin(tokio::signal::ctrl_c());
    let mut shown: Option<(String, Instant)> = None;
    let mut pulled = Instant::now();
    loop {
        let state = engine.state(&job.ids)?;
        if state == JobState::Ended {
            return Ok(Followed::Ended);
        }
        if pulled.elapsed() >= PULL {
            pull(&work.dir)?;
            pulled = Instant::now();
        }
        let text = progress_text(&state, work, terminal.notes == Notes::Json);
        let pause = if terminal.notes == Notes::Json { Duration::ZERO } else { LINE };
        if shown.as_ref().is_none_or(|(last, at)| *last != text && at.elapsed() >= pause) {
            match terminal.notes {
                Notes::Json => terminal.event(serde_json::from_str(&text).unwrap_or_default()),
                _ => terminal.note(&text),
            }
            shown = Some((text, Instant::now()));
        }
        tokio::select! {
            _ = &mut interrupted => {
                let leaves = engine.detaches();
                if leaves && !(terminal.can_ask() && terminal.ask("cancel the jobs? Otherwise they continue [y/N] ")) {
                    terminal.note("the jobs continue; run the same command to follow them");
                    return Ok(Followed::Left);
                }
                engine.cancel(&job.ids)?;
                return Ok(Followed::Cancelled);
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// A line about the workers and the parts, or an event.
fn progress_text(state: &JobState, work: &Work, is_json: bool) -> String {
    let (running, waiting, reason) = match state {
        JobState::Active { running, waiting, reason } => (*running, *waiting, reason.as_deref()),
        JobState::Ended => (0, 0, None),
    };
    let parts = work.progress();
    if is_json {
        let parts = parts.iter().map(|(name, done, all)| json!({ "table": name, "parts": done, "of": all }));
        let tables: Vec<_> = parts.collect();
        return json!({ "event": "workers", "running": running, "waiting": waiting, "tables": tables }).to_string();
    }
    let waits = if waiting > 0 { format!(", {} waiting", number(waiting)) } else { String::new() };
    let why = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let tables: Vec<String> = parts.iter().map(|(name, done, all)| line(name, *done, *all)).collect();
    format!("{} running{waits}{why}; parts: {}", count(running, "worker"), tables.join(", "))
}
