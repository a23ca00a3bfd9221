//! Paths into nested columns, such as `user.name`, `tags[0]` or `meta["a b"]`, and the columns that they lead to.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::take::take;

use super::json::{Step, place, read};
use super::shape::Shape;
use super::{Cell, Type, array_of, cell_at};
use crate::name::nearest;

/// A part of a nested column: the column `field` of the values that the steps lead to.
#[derive(Clone, Debug)]
pub(crate) struct PathColumn {
    column: usize,
    steps: Vec<Step>,
    field: Field,
    is_json: bool,
}

impl PathColumn {
    /// Finds the column that `path` leads to; a whole column if one has exactly this name. The error is a sentence.
    pub(crate) fn new(schema: &Schema, path: &str) -> Result<Self, String> {
        if let Ok(column) = schema.index_of(path) {
            let field = schema.field(column).clone();
            return Ok(PathColumn { column, steps: Vec::new(), field, is_json: false });
        }
        let (name, steps) = parse(path).ok_or_else(|| format!("`{path}` is not the path of a value"))?;
        let column = schema.index_of(&name).map_err(|_| {
            let near = nearest(&name, schema.fields().iter().map(|field| field.name().as_str()));
            let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!("there is no column `{name}`{meant}")
        })?;
        let from = schema.field(column);
        let is_json = Shape::is_json(from);
        let mut shape = Shape::of(from);
        for step in &steps {
            shape = shape.step(step).ok_or_else(|| nowhere(path, &shape, step))?;
        }
        let field = match is_json {
            true => of_shape(path, &shape),
            false => {
                Field::new(path, type_at(from.data_type(), &steps).ok_or(format!("`{path}` has no values"))?, true)
            }
        };
        Ok(PathColumn { column, steps, field, is_json })
    }

    /// The field of the new column; its name is the path.
    pub(crate) fn field(&self) -> &Field {
        &self.field
    }

    /// The values in the rows of `batch`; null where the path leads nowhere. The error is a sentence with the row.
    pub(crate) fn values(&self, batch: &RecordBatch) -> Result<ArrayRef, String> {
        let column = batch.column(self.column);
        if self.is_json {
            return self.read(column);
        }
        let mut array = column.clone();
        for step in &self.steps {
            array = stepped(&array, step)?;
        }
        Ok(array)
    }

    fn read(&self, column: &ArrayRef) -> Result<ArrayRef, String> {
        let kind = Type::of(self.field.data_type()).unwrap_or(Type::Text);
        let cell = |row| match cell_at(column.as_ref(), row) {
            Cell::Text(text) => {
                let found = read(&text, &self.steps).map_err(|error| format!("row {}: {error}", row + 1))?;
                Ok(found.map_or(Cell::Null, |found| match (kind, found.cell) {
                    (_, Cell::Null) => Cell::Null,
                    (Type::Text, Cell::Text(text)) => Cell::Text(text),
                    (Type::Text, _) => Cell::Text(found.text),
                    (Type::Number, Cell::Integer(number)) => Cell::Number(number as f64),
                    (_, cell) => cell,
                }))
            }
            _ => Ok(Cell::Null),
        };
        let cells = (0..column.len()).map(cell).collect::<Result<Vec<_>, String>>()?;
        Ok(array_of(kind, cells.iter()))
    }
}

fn nowhere(path: &str, shape: &Shape, step: &Step) -> String {
    let near = match (shape, step) {
        (Shape::Object(members), Step::Key(key)) => nearest(key, members.keys().map(String::as_str)),
        _ => None,
    };
    let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let step = match step {
        Step::Key(key) => format!("the key `{key}`"),
        Step::Index(index) => format!("an item {index}"),
    };
    format!("`{path}` leads nowhere: no row has {step} there{meant}")
}

fn of_shape(name: &str, shape: &Shape) -> Field {
    let kind = match shape {
        Shape::Boolean => Type::Boolean,
        Shape::Integer => Type::Integer,
        Shape::Number => Type::Number,
        _ => Type::Text,
    };
    let field = Field::new(name, kind.arrow(), true);
    if shape.is_nested() { shape.marked(field) } else { field }
}

fn type_at(of: &DataType, steps: &[Step]) -> Option<DataType> {
    let Some((step, rest)) = steps.split_first() else { return Some(of.clone()) };
    match (of, step) {
        (DataType::Struct(fields), Step::Key(key)) => type_at(fields.find(key)?.1.data_type(), rest),
        (DataType::List(item), Step::Index(_)) => type_at(item.data_type(), rest),
        (DataType::Map(entries, _), Step::Key(_)) => match entries.data_type() {
            DataType::Struct(pair) => type_at(pair.get(1)?.data_type(), rest),
            _ => None,
        },
        _ => None,
    }
}

