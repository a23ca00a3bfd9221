//! Columns: the cells that a method reads, as plain vectors.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_schema::Field;
use indexmap::IndexSet;

use crate::prompt::BoundCondition;
use crate::table::{Cell, Row, Shape, Type, cell_at};

/// The word of a missing value.
const NULL: u64 = u64::MAX;
/// The fewest new rows after which equal rows are merged.
const MERGED: usize = 1 << 16;

/// What a method reads of each row.
#[derive(Debug)]
pub(crate) enum Read {
    Column(usize, Reading),
    /// Whether the condition holds. Missing if a column that it reads is missing, or an empty text.
    Condition(Box<BoundCondition>),
    /// The same word in every row: which input a row is of, or a number.
    Same(u64),
}

impl Read {
    /// The columns whose values matter.
    pub(crate) fn uses(&self) -> Vec<usize> {
        match self {
            Read::Column(column, _) => vec![*column],
            Read::Condition(condition) => condition.uses(),
            Read::Same(_) => Vec::new(),
        }
    }

    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Read::Column(_, Reading::Number))
    }
}

/// What a method reads a column as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Labels. All columns of labels have the same codes. An empty text is missing.
    Label,
    /// Numbers. NaN is missing.
    Number,
    Truth,
    /// Names of units, clusters or coders. Each column has separate codes.
    Name,
    /// Lists of labels, as sets.
    Labels,
    /// Lists of names in their order. Each column has separate codes, whose names are the lists as JSON.
    Order,
}

impl Reading {
    pub(crate) fn fits(self, field: &Field) -> bool {
        let kind = Type::of_cells(field.data_type());
        match self {
            Reading::Label | Reading::Name => !is_list(field),
            Reading::Number => kind.is_numeric(),
            Reading::Truth => kind == Type::Boolean,
            Reading::Labels | Reading::Order => is_list(field),
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Reading::Label | Reading::Name => "labels",
            Reading::Number => "numbers",
            Reading::Truth => "true and false",
            Reading::Labels => "lists of labels",
            Reading::Order => "lists",
        }
    }

    /// The type that a source can declare for such a column.
    pub(crate) fn kind(self) -> Option<&'static str> {
        match self {
            Reading::Number => Some("number"),
            Reading::Truth => Some("boolean"),
            Reading::Label | Reading::Name | Reading::Labels | Reading::Order => None,
        }
    }
}

/// Whether the column holds lists, also as JSON text.
pub(crate) fn is_list(field: &Field) -> bool {
    matches!(Type::of_cells(field.data_type()), Type::List(_)) || matches!(Shape::of(field), Shape::List(_))
}

/// The rows so far: a column of words for each read, and how many rows of the table each row is.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    /// Whether equal rows are merged.
    merge: bool,
    merged: usize,
    words: Vec<Vec<u64>>,
    counts: Vec<u64>,
    labels: IndexSet<String>,
    sets: IndexSet<Vec<u64>>,
    /// The names of each read of names.
    names: Vec<IndexSet<String>>,
    rows: u64,
    /// The rows of each group, once all are read.
    groups: Vec<Vec<usize>>,
}

impl Columns {
    /// The first column holds the groups.
    pub(crate) fn new(reads: usize, merge: bool) -> Self {
        let names = (0..reads).map(|_| IndexSet::new()).collect();
        Columns { merge, words: vec![Vec::new(); reads + 1], names, ..Columns::default() }
    }

    /// Adds the rows of `batch`, which are in these groups.
    pub(crate) fn add(
        &mut self,
        batch: &RecordBatch,
        reads: &[Read],
        groups: impl Iterator<Item = Option<usize>>,
    ) -> Result<(), String> {
        self.words[0].extend(groups.map(|group| group.map_or(NULL, |group| group as u64)));
        for (i, read) in reads.iter().enumerate() {
            match read {
                Read::Column(column, reading) => self.column(i, batch.column(*column).as_ref(), *reading),
                Read::Condition(condition) => self.condition(i, batch, condition)?,
                Read::Same(word) => self.words[i + 1].extend(std::iter::repeat_n(word, batch.num_rows())),
            }
        }
        self.counts.resize(self.counts.len() + batch.num_rows(), 1);
        self.rows += batch.num_rows() as u64;
        if self.merge && self.counts.len() >= 4 * self.merged + MERGED {
            self.compact();
        }
        Ok(())
    }

