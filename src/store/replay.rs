//! Replay files: the calls of one run as one Parquet file, fit for git or a data archive.
//!
//! What a file holds is decided here ([`replay_schema`]); `export` writes it and `recorded` looks calls up in it. The same
//! calls are the same bytes: rows are sorted by key, and there is nothing in it of when or where it was made.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::ledger::{Key, Record, checksum, fits};
use super::{Notes, StoreError};
use crate::table::parquet::{Options, Table, TableWriter};

/// The version of the form; a newer one is refused.
const FORMAT: u32 = 1;
/// The facts of the file.
const FORMAT_FACT: &str = "fanfold.replay";
const MODELS_FACT: &str = "fanfold.models";

/// The columns of a replay file, sorted by `call_key`, `stage`, `row`, `stage_model`.
///
/// | column | what is in it |
/// |---|---|
/// | `call_key` | the call's key in hex, as in the calls table |
/// | `stage`, `row`, `stage_model` | null, unless equal calls ended differently (one failed, another was answered): then whose call it was, by the name of the stage, the row's number from 1 and the model's name in the spec |
/// | `model` | the provider's id of the model; of a path only the file's name |
/// | `reply` | the raw reply; of a failed call the last one, if there was any |
/// | `finish_reason` | why the model stopped |
/// | `prompt_tokens`, `completion_tokens` | tokens of all attempts |
/// | `attempts` | how often it was tried |
/// | `build` | the build that answered, where replies name one |
/// | `error` | of a failed call: `kind: message`, as the table shows it |
/// | `earlier_tries` | earlier attempts as a JSON list of `{reply, error}`; of errors of the network only the kind |
/// | `probabilities` | how probable the labels were, as JSON |
/// | `notes` | how the answer came about, where that is not plain, as JSON |
/// | `checksum` | a checksum of the call |
///
/// The file's facts hold the form's version (`fanfold.replay`), the pipeline and its spec's hash, and for each model of
/// the spec its provider's kind, its id and its build (`fanfold.models`), so that keys are made without asking a server.
pub fn replay_schema() -> SchemaRef {
    let field = |name: &str, kind: DataType, nullable: bool| Field::new(name, kind, nullable);
    Arc::new(Schema::new(vec![
        field("call_key", DataType::Utf8, false),
        field("stage", DataType::Utf8, true),
        field("row", DataType::Int64, true),
        field("stage_model", DataType::Utf8, true),
        field("model", DataType::Utf8, false),
        field("reply", DataType::Utf8, true),
        field("finish_reason", DataType::Utf8, true),
        field("prompt_tokens", DataType::Int64, false),
        field("completion_tokens", DataType::Int64, false),
        field("attempts", DataType::Int64, false),
        field("build", DataType::Utf8, true),
        field("error", DataType::Utf8, true),
        field("earlier_tries", DataType::Utf8, true),
        field("probabilities", DataType::Utf8, true),
        field("notes", DataType::Utf8, true),
        field("checksum", DataType::Int64, false),
    ]))
}

/// A model as a replay file knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedModel {
    /// The provider's kind.
    pub provider: String,
    /// The provider's id of it.
    pub model: String,
    /// The digest of its build, where the server told it.
    pub digest: Option<String>,
    /// Its quantisation, where the server told it.
    pub quantization: Option<String>,
    /// The hash of its chat template, where the server told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
}

/// Whose call it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whose {
    /// The stage.
    pub stage: String,
    /// The row's number, from 1.
    pub row: i64,
    /// The model's name in the spec.
    pub model: String,
}

/// A row of a replay file.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedCall {
    /// Whose call it was, where equal calls ended differently.
    pub whose: Option<Whose>,
    /// How it ended.
    pub record: Record,
    /// Whether it is what was written.
    pub sound: bool,
}

/// Writes a replay file.
pub struct ReplayWriter {
    writer: TableWriter,
    rows: Columns,
    waiting: usize,
}

/// The columns as they grow.
#[derive(Default)]
struct Columns {
    key: StringBuilder,
    stage: StringBuilder,
    row: Int64Builder,
    stage_model: StringBuilder,
    model: StringBuilder,
    reply: StringBuilder,
    finish: StringBuilder,
    prompt_tokens: Int64Builder,
    completion_tokens: Int64Builder,
    attempts: Int64Builder,
    build: StringBuilder,
    error: StringBuilder,
    tries: StringBuilder,
    probabilities: StringBuilder,
    notes: StringBuilder,
    checksum: Int64Builder,
}

impl ReplayWriter {
    /// A file that will stand at `path`, of the pipeline and the spec's hash in `of`, with these models.
    pub fn create(path: &Path, of: (&str, &str), models: &IndexMap<String, RecordedModel>) -> Result<Self, StoreError> {
        let mut models: Vec<_> = models.iter().collect();
        models.sort_by_key(|(name, _)| *name);
        let models: IndexMap<_, _> = models.into_iter().collect();
        let facts = vec![
            (FORMAT_FACT.to_owned(), FORMAT.to_string()),
            ("fanfold.pipeline".to_owned(), of.0.to_owned()),
            ("fanfold.spec_hash".to_owned(), of.1.to_owned()),
            (MODELS_FACT.to_owned(), serde_json::to_string(&models).unwrap_or_default()),
        ];
        let options = Options { distinct: vec!["call_key", "reply", "probabilities", "checksum"], facts };
        let writer = TableWriter::create(path, replay_schema(), &options)?;
        Ok(ReplayWriter { writer, rows: Columns::default(), waiting: 0 })
    }

