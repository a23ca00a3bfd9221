//! Wrong answers: rows where a prediction is not the truth, the surest first.

use serde_json::json;

use super::blocks::{fold, named, table};
use super::collect::Collect;
use super::table::{Batch, Grouping, TableRows, number, text};
use crate::page::content::Block;
use crate::random::Streams;
use crate::report::text::{count, cut, percent};
use crate::stage::Predictions;

/// The rows that are listed, and the characters of their texts.
const LISTED: usize = 10;
const CHARACTERS: usize = 200;

/// A wrong answer.
struct Wrong {
    /// The probability of the answer; a random number if there is none.
    surety: f64,
    row: u64,
    truth: String,
    predicted: String,
}

pub(super) struct WrongView {
    title: String,
    columns: Predictions,
    compared: u64,
    wrong: u64,
    listed: Vec<Wrong>,
    random: Streams,
}

impl WrongView {
    pub(super) fn new(title: &str, columns: &Predictions, table: &TableRows<'_>) -> WrongView {
        let random = Streams::new(table.seed, &["report", &columns.predicted]);
        let (title, columns) = (title.to_owned(), columns.clone());
        WrongView { title, columns, compared: 0, wrong: 0, listed: Vec::new(), random }
    }

    fn add_row(&mut self, row: u64, truth: &str, predicted: &str, probability: Option<f64>) {
        self.compared += 1;
        if truth == predicted {
            return;
        }
        self.wrong += 1;
        let surety = match self.columns.probability {
            Some(_) => probability.unwrap_or(f64::NEG_INFINITY),
            None => self.random.of(row).unit(),
        };
        let place = self.listed.partition_point(|other| other.surety >= surety);
        if place < LISTED {
            let (truth, predicted) = (truth.to_owned(), predicted.to_owned());
            self.listed.insert(place, Wrong { surety, row, truth, predicted });
            self.listed.truncate(LISTED);
        }
    }
}

impl Collect for WrongView {
    fn reads(&self) -> Vec<String> {
        let Predictions { truth, predicted, probability, part } = &self.columns;
        let part = part.as_ref().map(|(column, _)| column);
        [truth, predicted].into_iter().chain(probability).chain(part).cloned().collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        let Predictions { truth, predicted, probability, part } = self.columns.clone();
        let (Some(truths), Some(answers)) = (batch.column(&truth), batch.column(&predicted)) else { return };
        let probable = probability.as_ref().and_then(|name| batch.column(name));
        let parts = part.as_ref().and_then(|(name, value)| Some((batch.column(name)?, value)));
        for row in 0..batch.rows.num_rows() {
            let is_inside = parts.is_none_or(|(column, value)| text(column, row).is_some_and(|part| part == *value));
            let pair = text(truths, row).zip(text(answers, row)).filter(|(a, b)| !a.is_empty() && !b.is_empty());
            if let Some((truth, answer)) = pair.filter(|_| is_inside) {
                let p = probable.and_then(|column| number(column, row));
                self.add_row(batch.first + row as u64, &truth, &answer, p);
            }
        }
    }

    fn blocks(&mut self, rows: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        if self.wrong == 0 {
            return Ok(Vec::new());
        }
        let share = percent(self.wrong as f64 / self.compared as f64);
        let text = format!(
            "{} is wrong in {} of {} ({share}).",
            self.columns.predicted,
            self.wrong,
            count(self.compared, "row")
        );
        let places: Vec<u64> = self.listed.iter().map(|wrong| wrong.row).collect();
        let (name, texts) = rows.longest_text(&places, &self.reads())?.unzip();
        let mut cells = Vec::new();
        for (at, wrong) in self.listed.iter().enumerate() {
            let mut row = vec![json!(rows.row_name(wrong.row)?), json!(wrong.truth), json!(wrong.predicted)];
            row.extend(self.columns.probability.as_ref().map(|_| json!(wrong.surety)));
            let text = texts.as_ref().map(|texts: &Vec<Option<String>>| texts[at].as_ref());
            row.extend(text.map(|text| json!(text.map(|text| cut(text, CHARACTERS)))));
            cells.push(row);
        }
        let Predictions { truth, predicted, probability, .. } = &self.columns;
        let columns = ["row", truth, predicted].into_iter().chain(probability.as_deref()).chain(name.as_deref());
        let kind = match (probability, self.wrong > LISTED as u64) {
            (Some(_), _) => "Wrong answers, the surest first",
            (None, true) => "A random sample of the wrong answers",
            (None, false) => "Wrong answers",
        };
        let grid = named(&columns.collect::<Vec<_>>(), cells);
        let title = format!("{kind}: {}", self.title);
        let list = vec![table(title.clone(), grid)];
        let list = if probability.is_some() { list } else { fold(title, list) };
        Ok([Block::text(text)].into_iter().chain(list).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(probability: Option<&str>) -> WrongView {
        let columns = Predictions {
            truth: "t".to_owned(),
            predicted: "x".to_owned(),
            probability: probability.map(str::to_owned),
            part: None,
        };
        let random = Streams::new(1, &[]);
        WrongView { title: String::new(), columns, compared: 0, wrong: 0, listed: Vec::new(), random }
    }

    #[test]
    fn the_surest_wrong_answers_are_listed_first() {
        let mut found = view(Some("p"));
        for row in 0..100u64 {
            let predicted = if row % 2 == 0 { "a" } else { "b" };
            found.add_row(row, "a", predicted, Some(((row * 37) % 100) as f64 / 100.0));
        }
        assert_eq!((found.compared, found.wrong, found.listed.len()), (100, 50, LISTED));
        // The odd rows have the odd hundredths.
        let sure: Vec<f64> = found.listed.iter().map(|wrong| wrong.surety).collect();
        let wanted: Vec<f64> = (0..LISTED).map(|i| (99 - 2 * i) as f64 / 100.0).collect();
        assert_eq!(sure, wanted);
    }

    #[test]
    fn without_probabilities_the_list_is_a_sample() {
        let mut found = view(None);
        (0..1000).for_each(|row| found.add_row(row, "a", "b", None));
        let mean = found.listed.iter().map(|wrong| wrong.row).sum::<u64>() / LISTED as u64;
        assert!((200..800).contains(&mean), "{mean}");
    }
}
