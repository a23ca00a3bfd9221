//! Shares of labels: points with intervals, steps of a scale, shares by group, and how probable the labels are.

use serde_json::json;

use super::blocks::{figure, fold, named, of_model, of_models, series_name};
use super::collect::Collect;
use super::table::{Batch, Grouping, NO_GROUP, Series, TableRows, in_order, number, text};
use crate::page::chart::{Axis, Bar, Bars, Chart, Dot, DotRow, Dots, Histogram, Unit};
use crate::page::content::{Block, Grid};
use crate::report::text::{count, number as written};
use crate::stats::{wilson, wilson_of_share};

/// The most labels that are looked for in a column whose labels are not known.
const MOST_FOUND: usize = 30;
/// The labels that a chart shows, and those of a chart by group.
const MOST_SHOWN: usize = 30;
const MOST_IN_GROUPS: usize = 8;
/// The bins of a probability.
const BINS: usize = 20;

/// The answers of one model, or of one model in a group.
#[derive(Clone, Debug, Default)]
struct Tally {
    counts: Vec<u64>,
    /// The answers that are null, those whose label is too rare to be counted, and those with a label that the spec
    /// does not have.
    null: u64,
    rare: u64,
    unknown: u64,
}

/// For several answers of a model about the same input row: sums over input rows of the answers n, and of the answers
/// with a label h: n * n for all, n * h and h * h for each label.
#[derive(Clone, Debug, Default)]
struct Clusters {
    rows: u64,
    squares: u64,
    of_labels: Vec<(u64, u64)>,
}

pub(super) struct LabelShares {
    title: String,
    labels: Vec<String>,
    /// Whether labels are looked for in the table.
    is_open: bool,
    /// The words of the ends of a scale. `None` if the labels are not steps of a scale.
    scale: Option<[Option<String>; 2]>,
    series: Vec<Series>,
    probabilities: Vec<Series>,
    tallies: Vec<Tally>,
    clusters: Option<Vec<Clusters>>,
    /// Whether the labels are answers. Others are shown without intervals.
    are_answers: bool,
    /// By grouping, group and series.
    by_group: Vec<Vec<Vec<Tally>>>,
    /// By series and label, in bins of 0.05.
    probable: Vec<Vec<[u64; BINS]>>,
}

impl Tally {
    fn new(labels: usize) -> Tally {
        Tally { counts: vec![0; labels], ..Tally::default() }
    }

    fn add(&mut self, label: Option<usize>) {
        match label {
            Some(label) => {
                if self.counts.len() <= label {
                    self.counts.resize(label + 1, 0);
                }
                self.counts[label] += 1;
            }
            None => self.null += 1,
        }
    }

    fn n(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.rare
    }

    fn count(&self, label: usize) -> u64 {
        self.counts.get(label).copied().unwrap_or(0)
    }

    fn share(&self, label: usize) -> Option<f64> {
        (self.n() > 0).then(|| self.count(label) as f64 / self.n() as f64)
    }
}

impl Clusters {
    /// Adds the answers about one input row: the number of each label.
    fn add(&mut self, labels: &[u64]) {
        let n: u64 = labels.iter().sum();
        if n == 0 {
            return;
        }
        self.rows += 1;
        self.squares += n * n;
        self.of_labels.resize(self.of_labels.len().max(labels.len()), (0, 0));
        for (sums, hits) in self.of_labels.iter_mut().zip(labels) {
            sums.0 += n * hits;
            sums.1 += hits * hits;
        }
    }

    /// The number of independent answers that would be as uncertain: the variance of a share is that between input
    /// rows (Kish 1965, the ultimate cluster estimator).
    fn effective(&self, label: usize, share: f64, n: u64) -> f64 {
        let (cross, own) = self.of_labels.get(label).copied().unwrap_or_default();
        let rows = self.rows as f64;
        let between = own as f64 - 2.0 * share * cross as f64 + share * share * self.squares as f64;
        let variance = rows / (rows - 1.0) * between / (n as f64 * n as f64);
        let effective = share * (1.0 - share) / variance;
        if effective.is_finite() { effective.min(n as f64) } else { rows }
    }
}

