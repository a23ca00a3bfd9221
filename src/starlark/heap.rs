//! The heap: makes the values of a program, and frees them when the program ends.
//!
//! Lists, dicts and frames can refer to each other in circles and to any depth, so that none is freed before the program
//! ends, and then each is emptied first. The meter counts them before they are made.

use std::rc::Rc;

use super::characters::Text;
use super::meter::{Meter, Stop};
use super::value::{Dict, Failed, Frame, Items, Key, Value};

/// The bytes of a value in a list.
pub(crate) const VALUE: u64 = size_of::<Value>() as u64;
/// The bytes of a list, a dict or a frame without its values, with what the allocator adds.
const CONTAINER: u64 = 128;
/// The bytes of an entry of a dict.
pub(crate) const ENTRY: u64 = 128;
/// The bytes of a text beside its own.
const TEXT: u64 = 64;

pub(crate) struct Heap {
    pub(crate) meter: Meter,
    items: Vec<Rc<Items>>,
    dicts: Vec<Rc<Dict>>,
    frames: Vec<Rc<Frame>>,
}

impl Heap {
    pub(crate) fn new(meter: Meter) -> Self {
        Heap { meter, items: Vec::new(), dicts: Vec::new(), frames: Vec::new() }
    }

    /// Counts the bytes of a text that is made next.
    pub(crate) fn room(&mut self, bytes: usize) -> Result<(), Stop> {
        self.meter.take((bytes as u64).saturating_add(TEXT))
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<Value, Stop> {
        self.room(text.len())?;
        Ok(Value::Text(Rc::new(Text::new(text.into()))))
    }

    /// A text for which [`Heap::room`] was made.
    pub(crate) fn counted(text: String) -> Value {
        Value::Text(Rc::new(Text::new(text.into_boxed_str())))
    }

    /// Counts the memory of a list with `count` values that is made next.
    pub(crate) fn room_for(&mut self, count: usize) -> Result<(), Stop> {
        self.meter.take((count as u64).saturating_mul(VALUE).saturating_add(CONTAINER))
    }

    fn items(&mut self, values: Vec<Value>) -> Result<Rc<Items>, Stop> {
        self.room_for(values.len())?;
        Ok(self.counted_items(values))
    }

    fn counted_items(&mut self, values: Vec<Value>) -> Rc<Items> {
        let items = Rc::new(Items { values: values.into(), ..Items::default() });
        self.items.push(items.clone());
        items
    }

    pub(crate) fn list(&mut self, values: Vec<Value>) -> Result<Value, Stop> {
        self.items(values).map(Value::List)
    }

    pub(crate) fn tuple(&mut self, values: Vec<Value>) -> Result<Value, Stop> {
        self.items(values).map(Value::Tuple)
    }

    /// A list for which [`Heap::room_for`] was made.
    pub(crate) fn counted_list(&mut self, values: Vec<Value>) -> Value {
        Value::List(self.counted_items(values))
    }

    pub(crate) fn shared(&mut self, values: Vec<Value>) -> Result<Rc<Items>, Stop> {
        self.items(values)
    }

    pub(crate) fn dict(&mut self) -> Result<Rc<Dict>, Stop> {
        self.meter.take(CONTAINER)?;
        let dict = Rc::new(Dict::default());
        self.dicts.push(dict.clone());
        Ok(dict)
    }

    /// Sets an entry of a dict.
    pub(crate) fn insert(&mut self, dict: &Dict, key: Value, value: Value) -> Result<(), Stop> {
        let found = Key::of(&key, 0)?;
        self.meter.read(found.size())?;
        self.meter.take(ENTRY)?;
        let mut entries = dict.entries.borrow_mut();
        match entries.get_mut(&found) {
            Some(entry) => entry.1 = value,
            None => drop(entries.insert(found, (key, value))),
        }
        Ok(())
    }

    pub(crate) fn failed(&mut self, kind: &str, message: &str) -> Result<Value, Stop> {
        self.room(kind.len() + message.len())?;
        Ok(Value::Failed(Rc::new(Failed { kind: kind.to_owned(), message: message.to_owned() })))
    }

    /// Keeps a frame whose variables a function may read later.
    pub(crate) fn keep(&mut self, frame: &Rc<Frame>) -> Result<(), Stop> {
        if !frame.is_kept.replace(true) {
            self.meter.take(CONTAINER)?;
            self.frames.push(frame.clone());
        }
        Ok(())
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // The values that are dropped here are still in the lists of the heap, so that no drop calls another.
        for items in &self.items {
            items.values.take();
        }
        for dict in &self.dicts {
            dict.entries.take();
        }
        for frame in &self.frames {
            frame.variables.take();
        }
    }
}
