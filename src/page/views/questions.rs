//! Questionnaires: how many respondents reach each question, and whether the place of an option matters.

use serde_json::json;

use super::blocks::{figure, named, of_model, of_models};
use super::collect::Collect;
use super::table::{Batch, Grouping, Series, TableRows, text};
use crate::page::chart::{Axis, Bar, Bars, Chart, Edge, Flow, Line, Lines, Node, Point, Tone, Unit};
use crate::page::content::Block;
use crate::report::text::{cut, number};
use crate::stats::wilson;
use crate::table::{Cell, cell_at};

/// The most questions of a flow from left to right.
const MOST_IN_FLOW: usize = 8;
/// The characters of a question in a node.
const CHARACTERS: usize = 24;

/// The answers to one question: those that are there, those that are skipped, and those of failed rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Reached {
    answered: u64,
    skipped: u64,
    failed: u64,
}

pub(super) struct QuestionFlow {
    title: String,
    questions: Vec<(String, Vec<Series>)>,
    errors: Vec<Series>,
    reached: Vec<Reached>,
}

impl QuestionFlow {
    pub(super) fn new(title: &str, questions: &[String], table: &TableRows<'_>) -> QuestionFlow {
        let places = questions.iter().map(|name| (name.clone(), table.series(name))).collect();
        let reached = vec![Reached::default(); questions.len()];
        QuestionFlow { title: title.to_owned(), questions: places, errors: table.errors(), reached }
    }

    fn flow(&self) -> Chart {
        let asked = |reached: &Reached| reached.answered + reached.failed;
        let node = |(column, ((name, _), reached)): (usize, (&(String, Vec<Series>), &Reached))| Node {
            name: cut(name, CHARACTERS),
            column,
            text: format!("{} asked, {} skipped", number(asked(reached)), number(reached.skipped)),
            failed: reached.failed as f64 / asked(reached).max(1) as f64,
        };
        let edge = |(from, reached): (usize, &Reached)| Edge { from, to: from + 1, rows: reached.answered };
        let edges = self.reached[..self.reached.len() - 1].iter().enumerate().map(edge);
        Chart::Flow(Flow {
            nodes: self.questions.iter().zip(&self.reached).enumerate().map(node).collect(),
            edges: edges.collect(),
        })
    }

    fn bars(&self) -> Chart {
        let bar = |((name, _), reached): (&(String, Vec<Series>), &Reached)| Bar {
            label: cut(name, CHARACTERS),
            values: [reached.answered, reached.skipped, reached.failed].map(|n| n as f64).to_vec(),
            text: number(reached.answered),
        };
        let parts = ["answered", "skipped", "failed or not reached"].map(str::to_owned).to_vec();
        let bars = self.questions.iter().zip(&self.reached).map(bar).collect();
        let tones = vec![Tone::Plain, Tone::Missing, Tone::Failed];
        Chart::Bars(Bars { tones, ..Bars::new(Unit::Count, parts, bars) })
    }
}

impl Collect for QuestionFlow {
    fn reads(&self) -> Vec<String> {
        let columns = self.questions.iter().flat_map(|(_, series)| series).chain(&self.errors);
        columns.map(|series| series.column.clone()).collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        for ((_, series), reached) in self.questions.iter().zip(&mut self.reached) {
            for (at, series) in series.iter().enumerate() {
                let error = self.errors.get(at).and_then(|error| batch.column(&error.column));
                let Some(column) = batch.column(&series.column) else { continue };
                for row in series.rows(batch.rows) {
                    match (column.is_valid(row), error.is_some_and(|error| error.is_valid(row))) {
                        (true, _) => reached.answered += 1,
                        (false, true) => reached.failed += 1,
                        (false, false) => reached.skipped += 1,
                    }
                }
            }
        }
    }

    fn blocks(&mut self, _: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        if self.questions.is_empty() {
            return Ok(Vec::new());
        }
        let chart = if self.questions.len() <= MOST_IN_FLOW { self.flow() } else { self.bars() };
        let row = |((name, _), reached): (&(String, Vec<Series>), &Reached)| {
            vec![json!(name), json!(reached.answered), json!(reached.skipped), json!(reached.failed)]
        };
        let columns = ["question", "answered", "skipped", "failed or not reached"];
        let numbers = named(&columns, self.questions.iter().zip(&self.reached).map(row).collect());
        Ok(vec![figure(self.title.clone(), chart, numbers, None)])
    }
}

/// The answers of one model by the place of the chosen option.
#[derive(Clone, Debug, Default)]
struct Places {
    /// How often the option in each place was chosen, and how often an option was shown there.
    chosen: Vec<u64>,
    shown: Vec<u64>,
}

