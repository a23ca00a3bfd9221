//! Explaining a row of a table that a run wrote: its cells, and the calls that produced them.
//!
//! Reads only the parts that contain the row. Row numbers begin with 1, as in the calls table.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::calls::COLUMNS;
use super::copied::CopiedRow;
use super::error::StoreError;
use super::manifest::{AddedColumn, ModelEntry, SourceEntry, StageShape};
use super::provenance::{Origin, OriginError};
use crate::name::{listed, nearest};
use crate::spec::Correction;
use crate::table::parquet::Table;
use crate::table::{Cell, cell_at, cells_at};

const BATCH: usize = 4096;
const NAMED: usize = 20;
/// The number of characters shown before and after a quote.
const AROUND: usize = 40;

type Call = Map<String, Value>;

#[derive(Clone, Copy, Debug)]
pub(crate) struct CellRef<'a> {
    /// The source row: its key, `#` and its number, or only its number if the source has no key.
    pub(crate) row: &'a str,
    /// `None` means all columns that stages wrote.
    pub(crate) column: Option<&'a str>,
    pub(crate) model: Option<&'a str>,
    /// Limits the rows to this replicate, from 1.
    pub(crate) replicate: Option<i64>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Explanation {
    pub(crate) row: u64,
    pub(crate) key: Option<String>,
    pub(crate) source: String,
    pub(crate) read: SourceEntry,
    /// The column that is explained, by its name in these tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) column: Option<String>,
    pub(crate) input: Option<Value>,
    pub(crate) stages: Vec<StageExplanation>,
    /// The rows of other tables that were found for the row, by column.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) retrieved: Vec<RetrievedRows>,
    /// The rows of other tables that a transform, such as a join, made the row from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) made_from: Vec<InputExplanation>,
}

/// A row of an input of a transform.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InputExplanation {
    pub(crate) table: String,
    /// How many rows of the table have the copied values. The first one is explained.
    pub(crate) equal_rows: u64,
    pub(crate) explanation: Option<Explanation>,
}

/// The rows of a table that a `retrieve` stage found, the nearest one first.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RetrievedRows {
    pub(crate) column: String,
    pub(crate) from: String,
    /// Each with its rank, its score and the columns that prompts see.
    pub(crate) rows: Vec<Map<String, Value>>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct StageExplanation {
    pub(crate) stage: String,
    pub(crate) column: Option<AddedColumn>,
    pub(crate) rows: Vec<Row>,
    /// The values of people that replace answers about the row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) corrections: Vec<Correction>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// The cells that the stage wrote, and the cells that distinguish rows of the same source row.
    pub(crate) cells: Map<String, Value>,
    /// The quotes that support the cells.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) quotes: Vec<QuotePlace>,
    /// The calls that produced the cells, in order. Each has the columns of the calls table and `server`.
    pub(crate) calls: Vec<Call>,
}

/// Where a quote is in the text of the row.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct QuotePlace {
    pub(crate) column: String,
    pub(crate) words: String,
    /// How the quote was found, as in the column `_quote_found`; `no` if it is not in the text.
    pub(crate) found: String,
    /// The first and the last character in the text, from 0, the end exclusive.
    pub(crate) range: Option<(u64, u64)>,
    /// The words in the text, with some characters before and after them.
    pub(crate) text: Option<[String; 3]>,
}

pub(crate) fn explain(origin: &Origin, wanted: &CellRef<'_>) -> Result<Explanation, OriginError> {
    let table = origin.output.input.as_str();
    if let Some(explanation) = explain_stack(origin, wanted)? {
        return Ok(explanation);
    }
    let (chain, source) = origin.chain();
    let row = find_row(origin, (source, &origin.entry(source)?), wanted.row)?;
    let stages = origin.stages_of(table);
    known_model(&stages, wanted.model)?;
    known_replicate(&stages, wanted.replicate)?;
    let fold = chain.iter().map(|(_, shape)| shape.fold).product::<u64>();
    Explainer { origin, explained: HashSet::new() }.row(table, (row - 1) * fold..row * fold, wanted)
}

