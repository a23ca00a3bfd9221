//! Expressions: characteristics that are computed from the other columns of a row.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{self, Node, Path, Problems};
use crate::prompt::{Bound, Template};
use crate::source::batches::SourceError;
use crate::table::{Cell, Column, Row, Simple, Type, array_of, extended};

/// A characteristic that is computed from the other columns of a row. Its column follows the drawn ones.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpressionTable {
    /// A Jinja expression over the other columns and earlier expressions, such as `weight / (height / 100) ** 2`.
    expression: String,
    /// The type of its values. Default: `number`.
    #[serde(rename = "type")]
    kind: Option<Simple>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Expression {
    pub(crate) name: String,
    source: String,
    kind: Simple,
}

/// Expressions with the columns that they read.
#[derive(Debug)]
pub(crate) struct Expressions(Vec<(Expression, Bound)>);

impl Expression {
    pub(crate) fn decode(node: &Node, name: &str, path: &Path, problems: &mut Problems) -> Option<Expression> {
        let table: ExpressionTable = document::decode(node, path, problems)?;
        let kind = table.kind.unwrap_or(Simple::Number);
        let expression = Expression { name: name.to_owned(), source: table.expression, kind };
        if let Err(error) = Template::check_expression(&expression.source) {
            let message = format!("the expression does not compile: {}", error.message);
            problems.error("bad-expression", path.key("expression"), message);
            return None;
        }
        Some(expression)
    }

    fn column(&self) -> Column {
        Column::new(&self.name, Type::from(self.kind))
    }

    /// The value of a rendered expression.
    fn cell(&self, text: &str) -> Option<Cell> {
        let number = || text.parse::<f64>().ok().filter(|number| number.is_finite());
        match self.kind {
            Simple::Text => Some(Cell::Text(text.to_owned())),
            Simple::Boolean => text.to_lowercase().parse().ok().map(Cell::Boolean),
            Simple::Number => number().map(Cell::Number),
            Simple::Integer => {
                let whole = || number().filter(|number| number.fract() == 0.0 && number.abs() < 9e15);
                text.parse().ok().or_else(|| whole().map(|number| number as i64)).map(Cell::Integer)
            }
        }
    }
}

impl Expressions {
    /// Binds each expression to `columns` and the expressions before it. Reports unknown names below the path `at`.
    pub(crate) fn bind(
        expressions: &[Expression],
        columns: &SchemaRef,
        at: &Path,
        problems: &mut Problems,
    ) -> Option<Expressions> {
        let before = problems.mark();
        let (mut schema, mut bound) = (columns.clone(), Vec::new());
        for expression in expressions {
            let place = at.key(&expression.name).key("expression");
            let template = Template::new(&format!("{{{{ ({}) }}}}", expression.source));
            match template.map(|template| template.bind(&schema, None, &[])) {
                Ok(Ok(template)) => bound.push((expression.clone(), template)),
                Ok(Err(unknown)) => problems.extend(unknown.problems(&place, "the expression", &schema)),
                Err(error) => drop(problems.error("bad-expression", place, error.message)),
            }
            schema = extended(&schema, &[expression.column()]);
        }
        problems.clean_since(before).then_some(Expressions(bound))
    }

    pub(crate) fn schema(&self, columns: &SchemaRef) -> SchemaRef {
        let own: Vec<Column> = self.0.iter().map(|(expression, _)| expression.column()).collect();
        if own.is_empty() { columns.clone() } else { extended(columns, &own) }
    }

    /// Returns the rows with the columns of the expressions. `first` is the number of the first row, from 1.
    pub(crate) fn add(&self, mut batch: RecordBatch, first: u64) -> Result<RecordBatch, SourceError> {
        for (expression, template) in &self.0 {
            let at = ["characteristics", expression.name.as_str()];
            let failed = |row: usize, message: String| {
                let number = first + row as u64;
                SourceError::new(format!("`{}` of person {number}: {message}", expression.name)).at(at)
            };
            let mut cells = Vec::with_capacity(batch.num_rows());
            for row in 0..batch.num_rows() {
                let text = template.render(Row::new(&batch, row, first - 1), &[]).map_err(|e| failed(row, e))?;
                let wrong = || {
                    let wanted = Type::from(expression.kind).words();
                    failed(row, format!("{text:?} does not fit a column that holds {wanted}"))
                        .help("write the `type` of the expression: string, integer, number or boolean")
                };
                cells.push(expression.cell(&text).ok_or_else(wrong)?);
            }
            let column = expression.column();
            let schema = extended(&batch.schema(), std::slice::from_ref(&column));
            let columns = batch.columns().iter().cloned().chain([array_of(column.kind, cells.iter())]).collect();
            batch = RecordBatch::try_new(schema, columns).map_err(|error| SourceError::new(error.to_string()))?;
        }
        Ok(batch)
    }
}
