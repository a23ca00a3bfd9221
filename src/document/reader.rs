//! The serde deserializer over a [`Node`]: its errors are [`Fault`]s. Unknown fields are recorded and do not stop it.
//! For a stubbed path, it returns a [`Stub`].

use std::cell::RefCell;
use std::collections::HashSet;

use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::diagnostic::{Diagnostic, Path};
use super::fault::{Fault, FaultKind, Spot, unknown_field};
use super::stub::Stub;
use super::tree::{Entry, Node, Value};
use crate::name::nearest;

/// The most unknown fields that are recorded. A table with more is not a spec.
const MOST_NOTED: usize = 200;

pub(super) struct Marks<'a> {
    pub(super) root: &'a Path,
    /// Paths whose values are replaced by stubs.
    pub(super) stubbed: HashSet<Path>,
    /// Paths that are skipped because their keys are invalid.
    pub(super) skipped: HashSet<Path>,
    pub(super) noted: RefCell<Vec<Diagnostic>>,
    /// Known fields that were probably misspelt as unknown fields.
    pub(super) meant: RefCell<HashSet<Path>>,
}

impl<'a> Marks<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        let (noted, meant) = Default::default();
        Marks { root, stubbed: HashSet::new(), skipped: HashSet::new(), noted, meant }
    }

    fn note(&self, problem: Diagnostic) {
        let mut noted = self.noted.borrow_mut();
        if noted.len() < MOST_NOTED && !noted.contains(&problem) {
            noted.push(problem);
        }
    }

    /// Records the keys of the table at `path` that are not in `fields`.
    fn note_unknown(&self, path: &Path, entries: &[Entry], fields: &'static [&'static str]) {
        for entry in entries.iter().filter(|entry| !fields.contains(&entry.key.as_str())) {
            let near = nearest(&entry.key, fields.iter().copied());
            self.meant.borrow_mut().extend(near.map(|near| path.key(near)));
            self.note(unknown_field(path, &entry.key, fields));
        }
    }
}

pub(super) struct Reader<'a> {
    pub(super) node: &'a Node,
    pub(super) path: Path,
    pub(super) marks: &'a Marks<'a>,
}

impl<'a> Reader<'a> {
    /// Decodes a node, or its stub, and places faults at the node.
    pub(super) fn read<'de, S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        let path = self.path.clone();
        let value = if self.marks.stubbed.contains(&path) { seed.deserialize(Stub) } else { seed.deserialize(self) };
        value.map_err(|fault| fault.at(&path, Spot::Value))
    }

    fn wanted(&self, wanted: &str) -> Fault {
        Fault::wrong_type(wanted, self.node.kind_name())
    }

    fn text(&self) -> Result<&'a str, Fault> {
        self.node.as_str().ok_or_else(|| self.wanted("text"))
    }

    fn whole(&self, least: i64, most: i64) -> Result<i64, Fault> {
        match self.node.value {
            Value::Integer(number) if number < least && least == 0 => Err(Fault::bad_value("0 or more")),
            Value::Integer(number) if number < least => Err(Fault::bad_value(format!("{least} or more"))),
            Value::Integer(number) if number > most => Err(Fault::bad_value(format!("at most {most}"))),
            Value::Integer(number) => Ok(number),
            Value::Float(number) => Err(Fault::wrong_type("a whole number", format!("{number:?}"))),
            _ => Err(self.wanted("a whole number")),
        }
    }

    fn finite(&self) -> Result<f64, Fault> {
        match self.node.value {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a whole number beyond 2^53 is rounded where any number will do"
            )]
            Value::Integer(number) => Ok(number as f64),
            Value::Float(number) if number.is_finite() => Ok(number),
            Value::Float(_) => Err(Fault::bad_value("a finite number")),
            _ => Err(self.wanted("a number")),
        }
    }

    fn list(&self) -> Result<Items<'a>, Fault> {
        match &self.node.value {
            Value::List(items) => Ok(Items { items, next: 0, path: self.path.clone(), marks: self.marks }),
            _ => Err(self.wanted("a list")),
        }
    }

    fn table(&self, fields: Option<&'static [&'static str]>) -> Result<Fields<'a>, Fault> {
        let Value::Table(entries) = &self.node.value else { return Err(self.wanted("a table")) };
        let mut here: Vec<(&'a str, Option<&'a Node>)> = Vec::new();
        if let Some(fields) = fields {
            self.marks.note_unknown(&self.path, entries, fields);
            // A null field counts as missing, so that `key:` in YAML means the default.
            let known = entries.iter().filter(|e| fields.contains(&e.key.as_str()) && e.node.value != Value::Null);
            here.extend(known.map(|entry| (entry.key.as_str(), Some(&entry.node))));
            let missing = fields.iter().filter(|f| !here.iter().any(|(key, _)| key == *f));
            let stubbed: Vec<&str> =
                missing.copied().filter(|f| self.marks.stubbed.contains(&self.path.key(f))).collect();
            here.extend(stubbed.into_iter().map(|field| (field, None)));
        } else {
            here.extend(entries.iter().map(|entry| (entry.key.as_str(), Some(&entry.node))));
        }
        here.retain(|(key, _)| !self.marks.skipped.contains(&self.path.key(key)));
        Ok(Fields { entries: here.into_iter(), value: None, path: self.path.clone(), marks: self.marks })
    }
}

