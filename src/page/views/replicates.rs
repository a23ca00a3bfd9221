//! Repeated answers: how often all answers of a model about an input row are alike.

use serde_json::json;

use super::blocks::{figure, named, series_name};
use super::collect::Collect;
use super::table::{Batch, Grouping, Series, TableRows, text};
use crate::page::chart::{Bar, Bars, Chart, Unit};
use crate::page::content::Block;
use crate::report::text::percent;

/// How often all answers of a model about an input row are alike.
pub(super) struct Alike {
    title: String,
    labels: Vec<String>,
    series: Vec<Series>,
    replicates: usize,
    /// By series, the number of input rows by the number of answers with their most frequent label.
    most: Vec<Vec<u64>>,
    /// By series, the sums that Fleiss' kappa needs: rows, agreeing pairs, and answers by label.
    sums: Vec<(u64, u64, Vec<u64>)>,
}

impl Alike {
    pub(super) fn new(title: &str, (column, labels): (&str, &[String]), table: &TableRows<'_>) -> Option<Alike> {
        let replicates = table.stage()?.answers.replicates;
        let series = table.series(column);
        let (most, sums) =
            (vec![vec![0; replicates + 1]; series.len()], vec![(0, 0, vec![0; labels.len()]); series.len()]);
        let (title, labels) = (title.to_owned(), labels.to_vec());
        (replicates > 1 && !labels.is_empty()).then_some(Alike { title, labels, series, replicates, most, sums })
    }

    /// Adds the answers of one model about an input row: the number of each label.
    fn add_row(&mut self, at: usize, counts: &[u64]) {
        if counts.iter().sum::<u64>() < self.replicates as u64 {
            return;
        }
        self.most[at][counts.iter().copied().max().unwrap_or(0) as usize] += 1;
        let (rows, pairs, labels) = &mut self.sums[at];
        *rows += 1;
        *pairs += counts.iter().map(|count| count * count.saturating_sub(1)).sum::<u64>();
        labels.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    /// Fleiss' kappa of the rows with all answers (Fleiss 1971, <https://doi.org/10.1037/h0031619>).
    fn kappa(&self, at: usize) -> Option<f64> {
        let (rows, pairs, labels) = &self.sums[at];
        let n = self.replicates as f64;
        let observed = *pairs as f64 / (*rows as f64 * n * (n - 1.0));
        let all = *rows as f64 * n;
        let chance: f64 = labels.iter().map(|count| (*count as f64 / all).powi(2)).sum();
        Some((observed - chance) / (1.0 - chance)).filter(|kappa| kappa.is_finite())
    }
}

impl Collect for Alike {
    fn reads(&self) -> Vec<String> {
        self.series.iter().map(|series| series.column.clone()).collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        for (at, series) in self.series.clone().iter().enumerate() {
            let Some(column) = batch.column(&series.column) else { continue };
            let rows: Vec<usize> = series.rows(batch.rows).collect();
            for about in rows.chunks(self.replicates) {
                let mut counts = vec![0u64; self.labels.len()];
                let known = about.iter().filter_map(|row| {
                    let value = text(column, *row)?;
                    self.labels.iter().position(|label| *label == value)
                });
                known.for_each(|label| counts[label] += 1);
                self.add_row(at, &counts);
            }
        }
    }

    fn blocks(&mut self, _: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        if self.sums.iter().all(|(rows, ..)| *rows == 0) {
            return Ok(Vec::new());
        }
        let sizes: Vec<usize> =
            (1..=self.replicates).rev().filter(|size| self.most.iter().any(|most| most[*size] > 0)).collect();
        let words = |size: &usize| match *size {
            size if size == self.replicates => format!("all {size} alike"),
            size => format!("{size} of {} alike", self.replicates),
        };
        let parts: Vec<String> = sizes.iter().map(words).collect();
        let share = |at: usize, size: &usize| self.most[at][*size] as f64 / self.sums[at].0.max(1) as f64;
        let bar = |(at, series): (usize, &Series)| Bar {
            label: series_name(series),
            values: sizes.iter().map(|size| share(at, size)).collect(),
            text: percent(share(at, &self.replicates)),
        };
        let bars = self.series.iter().enumerate().map(bar).collect();
        let row = |(at, series): (usize, &Series)| {
            let counts = sizes.iter().map(|size| json!(self.most[at][*size]));
            [json!(series.model), json!(self.sums[at].0)]
                .into_iter()
                .chain(counts)
                .chain([json!(self.kappa(at))])
                .collect()
        };
        let columns: Vec<&str> =
            ["model", "rows"].into_iter().chain(parts.iter().map(String::as_str)).chain(["Fleiss' kappa"]).collect();
        let numbers = named(&columns, self.series.iter().enumerate().map(row).collect());
        let note =
            "Rows where all answers have a label. Fleiss' kappa measures the agreement of the answers beyond chance.";
        let chart = Chart::Bars(Bars::new(Unit::Share, parts.clone(), bars));
        let title = format!("Repeated answers: {}", self.title);
        Ok(vec![figure(title, chart, numbers, Some(note.to_owned()))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ten subjects and fourteen raters of Fleiss (1971), as in Wikipedia's example.
    #[test]
    fn fleiss_kappa_is_that_of_a_known_example() {
        const COUNTS: [[u64; 5]; 10] = [
            [0, 0, 0, 0, 14],
            [0, 2, 6, 4, 2],
            [0, 0, 3, 5, 6],
            [0, 3, 9, 2, 0],
            [2, 2, 8, 1, 1],
            [7, 7, 0, 0, 0],
            [3, 2, 6, 3, 0],
            [2, 5, 3, 2, 2],
            [6, 5, 2, 1, 0],
            [0, 2, 2, 3, 7],
        ];
        let mut alike = Alike {
            title: String::new(),
            labels: Vec::new(),
            series: Vec::new(),
            replicates: 14,
            most: vec![vec![0; 15]],
            sums: vec![(0, 0, vec![0; 5])],
        };
        COUNTS.iter().for_each(|counts| alike.add_row(0, counts));
        let kappa = alike.kappa(0).unwrap();
        assert!((kappa - 0.210).abs() < 5e-4, "{kappa}");
        assert_eq!((alike.most[0][14], alike.most[0][7]), (1, 2));
    }
}
