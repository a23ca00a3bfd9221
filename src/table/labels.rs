//! Labels: the text that describes a column and the texts of its codes, kept in the metadata of its Arrow field.
//!
//! A column keeps its field, so labels pass through parts, stages, filters, joins and outputs. Digests and the lock
//! leave them out.

use std::collections::HashMap;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{Field, SchemaRef};
use serde_json::Value;

use super::Cell;

const VARIABLE: &str = "fanfold.label";
const VALUES: &str = "fanfold.value_labels";

/// The labels of a column, as in Stata and SPSS.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Labels {
    /// The text that describes the column, such as the question of a survey.
    pub(crate) variable: Option<String>,
    /// A code (an integer, a number or a text) with its text, in the order of the file.
    pub(crate) values: Vec<(Cell, String)>,
}

impl Labels {
    /// The labels of a column. Metadata that cannot be read counts as absent.
    pub(crate) fn of(field: &Field) -> Labels {
        let found = |key: &str| field.metadata().get(key);
        let values = found(VALUES).and_then(|text| serde_json::from_str::<Vec<(Value, String)>>(text).ok());
        let values = values.unwrap_or_default().into_iter().map(|(code, text)| (Cell::of_json(code), text));
        Labels { variable: found(VARIABLE).cloned(), values: values.collect() }
    }

    /// The field with these labels; its own are replaced.
    pub(crate) fn on(&self, field: Field) -> Field {
        let mut metadata: HashMap<String, String> = field.metadata().clone().into_iter().collect();
        let values: Vec<(Value, &str)> = self.values.iter().map(|(code, text)| (code.json(), text.as_str())).collect();
        let values = (!values.is_empty()).then(|| serde_json::json!(values).to_string());
        for (key, text) in [(VARIABLE, self.variable.clone()), (VALUES, values)] {
            match text {
                Some(text) => metadata.insert(key.to_owned(), text),
                None => metadata.remove(key),
            };
        }
        field.with_metadata(metadata)
    }
}

/// The rows of `batch` with the labels of `schema`; `None` if the columns differ in name or type.
pub(crate) fn relabelled(batch: &RecordBatch, schema: &SchemaRef) -> Option<RecordBatch> {
    let (own, wanted) = (batch.schema_ref().fields(), schema.fields());
    let same = |(a, b): (&std::sync::Arc<Field>, &std::sync::Arc<Field>)| {
        a.name() == b.name() && a.data_type() == b.data_type()
    };
    let fits = own.len() == wanted.len() && own.iter().zip(wanted).all(same);
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    fits.then(|| RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &rows).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::parquet::{Options, Table, TableWriter};
    use arrow_array::{ArrayRef, Int64Array};
    use arrow_schema::{DataType, Schema};
    use std::sync::Arc;

    fn labels() -> Labels {
        let codes =
            [Cell::Integer(1), Cell::Integer(-9), Cell::Number(2.0), Cell::Number(0.1), Cell::Text("a\"b".into())];
        let values = codes.into_iter().enumerate().map(|(i, code)| (code, format!("Größe {i} \"x\"\n"))).collect();
        Labels { variable: Some("How old are you? \"years\"".into()), values }
    }

    #[test]
    fn labels_come_back_from_a_field_and_from_a_file() {
        let field = labels().on(Field::new("age", DataType::Int64, true));
        assert_eq!(Labels::of(&field), labels());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let schema = Arc::new(Schema::new(vec![field]));
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, -9]));
        let batch = RecordBatch::try_new(schema.clone(), vec![column]).unwrap();
        let mut writer = TableWriter::create(&path, schema, &Options::default()).unwrap();
        writer.write(batch.clone()).unwrap();
        writer.commit().unwrap();
        let table = Table::open(&path).unwrap();
        assert_eq!(Labels::of(table.schema().field(0)), labels());
        assert_eq!(table.read(0, 2, 10).unwrap().next().unwrap().unwrap(), batch);
    }

    #[test]
    fn a_field_without_labels_is_unchanged() {
        let plain = Field::new("age", DataType::Int64, true);
        assert_eq!(Labels::default().on(plain.clone()), plain);
        assert_eq!(Labels::default().on(labels().on(plain.clone())), plain);
        assert_eq!(Labels::of(&plain), Labels::default());
        let foreign = plain.with_metadata(HashMap::from([(VALUES.to_owned(), "{broken".to_owned())]));
        assert_eq!(Labels::of(&foreign), Labels::default());
    }

    #[test]
    fn rows_take_the_labels_of_a_schema_with_the_same_columns() {
        let plain = Arc::new(Schema::new(vec![Field::new("age", DataType::Int64, true)]));
        let labelled = Arc::new(Schema::new(vec![labels().on(plain.field(0).clone())]));
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let batch = RecordBatch::try_new(labelled.clone(), vec![column]).unwrap();
        let there = relabelled(&batch, &plain).unwrap();
        assert_eq!(there.schema(), plain);
        assert_eq!(relabelled(&there, &labelled), Some(batch));
        for other in [Field::new("age", DataType::Utf8, true), Field::new("year", DataType::Int64, true)] {
            assert_eq!(relabelled(&there, &Arc::new(Schema::new(vec![other]))), None);
        }
    }
}
