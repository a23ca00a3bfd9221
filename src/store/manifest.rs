//! The manifest: what a run did, as `manifest.json` in its folder.

use std::time::SystemTime;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Audit, RowCounts, RunDir, Shares, StageShape, StoreError};
use crate::provider::Build;
use crate::table::parquet::write_whole;

const VERSION: u32 = 1;
const FILE: &str = "manifest.json";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Manifest {
    pub schema_version: u32,
    pub fanfold: String,
    pub pipeline: String,
    /// The hash of everything in the spec that can change a table.
    pub spec_hash: String,
    /// [`crate::plan::Plan::identity`], which is also in the outputs.
    #[serde(default)]
    pub run: String,
    pub state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// Answers before this moment do not count, in milliseconds since 1970: everything was asked again then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_since_ms: Option<i64>,
    /// When it was last started, RFC 3339.
    pub started_at: String,
    pub finished_at: Option<String>,
    pub sources: IndexMap<String, SourceEntry>,
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub reshapes: IndexMap<String, ReshapeEntry>,
    pub models: IndexMap<String, ModelEntry>,
    #[serde(default)]
    pub tables: IndexMap<String, StageShape>,
    pub stages: IndexMap<String, StageTotals>,
    pub outputs: IndexMap<String, OutputFacts>,
    /// A `lock::Lock`: what the tables are made from and, in a finished run, what they contain. `None` for a run of some rows
    /// or stages only.
    #[serde(default)]
    pub lock: Option<Value>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    #[default]
    Running,
    /// It was stopped and can be resumed.
    Stopped,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEntry {
    pub rows: u64,
    pub content: String,
    #[serde(default)]
    pub paths: Vec<String>,
    #[serde(default)]
    pub key: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReshapeEntry {
    /// `split`, `join` or `gather`.
    #[serde(rename = "type")]
    pub kind: String,
    pub inputs: Vec<String>,
    pub key: Option<String>,
    /// How many of its last columns only the stage that reads it can see.
    pub hidden: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelEntry {
    pub provider: String,
    pub endpoint: String,
    pub model: String,
    #[serde(flatten)]
    pub build: Build,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageTotals {
    pub rows: u64,
    #[serde(flatten)]
    pub counts: RowCounts,
    /// Rows in parts that an earlier start of this run committed.
    pub kept: u64,
    pub calls: u64,
    pub from_ledger: u64,
    /// How many calls the packed rows would have needed without `rows_per_prompt`; without the calls of the audit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_packing: u64,
    pub attempts: u64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// Calls that the rows needed: what would be sent without the ledger.
    #[serde(default)]
    pub needed: u64,
    /// US dollars; `None` without a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd: Option<f64>,
    #[serde(default)]
    pub shares: Shares,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    pub errors: IndexMap<String, ErrorKind>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorKind {
    pub count: u64,
    #[serde(default)]
    pub rows: Vec<String>,
    pub message: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFacts {
    #[serde(default)]
    pub input: String,
    pub path: String,
    pub rows: u64,
    pub columns: usize,
}

impl Manifest {
    pub fn start(pipeline: &str, spec_hash: &str, run: &str) -> Self {
        Manifest {
            schema_version: VERSION,
            fanfold: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: pipeline.to_owned(),
            spec_hash: spec_hash.to_owned(),
            run: run.to_owned(),
            started_at: now(),
            ..Manifest::default()
        }
    }

    pub fn end(&mut self, state: State) {
        self.state = state;
        self.finished_at = Some(now());
    }

    /// The manifest in a run's folder; `None` if there is none or it cannot be read.
    pub fn read(run: &RunDir) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(run.root().join(FILE)).ok()?).ok()
    }

    pub fn written(run: &RunDir) -> Option<SystemTime> {
        std::fs::metadata(run.root().join(FILE)).and_then(|file| file.modified()).ok()
    }

    pub fn write(&self, run: &RunDir) -> Result<(), StoreError> {
        let path = run.root().join(FILE);
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let folder = std::fs::create_dir_all(run.root());
        folder.and_then(|()| write_whole(&path, text.as_bytes())).map_err(StoreError::io(&path))
    }
}

fn now() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
