//! Explaining: what stands behind a row of a table that a run wrote: its cells, and the calls that they came from.
//!
//! Reads the parts that hold the row and no others. Rows are numbered from 1 here, as in the calls table.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{AddedColumn, ModelEntry, Origin, OriginError, SourceEntry, StageShape, StoreError};
use crate::name::{listed, nearest};
use crate::table::parquet::Table;
use crate::table::{Cell, cell_at};

/// Rows that are read at once.
const BATCH: usize = 4096;
/// Names at most that are listed.
const NAMED: usize = 20;

/// What is to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The row of the source: its key, its number if the source has no key, or `#` and its number.
    pub row: &'a str,
    /// The column; none: all that stages wrote.
    pub column: Option<&'a str>,
    /// Only the rows and calls of this model.
    pub model: Option<&'a str>,
    /// Only this replicate.
    pub replicate: Option<i64>,
}

/// What stands behind a row.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The number of the row in the source, from 1.
    pub row: u64,
    /// Its key.
    pub key: Option<String>,
    /// The source.
    pub source: String,
    /// What was read of it.
    pub read: SourceEntry,
    /// The cell of the source, if the column is one of its.
    pub input: Option<Value>,
    /// What the stages made of it, from the source on.
    pub stages: Vec<Staged>,
}

/// What a stage made of a row of the source.
#[derive(Clone, Debug, Serialize)]
pub struct Staged {
    /// The stage.
    pub stage: String,
    /// What is known of the column that was asked for, if the stage adds it.
    pub column: Option<AddedColumn>,
    /// The rows of its table.
    pub rows: Vec<Row>,
}

/// A row of a stage's table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its cells: those that tell it from others of the same source row, and those that the stage wrote.
    pub cells: Map<String, Value>,
    /// The calls behind them, in order: the columns of the calls table, and `server`: what is known of the model.
    pub calls: Vec<Map<String, Value>>,
}

/// Explains a row of the table that `origin` is about.
pub fn explain(origin: &Origin, wanted: &Wanted<'_>) -> Result<Explanation, OriginError> {
    let (chain, source) = origin.chain();
    let entry = origin.entry(source)?;
    let (row, key) = find_row(origin, source, &entry, wanted.row)?;
    known_model(&chain, wanted.model)?;
    known_replicate(&chain, wanted.replicate)?;
    let writer = |name: &str| chain.iter().position(|(_, shape)| shape.adds.iter().any(|c| c.name == name));
    let mut stages = Vec::new();
    let mut input = None;
    let mut fold = 1;
    for (i, (name, shape)) in chain.iter().enumerate() {
        let added = wanted.column.and_then(|column| shape.adds.iter().find(|c| c.name == column));
        let fills = |column: &str| writer(column).is_none_or(|w| w < i) && shape.fills.iter().any(|f| f == column);
        if wanted.column.is_none() || added.is_some() || wanted.column.is_some_and(fills) {
            let rows = (row - 1) * fold..row * fold;
            stages.push(staged(origin, (name, shape), rows, added, wanted)?);
        }
        fold *= shape.fold;
    }
    if let Some(column) = wanted.column.filter(|column| writer(column).is_none()) {
        input = Some(source_cell(origin, source, &chain, column, row)?);
    }
    Ok(Explanation { row, key, source: source.to_owned(), read: entry, input, stages })
}

/// The number and the key of the row that is called `row`.
fn find_row(
    origin: &Origin,
    source: &str,
    entry: &SourceEntry,
    row: &str,
) -> Result<(u64, Option<String>), OriginError> {
    let number = match (row.strip_prefix('#'), &entry.key) {
        (Some(number), _) => number.parse::<u64>().ok(),
        (None, None) => row.parse::<u64>().ok(),
        (None, Some(key)) => return find_key(origin, source, entry, key, row),
    };
    let Some(number) = number.filter(|number| (1..=entry.rows).contains(number)) else {
        let why = if entry.key.is_none() { ", which has no key" } else { "" };
        let message = format!("`{row}` is no row of source `{source}`{why}: its rows are #1 to #{}", entry.rows);
        return Err(OriginError::unknown(message, None));
    };
    let key = match &entry.key {
        Some(key) => cells_of(&origin.source(source)?, key, number - 1..number)?.first().map(text),
        None => None,
    };
    Ok((number, key))
}

