//! Benches: how fast models answer, measured by real calls at several levels of concurrency.
//!
//! [`prepare`] chooses models, prompts and levels and refuses what the limits forbid; [`measure`] asks. Each level keeps so
//! many calls in flight, as a run does (a lane sends its next call as soon as the last one is answered), until every lane
//! has had its share. Nothing is tried again, and the ledger is neither read nor written. Rates of the provider and the
//! budget hold as in a run; how long calls waited for their turn is told, and is no part of what they took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::answer::usable;
use super::attempts::estimate;
use super::budget::{Cost, Purse};
use super::connect::{ConnectError, Models, Target, Variables, clients_of, inspected};
use super::preview::{Rendered, prompts};
use super::stop::{Stop, StopReason};
use super::{RunError, unread};
use crate::name::{listed, nearest};
use crate::plan::{Plan, Selection, select};
use crate::prompt::{Expect, Message, Prompt};
use crate::provider::{Call, CallError, CallErrorKind, Encoded, Measured, Missed, Reply, Sample, Timings};
use crate::spec::{Concurrency, Repair, Spec};

/// The levels that are measured if none are named.
const LEVELS: [u32; 4] = [1, 2, 4, 8];
/// Failures in a row after which a level ends early.
const BROKEN: u64 = 10;
/// The wait after a server has said that it has too much, where it doesn't say for how long.
const PAUSE: Duration = Duration::from_secs(1);
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

/// What was measured of a model.
#[derive(Debug)]
pub struct ModelBench {
    /// Its name in the spec.
    pub name: String,
    /// The calls before the measurement.
    pub warmup: Vec<Sample>,
    /// The form of the answers that the server knows, where it is not the one that the spec says.
    pub form: Option<&'static str>,
    /// The levels, in order.
    pub levels: Vec<Level>,
    /// Levels that were not measured, since the calls of the one before failed.
    pub left_out: Vec<u32>,
}

/// What was measured at a level.
#[derive(Debug)]
pub struct Level {
    /// Calls in flight.
    pub in_flight: u32,
    /// The calls that ended, in the order in which they did.
    pub samples: Vec<Sample>,
    /// From the first call's turn to the end of the last.
    pub took: Duration,
    /// How long calls waited for the rate limits, all lanes together.
    pub held: Duration,
    /// Whether every call that belongs to the level was made.
    pub whole: bool,
}

