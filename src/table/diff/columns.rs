//! The comparison of a column: cells that differ, a confusion table, and the distance of numbers.

use std::collections::HashMap;

use arrow_schema::DataType;

use super::spill::decode;
use crate::stats::kappa;
use crate::table::Cell;

/// The most distinct values of a column with a [`Confusion`].
pub(crate) const LABELS: usize = 20;
const NULL: &[u8] = &[0];

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ColumnDiff {
    pub(crate) name: String,
    pub(crate) differ: u64,
    /// The cells that are null only in A.
    pub(crate) null_in_a: u64,
    /// The cells that are null only in B.
    pub(crate) null_in_b: u64,
    pub(crate) confusion: Option<Confusion>,
    pub(crate) distance: Option<Distance>,
    /// `None` without a gold column, or if no cell of the column is ever equal to the gold value.
    pub(crate) gold: Option<GoldDiff>,
}

/// The cells of a column in comparison with a gold column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct GoldDiff {
    /// The rows of both tables with a gold value.
    pub(crate) rows: u64,
    pub(crate) right_in_a: u64,
    pub(crate) right_in_b: u64,
    pub(crate) became_right: u64,
    pub(crate) became_wrong: u64,
    /// Cells that differ and are wrong in both tables.
    pub(crate) stayed_wrong: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Confusion {
    pub(crate) labels: Vec<Cell>,
    /// The number of rows with each value in A (first index) and in B.
    pub(crate) counts: Vec<Vec<u64>>,
}

/// The distance of the numbers of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Distance {
    pub(crate) mean: f64,
    /// The rows with a number in both tables.
    pub(crate) rows: u64,
}

impl Confusion {
    /// Sorts the labels: those of `order` first, null last.
    pub(crate) fn sort(&mut self, order: &[String]) {
        let rank = |label: &Cell| match label {
            Cell::Null => usize::MAX,
            label => order.iter().position(|other| *other == label.text()).unwrap_or(order.len()),
        };
        let mut places: Vec<usize> = (0..self.labels.len()).collect();
        places.sort_by_key(|place| rank(&self.labels[*place]));
        self.labels = places.iter().map(|place| self.labels[*place].clone()).collect();
        let row = |counts: &Vec<u64>| places.iter().map(|place| counts[*place]).collect();
        self.counts = places.iter().map(|place| row(&self.counts[*place])).collect();
    }

    /// Cohen's kappa over the rows that are null in neither table, and the number of these rows; `None` if chance alone
    /// explains the agreement.
    pub(crate) fn kappa(&self) -> Option<(f64, u64)> {
        let values = self.labels.iter().filter(|label| **label != Cell::Null).count();
        let counts: Vec<Vec<u64>> = self.counts[..values].iter().map(|row| row[..values].to_vec()).collect();
        Some((kappa(&counts)?, counts.iter().flatten().sum()))
    }
}

pub(crate) struct Tally {
    diff: ColumnDiff,
    labels: Option<Labels>,
    numbers: Option<(f64, u64)>,
    gold: GoldDiff,
}

#[derive(Default)]
struct Labels {
    places: HashMap<Vec<u8>, usize>,
    counts: HashMap<(usize, usize), u64>,
}

