//! Texts about what holds back calls, and when a log names a wait again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::text::duration;
use crate::run::wait::{Wait, WaitKind};

/// The time from the first line about a wait to the next one. It doubles.
const AGAIN: Duration = Duration::from_secs(30);
const SELDOM: Duration = Duration::from_secs(600);

/// A wait in one line: on what, why, since when, and when it will end.
pub(crate) fn line(wait: &Wait, now: Instant) -> String {
    let Wait { kind, on, since, until, because } = wait;
    let age = duration(now.saturating_duration_since(*since));
    let next = |verb: &str| match until.map(|until| until.saturating_duration_since(now)) {
        Some(left) if !left.is_zero() => format!(", {verb} in {}", duration(left)),
        _ => String::new(),
    };
    let words = if because.is_empty() { String::new() } else { format!(": {because}") };
    match kind {
        WaitKind::Outage => format!("{on}: no answer for {age}{}{words}", next("asked again")),
        WaitKind::RateLimit => format!("{on}: rate limited, waiting for {age}{}{words}", next("next call")),
        WaitKind::Disk => format!("{on}: writing for {age}{words}"),
        WaitKind::Budget => format!("{on}: calls in flight may use what is left; waiting for {age}"),
        WaitKind::Batch => format!("{on}: {because} after {age}"),
        WaitKind::OtherModel => format!("{on}: waiting for {age} for the end of another model's calls{words}"),
        WaitKind::Loading => format!("{on}: no reply for {age}; the server may be loading the model{words}"),
        WaitKind::Stall => format!("{on}: no reply for {age}{words}"),
        WaitKind::FirstAnswer => format!("{on}: waiting for the first answer for {age}{words}"),
        WaitKind::Concurrency => format!("{on}: all calls that may be in flight are; none has ended for {age}"),
    }
}

/// The word for a wait of this kind in events.
pub(crate) fn word(kind: WaitKind) -> &'static str {
    match kind {
        WaitKind::Outage => "outage",
        WaitKind::RateLimit => "rate_limit",
        WaitKind::Disk => "disk",
        WaitKind::Budget => "budget",
        WaitKind::Batch => "batch",
        WaitKind::OtherModel => "other_model",
        WaitKind::Loading => "loading",
        WaitKind::Stall => "stall",
        WaitKind::FirstAnswer => "first_answer",
        WaitKind::Concurrency => "concurrency",
    }
}

/// The beginning of a wait, for programs.
pub(crate) fn event(wait: &Wait, now: Instant) -> Value {
    let until = wait.until.map(|until| until.saturating_duration_since(now).as_secs());
    json!({
        "event": "wait", "on": wait.on, "kind": word(wait.kind), "because": wait.because,
        "seconds": now.saturating_duration_since(wait.since).as_secs(), "seconds_left": until,
    })
}

/// Decides which lines a log gets: one when a long wait begins, then fewer and fewer, and one when it ends.
#[derive(Debug, Default)]
pub(crate) struct Announcer(BTreeMap<(String, WaitKind), Announced>);

#[derive(Debug)]
struct Announced {
    next: Instant,
    step: Duration,
    /// The present wait, if it was announced.
    since: Option<Instant>,
}

impl Announcer {
    /// The lines for the waits of `now`, which are long enough to be shown.
    pub(crate) fn lines(&mut self, waits: &[Wait], now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        for ((on, kind), known) in &mut self.0 {
            let ended = !waits.iter().any(|wait| wait.on == *on && wait.kind == *kind);
            let Some(since) = known.since.take_if(|_| ended) else { continue };
            // The same calls may now wait for a different reason.
            if !waits.iter().any(|wait| wait.on == *on) {
                lines.push(format!("{on}: goes on after {}", duration(now.saturating_duration_since(since))));
            }
        }
        self.0.retain(|_, known| known.since.is_some() || now < known.next + known.step);
        for wait in waits {
            let known = self.0.entry((wait.on.clone(), wait.kind));
            let known = known.or_insert(Announced { next: now, step: AGAIN, since: None });
            if now >= known.next {
                known.since.get_or_insert(wait.since);
                (known.next, known.step) = (now + known.step, (known.step * 2).min(SELDOM));
                lines.push(line(wait, now));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn wait(kind: WaitKind, since: Instant, until: Option<Instant>, because: &str) -> Wait {
        Wait { kind, on: "m".to_owned(), since, until, because: because.to_owned() }
    }

    #[test]
    fn a_line_names_the_cause_and_both_ends() {
        let start = Instant::now();
        let (now, later) = (start + 12 * SECOND, Some(start + 20 * SECOND));
        let text = |kind, until, because| line(&wait(kind, start, until, because), now);
        assert_eq!(
            text(WaitKind::Outage, later, "connection refused"),
            "m: no answer for 12 s, asked again in 8 s: connection refused"
        );
        assert_eq!(
            text(WaitKind::RateLimit, later, "slow down"),
            "m: rate limited, waiting for 12 s, next call in 8 s: slow down"
        );
        assert_eq!(text(WaitKind::RateLimit, Some(start), ""), "m: rate limited, waiting for 12 s");
        assert_eq!(
            text(WaitKind::Stall, None, "8 in flight; `timeout_secs` is 600"),
            "m: no reply for 12 s: 8 in flight; `timeout_secs` is 600"
        );
    }

    #[test]
    fn a_log_names_a_wait_at_growing_distances_and_its_end() {
        let start = Instant::now();
        let waits = [wait(WaitKind::RateLimit, start, None, "")];
        let mut announcer = Announcer::default();
        let spoken: Vec<u32> = (3..900).filter(|s| !announcer.lines(&waits, start + *s * SECOND).is_empty()).collect();
        assert_eq!(spoken, [3, 33, 93, 213, 453]);
        let other = [wait(WaitKind::Outage, start + 890 * SECOND, None, "")];
        assert_eq!(announcer.lines(&other, start + 900 * SECOND), ["m: no answer for 10 s"]);
        assert_eq!(announcer.lines(&[], start + 900 * SECOND), ["m: goes on after 10 s"]);
        assert!(announcer.lines(&[], start + 901 * SECOND).is_empty());
    }

    #[test]
    fn many_short_waits_do_not_flood_a_log() {
        let start = Instant::now();
        let mut announcer = Announcer::default();
        let count = (0..1200).map(|s| {
            let now = start + s * SECOND;
            let waits = [wait(WaitKind::RateLimit, now, None, "")];
            announcer.lines(if s % 6 < 5 { &waits } else { &[] }, now).len()
        });
        let count: usize = count.sum();
        assert!((2..=14).contains(&count), "{count} lines in 20 minutes");
    }
}
