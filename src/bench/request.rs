//! Bench requests: choose models, prompts and levels before the first call.

use std::sync::Arc;

use crate::models::{Access, ConnectError, Models};
use crate::name::{listed, nearest};
use crate::plan::{Plan, RowChoice, Selected, Selection, select};
use crate::preview::prompts;
use crate::prompt::{Addressee, Expect, Message, Prompt};
use crate::provider::Env;
use crate::run::{RunError, unread};
use crate::spec::{Concurrency, ModelSpec, Spec, TableId};

const LEVELS: [u32; 4] = [1, 2, 4, 8];
/// The least number of rows to read, since some may be skipped.
const ROWS: u64 = 100;

#[derive(Clone, Debug, Default)]
pub(crate) struct BenchRequest {
    /// The stage that provides the prompts; `None` selects the first stage that has some.
    pub(crate) stage: Option<String>,
    pub(crate) prompt: Option<String>,
    /// Names of models in the spec. If empty: the models of the stage, or of all stages if there is a prompt.
    pub(crate) models: Vec<String>,
    /// Calls in flight at each level. If empty: [`LEVELS`], up to the provider's limit.
    pub(crate) levels: Vec<u32>,
    pub(crate) runs: u32,
    pub(crate) warmup: u32,
    pub(crate) max_tokens: Option<u32>,
}

pub(crate) struct Ready {
    pub(crate) plan: Plan,
    pub(crate) stage: Option<TableId>,
    pub(crate) prompts: Arc<Vec<Prompt>>,
    pub(crate) models: Vec<(usize, Vec<u32>)>,
    /// The models for which the default levels exceed the provider's limit, with that limit.
    pub(crate) capped: Vec<(String, u32)>,
    pub(super) request: BenchRequest,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{message}")]
    Request { message: String, help: Option<String> },
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

fn refused(message: impl Into<String>, help: impl Into<Option<String>>) -> BenchError {
    BenchError::Request { message: message.into(), help: help.into() }
}

impl Ready {
    pub(crate) fn calls(&self) -> u64 {
        self.models.iter().map(|(_, levels)| self.request.calls(levels)).sum()
    }

    pub(crate) fn runs(&self) -> u32 {
        self.request.runs
    }

