//! The section on time and money: what calls cost and how long they took, over the clock and by model.

use std::time::Duration;

use serde_json::Value;

use super::super::Subject;
use super::super::calls::{Calls, Group, Timeline, Totals};
use super::super::chart::{Axis, Chart, Line, Lines, Mark, Point, Unit};
use super::super::content::{Block, Figure, Grid, Section};
use crate::report::money::prices_used;
use crate::report::text::{about, count, duration, figure, moment, number, usd};
use crate::stats::LogHistogram;
use crate::store::Manifest;

/// The rows that the forecast is about.
const NEXT: f64 = 10_000.0;
/// The shares of the table of latencies.
const SHARES: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];
/// The most models whose quantiles are marked in the chart.
const MARKED: usize = 4;
/// The share of the calls that the curve of latencies shows. Few calls may take very long.
const SHOWN: f64 = 0.995;

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let calls = subject.calls()?;
    if calls.groups.is_empty() {
        return Ok(None);
    }
    let mut blocks = vec![Block::text(overview(subject, calls))];
    blocks.extend(next_rows(subject, calls).map(Block::text));
    let figures = [spending(subject, calls), rate(calls), in_flight(calls), latencies(calls)];
    blocks.extend(figures.into_iter().flatten().map(Block::Figure));
    blocks.push(Block::Table { title: "Calls by stage and model".to_owned(), table: table(calls) });
    Ok(Some(Section { id: "money".to_owned(), title: "Time and money".to_owned(), blocks }))
}

fn overview(subject: &Subject<'_>, calls: &Calls) -> String {
    let (sent, reused) = (calls.total(|group| group.sent), calls.total(|group| group.reused));
    let span = &subject.manifest.calls;
    let time = |text: &Option<String>| chrono::DateTime::parse_from_rfc3339(text.as_deref()?).ok();
    let mut parts = vec![format!("{} sent", count(sent.calls, "call"))];
    parts.extend((reused.calls > 0).then(|| format!("{} reused", count(reused.calls, "recorded answer"))));
    parts.extend((sent.retries > 0).then(|| match sent.retries {
        1 => "1 retry".to_owned(),
        retries => format!("{} retries", number(retries)),
    }));
    parts.push(format!("{} tokens in and {} out", number(sent.prompt_tokens), number(sent.completion_tokens)));
    parts.extend(sent.usd.map(usd));
    let mut text = format!("{}.", parts.join(", "));
    prices_used(subject.manifest).iter().for_each(|line| text += &format!(" The {line}."));
    if let Some((first, last)) = time(&span.first).zip(time(&span.last)) {
        let took = (last - first).to_std().unwrap_or_default();
        let [first, last] = [first, last].map(|time| moment(time.timestamp_millis()));
        text += &match took.as_secs() {
            0 => format!(" The answers came at {last} (UTC), within a second."),
            _ => format!(" The first answer came at {first}, the last at {last} (UTC), {} later.", duration(took)),
        };
    }
    text
}

/// What a stage needs for one row of a source, if no answer is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Need {
    calls: f64,
    usd: Option<f64>,
}

/// The source whose rows the first stage asks about.
fn first_source(manifest: &Manifest) -> Option<&str> {
    let mut table = manifest.stages.keys().next()?.as_str();
    while !manifest.sources.contains_key(table) {
        let stage = manifest.tables.get(table).map(|shape| &shape.input);
        // The last input is the one whose rows the table has.
        table = stage.or_else(|| manifest.transforms.get(table)?.inputs.last())?;
    }
    Some(table)
}

/// `None` if the run does not show what a row needs.
fn next_rows(subject: &Subject<'_>, calls: &Calls) -> Option<String> {
    let source = first_source(subject.manifest)?;
    let facts = &subject.manifest.sources[source];
    let stages = &subject.manifest.stages;
    let mut need = Need::default();
    for (name, totals) in stages.iter().filter(|(_, totals)| totals.counts.total() > 0 && facts.rows > 0) {
        let groups = || calls.groups.iter().filter(|group| group.stage == *name);
        let per_row = totals.rows as f64 / totals.counts.total() as f64 / facts.rows as f64;
        let usd = groups().flat_map(|group| [group.sent.usd, group.reused.usd]).flatten();
        let calls: u64 = groups().map(|group| group.sent.calls + group.reused.calls).sum();
        need.calls += calls as f64 * per_row;
        need.usd = usd.map(|usd| usd * per_row).chain(need.usd).reduce(|sum, more| sum + more);
    }
    let Need { calls: per_row, usd: cost } = need;
    let rate = pace(calls).map(|rate| format!(" and take about {}", about(NEXT * per_row / rate)));
    let cost = match cost {
        Some(cost) => format!("cost about {}", usd(NEXT * cost)),
        None => format!("need about {} calls", figure(NEXT * per_row)),
    };
    let basis = format!("as measured on {} and without recorded answers", count(facts.rows, "row"));
    (per_row > 0.0).then(|| {
        format!("The next {} rows of {source} would {cost}{}, {basis}.", figure(NEXT), rate.unwrap_or_default())
    })
}

