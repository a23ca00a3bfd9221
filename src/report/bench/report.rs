//! The report of `fanfold bench`: the models, their levels, and the recommended number of calls in flight.

use std::fmt::{self, Display, Formatter, Write};

use indexmap::IndexMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::{Advice, Interval, LevelReport, Spread, advice, first_token};
use crate::bench::{ModelBench, Ready};
use crate::provider::Sample;
use crate::report::text::{count, grid, number, percent};
use crate::run::StopReason;

/// Blocks from one eighth to the full width.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
/// The width of the longest bar in columns.
const WIDEST: usize = 32;
const NARROWEST: usize = 6;

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
            lines.push(table(levels));
            lines.push(plot(levels, self.width));
        }
        lines.extend(remarks(levels));
        if !measured.left_out.is_empty() {
            let left_out: Vec<String> = measured.left_out.iter().map(u32::to_string).collect();
            lines.push(format!("not measured: {} in flight", left_out.join(", ")));
        }
        if let Some((_, most)) = self.ready.capped.iter().find(|(name, _)| *name == measured.name) {
            lines.push(format!("more than {most} in flight: not allowed by `max_concurrent_calls` of the provider"));
        }
        lines.extend(recommendation(advice.as_ref(), levels));
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
    let took = duration(first.took.as_secs_f64());
    match &first.outcome {
        Err(missed) => format!("the first call failed ({}): {}", missed.kind, missed.message),
        Ok(measured) => {
            let load = measured.timings.load.map(|load| duration(load.as_secs_f64()));
            let first = first_token(first.took, &measured.timings).map(duration);
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
    let share = percent(cached as f64 / prompts.max(1) as f64);
    (prompts > 0).then(|| format!("the server reports that {share} of the prompt tokens came from its cache"))
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

fn table(levels: &[LevelReport]) -> String {
    let sees_first = levels.iter().any(|level| level.first_token.is_some());
    let mut head = vec!["in flight", "calls", "failed", "calls/s", "95 % interval", "tokens/s", "p50", "p95"];
    if sees_first {
        head.push("first token p50");
    }
    let mut lines: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
    for level in levels {
        let of = |spread: &Option<Spread>, value: fn(&Spread) -> f64| {
            spread.as_ref().map_or("-".to_owned(), |spread| duration(value(spread)))
        };
        let mut cells = vec![
            number(u64::from(level.in_flight)),
            number(level.calls),
            number(level.failures()),
            figure(level.calls_per_sec.value),
            interval(&level.calls_per_sec),
            level.tokens_per_sec.map_or("-".to_owned(), figure),
            of(&level.latency, |spread| spread.p50),
            of(&level.latency, |spread| spread.p95),
        ];
        if sees_first {
            cells.push(of(&level.first_token, |spread| spread.p50));
        }
        lines.push(cells);
    }
    grid(&lines, "  ", |_| true)
}

/// Bars of the throughput and of the latency's 95th percentile, at most `room` columns wide. Empty for a single level.
fn plot(levels: &[LevelReport], room: usize) -> String {
    if levels.len() < 2 {
        return String::new();
    }
    let lanes: Vec<String> = levels.iter().map(|level| number(u64::from(level.in_flight))).collect();
    let rates: Vec<f64> = levels.iter().map(|level| level.calls_per_sec.value).collect();
    let tails: Vec<f64> = levels.iter().map(|level| level.latency.map_or(0.0, |latency| latency.p95)).collect();
    let tail = |level: &LevelReport| level.latency.map_or("-".to_owned(), |latency| duration(latency.p95));
    let shown = [rates.iter().map(|rate| figure(*rate)).collect(), levels.iter().map(tail).collect::<Vec<_>>()];
    let widest = |texts: &[String]| texts.iter().map(|text| text.width()).max().unwrap_or(0);
    let first = widest(&lanes).max("in flight".len());
    let numbers = [widest(&shown[0]), widest(&shown[1])];
    let taken = 2 + first + 2 + numbers[0] + 1 + 3 + numbers[1] + 1;
    let bar = (room.saturating_sub(taken) / 2).clamp(NARROWEST, WIDEST);
    let mut out = String::new();
    let column = bar + 1 + numbers[0];
    let _ = writeln!(out, "  {:>first$}  {:column$.column$}   p95 of the latency", "in flight", "calls per second");
    for at in 0..levels.len() {
        let [rate, tail] = [bars(&rates, at, bar), bars(&tails, at, bar)];
        let line = format!(
            "  {:>first$}  {rate:bar$} {:>width$}   {tail:bar$} {:>other$}",
            lanes[at],
            shown[0][at],
            shown[1][at],
            width = numbers[0],
            other = numbers[1],
        );
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn bars(values: &[f64], at: usize, width: usize) -> String {
    let most = values.iter().copied().fold(0.0, f64::max);
    let eighths = if most > 0.0 { (values[at] / most * (8 * width) as f64).round() as usize } else { 0 };
    let mut bar: String = std::iter::repeat_n(EIGHTHS[7], eighths / 8).collect();
    bar.extend((!eighths.is_multiple_of(8)).then(|| EIGHTHS[eighths % 8 - 1]));
    bar
}

fn remarks(levels: &[LevelReport]) -> Vec<String> {
    let mut out = Vec::new();
    for level in levels {
        let lanes = level.in_flight;
        if !level.failed.is_empty() {
            let example = level.example.as_deref().map(|message| format!(", e.g. {message}")).unwrap_or_default();
            out.push(format!(
                "{lanes} in flight: {} of {} failed ({}){example}",
                number(level.failures()),
                count(level.calls, "call"),
                kinds(&level.failed)
            ));
        }
        if level.held > 0.01 {
            let share = percent(level.held);
            out.push(format!("{lanes} in flight: {share} of the time was spent waiting for rate limits"));
        }
        if !level.whole {
            out.push(format!("{lanes} in flight: not measured to its end, after {}", count(level.calls, "call")));
        }
    }
    let mut unusable = IndexMap::new();
    for (kind, n) in levels.iter().flat_map(|level| &level.unusable) {
        *unusable.entry(*kind).or_insert(0) += n;
    }
    if !unusable.is_empty() {
        let replies = number(levels.iter().map(|level| level.answered).sum());
        let (count, kinds) = (number(unusable.values().sum()), kinds(&unusable));
        out.push(format!("a run would not accept {count} of {replies} replies as answers ({kinds}); they count here"));
    }
    out
}

fn kinds(kinds: &IndexMap<&'static str, u64>) -> String {
    kinds.iter().map(|(kind, n)| format!("{} {kind}", number(*n))).collect::<Vec<_>>().join(", ")
}

fn recommendation(advice: Option<&Advice>, levels: &[LevelReport]) -> Vec<String> {
    let Some(advice) = advice else {
        return vec!["no level was measured well enough to recommend one".to_owned()];
    };
    let rate = |lanes: u32| {
        let level = levels.iter().find(|level| level.in_flight == lanes);
        level.map_or_else(String::new, |level| figure(level.calls_per_sec.value))
    };
    let Advice { in_flight, best, share_of_best, .. } = advice;
    let mut out = vec![match in_flight == best {
        true if levels.len() == 1 => {
            format!("{in_flight} in flight: {} calls/s; name several levels to compare", rate(*best))
        }
        true => format!("use {in_flight} in flight: {} calls/s, the most that was measured", rate(*best)),
        false => format!(
            "use {in_flight} in flight: {} calls/s, {} of the most ({} at {best})",
            rate(*in_flight),
            percent(*share_of_best),
            rate(*best)
        ),
    }];
    if !advice.perhaps.is_empty() {
        let lanes: Vec<String> = advice.perhaps.iter().map(u32::to_string).collect();
        let message = "may be as good: their intervals reach it; more `--runs` would show";
        out.push(format!("{} {message}", lanes.join(", ")));
    }
    if levels.iter().any(|level| level.whole && level.calls_per_sec.low.is_none()) {
        out.push("two runs of each lane are too few for an interval; use more `--runs`".to_owned());
    }
    if advice.rises {
        let next = in_flight.saturating_mul(2);
        out.push(format!("it still rises there: try `--concurrency {in_flight},{next},{}`", next.saturating_mul(2)));
    }
    if advice.held {
        out.push("the rate limits of the spec or of the server decided this, not its speed".to_owned());
    }
    if !advice.left_out.is_empty() {
        let lanes: Vec<String> = advice.left_out.iter().map(u32::to_string).collect();
        out.push(format!("not considered: {}, where calls failed or were not all made", lanes.join(", ")));
    }
    out
}

fn interval(interval: &Interval) -> String {
    match (interval.low, interval.high) {
        (Some(low), Some(high)) => format!("{} to {}", figure(low), figure(high)),
        _ => "-".to_owned(),
    }
}

fn figure(value: f64) -> String {
    match value {
        v if v >= 999.5 => number(v.round() as u64),
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

/// Seconds with a unit: `8.1 ms`, `120 ms`, `1.35 s`, `75 s`.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.9995 => {
            let millis = s * 1000.0;
            if millis < 9.95 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
        }
        s if s < 9.995 => format!("{s:.2} s"),
        s if s < 99.95 => format!("{s:.1} s"),
        s => format!("{} s", number(s.round() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Level, Measured, Missed, Timings};
    use std::time::Duration;

    fn level(lanes: u32, calls: u64, each_ms: u64) -> LevelReport {
        let took = Duration::from_millis(each_ms);
        let timings = Timings { writing: Some(took / 4), ..Timings::default() };
        let measured = Measured { completion_tokens: Some(12), timings, ..Measured::default() };
        let ended = |i: u64| took * u32::try_from(i / u64::from(lanes) + 1).unwrap();
        let samples: Vec<Sample> =
            (0..calls).map(|i| Sample { ended: ended(i), took, outcome: Ok(measured.clone()) }).collect();
        let took = ended(calls - 1);
        LevelReport::of(&Level { in_flight: lanes, samples, took, whole: true, ..Level::default() })
    }

    #[test]
    fn the_table_and_the_bars() {
        let levels = [level(1, 5, 500), level(2, 10, 500), level(4, 20, 1000)];
        let expected = "
  in flight  calls  failed  calls/s  95 % interval  tokens/s     p50     p95  first token p50
          1      5       0     2.00   2.00 to 2.00      24.0  500 ms  500 ms           375 ms
          2     10       0     4.00   4.00 to 4.00      48.0  500 ms  500 ms           375 ms
          4     20       0     4.00   4.00 to 4.00      48.0  1.00 s  1.00 s           750 ms
";
        assert_eq!(table(&levels), expected[1..]);
        let expected = "
  in flight  calls per second    p95 of the latency
          1  ██████       2.00   ██████       500 ms
          2  ████████████ 4.00   ██████       500 ms
          4  ████████████ 4.00   ████████████ 1.00 s
";
        assert_eq!(plot(&levels, 53), expected[1..]);
        assert!(plot(&levels, 53).lines().all(|line| line.width() <= 53));
        assert_eq!(plot(&levels[..1], 80), "");
        let words = recommendation(advice(&levels).as_ref(), &levels);
        assert_eq!(words, ["use 2 in flight: 4.00 calls/s, the most that was measured"]);
    }

    #[test]
    fn problems_are_reported() {
        let mut level = level(2, 10, 100);
        level.failed.insert("timeout", 2);
        (level.answered, level.example, level.whole, level.held) = (8, Some("late".to_owned()), false, 0.5);
        level.unusable.insert("truncated", 3);
        let said = remarks(&[level]).join("\n");
        for part in [
            "2 of 10 calls failed (2 timeout), e.g. late",
            "would not accept 3 of 8 replies",
            "50 % of the time",
            "after 10 calls",
        ] {
            assert!(said.contains(part), "`{part}` is not in:\n{said}");
        }
        let outcome = Err(Missed { kind: "timeout", message: "late".to_owned() });
        let sample = Sample { ended: Duration::from_secs(1), took: Duration::from_secs(1), outcome };
        let nothing = LevelReport::of(&Level {
            in_flight: 1,
            samples: vec![sample],
            took: Duration::from_secs(1),
            whole: true,
            ..Level::default()
        });
        let shown = table(&[nothing]);
        let cells: Vec<&str> = shown.lines().nth(1).unwrap_or_default().split_whitespace().collect();
        assert_eq!(cells, ["1", "1", "1", "0.00", "-", "-", "-", "-"]);
        assert_eq!(recommendation(None, &[]), ["no level was measured well enough to recommend one"]);
    }

    #[test]
    fn numbers_have_three_significant_digits() {
        let shown: Vec<String> = [0.0, 1.234, 12.34, 123.4, 1234.0].map(figure).to_vec();
        assert_eq!(shown, ["0.00", "1.23", "12.3", "123", "1,234"]);
        let shown: Vec<String> = [0.0081, 0.12, 1.352, 12.34, 75.0, 123.4].map(duration).to_vec();
        assert_eq!(shown, ["8.1 ms", "120 ms", "1.35 s", "12.3 s", "75.0 s", "123 s"]);
    }
}