    pub(crate) fn repeats(&self) -> u64 {
        let most = self.models.iter().map(|(_, levels)| self.request.calls(levels)).max().unwrap_or(0);
        most.saturating_sub(self.prompts.len() as u64)
    }
}

impl BenchRequest {
    pub(crate) fn calls(&self, levels: &[u32]) -> u64 {
        let lanes: u64 = levels.iter().map(|lanes| u64::from(*lanes)).sum();
        u64::from(self.warmup) + lanes * u64::from(self.runs)
    }
}

/// Reads the first rows, renders their prompts and chooses what to measure. Sends nothing.
pub(crate) fn prepare(mut spec: Spec, request: BenchRequest) -> Result<Ready, BenchError> {
    for endpoint in spec.endpoints.values_mut() {
        // The bench measures what `auto` would find out.
        let most = &mut endpoint.limits.max_concurrent_calls;
        *most = most.filter(|most| *most != Concurrency::Auto);
    }
    let stage = request.stage.as_deref().map(|name| stage_of(&spec, name)).transpose()?;
    models(&spec, stage, &request)?;
    let (plan, stage, mut prompts) = match &request.prompt {
        Some(text) => {
            let facts = unread(&spec, &Selected::none(&spec)).map_err(RunError::from)?;
            let plan = Plan::new(spec, &Selection::default(), facts).map_err(RunError::from)?;
            let messages = vec![Message::user(text.as_str())];
            let prompt = Prompt {
                messages,
                expect: Arc::new(Expect::Text),
                schema: None,
                respondent: None,
                pack: None,
                to: Addressee::Row,
            };
            (plan, None, vec![prompt])
        }
        None => rendered(spec, stage, &request)?,
    };
    // If the request does not name a stage, the stage is only known now.
    let models = models(&plan.spec, stage, &request)?;
    let (mut levels, mut capped) = (Vec::new(), Vec::new());
    for model in models {
        let (name, spec) = plan.spec.model(model);
        let (of_model, cap) = levels_of(&plan.spec, spec, &request)?;
        levels.push((model, of_model));
        capped.extend(cap.map(|most| (name.to_string(), most)));
    }
    let most = levels.iter().map(|(_, levels)| request.calls(levels)).max().unwrap_or(0);
    prompts.truncate(most as usize);
    let ready = Ready { plan, stage, prompts: Arc::new(prompts), models: levels, capped, request };
    let budget = ready.plan.spec.budget.calls.map_or(u64::MAX, |calls| calls.get());
    if ready.calls() > budget {
        let message = format!("this would send {} calls, more than the {budget} of the `budget`", ready.calls());
        return Err(refused(message, "ask for fewer with `--runs`, `--concurrency` or `--model`".to_owned()));
    }
    Ok(ready)
}

fn stage_of(spec: &Spec, name: &str) -> Result<TableId, BenchError> {
    spec.stages().find(|(_, stage)| stage.name.as_str() == name).map(|(id, _)| id).ok_or_else(|| {
        let names = spec.stages().map(|(_, stage)| stage.name.as_str());
        let meant = nearest(name, names).map(|near| format!("did you mean `{near}`?"));
        refused(format!("the spec has no stage `{name}`"), meant)
    })
}

fn models(spec: &Spec, stage: Option<TableId>, request: &BenchRequest) -> Result<Vec<usize>, BenchError> {
    let mut found: Vec<usize> = match stage {
        _ if !request.models.is_empty() => {
            request.models.iter().map(|name| model_of(spec, name)).collect::<Result<_, _>>()?
        }
        Some(stage) => spec.stage(stage).models.clone(),
        None => spec.stages().flat_map(|(_, stage)| stage.models.clone()).collect(),
    };
    let mut seen = std::collections::HashSet::new();
    found.retain(|model| seen.insert(*model));
    match found.is_empty() {
        true => Err(refused("no stage of this spec asks a model", None)),
        false => Ok(found),
    }
}

fn model_of(spec: &Spec, name: &str) -> Result<usize, BenchError> {
    spec.models.get_index_of(name).ok_or_else(|| {
        let known = || spec.models.keys().map(|known| known.as_str());
        let meant = nearest(name, known()).map(|near| format!("did you mean `{near}`?"));
        let help = meant.unwrap_or_else(|| format!("the models are {}", listed(known())));
        refused(format!("the spec has no model `{name}`"), help)
    })
}

/// The levels of a model, and its provider's limit if the default levels exceed it.
fn levels_of(spec: &Spec, model: &ModelSpec, request: &BenchRequest) -> Result<(Vec<u32>, Option<u32>), BenchError> {
    let endpoint = &model.endpoint;
    let most = match spec.endpoints[endpoint].limits.max_concurrent_calls {
        Some(Concurrency::Calls(calls)) => calls.get(),
        _ => u32::MAX,
    };
    if let Some(level) = request.levels.iter().find(|level| **level > most) {
        let message =
            format!("{level} calls in flight are more than `max_concurrent_calls = {most}` of `{endpoint}` allows");
        return Err(refused(message, format!("measure up to {most}, or raise that limit in `[providers.{endpoint}]`")));
    }
    if !request.levels.is_empty() {
        return Ok((request.levels.clone(), None));
    }
    let usual: Vec<u32> = LEVELS.into_iter().filter(|level| *level <= most).collect();
    let is_capped = usual.len() < LEVELS.len();
    Ok((usual, is_capped.then_some(most)))
}

fn rendered(
    spec: Spec,
    stage: Option<TableId>,
    request: &BenchRequest,
) -> Result<(Plan, Option<TableId>, Vec<Prompt>), BenchError> {
    let most = request.calls(if request.levels.is_empty() { &LEVELS } else { &request.levels });
    let stages: Vec<String> = request.stage.iter().cloned().collect();
    select(&spec, &stages).map_err(RunError::from)?;
    let selection = Selection { stages, rows: RowChoice::First((2 * most).max(ROWS)), ..Selection::default() };
    let (plan, found) = prompts(spec, &selection, most as usize)?;
    let named = |name: &str| plan.spec.stages().find(|(_, stage)| stage.name.as_str() == name).map(|(id, _)| id);
    let stage = stage.or_else(|| named(&found.iter().find(|rendered| rendered.prompt.is_ok())?.stage));
    let of_stage = found.into_iter().filter(|rendered| stage.is_some() && named(&rendered.stage) == stage);
    let prompts: Vec<Prompt> = of_stage.filter_map(|rendered| rendered.prompt.ok()).take(most as usize).collect();
    if prompts.is_empty() {
        let of = request.stage.as_ref().map_or("the stages".to_owned(), |name| format!("stage `{name}`"));
        let message = format!("no prompt of {of} can be rendered from the rows of a source alone");
        return Err(refused(message, "name another `--stage`, or give a `--prompt`".to_owned()));
    }
    Ok((plan, stage, prompts))
}

pub(crate) async fn connect(ready: &Ready, env: Env<'_>) -> Result<Models, ConnectError> {
    let asked: Vec<usize> = ready.models.iter().map(|(model, _)| *model).collect();
    let mut models = Models::connect(&ready.plan.spec, &asked, Access { env, ledger: None, known: &[] }).await?;
    models.limit_replies(ready.request.max_tokens);
    Ok(models)
}
