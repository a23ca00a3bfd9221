//! `fanfold bench`

use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::exit::Exit;
use super::load::load_or_show;
use super::run::{failed, no_models};
use super::signals;
use super::status::Format;
use super::terminal::Terminal;
use crate::bench::{BenchError, BenchRequest, Event, ModelBench, Ready, connect, measure, prepare};
use crate::models::Models;
use crate::provider::Sample;
use crate::report::bench::advice::{Advice, advice};
use crate::report::bench::{LevelReport, first_token, text};
use crate::report::printable::printable;
use crate::report::summary::count;
use crate::run::{Stop, StopReason};

/// Measures how fast the models of a spec answer, with more and more calls in flight, and says how many to use.
///
/// Asks the prompts of the first rows of a stage, or one of your own. All calls are real: the ledger is neither read nor
/// written. Limits and budget of the spec hold.
#[derive(Debug, clap::Args)]
pub struct Bench {
    /// The spec.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// The stage whose prompts are asked; left out: the first that asks about the rows of a source.
    #[arg(long, value_name = "STAGE", conflicts_with = "prompt")]
    stage: Option<String>,
    /// Ask this, again and again, instead of a stage's prompts.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    prompt: Option<String>,
    /// Only this model; can be given several times. Left out: those of the stage.
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// How many calls are in flight, one level after the other [default: 1,2,4,8, as far as the provider allows].
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: Vec<u32>,
    /// Measured calls of each lane: a level of 4 in flight makes 4 times as many.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Calls to each model before the measurement, so that it is loaded; they are shown apart.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    warmup: u32,
    /// The most tokens of a reply, instead of what the spec says.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

/// What was measured of a model, and what it says.
struct Found {
    name: String,
    id: String,
    endpoint: String,
    kind: &'static str,
    measured: ModelBench,
    levels: Vec<LevelReport>,
    advice: Option<Advice>,
}

impl Bench {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some(spec) = load_or_show(&self.spec, terminal) else { return Exit::Spec };
        let mut levels = self.concurrency.clone();
        levels.sort_unstable();
        levels.dedup();
        let Bench { stage, prompt, model: models, runs, warmup, max_tokens, .. } = self;
        let ready = match prepare(spec, BenchRequest { stage, prompt, models, levels, runs, warmup, max_tokens }) {
            Ok(ready) => ready,
            Err(error) => return refused(&error, terminal),
        };
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                terminal.error(&format!("threads can't be started: {error}"), None);
                return Exit::Environment;
            }
        };
        let exit = runtime.block_on(carry_out(&ready, self.format, terminal));
        // Calls that were dropped may still wait for their sockets; nobody needs to wait for them.
        runtime.shutdown_background();
        exit
    }
}

fn refused(error: &BenchError, terminal: &Terminal) -> Exit {
    match error {
        BenchError::Request { message, help } => {
            terminal.error(message, help.as_deref());
            Exit::Spec
        }
        BenchError::Run(error) => failed(error, terminal),
        BenchError::Connect(error) => no_models(error, terminal),
    }
}

async fn carry_out(ready: &Ready, format: Format, terminal: &Terminal) -> Exit {
    let env = |name: &str| std::env::var(name).ok();
    let stop = Stop::default();
    let signals = tokio::spawn(signals::listen(stop.clone(), *terminal));
    let models = tokio::select! {
        models = connect(ready, &env) => models,
        () = stop.draining() => {
            terminal.note("stopped before the first call");
            return ended(&stop, &[]);
        }
    };
    let models = match models {
        Ok(models) => models,
        Err(error) => return no_models(&error, terminal),
    };
    terminal.note(&format!("{}; the ledger is left alone", count(ready.calls(), "call")));
    let about = about(ready, &models);
    let measured = watched(ready, models, &stop, terminal).await;
    signals.abort();
    let found: Vec<Found> = measured.into_iter().zip(about).map(|(measured, about)| report(measured, about)).collect();
    match format {
        Format::Human => terminal.text(&human(ready, &found, terminal.width())),
        Format::Json => terminal.json(&as_json(ready, &found, &stop)),
    }
    if let Some(reason) = stop.reason() {
        terminal.note(&match reason {
            StopReason::BudgetSpent { what } => {
                format!("stopped: the next call might take more `{what}` than the budget has left")
            }
            _ => "stopped; this is what was measured until then".to_owned(),
        });
    }
    ended(&stop, &found)
}