impl LabelShares {
    pub(super) fn new(
        title: &str,
        (column, labels): (&str, &[String]),
        probability: Option<&str>,
        scale: Option<[Option<String>; 2]>,
        table: &TableRows<'_>,
    ) -> LabelShares {
        let series = table.series(column);
        let replicates = table.stage().map_or(1, |stage| stage.answers.replicates);
        let (of, tally) = (series.len(), Tally::new(labels.len()));
        LabelShares {
            title: title.to_owned(),
            labels: labels.to_vec(),
            is_open: labels.is_empty(),
            scale,
            probabilities: probability.map(|name| table.series(name)).unwrap_or_default(),
            tallies: vec![tally; of],
            clusters: (replicates > 1).then(|| vec![Clusters::default(); of]),
            are_answers: table.stage().is_some(),
            by_group: Vec::new(),
            probable: vec![Vec::new(); of],
            series,
        }
    }

    /// The label of a cell. `Err` for a label that is not known.
    fn label(&mut self, value: &str) -> Result<usize, ()> {
        if let Some(label) = self.labels.iter().position(|label| label == value) {
            return Ok(label);
        }
        if !self.is_open || self.labels.len() == MOST_FOUND {
            return Err(());
        }
        self.labels.push(value.to_owned());
        Ok(self.labels.len() - 1)
    }

    fn add_series(&mut self, batch: &Batch<'_>, at: usize) {
        let series = self.series[at].clone();
        let Some(column) = batch.column(&series.column) else { return };
        let probability = self.probabilities.get(at).cloned();
        let probability = probability.as_ref().and_then(|series| batch.column(&series.column));
        let replicates = if self.clusters.is_some() { batch.fold / series.step } else { 1 };
        let mut about = Vec::new();
        for (i, row) in series.rows(batch.rows).enumerate() {
            let label = text(column, row).map(|value| self.label(&value)).transpose();
            let Ok(label) = label else {
                match self.is_open {
                    true => self.tallies[at].rare += 1,
                    false => self.tallies[at].unknown += 1,
                }
                continue;
            };
            self.tallies[at].add(label);
            for (grouping, codes) in self.by_group.iter_mut().zip(batch.groups) {
                if codes[row] != NO_GROUP {
                    grow(grouping, codes[row] + 1, self.series.len())[at].add(label);
                }
            }
            if let Some((label, p)) = label.zip(probability.and_then(|column| number(column, row))) {
                let bins = &mut self.probable[at];
                bins.resize(bins.len().max(label + 1), [0; BINS]);
                bins[label][bin(p)] += 1;
            }
            let Some(clusters) = &mut self.clusters else { continue };
            if let Some(label) = label {
                about.resize(about.len().max(label + 1), 0);
                about[label] += 1;
            }
            if (i + 1) % replicates == 0 {
                clusters[at].add(&about);
                about.clear();
            }
        }
    }

    fn interval(&self, at: usize, label: usize) -> Option<(f64, f64)> {
        let tally = &self.tallies[at];
        let share = tally.share(label).filter(|_| self.are_answers)?;
        Some(match &self.clusters {
            Some(clusters) => wilson_of_share(share, clusters[at].effective(label, share, tally.n())),
            None => wilson(tally.count(label), tally.n()),
        })
    }

    fn note(&self) -> String {
        let mut note = match &self.clusters {
            _ if !self.are_answers => "The share of rows with each value.",
            Some(_) => "95 % Wilson intervals for clusters: the answers about one input row count together.",
            None => "95 % Wilson intervals.",
        }
        .to_owned();
        if self.labels.len() > MOST_SHOWN {
            note += &format!(" The {MOST_SHOWN} most frequent of {} labels are shown.", self.labels.len());
        }
        let sum = |of: fn(&Tally) -> u64| self.tallies.iter().map(of).sum::<u64>();
        let (null, rare, unknown) = (sum(|tally| tally.null), sum(|tally| tally.rare), sum(|tally| tally.unknown));
        if null > 0 {
            note += &format!(" Without {} that {} null.", count(null, "answer"), if null == 1 { "is" } else { "are" });
        }
        if unknown > 0 {
            note += &format!(" Without {} of a label that the spec does not have.", count(unknown, "value"));
        }
        if rare > 0 {
            note += &format!(" {} of rarer labels are not shown.", count(rare, "answer"));
        }
        note
    }

    fn numbers(&self) -> Grid {
        let mut rows = Vec::new();
        for (label, name) in self.labels.iter().enumerate() {
            for (at, series) in self.series.iter().enumerate() {
                let tally = &self.tallies[at];
                let ends = self.interval(at, label);
                rows.push(vec![
                    json!(name),
                    json!(series.model),
                    json!(tally.count(label)),
                    json!(tally.n()),
                    json!(tally.share(label)),
                    json!(ends.map(|ends| ends.0)),
                    json!(ends.map(|ends| ends.1)),
                ]);
            }
        }
        named(&["label", "model", "answers", "of", "share", "low", "high"], rows)
    }

