//! Outcomes: a condition, or a column of numbers or of true and false, as a number of each row.

use super::columns::{Read, Reading, Rows};
use crate::document::Problems;
use crate::stage::question::condition;
use crate::stage::transform::TransformContext;
use crate::table::Type;

/// Binds the outcome in the field `key`: the name of a column of numbers or of true and false, or else a condition.
pub(crate) fn read(context: &TransformContext<'_>, key: &str, source: &str, problems: &mut Problems) -> Option<Read> {
    let input = context.inputs.first()?;
    let column = input.schema.index_of(source.trim()).ok();
    match column.map(|column| (column, Type::of_cells(input.schema.field(column).data_type()))) {
        Some((column, Type::Boolean)) => Some(Read::Column(column, Reading::Truth)),
        Some((column, kind)) if kind.is_numeric() => Some(Read::Column(column, Reading::Number)),
        _ => condition(source, input.schema, &context.path.key(key), problems)
            .map(|condition| Read::Condition(Box::new(condition))),
    }
}

/// The outcome of each row: its number, or 1 for true and 0 for false.
pub(crate) fn values(rows: &Rows<'_>, read: usize, is_number: bool) -> Vec<Option<f64>> {
    match is_number {
        true => rows.numbers(read),
        false => rows.truths(read).into_iter().map(|truth| truth.map(|truth| f64::from(u8::from(truth)))).collect(),
    }
}