/// Id, address and kind of each model.
fn about(ready: &Ready, models: &Models) -> Vec<(String, String, &'static str)> {
    let about = |(index, _): &(usize, Vec<u32>)| {
        let target = models.target(*index);
        (target.model.id.clone(), target.provider.endpoint(), target.provider.kind())
    };
    ready.models.iter().map(about).collect()
}

fn report(measured: ModelBench, (id, endpoint, kind): (String, String, &'static str)) -> Found {
    let levels: Vec<LevelReport> = measured.levels.iter().map(LevelReport::of).collect();
    let advice = advice(&levels);
    Found { name: measured.name.clone(), id, endpoint, kind, measured, levels, advice }
}

/// Measures, and shows how far it is: a bar on a terminal, a line for each level elsewhere.
async fn watched(ready: &Ready, models: Models, stop: &Stop, terminal: &Terminal) -> Vec<ModelBench> {
    let style = ProgressStyle::with_template("{prefix:>12} {bar:20} {pos}/{len} calls, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = if terminal.live { ProgressBar::new(0).with_style(style) } else { ProgressBar::hidden() };
    let measured = measure(ready, models, stop, |event| match event {
        Event::Model(name, calls) => {
            bar.reset();
            bar.set_length(calls);
            bar.set_prefix(printable(name).into_owned());
        }
        Event::Calls(ended) => bar.set_position(ended),
        Event::Level(name, level) if !terminal.live => {
            let calls = count(level.samples.len() as u64, "call");
            let took = text::duration(level.took.as_secs_f64());
            terminal.note(&format!("{name}: {calls} with {} in flight in {took}", level.in_flight));
        }
        Event::Level(..) => {}
    });
    let measured = measured.await;
    bar.finish_and_clear();
    measured
}

/// The exit code: what stopped it, else whether every model could be measured.
fn ended(stop: &Stop, found: &[Found]) -> Exit {
    match stop.reason() {
        Some(StopReason::Terminated) => Exit::Terminated,
        Some(StopReason::BudgetSpent { .. }) => Exit::Budget,
        Some(StopReason::Interrupted) => Exit::Interrupted,
        Some(_) => Exit::Environment,
        None if found.iter().all(|found| found.advice.is_some()) => Exit::Ok,
        None => Exit::Environment,
    }
}

/// What is asked, in words.
fn asked(ready: &Ready) -> String {
    let prompts = count(ready.prompts.len() as u64, "prompt");
    match ready.stage {
        None => "one prompt".to_owned(),
        Some(stage) => format!("{prompts} of stage {}", ready.plan.spec.stage(stage).name),
    }
}

/// What a server's cache of prompts may have done to the measurement.
fn about_cache(ready: &Ready) -> &'static str {
    match ready.repeats() {
        0 => "no prompt was asked twice; what all of them begin with may come from a server's cache, as in a run",
        _ => "prompts were asked more than once: a server that caches them answers faster than it would in a run",
    }
}

fn human(ready: &Ready, found: &[Found], room: usize) -> String {
    let mut out = format!(
        "pipeline {}: {}, {} of each lane\n",
        ready.plan.spec.name,
        asked(ready),
        count(u64::from(ready.runs()), "run")
    );
    for found in found {
        out += &format!("\n{}: {} of {} at {}\n", found.name, found.id, found.kind, found.endpoint);
        let lines = |out: &mut String, lines: Vec<String>| {
            for line in lines {
                *out += &format!("  {line}\n");
            }
        };
        lines(&mut out, warmup(&found.measured.warmup));
        if let Some(form) = found.measured.form {
            lines(&mut out, vec![format!("it does not take the schema as the spec sends it; asked with `{form}`")]);
        }
        if !found.levels.is_empty() {
            out += &text::table(&found.levels);
            let plot = text::plot(&found.levels, room);
            out += &if plot.is_empty() { plot } else { format!("\n{plot}") };
            out.push('\n');
        }
        lines(&mut out, text::remarks(&found.levels));
        let left_out: Vec<String> = found.measured.left_out.iter().map(u32::to_string).collect();
        if !left_out.is_empty() {
            lines(&mut out, vec![format!("not measured: {} in flight", left_out.join(", "))]);
        }
        if let Some((_, most)) = ready.capped.iter().find(|(name, _)| *name == found.name) {
            lines(
                &mut out,
                vec![format!("more than {most} in flight: not allowed by `max_concurrent_calls` of its provider")],
            );
        }
        lines(&mut out, text::recommendation(found.advice.as_ref(), &found.levels));
        lines(&mut out, in_the_spec(ready, found));
        if found.levels.iter().all(|level| level.first_token.is_none()) && !found.levels.is_empty() {
            let unseen = "the first token can't be seen: replies come whole, and the server tells no times".to_owned();
            lines(&mut out, vec![unseen]);
        }
        if let Some(cached) = cached(&found.levels) {
            lines(&mut out, vec![cached]);
        }
    }
    out += &format!("\n{}\n", about_cache(ready));
    out
}

/// What the calls before the measurement took.
fn warmup(samples: &[Sample]) -> Vec<String> {
    let Some(first) = samples.first() else { return Vec::new() };
    let took = text::duration(first.took.as_secs_f64());
    vec![match &first.outcome {
        Err(missed) => format!("the first call failed ({}): {}", missed.kind, missed.message),
        Ok(measured) => {
            let parts = [
                measured
                    .timings
                    .load
                    .map(|load| format!("{} of it loading the model", text::duration(load.as_secs_f64()))),
                first_token(first.took, &measured.timings)
                    .map(|first| format!("{} to its first token", text::duration(first))),
            ];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
            format!("the first call took {took}{parts} and is not counted")
        }
    }]
}

/// Where the recommended number goes, and what the stage does now.
fn in_the_spec(ready: &Ready, found: &Found) -> Vec<String> {
    let (Some(advice), Some(stage)) = (&found.advice, ready.stage) else { return Vec::new() };
    let stage = ready.plan.spec.stage(stage);
    let now = stage.workers * stage.batch_size;
    if found.levels.len() < 2 || now == advice.in_flight as usize || advice.rises {
        return Vec::new();
    }
    let keeps = format!("stage {} keeps {now} in flight (`workers` x `batch_size`)", stage.name);
    vec![match now > advice.in_flight as usize {
        true => format!("{keeps}; `max_concurrent_calls = {}` of the provider would hold it to that", advice.in_flight),
        false => format!(
            "{keeps}; with `batch_size = {}` it keeps enough",
            (advice.in_flight as usize).div_ceil(stage.workers)
        ),
    }]
}

/// How much of the prompts the server says it knew.
fn cached(levels: &[LevelReport]) -> Option<String> {
    let cached: u64 = levels.iter().map(|level| level.cached_tokens).sum::<Option<u64>>()?;
    let prompts: u64 = levels.iter().map(|level| level.prompt_tokens).sum::<Option<u64>>()?;
    let share = 100.0 * cached as f64 / prompts.max(1) as f64;
    (prompts > 0)
        .then(|| format!("the server took {share:.0} % of the prompts' tokens from its cache, as it says itself"))
}

fn as_json(ready: &Ready, found: &[Found], stop: &Stop) -> String {
    let models = found.iter().map(|found| {
        let warmup: Vec<Value> = found.measured.warmup.iter().map(warmed).collect();
        json!({
            "name": found.name, "model": found.id, "provider": found.kind, "endpoint": found.endpoint,
            "structured_output": found.measured.form, "warmup": warmup, "levels": found.levels,
            "not_measured": found.measured.left_out, "recommendation": found.advice,
        })
    });
    let stopped = stop.reason().map(|reason| match reason {
        StopReason::BudgetSpent { .. } => "budget",
        _ => "signal",
    });
    let spec = &ready.plan.spec;
    let value = json!({
        "schema_version": 1, "pipeline": spec.name,
        "stage": ready.stage.map(|stage| spec.stage(stage).name.to_string()),
        "prompts": ready.prompts.len(), "repeated_prompts": ready.repeats(), "runs": ready.runs(),
        "percentiles": "nearest rank", "interval": "95 %, block bootstrap", "stopped": stopped,
        "models": models.collect::<Vec<_>>(),
    });
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

fn warmed(sample: &Sample) -> Value {
    let seconds = sample.took.as_secs_f64();
    match &sample.outcome {
        Ok(measured) => json!({
            "seconds": seconds, "load_seconds": measured.timings.load.map(|load| load.as_secs_f64()),
            "first_token_seconds": first_token(sample.took, &measured.timings), "error": null,
        }),
        Err(missed) => json!({ "seconds": seconds, "error": format!("{}: {}", missed.kind, missed.message) }),
    }
}