    fn column(&mut self, read: usize, column: &dyn Array, reading: Reading) {
        for i in 0..column.len() {
            let word = match reading {
                Reading::Label => text(column, i).map(|text| code(&mut self.labels, text)),
                Reading::Name => text(column, i).map(|text| code(&mut self.names[read], text)),
                Reading::Number => number(column, i).map(f64::to_bits),
                Reading::Truth => Some(cell_at(column, i)).and_then(|cell| match cell {
                    Cell::Boolean(truth) => Some(u64::from(truth)),
                    _ => None,
                }),
                Reading::Labels => self.set(column, i),
                Reading::Order => order(column, i).map(|text| code(&mut self.names[read], text.into())),
            };
            self.words[read + 1].push(word.unwrap_or(NULL));
        }
    }

    fn set(&mut self, column: &dyn Array, i: usize) -> Option<u64> {
        let texts = items(column, i)?.into_iter().filter_map(label);
        let mut set: Vec<u64> = texts.map(|text| code(&mut self.labels, text.into())).collect();
        set.sort_unstable();
        set.dedup();
        Some(self.sets.insert_full(set).0 as u64)
    }

    fn condition(&mut self, read: usize, batch: &RecordBatch, condition: &BoundCondition) -> Result<(), String> {
        let reads = condition.reads();
        for i in 0..batch.num_rows() {
            let row = Row::new(batch, i, self.rows);
            let failed = |message: String| {
                format!("`{}` can't be evaluated for row {}: {message}", condition.source(), row.number() + 1)
            };
            let is_missing = reads.iter().any(|column| {
                let column = batch.column(*column);
                let texts = column.as_string_opt::<i32>();
                column.is_null(i) || texts.is_some_and(|texts| texts.value(i).trim().is_empty())
            });
            let word = if is_missing { NULL } else { condition.holds(row, &[]).map_err(failed)?.into() };
            self.words[read + 1].push(word);
        }
        Ok(())
    }

    fn compare(&self, a: usize, b: usize) -> Ordering {
        self.words.iter().map(|column| column[a].cmp(&column[b])).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The rows in their order. The words of the first column that differ are compared beside each other, since it costs
    /// more to look them up. Sorted rows at the beginning are only merged with the others.
    fn order(&self) -> Vec<usize> {
        let differs = |column: &&Vec<u64>| column.iter().any(|word| *word != column[0]);
        let Some(first) = self.words.iter().find(differs) else { return (0..self.counts.len()).collect() };
        let mut order: Vec<(u64, usize)> = first.iter().copied().zip(0..).collect();
        sort_halves(&mut order, |a, b| a.0.cmp(&b.0).then_with(|| self.compare(a.1, b.1)));
        order.into_iter().map(|(_, row)| row).collect()
    }

    /// Merges equal rows and sorts them.
    fn compact(&mut self) {
        let order = self.order();
        let (mut firsts, mut counts): (Vec<usize>, Vec<u64>) = (Vec::new(), Vec::new());
        for run in order.chunk_by(|a, b| self.compare(*a, *b).is_eq()) {
            firsts.push(run[0]);
            counts.push(run.iter().map(|row| self.counts[*row]).sum());
        }
        drop(order);
        for column in &mut self.words {
            *column = firsts.iter().map(|row| column[*row]).collect();
        }
        self.counts = counts;
        self.merged = firsts.len();
    }

    /// Sorts the labels and the names, so that results do not depend on the order of the rows.
    pub(crate) fn finish(&mut self, reads: &[Read]) {
        let ranks = sort(&mut self.labels);
        let places: Vec<Vec<u64>> = self.names.iter_mut().map(sort).collect();
        let set = |set: &Vec<u64>| {
            let mut set: Vec<u64> = set.iter().map(|code| ranks[*code as usize]).collect();
            set.sort_unstable();
            set
        };
        let sets: Vec<Vec<u64>> = self.sets.iter().map(set).collect();
        let mut sorted: IndexSet<Vec<u64>> = sets.iter().cloned().collect();
        sorted.sort_unstable();
        let set_ranks: Vec<u64> = sets.iter().filter_map(|set| sorted.get_index_of(set)).map(|i| i as u64).collect();
        self.sets = sorted;
        for (i, read) in reads.iter().enumerate() {
            let ranks = match read {
                Read::Column(_, Reading::Label) => &ranks,
                Read::Column(_, Reading::Labels) => &set_ranks,
                Read::Column(_, Reading::Name | Reading::Order) => &places[i],
                _ => continue,
            };
            self.words[i + 1].iter_mut().filter(|word| **word != NULL).for_each(|word| *word = ranks[*word as usize]);
        }
        if self.merge {
            self.compact();
        }
        for (row, group) in self.words[0].iter().enumerate().filter(|(_, group)| **group != NULL) {
            self.groups.resize(self.groups.len().max(*group as usize + 1), Vec::new());
            self.groups[*group as usize].push(row);
        }
    }

    /// The rows of a group, or all rows.
    pub(crate) fn rows(&self, group: Option<usize>) -> Rows<'_> {
        Rows { columns: self, places: group.map(|group| self.groups[group].as_slice()) }
    }
}

