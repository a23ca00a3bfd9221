//! The measurement: makes calls in lanes and collects their samples.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::request::{BenchRequest, Ready};
use crate::ask::{Replicate, usable};
use crate::models::{Models, Target};
use crate::prompt::Prompt;
use crate::provider::{Call, CallError, CallErrorKind, Encoded, Level, Measured, Missed, Reply, Sample, Timings};
use crate::run::Stop;
use crate::run::call::{Admission, BudgetMeter, Cost, Endpoints};
use crate::spec::{Budget, Repair};

/// The number of consecutive failures after which a level ends early.
const BROKEN: u32 = 10;
/// Errors after which a level ends at once.
const FINAL: [CallErrorKind; 4] =
    [CallErrorKind::Unauthorized, CallErrorKind::UnknownModel, CallErrorKind::QuotaExhausted, CallErrorKind::Tls];

#[derive(Debug)]
pub(crate) struct ModelBench {
    pub(crate) name: String,
    pub(crate) warmup: Vec<Sample>,
    /// The form of structured output that the server accepts, if it is not the one in the spec.
    pub(crate) form: Option<&'static str>,
    pub(crate) levels: Vec<Level>,
    /// Levels that were not measured, because the calls of the previous level failed.
    pub(crate) left_out: Vec<u32>,
}

pub(crate) enum Event<'a> {
    Model(&'a str, u64),
    Calls(u64),
    Level(&'a str, &'a Level),
}

