//! Bench statistics compared with values worked out by hand, and the advice for given numbers.

use super::*;
use crate::provider::Missed;

fn sample(ended_ms: u64, took_ms: u64) -> Sample {
    let timings = Timings { writing: Some(Duration::from_millis(took_ms / 2)), ..Timings::default() };
    let measured = Measured { prompt_tokens: Some(100), completion_tokens: Some(10), timings, unusable: None };
    Sample { ended: Duration::from_millis(ended_ms), took: Duration::from_millis(took_ms), outcome: Ok(measured) }
}

fn missed(ended_ms: u64) -> Sample {
    let outcome = Err(Missed { kind: "timeout", message: "no whole reply".to_owned() });
    Sample { outcome, ..sample(ended_ms, 1) }
}

/// The report of a complete level.
fn report(in_flight: u32, samples: Vec<Sample>, took: Duration, held: Duration) -> LevelReport {
    LevelReport::of(&Level { in_flight, samples, took, held, whole: true })
}

/// A level with `value` +- `spread` calls per second and `failed` failures in 40 calls.
fn level(in_flight: u32, value: f64, spread: f64, failed: u64) -> LevelReport {
    let ended: Vec<Sample> = (1..=40).map(|i| if i <= failed { missed(i) } else { sample(i, 1) }).collect();
    let calls_per_sec = Interval { value, low: Some(value - spread), high: Some(value + spread) };
    LevelReport { calls_per_sec, ..report(in_flight, ended, Duration::from_secs(1), Duration::ZERO) }
}

#[test]
fn percentiles_are_values_that_were_measured() {
    let spread = Spread::of(vec![3.0, 1.0, 2.0, 4.0]).unwrap();
    assert_eq!((spread.min, spread.p25, spread.p50, spread.p75, spread.max), (1.0, 1.0, 2.0, 3.0, 4.0));
    assert_eq!(spread.mean, 2.5);
    assert_eq!(Spread::of(Vec::new()), None);
}

#[test]
fn a_level_counts_what_came_and_what_did_not() {
    let mut samples: Vec<Sample> = (1..=8).map(|i| sample(i * 500, 500)).collect();
    samples.push(missed(4000));
    if let Ok(measured) = &mut samples[0].outcome {
        measured.unusable = Some("truncated");
    }
    let level = report(2, samples.clone(), Duration::from_secs(4), Duration::from_secs(2));
    assert_eq!((level.calls, level.answered, level.failures()), (9, 8, 1));
    assert_eq!((level.failed["timeout"], level.unusable["truncated"]), (1, 1));
    assert_eq!(level.calls_per_sec.value, 2.0);
    assert_eq!((level.tokens_per_sec, level.completion_tokens, level.prompt_tokens), (Some(20.0), Some(80), Some(800)));
    assert_eq!(level.latency.unwrap().p50, 0.5);
    assert_eq!(level.first_token.unwrap().p50, 0.25, "what is not writing");
    assert_eq!(level.held, 0.25, "2 of 2 x 4 s");
    // One reply without a count makes the sum unknown.
    if let Ok(measured) = &mut samples[3].outcome {
        (measured.completion_tokens, measured.timings) = (None, Timings::default());
    }
    let level = report(2, samples, Duration::from_secs(4), Duration::ZERO);
    assert_eq!((level.tokens_per_sec, level.completion_tokens, level.first_token), (None, None, None));
    let nothing = report(2, vec![missed(1)], Duration::from_millis(1), Duration::ZERO);
    assert_eq!((nothing.latency, nothing.tokens_per_sec, nothing.calls_per_sec.value), (None, None, 0.0));
}

#[test]
fn the_interval_is_as_wide_as_the_blocks_differ() {
    let even: Vec<Sample> = (1..=40).map(|i| sample(i * 100, 100)).collect();
    let rate = |samples: &[Sample], lanes| {
        let end = samples.last().map_or(0.0, |sample| sample.ended.as_secs_f64());
        throughput(samples, lanes, end)
    };
    let found = rate(&even, 4);
    assert!((found.value - 10.0).abs() < 1e-9);
    assert!((found.low.unwrap() - 10.0).abs() < 1e-9 && (found.high.unwrap() - 10.0).abs() < 1e-9, "{found:?}");
    // Every other block of four takes three times as long.
    let mut now = 0;
    let uneven: Vec<Sample> = (0..40)
        .map(|i| {
            now += if i / 4 % 2 == 0 { 50 } else { 150 };
            sample(now, 100)
        })
        .collect();
    let found = rate(&uneven, 4);
    let (low, high) = (found.low.unwrap(), found.high.unwrap());
    assert!((found.value - 10.0).abs() < 1e-9);
    // The mean of ten draws of 50 or 150 is 100 +- 31 in 95 of 100 cases.
    assert!((7.0..8.5).contains(&low) && (12.5..15.5).contains(&high), "{found:?}");
    assert_eq!(rate(&uneven, 4), found, "the draws are always the same");
    assert_eq!(rate(&even[..8], 4).low, None, "two blocks say nothing of a spread");
}

#[test]
fn the_smallest_level_that_is_as_good_as_the_best_is_used() {
    let found =
        advice(&[level(1, 10.0, 0.1, 0), level(2, 19.0, 0.1, 0), level(4, 19.9, 0.1, 0), level(8, 20.0, 0.1, 0)]);
    let found = found.unwrap();
    assert_eq!((found.in_flight, found.best, found.rises, found.held), (2, 8, false, false));
    assert!((found.share_of_best - 0.95).abs() < 1e-9 && found.perhaps.is_empty());
    // 18.9 is too low, but its interval is high enough.
    let found = advice(&[level(2, 18.9, 0.5, 0), level(4, 20.0, 0.1, 0), level(8, 20.0, 0.1, 0)]).unwrap();
    assert_eq!((found.in_flight, found.perhaps.as_slice()), (4, [2].as_slice()));
    // It still rises at the largest level.
    let found = advice(&[level(1, 10.0, 0.1, 0), level(2, 20.0, 0.1, 0)]).unwrap();
    assert_eq!((found.in_flight, found.rises), (2, true));
    assert!(!advice(&[level(1, 10.0, 0.1, 0)]).unwrap().rises);
    let unclear = advice(&[level(1, 10.0, 9.5, 0), level(2, 20.0, 0.1, 0)]).unwrap();
    assert_eq!((unclear.in_flight, unclear.perhaps.as_slice(), unclear.rises), (2, [1].as_slice(), false));
}

#[test]
fn levels_that_fail_or_were_stopped_do_not_count() {
    let stopped = LevelReport { whole: false, ..level(8, 90.0, 0.1, 0) };
    let found = advice(&[level(1, 10.0, 0.1, 0), level(2, 20.0, 0.1, 2), level(4, 99.0, 0.1, 3), stopped.clone()]);
    let found = found.unwrap();
    assert_eq!((found.in_flight, found.left_out.as_slice()), (2, [4, 8].as_slice()));
    assert_eq!(advice(&[stopped, level(1, 0.0, 0.0, 40)]), None);
    let held = LevelReport { held: 0.5, ..level(2, 20.0, 0.1, 0) };
    assert!(advice(&[held]).unwrap().held);
}
