//! Origins: the table and the column in which a value was made first, for every column of a table.

use super::pipeline::Spec;
use super::table::{TableId, TableSpec};
use crate::stage::ColumnOrigin;

/// The origins of the columns of a table, in their order.
pub(super) fn origins(spec: &Spec, id: TableId) -> Vec<ColumnOrigin> {
    let table = spec.table(id);
    let relation = table.relation();
    let width = relation.schema.fields().len();
    let own = |column| (id.0, column);
    let copied: Vec<Option<ColumnOrigin>> = match table {
        TableSpec::Source(_) => vec![None; width],
        TableSpec::Stage(stage) => {
            let fills = &stage.stage.info.fills;
            let input = origins(spec, stage.input);
            let given = input.into_iter().take(stage.given).enumerate();
            // A column that the stage fills has other values than that of its input.
            given.map(|(column, origin)| Some(origin).filter(|_| !fills.contains(&column))).collect()
        }
        TableSpec::Transform(transform) => {
            let inputs: Vec<_> = transform.inputs.iter().map(|input| origins(spec, *input)).collect();
            let origins = transform.transform.info.origins.iter();
            origins.map(|origin| origin.and_then(|(input, column)| inputs[input].get(column).copied())).collect()
        }
    };
    let place = |column: usize| copied.get(column).copied().flatten().map_or(own(column), |origin| origin.place);
    // Several rows of a table with a fold have the same key.
    let key = relation.key.filter(|_| relation.fold == 1).map(place);
    (0..width)
        .map(|column| copied.get(column).copied().flatten().unwrap_or(ColumnOrigin { place: own(column), key }))
        .collect()
}
