//! Exporting: the calls behind a finished run as a replay file.
//!
//! Read from the run's calls table, which says what its tables rest on, failed calls included. SQLite sorts them, so that
//! memory doesn't grow with the run.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, RecordBatch, StringArray};
use indexmap::IndexMap;
use rusqlite::{Connection, Row, params};

use super::ledger::{Key, LedgerError, Record, checksum};
use super::replay::{RecordedModel, ReplayWriter, Whose};
use super::{Manifest, ModelEntry, Notes, RunDir, State, StoreError, calls_schema};
use crate::table::parquet::Table;

/// Kinds of errors whose messages are about the reply. Those of others may name places on a network.
const OF_THE_REPLY: [&str; 3] = ["malformed", "truncated", "refused"];

const TABLE: &str = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
    CREATE TABLE calls (key BLOB, stage TEXT, row INTEGER, stage_model TEXT, content INTEGER, model TEXT, reply TEXT,
        finish TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, attempts INTEGER, build TEXT, error TEXT,
        tries TEXT, probabilities TEXT, notes TEXT);
    BEGIN;";

/// Writes the calls behind the run in `dir` to `path`; gives how many there are. `scratch` is a folder for what is sorted.
pub fn export(dir: &RunDir, path: &Path, scratch: &Path) -> Result<u64, StoreError> {
    let manifest = Manifest::read(dir).filter(|manifest| manifest.state == State::Done);
    let Some(manifest) = manifest else { return Err(StoreError::Unfinished { run: dir.root().to_owned() }) };
    let scratch = tempfile::Builder::new().prefix(".export-").tempdir_in(scratch).map_err(StoreError::io(scratch))?;
    let file = scratch.path().join("calls.sqlite");
    let sqlite = LedgerError::sqlite(&file);
    let calls = Connection::open(&file).map_err(&sqlite)?;
    calls.execute_batch(TABLE).map_err(&sqlite)?;
    for part in call_files(dir)? {
        let table = Table::open(&part)?;
        if table.schema() != calls_schema() {
            let reason = "its columns are not those of this fanfold's calls table; run the spec again".to_owned();
            return Err(StoreError::Replay { path: part, reason });
        }
        for batch in table.read(0, table.rows(), 1024)? {
            if !add(&calls, &batch?).map_err(&sqlite)? {
                return Err(StoreError::Replay { path: part, reason: "it holds what is no key".to_owned() });
            }
        }
    }
    let models = manifest.models.iter().map(|(name, facts)| (name.clone(), recorded(facts)));
    let models: IndexMap<String, RecordedModel> = models.collect();
    let mut writer = ReplayWriter::create(path, (&manifest.pipeline, &manifest.spec_hash), &models)?;
    let several = several(&calls).map_err(&sqlite)?;
    let sorted =
        "SELECT key, stage, row, stage_model, model, reply, finish, prompt_tokens, completion_tokens, attempts,
        build, error, tries, probabilities, notes FROM calls ORDER BY key, stage, row, stage_model, content";
    let mut sorted = calls.prepare(sorted).map_err(&sqlite)?;
    let mut rows = sorted.query([]).map_err(&sqlite)?;
    let mut last: Option<(Key, Option<Whose>)> = None;
    while let Some(row) = rows.next().map_err(&sqlite)? {
        let (whose, record) = read(row).map_err(&sqlite)?;
        let this = (record.key, several.contains(&record.key).then_some(whose));
        // Equal calls that ended alike are one.
        if last.as_ref() != Some(&this) {
            writer.push(this.1.as_ref(), &record)?;
            last = Some(this);
        }
    }
    writer.commit()
}

