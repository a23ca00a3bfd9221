//! Previews: report what a run would ask, how many calls the ledger answers, and the prompts as sent.
//!
//! Reads the sources and the ledger. Writes and sends nothing.

mod estimate;
mod follow;
mod forecast;
mod kept;
mod unknown;
mod volume;

use std::collections::HashMap;
use std::path::PathBuf;

use estimate::Recall;
use follow::{Followed, Options, follow};
use volume::OpenCall;

use crate::lock::{Lock, ModelFacts, Outlook};
use crate::models::{Access, KnownBuild, Models, asked_models};
use crate::plan::{Plan, Selection, select};
use crate::run::{PilotCall, RunError, earlier_cost, fresh_since, unread};
use crate::spec::{Spec, TableId};
use crate::store::{
    CallTotals, Ledger, Manifest, Project, Recalled, ReplayFile, RunDir, Since, StoreError, recalled, reply_limits,
};

pub(crate) use estimate::{Render, Rendered, StageEstimate};
pub(crate) use forecast::{Amounts, Basis, Forecast, ModelForecast, Origin, Range, StageForecast};

/// What to look at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request<'a> {
    pub(crate) selection: Option<&'a Selection>,
    /// The prompts to render.
    pub(crate) render: Render<'a>,
    /// The number of calls to sample, for each stage.
    pub(crate) pilot: usize,
    /// Whether recorded answers do not count, since all calls are repeated.
    pub(crate) fresh: bool,
}

pub(crate) struct Preview {
    pub(crate) plan: Plan,
    pub(crate) stages: Vec<StageEstimate>,
    pub(crate) rendered: Vec<Rendered>,
    pub(crate) lock: Lock,
    /// For each stage, whether a model is on another server than in the last run, and reports no build.
    moved: Vec<bool>,
    /// The sampled calls of each stage.
    pilot: Vec<(TableId, Vec<OpenCall>)>,
    /// The replay file whose answers are counted with those of the ledger.
    pub(crate) replay: Option<PathBuf>,
}

/// Plans `spec` and looks up its calls.
pub(crate) fn preview(
    spec: Spec,
    request: Request<'_>,
    project: &Project,
    access: Access<'_>,
) -> Result<Preview, RunError> {
    let Request { selection, render, pilot, fresh } = request;
    let all = Selection::default();
    let selection = selection.unwrap_or(&all);
    let Recalled { ledger, replay } = recalled(&spec, project)?;
    let facts = unread(&spec, &select(&spec, &selection.stages)?)?;
    let plan = Plan::new(spec, selection, facts)?;
    let dir = RunDir::new(project.run(&plan.run_name()));
    let manifest = Manifest::read(&dir);
    let earlier = manifest.as_ref().and_then(fresh_since).unwrap_or(Since::ALWAYS);
    let since = if fresh { Since::NEVER } else { earlier };
    let last = manifest.as_ref().map(KnownBuild::all_of_run).unwrap_or_default();
    let of_replay = replay.as_ref().map(|(_, file)| KnownBuild::all_of_replay(file)).unwrap_or_default();
    let known = [access.known, &last, &of_replay].concat();
    // A client that can't be made (an unset address) is an error in a run. Here it only makes the answers unknown.
    let access = Access { env: access.env, ledger: ledger.as_ref(), known: &known };
    let mut models = Models::offline(&plan.spec, &asked_models(&plan), access).ok();
    let limits = reply_limits(project, replay.as_ref().map(|(_, file)| file));
    models.iter_mut().for_each(|models| models.use_shorter(&limits));
    let recall = recall(models.as_ref(), ledger.as_ref(), since);
    let kept = match models.as_ref().filter(|_| !fresh && pilot == 0) {
        Some(models) => kept::kept(&plan, &dir, manifest.as_ref(), models),
        None => HashMap::new(),
    };
    let options = Options { render, leaves: true, models: models.as_ref(), pilot, kept: &kept, project };
    let followed = follow(plan, selection, recall, options)?;
    let lock = followed.lock(&models.as_ref().map(ModelFacts::all).unwrap_or_default());
    let Followed { plan, estimates: stages, rendered, pilot, .. } = followed;
    plan.check_outputs()?;
    let is_moved = |model: &usize| {
        let target = models.as_ref()?.target(*model);
        let then = manifest.as_ref()?.models.get(&target.name)?.server.as_ref()?;
        Some(!target.servers.has(then))
    };
    let moved = |id: TableId| plan.spec.stage(id).models.iter().any(|model| is_moved(model) == Some(true));
    let moved = plan.stages().map(moved).collect();
    Ok(Preview { plan, stages, rendered, lock, moved, pilot, replay: replay.map(|(path, _)| path) })
}

