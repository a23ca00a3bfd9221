//! Gold: the rows that are compared with the truth, and how much each counts.

use indexmap::IndexSet;

use super::columns::{Read, Reading, Rows};
use super::settings::read_column;
use crate::document::{Path, Problems};
use crate::name::listed;
use crate::stage::transform::{DataError, InputTable};

/// The part of a split that shows how good the labels are. Looking at it is counted.
pub(crate) const TEST: &str = "test";
const SPLIT: &str = "split";
/// The column with the probability of a row to be in the sample. A field of the same name chooses another column.
pub(crate) const PROBABILITY: &str = "inclusion_probability";
const LISTED: usize = 8;

/// The columns that say which rows count, as they are named in the spec.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GoldColumns<'a> {
    /// The parts of the split that are used, each with the field that names it.
    pub(crate) parts: &'a [(&'static str, &'a str)],
    pub(crate) split_column: Option<&'a str>,
    pub(crate) probability: Option<&'a str>,
    pub(crate) cluster: Option<&'a str>,
}

/// The same columns as positions in the reads of the method.
#[derive(Debug)]
pub(crate) struct Gold {
    split: Option<(usize, String)>,
    /// The probability of a row to be in the sample.
    probability: Option<(usize, String)>,
    cluster: Option<usize>,
}

impl Gold {
    /// Adds the columns to `reads`. Reports every problem.
    pub(crate) fn bind(
        columns: GoldColumns<'_>,
        input: &InputTable<'_>,
        at: &Path,
        reads: &mut Vec<Read>,
        problems: &mut Problems,
    ) -> Gold {
        let mut add = |key: &str, name: &str, reading: Reading| {
            let is_default = key == "split_column" && columns.split_column.is_none();
            let place = columns.parts.last().filter(|_| is_default).map_or(key, |(field, _)| *field);
            reads.push(read_column(input, at.key(place), name, reading, problems)?);
            Some((reads.len() - 1, name.to_owned()))
        };
        let split = columns.split_column.or((!columns.parts.is_empty()).then_some(SPLIT));
        let split = split.and_then(|name| add("split_column", name, Reading::Name));
        let probability = columns.probability.and_then(|name| add(PROBABILITY, name, Reading::Number));
        let cluster = columns.cluster.and_then(|name| add("cluster", name, Reading::Name)).map(|(read, _)| read);
        if columns.split_column.is_some() && columns.parts.is_empty() {
            let message = "`split_column` has no effect without `split`";
            problems.error("unused-field", at.key("split_column"), message).help("write `split = \"test\"`");
        }
        Gold { split, probability, cluster }
    }

    /// The column of the split and this part of it.
    pub(crate) fn part_of(&self, part: Option<&str>) -> Option<(String, String)> {
        let (_, column) = self.split.as_ref()?;
        Some((column.clone(), part?.to_owned()))
    }

    /// Whether each row is in this part of the split. All are if the stage has no split.
    pub(crate) fn part(&self, rows: &Rows<'_>, part: Option<&str>) -> Result<Vec<bool>, DataError> {
        let Some(((read, column), part)) = self.split.as_ref().zip(part) else {
            return Ok(vec![true; rows.counts().len()]);
        };
        let names = rows.names(*read);
        let code = names.get_index_of(part);
        if code.is_none() && !names.is_empty() {
            let found = listed(names.iter().take(LISTED).map(String::as_str));
            let message = format!("no row has `{part}` in the column `{column}`: its values are {found}");
            return Err(message.into());
        }
        Ok(rows.labels(*read).into_iter().map(|name| name.is_some() && name == code).collect())
    }

    /// The design weight 1 / p of each row; 1 without inclusion probabilities. The rows with `truth`, the column that
    /// people filled, must have a probability.
    pub(crate) fn weights(&self, rows: &Rows<'_>, is_gold: &[bool], truth: &str) -> Result<Vec<f64>, DataError> {
        let Some((read, column)) = &self.probability else { return Ok(vec![1.0; is_gold.len()]) };
        let counts = rows.counts();
        let (mut weights, mut outside) = (Vec::new(), 0);
        for (row, p) in rows.numbers(*read).into_iter().enumerate() {
            match p {
                Some(p) if p > 0.0 && p <= 1.0 => weights.push(1.0 / p),
                Some(p) if is_gold[row] => {
                    let message = format!(
                        "`{column}` holds {p}, but the probability of a row to be in the sample is above 0 and at most 1"
                    );
                    return Err(DataError::at(PROBABILITY, message));
                }
                _ => {
                    outside += if is_gold[row] { counts[row] } else { 0 };
                    weights.push(0.0);
                }
            }
        }
        let message = match outside {
            0 => return Ok(weights),
            1 => format!("1 row has a value in `{truth}` but none in `{column}`, so it is outside the sample"),
            n => format!("{n} rows have a value in `{truth}` but none in `{column}`, so they are outside the sample"),
        };
        Err(DataError::at(PROBABILITY, message).help("remove these codes, or add the probabilities"))
    }

    /// The clusters of the `kept` rows, numbered from 0 without a gap.
    pub(crate) fn clusters(&self, rows: &Rows<'_>, kept: &[usize]) -> Result<Option<Vec<usize>>, DataError> {
        let Some(read) = self.cluster else { return Ok(None) };
        let names = rows.labels(read);
        let missing = kept.iter().filter(|row| names[**row].is_none()).count();
        if missing > 0 {
            let message = format!("{missing} rows name no cluster; a bootstrap of clusters needs one in every row");
            return Err(DataError::at("cluster", message));
        }
        let mut numbers = IndexSet::new();
        Ok(Some(kept.iter().map(|row| numbers.insert_full(names[*row]).0).collect()))
    }
}