/// The files of a run's calls table, in order.
pub fn call_files(dir: &RunDir) -> Result<Vec<PathBuf>, StoreError> {
    let folder = dir.calls();
    let mut files = Vec::new();
    if folder.exists() {
        for entry in std::fs::read_dir(&folder).map_err(StoreError::io(&folder))? {
            let path = entry.map_err(StoreError::io(&folder))?.path();
            // What a writer has not finished yet is hidden and has another end.
            if path.extension().is_some_and(|end| end == "parquet") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A model without the place of its server.
fn recorded(facts: &ModelEntry) -> RecordedModel {
    RecordedModel {
        provider: facts.provider.clone(),
        model: shown(&facts.provider, &facts.model).to_owned(),
        digest: facts.build.digest.clone(),
        quantization: facts.build.quantization.clone(),
        template: facts.build.template.clone(),
    }
}

/// A model's id as replay files have it: without the folder that a file of weights is in.
pub fn shown<'a>(provider: &str, model: &'a str) -> &'a str {
    let file = provider == "embedded" && model.ends_with(".gguf");
    if file { model.rsplit(['/', '\\']).next().unwrap_or(model) } else { model }
}

/// Earlier attempts without what may name a place.
fn redacted(tries: &str) -> Option<String> {
    let mut tries: serde_json::Value = serde_json::from_str(tries).ok()?;
    for attempt in tries.as_array_mut()? {
        let kind = attempt["error"].as_str().and_then(|error| error.split(": ").next()).map(str::to_owned);
        if let Some(kind) = kind.filter(|kind| !OF_THE_REPLY.contains(&kind.as_str())) {
            attempt["error"] = kind.into();
        }
    }
    Some(tries.to_string())
}

/// Adds a batch of a calls table, whose columns have been checked; `false`: it holds what is no key.
fn add(calls: &Connection, batch: &RecordBatch) -> Result<bool, rusqlite::Error> {
    let texts = |name: &str| batch.column_by_name(name).expect("a column of the calls table").as_string::<i32>();
    let numbers = |name: &str| {
        let column = batch.column_by_name(name).expect("a column of the calls table");
        column.as_primitive::<Int64Type>().values()
    };
    let [keys, stages, models] = ["call_key", "stage", "model"].map(texts);
    let [providers, ids, replies, finishes] = ["provider", "model_id", "reply", "finish_reason"].map(texts);
    let [builds, errors, tries] = ["build", "error", "earlier_tries"].map(texts);
    let [likely, notes, prompts] = ["probabilities", "notes", "prompt"].map(texts);
    let [rows, attempts] = ["row", "attempts"].map(numbers);
    let [prompt_tokens, completion_tokens] = ["prompt_tokens", "completion_tokens"].map(numbers);
    let text = |column: &StringArray, row: usize| column.is_valid(row).then(|| column.value(row).to_owned());
    let sql = "INSERT INTO calls VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";
    let mut insert = calls.prepare_cached(sql)?;
    // A call about several rows stands in the line of the first one.
    for row in (0..batch.num_rows()).filter(|row| prompts.is_valid(*row)) {
        let Ok(key) = Key::from_str(keys.value(row)) else { return Ok(false) };
        let record = Record {
            key,
            model: shown(providers.value(row), ids.value(row)).to_owned(),
            reply: text(replies, row).unwrap_or_default(),
            finish: text(finishes, row).unwrap_or_default(),
            prompt_tokens: prompt_tokens[row] as u64,
            completion_tokens: completion_tokens[row] as u64,
            latency_ms: 0.0,
            attempts: u32::try_from(attempts[row]).unwrap_or_default(),
            build: text(builds, row),
            error: text(errors, row),
            tries: text(tries, row).and_then(|tries| redacted(&tries)),
            probabilities: text(likely, row),
            notes: Notes::of_json(text(notes, row).as_deref()),
        };
        insert.execute(params![
            key.0,
            stages.value(row),
            rows[row],
            models.value(row),
            checksum(&record),
            record.model,
            record.reply,
            record.finish,
            record.prompt_tokens as i64,
            record.completion_tokens as i64,
            record.attempts,
            record.build,
            record.error,
            record.tries,
            record.probabilities,
            record.notes.to_json()
        ])?;
    }
    Ok(true)
}

/// The keys of equal calls that ended differently: a row of the same words may fail where another was answered.
fn several(calls: &Connection) -> Result<HashSet<Key>, rusqlite::Error> {
    let mut sql = calls.prepare("SELECT key FROM calls GROUP BY key HAVING MIN(content) <> MAX(content)")?;
    let keys = sql.query_map([], |row| row.get(0).map(Key))?;
    keys.collect()
}

fn read(row: &Row<'_>) -> Result<(Whose, Record), rusqlite::Error> {
    let whose = Whose { stage: row.get(1)?, row: row.get(2)?, model: row.get(3)? };
    let record = Record {
        key: Key(row.get(0)?),
        model: row.get(4)?,
        reply: row.get(5)?,
        finish: row.get(6)?,
        prompt_tokens: row.get::<_, i64>(7)? as u64,
        completion_tokens: row.get::<_, i64>(8)? as u64,
        latency_ms: 0.0,
        attempts: row.get(9)?,
        build: row.get(10)?,
        error: row.get(11)?,
        tries: row.get(12)?,
        probabilities: row.get(13)?,
        notes: Notes::of_json(row.get::<_, Option<String>>(14)?.as_deref()),
    };
    Ok((whose, record))
}
