//! Usage: what reads a column of a source. A column that outputs only copy is not read.

use super::pipeline::Spec;
use super::table::{TableId, TableSpec};

impl Spec {
    /// What reads the column, in words. The run makes the tables for which `is_made` is true, and writes `outputs`.
    pub(crate) fn reader_of(
        &self,
        column: (TableId, usize),
        is_made: &dyn Fn(TableId) -> bool,
        outputs: impl Iterator<Item = usize>,
    ) -> Option<String> {
        let reads = |(table, index): (TableId, usize)| self.source_column(table, index) == Some(column);
        let of_table = self.tables().filter(|(id, _)| is_made(*id)).find_map(|(_, table)| {
            let (uses, conditions): (Vec<_>, Vec<_>) = match table {
                TableSpec::Source(_) => return None,
                TableSpec::Transform(transform) => {
                    let reads = transform.transform.info.reads.iter();
                    (reads.map(|(input, index)| (transform.inputs[*input], *index)).collect(), Vec::new())
                }
                TableSpec::Stage(stage) => {
                    let of_input = |index: usize| (stage.input, index);
                    let conditions = stage.when.iter().flat_map(|when| when.uses()).map(of_input).collect();
                    (stage.stage.info.uses.iter().copied().map(of_input).collect(), conditions)
                }
            };
            let what = if uses.into_iter().any(reads) { "" } else { "`when` of " };
            (what.is_empty() || conditions.into_iter().any(reads)).then(|| format!("{what}`{}`", table.name()))
        });
        let mut outputs = outputs.map(|index| &self.outputs[index]).filter(|o| o.settings.contains_key("columns"));
        of_table.or_else(|| {
            let output = outputs.find(|output| output.columns.iter().any(|index| reads((output.input, *index))))?;
            Some(format!("`columns` of the output `{}`", output.path))
        })
    }

    /// The column of a source that a column of a table copies.
    fn source_column(&self, table: TableId, column: usize) -> Option<(TableId, usize)> {
        match self.table(table) {
            TableSpec::Source(_) => Some((table, column)),
            TableSpec::Transform(transform) => {
                let (input, column) = transform.transform.info.origins[column]?;
                self.source_column(transform.inputs[input], column)
            }
            TableSpec::Stage(stage) => (column < stage.given).then(|| self.source_column(stage.input, column))?,
        }
    }
}
