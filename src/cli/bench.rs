//! The command `fanfold bench`.

use std::path::PathBuf;

use indicatif::ProgressBar;

use super::runtime::{block_on, env};
use super::signals::{self, stopped};
use super::{Exit, Failure, OutputFormat, Terminal, load_spec, only_spec, progress};
use crate::bench::{BenchRequest, Event, ModelBench, Ready, connect, measure, prepare};
use crate::models::Models;
use crate::pipeline::PipelineError;
use crate::report::bench::report::{BenchReport, ModelReport, duration};
use crate::report::money::limit_reached;
use crate::report::text::{count, printable};
use crate::run::{Stop, StopReason};

/// Measures how fast the models of a spec answer with more and more calls in flight, and recommends a number.
///
/// Sends the prompts of the first rows of a stage, or a prompt of your choice. All calls are real: the ledger is
/// neither read nor written. The limits and the budget of a run apply, but not
/// `budget.total`: no later run counts these calls.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// The spec [default: the only spec of this folder].
    #[arg(default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    spec: PathBuf,
    /// The stage whose prompts are sent [default: the first stage that reads a source].
    #[arg(long, value_name = "STAGE", conflicts_with = "prompt")]
    stage: Option<String>,
    /// Send this prompt every time instead of the prompts of a stage.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    prompt: Option<String>,
    /// Only this model; may be repeated [default: the models of the stage].
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,
    /// Numbers of calls in flight to measure, one after the other [default: 1,2,4,8, up to the limit of the provider].
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    concurrency: Vec<u32>,
    /// Measured calls per call in flight: with 4 in flight, 4 times as many.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Calls to each model before the measurement, so that it is loaded; reported separately.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=100))]
    warmup: u32,
    /// Maximum tokens of a reply, instead of the value in the spec.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Bench {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = load_spec(&self.spec, terminal)?;
        let mut levels = self.concurrency;
        levels.sort_unstable();
        levels.dedup();
        let Bench { stage, prompt, model: models, runs, warmup, max_tokens, .. } = self;
        let ready = prepare(spec, BenchRequest { stage, prompt, models, levels, runs, warmup, max_tokens })?;
        block_on(bench(&ready, self.format, terminal))
    }
}

async fn bench(ready: &Ready, format: OutputFormat, terminal: &Terminal) -> Result<Exit, Failure> {
    let stop = Stop::default();
    let signals = tokio::spawn(signals::listen(stop.clone(), *terminal));
    let models = tokio::select! {
        models = connect(ready, &env) => models?,
        () = stop.draining() => {
            let reason = stop.reason().unwrap_or(StopReason::Interrupted);
            return Err(PipelineError::Stopped(reason).into());
        }
    };
    terminal.note(&format!("{}; the ledger is not used", count(ready.calls(), "call")));
    let about: Vec<_> = ready.models.iter().map(|(index, _)| about(&models, *index)).collect();
    let measured = watched(ready, models, &stop, terminal).await;
    signals.abort();
    let models = measured.into_iter().zip(about).map(|(measured, about)| ModelReport::new(measured, about)).collect();
    let report = BenchReport { ready, models, stopped: stop.reason(), width: terminal.width() };
    format.write(&report, terminal);
    let Some(reason) = stop.reason() else {
        return Ok(if report.is_complete() { Exit::Ok } else { Exit::Environment });
    };
    terminal.note(&match reason {
        StopReason::BudgetSpent { limit } => limit_reached(limit, &report.ready.plan.spec.budget),
        _ => "stopped; the report covers the calls made so far".to_owned(),
    });
    Ok(stopped(&reason))
}

fn about(models: &Models, model: usize) -> (String, String, &'static str) {
    let target = models.target(model);
    (target.model.id.clone(), target.provider.endpoint(), target.provider.kind())
}

/// Measures and shows the progress: a bar on a terminal, else one line per level.
async fn watched(ready: &Ready, models: Models, stop: &Stop, terminal: &Terminal) -> Vec<ModelBench> {
    let style = progress::style("{prefix:>12} {bar:20} {pos}/{len} calls, {eta} left");
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
            let took = duration(level.took.as_secs_f64());
            terminal.note(&format!("{name}: {calls} with {} in flight in {took}", level.in_flight));
        }
        Event::Level(..) => {}
    });
    let measured = measured.await;
    bar.finish_and_clear();
    measured
}
