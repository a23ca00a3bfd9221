//! Quotes: how they are found, where they are in their texts, and some of them in their sentences.

use serde_json::json;

use super::bins::{Bins, Numbers, Sample};
use super::blocks::{figure, named, series_name};
use super::collect::Collect;
use super::numbers::distribution;
use super::table::{Batch, Grouping, Series, TableRows, number, text};
use crate::page::chart::{Bar, Bars, Chart, Tone, Unit};
use crate::page::content::Block;
use crate::report::text::{cut, number as written};

/// How a quote is found, and the parts of a bar. The last one counts answers without a quote.
const FOUND: [&str; 5] = ["exact", "normalised", "fuzzy", "no", ""];
const PARTS: [&str; 5] = ["exact", "normalised", "fuzzy", "not found", "no quote"];
const TONES: [Tone; 5] = [Tone::Plain, Tone::Plain, Tone::Plain, Tone::Failed, Tone::Missing];
/// The quotes of a kind that are shown, and the characters on both sides.
const SHOWN: usize = 6;
const AROUND: usize = 120;

/// The quotes that support one answer of one model.
struct Quotes {
    name: String,
    answer: Series,
    found: Series,
    words: Series,
    start: Series,
    end: Series,
    counts: [u64; FOUND.len()],
    /// The start of each quote as a share of the length of its text.
    starts: Numbers,
    unfound: Sample<Passage>,
    passages: Sample<Passage>,
}

/// A quote with the text around it.
struct Passage {
    row: u64,
    before: String,
    words: String,
    after: String,
}

pub(super) struct QuoteView {
    title: String,
    text: Option<String>,
    quotes: Vec<Quotes>,
}

impl QuoteView {
    pub(super) fn new(title: &str, answers: &[String], text: Option<&str>, table: &TableRows<'_>) -> QuoteView {
        let of_answer = |name: &String| {
            let [found, words, start, end] =
                ["_found", "", "_start", "_end"].map(|part| table.series(&format!("{name}_quote{part}")));
            let parts = found.into_iter().zip(words).zip(start).zip(end).zip(table.series(name));
            let quotes = parts.map(|((((found, words), start), end), answer)| {
                let of = |kind: &str| format!("{kind} {} {}", found.column, found.first);
                let several =
                    if answer.model.is_empty() { String::new() } else { format!(" · {}", series_name(&answer)) };
                Quotes {
                    name: format!("{name}{several}"),
                    counts: [0; FOUND.len()],
                    starts: Numbers::new(Bins::within([Some(0.0), Some(1.0)], false), table.seed, &of("starts")),
                    unfound: Sample::new(SHOWN, table.seed, &of("unfound")),
                    passages: Sample::new(SHOWN, table.seed, &of("found")),
                    answer,
                    found,
                    words,
                    start,
                    end,
                }
            });
            quotes.collect::<Vec<_>>()
        };
        let quotes = answers.iter().flat_map(of_answer).collect();
        QuoteView { title: title.to_owned(), text: text.map(str::to_owned), quotes }
    }
}

/// The characters of `text` from `from` to `to`.
fn part(text: &str, from: usize, to: usize) -> String {
    text.chars().skip(from).take(to.saturating_sub(from)).collect()
}

fn passage(row: u64, text: &str, start: usize, end: usize) -> Passage {
    let from = start.saturating_sub(AROUND);
    let lead = if from > 0 { ".." } else { "" };
    let after = part(text, end, end + AROUND);
    let trail = if text.chars().nth(end + AROUND).is_some() { ".." } else { "" };
    Passage {
        row,
        before: format!("{lead}{}", part(text, from, start)),
        words: part(text, start, end),
        after: format!("{after}{trail}"),
    }
}

