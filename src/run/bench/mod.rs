//! Benches: how fast models answer, measured by real calls at several levels of concurrency.
//!
//! [`prepare`] chooses models, prompts and levels and refuses what the limits forbid; [`measure`] asks. Each level keeps so
//! many calls in flight, as a run does (a lane sends its next call as soon as the last one is answered), until every lane
//! has had its share. Nothing is tried again, and the ledger is neither read nor written. Rates of the provider and the
//! budget hold as in a run; how long calls waited for their turn is told, and is no part of what they took.

mod measure;

use std::sync::Arc;

use super::connect::{ConnectError, Models, Variables, clients_of, inspected};
use super::preview::{Rendered, prompts};
use super::{RunError, unread};
use crate::name::{listed, nearest};
use crate::plan::{Plan, Selected, Selection, select};
use crate::prompt::{Expect, Message, Prompt};
use crate::spec::{Concurrency, Spec};

pub use measure::{Event, Level, ModelBench, measure};

/// The levels that are measured if none are named.
const LEVELS: [u32; 4] = [1, 2, 4, 8];
/// Rows that are read at least, since some may be skipped.
const ROWS: u64 = 100;

/// What is to be measured.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The stage whose prompts are asked; none for the first that has some.
    pub stage: Option<String>,
    /// One prompt instead of a stage's.
    pub prompt: Option<String>,
    /// The models by their names in the spec; empty: those of the stage, with a prompt those that a stage asks.
    pub models: Vec<String>,
    /// How many calls are in flight at each level; empty: [`LEVELS`], as far as the provider allows them.
    pub levels: Vec<u32>,
    /// Measured calls of each lane of a level.
    pub runs: u32,
    /// Calls that are made before, one after the other, and not measured.
    pub warmup: u32,
    /// The most tokens of a reply, instead of the models' own.
    pub max_tokens: Option<u32>,
}

/// A bench that can start.
pub struct Ready {
    /// The plan over the rows that were read.
    pub plan: Plan,
    /// The stage whose prompts are asked, by index; none with a prompt of its own.
    pub stage: Option<usize>,
    /// The prompts, asked in turn.
    pub prompts: Arc<Vec<Prompt>>,
    /// The models, by index, with their levels.
    pub models: Vec<(usize, Vec<u32>)>,
    /// Models whose usual levels are more than their provider allows, with what it allows.
    pub capped: Vec<(String, u32)>,
    wanted: Wanted,
}

