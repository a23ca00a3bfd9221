//! Columns: converts blocks of drawn cells to Arrow batches: first the `ID`, then the drawn columns, then the fixed
//! ones, then those of expressions.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::Serialize;

use super::draw::{Block, Cells};
use super::expression::{Expression, Expressions};
use crate::document::{Path, Problems};
use crate::source::batches::SourceError;
use crate::table::{Cell, Type, array_of};

/// The key of the source: a column that numbers the rows from 1.
pub(crate) const ID: &str = "ID";

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Options(Arc<[Cell]>),
    Whole,
    Number,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Fixed {
    pub(crate) name: String,
    pub(crate) value: Cell,
}

#[derive(Debug)]
pub(crate) struct Columns {
    drawn: Vec<Drawn>,
    fixed: Vec<Fixed>,
    expressions: Option<Expressions>,
    /// The columns without those of the expressions.
    schema: SchemaRef,
}

impl Columns {
    pub(crate) fn new(drawn: Vec<Drawn>, fixed: &[Fixed]) -> Columns {
        let id = Field::new(ID, DataType::Int64, true);
        let cells = drawn.iter().map(|column| Field::new(&column.name, column.kind.of_cells().arrow(), true));
        let same = fixed.iter().map(|column| Field::new(&column.name, column.value.kind().arrow(), true));
        let fields: Vec<Field> = [id].into_iter().chain(cells).chain(same).collect();
        Columns { schema: Arc::new(Schema::new(fields)), drawn, fixed: fixed.to_vec(), expressions: None }
    }

    /// The same with computed columns at the end.
    pub(crate) fn with(self, expressions: &[Expression]) -> Result<Columns, SourceError> {
        if expressions.is_empty() {
            return Ok(self);
        }
        let mut problems = Problems::default();
        let bound = Expressions::bind(expressions, &self.schema, &Path::root(), &mut problems);
        let wrong = || problems.into_iter().next().map_or_else(String::new, |problem| problem.message);
        let bound = bound.ok_or_else(|| SourceError::new(wrong()).at(["characteristics"]))?;
        Ok(Columns { expressions: Some(bound), ..self })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.expressions.as_ref().map_or_else(|| self.schema.clone(), |all| all.schema(&self.schema))
    }

    pub(crate) fn batch(&self, block: &Block) -> Result<RecordBatch, SourceError> {
        let id: ArrayRef = Arc::new((block.first..).take(block.rows).map(u64::cast_signed).collect::<Int64Array>());
        let cells = self.drawn.iter().zip(&block.columns).map(|(column, cells)| column.kind.array(cells));
        let same = self
            .fixed
            .iter()
            .map(|column| array_of(column.value.kind(), std::iter::repeat_n(&column.value, block.rows)));
        let arrays = [id].into_iter().chain(cells).chain(same).collect();
        let drawn = RecordBatch::try_new(self.schema.clone(), arrays);
        let drawn = drawn.map_err(|error| SourceError::new(error.to_string()))?;
        match &self.expressions {
            Some(expressions) => expressions.add(drawn, block.first),
            None => Ok(drawn),
        }
    }
}

impl Kind {
    fn of_cells(&self) -> Type {
        match self {
            Kind::Options(options) => options.first().map_or(Type::Text, Cell::kind),
            Kind::Whole => Type::Integer,
            Kind::Number => Type::Number,
        }
    }

    fn array(&self, cells: &Cells) -> ArrayRef {
        match (self, cells) {
            (Kind::Options(all), Cells::Options(options)) => {
                array_of(self.of_cells(), options.iter().map(|option| &all[*option as usize]))
            }
            (Kind::Whole, Cells::Numbers(numbers)) => {
                Arc::new(numbers.iter().map(|number| *number as i64).collect::<Int64Array>())
            }
            (_, Cells::Numbers(numbers)) => Arc::new(Float64Array::from(numbers.clone())),
            (_, Cells::Options(_)) => array_of(self.of_cells(), std::iter::empty()),
        }
    }
}
