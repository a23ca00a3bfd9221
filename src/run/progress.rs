//! Progress: counters that the engine turns and anyone may read, a set per stage.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use indexmap::IndexMap;

use crate::plan::Plan;
use crate::store::{Audit, ErrorKind, PartFacts, Share, Shares, StageTotals};

/// The counters of a run.
#[derive(Debug)]
pub struct Progress {
    stages: Vec<Option<StageProgress>>,
}

/// The counters of a stage.
#[derive(Debug)]
pub struct StageProgress {
    /// The stage's name.
    pub name: String,
    /// Rows of its input.
    pub rows: u64,
    answered: AtomicU64,
    failed: AtomicU64,
    skipped: AtomicU64,
    kept: AtomicU64,
    calls: AtomicU64,
    from_ledger: AtomicU64,
    singles: AtomicU64,
    attempts: AtomicU64,
    in_flight: AtomicU64,
    prompt_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    errors: Mutex<IndexMap<String, ErrorKind>>,
    shares: Mutex<Shares>,
    audit: Mutex<Option<Audit>>,
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
        let mut stages: Vec<Option<StageProgress>> = plan.spec.stages.iter().map(|_| None).collect();
        for i in plan.stages() {
            let stage = &plan.spec.stages[i];
            stages[i] = Some(StageProgress::new(stage.name.to_string(), plan.rows(stage.input)));
        }
        Progress { stages }
    }

    /// The counters of stage `stage`, which must run.
    pub fn stage(&self, stage: usize) -> &StageProgress {
        self.stages[stage].as_ref().expect("counters exist for every stage that runs")
    }

    /// The stages that run.
    pub fn stages(&self) -> impl Iterator<Item = &StageProgress> {
        self.stages.iter().flatten()
    }

    /// What stage `stage` has done.
    pub fn totals(&self, stage: usize) -> StageTotals {
        let stage = self.stage(stage);
        StageTotals {
            rows: stage.rows,
            answered: stage.answered.load(Relaxed),
            failed: stage.failed.load(Relaxed),
            skipped: stage.skipped.load(Relaxed),
            kept: stage.kept.load(Relaxed),
            calls: stage.calls.load(Relaxed),
            from_ledger: stage.from_ledger.load(Relaxed),
            without_packing: stage.singles.load(Relaxed),
            audit: stage.audit.lock().unwrap_or_else(|e| e.into_inner()).clone(),
            attempts: stage.attempts.load(Relaxed),
            prompt_tokens: stage.prompt_tokens.load(Relaxed),
            completion_tokens: stage.completion_tokens.load(Relaxed),
            shares: stage.shares.lock().unwrap_or_else(|e| e.into_inner()).clone(),
            errors: stage.errors.lock().unwrap_or_else(|e| e.into_inner()).clone(),
        }
    }
}

impl StageProgress {
    fn new(name: String, rows: u64) -> Self {
        StageProgress {
            name,
            rows,
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            from_ledger: AtomicU64::new(0),
            singles: AtomicU64::new(0),
            attempts: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            completion_tokens: AtomicU64::new(0),
            errors: Mutex::default(),
            shares: Mutex::default(),
            audit: Mutex::default(),
        }
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

    /// Counts a finished call.
    pub fn call(&self, from_ledger: bool) {
        if from_ledger { &self.from_ledger } else { &self.calls }.fetch_add(1, Relaxed);
    }

    /// Counts calls about several rows: those sent, those known, and how many calls about single rows they stand for.
    pub fn packed(&self, sent: u64, known: u64, singles: u64) {
        self.calls.fetch_add(sent, Relaxed);
        self.from_ledger.fetch_add(known, Relaxed);
        self.singles.fetch_add(singles, Relaxed);
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

    /// Counts a failed call by its kind (`kind: message`); the first one is the example.
    pub fn error(&self, error: &str, row: &str) {
        let (kind, message) = error.split_once(": ").unwrap_or((error, ""));
        let mut errors = self.errors.lock().unwrap_or_else(|e| e.into_inner());
        match errors.get_mut(kind) {
            Some(known) => known.count += 1,
            None => {
                let first = ErrorKind { count: 1, row: row.to_owned(), message: message.to_owned() };
                errors.insert(kind.to_owned(), first);
            }
        }
    }

    /// Counts the shares of a part that is done.
    pub fn shares(&self, shares: &Shares) {
        Share::add(&mut self.shares.lock().unwrap_or_else(|e| e.into_inner()), shares);
    }

    /// Adds what the audit of a part that is done showed.
    pub fn audit(&self, audit: Option<&Audit>) {
        if let Some(audit) = audit {
            self.audit.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert_default().add(audit);
        }
    }

    /// Counts a part that was committed earlier.
    pub fn kept(&self, facts: &PartFacts) {
        self.answered.fetch_add(facts.answered, Relaxed);
        self.skipped.fetch_add(facts.skipped, Relaxed);
        self.kept.fetch_add(facts.answered + facts.failed + facts.skipped, Relaxed);
        self.shares(&facts.shares);
        self.audit(facts.audit.as_ref());
    }
}
