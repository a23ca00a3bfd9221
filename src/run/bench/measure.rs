//! The measurement: lanes that ask, and what became of their calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::{Ready, Wanted};
use crate::ask::usable;
use crate::prompt::Prompt;
use crate::provider::{Call, CallError, CallErrorKind, Encoded, Measured, Missed, Reply, Sample, Timings};
use crate::run::admission::admit;
use crate::run::budget::Purse;
use crate::run::connect::{Models, Target};
use crate::run::stop::Stop;
use crate::spec::Repair;

/// Failures in a row after which a level ends early.
const BROKEN: u64 = 10;
/// The wait after a server has said that it has too much, where it doesn't say for how long.
const PAUSE: Duration = Duration::from_secs(1);

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
        let waited = Instant::now();
        let admitted = admit(&self.purse, &self.stop, target, call, &encoded).await?;
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
            Ok((reply, _)) => {
                admitted.answered(reply);
            }
            Err(CallError { kind: CallErrorKind::RateLimited { retry_after }, .. }) => {
                target.endpoint.limiter.pause_for(retry_after.unwrap_or(PAUSE));
            }
            Err(_) => {}
        }
        Some((took, result))
    }
}