/// Explains a row of the source in every table that the output stacks. `None` for a row by its number, and for outputs
/// of other tables.
fn explain_stack(origin: &Origin, wanted: &CellRef<'_>) -> Result<Option<Explanation>, OriginError> {
    let made = origin.manifest.transforms.get(&origin.output.input).filter(|made| made.is_stack);
    let inputs = made.map_or(&[][..], |made| &made.inputs);
    let stages = origin.stages_of(&origin.output.input);
    let mut whole: Option<Explanation> = None;
    for input in inputs {
        let (chain, source) = origin.chain_of(input);
        let entry = origin.entry(source)?;
        if wanted.row.starts_with('#') || entry.key.is_none() {
            return Ok(None);
        }
        known_model(&stages, wanted.model)?;
        known_replicate(&stages, wanted.replicate)?;
        let row = find_row(origin, (source, &entry), wanted.row)?;
        let fold = chain.iter().map(|(_, shape)| shape.fold).product::<u64>();
        let explainer = &mut Explainer { origin, explained: HashSet::new() };
        let found = explainer.row(input, (row - 1) * fold..row * fold, wanted)?;
        match &mut whole {
            None => whole = Some(found),
            Some(whole) => {
                let is_new = |stage: &StageExplanation| !whole.stages.iter().any(|known| known.stage == stage.stage);
                let new: Vec<StageExplanation> = found.stages.into_iter().filter(is_new).collect();
                whole.stages.extend(new);
            }
        }
    }
    Ok(whole)
}

struct Explainer<'a> {
    origin: &'a Origin,
    /// The tables and rows that are explained already.
    explained: HashSet<(String, u64)>,
}

impl Explainer<'_> {
    /// Explains rows (from 0) of the table of a stage, a source or a transform. They come from one row of the source.
    fn row(&mut self, table: &str, rows: Range<u64>, wanted: &CellRef<'_>) -> Result<Explanation, OriginError> {
        let origin = self.origin;
        let (chain, source) = origin.chain_of(table);
        let entry = origin.entry(source)?;
        let mut fold = chain.iter().map(|(_, shape)| shape.fold).product::<u64>();
        let row = rows.start / fold + 1;
        let key = key_of(origin, (source, &entry), row)?;
        let writer = |name: &str| chain.iter().position(|(_, shape)| shape.adds.iter().any(|c| c.name == name));
        let mut stages = Vec::new();
        for (i, (stage, shape)) in chain.iter().enumerate() {
            let added = wanted.column.and_then(|column| shape.adds.iter().find(|c| c.name == column));
            fold /= shape.fold;
            let fills = |column: &str| writer(column).is_none_or(|w| w < i) && shape.fills.iter().any(|f| f == column);
            if wanted.column.is_none() || added.is_some() || wanted.column.is_some_and(fills) {
                let view = StageView { origin, stage, shape, added, wanted };
                let found = view.rows(rows.start / fold..rows.end.div_ceil(fold))?;
                let inputs = chain[..i].iter().map(|(_, shape)| shape.fold).product();
                let is_shown = |c: &&Correction| {
                    c.is_about(key.as_deref(), row, inputs) && wanted.column.is_none_or(|column| column == c.column)
                };
                let corrections = shape.corrections.iter().filter(is_shown).cloned().collect();
                let stage = (*stage).to_owned();
                stages.push(StageExplanation { stage, column: added.cloned(), rows: found, corrections });
            }
        }
        let is_read = wanted.column.filter(|column| writer(column).is_none());
        let input = match is_read {
            Some(column) => Some(source_cell(&origin.source(source)?, &chain, column, row)?),
            None => None,
        };
        let needs_inputs = wanted.column.is_none() || is_read.is_some();
        let made_from = if needs_inputs { self.inputs(source, row - 1, wanted)? } else { Vec::new() };
        let retrieved = self.retrieved(source, row, is_read)?;
        let (source, column) = (source.to_owned(), wanted.column.map(str::to_owned));
        Ok(Explanation { row, key, source, read: entry, column, input, stages, retrieved, made_from })
    }

    /// The rows that were found for row `row` (from 1) of a table, if a `retrieve` stage made it. Only those in `column`
    /// if that is given.
    fn retrieved(&self, table: &str, row: u64, column: Option<&str>) -> Result<Vec<RetrievedRows>, OriginError> {
        let made = self.origin.manifest.transforms.get(table).filter(|made| made.kind == "retrieve");
        let Some(made) = made else { return Ok(Vec::new()) };
        let rows = self.origin.source(table)?;
        let mut retrieved = Vec::new();
        for field in rows.schema().fields() {
            let copies = made.copies.iter().any(|copies| copies.contains_key(field.name()));
            if copies || column.is_some_and(|column| column != field.name()) {
                continue;
            }
            let found = cells_of(&rows, field.name(), row - 1..row)?;
            let items = found.first().map(Cell::json).and_then(|cell| cell.as_array().cloned()).unwrap_or_default();
            let items = items.into_iter().filter_map(|item| item.as_object().cloned()).collect();
            let (column, from) = (field.name().clone(), made.inputs.first().cloned().unwrap_or_default());
            retrieved.push(RetrievedRows { column, from, rows: items });
        }
        Ok(retrieved)
    }

    /// Explains the rows that a transform made its row `row` (from 0) from.
    fn inputs(&mut self, table: &str, row: u64, wanted: &CellRef<'_>) -> Result<Vec<InputExplanation>, OriginError> {
        let mut made_from = Vec::new();
        for CopiedRow { input, columns, row, equal_rows } in self.origin.copied_rows(table, row)? {
            let column = wanted.column.and_then(|column| columns.get(column));
            let is_wanted = wanted.column.is_none() || column.is_some();
            if !is_wanted || row.is_some_and(|row| !self.explained.insert((input.to_owned(), row))) {
                continue;
            }
            let wanted = CellRef { row: "", column: column.map(String::as_str), ..*wanted };
            let explanation = row.map(|row| self.row(input, row..row + 1, &wanted)).transpose()?;
            made_from.push(InputExplanation { table: input.to_owned(), equal_rows, explanation });
        }
        Ok(made_from)
    }
}