    fn dots(&self) -> Chart {
        let row = |(label, name): (usize, &String)| {
            let dot = |at: usize| {
                let at_share = self.tallies[at].share(label)?;
                Some(Dot { series: at, at: at_share, interval: self.interval(at, label) })
            };
            DotRow { label: name.clone(), dots: (0..self.series.len()).filter_map(dot).collect() }
        };
        let axis = Axis::shares(if self.are_answers { "Share of answers" } else { "Share of rows" });
        let series = self.series.iter().map(series_name).collect();
        let total = |label: usize| self.tallies.iter().map(|tally| tally.count(label)).sum::<u64>();
        let mut labels: Vec<(usize, &String)> = self.labels.iter().enumerate().collect();
        if labels.len() > MOST_SHOWN {
            labels.sort_by_key(|(label, _)| std::cmp::Reverse(total(*label)));
            labels.truncate(MOST_SHOWN);
        }
        Chart::Dots(Dots { axis, series, rows: labels.into_iter().map(row).collect(), marks: Vec::new() })
    }

    /// A bar of shares for each tally.
    fn bars<'t>(&self, tallies: impl Iterator<Item = (String, &'t Tally)>) -> Chart {
        let bar = |(label, tally): (String, &Tally)| {
            let values = (0..self.labels.len()).map(|label| tally.share(label).unwrap_or(0.0)).collect();
            Bar { label, values, text: format!("n = {}", written(tally.n())) }
        };
        let centre = self.scale.as_ref().map(|_| self.labels.len() / 2);
        Chart::Bars(Bars { centre, ..Bars::new(Unit::Share, self.steps(), tallies.map(bar).collect()) })
    }

    /// The labels, with the words of the ends of a scale.
    fn steps(&self) -> Vec<String> {
        let mut steps = self.labels.clone();
        if let (Some([low, high]), [first, .., last]) = (&self.scale, steps.as_mut_slice()) {
            for (step, words) in [(first, low), (last, high)] {
                words.iter().for_each(|words| *step = format!("{step} ({words})"));
            }
        }
        steps
    }

    fn by_group(&self, groupings: &[Grouping]) -> Vec<Block> {
        let mut figures = Vec::new();
        for (grouping, tallies) in groupings.iter().zip(&self.by_group).filter(|(g, _)| !g.is_dropped) {
            let mut order: Vec<usize> = (0..tallies.len()).collect();
            order.sort_by(|a, b| in_order(&grouping.values[*a], &grouping.values[*b]));
            let groups = || {
                order
                    .iter()
                    .flat_map(|group| self.series.iter().enumerate().map(move |(at, series)| (*group, at, series)))
            };
            let name = |group: usize, series: &Series| match series.model.as_str() {
                "" => grouping.values[group].clone(),
                model => format!("{} · {model}", grouping.values[group]),
            };
            let bars = groups().map(|(group, at, series)| (name(group, series), &tallies[group][at]));
            let mut rows = Vec::new();
            for (group, at, series) in groups() {
                let tally = &tallies[group][at];
                for (label, text) in self.labels.iter().enumerate() {
                    let ends = wilson(tally.count(label), tally.n());
                    let own = [json!(grouping.values[group]), json!(series.model), json!(text)];
                    let figures = [json!(tally.count(label)), json!(tally.n()), json!(tally.share(label))];
                    let ends = Some(ends).filter(|_| self.clusters.is_none() && tally.n() > 0);
                    let ends = [json!(ends.map(|ends| ends.0)), json!(ends.map(|ends| ends.1))];
                    rows.push(own.into_iter().chain(figures).chain(ends).collect());
                }
            }
            let columns = [grouping.column.as_str(), "model", "label", "answers", "of", "share", "low", "high"];
            let title = format!("{} by {}", self.title, grouping.column);
            figures.push(figure(title, self.bars(bars), named(&columns, rows), None));
        }
        fold(format!("{} by group", self.title), figures)
    }

    /// How probable the labels are, for each model.
    fn probable(&self) -> Result<Vec<Block>, String> {
        let edges: Vec<f64> = (0..=BINS).map(|edge| edge as f64 / BINS as f64).collect();
        of_models(&self.series, &self.probable, |series, bins| {
            let labels = &self.labels[..bins.len()];
            let row = |bin: usize| {
                let ends = [json!(edges[bin]), json!(edges[bin + 1])];
                ends.into_iter().chain(bins.iter().map(|counts| json!(counts[bin]))).collect()
            };
            let columns: Vec<&str> = ["from", "to"].into_iter().chain(labels.iter().map(String::as_str)).collect();
            let numbers = named(&columns, (0..BINS).map(row).collect());
            let title = "Probability of the label".to_owned();
            let chart = Histogram {
                axis: Axis { title, unit: Unit::Number, range: Some((0.0, 1.0)) },
                edges: edges.clone(),
                series: labels.to_vec(),
                counts: bins.iter().map(|counts| counts.to_vec()).collect(),
                marks: Vec::new(),
            };
            let title = format!("How probable the labels of {} are{}", self.title, of_model(series));
            let shown = (!bins.is_empty()).then(|| figure(title, Chart::Histogram(chart), numbers, None));
            Ok(shown.into_iter().collect())
        })
    }
}