/// The row with this key.
fn find_key(
    origin: &Origin,
    source: &str,
    entry: &SourceEntry,
    column: &str,
    key: &str,
) -> Result<(u64, Option<String>), OriginError> {
    let table = origin.source(source)?.with_columns(&[column]);
    let mut number = 0;
    for keys in keys(&table, entry.rows)? {
        let keys = keys?;
        if let Some(place) = keys.iter().position(|found| found == key) {
            return Ok((number + place as u64 + 1, Some(key.to_owned())));
        }
        number += keys.len() as u64;
    }
    let mut near: Option<String> = None;
    for keys in keys(&table, entry.rows)? {
        near = nearest(key, near.iter().chain(&keys?).map(String::as_str)).map(str::to_owned);
    }
    let message = format!("no row of source `{source}` has the key `{key}` (column `{column}`)");
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("a row is also known by its number, from '#1' to '#{}'", entry.rows),
    };
    Err(OriginError::Unknown { message, help: Some(help) })
}

/// The first `rows` keys in the only column of a table, some at once.
fn keys(table: &Table, rows: u64) -> Result<impl Iterator<Item = Result<Vec<String>, StoreError>> + use<>, StoreError> {
    let names =
        |batch: RecordBatch| (0..batch.num_rows()).map(|i| text(&cell_at(batch.column(0).as_ref(), i))).collect();
    Ok(table.read(0, rows, BATCH)?.map(move |batch| Ok(names(batch?))))
}