fn stepped(array: &ArrayRef, step: &Step) -> Result<ArrayRef, String> {
    let (values, places): (&ArrayRef, UInt64Array) = match (array.data_type(), step) {
        (DataType::Struct(_), Step::Key(key)) => {
            let parent = array.as_struct();
            let values = parent.column_by_name(key).ok_or_else(|| format!("there is no key `{key}`"))?;
            (values, (0..array.len()).map(|row| parent.is_valid(row).then_some(row as u64)).collect())
        }
        (DataType::List(_), Step::Index(index)) => {
            let lists = array.as_list::<i32>();
            let at = |row| {
                let found = place(*index, lists.value_length(row) as usize).filter(|_| lists.is_valid(row));
                found.map(|at| lists.value_offsets()[row] as u64 + at as u64)
            };
            (lists.values(), (0..array.len()).map(at).collect())
        }
        (DataType::Map(..), Step::Key(key)) => {
            let maps = array.as_map();
            let at = |row: usize| {
                let (from, to) = (maps.value_offsets()[row] as usize, maps.value_offsets()[row + 1] as usize);
                let is_it = |at: &usize| cell_at(maps.keys().as_ref(), *at).text() == *key;
                (from..to).rev().find(is_it).filter(|_| maps.is_valid(row)).map(|at| at as u64)
            };
            (maps.values(), (0..array.len()).map(at).collect())
        }
        (other, _) => return Err(format!("a column of the type {other} has no parts")),
    };
    take(values.as_ref(), &places, None).map_err(|error| error.to_string())
}

/// The column and the steps of a path; `None` if it is none.
fn parse(path: &str) -> Option<(String, Vec<Step>)> {
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (name, mut rest) = path.split_at(end);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(key) = rest.strip_prefix('.') {
            let end = key.find(['.', '[']).unwrap_or(key.len());
            steps.push(Step::Key(key.get(..end).filter(|key| !key.is_empty())?.to_owned()));
            rest = &key[end..];
            continue;
        }
        let inner = rest.strip_prefix('[')?;
        let quote = inner.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (step, after) = match quote {
            Some(quote) => {
                let (key, after) = inner[1..].split_once(quote)?;
                (Step::Key(key.to_owned()), after.strip_prefix(']')?)
            }
            None => {
                let (index, after) = inner.split_once(']')?;
                (Step::Index(index.trim().parse().ok()?), after)
            }
        };
        steps.push(step);
        rest = after;
    }
    (!name.is_empty()).then(|| (name.to_owned(), steps))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow_array::builder::{Int64Builder, ListBuilder, MapBuilder, StringBuilder};
    use arrow_array::{Int64Array, StringArray, StructArray};
    use arrow_buffer::NullBuffer;

    fn table() -> RecordBatch {
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("Ann"), None, Some("Cy")]));
        let counts: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let fields = vec![Field::new("name", DataType::Utf8, true), Field::new("n", DataType::Int64, true)];
        let nulls = NullBuffer::from(vec![true, true, false]);
        let user: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![names, counts], Some(nulls)));
        let mut tags = ListBuilder::new(StringBuilder::new());
        tags.append_value([Some("x"), Some("y")]);
        tags.append_null();
        tags.append_value([None::<&str>; 0]);
        let mut meta = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        meta.keys().append_value("a b");
        meta.values().append_value(7);
        (0..3).for_each(|_| meta.append(true).unwrap());
        let json = [r#"{"name":"Ann","big":12345678901234567890,"geo":{"lat":1.5}}"#, "null", r#"{"name":3}"#];
        let mut shape = Shape::default();
        json.iter().for_each(|value| shape.learn(value));
        let text: ArrayRef = Arc::new(StringArray::from(json.to_vec()));
        let columns =
            [("user", user), ("tags", Arc::new(tags.finish())), ("meta", Arc::new(meta.finish())), ("post", text)];
        let fields = columns.iter().map(|(name, column)| {
            let field = Field::new(*name, column.data_type().clone(), true);
            if *name == "post" { shape.marked(field) } else { field }
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        RecordBatch::try_new(schema, columns.into_iter().map(|(_, column)| column).collect()).unwrap()
    }

    fn values(path: &str) -> Result<(String, Vec<String>), String> {
        let table = table();
        let found = PathColumn::new(&table.schema(), path)?;
        let array = found.values(&table)?;
        assert_eq!((found.field().name().as_str(), found.field().data_type()), (path, array.data_type()));
        Ok((array.data_type().to_string(), (0..3).map(|row| cell_at(array.as_ref(), row).text()).collect()))
    }

    #[test]
    fn paths_lead_into_structs_lists_maps_and_json() {
        for (path, kind, expected) in [
            ("user.name", "Utf8", ["Ann", "", ""]),
            ("user['n']", "Int64", ["1", "2", ""]),
            ("tags[0]", "Utf8", ["x", "", ""]),
            ("tags[-1]", "Utf8", ["y", "", ""]),
            ("meta[\"a b\"]", "Int64", ["7", "", ""]),
            ("post.name", "Utf8", ["Ann", "", "3"]),
            ("post.big", "Utf8", ["12345678901234567890", "", ""]),
            ("post.geo.lat", "Float64", ["1.5", "", ""]),
            ("post.geo", "Utf8", [r#"{"lat":1.5}"#, "", ""]),
        ] {
            assert_eq!(values(path), Ok((kind.to_owned(), expected.map(str::to_owned).to_vec())), "{path}");
        }
    }

    #[test]
    fn paths_that_lead_nowhere_are_named() {
        for (path, message) in [
            ("user.nmae", "`user.nmae` leads nowhere: no row has the key `nmae` there; did you mean `name`?"),
            ("post.geo.lon", "`post.geo.lon` leads nowhere: no row has the key `lon` there"),
            ("usr.name", "there is no column `usr`; did you mean `user`?"),
            ("user.", "`user.` is not the path of a value"),
            ("tags[x]", "`tags[x]` is not the path of a value"),
        ] {
            assert!(values(path).unwrap_err().starts_with(message), "{path}: {:?}", values(path));
        }
    }
}
