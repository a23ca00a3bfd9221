//! Bench statistics: computes percentiles and throughput of measured calls, and recommends a level. Pure.
//!
//! Percentiles are by nearest rank: the smallest measured value that at least p of the n values do not exceed (type 1
//! of Hyndman and Fan 1996, <https://doi.org/10.2307/2684934>). With fewer than 20 values, the 95th is the largest.
//!
//! A throughput has a 95 % percentile bootstrap interval (Efron 1979, <https://doi.org/10.1214/aos/1176344552>). Calls
//! in flight together end together, so the bootstrap draws blocks of as many consecutive calls as there are lanes
//! (non-overlapping blocks, Carlstein 1986, <https://doi.org/10.1214/aos/1176350057>). The draws have a fixed seed.

pub(crate) mod report;

use std::time::Duration;

use indexmap::IndexMap;
use serde::Serialize;

use crate::provider::{Level, Measured, Sample, Timings};
use crate::random::Streams;
use crate::stats::{Bootstrap, Units, nearest_rank};

const DRAWS: usize = 1000;
/// The longest wait per lane that does not count as waiting for a rate limit.
const NO_WAIT: Duration = Duration::from_millis(1);
const FEWEST: usize = 3;
/// The share of the best throughput that counts as equally good.
const AS_GOOD: f64 = 0.95;
/// The largest share of failed calls at which a level can be recommended.
const TOO_MANY: f64 = 0.05;
/// The share of time spent waiting for rate limits above which the limits decided the throughput.
const HELD: f64 = 0.1;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct LevelReport {
    pub(crate) in_flight: u32,
    pub(crate) calls: u64,
    pub(crate) answered: u64,
    pub(crate) failed: IndexMap<&'static str, u64>,
    pub(crate) example: Option<String>,
    pub(crate) unusable: IndexMap<&'static str, u64>,
    pub(crate) seconds: f64,
    /// The share of the lanes' time spent waiting for rate limits, from 0 to 1.
    pub(crate) held: f64,
    pub(crate) whole: bool,
    pub(crate) calls_per_sec: Interval,
    /// Tokens of the replies per second, all lanes together; `None` if the server does not count them.
    pub(crate) tokens_per_sec: Option<f64>,
    /// Seconds from a call to the end of its reply.
    pub(crate) latency: Option<Spread>,
    /// Seconds from a call to the first token of its reply, if the provider reports it.
    pub(crate) first_token: Option<Spread>,
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) completion_tokens: Option<u64>,
    pub(crate) cached_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Interval {
    pub(crate) value: f64,
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) p25: f64,
    pub(crate) p50: f64,
    pub(crate) p75: f64,
    pub(crate) p95: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
}

impl Spread {
    /// Returns `None` if there are no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let at = |share| nearest_rank(&values, share);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Some(Spread { min, p25: at(0.25), p50: at(0.5), p75: at(0.75), p95: at(0.95), max, mean })
    }
}

pub(crate) fn first_token(took: Duration, timings: &Timings) -> Option<f64> {
    timings.writing.map(|writing| took.saturating_sub(writing).as_secs_f64())
}

impl LevelReport {
    pub(crate) fn of(level: &Level) -> LevelReport {
        let Level { in_flight, samples, took, held, whole } = level;
        let (in_flight, took, held) = (*in_flight, *took, *held);
        let replies = || samples.iter().filter_map(|sample| Some((sample, sample.outcome.as_ref().ok()?)));
        let missed = || samples.iter().filter_map(|sample| sample.outcome.as_ref().err());
        let failed = tally(missed().map(|missed| missed.kind));
        let unusable = tally(replies().filter_map(|(_, reply)| reply.unusable));
        let seconds = took.as_secs_f64();
        // A sum is only reported if every reply has the number; a sum over some would be too low.
        let sum = |count: fn(&Measured) -> Option<u64>| replies().map(|(_, reply)| count(reply)).sum::<Option<u64>>();
        let answered = replies().count() as u64;
        let completion_tokens = sum(|reply| reply.completion_tokens).filter(|_| answered > 0);
        let first: Option<Vec<f64>> =
            replies().map(|(sample, reply)| first_token(sample.took, &reply.timings)).collect();
        LevelReport {
            in_flight,
            calls: samples.len() as u64,
            answered,
            failed,
            example: missed().next().map(|missed| missed.message.clone()),
            unusable,
            seconds,
            held: if held < NO_WAIT * in_flight { 0.0 } else { held.as_secs_f64() / (seconds * f64::from(in_flight)) },
            whole: *whole,
            calls_per_sec: throughput(samples, in_flight as usize, seconds),
            tokens_per_sec: completion_tokens.map(|tokens| tokens as f64 / seconds.max(1e-9)),
            latency: Spread::of(replies().map(|(sample, _)| sample.took.as_secs_f64()).collect()),
            first_token: first.and_then(Spread::of),
            prompt_tokens: sum(|reply| reply.prompt_tokens).filter(|_| answered > 0),
            completion_tokens,
            cached_tokens: sum(|reply| reply.timings.cached_tokens).filter(|_| answered > 0),
        }
    }