macro_rules! whole {
    ($($method:ident $visit:ident $least:expr, $most:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.visit_i64(self.whole($least, $most)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    whole! {
        deserialize_i8 visit_i64 i8::MIN.into(), i8::MAX.into();
        deserialize_i16 visit_i64 i16::MIN.into(), i16::MAX.into();
        deserialize_i32 visit_i64 i32::MIN.into(), i32::MAX.into();
        deserialize_i64 visit_i64 i64::MIN, i64::MAX;
        deserialize_u8 visit_i64 0, u8::MAX.into();
        deserialize_u16 visit_i64 0, u16::MAX.into();
        deserialize_u32 visit_i64 0, u32::MAX.into();
        deserialize_u64 visit_i64 0, i64::MAX;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Float(_) => visitor.visit_f64(self.finite()?),
            Value::String(text) => visitor.visit_str(text),
            Value::List(_) => visitor.visit_seq(self.list()?),
            Value::Table(_) => visitor.visit_map(self.table(None)?),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Bool(yes) => visitor.visit_bool(yes),
            _ => Err(self.wanted("true or false")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(self.finite()?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(self.finite()?)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let mut letters = self.text()?.chars();
        match (letters.next(), letters.next()) {
            (Some(letter), None) => visitor.visit_char(letter),
            _ => Err(Fault::bad_value("a single character")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(self.list()?)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let list = self.list()?;
        if list.items.len() != len {
            return Err(Fault::bad_value(format!("a list of {len}, not of {}", list.items.len())));
        }
        visitor.visit_seq(list)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(self.table(None)?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_map(self.table(Some(fields))?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let text = self.text()?;
        if !variants.contains(&text) {
            return Err(Fault::new(FaultKind::UnknownValue { found: text.to_owned(), words: variants }));
        }
        visitor.visit_enum(text.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf identifier unit unit_struct }
}

struct Items<'a> {
    items: &'a [Node],
    next: usize,
    path: Path,
    marks: &'a Marks<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some(node) = self.items.get(self.next) else { return Ok(None) };
        let path = self.path.index(self.next);
        self.next += 1;
        Reader { node, path, marks: self.marks }.read(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len() - self.next)
    }
}

/// Iterates over the entries of a table. An entry without a node is a missing field that is stubbed.
struct Fields<'a> {
    entries: std::vec::IntoIter<(&'a str, Option<&'a Node>)>,
    value: Option<(&'a str, Option<&'a Node>)>,
    path: Path,
    marks: &'a Marks<'a>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let key_path = self.path.key(key);
        seed.deserialize(key.into_deserializer()).map(Some).map_err(|fault: Fault| fault.at(&key_path, Spot::Key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (key, node) = self.value.take().unwrap_or(("", None));
        let path = self.path.key(key);
        match node {
            Some(node) => Reader { node, path, marks: self.marks }.read(seed),
            None => seed.deserialize(Stub).map_err(|fault| fault.at(&path, Spot::Value)),
        }
    }
}
