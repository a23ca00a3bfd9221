//! Export: writes the calls of a finished run, failed calls included, as a replay file.
//!
//! Reads the run's calls table. SQLite sorts the calls on disk, so that memory does not grow with the run.

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;

use arrow_array::{Array, RecordBatch};
use indexmap::IndexMap;
use rusqlite::{Connection, Row, params};

use super::error::StoreError;
use super::ledger::LedgerError;
use super::manifest::{Manifest, ModelEntry, State};
use super::record::{Bytes, FIELDS, Key, Record};
use super::replay::{Caller, RecordedModel, ReplayWriter};
use super::rundir::RunDir;
use crate::table::Value;
use crate::table::files::{clean, folder_of};

/// Kinds of errors whose messages are about the reply. Messages of other kinds may contain hosts and paths.
const ABOUT_THE_REPLY: [&str; 3] = ["malformed", "truncated", "refused"];

const TABLE: &str = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
    CREATE TABLE calls (key BLOB, stage TEXT, row INTEGER, stage_model TEXT, content INTEGER, record BLOB);
    BEGIN;";

pub(crate) fn export(dir: &RunDir, path: &Path, scratch: &Path) -> Result<u64, StoreError> {
    Manifest::check(dir)?;
    let manifest = Manifest::read(dir).filter(|manifest| manifest.state == State::Done);
    let Some(manifest) = manifest else { return Err(StoreError::Unfinished { run: dir.root().to_owned() }) };
    clean(folder_of(path), Some(path));
    let mut folder = tempfile::Builder::new();
    folder.prefix(".export-");
    // The project may be on a disk that is only read.
    let made = folder.tempdir_in(scratch).or_else(|_| folder.tempdir());
    let scratch = made.map_err(StoreError::io(scratch))?;
    let file = scratch.path().join("calls.sqlite");
    let sqlite = LedgerError::sqlite(&file);
    let calls = Connection::open(&file).map_err(&sqlite)?;
    calls.execute_batch(TABLE).map_err(&sqlite)?;
    for (part, table) in dir.call_tables()? {
        for batch in table.read(0, table.rows(), 1024)? {
            if !add(&calls, &batch?).map_err(&sqlite)? {
                return Err(StoreError::Replay { path: part, reason: NO_KEY.to_owned() });
            }
        }
    }
    let models = manifest.models.iter().map(|(name, facts)| (name.clone(), recorded(facts)));
    let models: IndexMap<String, RecordedModel> = models.collect();
    let mut writer = ReplayWriter::create(path, (&manifest.pipeline, &manifest.spec_hash), &models)?;
    let several = several(&calls).map_err(&sqlite)?;
    let sorted = "SELECT stage, row, stage_model, record FROM calls ORDER BY key, stage, row, stage_model, content";
    let mut sorted = calls.prepare(sorted).map_err(&sqlite)?;
    let mut rows = sorted.query([]).map_err(&sqlite)?;
    let mut last: Option<(Key, Option<Caller>)> = None;
    while let Some(row) = rows.next().map_err(&sqlite)? {
        let (caller, record) = read(row).map_err(&sqlite)?;
        let this = (record.key, several.contains(&record.key).then_some(caller));
        // Equal calls with the same outcome are exported once.
        if last.as_ref() != Some(&this) {
            writer.push(this.1.as_ref(), &record)?;
            last = Some(this);
        }
    }
    writer.commit()
}

pub(super) const NO_KEY: &str = "its column `call_key` contains a value that is not a key";

fn recorded(facts: &ModelEntry) -> RecordedModel {
    RecordedModel {
        provider: facts.provider.clone(),
        model: shown(&facts.provider, &facts.model).to_owned(),
        digest: facts.build.digest.clone(),
        quantization: facts.build.quantization.clone(),
        template: facts.build.template.clone(),
        server: facts.server.clone(),
        shorter: facts.shorter.clone(),
    }
}

/// Returns a model's id for replay files. For a file of weights, the folder is removed.
pub(crate) fn shown<'a>(provider: &str, model: &'a str) -> &'a str {
    let file = provider == "embedded" && model.ends_with(".gguf");
    if file { model.rsplit(['/', '\\']).next().unwrap_or(model) } else { model }
}

fn redacted(tries: &str) -> Option<String> {
    let mut tries: serde_json::Value = serde_json::from_str(tries).ok()?;
    for attempt in tries.as_array_mut()? {
        let kind = attempt["error"].as_str().and_then(|error| error.split(": ").next()).map(str::to_owned);
        if let Some(kind) = kind.filter(|kind| !ABOUT_THE_REPLY.contains(&kind.as_str())) {
            attempt["error"] = kind.into();
        }
    }
    Some(tries.to_string())
}

/// Adds a batch of a calls table. Missing columns are null. Returns `false` if a value of `call_key` is not a key.
fn add(calls: &Connection, batch: &RecordBatch) -> Result<bool, rusqlite::Error> {
    let at = |name: &str, row: usize| Value::of(batch.column_by_name(name), row);
    let fields = FIELDS.iter().filter(|field| field.replayed && field.name != "model");
    let fields: Vec<_> = fields.filter_map(|f| Some((f, batch.column_by_name(f.column)?))).collect();
    let prompts = batch.column_by_name("prompt");
    let mut insert = calls.prepare_cached("INSERT INTO calls VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    // Of the rows of a pack, only the first has the prompt.
    for row in (0..batch.num_rows()).filter(|row| prompts.is_none_or(|prompts| prompts.is_valid(*row))) {
        let Ok(key) = Key::from_str(&at("call_key", row).into_text()) else { return Ok(false) };
        let (provider, id) = (at("provider", row).into_text(), at("model_id", row).into_text());
        let mut record = Record { key, model: shown(&provider, &id).to_owned(), ..Record::default() };
        for (field, column) in &fields {
            // A null field keeps its default.
            let _ = field.set(&mut record, Value::at(column, row));
        }
        let count = |name: &str| match at(name, row) {
            Value::Integer(tokens) => u64::try_from(tokens).ok(),
            _ => None,
        };
        let notes = &mut record.notes;
        // In the tables of earlier versions, the notes have the count.
        notes.cached_tokens = count("cached_tokens").or(notes.cached_tokens);
        notes.cache_write_tokens = count("cache_write_tokens").or(notes.cache_write_tokens);
        record.tries = record.tries.as_deref().and_then(redacted);
        let mut packed = Vec::new();
        record.pack(&mut packed);
        insert.execute(params![
            key.0,
            at("stage", row),
            at("row", row),
            at("model", row),
            record.checksum(),
            packed
        ])?;
    }
    Ok(true)
}

fn several(calls: &Connection) -> Result<HashSet<Key>, rusqlite::Error> {
    let mut sql = calls.prepare("SELECT key FROM calls GROUP BY key HAVING MIN(content) <> MAX(content)")?;
    let keys = sql.query_map([], |row| row.get(0).map(Key))?;
    keys.collect()
}

fn read(row: &Row<'_>) -> Result<(Caller, Record), rusqlite::Error> {
    let caller = Caller { stage: row.get(0)?, row: row.get(1)?, model: row.get(2)? };
    let record = Record::unpack(&mut Bytes(row.get_ref(3)?.as_blob()?)).ok_or(rusqlite::Error::InvalidQuery)?;
    Ok((caller, record))
}