impl Tally {
    pub(crate) fn new(name: &str, a: &DataType, b: &DataType) -> Self {
        let number = |kind: &DataType| kind.is_integer() || kind.is_floating();
        // Messages of failed calls are not classes.
        let is_error = name.ends_with("_error") || name.contains("_error_");
        let labels = a == b && (*a == DataType::Boolean || *a == DataType::Utf8 && !is_error);
        Tally {
            diff: ColumnDiff { name: name.to_owned(), ..ColumnDiff::default() },
            labels: labels.then(Labels::default),
            numbers: (number(a) && number(b)).then_some((0.0, 0)),
            gold: GoldDiff::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.diff.name
    }

    pub(crate) fn same(&mut self, cell: &[u8]) {
        self.count(cell, cell);
    }

    pub(crate) fn pair(&mut self, a: &[u8], b: &[u8]) {
        if a != b {
            self.diff.differ += 1;
            self.diff.null_in_a += u64::from(a == NULL);
            self.diff.null_in_b += u64::from(b == NULL);
        }
        self.count(a, b);
    }

    /// Compares the cells of a row with its gold value, if it has one. Values are equal if their texts are.
    pub(crate) fn judge(&mut self, gold: Option<&Cell>, a: &[u8], b: &[u8]) {
        let Some(gold) = gold.map(Cell::text) else { return };
        let is_right = |cell: &[u8]| match decode(cell) {
            Cell::Null => false,
            cell => cell.text() == gold,
        };
        let (before, now) = (is_right(a), is_right(b));
        self.gold.rows += 1;
        self.gold.right_in_a += u64::from(before);
        self.gold.right_in_b += u64::from(now);
        self.gold.became_right += u64::from(!before && now);
        self.gold.became_wrong += u64::from(before && !now);
        self.gold.stayed_wrong += u64::from(!before && !now && a != b);
    }

    fn count(&mut self, a: &[u8], b: &[u8]) {
        if self.labels.as_mut().is_some_and(|labels| !labels.count(a, b)) {
            self.labels = None;
        }
        if let Some((sum, rows)) = &mut self.numbers
            && let (Some(a), Some(b)) = (number(a), number(b))
            && (a - b).is_finite()
        {
            *sum += (a - b).abs();
            *rows += 1;
        }
    }

    pub(crate) fn finish(self, matched: u64) -> ColumnDiff {
        // A column with a different value in every row has no classes.
        let labels = self.labels.filter(|labels| labels.values() as u64 <= matched);
        let numbers = self.numbers.filter(|(_, rows)| *rows > 0);
        ColumnDiff {
            confusion: labels.filter(|_| self.diff.differ > 0).map(Labels::table),
            gold: Some(self.gold).filter(|gold| gold.right_in_a + gold.right_in_b > 0),
            distance: numbers.map(|(sum, rows)| Distance { mean: sum / rows as f64, rows }),
            ..self.diff
        }
    }
}

impl Labels {
    /// Counts a pair; returns `false` if there are too many values.
    fn count(&mut self, a: &[u8], b: &[u8]) -> bool {
        let (a, b) = (self.place(a), self.place(b));
        *self.counts.entry((a, b)).or_default() += 1;
        self.values() <= LABELS
    }

    /// The number of values, without null.
    fn values(&self) -> usize {
        self.places.len() - usize::from(self.places.contains_key(NULL))
    }

    fn place(&mut self, cell: &[u8]) -> usize {
        let next = self.places.len();
        match self.places.get(cell) {
            Some(place) => *place,
            None => *self.places.entry(cell.to_vec()).or_insert(next),
        }
    }

    fn table(self) -> Confusion {
        let mut labels: Vec<(Cell, usize)> = self.places.iter().map(|(cell, at)| (decode(cell), *at)).collect();
        let rank = |cell: &Cell| match cell {
            Cell::Text(text) => (0, text.clone()),
            Cell::Boolean(truth) => (1, truth.to_string()),
            _ => (2, String::new()),
        };
        labels.sort_by_key(|(cell, _)| rank(cell));
        let count = |a: usize, b: usize| self.counts.get(&(a, b)).copied().unwrap_or(0);
        let counts = labels.iter().map(|(_, a)| labels.iter().map(|(_, b)| count(*a, *b)).collect()).collect();
        Confusion { labels: labels.into_iter().map(|(cell, _)| cell).collect(), counts }
    }
}

fn number(cell: &[u8]) -> Option<f64> {
    match decode(cell) {
        Cell::Integer(number) => Some(number as f64),
        Cell::Number(number) => Some(number),
        _ => None,
    }
}
