//! Freshness: reports the state of each stage, why it is not done, and how many calls a run would send. Reads the lock
//! and the manifests of the project's runs.

use super::drift::Drift;
use super::facts::parts_of;
use super::file::Lock;
use crate::plan::Plan;
use crate::spec::{Spec, TableId, TableSpec};
use crate::store::{Manifest, Project, RunDir, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StageState {
    NeverRun,
    Running,
    Stopped,
    /// The inputs have changed since the table was written.
    Stale,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// The largest number of calls, including those that the ledger answers.
    pub(crate) calls: u64,
    pub(crate) from_ledger: u64,
    pub(crate) unknown: u64,
    /// Whether a model is on another server than in the last run, and reports no build.
    pub(crate) is_moved: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Freshness {
    pub(crate) name: String,
    pub(crate) state: StageState,
    /// The drift since the lock was written, or since the last run if there is no lock.
    pub(crate) why: Vec<Drift>,
    /// Calls that a run would send, an upper bound if rows are unknown; `None` if the input's rows are not counted yet.
    pub(crate) to_send: Option<u64>,
    /// Whether the rows of the last run are kept, so that the ledger is not read.
    pub(crate) is_kept: bool,
    pub(crate) outlook: Outlook,
}

struct Earlier {
    lock: Lock,
    done: bool,
}

/// `now` is the lock that a run would start with, `lock` the one next to the spec.
pub(crate) fn freshness(
    plan: &Plan,
    outlooks: &[Outlook],
    now: &Lock,
    lock: Option<Lock>,
    project: &Project,
) -> Vec<Freshness> {
    let dir = RunDir::new(project.run(&plan.run_name()));
    let manifest = Manifest::read(&dir);
    let earlier = match lock {
        // A run of only some rows or stages cannot be compared with the whole.
        _ if !plan.is_whole() => None,
        Some(lock) => Some(Earlier { lock, done: true }),
        None => last_run(project, &plan.spec.name),
    };
    let since = |lock: &Lock| {
        // The lock of a stopped run does not know all facets either.
        let (mut then, mut now) = (lock.facets(), now.facets());
        now.assume(&then);
        then.assume(&now);
        then.compare(&now).drift
    };
    let drift = earlier.as_ref().map(|earlier| since(&earlier.lock)).unwrap_or_default();
    let own = manifest.as_ref().and_then(Lock::of_manifest).map(|lock| since(&lock)).unwrap_or_default();
    let is_running = manifest.as_ref().is_some_and(|m| m.state == State::Running) && project.is_locked(dir.root());
    let state = manifest.map(|manifest| manifest.state);
    let stage = |(i, outlook): (TableId, &Outlook)| {
        let concerned = |drift: &[Drift]| -> Vec<Drift> {
            let prefixes = prefixes(&plan.spec, i);
            drift.iter().filter(|d| prefixes.iter().any(|p| d.facet.starts_with(p))).cloned().collect()
        };
        let name = plan.spec.stage(i).name.to_string();
        let mut why = concerned(&drift);
        if outlook.is_moved {
            why.push(moved(&plan.spec, i));
        }
        why.extend(earlier.iter().flat_map(|earlier| missing(&plan.spec, i, &earlier.lock)));
        let remembered = earlier.as_ref().filter(|earlier| earlier.lock.stages.contains_key(&name));
        let parts = parts_of(plan, &dir, i);
        let state = match (state, remembered) {
            (Some(_), _) if is_running => StageState::Running,
            (Some(State::Running | State::Stopped), _) if parts.is_none() => StageState::Stopped,
            (Some(_), None) => StageState::Done,
            (None, None) => StageState::NeverRun,
            (_, Some(_)) if !why.is_empty() => StageState::Stale,
            (None, Some(earlier)) if !earlier.done => StageState::Stopped,
            _ => StageState::Done,
        };
        if state == StageState::NeverRun {
            why.clear();
        }
        // Complete parts without failures are kept, so the ledger is not read for them.
        let kept = parts.is_some_and(|part| part.counts.failed == 0) && concerned(&own).is_empty() && !outlook.is_moved;
        let sent = plan.rows(plan.spec.stage(i).input).map(|_| outlook.calls.saturating_sub(outlook.from_ledger));
        let to_send = if kept { Some(0) } else { sent };
        Freshness { name, state, why, to_send, is_kept: kept, outlook: *outlook }
    };
    plan.stages().zip(outlooks).map(stage).collect()
}

/// The drift of a stage whose model is on another server. Its build is unknown, so its answers do not count.
fn moved(spec: &Spec, stage: TableId) -> Drift {
    let models = spec.models_of(spec.stage(stage)).collect::<Vec<_>>().join(",");
    let [old, new] = ["the last server", "another server"].map(|server| Some(server.to_owned()));
    Drift { facet: format!("models.{models}.server"), old, new }
}

fn prefixes(spec: &Spec, stage: TableId) -> Vec<String> {
    let mut prefixes = vec!["tool.".to_owned()];
    for input in spec.upstream(stage) {
        let name = spec.table_name(input);
        match spec.table(input) {
            TableSpec::Source(_) => prefixes.push(format!("sources.{name}.")),
            TableSpec::Transform(_) => prefixes.push(format!("reshapes.{name}.")),
            TableSpec::Stage(stage) => {
                prefixes.push(format!("stages.{name}."));
                prefixes.extend(spec.models_of(stage).map(|model| format!("models.{model}.")));
            }
        }
    }
    prefixes
}

/// The outputs of the stage that are in the lock but have no file.
fn missing(spec: &Spec, stage: TableId, lock: &Lock) -> Vec<Drift> {
    let outputs = spec.outputs.iter().filter(|(_, o)| o.input == stage && !o.file.exists());
    let locked = outputs.filter_map(|(name, _)| Some((name, lock.outputs.get(name.as_str())?.content.clone()?)));
    let drift = locked.map(|(name, content)| Drift {
        facet: format!("outputs.{name}.content"),
        old: Some(content),
        new: Some("missing".to_owned()),
    });
    drift.collect()
}

fn last_run(project: &Project, pipeline: &str) -> Option<Earlier> {
    let runs = std::fs::read_dir(project.runs()).ok()?.flatten();
    let manifests = runs.filter_map(|run| Manifest::read(&RunDir::new(run.path())));
    let last = manifests.filter(|m| m.pipeline == pipeline && m.lock.is_some()).max_by(|a, b| {
        // If two runs began in the same second, the finished one counts as newer.
        let start = |run: &Manifest| (run.start_number, run.started_at.clone(), run.state == State::Done);
        start(a).cmp(&start(b))
    })?;
    Some(Earlier { done: last.state == State::Done, lock: Lock::of_manifest(&last)? })
}