/// The rows of one group. A read is named by its position among the reads of the method.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    columns: &'a Columns,
    /// `None` for all rows.
    places: Option<&'a [usize]>,
}

impl<'a> Rows<'a> {
    /// Whether these are all rows of the table, not a group.
    pub(crate) fn is_whole(&self) -> bool {
        self.places.is_none()
    }

    fn map<T>(&self, column: &[u64], value: impl Fn(u64) -> T) -> Vec<T> {
        match &self.places {
            None => column.iter().map(|word| value(*word)).collect(),
            Some(places) => places.iter().map(|row| value(column[*row])).collect(),
        }
    }

    fn words<T>(&self, read: usize, value: impl Fn(u64) -> T) -> Vec<Option<T>> {
        self.map(&self.columns.words[read + 1], |word| (word != NULL).then(|| value(word)))
    }

    /// How many rows of the table each row is: 1, unless equal rows are merged.
    pub(crate) fn counts(&self) -> Vec<u64> {
        self.map(&self.columns.counts, |count| count)
    }

    /// The codes of labels, of lists of labels or of names: positions in [`Rows::label_names`], [`Rows::label_sets`] or
    /// [`Rows::names`].
    pub(crate) fn labels(&self, read: usize) -> Vec<Option<usize>> {
        self.words(read, |word| word as usize)
    }

    pub(crate) fn numbers(&self, read: usize) -> Vec<Option<f64>> {
        self.words(read, f64::from_bits)
    }

    /// The same as [`Rows::numbers`], without a copy.
    pub(crate) fn each_number(&self, read: usize) -> impl Iterator<Item = Option<f64>> {
        let column = &self.columns.words[read + 1];
        let word = |row: usize| self.places.map_or(column[row], |places| column[places[row]]);
        (0..self.len()).map(move |row| Some(word(row)).filter(|word| *word != NULL).map(f64::from_bits))
    }

    pub(crate) fn len(&self) -> usize {
        self.places.map_or(self.columns.counts.len(), <[usize]>::len)
    }

    pub(crate) fn truths(&self, read: usize) -> Vec<Option<bool>> {
        self.words(read, |word| word == 1)
    }

    /// All labels of the table, sorted.
    pub(crate) fn label_names(&self) -> &'a IndexSet<String> {
        &self.columns.labels
    }

    /// All sets of labels of the table. A set has the sorted codes of its labels.
    pub(crate) fn label_sets(&self) -> &'a IndexSet<Vec<u64>> {
        &self.columns.sets
    }

    /// All names that a read of names has in the table, sorted.
    pub(crate) fn names(&self, read: usize) -> &'a IndexSet<String> {
        &self.columns.names[read]
    }

    /// The clusters of the rows for a bootstrap, numbered from 0 without a gap in the order of their names. The error is
    /// a sentence.
    pub(crate) fn clusters(&self, read: usize) -> Result<Vec<usize>, String> {
        let codes = self.labels(read);
        let missing: u64 =
            codes.iter().zip(self.counts()).filter(|(code, _)| code.is_none()).map(|(_, count)| count).sum();
        if missing > 0 {
            return Err(format!("{missing} rows name no cluster; a bootstrap of clusters needs one in every row"));
        }
        let used: BTreeSet<usize> = codes.iter().flatten().copied().collect();
        let number: HashMap<usize, usize> = used.into_iter().enumerate().map(|(i, code)| (code, i)).collect();
        Ok(codes.into_iter().flatten().map(|code| number[&code]).collect())
    }
}

/// Sorts both halves at the same time; then the sort of all only merges them.
fn sort_halves<T: Send>(all: &mut [T], compare: impl Fn(&T, &T) -> Ordering + Sync) {
    if all.len() > MERGED {
        let (first, second) = all.split_at_mut(all.len() / 2);
        std::thread::scope(|scope| {
            scope.spawn(|| first.sort_by(&compare));
            second.sort_by(&compare);
        });
    }
    all.sort_by(compare);
}

fn code(codes: &mut IndexSet<String>, text: Cow<'_, str>) -> u64 {
    let found = codes.get_index_of(text.as_ref());
    found.unwrap_or_else(|| codes.insert_full(text.into_owned()).0) as u64
}

/// Sorts texts: as numbers if all are numbers. Returns the new place of each.
fn sort(texts: &mut IndexSet<String>) -> Vec<u64> {
    let mut old: Vec<String> = std::mem::take(texts).into_iter().collect();
    let numbers: Option<Vec<f64>> = old.iter().map(|text| text.parse().ok()).collect();
    let mut order: Vec<usize> = (0..old.len()).collect();
    order.sort_unstable_by(|a, b| {
        let as_numbers = numbers.as_ref().and_then(|numbers| numbers[*a].partial_cmp(&numbers[*b]));
        as_numbers.unwrap_or(Ordering::Equal).then_with(|| old[*a].cmp(&old[*b]))
    });
    let mut places = vec![0; old.len()];
    order.iter().zip(0..).for_each(|(text, place)| places[*text] = place);
    texts.extend(order.into_iter().map(|text| std::mem::take(&mut old[text])));
    places
}

