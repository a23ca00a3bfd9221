//! Origins of cells: those that were there, those of each model, and those that are still missing.

use indexmap::IndexMap;
use serde_json::json;

use super::blocks::{figure, named};
use super::collect::Collect;
use super::table::{Batch, Grouping, Series, TableRows, text};
use crate::page::chart::{Bar, Bars, Chart, Tone, Unit};
use crate::page::content::Block;
use crate::report::text::percent;

const MISSING: &str = "still missing";
/// The most different origins of a column.
const MOST: usize = 12;

pub(super) struct OriginView {
    title: String,
    /// The name of each column, and the places of its origins.
    columns: Vec<(String, Vec<Series>)>,
    counts: Vec<IndexMap<String, u64>>,
}

impl OriginView {
    pub(super) fn new(title: &str, columns: &[(String, String)], table: &TableRows<'_>) -> OriginView {
        let mut places = Vec::new();
        for (name, origin) in columns {
            let series = table.series(origin);
            match series.as_slice() {
                [_, _, ..] => places.extend(series.into_iter().map(|s| (format!("{name} · {}", s.model), vec![s]))),
                _ => places.push((name.clone(), series)),
            }
        }
        OriginView { title: title.to_owned(), counts: vec![IndexMap::new(); places.len()], columns: places }
    }
}

impl Collect for OriginView {
    fn reads(&self) -> Vec<String> {
        self.columns.iter().flat_map(|(_, series)| series.iter().map(|series| series.column.clone())).collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        for ((_, series), counts) in self.columns.iter().zip(&mut self.counts) {
            for series in series {
                let Some(column) = batch.column(&series.column) else { continue };
                for row in series.rows(batch.rows) {
                    let origin = text(column, row);
                    let origin = origin.as_deref().unwrap_or(MISSING);
                    match counts.get_mut(origin) {
                        Some(count) => *count += 1,
                        None => {
                            let name = if counts.len() < MOST { origin } else { "other" };
                            *counts.entry(name.to_owned()).or_default() += 1;
                        }
                    }
                }
            }
        }
    }

    fn blocks(&mut self, _: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        let mut parts: Vec<&str> = self.counts.iter().flat_map(|counts| counts.keys().map(String::as_str)).collect();
        // What was there comes first, and what is missing last.
        parts.sort_by_key(|part| (*part == MISSING, !part.starts_with("original"), *part));
        parts.dedup();
        if parts.is_empty() {
            return Ok(Vec::new());
        }
        let share = |counts: &IndexMap<String, u64>, part: &str| {
            let all: u64 = counts.values().sum();
            counts.get(part).copied().unwrap_or(0) as f64 / all.max(1) as f64
        };
        let bar = |((name, _), counts): (&(String, Vec<Series>), &IndexMap<String, u64>)| Bar {
            label: name.clone(),
            values: parts.iter().map(|part| share(counts, part)).collect(),
            text: format!("{} filled", percent(1.0 - share(counts, MISSING))),
        };
        let bars = self.columns.iter().zip(&self.counts).map(bar).collect();
        let row = |((name, _), counts): (&(String, Vec<Series>), &IndexMap<String, u64>)| {
            let of = parts.iter().map(|part| json!(counts.get(*part).copied().unwrap_or(0)));
            [json!(name)].into_iter().chain(of).collect()
        };
        let columns: Vec<&str> = ["column"].into_iter().chain(parts.iter().copied()).collect();
        let numbers = named(&columns, self.columns.iter().zip(&self.counts).map(row).collect());
        let tone = |part: &&str| if *part == MISSING { Tone::Missing } else { Tone::Plain };
        let tones = parts.iter().map(tone).collect();
        let parts = parts.into_iter().map(str::to_owned).collect();
        let chart = Chart::Bars(Bars { tones, ..Bars::new(Unit::Share, parts, bars) });
        Ok(vec![figure(self.title.clone(), chart, numbers, None)])
    }
}