/// The calls a second, while calls were in flight.
fn pace(calls: &Calls) -> Option<f64> {
    let busy = calls.in_flight.bins().filter(|(_, seconds)| seconds.iter().any(|seconds| *seconds > 0.0)).count();
    let seconds = busy as f64 * calls.in_flight.seconds_per_bin();
    let ended: f64 = calls.ended.bins().flat_map(|(_, ended)| ended).sum();
    (seconds > 0.0 && ended > 0.0).then(|| ended / seconds)
}

/// The cost over the clock with the budget, or the tokens if no model has a price.
fn spending(subject: &Subject<'_>, calls: &Calls) -> Option<Figure> {
    let has_price = !calls.spent.series().is_empty();
    let (timeline, unit, what) = match has_price {
        true => (&calls.spent, Unit::Usd, "Cost"),
        false => (&calls.tokens, Unit::Count, "Tokens"),
    };
    let mut lines = cumulative(timeline);
    let first = lines.first()?.points.first()?.x;
    let (end, spent) = lines
        .iter()
        .filter_map(|line| line.points.last())
        .map(|point| (point.x, point.y))
        .fold((first, 0.0_f64), |(end, most), (x, y)| (end.max(x), most.max(y)));
    let budget = subject.plan.spec.budget.of_a_run();
    let limit = if has_price { budget.usd } else { budget.tokens.map(|tokens| tokens.get() as f64) };
    let numbers = points_grid("until (UTC)", &lines);
    let mut note = "Recorded answers cost nothing and are left out.".to_owned();
    if let Some(limit) = limit {
        let text = if has_price { usd(limit) } else { format!("{} tokens", figure(limit)) };
        match spent > 0.1 * limit {
            true => {
                let points = [first, end].map(|x| Point { x, y: limit, interval: None }).to_vec();
                lines.push(Line { name: format!("budget: {text}"), points, steps: false });
            }
            false => note += &format!(" The budget of {text} is far above the chart."),
        }
    }
    let y = Axis::new(what.to_lowercase(), unit);
    let chart = Lines { x: clock(), y, lines, diagonal: false, marks: Vec::new() };
    Some(Figure { title: format!("{what} over time"), chart: Chart::Lines(chart), numbers, note: Some(note) })
}

fn rate(calls: &Calls) -> Option<Figure> {
    let seconds = calls.ended.seconds_per_bin();
    let lines = lines_of(&calls.ended, seconds);
    clock_figure("Calls a second", "calls a second", lines, seconds)
}

fn in_flight(calls: &Calls) -> Option<Figure> {
    let seconds = calls.in_flight.seconds_per_bin();
    let lines = lines_of(&calls.in_flight, seconds);
    clock_figure("Calls in flight", "calls in flight", lines, seconds)
}

fn clock_figure(title: &str, axis: &str, lines: Vec<Line>, seconds: f64) -> Option<Figure> {
    let numbers = points_grid("from (UTC)", &lines);
    let y = Axis::new(axis, Unit::Rate);
    let chart = Lines { x: clock(), y, lines, diagonal: false, marks: Vec::new() };
    let note = format!("Means of {} each.", spell(seconds));
    let has_points = chart.lines.iter().any(|line| line.points.len() > 1);
    has_points.then(|| Figure { title: title.to_owned(), chart: Chart::Lines(chart), numbers, note: Some(note) })
}

/// A time of any size in words.
fn spell(seconds: f64) -> String {
    if seconds < 60.0 { format!("{} s", figure(seconds)) } else { duration(Duration::from_secs_f64(seconds)) }
}

fn clock() -> Axis {
    Axis::new("time", Unit::Moment)
}

/// The amount of each bin divided by `divisor`, a line for each series.
fn lines_of(timeline: &Timeline, divisor: f64) -> Vec<Line> {
    let line = |(place, name): (usize, &String)| {
        let point =
            |(start, amounts): (i64, Vec<f64>)| Point { x: start as f64, y: amounts[place] / divisor, interval: None };
        Line { name: name.clone(), points: timeline.bins().map(point).collect(), steps: true }
    };
    timeline.series().iter().enumerate().map(line).collect()
}

/// The sums up to the end of each bin: a line for each series, and one for all of several.
fn cumulative(timeline: &Timeline) -> Vec<Line> {
    let width = 1e3 * timeline.seconds_per_bin();
    let sums = |name: &str, amount: &dyn Fn(&[f64]) -> f64| {
        let (mut sum, mut points) = (0.0, Vec::new());
        for (start, amounts) in timeline.bins() {
            if points.is_empty() {
                points.push(Point { x: start as f64, y: 0.0, interval: None });
            }
            sum += amount(&amounts);
            points.push(Point { x: start as f64 + width, y: sum, interval: None });
        }
        Line { name: name.to_owned(), points, steps: false }
    };
    let each = timeline.series().iter().enumerate();
    let mut lines: Vec<Line> = each.map(|(place, name)| sums(name, &|amounts| amounts[place])).collect();
    if lines.len() > 1 {
        lines.push(sums("all models", &|amounts| amounts.iter().sum()));
    }
    lines
}