    /// Adds a call; the caller brings them in order.
    pub fn push(&mut self, whose: Option<&Whose>, record: &Record) -> Result<(), StoreError> {
        self.rows.push(whose, record);
        self.waiting += 1;
        if self.waiting == 1024 { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.waiting = 0;
        let batch = std::mem::take(&mut self.rows).finish();
        Ok(self.writer.write(batch.map_err(|error| self.writer.broken(error.into()))?)?)
    }

    /// Moves the file to its place; gives the number of its calls.
    pub fn commit(mut self) -> Result<u64, StoreError> {
        self.flush()?;
        let rows = self.writer.rows();
        self.writer.commit()?;
        Ok(rows)
    }
}

impl Columns {
    fn push(&mut self, whose: Option<&Whose>, record: &Record) {
        let replied = !record.finish.is_empty();
        self.key.append_value(record.key.to_string());
        self.stage.append_option(whose.map(|w| &w.stage));
        self.row.append_option(whose.map(|w| w.row));
        self.stage_model.append_option(whose.map(|w| &w.model));
        self.model.append_value(&record.model);
        self.reply.append_option(replied.then_some(&record.reply));
        self.finish.append_option(replied.then_some(&record.finish));
        self.prompt_tokens.append_value(record.prompt_tokens as i64);
        self.completion_tokens.append_value(record.completion_tokens as i64);
        self.attempts.append_value(record.attempts.into());
        self.build.append_option(record.build.as_deref());
        self.error.append_option(record.error.as_deref());
        self.tries.append_option(record.tries.as_deref());
        self.probabilities.append_option(record.probabilities.as_deref());
        self.notes.append_option(record.notes.to_json());
        self.checksum.append_value(checksum(record));
    }

    fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.key.finish()),
            Arc::new(self.stage.finish()),
            Arc::new(self.row.finish()),
            Arc::new(self.stage_model.finish()),
            Arc::new(self.model.finish()),
            Arc::new(self.reply.finish()),
            Arc::new(self.finish.finish()),
            Arc::new(self.prompt_tokens.finish()),
            Arc::new(self.completion_tokens.finish()),
            Arc::new(self.attempts.finish()),
            Arc::new(self.build.finish()),
            Arc::new(self.error.finish()),
            Arc::new(self.tries.finish()),
            Arc::new(self.probabilities.finish()),
            Arc::new(self.notes.finish()),
            Arc::new(self.checksum.finish()),
        ];
        RecordBatch::try_new(replay_schema(), columns)
    }
}

/// A replay file, opened.
#[derive(Clone, Debug)]
pub struct ReplayFile {
    table: Table,
    /// The models of the recorded run by their names in the spec.
    pub models: IndexMap<String, RecordedModel>,
}

impl ReplayFile {
    /// Opens the file at `path` and checks that it is one.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let refused = |reason: String| StoreError::Replay { path: path.to_owned(), reason };
        let table = Table::open(path)?;
        let format = table.fact(FORMAT_FACT).and_then(|format| format.parse::<u32>().ok());
        match format {
            None => return Err(refused("it is no replay file".to_owned())),
            Some(found) if found > FORMAT => {
                let reason = format!("it was written by a newer fanfold (format {found}; this one reads {FORMAT})");
                return Err(refused(reason));
            }
            Some(_) => {}
        }
        let models = table.fact(MODELS_FACT).and_then(|models| serde_json::from_str(models).ok());
        match models {
            Some(models) if table.schema() == replay_schema() => Ok(ReplayFile { table, models }),
            _ => Err(refused("its columns or its models are not those of a replay file".to_owned())),
        }
    }

    /// How many calls it holds.
    pub fn calls(&self) -> u64 {
        self.table.rows()
    }

    /// Its calls, in its order, in batches; sound or not.
    pub fn read(&self) -> Result<impl Iterator<Item = Result<Vec<RecordedCall>, StoreError>>, StoreError> {
        let batches = self.table.read(0, self.calls(), 1024)?;
        Ok(batches.map(|batch| Ok(rows(&batch?))))
    }
}

/// The calls in a batch with the columns of [`replay_schema`].
fn rows(batch: &RecordBatch) -> Vec<RecordedCall> {
    let text = |column: usize, row: usize| {
        let column = batch.column(column).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let number = |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
    let row = |row: usize| {
        let stage = text(1, row);
        let whose = stage.map(|stage| Whose { stage, row: number(2, row), model: text(3, row).unwrap_or_default() });
        let key = Key::from_str(&text(0, row).unwrap_or_default());
        let record = Record {
            key: key.unwrap_or(Key([0; 16])),
            model: text(4, row).unwrap_or_default(),
            reply: text(5, row).unwrap_or_default(),
            finish: text(6, row).unwrap_or_default(),
            prompt_tokens: number(7, row) as u64,
            completion_tokens: number(8, row) as u64,
            latency_ms: 0.0,
            attempts: u32::try_from(number(9, row)).unwrap_or_default(),
            build: text(10, row),
            error: text(11, row),
            tries: text(12, row),
            probabilities: text(13, row),
            notes: Notes::of_json(text(14, row).as_deref()),
        };
        let sound = key.is_ok() && fits(&record, number(15, row));
        RecordedCall { whose, record, sound }
    };
    (0..batch.num_rows()).map(row).collect()
}