/// What a bench tells while it goes on.
pub enum Event<'a> {
    /// A model's measurement begins, with so many calls.
    Model(&'a str, u64),
    /// So many calls of it have ended.
    Calls(u64),
    /// A level has been measured.
    Level(&'a str, &'a Level),
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
    let models = models(&spec, stage, &wanted)?;
    let (levels, capped) = levels(&spec, &models, &wanted)?;
    let most = levels.iter().map(|levels| wanted.calls(levels)).max().unwrap_or(0);
    let (plan, stage, prompts) = match &wanted.prompt {
        Some(text) => {
            let facts = unread(&spec, &vec![false; spec.stages.len()]).map_err(RunError::from)?;
            let plan = Plan::new(spec, &Selection::default(), facts).map_err(RunError::from)?;
            let messages = vec![Message::user(text.as_str())];
            let prompt = Prompt { messages, expect: Arc::new(Expect::Text), schema: None, respondent: None };
            (plan, None, vec![prompt])
        }
        None => rendered(spec, stage, most, &wanted)?,
    };
    // Without a name the stage was the first that has prompts: its models are asked.
    let models = match stage {
        Some(stage) if wanted.models.is_empty() => plan.spec.stages[stage].models.clone(),
        _ => models,
    };
    let (levels, capped) = match wanted.models.is_empty() {
        true => self::levels(&plan.spec, &models, &wanted)?,
        false => (levels, capped),
    };
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

/// Measures one model after the other. What has been measured is there also after a stop.
pub async fn measure(ready: &Ready, models: Models, stop: &Stop, mut tell: impl FnMut(Event<'_>)) -> Vec<ModelBench> {
    let models = Arc::new(models);
    let purse = Arc::new(Purse::new(ready.plan.spec.budget));
    let mut measured = Vec::new();
    for (index, levels) in &ready.models {
        if stop.is_draining() {
            break;
        }
        let lane = Lane {
            models: models.clone(),
            index: *index,
            prompts: ready.prompts.clone(),
            judged: ready.stage.map(|stage| ready.plan.spec.stages[stage].repair),
            purse: purse.clone(),
            stop: stop.clone(),
            steps: 0,
        };
        measured.push(model(lane, levels, &ready.wanted, &mut tell).await);
    }
    measured
}

async fn model(mut lane: Lane, levels: &[u32], wanted: &Wanted, tell: &mut impl FnMut(Event<'_>)) -> ModelBench {
    let name = lane.target().name.clone();
    tell(Event::Model(&name, wanted.calls(levels)));
    let mut bench = ModelBench { name, warmup: Vec::new(), form: None, levels: Vec::new(), left_out: Vec::new() };
    let mut asked = 0;
    if wanted.warmup > 0 {
        bench.form = lane.find_form().await;
        let warmup = level(&lane, 1, wanted.warmup, 0, &mut |ended| tell(Event::Calls(ended))).await;
        asked += warmup.samples.len();
        bench.warmup = warmup.samples;
    }
    let fails =
        |samples: &[Sample]| samples.iter().filter(|sample| sample.outcome.is_err()).count() * 2 > samples.len();
    let mut broken = fails(&bench.warmup);
    for in_flight in levels {
        if broken || lane.stop.is_draining() {
            bench.left_out.push(*in_flight);
            continue;
        }
        let done = asked as u64;
        let calls = in_flight * wanted.runs;
        let measured = level(&lane, *in_flight, calls, asked, &mut |ended| tell(Event::Calls(done + ended))).await;
        tell(Event::Level(&bench.name, &measured));
        asked += calls as usize;
        broken = fails(&measured.samples);
        if !measured.samples.is_empty() {
            bench.levels.push(measured);
        }
    }
    bench
}

/// So many calls with so many in flight, from prompt `first` on.
async fn level(lane: &Lane, in_flight: u32, calls: u32, first: usize, tell: &mut impl FnMut(u64)) -> Level {
    let shared = Arc::new(Shared {
        next: AtomicUsize::new(0),
        calls: calls as usize,
        first,
        held: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        started: Instant::now(),
    });
    let (told, mut samples_of) = tokio::sync::mpsc::unbounded_channel();
    let mut lanes = JoinSet::new();
    for _ in 0..in_flight {
        let (lane, shared, told) = (lane.clone(), shared.clone(), told.clone());
        lanes.spawn(async move {
            while let Some(sample) = lane.next(&shared).await {
                // The other end is there until all lanes have ended.
                let _ = told.send(sample);
            }
        });
    }
    drop(told);
    let mut samples = Vec::new();
    while let Some(sample) = samples_of.recv().await {
        samples.push(sample);
        tell(samples.len() as u64);
    }
    let took = samples.iter().map(|sample: &Sample| sample.ended).max().unwrap_or_default();
    samples.sort_by_key(|sample| sample.ended);
    let whole = samples.len() == calls as usize;
    Level { in_flight, samples, took, held: Duration::from_nanos(shared.held.load(Relaxed)), whole }
}

/// What the lanes of a level share.
struct Shared {
    next: AtomicUsize,
    calls: usize,
    first: usize,
    /// Waited for turns, in nanoseconds.
    held: AtomicU64,
    /// Failures since the last reply.
    failed: AtomicU64,
    started: Instant,
}

/// Who asks.
#[derive(Clone)]
struct Lane {
    models: Arc<Models>,
    index: usize,
    prompts: Arc<Vec<Prompt>>,
    /// How replies are judged; none where there is nothing that they should be.
    judged: Option<Repair>,
    purse: Arc<Purse>,
    stop: Stop,
    /// How much more loosely than the spec says the form of the answers is asked for.
    steps: usize,
}

impl Lane {
    fn target(&self) -> &Target {
        self.models.target(self.index)
    }

    /// Finds out in which looser form the server takes schemas, as a run does, where it refuses the one that the spec says;
    /// gives its name. None if there is no such form.
    async fn find_form(&mut self) -> Option<&'static str> {
        let prompt = &self.prompts[0];
        let target = self.models.target(self.index);
        prompt.schema.as_ref()?;
        for steps in 1.. {
            let model = target.model_for(prompt, 0);
            let call = Call { model: &model, messages: &prompt.messages, schema: prompt.schema.as_deref() };
            let (encoded, form) = target.provider.looser(&call, steps)?;
            if self.send(&call, encoded, None).await?.1.is_ok() {
                self.steps = steps;
                return Some(form);
            }
        }
        None
    }

    /// The next call of a level; none when there is none left, or the bench stops.
    async fn next(&self, shared: &Shared) -> Option<Sample> {
        if shared.failed.load(Relaxed) >= BROKEN {
            return None;
        }
        let number = shared.next.fetch_add(1, Relaxed);
        if number >= shared.calls {
            return None;
        }
        let prompt = &self.prompts[(shared.first + number) % self.prompts.len()];
        let target = self.target();
        let model = target.model_for(prompt, 0);
        let call = Call { model: &model, messages: &prompt.messages, schema: prompt.schema.as_deref() };
        let looser = if self.steps == 0 { None } else { target.provider.looser(&call, self.steps) };
        let encoded = looser.map_or_else(|| target.provider.encode(&call), |(encoded, _)| encoded);
        let (took, result) = self.send(&call, encoded, Some(shared)).await?;
        let outcome = match result {
            Ok((reply, timings)) => {
                shared.failed.store(0, Relaxed);
                Ok(self.measured(&reply, timings, prompt))
            }
            Err(error) => {
                let last = [CallErrorKind::Unauthorized, CallErrorKind::UnknownModel, CallErrorKind::QuotaExhausted];
                shared.failed.fetch_add(if last.contains(&error.kind) { BROKEN } else { 1 }, Relaxed);
                Err(Missed { kind: error.kind.name(), message: error.message })
            }
        };
        Some(Sample { ended: shared.started.elapsed(), took, outcome })
    }

    fn measured(&self, reply: &Reply, timings: Timings, prompt: &Prompt) -> Measured {
        let unusable = self.judged.and_then(|repair| usable(reply, prompt, self.target().context(), repair).err());
        Measured {
            prompt_tokens: reply.prompt_tokens,
            completion_tokens: reply.completion_tokens,
            timings,
            unusable: unusable.map(|unusable| unusable.kind.name()),
        }
    }

    /// Sends a call when it is its turn; gives how long it took. None if the bench stops.
    async fn send(
        &self,
        call: &Call<'_>,
        encoded: Encoded,
        shared: Option<&Shared>,
    ) -> Option<(Duration, Result<(Reply, Timings), CallError>)> {
        let target = self.target();
        let (prompt, reply) = estimate(&encoded, call);
        let waited = Instant::now();
        let reserved = tokio::select! {
            biased;
            () = self.stop.draining() => return None,
            reserved = self.purse.reserve(Cost::of(prompt, reply, target.price)) => reserved,
        };
        let reserved = match reserved {
            Ok(reserved) => reserved,
            Err(what) => {
                self.stop.drain(StopReason::BudgetSpent { what });
                return None;
            }
        };
        let turn = tokio::select! {
            biased;
            () = self.stop.draining() => return None,
            turn = target.endpoint.limiter.turn(prompt + reply) => turn,
        };
        let began = Instant::now();
        if let Some(shared) = shared {
            shared.held.fetch_add(began.duration_since(waited).as_nanos() as u64, Relaxed);
        }
        let result = tokio::select! {
            result = target.provider.send_timed(encoded) => result,
            () = self.stop.aborted() => return None,
        };
        let took = began.elapsed();
        match &result {
            Ok((replied, _)) => {
                let (said, wrote) = (replied.prompt_tokens, replied.completion_tokens);
                reserved.settle(Cost::of(said.unwrap_or(prompt), wrote.unwrap_or(0), target.price));
                turn.answered(said.zip(wrote).map(|(prompt, reply)| prompt + reply));
            }
            Err(CallError { kind: CallErrorKind::RateLimited { retry_after }, .. }) => {
                target.endpoint.limiter.pause_for(retry_after.unwrap_or(PAUSE));
            }
            Err(_) => {}
        }
        Some((took, result))
    }
}
