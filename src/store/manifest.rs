//! The manifest: what a run did, as `manifest.json` in its folder.

use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Audit, Lock, RunDir, StageShape, StoreError};
use crate::table::parquet::{new_file, persist};

/// The version of the manifest's form.
const VERSION: u32 = 1;
const FILE: &str = "manifest.json";

/// What a run did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form.
    pub schema_version: u32,
    /// The version of fanfold.
    pub fanfold: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The hash of everything in the spec that can change a table.
    pub spec_hash: String,
    /// The identity of the run ([`crate::plan::Plan::identity`]), which its outputs name.
    #[serde(default)]
    pub run: String,
    /// How far it came.
    pub state: State,
    /// The replay file that it was answered from, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// Since when answers count, in milliseconds since 1970: when everything was last asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_since_ms: Option<i64>,
    /// When it was last started, RFC 3339.
    pub started_at: String,
    /// When it ended, RFC 3339.
    pub finished_at: Option<String>,
    /// The sources' rows and content hashes.
    pub sources: IndexMap<String, SourceEntry>,
    /// The stages that made a table of tables.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub reshapes: IndexMap<String, ReshapeEntry>,
    /// The models that were asked.
    pub models: IndexMap<String, ModelFacts>,
    /// How the stages' tables hang together.
    #[serde(default)]
    pub tables: IndexMap<String, StageShape>,
    /// What each stage did.
    pub stages: IndexMap<String, StageTotals>,
    /// The files that were written.
    pub outputs: IndexMap<String, OutputFacts>,
    /// What the tables are made from and, when it is done, what they are; none for a run of some rows or stages only.
    #[serde(default)]
    pub lock: Option<Lock>,
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is at it, or was killed.
    Running,
    /// It was stopped and can go on.
    Stopped,
    /// It is done.
    Done,
}

/// A source as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// Its rows.
    pub rows: u64,
    /// The hash of its content.
    pub content: String,
    /// The files that it reads, as the spec names them.
    #[serde(default)]
    pub paths: Vec<String>,
    /// The column that identifies a row.
    #[serde(default)]
    pub key: Option<String>,
}

/// A table that was made of tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReshapeEntry {
    /// How: `split`, `join` or `gather`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What of.
    pub inputs: Vec<String>,
    /// The column that identifies a row.
    pub key: Option<String>,
    /// How many columns at its end are for the stage that reads it only.
    pub hidden: usize,
}

/// A model as it was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// The provider's kind.
    pub provider: String,
    /// Where it is.
    pub endpoint: String,
    /// The provider's id of it.
    pub model: String,
    /// The digest of its weights, where the server tells it.
    pub digest: Option<String>,
    /// Its quantisation, where the server tells it.
    pub quantization: Option<String>,
    /// The hash of its chat template, where the server tells it.
    #[serde(default)]
    pub template: Option<String>,
}

/// What a stage did. Rows: `rows = answered + failed + skipped` when it is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageTotals {
    /// Rows of its input.
    pub rows: u64,
    /// Rows that every model answered.
    pub answered: u64,
    /// Rows with a failed call.
    pub failed: u64,
    /// Rows that were not asked about: their text or an answer that they depend on is missing.
    pub skipped: u64,
    /// Rows in parts that an earlier start of this run had committed.
    pub kept: u64,
    /// Calls that were sent and finished.
    pub calls: u64,
    /// Calls that the ledger answered.
    pub from_ledger: u64,
    /// Calls that it would have been without `rows_per_prompt`, for the rows that were asked about together; the audit's
    /// own calls are not among them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_packing: u64,
    /// Attempts in all, retries included.
    pub attempts: u64,
    /// Tokens of the prompts that were sent.
    pub prompt_tokens: u64,
    /// Tokens of the replies that were received.
    pub completion_tokens: u64,
    /// Calls that the rows took, whoever answered them and when: what would be sent without the ledger.
    #[serde(default)]
    pub needed: u64,
    /// US dollars that the replies cost, where a model has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    /// How often each label was given, by column of labels.
    #[serde(default)]
    pub shares: Shares,
    /// What asking rows one by one as well showed, where the spec says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// Failed calls by kind, with the first rows of each.
    pub errors: IndexMap<String, ErrorKind>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Shares by column.
pub type Shares = IndexMap<String, Share>;

/// How often each label of a column was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Share {
    /// The labels in the spec's order, and how often each was given; of booleans `true` and `false`.
    pub labels: IndexMap<String, u64>,
    /// How often the answer was null.
    pub null: u64,
}

impl Share {
    /// How many answers are a label.
    pub fn of(&self) -> u64 {
        self.labels.values().sum()
    }

    /// Adds the counts of `more` to those of the same columns in `shares`.
    pub fn add(shares: &mut Shares, more: &Shares) {
        for (column, share) in more {
            let sum = shares.entry(column.clone()).or_default();
            for (label, count) in &share.labels {
                *sum.labels.entry(label.clone()).or_default() += count;
            }
            sum.null += share.null;
        }
    }
}

/// Failed calls of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorKind {
    /// How many.
    pub count: u64,
    /// The first rows where one was, by key or number.
    #[serde(default)]
    pub rows: Vec<String>,
    /// What was said about the first of them.
    pub message: String,
}

/// A file that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFacts {
    /// What it holds: a stage or a source.
    #[serde(default)]
    pub input: String,
    /// Where, as the spec says.
    pub path: String,
    /// Its rows.
    pub rows: u64,
    /// Its columns.
    pub columns: usize,
}

impl Manifest {
    /// A manifest of a run that starts now.
    pub fn start(pipeline: &str, spec_hash: &str, run: &str) -> Self {
        Manifest {
            schema_version: VERSION,
            fanfold: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: pipeline.to_owned(),
            spec_hash: spec_hash.to_owned(),
            run: run.to_owned(),
            state: State::Running,
            replay: None,
            fresh_since_ms: None,
            started_at: now(),
            finished_at: None,
            sources: IndexMap::new(),
            reshapes: IndexMap::new(),
            models: IndexMap::new(),
            tables: IndexMap::new(),
            stages: IndexMap::new(),
            outputs: IndexMap::new(),
            lock: None,
        }
    }

    /// Marks the run as ended.
    pub fn end(&mut self, state: State) {
        self.state = state;
        self.finished_at = Some(now());
    }

    /// The manifest of a run's folder, if there is one that can be read.
    pub fn read(run: &RunDir) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(run.root().join(FILE)).ok()?).ok()
    }

    /// When the manifest of a run's folder was written last, if there is one.
    pub fn written(run: &RunDir) -> Option<SystemTime> {
        std::fs::metadata(run.root().join(FILE)).and_then(|file| file.modified()).ok()
    }

    /// Writes it into the run's folder, whole or not at all.
    pub fn write(&self, run: &RunDir) -> Result<(), StoreError> {
        let path = run.root().join(FILE);
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        write_whole(run.root(), &path, text.as_bytes()).map_err(StoreError::io(&path))
    }
}

fn write_whole(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut file = new_file(path)?;
    file.write_all(bytes)?;
    persist(file, path)
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