/// The points of lines that have the same times.
fn points_grid(time: &str, lines: &[Line]) -> Grid {
    let columns = [time.to_owned()].into_iter().chain(lines.iter().map(|line| line.name.clone())).collect();
    let rows = (0..lines.first().map_or(0, |line| line.points.len())).map(|i| {
        let time = Value::from(moment(lines[0].points[i].x as i64));
        [time].into_iter().chain(lines.iter().map(|line| Value::from(line.points[i].y))).collect()
    });
    Grid { columns, rows: rows.collect() }
}

/// The share of calls that took at most a time, by model.
fn latencies(calls: &Calls) -> Option<Figure> {
    let mut models: Vec<(&str, LogHistogram)> = Vec::new();
    for Group { model, latency, .. } in &calls.groups {
        match models.iter_mut().find(|(name, _)| name == model) {
            Some((_, all)) => all.merge(latency),
            None => models.push((model, latency.clone())),
        }
    }
    models.retain(|(_, latency)| latency.count() > 0);
    let seconds = |latency: &LogHistogram, share| latency.quantile(share).map_or(0.0, |ms| ms / 1e3);
    let mut marks = Vec::new();
    for (model, latency) in models.iter().filter(|_| models.len() <= MARKED) {
        for (name, share) in [("p50", 0.5), ("p95", 0.95)] {
            let label = if models.len() > 1 { format!("{name} {model}") } else { name.to_owned() };
            marks.push(Mark { at: seconds(latency, share), label });
        }
    }
    let line = |(model, latency): &(&str, LogHistogram)| {
        let shown = latency.shares().take_while(|(ms, share)| *share <= SHOWN || *ms <= 1e3 * seconds(latency, SHOWN));
        let points = shown.map(|(ms, share)| Point { x: ms / 1e3, y: share, interval: None }).collect();
        Line { name: (*model).to_owned(), points, steps: true }
    };
    let head = ["model".to_owned(), "calls".to_owned()].into_iter();
    let columns = head.chain(SHARES.map(|share| format!("p{} (s)", (100.0 * share).round()))).collect();
    let row = |(model, latency): &(&str, LogHistogram)| {
        let quantiles = SHARES.map(|share| Value::from(seconds(latency, share)));
        [Value::from(*model), Value::from(latency.count())].into_iter().chain(quantiles).collect()
    };
    let numbers = Grid { columns, rows: models.iter().map(row).collect() };
    let chart = Lines {
        x: Axis::new("time of a call", Unit::Seconds),
        y: Axis::shares("share of calls"),
        lines: models.iter().map(line).collect(),
        diagonal: false,
        marks,
    };
    let note = "Seconds from the first attempt to the last reply, each at most 1 % away from the measured one. \
                Recorded answers count with the time that they took. The slowest 0.5 % of the calls are not drawn.";
    let title = "How long calls took".to_owned();
    (!models.is_empty()).then(|| Figure { title, chart: Chart::Lines(chart), numbers, note: Some(note.to_owned()) })
}

fn table(calls: &Calls) -> Grid {
    let columns =
        ["stage", "model", "sent", "reused", "retries", "tokens in", "tokens out", "usd", "p50 (s)", "p95 (s)"];
    let cells = |totals: Totals, reused: u64, latency: Option<&LogHistogram>| {
        let seconds = |share| latency.and_then(|latency| latency.quantile(share)).map(|ms| ms / 1e3);
        let Totals { calls, retries, prompt_tokens, completion_tokens, usd } = totals;
        let counts = [calls, reused, retries, prompt_tokens, completion_tokens].map(Value::from);
        counts.into_iter().chain([usd, seconds(0.5), seconds(0.95)].map(Value::from)).collect::<Vec<_>>()
    };
    let row = |group: &Group| {
        let names = [&group.stage, &group.model].map(|name| Value::from(name.as_str()));
        names.into_iter().chain(cells(group.sent, group.reused.calls, Some(&group.latency))).collect()
    };
    let mut rows: Vec<Vec<Value>> = calls.groups.iter().map(row).collect();
    if rows.len() > 1 {
        let (sent, reused) = (calls.total(|group| group.sent), calls.total(|group| group.reused));
        rows.push(["all", ""].map(Value::from).into_iter().chain(cells(sent, reused.calls, None)).collect());
    }
    Grid::new(&columns, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_up_to_the_end_of_each_time() {
        let mut timeline = Timeline::default();
        for (at, model, amount) in [(0, "a", 1.0), (0, "b", 2.0), (2, "a", 4.0)] {
            timeline.add(at, model, amount);
        }
        let lines = cumulative(&timeline);
        let ends: Vec<(&str, f64)> = lines.iter().map(|line| (line.name.as_str(), line.points[3].y)).collect();
        assert_eq!(ends, [("a", 5.0), ("b", 2.0), ("all models", 7.0)]);
        assert_eq!(
            lines[0].points.iter().map(|point| (point.x, point.y)).collect::<Vec<_>>(),
            [(0.0, 0.0), (1.0, 1.0), (2.0, 1.0), (3.0, 5.0)]
        );
    }
}
