//! Standing: how far each stage is, why it is not done, and what a run would cost. Made of a preview, the lock and the
//! manifests of the project's runs.

use super::locking::parts_of;
use super::preview::Preview;
use crate::spec::{Input, Spec};
use crate::store::{Drift, Lock, Manifest, Project, RunDir, State};

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progressed {
    /// No run has begun it.
    Never,
    /// A run is at it.
    Running,
    /// A run was stopped or killed before its end.
    Stopped,
    /// What it was made from is not what is there now.
    Stale,
    /// It is done.
    Done,
}

/// How a stage stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The stage's name.
    pub name: String,
    /// How far it is.
    pub state: Progressed,
    /// What is another one since the lock was written; without a lock, since the last run.
    pub why: Vec<Drift>,
    /// Calls that a run would send, at most if some rows are not known yet.
    pub to_send: u64,
    /// Whether these can be told: the rows of its input are known.
    pub is_counted: bool,
    /// Calls that the ledger answers.
    pub from_ledger: u64,
    /// Rows whose prompts depend on answers that are not known yet.
    pub unknown: u64,
}

/// What the project's tables were made from, as far as it remembers, and whether that run came to its end.
struct Before {
    lock: Lock,
    done: bool,
}

/// How the stages of a preview stand; `lock` is the spec's, if it has one.
pub fn standings(preview: &Preview, project: &Project, lock: Option<&Lock>) -> Vec<Standing> {
    let plan = &preview.plan;
    let dir = RunDir::new(project.run(&plan.run_name()));
    let manifest = Manifest::read(&dir);
    let before = match lock {
        // A part of the rows or the stages is no drift of the whole.
        _ if !plan.is_whole() => None,
        Some(lock) => Some(Before { lock: lock.clone(), done: true }),
        None => last_run(project, &plan.spec.name),
    };
    let since = |lock: &Lock| {
        // A run that was stopped does not know all either.
        let (mut then, mut now) = (lock.clone(), preview.lock.clone());
        now.assume(&then);
        then.assume(&now);
        then.drift(&now)
    };
    let drift = before.as_ref().map(|before| since(&before.lock)).unwrap_or_default();
    let own = manifest.as_ref().and_then(|m| m.lock.as_ref()).map(since).unwrap_or_default();
    let running = manifest.as_ref().is_some_and(|m| m.state == State::Running)
        && project.lock(dir.root(), "this run's folder").is_err();
    let standing = |(at, i): (usize, usize)| {
        let name = plan.spec.stages[i].name.to_string();
        let concerned = |drift: &[Drift]| -> Vec<Drift> {
            let prefixes = prefixes(&plan.spec, i);
            drift.iter().filter(|d| prefixes.iter().any(|p| d.facet.starts_with(p))).cloned().collect()
        };
        let mut why = concerned(&drift);
        why.extend(before.as_ref().map(|before| missing(&plan.spec, i, &before.lock)).unwrap_or_default());
        let remembered = before.as_ref().filter(|before| before.lock.stages.contains_key(&name));
        let parts = parts_of(plan, &dir, i);
        let state = match (&manifest, remembered) {
            (Some(_), _) if running => Progressed::Running,
            (Some(m), _) if m.state != State::Done && parts.is_none() => Progressed::Stopped,
            (Some(_), None) => Progressed::Done,
            (None, None) => Progressed::Never,
            (_, Some(_)) if !why.is_empty() => Progressed::Stale,
            (None, Some(before)) if !before.done => Progressed::Stopped,
            _ => Progressed::Done,
        };
        let known = preview.stages[at];
        // Parts that are there and whole are kept without a look at the ledger.
        let kept = parts.is_some_and(|parts| parts.failed == 0) && concerned(&own).is_empty();
        let to_send = if kept { 0 } else { preview.calls(at).saturating_sub(known.from_ledger) };
        let why = if state == Progressed::Never { Vec::new() } else { why };
        let is_counted = kept || plan.rows(plan.spec.stages[i].input).is_some();
        Standing { name, state, why, to_send, is_counted, from_ledger: known.from_ledger, unknown: known.unknown }
    };
    plan.stages().enumerate().map(standing).collect()
}

/// What the facets begin with that a stage's table depends on.
fn prefixes(spec: &Spec, stage: usize) -> Vec<String> {
    let mut prefixes = vec!["tool.".to_owned()];
    for input in spec.upstream(Input::Stage(stage)) {
        let name = spec.input_name(input);
        match input {
            Input::Source(_) => prefixes.push(format!("sources.{name}.")),
            Input::Reshape(_) => prefixes.push(format!("reshapes.{name}.")),
            Input::Stage(i) => {
                prefixes.push(format!("stages.{name}."));
                prefixes.extend(spec.stages[i].model_names.iter().map(|model| format!("models.{model}.")));
            }
        }
    }
    prefixes
}

/// The stage's outputs that the lock has and that are not there.
fn missing(spec: &Spec, stage: usize, lock: &Lock) -> Vec<Drift> {
    let outputs = spec.outputs.iter().filter(|(_, o)| o.input == Input::Stage(stage) && !o.file.exists());
    let locked = outputs.filter_map(|(name, _)| Some((name, lock.outputs.get(name.as_str())?.content.clone()?)));
    let drift = locked.map(|(name, content)| Drift {
        facet: format!("outputs.{name}.content"),
        old: Some(content),
        new: Some("missing".to_owned()),
    });
    drift.collect()
}

/// What the last whole run of the pipeline was made from, by its manifest.
fn last_run(project: &Project, pipeline: &str) -> Option<Before> {
    let runs = std::fs::read_dir(project.runs()).ok()?.flatten();
    let manifests = runs.filter_map(|run| Manifest::read(&RunDir::new(run.path())));
    let last = manifests.filter(|m| m.pipeline == pipeline && m.lock.is_some()).max_by(|a, b| {
        // Of two that began in the same second the one that is done knows more.
        (&a.started_at, a.state == State::Done).cmp(&(&b.started_at, b.state == State::Done))
    })?;
    Some(Before { done: last.state == State::Done, lock: last.lock? })
}