/// The bin of a probability. Rounding must not move a number that lies on an edge.
fn bin(p: f64) -> usize {
    ((p * BINS as f64 + 1e-9).max(0.0) as usize).min(BINS - 1)
}

/// The tallies of group `groups - 1`, by series.
fn grow(grouping: &mut Vec<Vec<Tally>>, groups: usize, series: usize) -> &mut Vec<Tally> {
    if grouping.len() < groups {
        grouping.resize(groups, vec![Tally::default(); series]);
    }
    &mut grouping[groups - 1]
}

impl Collect for LabelShares {
    fn reads(&self) -> Vec<String> {
        self.series.iter().chain(&self.probabilities).map(|series| series.column.clone()).collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        self.by_group.resize(batch.groups.len(), Vec::new());
        (0..self.series.len()).for_each(|at| self.add_series(batch, at));
    }

    fn blocks(&mut self, _: &TableRows<'_>, groupings: &[Grouping]) -> Result<Vec<Block>, String> {
        if self.tallies.iter().all(|tally| tally.n() == 0) {
            return Ok(Vec::new());
        }
        let models = || self.series.iter().map(series_name).zip(&self.tallies);
        let chart = if self.scale.is_some() { self.bars(models()) } else { self.dots() };
        let mut blocks = vec![figure(self.title.clone(), chart, self.numbers(), Some(self.note()))];
        blocks.extend(self.probable()?);
        if self.labels.len() <= MOST_IN_GROUPS || self.scale.is_some() {
            blocks.extend(self.by_group(groupings));
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_answers_about_a_row_count_as_one_answer() {
        // Twenty rows with four equal answers each: the interval is that of twenty answers.
        let mut equal = Clusters::default();
        (0..20).for_each(|row| equal.add(if row % 4 == 0 { &[4, 0] } else { &[0, 4] }));
        let effective = equal.effective(0, 0.25, 80);
        assert!((effective - 19.0).abs() < 1e-9, "{effective}");
        // With one answer in each row there are nearly as many as rows, and never more than answers.
        let mut single = Clusters::default();
        (0..100).for_each(|row| single.add(if row % 2 == 0 { &[1, 0] } else { &[0, 1] }));
        assert!((single.effective(0, 0.5, 100) - 99.0).abs() < 1e-9);
        let mut mixed = Clusters::default();
        (0..50).for_each(|_| mixed.add(&[1, 1]));
        assert_eq!(mixed.effective(0, 0.5, 100), 50.0);
    }

    #[test]
    fn probabilities_are_in_bins_that_begin_with_their_lower_edge() {
        for (p, wanted) in [(0.0, 0), (0.05, 1), (0.15, 3), (0.3, 6), (0.349, 6), (0.35, 7), (0.95, 19), (1.0, 19)] {
            assert_eq!(bin(p), wanted, "{p}");
        }
    }

    #[test]
    fn a_tally_grows_with_the_labels_that_are_found() {
        let mut tally = Tally::new(0);
        [Some(0), Some(2), None, Some(2)].into_iter().for_each(|label| tally.add(label));
        assert_eq!((tally.n(), tally.null, tally.count(2), tally.count(1), tally.count(9)), (3, 1, 2, 0, 0));
        assert_eq!(tally.share(2), Some(2.0 / 3.0));
        assert_eq!(Tally::default().share(0), None);
    }
}
