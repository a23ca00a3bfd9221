//! Progress on standard error: a bar per stage on a terminal, else a line every few seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Terminal;
use crate::report::text::printable;
use crate::report::wait::{Announcer, line};
use crate::run::Progress;
use crate::run::progress::{Snapshot, StageProgress};

const REDRAW: Duration = Duration::from_millis(100);
const SECOND: Duration = Duration::from_secs(1);
/// The seconds between two lines with counters.
const LINE: u64 = 10;
/// The most lines about what holds back calls.
const NOTES: usize = 4;

/// Shows progress until the future is dropped. `preparing` returns the reason why the first answer is late.
pub(crate) async fn show(progress: Arc<Progress>, preparing: impl Fn() -> Option<String>, terminal: Terminal) {
    if terminal.live { bars(&progress, preparing).await } else { lines(&progress, preparing, &terminal).await }
}

async fn bars(progress: &Progress, preparing: impl Fn() -> Option<String>) {
    let all = MultiProgress::new();
    let style = style("{prefix:>12} {bar:20} {pos}/{len} {msg}, {eta} left");
    let stages: Vec<(&StageProgress, ProgressBar)> = progress
        .stages()
        .map(|stage| {
            let bar = all.add(ProgressBar::new(stage.rows()).with_style(style.clone()));
            bar.set_prefix(stage.name.clone());
            (stage, bar)
        })
        .collect();
    let _clear = Clear(&all);
    let started = Instant::now();
    let mut notes: Vec<ProgressBar> = Vec::new();
    loop {
        let (waits, now) = progress.waits().shown();
        let texts = preparing().into_iter().chain(waits.iter().map(|wait| line(wait, now)));
        let texts: Vec<String> = texts.take(NOTES).collect();
        for bar in notes.drain(texts.len().min(notes.len())..) {
            bar.finish_and_clear();
            all.remove(&bar);
        }
        while notes.len() < texts.len() {
            notes.push(all.add(ProgressBar::new_spinner().with_style(self::style("{spinner} {wide_msg}"))));
        }
        for (bar, text) in notes.iter().zip(&texts) {
            bar.set_message(printable(text).into_owned());
            bar.tick();
        }
        for (stage, bar) in &stages {
            let now = stage.snapshot();
            bar.set_message(counters(&now, started.elapsed()));
            bar.set_length(stage.rows());
            bar.set_position(now.done);
        }
        tokio::time::sleep(REDRAW).await;
    }
}

pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

struct Clear<'a>(&'a MultiProgress);

impl Drop for Clear<'_> {
    fn drop(&mut self) {
        let _ = self.0.clear();
    }
}

async fn lines(progress: &Progress, preparing: impl Fn() -> Option<String>, terminal: &Terminal) {
    let (started, mut announcer) = (Instant::now(), Announcer::default());
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
            if now.done < stage.rows() {
                let counters = counters(&now, started.elapsed());
                terminal.note(&format!("{}: {} of {} rows {counters}", stage.name, now.done, stage.rows()));
            }
        }
    }
}

fn counters(now: &Snapshot, elapsed: Duration) -> String {
    let rate = now.completion_tokens as f64 / elapsed.as_secs_f64().max(0.001);
    format!("({} failed, {} from ledger), {} in flight, {rate:.0} tok/s", now.failed, now.known, now.in_flight)
}
