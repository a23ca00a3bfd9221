//! Progress: counters of a run, one set per stage, readable at any time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::failures::Failures;
use super::wait::{Wait, Waits};
use crate::plan::Plan;
use crate::prompt::Failure;
use crate::spec::{StageSpec, TableId};
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
    in_flight: AtomicU64,
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
    errors: BTreeMap<&'static str, Failures>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Calls answered by the ledger, plus rows kept from an earlier run.
    pub(crate) known: u64,
    pub(crate) in_flight: u64,
    pub(crate) completion_tokens: u64,
}

pub(crate) struct Flight<'a>(&'a StageProgress);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Progress {
    pub(crate) fn new(plan: &Plan) -> Self {
        let stage = |id: TableId| {
            let stage = plan.spec.stage(id);
            let progress = StageProgress {
                name: stage.name.to_string(),
                is_priced: is_priced(plan, stage),
                in_flight: AtomicU64::new(0),
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
        let totals = &self.counters.lock().totals;
        Snapshot {
            done: totals.counts.total(),
            failed: totals.counts.failed,
            known: totals.from_ledger + totals.kept,
            in_flight: self.in_flight.load(Relaxed),
            completion_tokens: totals.completion_tokens,
        }
    }

    /// Counts a new attempt as in flight until the returned value is dropped.
    pub(crate) fn flight(&self) -> Flight<'_> {
        self.counters.lock().totals.attempts += 1;
        self.in_flight.fetch_add(1, Relaxed);
        Flight(self)
    }

    pub(crate) fn tokens(&self, prompt: u64, completion: u64) {
        let totals = &mut self.counters.lock().totals;
        totals.prompt_tokens += prompt;
        totals.completion_tokens += completion;
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
