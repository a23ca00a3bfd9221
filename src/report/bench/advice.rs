//! Advice: which of the measured levels to use. Pure.

use serde::Serialize;

use super::LevelReport;

/// The share of the best throughput that is as good as it.
const AS_GOOD: f64 = 0.95;
/// The share of failed calls from which on a level is no good.
const TOO_MANY: f64 = 0.05;
/// The share of the time that lanes may wait for rate limits before these decide.
const HELD: f64 = 0.1;

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// The smallest level that is as good as the best one.
    pub in_flight: u32,
    /// The level with the highest throughput.
    pub best: u32,
    /// The share of its throughput that the smallest level has, from 0 to 1.
    pub share_of_best: f64,
    /// Smaller levels that may be as good: their interval reaches what is as good as the best.
    pub perhaps: Vec<u32>,
    /// Whether the throughput still rises where the measurement ends: more may be better.
    pub rises: bool,
    /// Whether the rate limits decided, and not the server.
    pub held: bool,
    /// Levels that did not count: too many of their calls failed, or they were not measured to their end.
    pub left_out: Vec<u32>,
}

/// Which level to use: the smallest with at least 95 % of the best throughput. None where no level was measured well.
pub fn advice(levels: &[LevelReport]) -> Option<Advice> {
    let failed = |level: &LevelReport| level.failures() as f64 > TOO_MANY * level.calls as f64;
    let good: Vec<&LevelReport> = levels.iter().filter(|level| level.whole && !failed(level)).collect();
    // Of several that are the same the first.
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
        // A single level says nothing of a rise, nor do levels that can't be told apart.
        rises: good.len() > 1 && Some(chosen.in_flight) == largest && perhaps.is_empty(),
        perhaps,
        held: chosen.held > HELD || best.held > HELD,
        left_out: levels.iter().filter(|level| !level.whole || failed(level)).map(|level| level.in_flight).collect(),
    })
}