/// For each stage that produced the table, in order, its rows that come from the rows `sources` (from 0) of the source.
pub(crate) fn explain_rows(origin: &Origin, sources: Range<u64>) -> Result<Vec<Vec<Row>>, OriginError> {
    let wanted = CellRef { row: "", column: None, model: None, replicate: None };
    let mut fold = 1;
    let mut stages = Vec::new();
    for (stage, shape) in origin.chain().0 {
        let view = StageView { origin, stage, shape, added: None, wanted: &wanted };
        fold *= shape.fold;
        stages.push(view.rows(sources.start * fold..sources.end * fold)?);
    }
    Ok(stages)
}

fn find_row(origin: &Origin, (source, entry): (&str, &SourceEntry), row: &str) -> Result<u64, OriginError> {
    let number = match (row.strip_prefix('#'), &entry.key) {
        (Some(number), _) => number.parse::<u64>().ok(),
        (None, None) => row.parse::<u64>().ok(),
        (None, Some(column)) => {
            let (number, near) = find_key(&origin.source(source)?.with_columns(&[column]), entry.rows, row)?;
            return number.ok_or_else(|| {
                let message = format!("no row of source `{source}` has the key `{row}` (column `{column}`)");
                let by_number = || format!("a row is also known by its number, from '#1' to '#{}'", entry.rows);
                let help = near.map_or_else(by_number, |near| format!("did you mean `{near}`?"));
                OriginError::Unknown { message, help: Some(help) }
            });
        }
    };
    number.filter(|number| (1..=entry.rows).contains(number)).ok_or_else(|| {
        let why = if entry.key.is_none() { ", which has no key" } else { "" };
        let message = format!("`{row}` is not a row of source `{source}`{why}: its rows are #1 to #{}", entry.rows);
        OriginError::unknown(message, None)
    })
}