impl Quotes {
    fn add(&mut self, batch: &Batch<'_>, texts: Option<&dyn arrow_array::Array>) {
        let [found, words, start, end, answer] =
            [&self.found, &self.words, &self.start, &self.end, &self.answer].map(|series| batch.column(&series.column));
        let (Some(found), Some(words), Some(start), Some(end), Some(answer)) = (found, words, start, end, answer)
        else {
            return;
        };
        for row in self.found.rows(batch.rows) {
            let how = text(found, row);
            if how.is_none() && answer.is_null(row) {
                continue;
            }
            let how = how.as_deref().unwrap_or_default();
            self.counts[FOUND.iter().position(|known| *known == how).unwrap_or(FOUND.len() - 1)] += 1;
            let at = batch.first + row as u64;
            if how == "no" {
                let words = text(words, row).unwrap_or_default();
                let unfound =
                    || Passage { row: at, before: String::new(), words: cut(&words, 2 * AROUND), after: String::new() };
                self.unfound.add(unfound);
            }
            let place = number(start, row).zip(number(end, row));
            let (Some((start, end)), Some(whole)) = (place, texts.and_then(|texts| text(texts, row))) else { continue };
            let length = whole.chars().count().max(1) as f64;
            self.starts.add((start / length).min(1.0));
            self.passages.add(|| passage(at, &whole, start as usize, end as usize));
        }
    }

    fn passages(&self, table: &TableRows<'_>) -> Result<Vec<Block>, String> {
        let mut blocks = Vec::new();
        for (kind, sample) in [("not found in the text", &self.unfound), ("found", &self.passages)] {
            let mut passages: Vec<&Passage> = sample.items.iter().collect();
            passages.sort_by_key(|passage| passage.row);
            if passages.is_empty() {
                continue;
            }
            let drawn = if sample.is_partial() { "a random sample of the quotes" } else { "the quotes" };
            blocks.push(Block::text(format!("{}: {drawn} that are {kind}.", self.name)));
            for Passage { row, before, words, after } in passages {
                let row = format!("Row {}: {before}", table.row_name(*row)?);
                blocks.push(Block::Marked { parts: vec![(row, false), (words.clone(), true), (after.clone(), false)] });
            }
        }
        Ok(blocks)
    }
}

impl Collect for QuoteView {
    fn reads(&self) -> Vec<String> {
        let of = |quotes: &Quotes| {
            [&quotes.answer, &quotes.found, &quotes.words, &quotes.start, &quotes.end]
                .map(|series| series.column.clone())
        };
        self.quotes.iter().flat_map(of).chain(self.text.clone()).collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        let texts = self.text.as_ref().and_then(|name| batch.column(name));
        self.quotes.iter_mut().for_each(|quotes| quotes.add(batch, texts));
    }

    fn blocks(&mut self, table: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        let shown: Vec<&Quotes> = self.quotes.iter().filter(|quotes| quotes.counts.iter().any(|n| *n > 0)).collect();
        if shown.is_empty() {
            return Ok(Vec::new());
        }
        let share = |quotes: &Quotes, n: u64| n as f64 / quotes.counts.iter().sum::<u64>() as f64;
        let bar = |quotes: &&Quotes| Bar {
            label: quotes.name.clone(),
            values: quotes.counts.iter().map(|n| share(quotes, *n)).collect(),
            text: format!("n = {}", written(quotes.counts.iter().sum())),
        };
        let row = |quotes: &&Quotes| [json!(quotes.name)].into_iter().chain(quotes.counts.map(|n| json!(n))).collect();
        let columns: Vec<&str> = ["answer"].into_iter().chain(PARTS).collect();
        let numbers = named(&columns, shown.iter().map(row).collect());
        let bars = shown.iter().map(bar).collect();
        let parts = PARTS.map(str::to_owned).to_vec();
        let chart = Chart::Bars(Bars { tones: TONES.to_vec(), ..Bars::new(Unit::Share, parts, bars) });
        let mut blocks = vec![figure(self.title.clone(), chart, numbers, None)];
        for quotes in shown {
            let title = format!("Where the quotes of {} begin in their texts", quotes.name);
            blocks.extend(distribution(
                title,
                "0: at the start of the text, 1: at its end",
                &quotes.starts,
                [None, None],
            ));
            blocks.extend(quotes.passages(table)?);
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_has_the_quote_between_the_characters_around_it() {
        let text = format!("{}é peace {}", "a".repeat(200), "b".repeat(200));
        let found = passage(3, &text, 202, 207);
        assert_eq!(found.words, "peace");
        assert!(found.before.starts_with("..aaa") && found.before.ends_with("aé "));
        assert_eq!(found.before.chars().count(), AROUND + 2);
        assert!(found.after.starts_with(" bbb") && found.after.ends_with("b.."));
        let whole = passage(0, "peace", 0, 5);
        assert_eq!((whole.before.as_str(), whole.words.as_str(), whole.after.as_str()), ("", "peace", ""));
    }
}
