//! Gathering: turns each group of rows into one row, whose hidden columns are lists of the cells of the group's rows.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, ListArray, RecordBatch, UInt64Array};
use arrow_buffer::OffsetBuffer;
use arrow_row::{OwnedRow, RowConverter, SortField};
use arrow_schema::{DataType, Field, Schema, SchemaRef, SortOptions};
use arrow_select::concat::concat_batches;
use arrow_select::take::take;
use indexmap::IndexMap;
use serde_json::json;

use crate::document::Problems;
use crate::stage::ask::distinct;
use crate::stage::transform::{DataError, Pass, Transform, TransformContext, TransformInfo, Work, sentence};
use crate::table::Guard;

/// The most input rows whose groups are returned together, unless one group is larger.
const ROWS: usize = 4096;

#[derive(Debug)]
pub(crate) struct Gather {
    /// The columns of a group: grouping columns, number of rows, number of rows left out, then the hidden columns.
    pub(crate) schema: SchemaRef,
    pub(crate) by: Vec<usize>,
    /// The columns that the rows of a group are ordered by. Equal rows keep their order.
    pub(crate) order: Vec<usize>,
    pub(crate) descending: bool,
    pub(crate) reads: Vec<usize>,
    /// A row to which one of these guards applies is left out.
    pub(crate) leaves_out: Vec<Guard>,
    pub(crate) input: SchemaRef,
}

/// The columns of a group that other stages see: the grouping columns, the number of rows, and of those left out.
pub(crate) fn group_fields(context: &TransformContext<'_>, by: &[usize]) -> Vec<Field> {
    let input = context.inputs[0].schema;
    let own = |suffix: &str| Field::new(format!("{}{suffix}", context.name), DataType::Int64, true);
    let by = by.iter().map(|column| input.field(*column).clone());
    by.chain([own("_rows"), own("_left_out")]).collect()
}

/// The columns called `names` in the field `key`. Reports those that can't group or order rows.
pub(crate) fn group_columns(
    context: &TransformContext<'_>,
    key: &str,
    names: &[String],
    problems: &mut Problems,
) -> Vec<usize> {
    let input = &context.inputs[0];
    let mut found = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let place = context.path.key(key).index(i);
        let Some(column) = input.column(place.clone(), name, problems) else { continue };
        if found.contains(&column) {
            problems.error("bad-value", place, format!("`{name}` is listed twice in `{key}`"));
        } else if input.schema.field(column).data_type().is_nested() {
            problems.error("bad-value", place, format!("`{name}` holds lists"));
        } else {
            found.push(column);
        }
    }
    found
}

impl Gather {
    pub(crate) fn transform(self) -> Transform {
        let names = |columns: &[usize]| -> Vec<&str> {
            columns.iter().map(|column| self.input.field(*column).name().as_str()).collect()
        };
        let meaning = json!({
            "type": "gather", "group_by": names(&self.by), "order_by": names(&self.order), "descending": self.descending,
            "reads": names(&self.reads),
        });
        let origins = self.by.iter().map(|column| Some((0, *column)));
        let info = TransformInfo {
            kind: "gather",
            schema: self.schema.clone(),
            origins: origins.chain((self.by.len()..self.schema.fields().len()).map(|_| None)).collect(),
            reads: [&self.by[..], &self.order, &self.reads].concat().into_iter().map(|column| (0, column)).collect(),
            key: (self.by.len() == 1).then_some(0),
            hidden: self.reads.len(),
            meaning,
        };
        Transform { info, work: Box::new(self) }
    }
}

impl Work for Gather {
    fn start(&self) -> Box<dyn Pass + '_> {
        let kept = distinct([&self.by[..], &self.order, &self.reads].concat());
        let sorts = self.by.iter().map(|column| SortField::new(self.input.field(*column).data_type().clone()));
        let converter = RowConverter::new(sorts.collect()).map_err(sentence);
        Box::new(Gathering { gather: self, kept, converter, batches: Vec::new(), groups: IndexMap::new(), rows: 0 })
    }
}

#[derive(Default)]
struct Group {
    /// The numbers of the rows among those that are kept.
    rows: Vec<u64>,
    left_out: i64,
}

/// A pass over the rows. Keeps the grouping values of all rows, so that a group without kept rows also has a row.
struct Gathering<'a> {
    gather: &'a Gather,
    kept: Vec<usize>,
    converter: Result<RowConverter, String>,
    batches: Vec<RecordBatch>,
    /// The groups in the order of their first rows. Without a grouping column there is one group, without a key.
    groups: IndexMap<Option<OwnedRow>, Group>,
    /// The number of rows that are kept.
    rows: u64,
}