fn key_of(origin: &Origin, (source, entry): (&str, &SourceEntry), row: u64) -> Result<Option<String>, OriginError> {
    let Some(key) = &entry.key else { return Ok(None) };
    Ok(cells_of(&origin.source(source)?, key, row - 1..row)?.first().map(Cell::text))
}

fn find_key(table: &Table, rows: u64, key: &str) -> Result<(Option<u64>, Option<String>), StoreError> {
    let mut number = 0;
    for batch in table.read(0, rows, BATCH)? {
        let batch = batch?;
        if let Some(place) = keys(&batch).position(|found| found == key) {
            return Ok((Some(number + place as u64 + 1), None));
        }
        number += batch.num_rows() as u64;
    }
    let mut near: Option<String> = None;
    for batch in table.read(0, rows, BATCH)? {
        let keys: Vec<String> = near.into_iter().chain(keys(&batch?)).collect();
        near = nearest(key, keys.iter().map(String::as_str)).map(str::to_owned);
    }
    Ok((None, near))
}

/// Returns the texts of the first column.
fn keys(batch: &RecordBatch) -> impl Iterator<Item = String> {
    (0..batch.num_rows()).map(|row| cell_at(batch.column(0).as_ref(), row).text())
}

/// Calls `each` with the rows `rows` of a table, each as a batch and a place in it.
fn each_row(table: &Table, rows: Range<u64>, mut each: impl FnMut(&RecordBatch, usize)) -> Result<(), StoreError> {
    for batch in table.read(rows.start, rows.end - rows.start, BATCH)? {
        let batch = batch?;
        (0..batch.num_rows()).for_each(|row| each(&batch, row));
    }
    Ok(())
}

fn cells_of(table: &Table, column: &str, rows: Range<u64>) -> Result<Vec<Cell>, OriginError> {
    let mut cells = Vec::new();
    each_row(&table.with_columns(&[column]), rows, |batch, row| cells.push(cell_at(batch.column(0).as_ref(), row)))?;
    Ok(cells)
}

/// Returns the source cell in column `column` and row `row`. The error lists the columns of the table.
fn source_cell(table: &Table, chain: &[(&str, &StageShape)], column: &str, row: u64) -> Result<Value, OriginError> {
    let schema = table.schema();
    if schema.index_of(column).is_ok() {
        return Ok(cells_of(table, column, row - 1..row)?.first().map_or(Value::Null, Cell::json));
    }
    let added = chain.iter().flat_map(|(_, shape)| shape.adds.iter().map(|c| c.name.as_str()));
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).chain(added).collect();
    let few = (names.len() <= NAMED).then(|| format!("; it has {}", listed(names.iter().copied())));
    let message = format!("the table has no column `{column}`{}", few.unwrap_or_default());
    Err(OriginError::unknown(message, nearest(column, names)))
}

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

fn known_replicate(chain: &[(&str, &StageShape)], replicate: Option<i64>) -> Result<(), OriginError> {
    let most = chain.iter().map(|(_, shape)| shape.replicates).max().unwrap_or(1);
    let message = match replicate {
        Some(_) if most == 1 => "the rows have no replicates".to_owned(),
        Some(number) if !(1..=most as i64).contains(&number) => {
            format!("replicate {number} does not exist: replicates are numbered from 1 to {most}")
        }
        _ => return Ok(()),
    };
    Err(OriginError::unknown(message, None))
}

struct StageView<'a> {
    origin: &'a Origin,
    stage: &'a str,
    shape: &'a StageShape,
    added: Option<&'a AddedColumn>,
    wanted: &'a CellRef<'a>,
}

