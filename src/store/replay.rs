//! Replay files: the calls of one run as one Parquet file, for git or a data archive.
//!
//! Equal calls produce identical bytes: the rows are sorted by key, and nothing depends on the time or the machine.
//!
//! The metadata of the file contains the version of the format (`fanfold.replay`), the pipeline, the hash of the spec,
//! and the build of each model (`fanfold.models`), so that a replay can compute keys without a server.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::call_totals::CallTotals;
use super::error::StoreError;
use super::manifest::Manifest;
use super::project::Project;
use super::record::{self, FIELDS, Key, Record};
use super::rundir::files_in;
use crate::spec::Spec;
use crate::table::parquet::{Options, Table, TableWriter};
use crate::table::{TableBuilder, Value};

/// The version of the format. A newer format is refused.
const FORMAT: u32 = 1;
const FORMAT_FACT: &str = "fanfold.replay";
const MODELS_FACT: &str = "fanfold.models";
const PIPELINE_FACT: &str = "fanfold.pipeline";
const SPEC_FACT: &str = "fanfold.spec_hash";
const BATCH: usize = 1024;
const UNREADABLE: &str =
    "it can't be read; get the whole file, or give it a name without `replay` if it has no recorded answers";

/// The columns of a replay file. Rows are sorted by `call_key`, `stage`, `row` and `stage_model`. The book describes
/// the columns of the record at the calls table. If the model is a path, `model` contains only the file's name. For
/// network errors, `earlier_tries` contains only the kind.
///
/// `stage`, `row` and `stage_model` are null, unless equal calls ended differently (one failed, another was answered).
/// Then they identify the call by its stage, the row's number from 1 and the model's name in the spec.
fn replay_schema() -> SchemaRef {
    let own = |name: &str, kind: DataType, nullable: bool| Field::new(name, kind, nullable);
    let first = [
        own("call_key", DataType::Utf8, false),
        own("stage", DataType::Utf8, true),
        own("row", DataType::Int64, true),
        own("stage_model", DataType::Utf8, true),
    ];
    let fields = replayed().map(|f| own(f.column, f.kind().arrow(), f.is_optional() || f.needs_reply()));
    let all = first.into_iter().chain(fields).chain([own("checksum", DataType::Int64, false)]);
    Arc::new(Schema::new(all.collect::<Vec<_>>()))
}

fn replayed() -> impl Iterator<Item = &'static record::Field> {
    FIELDS.iter().filter(|field| field.replayed)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedModel {
    pub(crate) provider: String,
    pub(crate) model: String,
    pub(crate) digest: Option<String>,
    pub(crate) quantization: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) template: Option<String>,
    /// The hash of the server, if it reported no build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// Smaller `max_tokens` of earlier runs, whose replies may be among the calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) shorter: Vec<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Caller {
    pub(crate) stage: String,
    pub(crate) row: i64,
    pub(crate) model: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RecordedCall {
    pub(crate) caller: Option<Caller>,
    pub(crate) record: Record,
    pub(crate) sound: bool,
}

pub(crate) struct ReplayWriter {
    writer: TableWriter,
    rows: TableBuilder,
    waiting: usize,
}

impl ReplayWriter {
    /// Creates the file at `path`. `of` is the pipeline's name and the spec's hash.
    pub(crate) fn create(
        path: &Path,
        of: (&str, &str),
        models: &IndexMap<String, RecordedModel>,
    ) -> Result<Self, StoreError> {
        let mut models = models.clone();
        models.sort_keys();
        let facts = vec![
            (FORMAT_FACT.to_owned(), FORMAT.to_string()),
            (PIPELINE_FACT.to_owned(), of.0.to_owned()),
            (SPEC_FACT.to_owned(), of.1.to_owned()),
            (MODELS_FACT.to_owned(), serde_json::to_string(&models).unwrap_or_default()),
        ];
        let options =
            Options { distinct: vec!["call_key", "reply", "probabilities", "checksum"], facts, ..Options::default() };
        let writer = TableWriter::create(path, replay_schema(), &options)?;
        Ok(ReplayWriter { writer, rows: TableBuilder::new(replay_schema()), waiting: 0 })
    }

    /// Adds a call. The caller must add the calls in sorted order.
    pub(crate) fn push(&mut self, caller: Option<&Caller>, record: &Record) -> Result<(), StoreError> {
        let first = [
            record.key.to_string().into(),
            caller.map(|w| w.stage.as_str()).into(),
            caller.map(|w| w.row).into(),
            caller.map(|w| w.model.as_str()).into(),
        ];
        let fields = replayed().map(|field| match record.finish.is_empty() && field.needs_reply() {
            true => Value::Null,
            false => field.get(record),
        });
        self.rows.push(first.into_iter().chain(fields).chain([record.checksum().into()]));
        self.waiting += 1;
        if self.waiting == BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.waiting = 0;
        let batch = self.rows.finish();
        Ok(self.writer.write(batch.map_err(|error| self.writer.broken(error.into()))?)?)
    }

