//! A run's folder: the parts of each stage and the calls behind them, committed one by one.
//!
//! ```text
//! runs/<name>-<hash>/
//!   manifest.json
//!   stages/<stage>/part-00000.parquet     the stage's rows, input columns included; of a reshape all rows
//!   stages/<stage>/part-00000.sum         its checksum
//!   calls/<stage>-00000.parquet           the calls behind them; the folder reads as one table
//! ```
//!
//! A part is there when its file and its checksum are: it is written beside its place, synced and renamed, after its calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use super::{Audit, RowCounts, Shares, StoreError};
use crate::plan::Part;
use crate::table::parquet::{Options, Table, TableWriter, clean};

/// The fact of a part's file that holds its [`PartFacts`].
const FACTS: &str = "fanfold.part";

/// The folder of a run.
#[derive(Clone, Debug)]
pub struct RunDir {
    root: PathBuf,
}

/// What a committed part says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PartFacts {
    /// A mark that no other commit has.
    pub id: String,
    /// The marks of what it was made from.
    pub inputs: Vec<String>,
    #[serde(flatten)]
    pub counts: RowCounts,
    /// The calls behind the rows.
    #[serde(default)]
    pub calls: u64,
    /// How often each label was given, by column of labels.
    #[serde(default)]
    pub shares: Shares,
    /// What asking some of its rows one by one as well showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// The builds that the replies named, by the name of the model.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replies: Replies,
}

/// The builds that replies named, by the name of the model.
pub type Replies = BTreeMap<String, BTreeSet<String>>;

/// A part that is there.
#[derive(Clone, Debug)]
pub struct CommittedPart {
    /// What it says of itself.
    pub facts: PartFacts,
    /// Its rows.
    pub table: Table,
}

/// The columns of the calls table: a line for every call behind a row, in the order of the rows.
///
/// A call about several rows has a line for each of them, with their number (`pack_size`), the row's place among them from
/// 1 (`pack_position`), its part of the reply as JSON (`item_reply`) and why that is no answer (`item_error`). What was said
/// and replied, the attempts, the tokens and the time stand in the line of its first row alone; in the others the texts
/// are null and the numbers 0, so that sums over the table are those of the calls. `audit` marks calls whose answers are
/// only compared and stand in no table.
pub fn calls_schema() -> SchemaRef {
    let field = |name: &str, kind: DataType, nullable: bool| Field::new(name, kind, nullable);
    Arc::new(Schema::new(vec![
        field("row", DataType::Int64, false),
        field("row_key", DataType::Utf8, true),
        field("stage", DataType::Utf8, false),
        field("model", DataType::Utf8, false),
        field("replicate", DataType::Int64, false),
        field("provider", DataType::Utf8, false),
        field("model_id", DataType::Utf8, false),
        field("model_digest", DataType::Utf8, true),
        field("call_key", DataType::Utf8, false),
        field("from_ledger", DataType::Boolean, false),
        field("system", DataType::Utf8, true),
        field("prompt", DataType::Utf8, true),
        field("reply", DataType::Utf8, true),
        field("probabilities", DataType::Utf8, true),
        field("attempts", DataType::Int64, false),
        field("prompt_tokens", DataType::Int64, false),
        field("completion_tokens", DataType::Int64, false),
        field("latency_ms", DataType::Float64, false),
        field("finish_reason", DataType::Utf8, true),
        field("build", DataType::Utf8, true),
        field("error", DataType::Utf8, true),
        field("earlier_tries", DataType::Utf8, true),
        field("notes", DataType::Utf8, true),
        field("pack_size", DataType::Int64, true),
        field("pack_position", DataType::Int64, true),
        field("item_reply", DataType::Utf8, true),
        field("item_error", DataType::Utf8, true),
        field("audit", DataType::Boolean, false),
    ]))
}

