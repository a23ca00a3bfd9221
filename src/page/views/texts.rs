//! Texts: their lengths, the most frequent ones, and a random sample of them.

use std::collections::HashMap;

use serde_json::json;

use super::bins::{Bins, Numbers, Sample};
use super::blocks::{named, of_model, of_models, table};
use super::collect::Collect;
use super::numbers::distribution;
use super::table::{Batch, Grouping, Series, TableRows, text};
use crate::page::content::Block;
use crate::report::text::{count, cut, percent};

/// The different texts that are counted, and the characters by which they are compared.
const MOST_COUNTED: usize = 20_000;
const COMPARED: usize = 300;
/// The rows of a table of texts.
const SHOWN: usize = 10;

/// The texts of one model.
struct Texts {
    lengths: Numbers,
    at_most: u64,
    counts: HashMap<String, u64>,
    sample: Sample<(u64, String)>,
}

pub(super) struct TextView {
    title: String,
    most: Option<u32>,
    series: Vec<Series>,
    texts: Vec<Texts>,
}

impl TextView {
    pub(super) fn new(title: &str, column: &str, most: Option<u32>, table: &TableRows<'_>) -> TextView {
        let series = table.series(column);
        let new = |series: &Series| Texts {
            lengths: Numbers::new(Bins::within([None, None], true), table.seed, &series.column),
            at_most: 0,
            counts: HashMap::new(),
            sample: Sample::new(SHOWN, table.seed, &format!("{} {}", series.column, series.first)),
        };
        let texts = series.iter().map(new).collect();
        TextView { title: title.to_owned(), most, series, texts }
    }
}

impl Texts {
    fn add(&mut self, row: u64, text: &str, most: Option<u32>) {
        let length = text.chars().count();
        self.lengths.add(length as f64);
        self.at_most += u64::from(most.is_some_and(|most| length as u64 >= u64::from(most)));
        self.sample.add(|| (row, cut(text, COMPARED)));
        let compared = match text.char_indices().nth(COMPARED) {
            Some((end, _)) => &text[..end],
            None => text,
        };
        let has_room = self.counts.len() < MOST_COUNTED;
        match self.counts.get_mut(compared) {
            Some(count) => *count += 1,
            None if has_room => {
                self.counts.insert(compared.to_owned(), 1);
            }
            None => {}
        }
    }

    /// The texts that occur more than once, the most frequent ones first.
    fn repeated(&self) -> Vec<(&str, u64)> {
        let mut repeated: Vec<(&str, u64)> =
            self.counts.iter().filter(|(_, n)| **n > 1).map(|(text, n)| (text.as_str(), *n)).collect();
        repeated.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        repeated.truncate(SHOWN);
        repeated
    }

    fn blocks(&self, title: &str, most: Option<u32>, table_rows: &TableRows<'_>) -> Result<Vec<Block>, String> {
        let limit = [None, most.map(f64::from)];
        let lengths = distribution(format!("Lengths of {title}"), "Characters", &self.lengths, limit);
        let Some(lengths) = lengths else { return Ok(Vec::new()) };
        let n = self.lengths.n();
        let mut blocks = vec![lengths];
        if let Some(most) = most.filter(|_| self.at_most > 0) {
            let share = percent(self.at_most as f64 / n as f64);
            let texts = count(self.at_most, "text");
            let text = format!(
                "{texts} of {n} ({share}) {} as long as the limit of {most} characters allows.",
                if self.at_most == 1 { "is" } else { "are" }
            );
            blocks.push(Block::text(text));
        }
        let repeated = self.repeated();
        if !repeated.is_empty() {
            let row = |(text, times): &(&str, u64)| vec![json!(text), json!(times), json!(*times as f64 / n as f64)];
            let rows = repeated.iter().map(row).collect();
            let of = match self.counts.len() {
                MOST_COUNTED => format!(", of the first {MOST_COUNTED} different texts"),
                _ => String::new(),
            };
            blocks
                .push(table(format!("Most frequent answers of {title}{of}"), named(&["text", "count", "share"], rows)));
        }
        let mut sample: Vec<&(u64, String)> = self.sample.items.iter().collect();
        sample.sort_by_key(|(row, _)| *row);
        let row = |(row, text): &&(u64, String)| Ok(vec![json!(table_rows.row_name(*row)?), json!(text)]);
        let rows = sample.iter().map(row).collect::<Result<_, String>>()?;
        let drawn = if self.sample.is_partial() { "A random sample" } else { "All" };
        blocks.push(table(format!("{drawn} of the answers to {title}"), named(&["row", "text"], rows)));
        Ok(blocks)
    }
}

impl Collect for TextView {
    fn reads(&self) -> Vec<String> {
        self.series.iter().map(|series| series.column.clone()).collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        for (series, texts) in self.series.iter().zip(&mut self.texts) {
            let Some(column) = batch.column(&series.column) else { continue };
            for row in series.rows(batch.rows) {
                if let Some(text) = text(column, row) {
                    texts.add(batch.first + row as u64, &text, self.most);
                }
            }
        }
    }

    fn blocks(&mut self, table: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        of_models(&self.series, &self.texts, |series, texts| {
            texts.blocks(&format!("{}{}", self.title, of_model(series)), self.most, table)
        })
    }
}
