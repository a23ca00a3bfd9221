//! Progress: counters of a run, one set per stage, readable at any time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::failures::Failures;
use super::wait::{Wait, Waits};
use crate::plan::Plan;
use crate::prompt::Failure;
use crate::spec::{CallTokens, StageSpec, TableId};
use crate::store::{Audit, ChangesByModel, PartFacts, Share, Shares, StageTotals};

const NANO: f64 = 1e9;

#[derive(Debug)]
pub(crate) struct Progress {
    stages: BTreeMap<TableId, StageProgress>,
    waits: Mutex<Waits>,
}

#[derive(Debug)]
pub(crate) struct StageProgress {
    pub(crate) name: String,
    is_priced: bool,
    /// The most calls about a row.
    calls_per_row: f64,
    in_flight: AtomicU64,
    parts: AtomicU64,
    counters: Mutex<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    /// The totals, except `needed`, `usd` and `errors`.
    totals: StageTotals,
    /// Calls of the parts that an earlier run committed.
    kept_calls: u64,
    /// The cost in billionths of a US dollar, an integer so that the sum does not depend on the order.
    spent: u64,
    /// When the first call was sent.
    first_sent: Option<Instant>,
    errors: BTreeMap<&'static str, Failures>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// Finished calls: sent, answered by the ledger, or of parts kept from an earlier run.
    pub(crate) calls: u64,
    /// The most calls that the stage needs; 0 while its rows are not known.
    pub(crate) most_calls: u64,
    pub(crate) sent: u64,
    /// Finished calls that were not sent.
    pub(crate) known: u64,
    /// Rows with a failed call.
    pub(crate) failed: u64,
    pub(crate) in_flight: u64,
    pub(crate) parts: u64,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    /// US dollars; `None` without a price.
    pub(crate) usd: Option<f64>,
    /// The time since the first call was sent.
    pub(crate) sending: Duration,
    pub(crate) is_done: bool,
}

pub(crate) struct Flight<'a> {
    stage: &'a StageProgress,
    has_landed: bool,
}

impl Flight<'_> {
    /// Ends the flight with a reply or an error.
    pub(crate) fn land(mut self) {
        self.has_landed = true;
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.stage.in_flight.fetch_sub(1, Relaxed);
        if !self.has_landed {
            self.stage.counters.lock().totals.aborted += 1;
        }
    }
}

impl Progress {
    pub(crate) fn new(plan: &Plan) -> Self {
        let stage = |id: TableId| {
            let stage = plan.spec.stage(id);
            let progress = StageProgress {
                name: stage.name.to_string(),
                is_priced: is_priced(plan, stage),
                calls_per_row: (stage.width() as u64 * stage.stage.info.most_prompts) as f64
                    / stage.rows_per_prompt as f64,
                in_flight: AtomicU64::new(0),
                parts: AtomicU64::new(0),
                counters: Mutex::default(),
            };
            progress.expect(plan.rows(stage.input).unwrap_or_default());
            (id, progress)
        };
        Progress { stages: plan.stages().map(stage).collect(), waits: Mutex::default() }
    }

    /// The counters of stage `stage`, which must run.
    pub(crate) fn stage(&self, stage: TableId) -> &StageProgress {
        self.stages.get(&stage).expect("counters exist for every stage that runs")
    }

    pub(crate) fn stages(&self) -> impl Iterator<Item = &StageProgress> {
        self.stages.values()
    }

    pub(crate) fn waits(&self) -> Waits {
        self.waits.lock().clone()
    }

    pub(crate) fn look(&self, waits: Vec<Wait>, now: Instant) {
        self.waits.lock().look(waits, now);
    }

    pub(crate) fn totals(&self, stage: TableId) -> StageTotals {
        let stage = self.stage(stage);
        let counters = stage.counters.lock();
        StageTotals {
            needed: counters.totals.calls + counters.totals.from_ledger + counters.kept_calls,
            usd: stage.is_priced.then(|| counters.spent as f64 / NANO),
            errors: counters.errors.iter().map(|(kind, failures)| ((*kind).to_owned(), failures.entry())).collect(),
            ..counters.totals.clone()
        }
    }
}

impl StageProgress {
    /// The number of input rows; 0 until it is known.
    pub(crate) fn rows(&self) -> u64 {
        self.counters.lock().totals.rows
    }

    pub(crate) fn expect(&self, rows: u64) {
        self.counters.lock().totals.rows = rows;
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let counters = self.counters.lock();
        let totals = &counters.totals;
        let calls = totals.calls + totals.from_ledger + counters.kept_calls;
        let is_done = totals.rows > 0 && totals.counts.total() >= totals.rows;
        let asked = totals.rows.saturating_sub(totals.counts.skipped);
        let most = (asked as f64 * self.calls_per_row).ceil() as u64;
        Snapshot {
            calls,
            most_calls: if is_done { calls } else { most.max(calls) },
            sent: totals.calls,
            known: totals.from_ledger + counters.kept_calls,
            failed: totals.counts.failed,
            in_flight: self.in_flight.load(Relaxed),
            parts: self.parts.load(Relaxed),
            prompt_tokens: totals.prompt_tokens,
            completion_tokens: totals.completion_tokens,
            usd: self.is_priced.then(|| counters.spent as f64 / NANO),
            sending: counters.first_sent.map(|first| first.elapsed()).unwrap_or_default(),
            is_done,
        }
    }

