//! Progress on standard error: a line per stage that is redrawn on a terminal, else lines now and then, or events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressStyle;
use serde_json::json;
use tokio::time::Instant;

use super::terminal::Notes;
use super::{Terminal, live};
use crate::report::progress::{event, line, log_line};
use crate::report::text::{fit, printable};
use crate::report::wait::{self, Announcer};
use crate::run::Progress;
use crate::run::progress::{Snapshot, StageProgress};
use crate::run::wait::{Wait, WaitKind};

const REDRAW: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// The seconds between two lines with counters.
const LINE: u64 = 10;
const SPINNER: [&str; 10] = [
    "\u{280b}", "\u{2819}", "\u{2839}", "\u{2838}", "\u{283c}", "\u{2834}", "\u{2826}", "\u{2827}", "\u{2807}",
    "\u{280f}",
];
/// The most lines about what holds back calls.
const NOTES: usize = 4;

/// Shows progress until the future is dropped. `preparing` returns the reason why the first answer is late.
pub(crate) async fn show(progress: Arc<Progress>, preparing: impl Fn() -> Option<String>, terminal: Terminal) {
    match terminal.notes {
        Notes::None => {}
        Notes::Json => events(&progress, &terminal).await,
        Notes::Text if terminal.live => bars(&progress, preparing, &terminal).await,
        Notes::Text => lines(&progress, preparing, &terminal).await,
    }
}

async fn bars(progress: &Progress, preparing: impl Fn() -> Option<String>, terminal: &Terminal) {
    let _erase = Erase(*terminal);
    for spinner in SPINNER.iter().cycle() {
        let (size, (waits, now)) = (terminal.size(), progress.waits().shown());
        // Room for keys such as `^C`. A line of the whole width would wrap on some terminals.
        let width = size.0.saturating_sub(3);
        let stage = |stage: &StageProgress| coloured(&line(&stage.name, &stage.snapshot(), width), terminal.color);
        let texts = preparing().into_iter().chain(waits.iter().map(|wait| wait::line(wait, now)));
        let texts = texts.take(NOTES).map(|text| fit(&format!("{spinner} {}", printable(&text)), width));
        live::draw(&progress.stages().map(stage).chain(texts).collect::<Vec<_>>(), size);
        tokio::time::sleep(REDRAW).await;
    }
}

/// The number of failed rows in red.
fn coloured(line: &str, has_color: bool) -> String {
    let failed = line.split(", ").find(|part| part.ends_with(" failed")).filter(|_| has_color);
    failed.map_or_else(|| line.to_owned(), |part| line.replacen(part, &format!("\x1b[31m{part}\x1b[0m"), 1))
}

pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Erases the live lines at the end.
struct Erase(Terminal);

impl Drop for Erase {
    fn drop(&mut self) {
        live::erase(self.0.width());
    }
}

async fn lines(progress: &Progress, preparing: impl Fn() -> Option<String>, terminal: &Terminal) {
    let mut announcer = Announcer::default();
    for second in 1_u64.. {
        tokio::time::sleep(SECOND).await;
        let (waits, now) = progress.waits().shown();
        announcer.lines(&waits, now).iter().for_each(|line| terminal.note(line));
        if !second.is_multiple_of(LINE) {
            continue;
        }
        if let Some(text) = preparing() {
            terminal.note(&text);
            continue;
        }
        for stage in progress.stages() {
            let now = stage.snapshot();
            if !now.is_done {
                terminal.note(&log_line(&stage.name, &now));
            }
        }
    }
}

/// Writes an event when something has changed, at most one of each kind a second.
async fn events(progress: &Progress, terminal: &Terminal) {
    let mut told = Told::default();
    loop {
        tokio::time::sleep(SECOND).await;
        told.tell(progress, terminal);
    }
}

/// What the last events said.
#[derive(Default)]
pub(crate) struct Told {
    stages: BTreeMap<String, (Snapshot, BTreeMap<&'static str, u64>)>,
    waits: BTreeMap<(String, WaitKind), Instant>,
}

impl Told {
    /// Writes the events since the last time.
    pub(crate) fn tell(&mut self, progress: &Progress, terminal: &Terminal) {
        for stage in progress.stages() {
            let (now, failures) = (stage.snapshot(), stage.failures());
            let (last, last_failures) = self.stages.entry(stage.name.clone()).or_default();
            if (Snapshot { sending: last.sending, ..now }) != *last {
                terminal.event(event(&stage.name, &now));
            }
            if now.parts > last.parts {
                terminal.event(json!({ "event": "part", "stage": stage.name, "committed": now.parts }));
            }
            for (kind, count) in &failures {
                if last_failures.get(kind) != Some(count) {
                    let failed = json!({ "event": "failures", "stage": stage.name, "kind": kind, "calls": count });
                    terminal.event(failed);
                }
            }
            (*last, *last_failures) = (now, failures);
        }
        let (waits, now) = progress.waits().shown();
        self.tell_waits(&waits, now, terminal);
    }

    fn tell_waits(&mut self, waits: &[Wait], now: Instant, terminal: &Terminal) {
        for wait in waits {
            if self.waits.insert((wait.on.clone(), wait.kind), wait.since).is_none() {
                terminal.event(wait::event(wait, now));
            }
        }
        let ended = |(on, kind): &(String, WaitKind)| !waits.iter().any(|wait| wait.on == *on && wait.kind == *kind);
        for ((on, kind), since) in self.waits.extract_if(.., |key, _| ended(key)) {
            let seconds = now.saturating_duration_since(since).as_secs();
            terminal.event(json!({ "event": "wait_end", "on": on, "kind": wait::word(kind), "seconds": seconds }));
        }
    }
}