/// Prompts that depend on answers use those of the builds in `lock`.
pub(crate) fn now(
    plan: Plan,
    models: Option<Models>,
    lock: &Lock,
    project: &Project,
) -> Result<(Plan, Lock), RunError> {
    let facts = models.as_ref().map(ModelFacts::all).unwrap_or_default();
    let Recalled { ledger, replay } = recalled(&plan.spec, project)?;
    let limits = reply_limits(project, replay.as_ref().map(|(_, file)| file));
    let models = models.map(|mut models| {
        models.set_builds(|model| lock.build(model));
        models.use_shorter(&limits);
        models
    });
    let recall = recall(models.as_ref(), ledger.as_ref(), Since::ALWAYS);
    let kept = HashMap::new();
    let (render, models) = (Render::default(), models.as_ref());
    let options = Options { render, leaves: false, models, pilot: 0, kept: &kept, project };
    let followed = follow(plan, &Selection::default(), recall, options)?;
    let now = followed.lock(&facts);
    Ok((followed.plan, now))
}

fn open(project: &Project) -> Result<Option<Ledger>, StoreError> {
    let path = project.ledger();
    Ok(if path.exists() { Some(Ledger::read(&path)?) } else { None })
}

fn recall<'a>(models: Option<&'a Models>, ledger: Option<&'a Ledger>, since: Since) -> Option<Recall<'a>> {
    Some(Recall { models: models?, ledger, since })
}

impl Preview {
    /// Takes up to `most` of the sampled calls, from the stages in turn.
    pub(crate) fn take_pilot(&mut self, most: usize) -> Vec<PilotCall> {
        let mut stages = std::mem::take(&mut self.pilot);
        let mut calls = Vec::new();
        while calls.len() < most && stages.iter().any(|(_, sampled)| !sampled.is_empty()) {
            for (stage, sampled) in &mut stages {
                let call = sampled.pop().filter(|_| calls.len() < most);
                calls.extend(call.map(|OpenCall { who, prompt }| PilotCall { stage: *stage, who, prompt }));
            }
        }
        calls
    }

    /// What the calls to send will cost. `is_kept` says for each stage whether its rows are kept, so that it sends none.
    pub(crate) fn forecast(&self, project: &Project, is_kept: &[bool]) -> Result<Forecast, StoreError> {
        let (spec, ledger) = (&self.plan.spec, open(project)?);
        let replay = self.replay.as_ref().map(|path| ReplayFile::open(path)).transpose()?;
        let recent = |model: &str| {
            let recent = ledger.as_ref().map_or(Ok(CallTotals::default()), |ledger| ledger.recent(model))?;
            match replay.as_ref().filter(|_| recent.calls == 0) {
                Some(file) => file.totals(model),
                None => Ok(recent),
            }
        };
        let mut stages = Vec::new();
        for ((id, estimate), is_kept) in self.plan.stages().zip(&self.stages).zip(is_kept) {
            stages.push(StageForecast::new(spec, spec.stage(id), estimate, *is_kept, recent)?);
        }
        let earlier = match &ledger {
            Some(ledger) if spec.budget.total.is_some() => Some(earlier_cost(spec, ledger)?),
            _ => None,
        };
        Ok(Forecast { stages, earlier })
    }

    pub(crate) fn outlooks(&self) -> Vec<Outlook> {
        let outlook = |(at, known): (usize, &StageEstimate)| Outlook {
            calls: self.calls(at),
            from_ledger: known.from_ledger,
            unknown: known.unknown,
            is_moved: self.moved[at],
        };
        self.stages.iter().enumerate().map(outlook).collect()
    }

    pub(crate) fn calls(&self, at: usize) -> u64 {
        let (Some(stage), known) = (self.plan.stages().nth(at), &self.stages[at]) else { return 0 };
        let stage = self.plan.spec.stage(stage);
        let each = stage.width() as u64 * stage.stage.info.most_prompts;
        match stage.packs() {
            true => (known.packs.count + known.unknown.div_ceil(stage.rows_per_prompt)) * each,
            false => known.calls + known.unknown * each,
        }
        .saturating_sub(known.shared)
    }
}

/// The plan of the first rows, and the first `most` prompts of the stages that depend on no answer. Opens no ledger.
pub(crate) fn prompts(spec: Spec, selection: &Selection, most: usize) -> Result<(Plan, Vec<Rendered>), RunError> {
    let facts = unread(&spec, &select(&spec, &selection.stages)?)?;
    let plan = Plan::new(spec, selection, facts)?;
    let (render, project) = (Render { most, ..Render::default() }, Project::of(&plan.spec.folder));
    let options = Options { render, leaves: false, models: None, pilot: 0, kept: &HashMap::new(), project: &project };
    let followed = follow(plan, selection, None, options)?;
    Ok((followed.plan, followed.rendered))
}