impl Gathering<'_> {
    fn place(&self, column: usize) -> usize {
        self.kept.binary_search(&column).unwrap_or_default()
    }

    fn sorted(&mut self, table: &RecordBatch) -> Result<(), String> {
        if self.gather.order.is_empty() {
            return Ok(());
        }
        let options = SortOptions { descending: self.gather.descending, nulls_first: false };
        let columns: Vec<ArrayRef> =
            self.gather.order.iter().map(|column| table.column(self.place(*column)).clone()).collect();
        let fields = columns.iter().map(|c| SortField::new_with_options(c.data_type().clone(), options)).collect();
        let keys =
            RowConverter::new(fields).and_then(|converter| converter.convert_columns(&columns)).map_err(sentence)?;
        for group in self.groups.values_mut() {
            // The sort is stable: equal rows keep their order.
            group.rows.sort_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
        }
        Ok(())
    }

    fn firsts(&self) -> Result<RecordBatch, String> {
        let fields: Vec<Field> = self.gather.by.iter().map(|column| self.gather.input.field(*column).clone()).collect();
        let schema = Arc::new(Schema::new(fields.into_iter().map(|f| f.with_nullable(true)).collect::<Vec<_>>()));
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(self.groups.len()));
        if self.gather.by.is_empty() {
            return RecordBatch::try_new_with_options(schema, Vec::new(), &options).map_err(sentence);
        }
        let columns = self
            .converter
            .as_ref()
            .map_err(Clone::clone)?
            .convert_rows(self.groups.keys().flatten().map(OwnedRow::row))
            .map_err(sentence)?;
        RecordBatch::try_new(schema, columns).map_err(sentence)
    }

    fn batch(&self, table: &RecordBatch, firsts: &RecordBatch, groups: Range<usize>) -> Result<RecordBatch, String> {
        let found = self.groups.as_slice().get_range(groups.clone()).ok_or("a group is missing")?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.gather.schema.fields().len());
        for column in 0..self.gather.by.len() {
            columns.push(firsts.column(column).slice(groups.start, groups.len()));
        }
        columns.push(Arc::new(found.values().map(|g| g.rows.len() as i64).collect::<Int64Array>()));
        columns.push(Arc::new(found.values().map(|g| g.left_out).collect::<Int64Array>()));
        let rows: UInt64Array = found.values().flat_map(|group| group.rows.iter().copied()).collect();
        let lengths: Vec<usize> = found.values().map(|group| group.rows.len()).collect();
        for column in &self.gather.reads {
            let values = take(table.column(self.place(*column)).as_ref(), &rows, None).map_err(sentence)?;
            let field = Arc::new(Field::new("item", values.data_type().clone(), true));
            let nulls = found.values().map(|group| !group.rows.is_empty()).collect::<Vec<bool>>();
            let nulls = nulls.contains(&false).then(|| nulls.into());
            let lists = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths.iter().copied()), values, nulls);
            columns.push(Arc::new(lists.map_err(sentence)?));
        }
        RecordBatch::try_new(self.gather.schema.clone(), columns).map_err(sentence)
    }
}

impl Pass for Gathering<'_> {
    fn take(&mut self, _: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        let by: Vec<ArrayRef> = self.gather.by.iter().map(|column| batch.column(*column).clone()).collect();
        let keys = match by.is_empty() {
            true => None,
            false => Some(self.converter.as_ref().map_err(Clone::clone)?.convert_columns(&by).map_err(sentence)?),
        };
        let out: Vec<_> = self.gather.leaves_out.iter().map(|guard| guard.found(batch)).collect();
        let mut kept = Vec::new();
        for row in 0..batch.num_rows() {
            let group = self.groups.entry(keys.as_ref().map(|keys| keys.row(row).owned())).or_default();
            if out.iter().any(|found| found(row)) {
                group.left_out += 1;
            } else {
                group.rows.push(self.rows);
                self.rows += 1;
                kept.push(row as u64);
            }
        }
        let narrow = batch.project(&self.kept).map_err(sentence)?;
        let rows = UInt64Array::from(kept);
        let columns = narrow.columns().iter().map(|column| take(column.as_ref(), &rows, None));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(sentence)?;
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(rows.len()));
        self.batches.push(RecordBatch::try_new_with_options(narrow.schema(), columns, &options).map_err(sentence)?);
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<RecordBatch>, DataError> {
        // Without grouping, an empty table is one group too.
        if self.gather.by.is_empty() {
            self.groups.entry(None).or_default();
        }
        let schema: SchemaRef = Arc::new(self.gather.input.project(&self.kept).map_err(sentence)?);
        let table = concat_batches(&schema, &std::mem::take(&mut self.batches)).map_err(sentence)?;
        self.sorted(&table)?;
        let firsts = self.firsts()?;
        let mut done = Vec::new();
        let mut start = 0;
        while start < self.groups.len() {
            let mut rows = 0;
            let mut end = start;
            while end < self.groups.len() && (end == start || rows < ROWS) {
                rows += self.groups[end].rows.len() + 1;
                end += 1;
            }
            done.push(self.batch(&table, &firsts, start..end)?);
            start = end;
        }
        Ok(done)
    }
}
