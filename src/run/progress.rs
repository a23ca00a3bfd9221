//! Progress: counters that the engine turns and anyone may read, a set per stage.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::plan::Plan;
use crate::prompt::Failure;
use crate::spec::{StageSpec, TableId};
use crate::store::{Audit, ErrorKind, PartFacts, RowCounts, Share, Shares, StageTotals};

/// Rows of a kind of failed calls that are told.
const TOLD: usize = 5;
/// Parts of a US dollar that are counted.
const NANO: f64 = 1e9;

/// The counters of a run.
#[derive(Debug)]
pub struct Progress {
    stages: BTreeMap<TableId, StageProgress>,
}

/// The counters of a stage.
#[derive(Debug, Default)]
pub struct StageProgress {
    /// The stage's name.
    pub name: String,
    rows: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    kept: AtomicU64,
    kept_calls: AtomicU64,
    calls: AtomicU64,
    from_ledger: AtomicU64,
    singles: AtomicU64,
    attempts: AtomicU64,
    in_flight: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    /// Whole billionths, so that the sum doesn't depend on the order.
    spent: AtomicU64,
    /// Whether a model has a price.
    priced: bool,
    errors: Mutex<BTreeMap<&'static str, Failures>>,
    shares: Mutex<Shares>,
    audit: Mutex<Option<Audit>>,
}

/// Failed calls of one kind.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    /// The first rows by their numbers: the place of the first failed call in the row, the row's name, what was said.
    first: BTreeMap<i64, (usize, String, String)>,
}

impl Failures {
    fn add(&mut self, (number, row): (i64, String), place: usize, message: &str) {
        self.count += 1;
        // Most come late and are only counted.
        let full = self.first.len() == TOLD && self.first.last_key_value().is_some_and(|(last, _)| number > *last);
        if full || self.first.get(&number).is_some_and(|(known, ..)| *known <= place) {
            return;
        }
        self.first.insert(number, (place, row, message.to_owned()));
        if self.first.len() > TOLD {
            self.first.pop_last();
        }
    }

    fn told(&self) -> ErrorKind {
        let rows = self.first.values().map(|(_, row, _)| row.clone()).collect();
        let message = self.first.values().next().map(|(.., message)| message.clone());
        ErrorKind { count: self.count, rows, message: message.unwrap_or_default() }
    }
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Rows done: answered, failed or skipped.
    pub done: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Calls answered by the ledger, and rows kept from an earlier start.
    pub known: u64,
    /// Calls in flight.
    pub in_flight: u64,
    /// Tokens received.
    pub completion_tokens: u64,
}

/// A call in flight, as long as it lives.
pub struct Flight<'a>(&'a StageProgress);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Progress {
    /// Counters for every stage of `plan` that runs.
    pub fn new(plan: &Plan) -> Self {
        let mut stages: BTreeMap<TableId, StageProgress> = BTreeMap::new();
        for i in plan.stages() {
            let stage = plan.spec.stage(i);
            let rows = plan.rows(stage.input).unwrap_or_default();
            stages.insert(i, StageProgress::new(stage, rows, is_priced(plan, stage)));
        }
        Progress { stages }
    }

    /// The counters of stage `stage`, which must run.
    pub fn stage(&self, stage: TableId) -> &StageProgress {
        self.stages.get(&stage).expect("counters exist for every stage that runs")
    }

    /// The stages that run.
    pub fn stages(&self) -> impl Iterator<Item = &StageProgress> {
        self.stages.values()
    }

    /// What stage `stage` has done.
    pub fn totals(&self, stage: TableId) -> StageTotals {
        let stage = self.stage(stage);
        let errors = stage.errors.lock();
        let sent = stage.calls.load(Relaxed);
        let from_ledger = stage.from_ledger.load(Relaxed);
        StageTotals {
            rows: stage.rows(),
            counts: RowCounts {
                answered: stage.answered.load(Relaxed),
                failed: stage.failed.load(Relaxed),
                skipped: stage.skipped.load(Relaxed),
            },
            kept: stage.kept.load(Relaxed),
            calls: sent,
            from_ledger,
            needed: sent + from_ledger + stage.kept_calls.load(Relaxed),
            without_packing: stage.singles.load(Relaxed),
            audit: stage.audit.lock().clone(),
            attempts: stage.attempts.load(Relaxed),
            prompt_tokens: stage.prompt_tokens.load(Relaxed),
            completion_tokens: stage.completion_tokens.load(Relaxed),
            shares: stage.shares.lock().clone(),
            usd: stage.priced.then(|| stage.spent.load(Relaxed) as f64 / NANO),
            errors: errors.iter().map(|(kind, failures)| ((*kind).to_owned(), failures.told())).collect(),
        }
    }
}