    /// The number of failed calls of each kind.
    pub(crate) fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.counters.lock().errors.iter().map(|(kind, failures)| (*kind, failures.count())).collect()
    }

    pub(crate) fn part_committed(&self) {
        self.parts.fetch_add(1, Relaxed);
    }

    /// Counts a new attempt as in flight until the returned value is dropped.
    pub(crate) fn flight(&self) -> Flight<'_> {
        let mut counters = self.counters.lock();
        counters.totals.attempts += 1;
        counters.first_sent.get_or_insert_with(Instant::now);
        drop(counters);
        self.in_flight.fetch_add(1, Relaxed);
        Flight { stage: self, has_landed: false }
    }

    /// Counts a call that the end of the run stops between two tries.
    pub(crate) fn stopped(&self) {
        self.counters.lock().totals.stopped += 1;
    }

    /// Counts the tokens of a reply; `thought` of them are of its thoughts.
    pub(crate) fn tokens(&self, tokens: CallTokens, thought: u64) {
        let totals = &mut self.counters.lock().totals;
        totals.prompt_tokens += tokens.prompt;
        totals.cached_tokens += tokens.cached;
        totals.cache_write_tokens += tokens.cache_writes;
        totals.completion_tokens += tokens.reply;
        totals.reasoning_tokens += thought;
    }

    /// Whether several calls may be sent, which then have the same text for all rows.
    pub(crate) fn shares_prompts(&self) -> bool {
        let rows = self.rows();
        rows == 0 || rows as f64 * self.calls_per_row > 1.0
    }

    /// Counts finished calls: sent, answered by the ledger, and calls about single rows that packs replace.
    pub(crate) fn calls(&self, sent: u64, known: u64, singles: u64) {
        let totals = &mut self.counters.lock().totals;
        totals.calls += sent;
        totals.from_ledger += known;
        totals.without_packing += singles;
    }

    /// Counts a recorded answer about a prompt that the server had cut.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.counters.lock().totals.cut += u64::from(is_cut);
    }

    /// Counts recorded answers that name no server and may be of a different one.
    pub(crate) fn other_servers(&self, answers: u64) {
        self.counters.lock().totals.other_servers += answers;
    }

    pub(crate) fn answered(&self) {
        self.counters.lock().totals.counts.answered += 1;
    }

    pub(crate) fn skipped(&self) {
        self.counters.lock().totals.counts.skipped += 1;
    }

    /// Counts a row with a failed call. Returns the number of such rows.
    pub(crate) fn failed(&self) -> u64 {
        let failed = &mut self.counters.lock().totals.counts.failed;
        *failed += 1;
        *failed
    }

    pub(crate) fn spent(&self, usd: f64) {
        self.counters.lock().spent += (usd * NANO).round() as u64;
    }

    /// Counts a failed call; `row` is the number and name of its row, `place` its position in the row.
    pub(crate) fn error(&self, failure: &Failure, row: (i64, String), place: usize) {
        let mut counters = self.counters.lock();
        counters.errors.entry(failure.kind.name()).or_default().add(row, place, &failure.message);
    }

    pub(crate) fn shares(&self, shares: &Shares) {
        Share::add(&mut self.counters.lock().totals.shares, shares);
    }

    pub(crate) fn audit(&self, audit: Option<&Audit>) {
        if let Some(audit) = audit {
            self.counters.lock().totals.audit.get_or_insert_default().add(audit);
        }
    }

    pub(crate) fn changes(&self, changes: &ChangesByModel) {
        let totals = &mut self.counters.lock().totals;
        changes.iter().for_each(|(model, more)| *totals.changes.entry(model.clone()).or_default() += *more);
    }

    pub(crate) fn kept(&self, facts: &PartFacts) {
        let mut counters = self.counters.lock();
        counters.totals.counts += facts.counts;
        counters.totals.kept += facts.counts.total();
        counters.kept_calls += facts.calls;
        drop(counters);
        self.part_committed();
        self.shares(&facts.shares);
        self.audit(facts.audit.as_ref());
        self.changes(&facts.changes);
    }
}

fn is_priced(plan: &Plan, stage: &StageSpec) -> bool {
    let own = stage.models.iter().map(|model| plan.spec.model(*model).1);
    let mut all = own.flat_map(|model| model.fallback.iter().map(|other| plan.spec.model(*other).1).chain([model]));
    all.any(|model| model.price.is_some())
}
