//! Agreement of models: a matrix of all pairs, their confusion, and the rows where they differ.

use serde_json::json;

use super::blocks::{figure, fold, matrix, named, table};
use super::collect::Collect;
use super::table::{Batch, Grouping, Series, TableRows, number, text};
use crate::page::chart::{Chart, Matrix};
use crate::page::content::Block;
use crate::random::Streams;
use crate::report::text::{count, cut, percent};
use crate::stats::kappa;

/// The rows that are listed, and the characters of their texts.
const LISTED: usize = 10;
const CHARACTERS: usize = 200;
/// The most pairs whose confusion is shown, and the most labels of such a matrix.
const PAIRS: usize = 10;
const LABELS: usize = 12;

/// A row where models differ.
struct Differing {
    /// The mean probability of the labels, or else the share of the most frequent one.
    certainty: f64,
    /// Decides between equally certain rows.
    random: f64,
    row: u64,
    labels: Vec<Option<usize>>,
    probabilities: Vec<Option<f64>>,
}

pub(super) struct ModelAgreement {
    title: String,
    labels: Vec<String>,
    series: Vec<Series>,
    probabilities: Vec<Series>,
    /// For each pair of models, how often each pair of labels occurs.
    pairs: Vec<(usize, usize, Vec<Vec<u64>>)>,
    /// The rows with all labels, and those where they are equal.
    whole: u64,
    equal: u64,
    differing: Vec<Differing>,
    random: Streams,
}

impl ModelAgreement {
    /// `None` if each row has the answer of one model.
    pub(super) fn new(
        title: &str,
        (column, labels): (&str, &[String]),
        probability: Option<&str>,
        table: &TableRows<'_>,
    ) -> Option<ModelAgreement> {
        let series = table.series(column);
        let counts = vec![vec![0; labels.len()]; labels.len()];
        let models = series.len();
        let pairs = (0..models).flat_map(|a| (a + 1..models).map(move |b| (a, b)));
        (models > 1 && !labels.is_empty()).then(|| ModelAgreement {
            title: title.to_owned(),
            labels: labels.to_vec(),
            probabilities: probability.map(|name| table.series(name)).unwrap_or_default(),
            pairs: pairs.map(|(a, b)| (a, b, counts.clone())).collect(),
            series,
            whole: 0,
            equal: 0,
            differing: Vec::new(),
            random: Streams::new(table.seed, &["report", column]),
        })
    }

    fn add_answer(&mut self, row: u64, labels: Vec<Option<usize>>, probabilities: Vec<Option<f64>>) {
        for (a, b, counts) in &mut self.pairs {
            if let Some((a, b)) = labels[*a].zip(labels[*b]) {
                counts[a][b] += 1;
            }
        }
        let known: Vec<usize> = labels.iter().flatten().copied().collect();
        let is_whole = known.len() == labels.len();
        self.whole += u64::from(is_whole);
        let is_equal = known.windows(2).all(|two| two[0] == two[1]);
        self.equal += u64::from(is_whole && is_equal);
        if is_equal {
            return;
        }
        let given: Vec<f64> = probabilities.iter().flatten().copied().collect();
        let certainty = if given.is_empty() {
            let times = |label: usize| known.iter().filter(|known| **known == label).count();
            (0..self.labels.len()).map(times).max().unwrap_or(0) as f64 / known.len() as f64
        } else {
            given.iter().sum::<f64>() / given.len() as f64
        };
        let random = self.random.of(row).unit();
        let place = self.differing.partition_point(|other| (other.certainty, other.random) < (certainty, random));
        if place < LISTED {
            self.differing.insert(place, Differing { certainty, random, row, labels, probabilities });
            self.differing.truncate(LISTED);
        }
    }

    fn matrix(&self) -> Block {
        let names: Vec<String> = self.series.iter().map(|series| series.model.clone()).collect();
        let n = names.len();
        let (mut shades, mut texts) = (vec![vec![None; n]; n], vec![vec![String::new(); n]; n]);
        let mut rows = Vec::new();
        for (a, b, counts) in &self.pairs {
            let all: u64 = counts.iter().flatten().sum();
            let equal: u64 = (0..self.labels.len()).map(|label| counts[label][label]).sum();
            let share = (all > 0).then(|| equal as f64 / all as f64);
            let kappa = kappa(counts);
            shades[*a][*b] = kappa.map(|kappa| kappa.clamp(0.0, 1.0));
            shades[*b][*a] = share;
            texts[*a][*b] = kappa.map(|kappa| format!("{kappa:.2}")).unwrap_or_default();
            texts[*b][*a] = share.map(percent).unwrap_or_default();
            rows.push(vec![json!(names[*a]), json!(names[*b]), json!(all), json!(equal), json!(share), json!(kappa)]);
        }
        let chart = Matrix {
            row_title: "Model".to_owned(),
            column_title: "Model".to_owned(),
            rows: names.clone(),
            columns: names,
            shades,
            texts,
        };
        let note = "Above the diagonal: Cohen's kappa. Below it: the share of equal labels.".to_owned();
        let numbers = named(&["model", "other model", "rows", "equal", "share", "kappa"], rows);
        figure(format!("Agreement of the models: {}", self.title), Chart::Matrix(chart), numbers, Some(note))
    }

    fn confusions(&self) -> Vec<Block> {
        let of_pair = |(a, b, counts): &(usize, usize, Vec<Vec<u64>>)| {
            let (a, b) = (&self.series[*a].model, &self.series[*b].model);
            let values = counts.iter().map(|row| row.iter().map(|n| Some(*n as f64)).collect()).collect::<Vec<_>>();
            matrix(format!("{a} and {b}"), [a, b], &self.labels, &values)
        };
        self.pairs.iter().take(PAIRS).filter(|_| self.labels.len() <= LABELS).map(of_pair).collect()
    }

