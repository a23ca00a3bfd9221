//! Context: the column of found rows. Its cells are lists of structs, which prompts read item by item.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, Float64Array, Int64Array, ListArray, RecordBatch, StructArray, UInt64Array, new_empty_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Fields};
use arrow_select::take::take;

use crate::document::Problems;
use crate::search::Fused;
use crate::stage::transform::{TransformContext, sentence};

/// The positions of the two tables. The table to search in is read first.
pub(super) const FROM: usize = 0;
pub(super) const INPUT: usize = 1;

/// The columns of an item that no column of `from` may have the name of.
const RANK: &str = "rank";
const SCORE: &str = "score";
const BM25: &str = "bm25";
const SIMILARITY: &str = "similarity";
const ROW: &str = "row";

#[derive(Debug)]
pub(super) struct Context {
    /// The columns of `from` that an item has: its key, then those that the spec names.
    pub(super) columns: Vec<usize>,
    fields: Fields,
    /// Whether an item has its score in each ranking.
    is_fused: bool,
    has_key: bool,
}

impl Context {
    pub(super) fn bind(
        context: &TransformContext<'_>,
        names: &[String],
        is_fused: bool,
        problems: &mut Problems,
    ) -> Option<Context> {
        let from = &context.inputs[FROM];
        let before = problems.mark();
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let mut fields = vec![Field::new(RANK, DataType::Int64, true), number(SCORE)];
        if is_fused {
            fields.extend([number(BM25), number(SIMILARITY)]);
        }
        if from.key.is_none() {
            fields.push(Field::new(ROW, DataType::Int64, true));
        }
        let mut columns: Vec<usize> = from.key.into_iter().collect();
        for (i, name) in names.iter().enumerate() {
            let at = context.path.key("columns").index(i);
            let Some(column) = from.column(at.clone(), name, problems) else { continue };
            if names[..i].contains(name) {
                problems.error("bad-value", at, format!("`{name}` is listed twice in `columns`"));
            } else if fields.iter().any(|field| field.name() == name) {
                let message =
                    format!("an item has `{name}` already, so it can't have the column `{name}` of `{}`", from.name);
                let problem = problems.error("duplicate-column", at, message);
                problem.help("rename the column in its source, with `columns`");
            } else if !columns.contains(&column) {
                columns.push(column);
            }
        }
        if problems.had_errors_since(before) {
            return None;
        }
        fields.extend(columns.iter().map(|column| from.schema.field(*column).clone().with_nullable(true)));
        Some(Context { columns, fields: fields.into(), is_fused, has_key: from.key.is_some() })
    }

    pub(super) fn field(&self, name: &str) -> Field {
        Field::new(name, DataType::List(Arc::new(self.item())), true)
    }

    fn item(&self) -> Field {
        Field::new("item", DataType::Struct(self.fields.clone()), true)
    }

    /// The cells for rows with these items; `None` is null. `kept` has the columns of `from` in the order of `columns`,
    /// and `numbers` the number of each of its rows, from 0.
    pub(super) fn cells(
        &self,
        found: &[Option<Vec<Fused>>],
        (kept, numbers): (&RecordBatch, &[u64]),
    ) -> Result<ArrayRef, String> {
        let items = || found.iter().flatten().flatten();
        let ranks = found.iter().flatten().flat_map(|found| 1..=found.len() as i64);
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(ranks.collect::<Int64Array>()),
            Arc::new(items().map(|item| item.score).collect::<Float64Array>()),
        ];
        if self.is_fused {
            for i in [0, 1] {
                columns.push(Arc::new(items().map(|item| item.scores[i]).collect::<Float64Array>()));
            }
        }
        if !self.has_key {
            let rows = items().map(|item| numbers[item.place] as i64 + 1);
            columns.push(Arc::new(rows.collect::<Int64Array>()));
        }
        let places: UInt64Array = items().map(|item| item.place as u64).collect();
        for column in kept.columns() {
            columns.push(match places.is_empty() {
                true => new_empty_array(column.data_type()),
                false => take(column.as_ref(), &places, None).map_err(sentence)?,
            });
        }
        let items = StructArray::try_new(self.fields.clone(), columns, None).map_err(sentence)?;
        let lengths = OffsetBuffer::from_lengths(found.iter().map(|found| found.as_ref().map_or(0, Vec::len)));
        let nulls: NullBuffer = found.iter().map(Option::is_some).collect::<Vec<bool>>().into();
        let lists = ListArray::try_new(Arc::new(self.item()), lengths, Arc::new(items), Some(nulls));
        Ok(Arc::new(lists.map_err(sentence)?))
    }
}