impl RunDir {
    /// The run's folder at `root`; makes nothing yet.
    pub fn new(root: PathBuf) -> Self {
        RunDir { root }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the calls table.
    pub fn calls(&self) -> PathBuf {
        self.root.join("calls")
    }

    /// Where part `part` of `stage` is.
    pub fn part_path(&self, stage: &str, part: u64) -> PathBuf {
        self.root.join("stages").join(stage).join(format!("part-{part:05}.parquet"))
    }

    /// Where the calls behind it are.
    pub fn calls_path(&self, stage: &str, part: u64) -> PathBuf {
        self.calls().join(format!("{stage}-{part:05}.parquet"))
    }

    /// Removes what a killed run left half-written. Only for the holder of the run's lock.
    pub fn clean(&self) {
        let stages = std::fs::read_dir(self.root.join("stages")).into_iter().flatten().flatten();
        for folder in stages.map(|s| s.path()).chain([self.root.clone(), self.calls()]) {
            clean(&folder, None);
        }
    }

    /// Removes the folder with all that is in it. Only for the holder of the run's lock.
    pub fn remove(&self) -> Result<(), StoreError> {
        if self.root.exists() {
            std::fs::remove_dir_all(&self.root).map_err(StoreError::io(&self.root))
        } else {
            Ok(())
        }
    }

    /// Removes all parts of `stages` and the calls behind them; what else is known of the run stays. Only for the holder of the
    /// run's lock.
    pub fn remove_parts<'a>(&self, stages: impl Iterator<Item = &'a str>) -> Result<(), StoreError> {
        let folders = stages.map(|stage| self.root.join("stages").join(stage)).chain([self.calls()]);
        for folder in folders.filter(|folder| folder.exists()) {
            std::fs::remove_dir_all(&folder).map_err(StoreError::io(&folder))?;
        }
        Ok(())
    }

    /// Part `part` of `stage` if it is committed and is what was written: every byte of it is read.
    pub fn committed(&self, stage: &str, part: u64) -> Option<CommittedPart> {
        let path = self.part_path(stage, part);
        let sum = std::fs::read_to_string(sum_path(&path)).ok()?;
        sum_of(&path).ok().filter(|found| *found == sum)?;
        let table = Table::open(&path).ok()?;
        let facts = serde_json::from_str(table.fact(FACTS)?).ok()?;
        Some(CommittedPart { facts, table })
    }

    /// Starts to write a part of `stage` with the columns of `schema`.
    pub fn write_part(&self, stage: &str, part: Part, schema: SchemaRef) -> Result<PartWriter, StoreError> {
        let rows_path = self.part_path(stage, part.number);
        let distinct = vec!["call_key", "prompt", "reply", "probabilities", "latency_ms", "row"];
        let options = Options { distinct, facts: Vec::new() };
        Ok(PartWriter {
            rows: TableWriter::create(&rows_path, schema, &Options::default())?,
            calls: Some(TableWriter::create(&self.calls_path(stage, part.number), calls_schema(), &options)?),
            path: rows_path,
        })
    }

    /// Starts to write the one part of a reshape.
    pub fn write_table(&self, reshape: &str, schema: SchemaRef) -> Result<PartWriter, StoreError> {
        let path = self.part_path(reshape, 0);
        Ok(PartWriter { rows: TableWriter::create(&path, schema, &Options::default())?, calls: None, path })
    }
}

/// Where the checksum of a part stands.
fn sum_path(part: &Path) -> PathBuf {
    part.with_extension("sum")
}

/// The checksum of a file, in hex.
fn sum_of(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Writes a part: its rows and the calls behind them.
pub struct PartWriter {
    path: PathBuf,
    rows: TableWriter,
    /// Of a stage that asks models.
    calls: Option<TableWriter>,
}

impl PartWriter {
    /// Takes the next rows, and their calls if there are any.
    pub fn write(&mut self, rows: RecordBatch, calls: Option<RecordBatch>) -> Result<(), StoreError> {
        self.rows.write(rows)?;
        if let Some((writer, calls)) = self.calls.as_mut().zip(calls) {
            writer.write(calls)?;
        }
        Ok(())
    }

    /// Makes the part be there, its calls first. All its calls must be durable in the ledger.
    pub fn commit(mut self, facts: PartFacts) -> Result<CommittedPart, StoreError> {
        if let Some(calls) = self.calls {
            calls.commit()?;
        }
        self.rows.fact(FACTS, serde_json::to_string(&facts).unwrap_or_default());
        self.rows.commit()?;
        // Without its sum, or with a torn one, a part is made anew; so the sum need not be synced.
        let path = sum_path(&self.path);
        sum_of(&self.path).and_then(|sum| std::fs::write(&path, sum)).map_err(StoreError::io(&path))?;
        Ok(CommittedPart { facts, table: Table::open(&self.path)? })
    }
}
