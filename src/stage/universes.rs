//! The table of a grid: the tables of its universes, one below the other, without a model.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use serde_json::json;

use super::transform::{DataError, Pass, Transform, TransformInfo, Work};
use super::view::{Shown, View};
use crate::table::{Cell, Column, Type, array_of};

const KIND: &str = "grid";
/// The column that names the universe of a row.
pub(crate) const UNIVERSE: &str = "universe";

/// The universes of a grid. Their tables are the inputs, in the same order.
#[derive(Debug)]
pub(crate) struct Universes {
    /// The columns of all universes.
    pub(crate) input: SchemaRef,
    /// For each universe, the places of these columns in its table. A column that it lacks is null.
    pub(crate) places: Vec<Vec<Option<usize>>>,
    /// The number of columns at the beginning that come from the rows that are asked about.
    pub(crate) given: usize,
    /// Those of them that the universes fill.
    pub(crate) fills: Vec<usize>,
    /// The columns that tell universes apart: the name of the universe, and one for each axis.
    pub(crate) columns: Vec<Column>,
    /// For each universe, the cells of these columns.
    pub(crate) cells: Vec<Vec<Cell>>,
    /// What the report page shows of the answers of a universe.
    pub(crate) views: Vec<View>,
}

impl Universes {
    pub(crate) fn transform(self) -> Transform {
        let own = self.columns.iter().map(|column| Arc::new(column.field()));
        let (given, answers) = self.input.fields().split_at(self.given);
        let fields: Vec<Arc<Field>> = given.iter().cloned().chain(own).chain(answers.iter().cloned()).collect();
        let copied = |column: usize| (column < self.given && !self.fills.contains(&column)).then_some((0, column));
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let cells: Vec<Vec<_>> = self.cells.iter().map(|cells| cells.iter().map(Cell::json).collect()).collect();
        let info = TransformInfo {
            kind: KIND,
            origins: (0..fields.len()).map(copied).collect(),
            schema: Arc::new(Schema::new(fields)),
            reads: Vec::new(),
            // Each universe has a row about each key.
            key: None,
            hidden: 0,
            meaning: json!({ "type": KIND, "columns": names, "universes": cells }),
        };
        let schema = info.schema.clone();
        Transform { info, work: Box::new(Stack { universes: self, schema }) }
    }
}

#[derive(Debug)]
struct Stack {
    universes: Universes,
    schema: SchemaRef,
}

impl Work for Stack {
    fn start(&self) -> Box<dyn Pass + '_> {
        Box::new(self)
    }

    fn stacked(&self, input: usize, column: usize) -> Option<usize> {
        let Universes { given, columns, places, .. } = &self.universes;
        let of_all = if column < *given { Some(column) } else { column.checked_sub(columns.len()) };
        *places.get(input)?.get(of_all.filter(|place| column < *given || place >= given)?)?
    }

    fn views(&self) -> Vec<View> {
        // The others need the table of one stage.
        let is_of_answers = |view: &&View| {
            matches!(
                view.shown,
                Shown::Labels { .. } | Shown::Scale { .. } | Shown::Numbers { .. } | Shown::Lists { .. }
            )
        };
        let answers = self.universes.views.iter().filter(is_of_answers).cloned();
        answers.chain([View::new("The first rows", Shown::Rows)]).collect()
    }
}

impl Pass for &Stack {
    fn take(&mut self, input: usize, batch: &RecordBatch) -> Result<Vec<RecordBatch>, DataError> {
        let Universes { given, columns, cells, places, .. } = &self.universes;
        let same = |(kind, cell): (Type, &Cell)| array_of(kind, std::iter::repeat_n(cell, batch.num_rows()));
        let own = columns.iter().map(|column| column.kind).zip(&cells[input]).map(same);
        let kinds = self.universes.input.fields().iter().map(|field| field.data_type());
        let mut all: Vec<ArrayRef> = kinds
            .zip(&places[input])
            .map(|(kind, place)| match place {
                Some(place) => batch.column(*place).clone(),
                None => new_null_array(kind, batch.num_rows()),
            })
            .collect();
        all.splice(*given..*given, own);
        let rows = RecordBatch::try_new(self.schema.clone(), all).map_err(|error| error.to_string())?;
        Ok(vec![rows])
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::StringArray;
    use arrow_schema::DataType;

    use super::*;
    use crate::table::cell_at;

    #[test]
    fn the_rows_of_all_universes_follow_each_other_with_the_values_of_the_axes() {
        let text = |name| Field::new(name, DataType::Utf8, true);
        let universes = Universes {
            input: Arc::new(Schema::new(vec![text("id"), text("shown"), text("tone")])),
            places: vec![vec![Some(0), None, Some(1)], vec![Some(0), Some(1), Some(2)]],
            given: 1,
            fills: Vec::new(),
            columns: vec![Column::new("universe", Type::Text), Column::new("temperature", Type::Number)],
            cells: [("cold", 0.0), ("warm", 0.7)]
                .map(|(name, number)| vec![Cell::Text(name.to_owned()), Cell::Number(number)])
                .to_vec(),
            views: Vec::new(),
        };
        let made = universes.transform();
        let names: Vec<&str> = made.info.schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["id", "universe", "temperature", "shown", "tone"]);
        assert_eq!(made.info.origins, [Some((0, 0)), None, None, None, None]);
        let stacked = |input| [0, 1, 2, 3, 4].map(|column| made.work.stacked(input, column));
        assert_eq!(stacked(0), [Some(0), None, None, None, Some(1)]);
        assert_eq!(stacked(1), [Some(0), None, None, Some(1), Some(2)]);
        let mut pass = made.work.start();
        let column = |text: &str| Arc::new(StringArray::from(vec![text.to_owned()])) as ArrayRef;
        let cold = [("id", column("a")), ("tone", column("good"))];
        let warm = [("id", column("a")), ("shown", column("x")), ("tone", column("bad"))];
        let mut rows = Vec::new();
        for (input, cells) in [cold.to_vec(), warm.to_vec()].into_iter().enumerate() {
            let batch = RecordBatch::try_from_iter(cells).unwrap();
            for made in pass.take(input, &batch).unwrap() {
                rows.push(made.columns().iter().map(|cells| cell_at(cells, 0).text()).collect::<Vec<_>>().join(" "));
            }
        }
        assert_eq!(rows, ["a cold 0.0  good", "a warm 0.7 x bad"]);
    }
}
