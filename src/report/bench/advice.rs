//! Bench advice: recommends one of the measured levels. Pure.

use serde::Serialize;

use super::LevelReport;

/// The share of the best throughput that counts as equally good.
const AS_GOOD: f64 = 0.95;
/// The largest share of failed calls at which a level can be recommended.
const TOO_MANY: f64 = 0.05;
/// The share of time spent waiting for rate limits above which the limits decided the throughput.
const HELD: f64 = 0.1;

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