impl StageProgress {
    fn new(stage: &StageSpec, rows: u64, priced: bool) -> Self {
        StageProgress { name: stage.name.to_string(), rows: AtomicU64::new(rows), priced, ..StageProgress::default() }
    }

    /// Rows of its input; 0 until that is known.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Its input has so many rows.
    pub fn expect(&self, rows: u64) {
        self.rows.store(rows, Relaxed);
    }

    /// How far it is.
    pub fn snapshot(&self) -> Snapshot {
        let failed = self.failed.load(Relaxed);
        Snapshot {
            done: self.answered.load(Relaxed) + failed + self.skipped.load(Relaxed),
            failed,
            known: self.from_ledger.load(Relaxed) + self.kept.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            completion_tokens: self.completion_tokens.load(Relaxed),
        }
    }

    /// Counts an attempt that begins, until the value is dropped.
    pub fn flight(&self) -> Flight<'_> {
        self.attempts.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        Flight(self)
    }

    /// Counts tokens as the server counted them.
    pub fn tokens(&self, prompt: u64, completion: u64) {
        self.prompt_tokens.fetch_add(prompt, Relaxed);
        self.completion_tokens.fetch_add(completion, Relaxed);
    }

    /// Counts finished calls: those sent, those the ledger answered, and how many calls about single rows those of packs
    /// replace.
    pub fn calls(&self, sent: u64, known: u64, singles: u64) {
        for (counter, number) in [(&self.calls, sent), (&self.from_ledger, known), (&self.singles, singles)] {
            if number > 0 {
                counter.fetch_add(number, Relaxed);
            }
        }
    }

    /// Counts a row that is done.
    pub fn answered(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    /// Counts a row that was not asked about.
    pub fn skipped(&self) {
        self.skipped.fetch_add(1, Relaxed);
    }

    /// Counts a row with a failed call; gives how many there are.
    pub fn failed(&self) -> u64 {
        self.failed.fetch_add(1, Relaxed) + 1
    }

    /// Counts what a reply cost, in US dollars.
    pub fn spent(&self, usd: f64) {
        self.spent.fetch_add((usd * NANO).round() as u64, Relaxed);
    }

    /// Counts a failed call by its kind; the row is told by number and name, the call by its place in it.
    pub fn error(&self, failure: &Failure, row: (i64, String), place: usize) {
        let mut errors = self.errors.lock();
        errors.entry(failure.kind.name()).or_default().add(row, place, &failure.message);
    }

    /// Counts the shares of a part that is done.
    pub fn shares(&self, shares: &Shares) {
        Share::add(&mut self.shares.lock(), shares);
    }

    /// Adds what the audit of a part that is done showed.
    pub fn audit(&self, audit: Option<&Audit>) {
        if let Some(audit) = audit {
            self.audit.lock().get_or_insert_default().add(audit);
        }
    }

    /// Counts a part that was committed earlier.
    pub fn kept(&self, facts: &PartFacts) {
        self.answered.fetch_add(facts.counts.answered, Relaxed);
        self.skipped.fetch_add(facts.counts.skipped, Relaxed);
        self.kept.fetch_add(facts.counts.total(), Relaxed);
        self.kept_calls.fetch_add(facts.calls, Relaxed);
        self.shares(&facts.shares);
        self.audit(facts.audit.as_ref());
    }
}

/// Whether a reply to a stage may cost something.
fn is_priced(plan: &Plan, stage: &StageSpec) -> bool {
    let own = stage.models.iter().map(|model| plan.spec.model(*model).1);
    let mut all = own.flat_map(|model| model.fallback.iter().map(|other| plan.spec.model(*other).1).chain([model]));
    all.any(|model| model.price.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_of_a_kind_are_told_whatever_comes_first() {
        let told = |order: &[i64]| {
            let mut failures = Failures::default();
            for number in order {
                for place in [1, 0] {
                    failures.add((*number, format!("k{number}")), place, &format!("{number}.{place}"));
                }
            }
            failures.told()
        };
        let expected = ErrorKind {
            count: 16,
            rows: ["k1", "k2", "k3", "k4", "k5"].map(str::to_owned).to_vec(),
            message: "1.0".to_owned(),
        };
        for order in [[1, 2, 3, 4, 5, 6, 7, 8], [8, 7, 6, 5, 4, 3, 2, 1], [5, 1, 8, 2, 7, 3, 6, 4]] {
            assert_eq!(told(&order), expected);
        }
    }
}