    pub(crate) fn failures(&self) -> u64 {
        self.calls - self.answered
    }
}

fn tally(kinds: impl Iterator<Item = &'static str>) -> IndexMap<&'static str, u64> {
    let mut counts = IndexMap::new();
    kinds.for_each(|kind| *counts.entry(kind).or_insert(0) += 1);
    counts
}

fn throughput(samples: &[Sample], lanes: usize, seconds: f64) -> Interval {
    let answered = samples.iter().filter(|sample| sample.outcome.is_ok()).count();
    let value = answered as f64 / seconds.max(1e-9);
    let mut before = Duration::ZERO;
    let blocks: Vec<(f64, f64)> = samples
        .chunks(lanes.max(1))
        .map(|block| {
            let end = block.last().map_or(before, |sample| sample.ended);
            let took = end.saturating_sub(std::mem::replace(&mut before, end));
            (block.iter().filter(|sample| sample.outcome.is_ok()).count() as f64, took.as_secs_f64())
        })
        .collect();
    if blocks.len() < FEWEST {
        return Interval { value, low: None, high: None };
    }
    let rate = |weights: &[f64]| {
        let sum = |sum: (f64, f64), (block, w): (&(f64, f64), &f64)| (sum.0 + w * block.0, sum.1 + w * block.1);
        let (calls, took) = blocks.iter().zip(weights).fold((0.0, 0.0), sum);
        vec![Some(calls / f64::max(took, 1e-9))]
    };
    let streams = Streams::new(0, &["bench"]);
    let bootstrap = Bootstrap { replicates: DRAWS, confidence: 0.95, bca: false, streams };
    let units = Units { counts: &vec![1; blocks.len()], clusters: None };
    let spread = bootstrap.spreads(units, &rate)[0];
    Interval { value, low: spread.map(|s| s.low), high: spread.map(|s| s.high) }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Advice {
    pub(crate) in_flight: u32,
    pub(crate) best: u32,
    /// The throughput of `in_flight` divided by that of `best`.
    pub(crate) share_of_best: f64,
    /// Smaller levels that may be equally good, according to their intervals.
    pub(crate) perhaps: Vec<u32>,
    /// Whether the largest level is the best, so that a larger one may be better.
    pub(crate) rises: bool,
    pub(crate) held: bool,
    pub(crate) left_out: Vec<u32>,
}

/// Recommends the smallest level with at least 95 % of the best throughput; `None` if no level is good.
pub(crate) fn advice(levels: &[LevelReport]) -> Option<Advice> {
    let failed = |level: &LevelReport| level.failures() as f64 > TOO_MANY * level.calls as f64;
    let good: Vec<&LevelReport> = levels.iter().filter(|level| level.whole && !failed(level)).collect();
    // Of several equal levels, the first counts as the best.
    let best = good.iter().rev().max_by(|a, b| a.calls_per_sec.value.total_cmp(&b.calls_per_sec.value))?;
    let enough = AS_GOOD * best.calls_per_sec.value;
    let chosen = good.iter().filter(|level| level.calls_per_sec.value >= enough).min_by_key(|level| level.in_flight)?;
    let reaches = |level: &&&LevelReport| level.calls_per_sec.high.is_some_and(|high| high >= enough);
    let smaller = good.iter().filter(|level| level.in_flight < chosen.in_flight);
    let perhaps: Vec<u32> = smaller.filter(reaches).map(|level| level.in_flight).collect();
    let largest = good.iter().map(|level| level.in_flight).max();
    Some(Advice {
        in_flight: chosen.in_flight,
        best: best.in_flight,
        share_of_best: chosen.calls_per_sec.value / best.calls_per_sec.value.max(1e-9),
        // A single level cannot show a rise, nor can levels with overlapping intervals.
        rises: good.len() > 1 && Some(chosen.in_flight) == largest && perhaps.is_empty(),
        perhaps,
        held: chosen.held > HELD || best.held > HELD,
        left_out: levels.iter().filter(|level| !level.whole || failed(level)).map(|level| level.in_flight).collect(),
    })
}

#[cfg(test)]
mod tests;