/// The text of a label; `None` if it is missing.
pub(crate) fn text(column: &dyn Array, i: usize) -> Option<Cow<'_, str>> {
    if let Some(texts) = column.as_string_opt::<i32>() {
        let text = Some(texts).filter(|texts| texts.is_valid(i))?.value(i);
        return Some(text.into()).filter(|text: &Cow<'_, str>| !text.trim().is_empty());
    }
    label(cell_at(column, i)).map(Cow::Owned)
}

/// The items of a list, also of one as JSON; `None` if it is missing.
fn items(column: &dyn Array, i: usize) -> Option<Vec<Cell>> {
    match cell_at(column, i) {
        Cell::List(items) => Some(items),
        Cell::Text(json) => match Cell::of_json(serde_json::from_str(&json).ok()?) {
            Cell::List(items) => Some(items),
            _ => None,
        },
        _ => None,
    }
}

/// The texts of a list, as JSON.
fn order(column: &dyn Array, i: usize) -> Option<String> {
    let texts: Vec<String> = items(column, i)?.into_iter().filter_map(label).collect();
    serde_json::to_string(&texts).ok()
}

/// A whole number has the same label in a column of whole numbers and in a column of numbers.
pub(crate) fn label(cell: Cell) -> Option<String> {
    match cell {
        Cell::Null => None,
        Cell::Number(number) if number.is_nan() => None,
        Cell::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => Some((number as i64).to_string()),
        Cell::Text(text) => Some(text).filter(|text| !text.trim().is_empty()),
        other => Some(other.text()),
    }
}

fn number(column: &dyn Array, i: usize) -> Option<f64> {
    match cell_at(column, i) {
        Cell::Integer(number) => Some(number as f64),
        Cell::Number(number) => Some(number).filter(|number| !number.is_nan()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};

    use super::*;

    fn batch() -> RecordBatch {
        let a: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("10"), None, Some(" "), Some("b")]));
        let b: ArrayRef = Arc::new(Int64Array::from(vec![Some(10), Some(9), Some(9), None, Some(10)]));
        let x: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None, Some(-0.0), Some(0.5)]));
        RecordBatch::try_from_iter([("a", a), ("b", b), ("x", x)]).unwrap()
    }

    fn columns(merge: bool) -> (Columns, Vec<Read>) {
        let reads = vec![
            Read::Column(0, Reading::Label),
            Read::Column(1, Reading::Label),
            Read::Column(2, Reading::Number),
            Read::Column(1, Reading::Name),
        ];
        let mut columns = Columns::new(reads.len(), merge);
        let groups = [Some(0), Some(0), None, Some(1), Some(0)];
        for (batch, groups) in [(batch().slice(0, 2), &groups[..2]), (batch().slice(2, 3), &groups[2..])] {
            columns.add(&batch, &reads, groups.iter().copied()).unwrap();
        }
        columns.finish(&reads);
        (columns, reads)
    }

    #[test]
    fn cells_become_vectors() {
        let (columns, _) = columns(false);
        let all = columns.rows(None);
        assert_eq!(all.label_names().iter().collect::<Vec<_>>(), ["10", "9", "b"]);
        assert_eq!(all.labels(0), [Some(2), Some(0), None, None, Some(2)]);
        assert_eq!(all.labels(1), [Some(0), Some(1), Some(1), None, Some(0)]);
        assert_eq!(all.numbers(2), [Some(0.5), None, None, Some(-0.0), Some(0.5)]);
        assert_eq!(all.names(3).iter().collect::<Vec<_>>(), ["9", "10"], "numbers are sorted as numbers");
        assert!(all.clusters(3).unwrap_err().starts_with("1 rows name no cluster"));
        let group = columns.rows(Some(0));
        assert_eq!((group.labels(0), group.counts()), (vec![Some(2), Some(0), Some(2)], vec![1, 1, 1]));
        assert_eq!(group.clusters(3), Ok(vec![1, 0, 1]));
    }

    #[test]
    fn equal_rows_are_merged() {
        let (columns, _) = columns(true);
        let group = columns.rows(Some(0));
        assert_eq!((group.labels(0), group.counts()), (vec![Some(0), Some(2)], vec![1, 2]));
        assert_eq!(columns.rows(None).counts().iter().sum::<u64>(), 5);
    }
}
