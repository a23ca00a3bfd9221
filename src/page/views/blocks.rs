//! Blocks of a page, made from numbers.

use serde_json::{Value, json};

use super::table::Series;
use crate::page::chart::{Chart, Matrix};
use crate::page::content::{Block, Figure, Grid};
use crate::report::text::{figure as short, percent};

pub(super) fn figure(title: String, chart: Chart, numbers: Grid, note: Option<String>) -> Block {
    Block::Figure(Figure { title, chart, numbers, note })
}

/// The column of the model is left out if no model is named.
pub(super) fn named(columns: &[&str], mut rows: Vec<Vec<Value>>) -> Grid {
    let mut columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    let model = columns.iter().position(|name| name == "model");
    if let Some(model) = model.filter(|model| rows.iter().all(|row| row[*model] == "")) {
        columns.remove(model);
        rows.iter_mut().for_each(|row| drop(row.remove(model)));
    }
    Grid { columns, rows }
}

/// Blocks that are closed until people open them. Empty without blocks.
pub(super) fn fold(title: String, blocks: Vec<Block>) -> Vec<Block> {
    if blocks.is_empty() { blocks } else { vec![Block::Fold { title, blocks }] }
}

pub(super) fn series_name(series: &Series) -> String {
    if series.model.is_empty() { "answers".to_owned() } else { series.model.clone() }
}

/// The end of a title that names the model, if there are several.
pub(super) fn of_model(series: &Series) -> String {
    if series.model.is_empty() { String::new() } else { format!(", {}", series.model) }
}

/// The most models that have their own charts.
pub(super) const MODELS: usize = 12;

/// The blocks about the first models, each with its series.
pub(super) fn of_models<T>(
    series: &[Series],
    found: &[T],
    mut blocks: impl FnMut(&Series, &T) -> Result<Vec<Block>, String>,
) -> Result<Vec<Block>, String> {
    let mut all = Vec::new();
    for (series, found) in series.iter().zip(found).take(MODELS) {
        all.extend(blocks(series, found)?);
    }
    if series.len() > MODELS && !all.is_empty() {
        all.push(Block::text(format!("The charts of the first {MODELS} of {} models are shown.", series.len())));
    }
    Ok(all)
}

pub(super) fn table(title: String, table: Grid) -> Block {
    Block::Table { title, table }
}

/// A share in the room of a cell.
fn brief(share: f64) -> String {
    if share > 0.0 && share < 5e-4 { "< 0.1 %".to_owned() } else { percent(share) }
}

/// A matrix of counts or shares by two labels. Each cell is as dark as its share of the row.
pub(super) fn matrix(title: String, sides: [&str; 2], labels: &[String], values: &[Vec<Option<f64>>]) -> Block {
    let sum = |row: &[Option<f64>]| row.iter().flatten().sum::<f64>();
    let share =
        |row: &[Option<f64>], value: &Option<f64>| value.filter(|_| sum(row) > 0.0).map(|value| value / sum(row));
    let text = |row: &[Option<f64>], value: &Option<f64>| match share(row, value) {
        // Shares that add up to 1 are written once.
        Some(share) if (sum(row) - 1.0).abs() < 1e-9 => brief(share),
        Some(share) => format!("{} ({})", short(value.unwrap_or_default()), brief(share)),
        None => String::new(),
    };
    let shades = values.iter().map(|row| row.iter().map(|value| share(row, value)).collect()).collect();
    let texts = values.iter().map(|row| row.iter().map(|value| text(row, value)).collect()).collect();
    let mut rows = Vec::new();
    for (a, row) in values.iter().enumerate() {
        for (b, value) in row.iter().enumerate() {
            rows.push(vec![json!(labels[a]), json!(labels[b]), json!(value), json!(share(row, value))]);
        }
    }
    let [row_title, column_title] = sides.map(str::to_owned);
    let (rows_of, columns) = (labels.to_vec(), labels.to_vec());
    let chart = Matrix { row_title, column_title, rows: rows_of, columns, shades, texts };
    let numbers = named(&[sides[0], sides[1], "value", "share of the row"], rows);
    let is_whole = values.iter().flatten().flatten().all(|value| value.fract() == 0.0 || *value <= 1.0);
    let note =
        if is_whole { "Each share is of the row." } else { "Each share is of the row. The counts are weighted." };
    figure(title, Chart::Matrix(chart), numbers, Some(note.to_owned()))
}