impl StageView<'_> {
    /// The stage's rows with these numbers, from 0.
    fn rows(&self, numbers: Range<u64>) -> Result<Vec<Row>, OriginError> {
        let shape = self.shape;
        let inputs = numbers.start / shape.fold..numbers.end.div_ceil(shape.fold);
        let mut rows = Vec::new();
        let mut from = inputs.start;
        while from < inputs.end {
            let part = from / shape.chunk_size;
            let until = inputs.end.min((part + 1) * shape.chunk_size);
            let first = part * shape.chunk_size;
            let mut calls = calls(&self.origin.calls(self.stage, part)?, from..until)?;
            calls.iter_mut().for_each(|call| self.add_server(call));
            let table = self.origin.part(self.stage, part)?;
            let mut number = from * shape.fold;
            each_row(&table, (from - first) * shape.fold..(until - first) * shape.fold, |batch, i| {
                if numbers.contains(&number) {
                    rows.extend(self.row(cells_at(batch, i), number, &calls));
                }
                number += 1;
            })?;
            from = until;
        }
        Ok(rows)
    }

    /// Returns row `number` (from 0), whose cells are `all`, or `None` if it is of another model or replicate.
    fn row(&self, all: Map<String, Value>, number: u64, calls: &[Call]) -> Option<Row> {
        let (shape, wanted) = (self.shape, self.wanted);
        let of_model = |value: Option<&Value>| wanted.model.is_none_or(|m| value.and_then(Value::as_str) == Some(m));
        // Stages before the one with replicates have no column `replicate`: one row serves all replicates.
        if wanted.replicate.zip(all.get("replicate")).is_some_and(|(n, of)| *of != json!(n)) {
            return None;
        }
        let sub = number % shape.fold;
        let replicate = sub / (shape.fold / shape.replicates.max(1)).max(1) + 1;
        let long = (shape.layout == "long").then(|| &shape.models[sub as usize % shape.models.len()]);
        let model = self.added.and_then(|column| column.model.as_ref()).or(long);
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
        let shown = ["model", "replicate"].into_iter().filter(|name| all.contains_key(*name)).chain(self.columns());
        let cells: Map<String, Value> =
            shown.filter_map(|name| Some((name.to_owned(), all.get(name)?.clone()))).collect();
        Some(Row { quotes: self.quotes(&all, &cells), cells, calls })
    }

    /// Adds what the run knew of the model that answered.
    fn add_server(&self, call: &mut Call) {
        let by = call["notes"]["fallback"].as_str().or(call["model"].as_str()).unwrap_or_default();
        let place = self.shape.models.iter().position(|model| model == by);
        let asked = place.and_then(|place| self.shape.asked.get(place)).map_or(by, String::as_str);
        let facts: Option<&ModelEntry> = self.origin.manifest.models.get(asked);
        call.insert("server".to_owned(), json!(facts));
    }

    fn quotes(&self, all: &Map<String, Value>, cells: &Map<String, Value>) -> Vec<QuotePlace> {
        let quote = |name: &String| {
            let part = |part: &str| all.get(&name.replacen("_quote_found", part, 1));
            let found = cells.get(name)?.as_str()?.to_owned();
            let words = part("_quote")?.as_str()?.to_owned();
            let range = part("_quote_start")?.as_u64().zip(part("_quote_end")?.as_u64());
            let text = range.and_then(|range| self.text(all, range));
            Some(QuotePlace { column: name.replacen("_quote_found", "", 1), words, found, range, text })
        };
        cells.keys().filter(|name| name.contains("_quote_found")).filter_map(quote).collect()
    }

    /// The characters `start` to `end` of the text that the prompt read, and those around them.
    fn text(&self, all: &Map<String, Value>, (start, end): (u64, u64)) -> Option<[String; 3]> {
        let (start, end) = (start as usize, end as usize);
        let texts = self.shape.reads.iter().filter_map(|column| all.get(column)?.as_str());
        let text: Vec<char> = texts.map(|text| text.chars().collect::<Vec<_>>()).find(|text| text.len() >= end)?;
        let cut = |range: Range<usize>| text.get(range).map(|chars| chars.iter().collect::<String>());
        let after = (end + AROUND).min(text.len());
        Some([cut(start.saturating_sub(AROUND)..start)?, cut(start..end)?, cut(end..after)?])
    }

    fn columns(&self) -> Vec<&str> {
        let (shape, wanted) = (self.shape, self.wanted);
        if let Some(column) = wanted.column {
            let model = self.added.and_then(|c| c.model.as_ref());
            let error = |c: &&AddedColumn| c.from.is_empty() && c.name.contains("_error") && c.model.as_ref() == model;
            let error = shape.adds.iter().rfind(error).map(|c| c.name.as_str());
            // The quote of a value belongs to the same key of the spec.
            let own = self.added.filter(|added| !added.from.is_empty());
            let is_quote = |c: &&AddedColumn| own.is_some_and(|own| c.from == own.from && c.model == own.model);
            let quotes = shape.adds.iter().filter(is_quote).map(|c| c.name.as_str());
            let quotes = quotes.filter(|name| name.contains("_quote") && *name != column);
            return [column].into_iter().chain(quotes).chain(error).collect();
        }
        let of_model = |c: &&AddedColumn| c.model.as_deref().is_none_or(|m| wanted.model.is_none_or(|w| w == m));
        let added = shape.adds.iter().filter(of_model).map(|c| c.name.as_str());
        added.chain(shape.fills.iter().map(String::as_str)).collect()
    }
}

