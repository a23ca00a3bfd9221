//! Shapes: what is known before a run about the values in a column, down to the keys of their objects.
//!
//! The shape of a column of JSON text comes from its values; it is kept in the metadata of its field.

use arrow_schema::{DataType, Field};
use indexmap::IndexMap;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::json::Step;
use super::{Simple, Type};

/// The field of a column of JSON text has its shape under this key.
const MARK: &str = "fanfold.json";
/// The most keys that a shape keeps: an object that has more is a map from anything to values.
const KEYS: usize = 500;
const DEEPEST: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing but nulls so far.
    #[default]
    Null,
    Boolean,
    Integer,
    Number,
    Text,
    List(Box<Shape>),
    Object(IndexMap<String, Shape>),
    /// Unknown, or different from row to row.
    Any,
}

impl Shape {
    pub(crate) fn of(field: &Field) -> Shape {
        match field.metadata().get(MARK).and_then(|mark| serde_json::from_str::<Value>(mark).ok()) {
            Some(mark) => Shape::of_value(&mark),
            None => Shape::of_type(field.data_type()),
        }
    }

    fn of_type(kind: &DataType) -> Shape {
        match kind {
            DataType::Struct(fields) => {
                Shape::Object(fields.iter().map(|field| (field.name().clone(), Shape::of(field))).collect())
            }
            DataType::List(item) => Shape::List(Box::new(Shape::of(item))),
            DataType::Map(..) => Shape::Any,
            DataType::Null => Shape::Null,
            other => Shape::from(Type::of_cells(other)),
        }
    }

    /// Whether the column holds JSON text.
    pub(crate) fn is_json(field: &Field) -> bool {
        field.metadata().contains_key(MARK)
    }

    /// The field of a column of JSON text of this shape.
    pub(crate) fn marked(&self, field: Field) -> Field {
        let mark = (MARK.to_owned(), self.value().to_string());
        field.with_metadata(std::collections::HashMap::from([mark]))
    }

    /// The shape of the values that a step leads to; `None` if it leads nowhere in every row.
    pub(crate) fn step(&self, step: &Step) -> Option<Shape> {
        match (self, step) {
            (Shape::Any | Shape::Null, _) => Some(self.clone()),
            (Shape::Object(members), Step::Key(key)) => members.get(key).cloned(),
            (Shape::List(item), Step::Index(_)) => Some(item.as_ref().clone()),
            _ => None,
        }
    }

    pub(crate) fn is_nested(&self) -> bool {
        matches!(self, Shape::List(_) | Shape::Object(_))
    }

    pub(crate) fn words(&self) -> &'static str {
        match self {
            Shape::Null => "null",
            Shape::Boolean => "true or false",
            Shape::Integer | Shape::Number => "a number",
            Shape::Text => "text",
            Shape::List(_) => "a list",
            Shape::Object(_) => "an object",
            Shape::Any => "unknown",
        }
    }

    /// The shape of values of both shapes.
    pub(crate) fn join(&mut self, other: Shape) {
        match (&mut *self, other) {
            (_, Shape::Null) => {}
            (Shape::Null, other) => *self = other,
            (Shape::Integer, Shape::Number) => *self = Shape::Number,
            (Shape::Number, Shape::Integer) => {}
            (Shape::List(item), Shape::List(other)) => item.join(*other),
            (Shape::Object(members), Shape::Object(others)) => {
                others.into_iter().for_each(|(key, other)| members.entry(key).or_default().join(other));
            }
            (one, other) if *one == other => {}
            _ => *self = Shape::Any,
        }
    }

    /// Learns from one more value of JSON.
    pub(crate) fn learn(&mut self, json: &str) {
        let mut keys = KEYS.saturating_sub(self.keys());
        let mut reader = serde_json::Deserializer::from_str(json);
        // A value that can't be read here shows its fault when it is read.
        if (Learner { shape: self, keys: &mut keys, levels: DEEPEST }).deserialize(&mut reader).is_err() {
            *self = Shape::Any;
        }
    }

    fn keys(&self) -> usize {
        match self {
            Shape::List(item) => item.keys(),
            Shape::Object(members) => members.values().map(|shape| 1 + shape.keys()).sum(),
            _ => 0,
        }
    }

    fn value(&self) -> Value {
        match self {
            Shape::Null => Value::Null,
            Shape::Boolean => json!("boolean"),
            Shape::Integer => json!("integer"),
            Shape::Number => json!("number"),
            Shape::Text => json!("string"),
            Shape::Any => json!("any"),
            Shape::List(item) => json!([item.value()]),
            Shape::Object(members) => {
                Value::Object(members.iter().map(|(key, shape)| (key.clone(), shape.value())).collect())
            }
        }
    }

    fn of_value(value: &Value) -> Shape {
        match value {
            Value::Null => Shape::Null,
            Value::Array(items) => Shape::List(Box::new(items.first().map_or(Shape::Null, Shape::of_value))),
            Value::Object(members) => {
                Shape::Object(members.iter().map(|(key, value)| (key.clone(), Shape::of_value(value))).collect())
            }
            word => match word.as_str() {
                Some("boolean") => Shape::Boolean,
                Some("integer") => Shape::Integer,
                Some("number") => Shape::Number,
                Some("string") => Shape::Text,
                _ => Shape::Any,
            },
        }
    }
}