/// Why nothing is measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// What is wanted can't be measured.
    #[error("{message}")]
    Wanted {
        /// Why.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// The source can't be read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A model can't be asked.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

fn wrong(message: impl Into<String>, help: impl Into<Option<String>>) -> BenchError {
    BenchError::Wanted { message: message.into(), help: help.into() }
}

impl Ready {
    /// Calls at most, warm-up included.
    pub fn calls(&self) -> u64 {
        self.models.iter().map(|(_, levels)| self.wanted.calls(levels)).sum()
    }

    /// Measured calls of each lane.
    pub fn runs(&self) -> u32 {
        self.wanted.runs
    }

    /// How many of a model's calls repeat a prompt that was asked before.
    pub fn repeats(&self) -> u64 {
        let most = self.models.iter().map(|(_, levels)| self.wanted.calls(levels)).max().unwrap_or(0);
        most.saturating_sub(self.prompts.len() as u64)
    }
}

impl Wanted {
    /// Calls at most of a model with these levels.
    fn calls(&self, levels: &[u32]) -> u64 {
        let lanes: u64 = levels.iter().map(|lanes| u64::from(*lanes)).sum();
        u64::from(self.warmup) + lanes * u64::from(self.runs)
    }
}

/// Reads the first rows, renders their prompts and chooses what to measure. Sends nothing.
pub fn prepare(mut spec: Spec, wanted: Wanted) -> Result<Ready, BenchError> {
    for endpoint in spec.endpoints.values_mut() {
        // A bench finds out by itself what `auto` would find out.
        let most = &mut endpoint.limits.max_concurrent_calls;
        *most = most.filter(|most| *most != Concurrency::Auto);
    }
    let stage = wanted.stage.as_deref().map(|name| stage_of(&spec, name)).transpose()?;
    models(&spec, stage, &wanted)?;
    let most = wanted.calls(if wanted.levels.is_empty() { &LEVELS } else { &wanted.levels });
    let (plan, stage, mut prompts) = match &wanted.prompt {
        Some(text) => {
            let facts = unread(&spec, &Selected::none(&spec)).map_err(RunError::from)?;
            let plan = Plan::new(spec, &Selection::default(), facts).map_err(RunError::from)?;
            let messages = vec![Message::user(text.as_str())];
            let prompt =
                Prompt { messages, expect: Arc::new(Expect::Text), schema: None, respondent: None, pack: None };
            (plan, None, vec![prompt])
        }
        None => rendered(spec, stage, most, &wanted)?,
    };
    // Without a name the stage is the first that has prompts.
    let models = models(&plan.spec, stage, &wanted)?;
    let (levels, capped) = levels(&plan.spec, &models, &wanted)?;
    let most = levels.iter().map(|levels| wanted.calls(levels)).max().unwrap_or(0);
    prompts.truncate(most as usize);
    let models = models.into_iter().zip(levels).collect();
    let ready = Ready { plan, stage, prompts: Arc::new(prompts), models, capped, wanted };
    let budget = ready.plan.spec.budget.calls.map_or(u64::MAX, |calls| calls.get());
    if ready.calls() > budget {
        let message = format!("this would send {} calls, more than the {budget} of the `budget`", ready.calls());
        return Err(wrong(message, "ask for fewer with `--runs`, `--concurrency` or `--model`".to_owned()));
    }
    Ok(ready)
}

fn stage_of(spec: &Spec, name: &str) -> Result<usize, BenchError> {
    let names = || spec.stages.iter().map(|stage| stage.name.as_str());
    names().position(|known| known == name).ok_or_else(|| {
        let meant = nearest(name, names()).map(|near| format!("did you mean `{near}`?"));
        wrong(format!("there is no stage `{name}`"), meant)
    })
}

/// The models that are wanted: those that are named, else those of the stage, else all that a stage asks.
fn models(spec: &Spec, stage: Option<usize>, wanted: &Wanted) -> Result<Vec<usize>, BenchError> {
    let mut found: Vec<usize> = Vec::new();
    let mut add = |model: usize| {
        if !found.contains(&model) {
            found.push(model);
        }
    };
    match stage {
        _ if !wanted.models.is_empty() => {
            for name in &wanted.models {
                let known = || spec.models.keys().map(|known| known.as_str());
                let Some(model) = spec.models.get_index_of(name.as_str()) else {
                    let meant = nearest(name, known()).map(|near| format!("did you mean `{near}`?"));
                    let help = meant.unwrap_or_else(|| format!("the models are {}", listed(known())));
                    return Err(wrong(format!("there is no model `{name}`"), help));
                };
                add(model);
            }
        }
        Some(stage) => spec.stages[stage].models.iter().for_each(|model| add(*model)),
        None => spec.stages.iter().flat_map(|stage| &stage.models).for_each(|model| add(*model)),
    }
    match found.is_empty() {
        true => Err(wrong("no stage of this spec asks a model", None)),
        false => Ok(found),
    }
}

/// The levels of each model, and the models for which the usual ones are too many.
type Levels = (Vec<Vec<u32>>, Vec<(String, u32)>);

fn levels(spec: &Spec, models: &[usize], wanted: &Wanted) -> Result<Levels, BenchError> {
    let (mut all, mut capped) = (Vec::new(), Vec::new());
    for model in models {
        let (name, model) = spec.model(*model);
        let most = match spec.endpoints[&model.endpoint].limits.max_concurrent_calls {
            Some(Concurrency::Calls(calls)) => calls.get(),
            _ => u32::MAX,
        };
        if let Some(level) = wanted.levels.iter().find(|level| **level > most) {
            let endpoint = &model.endpoint;
            let message =
                format!("{level} calls in flight are more than `max_concurrent_calls = {most}` of `{endpoint}` allows");
            return Err(wrong(
                message,
                format!("measure up to {most}, or raise that limit in `[providers.{endpoint}]`"),
            ));
        }
        let usual: Vec<u32> = LEVELS.into_iter().filter(|level| *level <= most).collect();
        if wanted.levels.is_empty() && usual.len() < LEVELS.len() {
            capped.push((name.to_string(), most));
        }
        all.push(if wanted.levels.is_empty() { usual } else { wanted.levels.clone() });
    }
    Ok((all, capped))
}

/// The first prompts of a stage, as many as there are calls if there are so many.
fn rendered(
    spec: Spec,
    stage: Option<usize>,
    most: u64,
    wanted: &Wanted,
) -> Result<(Plan, Option<usize>, Vec<Prompt>), BenchError> {
    let stages: Vec<String> = wanted.stage.iter().cloned().collect();
    select(&spec, &stages).map_err(RunError::from)?;
    let selection = Selection { stages, limit: Some((2 * most).max(ROWS)) };
    let (plan, found) = prompts(spec, &selection, most as usize)?;
    let first = |rendered: &&Rendered| rendered.prompt.is_ok();
    let named = |name: &str| plan.spec.stages.iter().position(|stage| stage.name.as_str() == name);
    let stage = stage.or_else(|| found.iter().find(first).and_then(|rendered| named(&rendered.stage)));
    let of_stage = stage.map(|stage| plan.spec.stages[stage].name.as_str());
    let of_stage = found.iter().filter(|rendered| Some(rendered.stage.as_str()) == of_stage);
    let prompts: Vec<Prompt> =
        of_stage.filter_map(|rendered| rendered.prompt.clone().ok()).take(most as usize).collect();
    if prompts.is_empty() {
        let of = wanted.stage.as_ref().map_or("the stages".to_owned(), |name| format!("stage `{name}`"));
        let message = format!("there is no prompt of {of} that depends on nothing but the rows of a source");
        return Err(wrong(message, "name another `--stage`, or give a `--prompt`".to_owned()));
    }
    Ok((plan, stage, prompts))
}

/// Connects the models and asks whether they are there; the ledger is left alone.
pub async fn connect(ready: &Ready, env: Variables<'_>) -> Result<Models, ConnectError> {
    let mut models = clients_of(&ready.plan.spec, ready.models.iter().map(|(model, _)| *model), env)?;
    models.shorten_replies(ready.wanted.max_tokens);
    inspected(models).await
}
