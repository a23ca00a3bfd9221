//! Data: rows of an output for people to search, with what explains each cell.
//!
//! - `read`: the rows of a table that match a search.
//! - `calls`: the calls that explain the rows, each once and with its texts cut.

mod calls;
mod read;
mod text;

use std::collections::HashSet;
use std::ops::Range;

use serde::Serialize;
use serde_json::Value;

use super::Subject;
use crate::name::listed;
use crate::report::explanation::corrected;
use crate::report::text::printable;
use crate::spec::{OutputSpec, TableId};
use crate::store::{Origin, OutputFacts, Project, QuotePlace, Row, explain_rows};
use calls::CallTexts;
pub(crate) use read::Search;
use read::{Found, Reading};
pub(super) use text::size;
use text::{CELL, plain};

/// The rows whose calls are looked up at once.
const STEP: u64 = 64;
/// The share of the bytes that rows may take. Their calls may take the rest.
const ROWS: f64 = 0.4;

/// Rows of an output.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct DataTable {
    pub(crate) output: String,
    pub(crate) path: String,
    /// The rows of the whole table.
    pub(crate) total: u64,
    pub(crate) columns: Vec<DataColumn>,
    pub(crate) rows: Vec<DataRow>,
    /// Where a search goes on, if there are more rows to look at.
    pub(crate) next: Option<u64>,
    /// The number of rows here that have no calls, because there was no space for them.
    pub(crate) unexplained: u64,
    #[serde(flatten)]
    pub(crate) texts: CallTexts,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct DataColumn {
    pub(crate) name: String,
    /// The position of the stage that wrote it. `None` if it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<usize>,
    /// The model whose answers it holds, if each model has its own columns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// The keys of the spec that define the answer, in its own column. Columns of several models share them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) from: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct DataRow {
    /// From 1.
    pub(crate) number: u64,
    /// From 1, in the source.
    pub(crate) source: u64,
    pub(crate) cells: Vec<Value>,
    /// The calls of each stage: positions in the list of calls, and the part of the reply about this row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) calls: Vec<Vec<(usize, Option<String>)>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) quotes: Vec<DataQuote>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) corrections: Vec<DataCorrection>,
}

/// A value of a person that replaces an answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DataCorrection {
    pub(crate) column: String,
    pub(crate) text: String,
}

/// A quote in its sentence.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DataQuote {
    pub(crate) column: String,
    pub(crate) words: String,
    pub(crate) found: String,
    /// The text before the quote, the quote, and the text after it.
    pub(crate) text: Option<[String; 3]>,
}

/// The rows that `search` finds. The error is a sentence.
pub(crate) fn rows(subject: &Subject<'_>, search: &Search<'_>) -> Result<DataTable, String> {
    let Some(output) = subject.plan.spec.outputs.get(search.output).filter(|output| !output.codebook) else {
        let names = subject.plan.spec.table_outputs().map(|(name, _)| name.as_str());
        return Err(format!("there is no output `{}`; the outputs are {}", search.output, listed(names)));
    };
    let origin = origin(subject, search.output, output);
    let Found { rows, next, total } = Reading::new(&origin, output)?.find(search)?;
    let mut table = DataTable {
        output: search.output.to_owned(),
        path: output.path.clone(),
        total,
        columns: columns(&origin, subject, output),
        next,
        ..DataTable::default()
    };
    let fold = origin.chain().0.iter().map(|(_, shape)| shape.fold).product();
    let mut left = search.bytes as f64 * ROWS;
    for (number, cells) in rows {
        let row = DataRow { number: number + 1, source: number / fold + 1, cells, ..DataRow::default() };
        left -= size(&row);
        if left < 0.0 {
            table.next = Some(number);
            break;
        }
        table.rows.push(row);
    }
    let key = key_place(&origin, subject, output);
    table.explain(&origin, key, (fold, search.bytes as f64 * (1.0 - ROWS)))?;
    Ok(table)
}

fn origin(subject: &Subject<'_>, name: &str, output: &OutputSpec) -> Origin {
    Origin {
        project: Project::of(&subject.plan.spec.folder),
        dir: subject.folder.clone(),
        manifest: subject.manifest.clone(),
        output: OutputFacts {
            input: table_name(subject, output.input),
            path: output.path.clone(),
            ..OutputFacts::default()
        },
        name: name.to_owned(),
    }
}

fn table_name(subject: &Subject<'_>, table: TableId) -> String {
    subject.plan.spec.table_name(table).to_owned()
}

