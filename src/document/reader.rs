//! The serde deserializer over a [`Node`]: its errors are [`Fault`]s. Unknown fields are recorded and do not stop it.
//! A stubbed path reads as a stub: it decodes to something harmless, so that decoding can find later problems.

use std::cell::{OnceCell, RefCell};
use std::collections::HashSet;
use std::iter::Enumerate;
use std::vec::IntoIter;

use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::diagnostic::{Diagnostic, Path};
use super::fault::{Fault, FaultKind, Spot, unknown_field};
use super::tree::{Entry, Node, Value};
use crate::name::nearest;

/// The most unknown fields that are recorded. A table with more is not a spec.
const MOST_NOTED: usize = 200;
/// The text of a stub; a valid name, so that most checks of text accept it.
const STUB: &str = "stub";

pub(super) struct Marks<'a> {
    pub(super) root: &'a Path,
    /// Paths whose values are replaced by stubs.
    pub(super) stubbed: HashSet<Path>,
    /// Paths that are skipped because their keys are invalid.
    pub(super) skipped: HashSet<Path>,
    pub(super) noted: RefCell<Vec<Diagnostic>>,
    /// Known fields that were probably misspelt as unknown fields.
    pub(super) meant: RefCell<HashSet<Path>>,
    /// The fields of the outermost struct, as its `Deserialize` declares them.
    pub(super) fields: OnceCell<&'static [&'static str]>,
}

impl<'a> Marks<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        let (noted, meant, fields) = Default::default();
        Marks { root, stubbed: HashSet::new(), skipped: HashSet::new(), noted, meant, fields }
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
    /// `None` for a stub.
    pub(super) node: Option<&'a Node>,
    pub(super) path: Path,
    pub(super) marks: &'a Marks<'a>,
}

impl<'a> Reader<'a> {
    /// Decodes a node, or its stub, and places faults at the node.
    pub(super) fn read<'de, S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, Fault> {
        let path = self.path.clone();
        self.node = self.node.filter(|_| !self.marks.stubbed.contains(&path));
        seed.deserialize(self).map_err(|fault| fault.at(&path, Spot::Value))
    }

    /// Returns the reader of a part of this value. Faults in a part of a stub are placed at the stub.
    fn part(&self, node: Option<&'a Node>, step: impl FnOnce(&Path) -> Path) -> Reader<'a> {
        let path = if self.node.is_some() { step(&self.path) } else { self.path.clone() };
        Reader { node, path, marks: self.marks }
    }

    fn value(&self) -> Option<&'a Value> {
        self.node.map(|node| &node.value)
    }

    fn wanted(&self, wanted: &str) -> Fault {
        let cure = self.value().and_then(|value| cure(wanted, value));
        Fault::curable(wanted, self.node.map_or("null", Node::kind_name), cure)
    }

    fn text(&self) -> Result<&'a str, Fault> {
        self.node.map_or(Some(STUB), Node::as_str).ok_or_else(|| self.wanted("text"))
    }

    fn whole(&self, least: i64, most: i64) -> Result<i64, Fault> {
        match self.value() {
            None => Ok(1),
            Some(Value::Integer(number)) if *number < least && least == 0 => Err(Fault::bad_value("0 or more")),
            Some(Value::Integer(number)) if *number < least => Err(Fault::bad_value(format!("{least} or more"))),
            Some(Value::Integer(number)) if *number > most => Err(Fault::bad_value(format!("at most {most}"))),
            Some(Value::Integer(number)) => Ok(*number),
            Some(Value::Float(number)) => Err(Fault::wrong_type("a whole number", format!("{number:?}"))),
            Some(_) => Err(self.wanted("a whole number")),
        }
    }

    fn finite(&self) -> Result<f64, Fault> {
        match self.value() {
            None => Ok(1.0),
            #[expect(
                clippy::cast_precision_loss,
                reason = "a whole number beyond 2^53 is rounded where any number will do"
            )]
            Some(Value::Integer(number)) => Ok(*number as f64),
            Some(Value::Float(number)) if number.is_finite() => Ok(*number),
            Some(Value::Float(_)) => Err(Fault::bad_value("a finite number")),
            Some(_) => Err(self.wanted("a number")),
        }
    }

    /// Returns the items of a list. A stub has `stubs` items.
    fn list(self, stubs: usize) -> Result<Items<'a>, Fault> {
        let items: Vec<Option<&'a Node>> = match self.value() {
            None => vec![None; stubs],
            Some(Value::List(items)) => items.iter().map(Some).collect(),
            Some(_) => return Err(self.wanted("a list")),
        };
        Ok(Items { items: items.into_iter().enumerate(), of: self })
    }

    fn table(self, fields: Option<&'static [&'static str]>) -> Result<Fields<'a>, Fault> {
        let mut here: Vec<(&'a str, Option<&'a Node>)> = match (self.value(), fields) {
            (None, fields) => fields.unwrap_or_default().iter().map(|field| (*field, None)).collect(),
            (Some(Value::Table(entries)), Some(fields)) => {
                self.marks.note_unknown(&self.path, entries, fields);
                // A null field counts as missing, so that `key:` in YAML means the default.
                let known = entries.iter().filter(|e| fields.contains(&e.key.as_str()) && e.node.value != Value::Null);
                let known: Vec<_> = known.map(|entry| (entry.key.as_str(), Some(&entry.node))).collect();
                let missing = fields.iter().copied().filter(|f| !known.iter().any(|(key, _)| key == f));
                let stubbed = missing.filter(|f| self.marks.stubbed.contains(&self.path.key(f)));
                let stubbed: Vec<_> = stubbed.map(|field| (field, None)).collect();
                [known, stubbed].concat()
            }
            (Some(Value::Table(entries)), None) => entries.iter().map(|e| (e.key.as_str(), Some(&e.node))).collect(),
            (Some(_), _) => return Err(self.wanted("a table")),
        };
        here.retain(|(key, _)| !self.marks.skipped.contains(&self.path.key(key)));
        Ok(Fields { entries: here.into_iter(), value: None, of: self })
    }
}