    pub(crate) fn commit(mut self) -> Result<u64, StoreError> {
        self.flush()?;
        let rows = self.writer.rows();
        self.writer.commit()?;
        Ok(rows)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct ReplayFile {
    table: Table,
    pub(crate) models: IndexMap<String, RecordedModel>,
}

impl ReplayFile {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let refused = |reason: String| StoreError::Replay { path: path.to_owned(), reason };
        let table = Table::open(path)?;
        let format = table.fact(FORMAT_FACT).and_then(|format| format.parse::<u32>().ok());
        match format {
            None => return Err(refused("it is not a replay file".to_owned())),
            Some(found) if found > FORMAT => {
                let reason = format!("it was written by a newer fanfold (format {found}; this one reads {FORMAT})");
                return Err(refused(reason));
            }
            Some(_) => {}
        }
        let models = table.fact(MODELS_FACT).and_then(|models| serde_json::from_str(models).ok());
        let schema = table.schema();
        // A file written before a column was added lacks the column.
        let fits = |field: &Field| match schema.field_with_name(field.name()) {
            Ok(found) => found.data_type() == field.data_type(),
            Err(_) => field.is_nullable(),
        };
        match models {
            Some(models) if replay_schema().fields().iter().all(|field| fits(field)) => {
                Ok(ReplayFile { table, models })
            }
            _ => Err(refused("its columns or its models are not those of a replay file".to_owned())),
        }
    }

    /// Whether the calls are those of a run of the spec with this hash.
    pub(crate) fn is_of(&self, spec_hash: &str) -> bool {
        self.table.fact(SPEC_FACT) == Some(spec_hash)
    }

    pub(crate) fn calls(&self) -> u64 {
        self.table.rows()
    }

    /// The totals of the answers of the model with this id.
    pub(crate) fn totals(&self, model: &str) -> Result<CallTotals, StoreError> {
        let mut totals = CallTotals::default();
        for calls in self.read()? {
            let calls = calls?;
            let answers = calls.iter().map(|call| &call.record);
            answers
                .filter(|record| record.model == model && record.error.is_none())
                .for_each(|record| totals.add(record));
        }
        Ok(totals)
    }

    pub(crate) fn read(&self) -> Result<impl Iterator<Item = Result<Vec<RecordedCall>, StoreError>>, StoreError> {
        let batches = self.table.read(0, self.calls(), BATCH)?;
        Ok(batches.map(|batch| Ok(calls(&batch?))))
    }
}

/// Whether the file at `path` is a replay file of any version.
pub(crate) fn is_replay(path: &Path) -> bool {
    Table::open(path).is_ok_and(|table| table.fact(FORMAT_FACT).is_some())
}

/// The replay file of a spec: the one that it names, or else the first of this pipeline next to it that has `replay` in
/// its name. A file with such a name that can't be read is an error: without it, its answers would be paid again.
pub(crate) fn replay_of(spec: &Spec) -> Result<Option<(PathBuf, ReplayFile)>, StoreError> {
    // Messages show the path as the user would type it.
    let plain = |path: &Path| path.strip_prefix(".").unwrap_or(path).to_owned();
    if let Some(path) = spec.replay.as_deref().map(plain) {
        return if path.exists() { Ok(Some((path.clone(), ReplayFile::open(&path)?))) } else { Ok(None) };
    }
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.contains("replay") && name.ends_with(".parquet") && path.is_file()
    };
    let files = files_in(&spec.folder)?.into_iter().filter(named);
    for path in files.map(|path| plain(&path)) {
        match Table::open(&path) {
            Ok(table) if table.fact(FORMAT_FACT).is_some() && table.fact(PIPELINE_FACT) == Some(&spec.name) => {
                return Ok(Some((path.clone(), ReplayFile::open(&path)?)));
            }
            Ok(_) => {}
            // Where the pipeline has run, its answers are in the ledger.
            Err(_) if has_run(spec)? => {}
            Err(_) => return Err(StoreError::Replay { path, reason: UNREADABLE.to_owned() }),
        }
    }
    Ok(None)
}

/// Whether a run of the pipeline is here.
fn has_run(spec: &Spec) -> Result<bool, StoreError> {
    let runs = Project::of(&spec.folder).run_dirs()?;
    Ok(runs.iter().filter_map(Manifest::read).any(|manifest| manifest.pipeline == spec.name))
}

fn calls(batch: &RecordBatch) -> Vec<RecordedCall> {
    let fields: Vec<_> = replayed().filter_map(|f| Some((f, batch.column_by_name(f.column)?))).collect();
    let [keys, stages, rows, models, sums] =
        ["call_key", "stage", "row", "stage_model", "checksum"].map(|name| batch.column_by_name(name));
    let call = |i: usize| {
        let caller = match (Value::of(stages, i), Value::of(rows, i)) {
            (Value::Text(stage), Value::Integer(row)) => {
                Some(Caller { stage: stage.into_owned(), row, model: Value::of(models, i).into_text() })
            }
            _ => None,
        };
        let key = Key::from_str(&Value::of(keys, i).into_text());
        let mut record = Record { key: key.unwrap_or_default(), ..Record::default() };
        for (field, column) in &fields {
            // The checksum detects a value that does not fit.
            let _ = field.set(&mut record, Value::at(column, i));
        }
        let sound = key.is_ok() && matches!(Value::of(sums, i), Value::Integer(sum) if record.fits(sum));
        RecordedCall { caller, record, sound }
    };
    (0..batch.num_rows()).map(call).collect()
}
