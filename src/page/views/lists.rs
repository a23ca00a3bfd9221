//! Lists: the share of rows whose list has each item.

use indexmap::IndexMap;
use serde_json::json;

use super::blocks::{figure, named, of_model, of_models};
use super::collect::Collect;
use super::table::{Batch, Grouping, Series, TableRows};
use crate::page::chart::{Bar, Bars, Chart, Unit};
use crate::page::content::Block;
use crate::report::text::{count, percent};
use crate::stats::wilson;
use crate::table::{Cell, cell_at};

/// The most different items that are counted, and the most that are shown.
const MOST_COUNTED: usize = 20_000;
const SHOWN: usize = 30;

pub(super) struct ListView {
    title: String,
    is_open: bool,
    series: Vec<Series>,
    /// For each model, the number of lists, and of the lists with each item.
    found: Vec<(u64, IndexMap<String, u64>)>,
}

impl ListView {
    pub(super) fn new(title: &str, column: &str, items: &[String], table: &TableRows<'_>) -> ListView {
        let series = table.series(column);
        let counts: IndexMap<String, u64> = items.iter().map(|item| (item.clone(), 0)).collect();
        let found = vec![(0, counts); series.len()];
        ListView { title: title.to_owned(), is_open: items.is_empty(), series, found }
    }
}

impl Collect for ListView {
    fn reads(&self) -> Vec<String> {
        self.series.iter().map(|series| series.column.clone()).collect()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        for (series, (lists, counts)) in self.series.iter().zip(&mut self.found) {
            let Some(column) = batch.column(&series.column) else { continue };
            for row in series.rows(batch.rows) {
                let Cell::List(items) = cell_at(column, row) else { continue };
                *lists += 1;
                let mut items: Vec<String> = items.iter().map(Cell::text).collect();
                items.sort_unstable();
                items.dedup();
                for item in items {
                    let has_room = counts.len() < MOST_COUNTED;
                    match counts.get_mut(&item) {
                        Some(count) => *count += 1,
                        None if has_room => {
                            counts.insert(item, 1);
                        }
                        None => {}
                    }
                }
            }
        }
    }

    fn blocks(&mut self, _: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        of_models(&self.series, &self.found, |series, (lists, counts)| {
            let title = format!("{}{}", self.title, of_model(series));
            if *lists == 0 {
                return Ok(Vec::new());
            }
            if self.is_open && counts.values().all(|n| *n == 1) {
                let (lists, items) = (count(*lists, "list"), count(counts.len() as u64, "item"));
                let text = format!("{title}: {lists} with {items}. No item is in two lists.");
                return Ok(vec![Block::text(text)]);
            }
            let mut items: Vec<(&String, &u64)> = counts.iter().collect();
            if self.is_open {
                items.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
            }
            let all = items.len();
            items.truncate(SHOWN);
            let share = |n: u64| n as f64 / *lists as f64;
            let bar = |(item, n): &(&String, &u64)| Bar {
                label: (*item).clone(),
                values: vec![share(**n)],
                text: percent(share(**n)),
            };
            let row = |(item, n): &(&String, &u64)| {
                let (low, high) = wilson(**n, *lists);
                vec![json!(item), json!(n), json!(lists), json!(share(**n)), json!(low), json!(high)]
            };
            let numbers = named(&["item", "lists", "of", "share", "low", "high"], items.iter().map(row).collect());
            let mut note = format!("The share of {} with each item.", count(*lists, "list"));
            if counts.values().sum::<u64>() > *lists {
                note += " The shares add up to more than 100 %, since a list may have several items.";
            }
            if all > items.len() {
                note += &format!(" {} are rarer and not shown.", count((all - items.len()) as u64, "item"));
            }
            let bars = items.iter().map(bar).collect();
            let chart = Chart::Bars(Bars::new(Unit::Share, vec!["share of lists".to_owned()], bars));
            Ok(vec![figure(title, chart, numbers, Some(note))])
        })
    }
}
