//! The section on the codebook: what each column of the tables is, and what it contains.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::super::Subject;
use super::super::content::{Block, Grid, Section};
use crate::output::{Batches, Description, Output, describe};
use crate::report::findings::is_tidy;
use crate::spec::OutputSpec;
use crate::table::parquet::Table;

const ROWS: usize = 4096;

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let spec = &subject.plan.spec;
    if !subject.is_current {
        return Ok(None);
    }
    let mut blocks = Vec::new();
    let mut seen = HashSet::new();
    for output in spec.outputs.values().filter(|output| !output.codebook && output.sheet.is_none()) {
        let name = spec.table_name(output.input);
        let is_method = is_tidy(&spec.relation(output.input).schema);
        if is_method || !seen.insert(output.input) {
            continue;
        }
        let parts: Vec<Table> = (0..).map_while(|n| subject.folder.committed(name, n)).map(|part| part.table).collect();
        let schema = &spec.relation(output.input).schema;
        if parts.is_empty() || parts.iter().any(|part| part.schema().fields().len() != schema.fields().len()) {
            continue;
        }
        let rows = described(subject, output, &parts)?.into_iter().map(row).collect();
        let columns =
            ["variable", "label", "type", "values", "least", "most", "n", "null", "failed", "not asked", "source"];
        blocks.push(Block::Table { title: format!("Variables of {name}"), table: Grid::new(&columns, rows) });
    }
    let section = Section { id: "codebook".to_owned(), title: "Codebook".to_owned(), blocks };
    Ok(Some(section).filter(|section| !section.blocks.is_empty()))
}

fn described(subject: &Subject<'_>, output: &OutputSpec, parts: &[Table]) -> Result<Vec<Description>, String> {
    let read = || {
        let batches = parts.iter().flat_map(|part| match part.read(0, part.rows(), ROWS) {
            Ok(rows) => Box::new(rows) as Batches<'_>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        Box::new(batches) as Batches<'_>
    };
    let prompts = HashMap::new();
    let output = Output { spec: &subject.plan.spec, output, facts: Vec::new(), prompts: &prompts, read: &read };
    describe(&output).map_err(|error| error.to_string())
}

fn row(column: Description) -> Vec<serde_json::Value> {
    // Numbers keep their digits, and each format rounds them.
    let end = |text: String| match text.parse::<serde_json::Number>() {
        Ok(number) if column.unit.is_empty() => json!(number),
        _ => json!(text + column.unit),
    };
    let [least, most] = column.range.map_or([json!(null), json!(null)], |range| range.map(end));
    let filled = |text: String| Some(text).filter(|text| !text.is_empty());
    vec![
        json!(column.name),
        json!(filled(column.question)),
        json!(column.kind),
        json!(filled(column.labels.join("; "))),
        least,
        most,
        json!(column.rows - column.missing),
        json!(column.missing),
        json!(column.failed),
        json!(column.not_asked),
        json!(column.source),
    ]
}
