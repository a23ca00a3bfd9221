//! Tables made from others: the rows that are kept, the pieces of documents, and the rows that match another table.

use serde_json::json;

use super::bins::{Bins, Numbers};
use super::blocks::{figure, named};
use super::collect::Collect;
use super::numbers::distribution;
use super::table::{Batch, Grouping, TableRows, number, text};
use crate::page::chart::{Bar, Bars, Chart, Tone, Unit};
use crate::page::content::Block;
use crate::report::text::{number as written, percent};

/// A bar of two counts, such as matched and unmatched rows.
fn two_counts(title: &str, parts: [&str; 2], counts: [u64; 2]) -> Block {
    let share = counts[0] as f64 / (counts[0] + counts[1]).max(1) as f64;
    let bar = Bar { label: "rows".to_owned(), values: counts.map(|n| n as f64).to_vec(), text: percent(share) };
    let rows = parts.iter().zip(counts).map(|(part, n)| vec![json!(part), json!(n)]).collect();
    let parts = parts.map(str::to_owned).to_vec();
    let bars = Bars { tones: vec![Tone::Plain, Tone::Missing], ..Bars::new(Unit::Count, parts, vec![bar]) };
    figure(title.to_owned(), Chart::Bars(bars), named(&["part", "rows"], rows), None)
}

/// What the page shows of a table without its rows.
pub(super) struct TableView {
    title: String,
    blocks: fn(&str, &TableRows<'_>) -> Result<Option<Block>, String>,
}

impl TableView {
    /// The rows of the input that are in the table, and those that are not.
    pub(super) fn of_kept_rows(title: &str) -> TableView {
        TableView { title: title.to_owned(), blocks: kept }
    }

    /// How many prompts each row needed.
    pub(super) fn of_prompts(title: &str) -> TableView {
        TableView { title: title.to_owned(), blocks: prompts }
    }
}

impl Collect for TableView {
    fn blocks(&mut self, table: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        Ok((self.blocks)(&self.title, table)?.into_iter().collect())
    }
}

fn kept(title: &str, table: &TableRows<'_>) -> Result<Option<Block>, String> {
    let kept = table.rows();
    let left_out = table.input_rows.and_then(|rows| rows.checked_sub(kept));
    Ok(left_out.map(|left_out| two_counts(title, ["kept", "left out"], [kept, left_out])))
}

fn prompts(title: &str, table: &TableRows<'_>) -> Result<Option<Block>, String> {
    let mut prompts = Numbers::new(Bins::within([None, None], true), table.seed, "prompts");
    let groups = &table.subject.calls()?.groups;
    for group in groups.iter().filter(|group| group.stage == table.spec.name()) {
        for (calls, rows) in group.per_row.counts() {
            (0..rows).for_each(|_| prompts.add(calls as f64));
        }
    }
    Ok(distribution(title.to_owned(), "Prompts", &prompts, [None, None]))
}

/// The pieces of each document. The pieces of a document follow each other, numbered from 1.
pub(super) struct PieceView {
    number: String,
    text: String,
    last: Option<f64>,
    pieces: Numbers,
    words: Numbers,
}

impl PieceView {
    pub(super) fn new(number: &str, text: &str, table: &TableRows<'_>) -> PieceView {
        let numbers = |name: &str| Numbers::new(Bins::within([None, None], true), table.seed, name);
        let (pieces, words) = (numbers("pieces"), numbers("words"));
        PieceView { number: number.to_owned(), text: text.to_owned(), last: None, pieces, words }
    }
}

impl Collect for PieceView {
    fn reads(&self) -> Vec<String> {
        vec![self.number.clone(), self.text.clone()]
    }

    fn add(&mut self, batch: &Batch<'_>) {
        let (Some(numbers), Some(texts)) = (batch.column(&self.number), batch.column(&self.text)) else { return };
        for row in 0..batch.rows.num_rows() {
            let number = number(numbers, row);
            if let Some(last) = self.last.filter(|last| number.is_none_or(|number| number <= *last)) {
                self.pieces.add(last);
            }
            self.last = number;
            if let Some(text) = text(texts, row) {
                self.words.add(text.split_whitespace().count() as f64);
            }
        }
    }

    fn blocks(&mut self, _: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        // The last document has no next one that would end it.
        self.last.take().into_iter().for_each(|last| self.pieces.add(last));
        let none = [None, None];
        let counts = distribution("Pieces per document".to_owned(), "Pieces", &self.pieces, none);
        let words = distribution("Words per piece".to_owned(), "Words", &self.words, none);
        Ok(counts.into_iter().chain(words).collect())
    }
}

/// The rows that another table has a value for.
pub(super) struct MatchView {
    title: String,
    columns: Vec<String>,
    matched: u64,
    unmatched: u64,
}

impl MatchView {
    pub(super) fn new(title: &str, columns: &[String]) -> MatchView {
        MatchView { title: title.to_owned(), columns: columns.to_vec(), matched: 0, unmatched: 0 }
    }
}

impl Collect for MatchView {
    fn reads(&self) -> Vec<String> {
        self.columns.clone()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        let columns: Vec<_> = self.columns.iter().filter_map(|name| batch.column(name)).collect();
        for row in 0..batch.rows.num_rows() {
            match columns.iter().any(|column| column.is_valid(row)) {
                true => self.matched += 1,
                false => self.unmatched += 1,
            }
        }
    }

    fn blocks(&mut self, table: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        if self.columns.is_empty() {
            return Ok(Vec::new());
        }
        let mut blocks =
            vec![two_counts(&self.title, ["with a match", "without values"], [self.matched, self.unmatched])];
        let more = table.input_rows.and_then(|rows| table.rows().checked_sub(rows)).filter(|more| *more > 0);
        blocks.extend(more.map(|more| {
            let text = format!("Several matches of one row make {} rows more than the input has.", written(more));
            Block::text(text)
        }));
        Ok(blocks)
    }
}
