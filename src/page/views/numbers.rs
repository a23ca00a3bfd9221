//! Numbers: their histogram with the median, the quartiles and the bounds of the spec.

use serde_json::json;

use super::bins::{Bins, Numbers};
use super::blocks::{figure, named, of_model, of_models, table};
use super::collect::Collect;
use super::table::{Batch, Grouping, Series, TableRows, number};
use crate::page::chart::{Axis, Chart, Histogram, Mark, Unit};
use crate::page::content::Block;
use crate::report::text::{count, figure as short};

pub(super) struct NumberView {
    title: String,
    bounds: [Option<f64>; 2],
    series: Vec<Series>,
    found: Vec<Numbers>,
    null: Vec<u64>,
}

impl NumberView {
    pub(super) fn new(title: &str, column: &str, bounds: [Option<f64>; 2], table: &TableRows<'_>) -> NumberView {
        let series = table.series(column);
        let new = |series: &Series| {
            let kind = table.schema.field_with_name(&series.column).map(|field| field.data_type().is_integer());
            Numbers::new(Bins::within(bounds, kind.unwrap_or(false)), table.seed, &series.column)
        };
        let found = series.iter().map(new).collect();
        NumberView { title: title.to_owned(), bounds, null: vec![0; series.len()], series, found }
    }

    fn summary(&self) -> Block {
        let row = |((series, found), null): ((&Series, &Numbers), &u64)| {
            let [low, middle, high] = found.quartiles().map_or([None; 3], |quartiles| quartiles.map(Some));
            let ends = [found.ends.map(|ends| ends.0), low, middle, high, found.ends.map(|ends| ends.1)];
            let mean = (found.n() > 0).then_some(found.mean);
            let own = [json!(series.model), json!(found.n()), json!(*null), json!(mean), json!(found.deviation())];
            own.into_iter().chain(ends.map(|end| json!(end))).collect()
        };
        let columns = ["model", "n", "null", "mean", "sd", "minimum", "25 %", "median", "75 %", "maximum"];
        let rows = self.series.iter().zip(&self.found).zip(&self.null).map(row).collect();
        table(format!("Summary: {}", self.title), named(&columns, rows))
    }
}

/// The histogram of some numbers. A sentence if all are equal, and nothing without numbers.
pub(super) fn distribution(title: String, axis: &str, found: &Numbers, bounds: [Option<f64>; 2]) -> Option<Block> {
    let [low, middle, high] = found.quartiles()?;
    let (least, most) = found.ends?;
    if least == most {
        let text = format!("{title}: {} in {}.", short(least), count(found.n(), "row"));
        return Some(Block::text(text));
    }
    let mut edges = found.bins.edges();
    let counts = found.bins.counts();
    let numbers = if found.bins.is_by_one() {
        let rows = counts.iter().zip(&edges).map(|(n, edge)| vec![json!(*edge as i64), json!(n)]).collect();
        edges.iter_mut().for_each(|edge| *edge -= 0.5);
        named(&["value", "count"], rows)
    } else {
        let rows = counts.iter().zip(edges.windows(2)).map(|(n, ends)| vec![json!(ends[0]), json!(ends[1]), json!(n)]);
        named(&["from", "to", "count"], rows.collect())
    };
    let mark = |(at, name): (f64, &str)| Mark { at, label: format!("{name} {}", short(at)) };
    let quartiles = [(low, "lower quartile"), (middle, "median"), (high, "upper quartile")];
    let limits =
        bounds.into_iter().zip(["lower limit", "upper limit"]).filter_map(|(bound, name)| Some((bound?, name)));
    let marks = quartiles.into_iter().chain(limits).map(mark).collect();
    let axis = Axis::new(axis, Unit::Number);
    let chart = Histogram { axis, edges, series: vec![title.clone()], counts: vec![counts], marks };
    let note = found.sample.is_partial().then(|| {
        let sample = count(found.sample.items.len() as u64, "number");
        format!("The counts are of all numbers; the quartiles are those of a random sample of {sample}.")
    });
    Some(figure(title, Chart::Histogram(chart), numbers, note))
}

impl Collect for NumberView {
    fn reads(&self) -> Vec<String> {
        self.series.iter().map(|series| series.column.clone()).collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        for (at, series) in self.series.iter().enumerate() {
            let Some(column) = batch.column(&series.column) else { continue };
            for row in series.rows(batch.rows) {
                match number(column, row) {
                    Some(number) => self.found[at].add(number),
                    None => self.null[at] += 1,
                }
            }
        }
    }

    fn blocks(&mut self, _: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        let mut blocks = of_models(&self.series, &self.found, |series, found| {
            let title = format!("{}{}", self.title, of_model(series));
            Ok(distribution(title, &series.column, found, self.bounds).into_iter().collect())
        })?;
        let varies = self.found.iter().any(|found| found.ends.is_some_and(|(least, most)| least != most));
        if !blocks.is_empty() && (varies || self.null.iter().any(|null| *null > 0)) {
            blocks.push(self.summary());
        }
        Ok(blocks)
    }
}
