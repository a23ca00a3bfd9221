//! The report of `fanfold bench`: the models, their levels, and the recommended number of calls in flight.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::advice::{Advice, advice};
use super::{LevelReport, first_token, text};
use crate::bench::{ModelBench, Ready};
use crate::provider::Sample;
use crate::report::numbers::count;
use crate::run::StopReason;

pub(crate) struct BenchReport<'a> {
    pub(crate) ready: &'a Ready,
    pub(crate) models: Vec<ModelReport>,
    pub(crate) stopped: Option<StopReason>,
    /// The width of the terminal in columns.
    pub(crate) width: usize,
}

pub(crate) struct ModelReport {
    id: String,
    endpoint: String,
    kind: &'static str,
    measured: ModelBench,
    levels: Vec<LevelReport>,
    advice: Option<Advice>,
}

impl ModelReport {
    /// `about` is the id, the address and the provider kind of the model.
    pub(crate) fn new(measured: ModelBench, about: (String, String, &'static str)) -> Self {
        let levels: Vec<LevelReport> = measured.levels.iter().map(LevelReport::of).collect();
        let advice = advice(&levels);
        let (id, endpoint, kind) = about;
        ModelReport { id, endpoint, kind, measured, levels, advice }
    }
}

impl BenchReport<'_> {
    pub(crate) fn is_complete(&self) -> bool {
        self.models.iter().all(|model| model.advice.is_some())
    }

    fn model_lines(&self, model: &ModelReport) -> Vec<String> {
        let ModelReport { measured, levels, advice, .. } = model;
        let mut lines = Vec::from_iter(measured.warmup.first().map(warmup));
        lines.extend(measured.form.map(|form| {
            format!("the model does not accept the schema as the spec sends it; calls used `{form}` instead")
        }));
        if !levels.is_empty() {
            lines.push(text::table(levels));
            lines.push(text::plot(levels, self.width));
        }
        lines.extend(text::remarks(levels));
        if !measured.left_out.is_empty() {
            let left_out: Vec<String> = measured.left_out.iter().map(u32::to_string).collect();
            lines.push(format!("not measured: {} in flight", left_out.join(", ")));
        }
        if let Some((_, most)) = self.ready.capped.iter().find(|(name, _)| *name == measured.name) {
            lines.push(format!("more than {most} in flight: not allowed by `max_concurrent_calls` of the provider"));
        }
        lines.extend(text::recommendation(advice.as_ref(), levels));
        lines.extend(self.setting(model));
        if levels.iter().all(|level| level.first_token.is_none()) && !levels.is_empty() {
            lines.push(
                "the time to the first token is unknown: replies are not streamed and carry no timings".to_owned(),
            );
        }
        lines.extend(cached(levels));
        lines
    }

    fn setting(&self, model: &ModelReport) -> Option<String> {
        let (advice, stage) = (model.advice.as_ref()?, self.ready.stage?);
        let stage = self.ready.plan.spec.stage(stage);
        let (now, best) = (stage.workers * stage.batch_size, advice.in_flight as usize);
        if model.levels.len() < 2 || now == best || advice.rises {
            return None;
        }
        let keeps = format!("stage {} keeps {now} in flight (`workers` x `batch_size`)", stage.name);
        Some(match now > best {
            true => format!("{keeps}; set `max_concurrent_calls = {best}` on the provider to limit it"),
            false => format!("{keeps}; set `batch_size = {}` to reach it", best.div_ceil(stage.workers)),
        })
    }
}

impl Display for BenchReport<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ready = self.ready;
        let prompts = match ready.stage {
            None => "one prompt".to_owned(),
            Some(stage) => {
                let prompts = count(ready.prompts.len() as u64, "prompt");
                format!("{prompts} of stage {}", ready.plan.spec.stage(stage).name)
            }
        };
        let runs = count(u64::from(ready.runs()), "run");
        writeln!(f, "pipeline {}: {prompts}, {runs} per call in flight", ready.plan.spec.name)?;
        for model in &self.models {
            let ModelReport { id, endpoint, kind, measured, .. } = model;
            writeln!(f, "\n{}: {id} of {kind} at {endpoint}", measured.name)?;
            for line in self.model_lines(model) {
                match line.ends_with('\n') {
                    true => writeln!(f, "{line}")?,
                    false if line.is_empty() => {}
                    false => writeln!(f, "  {line}")?,
                }
            }
        }
        let cache = match ready.repeats() {
            0 => "no prompt was sent twice; a server may still have cached their common beginning, as in a run",
            _ => "prompts were sent more than once; a server that caches prompts answers faster here than in a run",
        };
        writeln!(f, "\n{cache}")
    }
}

fn warmup(first: &Sample) -> String {
    let took = text::duration(first.took.as_secs_f64());
    match &first.outcome {
        Err(missed) => format!("the first call failed ({}): {}", missed.kind, missed.message),
        Ok(measured) => {
            let load = measured.timings.load.map(|load| text::duration(load.as_secs_f64()));
            let first = first_token(first.took, &measured.timings).map(text::duration);
            let load = load.map(|load| format!("{load} of it loading the model"));
            let parts: Vec<String> =
                load.into_iter().chain(first.map(|first| format!("{first} to its first token"))).collect();
            let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
            format!("the first call took {took}{parts} and is not counted")
        }
    }
}

fn cached(levels: &[LevelReport]) -> Option<String> {
    let cached: u64 = levels.iter().map(|level| level.cached_tokens).sum::<Option<u64>>()?;
    let prompts: u64 = levels.iter().map(|level| level.prompt_tokens).sum::<Option<u64>>()?;
    let share = 100.0 * cached as f64 / prompts.max(1) as f64;
    (prompts > 0).then(|| format!("the server reports that {share:.0} % of the prompt tokens came from its cache"))
}

impl Serialize for BenchReport<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (ready, spec) = (self.ready, &self.ready.plan.spec);
        let stopped = self.stopped.as_ref().map(|reason| match reason {
            StopReason::BudgetSpent { .. } => "budget",
            _ => "signal",
        });
        let value = json!({
            "schema_version": 1, "pipeline": spec.name,
            "stage": ready.stage.map(|stage| spec.stage(stage).name.to_string()),
            "prompts": ready.prompts.len(), "repeated_prompts": ready.repeats(), "runs": ready.runs(),
            "percentiles": "nearest rank", "interval": "95 %, block bootstrap", "stopped": stopped,
            "models": self.models,
        });
        value.serialize(serializer)
    }
}

impl Serialize for ModelReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let measured = &self.measured;
        let warmup: Vec<Value> = measured.warmup.iter().map(warmup_json).collect();
        let value = json!({
            "name": measured.name, "model": self.id, "provider": self.kind, "endpoint": self.endpoint,
            "structured_output": measured.form, "warmup": warmup, "levels": self.levels,
            "not_measured": measured.left_out, "recommendation": self.advice,
        });
        value.serialize(serializer)
    }
}

fn warmup_json(sample: &Sample) -> Value {
    let seconds = sample.took.as_secs_f64();
    match &sample.outcome {
        Ok(measured) => json!({
            "seconds": seconds, "load_seconds": measured.timings.load.map(|load| load.as_secs_f64()),
            "first_token_seconds": first_token(sample.took, &measured.timings), "error": null,
        }),
        Err(missed) => json!({ "seconds": seconds, "error": format!("{}: {}", missed.kind, missed.message) }),
    }
}