pub(super) struct PlaceView {
    title: String,
    series: Vec<Series>,
    orders: Vec<Series>,
    places: Vec<Places>,
}

impl PlaceView {
    pub(super) fn new(title: &str, column: &str, order: &str, table: &TableRows<'_>) -> PlaceView {
        let series = table.series(column);
        let places = vec![Places::default(); series.len()];
        PlaceView { title: title.to_owned(), series, orders: table.series(order), places }
    }
}

impl Places {
    fn add(&mut self, shown: &[String], chosen: &[String]) {
        self.shown.resize(self.shown.len().max(shown.len()), 0);
        self.chosen.resize(self.shown.len(), 0);
        for (place, option) in shown.iter().enumerate() {
            self.shown[place] += 1;
            self.chosen[place] += u64::from(chosen.contains(option));
        }
    }

    /// The share of options that are chosen if the place does not matter.
    fn expected(&self) -> f64 {
        self.chosen.iter().sum::<u64>() as f64 / self.shown.iter().sum::<u64>().max(1) as f64
    }
}

fn items(column: &dyn arrow_array::Array, row: usize) -> Vec<String> {
    match cell_at(column, row) {
        Cell::List(items) => items.iter().map(Cell::text).collect(),
        _ => text(column, row).map(|text| text.into_owned()).into_iter().collect(),
    }
}

impl Collect for PlaceView {
    fn reads(&self) -> Vec<String> {
        self.series.iter().chain(&self.orders).map(|series| series.column.clone()).collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        for ((series, order), places) in self.series.iter().zip(&self.orders).zip(&mut self.places) {
            let (Some(answers), Some(orders)) = (batch.column(&series.column), batch.column(&order.column)) else {
                continue;
            };
            for row in series.rows(batch.rows).filter(|row| answers.is_valid(*row) && orders.is_valid(*row)) {
                places.add(&items(orders, row), &items(answers, row));
            }
        }
    }

    fn blocks(&mut self, _: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        of_models(&self.series, &self.places, |series, places| {
            if places.shown.is_empty() {
                return Ok(Vec::new());
            }
            let numbers = |place: usize| (places.chosen[place], places.shown[place]);
            let point = |place: usize| {
                let (chosen, shown) = numbers(place);
                let share = chosen as f64 / shown.max(1) as f64;
                Point { x: (place + 1) as f64, y: share, interval: Some(wilson(chosen, shown)) }
            };
            let all = 0..places.shown.len();
            let expected = |place: usize| Point { x: (place + 1) as f64, y: places.expected(), interval: None };
            let lines = vec![
                Line { name: "chosen".to_owned(), points: all.clone().map(point).collect(), steps: false },
                Line { name: "expected".to_owned(), points: all.clone().map(expected).collect(), steps: false },
            ];
            let row = |place: usize| {
                let (chosen, shown) = numbers(place);
                let (low, high) = wilson(chosen, shown);
                let share = chosen as f64 / shown.max(1) as f64;
                vec![
                    json!(place + 1),
                    json!(chosen),
                    json!(shown),
                    json!(share),
                    json!(low),
                    json!(high),
                    json!(places.expected()),
                ]
            };
            let columns = ["place", "chosen", "shown", "share", "low", "high", "expected"];
            let chart = Lines {
                x: Axis::new("Place in which the option was shown", Unit::Number),
                y: Axis::shares("Share of respondents that chose it"),
                lines,
                diagonal: false,
                marks: Vec::new(),
            };
            let title = format!("Effect of the order of options: {}{}", self.title, of_model(series));
            let note =
                "Expected: the share that each place would have if the places did not matter. 95 % Wilson intervals.";
            let numbers = named(&columns, all.map(row).collect());
            Ok(vec![figure(title, Chart::Lines(chart), numbers, Some(note.to_owned()))])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_place_of_each_chosen_option_is_counted() {
        let mut places = Places::default();
        for (shown, chosen) in [
            (["a", "b", "c"], vec!["a"]),
            (["b", "c", "a"], vec!["b"]),
            (["c", "a", "b"], vec!["b"]),
            (["a", "b", "c"], vec!["a", "b"]),
        ] {
            places.add(&words(&shown), &words(&chosen));
        }
        assert_eq!((places.chosen.as_slice(), places.shown.as_slice()), ([3, 1, 1].as_slice(), [4, 4, 4].as_slice()));
        assert!((places.expected() - 5.0 / 12.0).abs() < 1e-12);
    }
}