impl From<Type> for Shape {
    fn from(kind: Type) -> Shape {
        let simple = |kind: Simple| match kind {
            Simple::Text => Shape::Text,
            Simple::Integer => Shape::Integer,
            Simple::Number => Shape::Number,
            Simple::Boolean => Shape::Boolean,
        };
        match kind {
            Type::List(item) => Shape::List(Box::new(simple(item))),
            Type::Vector => Shape::List(Box::new(Shape::Number)),
            other => simple(other.simple()),
        }
    }
}

struct Learner<'a> {
    shape: &'a mut Shape,
    /// New keys that the shape can still keep.
    keys: &'a mut usize,
    levels: usize,
}

impl<'de> DeserializeSeed<'de> for Learner<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Learner<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.shape.join(Shape::Boolean);
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.shape.join(Shape::Integer);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.shape.join(if i64::try_from(number).is_ok() { Shape::Integer } else { Shape::Any });
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        // An integer that 64 bits can't hold comes as a floating point number, and is read as text.
        self.shape.join(if number.abs() < 1e15 { Shape::Number } else { Shape::Any });
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        self.shape.join(Shape::Text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        if *self.shape == Shape::Null && self.levels > 0 {
            *self.shape = Shape::List(Box::default());
        }
        let Shape::List(item) = self.shape else {
            *self.shape = Shape::Any;
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let levels = self.levels.saturating_sub(1);
        while items.next_element_seed(Learner { shape: item, keys: self.keys, levels })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if *self.shape == Shape::Null && self.levels > 0 {
            *self.shape = Shape::Object(IndexMap::new());
        }
        let levels = self.levels.saturating_sub(1);
        while let Some(key) = map.next_key::<String>()? {
            let Shape::Object(members) = &mut *self.shape else {
                *self.shape = Shape::Any;
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if !members.contains_key(&key) && *self.keys == 0 {
                *self.shape = Shape::Any;
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let shape = members.entry(key).or_insert_with(|| {
                *self.keys -= 1;
                Shape::Null
            });
            map.next_value_seed(Learner { shape, keys: self.keys, levels })?;
        }
        if !matches!(self.shape, Shape::Object(_)) {
            *self.shape = Shape::Any;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(values: &[&str]) -> Shape {
        let mut shape = Shape::default();
        values.iter().for_each(|value| shape.learn(value));
        shape
    }

    #[test]
    fn a_shape_is_what_all_rows_have_together() {
        let shape = learned(&[
            r#"{"name": "Ann", "n": 1, "tags": [], "place": null}"#,
            r#"{"n": 2.5, "tags": [{"t": "x"}, {"t": null, "u": true}], "name": 3}"#,
        ]);
        let expected = r#"{"name":"any","n":"number","tags":[{"t":"string","u":"boolean"}],"place":null}"#;
        assert_eq!(shape.value().to_string(), expected);
        let field = shape.marked(Field::new("user", DataType::Utf8, true));
        assert_eq!(Shape::of(&field), shape);
        let step = |key: &str| Step::Key(key.to_owned());
        assert_eq!(shape.step(&step("n")), Some(Shape::Number));
        assert_eq!(shape.step(&step("nokey")), None);
        let item = shape.step(&step("tags")).and_then(|tags| tags.step(&Step::Index(0))).unwrap();
        assert_eq!(item.step(&step("u")), Some(Shape::Boolean));
    }

    #[test]
    fn what_has_too_many_keys_or_levels_is_unknown() {
        let many: Vec<String> = (0..=KEYS).map(|i| format!("\"k{i}\":1")).collect();
        assert_eq!(learned(&[&format!("{{{}}}", many.join(","))]), Shape::Any);
        let one_by_one: Vec<String> = many.iter().map(|member| format!("{{{member}}}")).collect();
        assert_eq!(learned(&one_by_one.iter().map(String::as_str).collect::<Vec<_>>()), Shape::Any);
        assert_eq!(learned(&["{}", "[]"]), Shape::Any);
        assert_eq!(learned(&["{\"a\": 123456789012345678901}"]).step(&Step::Key("a".into())), Some(Shape::Any));
        let deep = learned(&[&format!("{}{}", "[".repeat(100), "]".repeat(100))]);
        assert!(matches!(deep, Shape::List(_)));
        assert_eq!(learned(&[&"[".repeat(300)]), Shape::Any);
    }
}