/// A cell as the name of a row.
fn text(cell: &Cell) -> String {
    match cell.json() {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The cells of a column in a range of rows.
fn cells_of(table: &Table, column: &str, rows: Range<u64>) -> Result<Vec<Cell>, OriginError> {
    let mut cells = Vec::new();
    let read = table.with_columns(&[column]).read(rows.start, rows.end - rows.start, BATCH);
    for batch in read.map_err(StoreError::from)? {
        let batch = batch.map_err(StoreError::from)?;
        cells.extend((0..batch.num_rows()).map(|i| cell_at(batch.column(0).as_ref(), i)));
    }
    Ok(cells)
}

/// The cell of the source's column `column`; who asks for another column is told what there is.
fn source_cell(
    origin: &Origin,
    source: &str,
    chain: &[(&str, &StageShape)],
    column: &str,
    row: u64,
) -> Result<Value, OriginError> {
    let table = origin.source(source)?;
    let schema = table.schema();
    if schema.index_of(column).is_ok() {
        return Ok(cells_of(&table, column, row - 1..row)?.first().map_or(Value::Null, Cell::json));
    }
    let added = chain.iter().flat_map(|(_, shape)| shape.adds.iter().map(|c| c.name.as_str()));
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).chain(added).collect();
    let few = (names.len() <= NAMED).then(|| format!("; it has {}", listed(names.iter().copied())));
    let message = format!("the table has no column `{column}`{}", few.unwrap_or_default());
    Err(OriginError::unknown(message, nearest(column, names)))
}

/// Whether some stage asks this model.
fn known_model(chain: &[(&str, &StageShape)], model: Option<&str>) -> Result<(), OriginError> {
    let mut models: Vec<&str> = chain.iter().flat_map(|(_, s)| s.models.iter().map(String::as_str)).collect();
    models.sort_unstable();
    models.dedup();
    match model.filter(|model| !models.contains(model)) {
        None => Ok(()),
        Some(model) => {
            let message = format!("no stage asked a model `{model}` about this table; {} did", listed(models.clone()));
            Err(OriginError::unknown(message, nearest(model, models)))
        }
    }
}

/// Whether some stage has so many replicates.
fn known_replicate(chain: &[(&str, &StageShape)], replicate: Option<i64>) -> Result<(), OriginError> {
    let most = chain.iter().map(|(_, shape)| shape.replicates).max().unwrap_or(1);
    match replicate.filter(|number| most == 1 || !(1..=most as i64).contains(number)) {
        None => Ok(()),
        Some(_) if most == 1 => Err(OriginError::unknown("the rows have no replicates".to_owned(), None)),
        Some(number) => {
            let message = format!("there is no replicate {number}: they are numbered from 1 to {most}");
            Err(OriginError::unknown(message, None))
        }
    }
}

/// What a stage made of the rows `inputs` (from 0) of its input.
fn staged(
    origin: &Origin,
    (stage, shape): (&str, &StageShape),
    inputs: Range<u64>,
    column: Option<&AddedColumn>,
    wanted: &Wanted<'_>,
) -> Result<Staged, OriginError> {
    let mut rows = Vec::new();
    let mut from = inputs.start;
    while from < inputs.end {
        // The rows of one part.
        let part = from / shape.chunk_size;
        let until = inputs.end.min((part + 1) * shape.chunk_size);
        let (dir, first) = (&origin.dir, part * shape.chunk_size);
        let calls = calls(origin, &origin.open(&dir.calls_path(stage, part))?, from..until)?;
        let table = origin.open(&dir.part_path(stage, part))?;
        let place = (from - first) * shape.fold..(until - first) * shape.fold;
        let read = table.read(place.start, place.end - place.start, BATCH).map_err(StoreError::from)?;
        let mut number = from * shape.fold;
        for batch in read {
            let batch = batch.map_err(StoreError::from)?;
            for i in 0..batch.num_rows() {
                rows.extend(stage_row(shape, (&batch, i), number, &calls, column, wanted));
                number += 1;
            }
        }
        from = until;
    }
    Ok(Staged { stage: stage.to_owned(), column: column.cloned(), rows })
}

/// Row `number` (from 0) of a stage's table, which is row `i` of `batch`; none if it is not wanted.
fn stage_row(
    shape: &StageShape,
    (batch, i): (&RecordBatch, usize),
    number: u64,
    calls: &[Map<String, Value>],
    column: Option<&AddedColumn>,
    wanted: &Wanted<'_>,
) -> Option<Row> {
    let all = cells(batch, i);
    let of_model = |value: Option<&Value>| wanted.model.is_none_or(|m| value.and_then(Value::as_str) == Some(m));
    // A stage before the one that numbers its answers has one row for all of them.
    if wanted.replicate.zip(all.get("replicate")).is_some_and(|(n, of)| *of != json!(n)) {
        return None;
    }
    let sub = number % shape.fold;
    let replicate = sub / (shape.fold / shape.replicates.max(1)).max(1) + 1;
    let long = (shape.layout == "long").then(|| &shape.models[sub as usize % shape.models.len()]);
    let model = column.and_then(|column| column.model.as_ref()).or(long);
    let row_is_wanted = of_model(all.get("model"));
    let calls: Vec<_> = calls
        .iter()
        .filter(|call| call["row"] == json!(number / shape.fold + 1) && call["replicate"] == json!(replicate))
        .filter(|call| model.is_none_or(|model| call["model"] == json!(model)))
        .filter(|call| (row_is_wanted && all.contains_key("model")) || of_model(call.get("model")))
        .cloned()
        .collect();
    if !row_is_wanted && calls.is_empty() {
        return None;
    }
    let mut shown: Vec<&str> = ["model", "replicate"].into_iter().filter(|name| all.contains_key(*name)).collect();
    match wanted.column {
        Some(wanted) => {
            shown.push(wanted);
            let error = |c: &&AddedColumn| {
                c.from.is_empty()
                    && c.name.contains("_error")
                    && c.model.as_ref() == column.and_then(|c| c.model.as_ref())
            };
            shown.extend(shape.adds.iter().rfind(error).map(|c| c.name.as_str()));
        }
        None => {
            let of_this = |c: &&AddedColumn| c.model.as_deref().is_none_or(|m| wanted.model.is_none_or(|w| w == m));
            shown.extend(shape.adds.iter().filter(of_this).map(|c| c.name.as_str()));
            shown.extend(shape.fills.iter().map(String::as_str));
        }
    }
    let cells = shown.into_iter().filter_map(|name| Some((name.to_owned(), all.get(name)?.clone()))).collect();
    Some(Row { cells, calls })
}

/// The cells of a row by column.
fn cells(batch: &RecordBatch, row: usize) -> Map<String, Value> {
    let schema = batch.schema();
    let cells = schema.fields().iter().zip(batch.columns());
    cells.map(|(field, column)| (field.name().clone(), cell_at(column.as_ref(), row).json())).collect()
}

/// The columns of a call about several rows that only the line of its first row has.
const CARRIED: [&str; 10] = [
    "system",
    "prompt",
    "reply",
    "attempts",
    "prompt_tokens",
    "completion_tokens",
    "latency_ms",
    "finish_reason",
    "earlier_tries",
    "notes",
];

/// Whether a line of the calls table is of a call that stands in another line.
fn shares(call: &Map<String, Value>) -> bool {
    call["prompt"].is_null() && !call["pack_size"].is_null()
}

/// The lines in which those calls stand that `count` lines from `first` on share, by key.
fn carriers(table: &Table, first: u64, count: u64) -> Result<HashMap<String, Map<String, Value>>, OriginError> {
    let mut wanted = HashSet::new();
    let keys = table.with_columns(&["call_key", "prompt", "pack_size"]);
    for batch in keys.read(first, count, BATCH).map_err(StoreError::from)? {
        let batch = batch.map_err(StoreError::from)?;
        let lines = (0..batch.num_rows()).map(|i| cells(&batch, i)).filter(shares);
        wanted.extend(lines.filter_map(|line| line["call_key"].as_str().map(str::to_owned)));
    }
    let mut found = HashMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    // The pack's first row stands in the same part, at the latest with the row itself.
    for batch in table.read(0, first + count, BATCH).map_err(StoreError::from)? {
        let batch = batch.map_err(StoreError::from)?;
        for i in 0..batch.num_rows() {
            let key = batch.column_by_name("call_key").map(|keys| text(&cell_at(keys.as_ref(), i)));
            let Some(key) = key.filter(|key| wanted.contains(key)) else { continue };
            let line = cells(&batch, i);
            if !shares(&line) {
                found.insert(key, line);
            }
        }
    }
    Ok(found)
}

/// The calls of a part behind the rows `inputs` (from 0) of the stage's input. They stand in the order of the rows.
fn calls(origin: &Origin, table: &Table, inputs: Range<u64>) -> Result<Vec<Map<String, Value>>, OriginError> {
    let wanted = inputs.start as i64 + 1..inputs.end as i64 + 1;
    let (mut first, mut count) = (0, 0);
    for batch in table.with_columns(&["row"]).read(0, table.rows(), BATCH).map_err(StoreError::from)? {
        let batch = batch.map_err(StoreError::from)?;
        let Some(rows) = batch.column(0).as_primitive_opt::<Int64Type>() else { break };
        first += rows.values().iter().filter(|row| **row < wanted.start).count() as u64;
        count += rows.values().iter().filter(|row| wanted.contains(row)).count() as u64;
    }
    let mut calls = Vec::new();
    let carriers = carriers(table, first, count)?;
    for batch in table.read(first, count, BATCH).map_err(StoreError::from)? {
        let batch = batch.map_err(StoreError::from)?;
        for i in 0..batch.num_rows() {
            let mut call = cells(&batch, i);
            if let Some(whole) = call["call_key"].as_str().and_then(|key| carriers.get(key)).filter(|_| shares(&call)) {
                call.extend(CARRIED.iter().filter_map(|name| Some(((*name).to_owned(), whole.get(*name)?.clone()))));
            }
            // What is kept as JSON text is JSON.
            for name in ["probabilities", "earlier_tries", "notes"] {
                if let Some(value) = call.get_mut(name)
                    && let Some(parsed) = value.as_str().and_then(|text| serde_json::from_str(text).ok())
                {
                    *value = parsed;
                }
            }
            let by = call.get("notes").and_then(|notes| notes["fallback"].as_str());
            let by = by.or(call.get("model").and_then(Value::as_str)).unwrap_or_default();
            let facts: Option<&ModelEntry> = origin.manifest.models.get(by);
            call.insert("server".to_owned(), json!(facts));
            calls.push(call);
        }
    }
    Ok(calls)
}