/// What to write instead of a value of the wrong type.
fn cure(wanted: &str, value: &Value) -> Option<String> {
    let quoted = |text: &str| text.split(',').map(|item| format!("\"{}\"", item.trim())).collect::<Vec<_>>().join(", ");
    let bare = |text: &str| format!("write it without quotation marks: {text}");
    Some(match (wanted, value) {
        ("a list", Value::String(text)) if !text.trim().is_empty() => format!("write a list: [{}]", quoted(text)),
        ("a list", Value::Integer(number)) => format!("write a list: [{number}]"),
        ("a number" | "a whole number", Value::String(text))
            if text.trim().parse::<f64>().is_ok_and(f64::is_finite) =>
        {
            bare(text.trim())
        }
        ("true or false", Value::String(text)) => match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "on" => bare("true"),
            "false" | "no" | "off" => bare("false"),
            _ => return None,
        },
        ("text", Value::Integer(number)) => format!("write it in quotation marks: \"{number}\""),
        ("text", Value::Float(number)) => format!("write it in quotation marks: \"{number}\""),
        ("text", Value::Bool(truth)) => format!("write it in quotation marks: \"{truth}\""),
        _ => return None,
    })
}

macro_rules! whole {
    ($($method:ident $least:expr, $most:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            visitor.visit_i64(self.whole($least, $most)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    whole! {
        deserialize_i8 i8::MIN.into(), i8::MAX.into();
        deserialize_i16 i16::MIN.into(), i16::MAX.into();
        deserialize_i32 i32::MIN.into(), i32::MAX.into();
        deserialize_i64 i64::MIN, i64::MAX;
        deserialize_u8 0, u8::MAX.into();
        deserialize_u16 0, u16::MAX.into();
        deserialize_u32 0, u32::MAX.into();
        deserialize_u64 0, i64::MAX;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value() {
            None => visitor.visit_str(STUB),
            Some(Value::Null) => visitor.visit_unit(),
            Some(Value::Bool(yes)) => visitor.visit_bool(*yes),
            Some(Value::Integer(number)) => visitor.visit_i64(*number),
            Some(Value::Float(_)) => visitor.visit_f64(self.finite()?),
            Some(Value::String(text)) => visitor.visit_str(text),
            Some(Value::List(_)) => visitor.visit_seq(self.list(0)?),
            Some(Value::Table(_)) => visitor.visit_map(self.table(None)?),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value() {
            None => visitor.visit_bool(false),
            Some(Value::Bool(yes)) => visitor.visit_bool(*yes),
            Some(_) => Err(self.wanted("true or false")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_f64(self.finite()?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.value() {
            None | Some(Value::Null) => visitor.visit_none(),
            Some(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_seq(self.list(0)?)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let list = self.list(len)?;
        if list.items.len() != len {
            return Err(Fault::bad_value(format!("a list of {len}, not of {}", list.items.len())));
        }
        visitor.visit_seq(list)
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
        self.marks.fields.get_or_init(|| fields);
        visitor.visit_map(self.table(Some(fields))?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let text = match self.node {
            None => variants.first().copied().unwrap_or(STUB),
            Some(_) => self.text()?,
        };
        if !variants.contains(&text) {
            return Err(Fault::new(FaultKind::UnknownValue { found: text.to_owned(), words: variants }));
        }
        visitor.visit_enum(text.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf identifier unit unit_struct tuple_struct }
}

struct Items<'a> {
    items: Enumerate<IntoIter<Option<&'a Node>>>,
    of: Reader<'a>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        self.of.part(node, |path| path.index(index)).read(seed).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// Iterates over the entries of a table. An entry without a node is a missing field that is stubbed.
struct Fields<'a> {
    entries: IntoIter<(&'a str, Option<&'a Node>)>,
    value: Option<(&'a str, Option<&'a Node>)>,
    of: Reader<'a>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        let place = |fault: Fault| fault.at(&self.of.path.key(key), Spot::Key);
        seed.deserialize(key.into_deserializer()).map(Some).map_err(place)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (key, node) = self.value.take().unwrap_or(("", None));
        self.of.part(node, |path| path.key(key)).read(seed)
    }
}