/// The position of the column with the key of the source, if the output has it.
fn key_place(origin: &Origin, subject: &Subject<'_>, output: &OutputSpec) -> Option<usize> {
    let key = origin.entry(origin.chain().1).ok()?.key?;
    let input = &subject.plan.spec.relation(output.input).schema;
    output.columns.iter().position(|place| *input.field(*place).name() == key)
}

fn columns(origin: &Origin, subject: &Subject<'_>, output: &OutputSpec) -> Vec<DataColumn> {
    let (chain, _) = origin.chain();
    let input = &subject.plan.spec.relation(output.input).schema;
    let column = |(shown, place): (&String, &usize)| {
        let name = input.field(*place).name();
        // The last stage that wrote it or filled it.
        let wrote = chain.iter().enumerate().rev().find_map(|(stage, (_, shape))| {
            let added = shape.adds.iter().find(|added| added.name == *name);
            (added.is_some() || shape.fills.contains(name)).then_some((stage, added))
        });
        let added = wrote.and_then(|(_, added)| added);
        DataColumn {
            name: shown.clone(),
            stage: wrote.map(|(stage, _)| stage),
            model: added.and_then(|added| added.model.clone()),
            from: added.map(|added| added.from.join(".")).unwrap_or_default(),
        }
    };
    let shown: Vec<String> = output.schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut columns: Vec<DataColumn> = shown.iter().zip(&output.columns).map(column).collect();
    // Columns about an answer, such as its quote, follow the column of the answer.
    let mut answers = HashSet::new();
    for column in &mut columns {
        if !answers.insert((column.stage, column.model.clone(), column.from.clone())) {
            column.from.clear();
        }
    }
    columns
}

impl DataTable {
    /// Whether models wrote some of the columns.
    pub(crate) fn explains(&self) -> bool {
        !self.texts.stages.is_empty()
    }

    /// Adds the calls and the quotes of the rows, until they have this number of bytes.
    fn explain(&mut self, origin: &Origin, key: Option<usize>, (fold, mut left): (u64, f64)) -> Result<(), String> {
        let (chain, _) = origin.chain();
        self.texts.stages = chain.iter().map(|(stage, _)| (*stage).to_owned()).collect();
        if chain.is_empty() {
            return Ok(());
        }
        let mut row = 0;
        while row < self.rows.len() && left > 0.0 {
            let sources = self.near(row);
            let stages = explain_rows(origin, sources.clone()).map_err(|error| error.to_string())?;
            while let Some(data) = self.rows.get_mut(row).filter(|data| sources.contains(&(data.source - 1))) {
                let key = key.and_then(|place| data.cells.get(place)).map(key_text);
                let within = (data.source - 1 - sources.start) * fold + (data.number - 1) % fold;
                for (rows, (_, shape)) in stages.iter().zip(&chain) {
                    // Each row of an earlier stage has several rows in the table.
                    let count = rows.len() as u64;
                    let place = within * count / ((sources.end - sources.start) * fold).max(1);
                    let of_stage = rows.get(place as usize);
                    let (calls, bytes) = of_stage.map(|row| self.texts.add(row)).unwrap_or_default();
                    data.quotes.extend(of_stage.into_iter().flat_map(quotes));
                    left -= bytes;
                    data.calls.push(calls);
                    let fold = count / (sources.end - sources.start).max(1) / shape.fold.max(1);
                    let corrections = shape.corrections.iter();
                    let corrections = corrections.filter(|of| of.is_about(key.as_deref(), data.source, fold));
                    data.corrections.extend(
                        corrections
                            .map(|of| DataCorrection { column: of.column.clone(), text: plain(&corrected(of), CELL) }),
                    );
                }
                left -= size(&data.calls) + size(&data.quotes);
                row += 1;
            }
        }
        self.unexplained = (self.rows.len() - row) as u64;
        Ok(())
    }

    /// The source rows (from 0) of the row at `row` and of the following rows that are near.
    fn near(&self, row: usize) -> Range<u64> {
        let first = self.rows[row].source - 1;
        let rows = self.rows[row..].iter().map(|row| row.source - 1);
        first..rows.take_while(|source| (first..first + STEP).contains(source)).last().unwrap_or(first) + 1
    }
}

/// A key as corrections write it.
fn key_text(key: &Value) -> String {
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}

fn quotes(row: &Row) -> impl Iterator<Item = DataQuote> {
    row.quotes.iter().map(|QuotePlace { column, words, found, text, .. }| DataQuote {
        column: column.clone(),
        words: plain(words, CELL),
        found: found.clone(),
        text: text.as_ref().map(|parts| parts.each_ref().map(|part| printable(part).into_owned())),
    })
}