/// Whether another row of the calls table contains the values of this call.
fn is_carried(call: &Call) -> bool {
    let has = |name: &str| call.get(name).is_some_and(|value| !value.is_null());
    !has("prompt") && has("pack_size")
}

/// Returns one row of a calls table. Columns that the table lacks are null.
fn call_at(batch: &RecordBatch, row: usize) -> Call {
    let mut call = cells_at(batch, row);
    for column in COLUMNS.iter().filter(|column| batch.column_by_name(column.name).is_none()) {
        call.insert(column.name.to_owned(), Value::Null);
    }
    call
}

/// Returns, by key, the rows that contain the values of the calls in the rows `rows`.
fn carriers(table: &Table, rows: Range<u64>) -> Result<HashMap<String, Call>, StoreError> {
    let mut wanted = HashSet::new();
    each_row(&table.with_columns(&["call_key", "prompt", "pack_size"]), rows.clone(), |batch, row| {
        let call = Some(cells_at(batch, row)).filter(is_carried);
        wanted.extend(call.and_then(|call| Some(call.get("call_key")?.as_str()?.to_owned())));
    })?;
    let mut found = HashMap::new();
    if wanted.is_empty() {
        return Ok(found);
    }
    // The first row of a pack is in the same part as its other rows, and before them.
    each_row(table, 0..rows.end, |batch, row| {
        let key = batch.column_by_name("call_key").map(|keys| cell_at(keys.as_ref(), row).text());
        if let Some(key) = key.filter(|key| wanted.contains(key)) {
            found.extend(Some(call_at(batch, row)).filter(|call| !is_carried(call)).map(|call| (key, call)));
        }
    })?;
    Ok(found)
}

/// Returns the calls of a part for the rows `inputs` (from 0) of the stage's input, in row order.
fn calls(table: &Table, inputs: Range<u64>) -> Result<Vec<Call>, StoreError> {
    let wanted = inputs.start as i64 + 1..inputs.end as i64 + 1;
    let (mut first, mut count) = (0, 0);
    for batch in table.with_columns(&["row"]).read(0, table.rows(), BATCH)? {
        let batch = batch?;
        let Some(rows) = batch.column(0).as_primitive_opt::<Int64Type>() else { break };
        first += rows.values().iter().filter(|row| **row < wanted.start).count() as u64;
        count += rows.values().iter().filter(|row| wanted.contains(row)).count() as u64;
    }
    let mut calls = Vec::new();
    let carriers = carriers(table, first..first + count)?;
    each_row(table, first..first + count, |batch, i| {
        let mut call = call_at(batch, i);
        let whole = call["call_key"].as_str().and_then(|key| carriers.get(key));
        if let Some(whole) = whole.filter(|_| is_carried(&call)) {
            let carried = COLUMNS.iter().filter(|column| column.carried).map(|column| column.name);
            call.extend(carried.map(|name| (name.to_owned(), whole[name].clone())));
        }
        for name in ["probabilities", "earlier_tries", "notes"] {
            let json = call[name].as_str().and_then(|text| serde_json::from_str(text).ok());
            if let Some(json) = json {
                call.insert(name.to_owned(), json);
            }
        }
        calls.push(call);
    })?;
    Ok(calls)
}
