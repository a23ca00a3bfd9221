//! Unknown cells: the cells of a batch that depend on answers that are not known yet, by column and row.

use std::collections::{BTreeMap, BTreeSet};

use crate::spec::StageSpec;

/// For each column with unknown cells, whether its cell is unknown in each row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unknown(BTreeMap<usize, Vec<bool>>);

/// The columns of its input that decide what a stage asks about a row.
pub(crate) fn read_by(stage: &StageSpec) -> BTreeSet<usize> {
    let info = &stage.stage.info;
    let prompts = info.reads.iter().chain(&info.needs).chain(&info.fills).copied();
    let when = stage.when.iter().flat_map(|when| when.reads());
    prompts.chain(when).chain(stage.guards.iter().map(|guard| guard.column())).collect()
}

impl Unknown {
    /// All `rows` cells of these columns.
    pub(crate) fn whole(columns: &BTreeSet<usize>, rows: usize) -> Unknown {
        Unknown(columns.iter().map(|column| (*column, vec![true; rows])).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = usize> {
        self.0.keys().copied()
    }

    /// Whether a cell of these columns is unknown, for each row. `None` if every cell is known.
    pub(crate) fn rows(&self, columns: &BTreeSet<usize>) -> Option<Vec<bool>> {
        let read = self.0.iter().filter(|(column, _)| columns.contains(column)).map(|(_, rows)| rows);
        let any = |mut sum: Vec<bool>, rows: &Vec<bool>| {
            sum.iter_mut().zip(rows).for_each(|(sum, row)| *sum |= row);
            sum
        };
        read.fold(None, |sum, rows| Some(sum.map_or_else(|| rows.clone(), |sum| any(sum, rows))))
    }

    /// The unknown cells of a stage's output. `open` says for each input row whether an answer is unknown.
    pub(crate) fn after(&self, stage: &StageSpec, open: &[bool]) -> Unknown {
        let fold = stage.answers.fold() as usize;
        let folded =
            |rows: &[bool]| -> Vec<bool> { rows.iter().flat_map(|row| std::iter::repeat_n(*row, fold)).collect() };
        let given = self.0.range(..stage.given).map(|(column, rows)| (*column, folded(rows)));
        let mut after: BTreeMap<usize, Vec<bool>> = given.collect();
        if open.contains(&true) {
            let added = stage.given..stage.relation.schema.fields().len();
            let answers = added.chain(stage.stage.info.fills.iter().copied());
            after.extend(answers.map(|column| (column, folded(open))));
        }
        Unknown(after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_waits_if_it_reads_an_unknown_cell() {
        let mut unknown = Unknown::whole(&[2].into(), 3);
        unknown.0.insert(4, vec![false, true, false]);
        unknown.0.insert(5, vec![false, false, true]);
        assert_eq!(unknown.rows(&[0, 1].into()), None);
        assert_eq!(unknown.rows(&[4, 5].into()), Some(vec![false, true, true]));
        assert_eq!(unknown.rows(&[1, 2].into()), Some(vec![true; 3]));
        assert_eq!(unknown.columns().collect::<Vec<_>>(), [2, 4, 5]);
    }
}