/// Measures one model after another. After a stop, the result contains the calls made so far.
pub(crate) async fn measure(
    ready: &Ready,
    models: Models,
    stop: &Stop,
    mut report: impl FnMut(Event<'_>),
) -> Vec<ModelBench> {
    let spec = &ready.plan.spec;
    // The ledger does not record these calls, so a total over all runs can't count them.
    let budget = Budget { total: None, ..spec.budget };
    let (budget, endpoints) = (BudgetMeter::new(budget, Cost::default()), Endpoints::new(spec, &models, |_| false));
    let admission = Arc::new(Admission::new(&models, budget, endpoints, stop.clone()));
    let models = Arc::new(models);
    let mut measured = Vec::new();
    for (index, levels) in &ready.models {
        if stop.is_draining() {
            break;
        }
        let lane = Lane {
            models: models.clone(),
            index: *index,
            prompts: ready.prompts.clone(),
            repair: ready.stage.map(|stage| ready.plan.spec.stage(stage).repair),
            admission: admission.clone(),
            relaxed: 0,
        };
        measured.push(measure_model(lane, levels, &ready.request, &mut report).await);
    }
    measured
}

async fn measure_model(
    mut lane: Lane,
    levels: &[u32],
    request: &BenchRequest,
    report: &mut impl FnMut(Event<'_>),
) -> ModelBench {
    let name = lane.target().name.clone();
    report(Event::Model(&name, request.calls(levels)));
    let mut bench = ModelBench { name, warmup: Vec::new(), form: None, levels: Vec::new(), left_out: Vec::new() };
    let mut asked = 0;
    if request.warmup > 0 {
        bench.form = lane.find_form().await;
        bench.warmup =
            measure_level(&lane, 1, request.warmup, 0, &mut |ended| report(Event::Calls(ended))).await.samples;
        asked += bench.warmup.len();
    }
    let fails =
        |samples: &[Sample]| samples.iter().filter(|sample| sample.outcome.is_err()).count() * 2 > samples.len();
    let mut broken = fails(&bench.warmup);
    for in_flight in levels {
        if broken || lane.admission.stop.is_draining() {
            bench.left_out.push(*in_flight);
            continue;
        }
        let done = asked as u64;
        let calls = in_flight * request.runs;
        let level =
            measure_level(&lane, *in_flight, calls, asked, &mut |ended| report(Event::Calls(done + ended))).await;
        report(Event::Level(&bench.name, &level));
        asked += calls as usize;
        broken = fails(&level.samples);
        if !level.samples.is_empty() {
            bench.levels.push(level);
        }
    }
    bench
}

async fn measure_level(lane: &Lane, in_flight: u32, calls: u32, first: usize, report: &mut impl FnMut(u64)) -> Level {
    let started = Instant::now();
    let mut level = Level { in_flight, ..Level::default() };
    let mut running = JoinSet::new();
    let (mut next, mut failed) = (0, 0);
    loop {
        while running.len() < in_flight as usize && next < calls && failed < BROKEN {
            let (lane, number) = (lane.clone(), first + next as usize);
            running.spawn(async move { lane.call(number, started).await });
            next += 1;
        }
        match running.join_next().await {
            Some(Ok(Some((sample, held)))) => {
                failed = match &sample.outcome {
                    Ok(_) => 0,
                    Err(missed) if FINAL.iter().any(|kind| kind.name() == missed.kind) => BROKEN,
                    Err(_) => failed + 1,
                };
                level.held += held;
                level.samples.push(sample);
                report(level.samples.len() as u64);
            }
            // The bench stops.
            Some(_) => next = calls,
            None => break,
        }
    }
    level.samples.sort_by_key(|sample| sample.ended);
    level.took = level.samples.last().map(|sample| sample.ended).unwrap_or_default();
    level.whole = level.samples.len() == calls as usize;
    level
}

#[derive(Clone)]
struct Lane {
    models: Arc<Models>,
    index: usize,
    prompts: Arc<Vec<Prompt>>,
    repair: Option<Repair>,
    admission: Arc<Admission>,
    /// The level of structured output; higher levels are more relaxed.
    relaxed: usize,
}

struct Sent {
    result: Result<(Reply, Timings), CallError>,
    took: Duration,
    held: Duration,
}

impl Lane {
    fn target(&self) -> &Target {
        self.models.target(self.index)
    }

    /// Tries more relaxed forms as a run does. Returns the name of the first one that the server accepts.
    async fn find_form(&mut self) -> Option<&'static str> {
        let prompt = &self.prompts[0];
        let target = self.models.target(self.index);
        prompt.schema.as_ref().filter(|_| !target.provider.takes_schemas())?;
        let model = target.model_for(prompt, Replicate::default(), 0);
        let call = Call { model: &model, messages: &prompt.messages, schema: prompt.schema.as_deref() };
        target.provider.encode_relaxed(&call, 1)?;
        let (mut encoded, mut form) = (target.provider.encode(&call), None);
        let mut level = 0;
        while self.send(&call, encoded).await?.result.is_err() {
            level += 1;
            let relaxed = target.provider.encode_relaxed(&call, level)?;
            (encoded, form) = (relaxed.0, Some(relaxed.1));
        }
        self.relaxed = level;
        form
    }

    /// Makes call `number`. Also returns how long the call waited for its turn, or `None` if the bench stops.
    async fn call(&self, number: usize, started: Instant) -> Option<(Sample, Duration)> {
        let prompt = &self.prompts[number % self.prompts.len()];
        let target = self.target();
        let model = target.model_for(prompt, Replicate::default(), 0);
        let call = Call { model: &model, messages: &prompt.messages, schema: prompt.schema.as_deref() };
        let relaxed = (self.relaxed > 0).then(|| target.provider.encode_relaxed(&call, self.relaxed)).flatten();
        let encoded = relaxed.map_or_else(|| target.provider.encode(&call), |(encoded, _)| encoded);
        let Sent { result, took, held } = self.send(&call, encoded).await?;
        let ended = started.elapsed();
        let outcome = match result {
            Ok((reply, timings)) => {
                let check = |repair| usable(&reply, prompt, &prompt.messages, target.context_size(), repair).err();
                Ok(Measured {
                    prompt_tokens: reply.prompt_tokens,
                    completion_tokens: reply.completion_tokens,
                    timings,
                    unusable: self.repair.and_then(check).map(|unusable| unusable.kind.name()),
                })
            }
            Err(error) => Err(Missed { kind: error.kind.name(), message: error.message }),
        };
        Some((Sample { ended, took, outcome }, held))
    }

    async fn send(&self, call: &Call<'_>, encoded: Encoded) -> Option<Sent> {
        let target = self.target();
        let waited = Instant::now();
        let admitted = match self.admission.admit(target, call, &encoded, (self.admission.age(), None)).await? {
            Ok(admitted) => admitted,
            Err(error) => return Some(Sent { result: Err(error), took: Duration::ZERO, held: waited.elapsed() }),
        };
        let began = Instant::now();
        let result = tokio::select! {
            result = target.provider.send_timed(encoded) => result,
            () = self.admission.stop.aborted() => return None,
        };
        let took = began.elapsed();
        match &result {
            Ok((reply, _)) => {
                admitted.answered(reply);
            }
            // Other failures hold no call back: they are measured too.
            Err(error) if matches!(error.kind, CallErrorKind::RateLimited { .. }) => {
                admitted.failed(error);
            }
            Err(_) => {}
        }
        Some(Sent { result, took, held: began.duration_since(waited) })
    }
}
