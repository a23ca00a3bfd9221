//! Progress of a stage as one line that fits a width, and as an event for programs. Pure.

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::text::{about, cut, number, rate};
use crate::run::progress::Snapshot;

/// The most columns of a stage's name.
const NAME: usize = 24;
/// The widths of the bar, the preferred one first.
const BARS: [usize; 3] = [20, 10, 0];

/// What is left out first if a line is too wide.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Tokens,
    Known,
    Rate,
    InFlight,
    Failed,
    Left,
    Calls,
}

/// The parts of a line in the order in which they are shown. Parts that are zero are missing.
fn parts(now: &Snapshot) -> Vec<(Rank, String)> {
    let calls = match now.most_calls {
        0 => format!("{} calls", number(now.calls)),
        most => format!("{}/{} calls", number(now.calls), number(most)),
    };
    let mut parts = vec![(Rank::Calls, calls)];
    parts.extend(seconds_left(now).map(|left| (Rank::Left, format!("{} left", about(left)))));
    parts.extend((now.failed > 0).then(|| (Rank::Failed, format!("{} failed", number(now.failed)))));
    parts.extend((now.known > 0).then(|| (Rank::Known, format!("{} reused", number(now.known)))));
    parts.extend((now.in_flight > 0).then(|| (Rank::InFlight, format!("{} in flight", number(now.in_flight)))));
    let seconds = now.sending.as_secs_f64();
    if now.sent > 0 && seconds > 0.0 && !now.is_done {
        parts.push((Rank::Rate, rate(now.sent as f64 / seconds, "call")));
        let tokens = now.completion_tokens as f64 / seconds;
        parts.extend((tokens >= 1.0).then(|| (Rank::Tokens, rate(tokens, "token"))));
    }
    parts
}

/// The time that the remaining calls need if all are sent at the present rate. Answers from the ledger do not count,
/// since they take no time.
fn seconds_left(now: &Snapshot) -> Option<f64> {
    let left = now.most_calls.saturating_sub(now.calls);
    (now.sent > 0 && left > 0).then(|| left as f64 * now.sending.as_secs_f64() / now.sent as f64)
}

/// The progress of stage `name`, in at most `width` columns if they are at least 24. The least important parts are left
/// out until it fits.
pub(crate) fn line(name: &str, now: &Snapshot, width: usize) -> String {
    let mut parts = parts(now);
    loop {
        for bar in BARS {
            let line = with_bar(&shortened(name, NAME), now, bar, &parts);
            if line.width() <= width {
                return line;
            }
        }
        let least = parts.iter().map(|(rank, _)| *rank).min().filter(|rank| *rank < Rank::Calls);
        let Some(least) = least else { break };
        parts.retain(|(rank, _)| *rank != least);
    }
    let room = width.saturating_sub(parts[0].1.width() + 2);
    let line = with_bar(&shortened(name, room), now, 0, &parts);
    if line.width() <= width { line } else { parts.swap_remove(0).1 }
}

/// The line of a log: everything, without a bar.
pub(crate) fn log_line(name: &str, now: &Snapshot) -> String {
    with_bar(name, now, 0, &parts(now)).replacen("  ", ": ", 1)
}

fn with_bar(name: &str, now: &Snapshot, bar: usize, parts: &[(Rank, String)]) -> String {
    let full = match now.most_calls {
        0 => 0,
        most => (bar as u64 * now.calls / most).min(bar as u64) as usize,
    };
    let bar =
        if bar > 0 { format!("  {}{}", "\u{2588}".repeat(full), "\u{2591}".repeat(bar - full)) } else { String::new() };
    let parts: Vec<&str> = parts.iter().map(|(_, text)| text.as_str()).collect();
    format!("{name}{bar}  {}", parts.join(", "))
}

fn shortened(name: &str, width: usize) -> String {
    if name.width() <= width { name.to_owned() } else { cut(name, width.saturating_sub(2)) }
}

/// The counts of a stage for programs.
pub(crate) fn event(stage: &str, now: &Snapshot) -> Value {
    json!({
        "event": "calls", "stage": stage, "done": now.calls, "most": now.most_calls, "sent": now.sent,
        "reused": now.known, "failed_rows": now.failed, "in_flight": now.in_flight,
        "prompt_tokens": now.prompt_tokens, "completion_tokens": now.completion_tokens, "usd": now.usd,
        "seconds_left": seconds_left(now).map(f64::ceil),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn busy() -> Snapshot {
        Snapshot {
            calls: 1109,
            most_calls: 10_000,
            sent: 900,
            known: 209,
            failed: 3,
            in_flight: 16,
            completion_tokens: 11_700,
            sending: Duration::from_secs(90),
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_line_fits_every_width_and_keeps_the_calls() {
        for width in 24..=200 {
            for name in
                ["tone", "a_stage_with_a_very_long_name_that_goes_on", "\u{5e73}\u{548c}\u{3068}\u{81ea}\u{7531}"]
            {
                let line = line(name, &busy(), width);
                assert!(line.width() <= width, "{width}: {line}");
                assert!(line.contains("1,109/10,000 calls"), "{width}: {line}");
            }
        }
    }

    #[test]
    fn less_important_parts_are_left_out_first() {
        let bar = |n: usize, of: usize| "\u{2588}".repeat(n) + &"\u{2591}".repeat(of - n);
        let all = "1,109/10,000 calls, 14 min 50 s left, 3 failed, 209 reused, 16 in flight, 10 calls/s, 130 tokens/s";
        let all = all.replace("14 min 50 s", "15 min");
        assert_eq!(line("tone", &busy(), 200), format!("tone  {}  {all}", bar(2, 20)));
        let at_80 = "1,109/10,000 calls, 15 min left, 3 failed, 16 in flight, 10 calls/s";
        assert_eq!(line("tone", &busy(), 80), format!("tone  {at_80}"));
        let at_60 = format!("tone  {}  1,109/10,000 calls, 15 min left, 3 failed", bar(1, 10));
        assert_eq!(line("tone", &busy(), 60), at_60);
        assert_eq!(line("tone", &busy(), 40), "tone  1,109/10,000 calls, 15 min left");
    }

    #[test]
    fn zero_parts_are_not_shown() {
        let start = Snapshot { most_calls: 40, ..Snapshot::default() };
        assert_eq!(log_line("tone", &start), "tone: 0/40 calls");
        assert_eq!(log_line("tone", &Snapshot::default()), "tone: 0 calls");
        let done =
            Snapshot { calls: 40, most_calls: 40, sent: 40, sending: Duration::from_secs(4), is_done: true, ..start };
        assert_eq!(log_line("tone", &done), "tone: 40/40 calls");
    }

    #[test]
    fn the_time_left_comes_from_calls_that_were_sent() {
        let resumed = Snapshot {
            calls: 1000,
            most_calls: 1100,
            sent: 10,
            known: 990,
            sending: Duration::from_secs(8),
            ..Snapshot::default()
        };
        // 100 calls are left, and each of the ten took 0.8 s.
        assert_eq!(seconds_left(&resumed), Some(80.0));
        assert!(
            log_line("tone", &resumed).contains("1 min 20 s left") || log_line("tone", &resumed).contains("80 s left")
        );
        assert_eq!(seconds_left(&Snapshot { sent: 0, ..resumed }), None);
        assert_eq!(event("tone", &resumed)["seconds_left"], json!(80.0));
        let slow = Snapshot { sent: 1, sending: Duration::from_secs(20), ..resumed };
        assert!(log_line("tone", &slow).contains("20 s/call"), "{}", log_line("tone", &slow));
    }
}