    fn rows(&self, table_rows: &TableRows<'_>) -> Result<Vec<Block>, String> {
        if self.differing.is_empty() {
            return Ok(Vec::new());
        }
        let source = table_rows.prompt_text();
        let mut rows = Vec::new();
        for differing in &self.differing {
            let mut row = vec![json!(table_rows.row_name(differing.row)?)];
            let label = |label: &Option<usize>| label.map(|label| self.labels[label].as_str());
            for (at, given) in differing.labels.iter().map(label).enumerate() {
                let p = differing.probabilities.get(at).copied().flatten();
                row.push(match (given, p) {
                    (Some(given), Some(p)) => json!(format!("{given} ({p:.2})")),
                    (given, _) => json!(given),
                });
            }
            if let Some(source) = &source {
                let cell = table_rows.row(differing.row, &[source])?.pop().flatten();
                row.push(json!(cell.map(|cell| cut(&cell, CHARACTERS))));
            }
            rows.push(row);
        }
        let models = self.series.iter().map(|series| series.model.as_str());
        let columns: Vec<&str> = ["row"].into_iter().chain(models).chain(source.as_deref()).collect();
        let how = if self.probabilities.is_empty() { "most divided" } else { "least certain" };
        Ok(vec![table(format!("Rows where the models differ, the {how} first: {}", self.title), named(&columns, rows))])
    }
}

impl Collect for ModelAgreement {
    fn reads(&self) -> Vec<String> {
        self.series.iter().chain(&self.probabilities).map(|series| series.column.clone()).collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        let series = self.series.clone();
        let columns: Option<Vec<_>> = series.iter().map(|series| batch.column(&series.column)).collect();
        let Some(columns) = columns else { return };
        let own = self.probabilities.clone();
        let probable: Vec<_> = own.iter().filter_map(|series| Some((series, batch.column(&series.column)?))).collect();
        for at in 0..batch.rows.num_rows() / series[0].step {
            let row = |series: &Series| series.first + at * series.step;
            let label = |(series, column): (&Series, &&dyn arrow_array::Array)| {
                let value = text(*column, row(series))?;
                self.labels.iter().position(|label| *label == value)
            };
            let labels = series.iter().zip(&columns).map(label).collect();
            let probabilities = probable.iter().map(|(series, column)| number(*column, row(series))).collect();
            self.add_answer(batch.first + row(&series[0]) as u64, labels, probabilities);
        }
    }

    fn blocks(&mut self, table: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        if self.whole == 0 {
            return Ok(Vec::new());
        }
        let rows = count(self.whole, "row");
        let share = percent(self.equal as f64 / self.whole as f64);
        let text = format!("The models agree in {} of {rows} with the answers of all models ({share}).", self.equal);
        let mut blocks = vec![self.matrix(), Block::text(text)];
        blocks.extend(fold(format!("Pairs of models: {}", self.title), self.confusions()));
        blocks.extend(self.rows(table)?);
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreement(labels: &[&str], models: usize) -> ModelAgreement {
        let series =
            (0..models).map(|m| Series { model: format!("m{m}"), column: format!("x_{m}"), first: 0, step: 1 });
        let pairs =
            (0..models).flat_map(|a| (a + 1..models).map(move |b| (a, b, vec![vec![0; labels.len()]; labels.len()])));
        ModelAgreement {
            title: "x".to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            pairs: pairs.map(|(a, b, _)| (a, b, vec![vec![0; labels.len()]; labels.len()])).collect(),
            series: series.collect(),
            probabilities: Vec::new(),
            whole: 0,
            equal: 0,
            differing: Vec::new(),
            random: Streams::new(1, &[]),
        }
    }

    #[test]
    fn pairs_are_counted_and_rows_without_a_label_leave_out_their_pairs_only() {
        let mut found = agreement(&["a", "b"], 3);
        let (a, b) = (Some(0), Some(1));
        for labels in [vec![a, a, a], vec![a, a, b], vec![a, b, None], vec![b, b, b]] {
            found.add_answer(0, labels, Vec::new());
        }
        assert_eq!((found.whole, found.equal, found.differing.len()), (3, 2, 2));
        let Block::Figure(shown) = found.matrix() else { panic!("a figure") };
        let row = &shown.numbers.rows[0];
        // Of m0 and m1: a a, a a, a b, b b.
        assert_eq!((&row[2], &row[3], &row[4]), (&json!(4), &json!(3), &json!(0.75)));
        assert!((row[5].as_f64().unwrap() - 0.5).abs() < 1e-12, "{row:?}");
        let Chart::Matrix(chart) = shown.chart else { panic!("a matrix") };
        assert_eq!((chart.texts[0][1].as_str(), chart.texts[1][0].as_str()), ("0.50", "75 %"));
    }

    #[test]
    fn the_least_certain_rows_come_first() {
        let mut found = agreement(&["a", "b"], 2);
        for row in 0..100u64 {
            let p = 0.5 + ((row * 37) % 100) as f64 / 200.0;
            found.add_answer(row, vec![Some(0), Some(1)], vec![Some(p), Some(p)]);
        }
        let certain: Vec<f64> = found.differing.iter().map(|row| row.certainty).collect();
        let wanted: Vec<f64> = (0..LISTED).map(|i| 0.5 + i as f64 / 200.0).collect();
        assert_eq!(certain.len(), LISTED);
        assert!(certain.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{certain:?}");
    }
}
