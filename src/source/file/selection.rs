//! Selections: the rows of a file that `where`, `sample` and `limit` keep, and the columns of the table.

use std::collections::HashSet;
use std::ops::Range;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;

use crate::prompt::BoundCondition;
use crate::random::Streams;
use crate::source::batches::{Batches, SourceError, batches};
use crate::source::settings::File;
use crate::source::settings::layout::bound;
use crate::table::Row;

impl File {
    /// The table's columns, of the columns that the readers return.
    pub(crate) fn visible(&self, read: &SchemaRef) -> Result<SchemaRef, SourceError> {
        let fields = read.fields().iter().take(self.width(read)).cloned().collect::<Vec<_>>();
        if let Some(condition) = &self.condition {
            bound(condition, read, &self.path)?;
        }
        Ok(std::sync::Arc::new(arrow_schema::Schema::new_with_metadata(fields, read.metadata().clone())))
    }

    /// The columns that `where` reads, of the columns that the readers return.
    pub(crate) fn columns_of_condition(&self, read: &SchemaRef) -> Result<Vec<String>, SourceError> {
        let condition = self.condition.as_deref().map(|text| bound(text, read, &self.path)).transpose()?;
        let reads = condition.map(|condition| condition.uses()).unwrap_or_default();
        Ok(reads.into_iter().map(|index| read.field(index).name().clone()).collect())
    }

    fn width(&self, read: &SchemaRef) -> usize {
        self.columns.as_ref().map_or(read.fields().len(), Vec::len)
    }

    /// The selected rows of a file whose rows `open` reads, with the columns of `read`.
    pub(crate) fn select(
        self,
        read: &SchemaRef,
        open: impl Fn() -> Batches + Send + 'static,
    ) -> Result<Batches, SourceError> {
        if self.columns.is_none() && self.condition.is_none() && self.sample.is_none() && self.limit.is_none() {
            return Ok(open());
        }
        let condition = || self.condition.as_deref().map(|text| bound(text, read, &self.path)).transpose();
        let (first, second) = (condition()?, condition()?);
        let visible: Vec<usize> = (0..self.width(read)).collect();
        let mut rows: Option<Batches> = None;
        let mut drawn: Option<HashSet<u64>> = None;
        let (mut passed, mut left) = (0, self.limit.unwrap_or(u64::MAX));
        let (mut first, mut second) = (Some(first), Some(second));
        Ok(batches(move || {
            if rows.is_none() {
                if let (Some(sample), Some(condition)) = (self.sample, first.take()) {
                    let mut all = 0;
                    for batch in kept(open(), condition) {
                        all += batch?.num_rows() as u64;
                    }
                    drawn = Some(Streams::new(self.seed, &["source", "sample"]).of(0).sample(sample, all));
                }
                rows = Some(kept(open(), second.take().flatten()));
            }
            let Some(rows) = &mut rows else { return Ok(None) };
            loop {
                if left == 0 {
                    return Ok(None);
                }
                let Some(batch) = rows.next().transpose()? else { return Ok(None) };
                let numbers = passed..passed + batch.num_rows() as u64;
                passed = numbers.end;
                let batch = match &drawn {
                    None => batch,
                    Some(drawn) => only(&batch, numbers, drawn)?,
                };
                let batch = batch.slice(0, batch.num_rows().min(usize::try_from(left).unwrap_or(usize::MAX)));
                left -= batch.num_rows() as u64;
                if batch.num_rows() > 0 {
                    return batch.project(&visible).map(Some).map_err(|error| SourceError::new(error.to_string()));
                }
            }
        }))
    }
}

/// The rows of which `condition` is true.
fn kept(rows: Batches, condition: Option<BoundCondition>) -> Batches {
    let Some(condition) = condition else { return rows };
    let mut first = 0;
    Box::new(rows.map(move |batch| {
        let batch = batch?;
        let mut mask = Vec::with_capacity(batch.num_rows());
        for index in 0..batch.num_rows() {
            let holds = condition.holds(Row::new(&batch, index, first), &[]);
            mask.push(holds.map_err(|message| {
                SourceError::new(format!("`where` fails for row {}: {message}", first + index as u64 + 1)).at(["where"])
            })?);
        }
        first += batch.num_rows() as u64;
        filtered(&batch, mask)
    }))
}

fn only(batch: &RecordBatch, numbers: Range<u64>, drawn: &HashSet<u64>) -> Result<RecordBatch, SourceError> {
    filtered(batch, numbers.map(|number| drawn.contains(&number)).collect())
}

fn filtered(batch: &RecordBatch, mask: Vec<bool>) -> Result<RecordBatch, SourceError> {
    filter_record_batch(batch, &BooleanArray::from(mask)).map_err(|error| SourceError::new(error.to_string()))
}
