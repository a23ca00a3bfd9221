//! Values of a program.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use indexmap::IndexMap;

use super::characters::Text;
use super::meter::{Stop, error};
use super::syntax::{Definition, Name};

/// The most levels of lists and dicts in each other that are compared or shown.
pub(crate) const DEEPEST_VALUE: u32 = 60;

#[derive(Clone)]
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<Text>),
    List(Rc<Items>),
    Tuple(Rc<Items>),
    Dict(Rc<Dict>),
    Range(Range),
    Function(Rc<Function>),
    /// A function of the language or of the host.
    Builtin(&'static str),
    /// A method with its object.
    Method(Rc<(Value, Name)>),
    /// What a failed call returns.
    Failed(Rc<Failed>),
}

impl Value {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Range(_) => "range",
            Value::Function(_) => "function",
            Value::Builtin(_) | Value::Method(_) => "builtin_function_or_method",
            Value::Failed(_) => "error",
        }
    }

    /// A failed call is false, as nothing is.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Value::None | Value::Failed(_) => false,
            Value::Bool(yes) => *yes,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !text.text.is_empty(),
            Value::List(items) | Value::Tuple(items) => !items.values.borrow().is_empty(),
            Value::Dict(dict) => !dict.entries.borrow().is_empty(),
            Value::Range(range) => range.len() > 0,
            Value::Function(_) | Value::Builtin(_) | Value::Method(_) => true,
        }
    }
}

/// The values of a list or of a tuple.
#[derive(Default)]
pub(crate) struct Items {
    pub(crate) values: RefCell<Vec<Value>>,
    /// The number of loops over them, during which they must not change.
    pub(crate) loops: Cell<u32>,
}

#[derive(Default)]
pub(crate) struct Dict {
    /// The values by their keys, in the order of insertion, each with the key as it was written.
    pub(crate) entries: RefCell<IndexMap<Key, (Value, Value)>>,
    pub(crate) loops: Cell<u32>,
}

/// A value as a key of a dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    None,
    Bool(bool),
    Int(i64),
    /// The bits of a number that is not an integer.
    Float(u64),
    Text(Rc<Text>),
    Tuple(Rc<[Key]>),
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Key::None => {}
            Key::Bool(yes) => yes.hash(state),
            Key::Int(number) => number.hash(state),
            Key::Float(bits) => bits.hash(state),
            Key::Text(text) => text.text.hash(state),
            Key::Tuple(keys) => keys.hash(state),
        }
    }
}

impl Key {
    pub(crate) fn of(value: &Value, depth: u32) -> Result<Key, Stop> {
        if depth > DEEPEST_VALUE {
            return error("the key is nested too deeply");
        }
        Ok(match value {
            Value::None => Key::None,
            Value::Bool(yes) => Key::Bool(*yes),
            Value::Int(number) => Key::Int(*number),
            // Equal numbers are the same key.
            Value::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => Key::Int(*number as i64),
            Value::Float(number) => Key::Float(number.to_bits()),
            Value::Text(text) => Key::Text(text.clone()),
            Value::Tuple(items) => {
                let keys = items.values.borrow().iter().map(|item| Key::of(item, depth + 1)).collect::<Result<_, _>>();
                Key::Tuple(keys?)
            }
            other => return error(format!("a {} can't be a key of a dict", other.kind())),
        })
    }

    /// The bytes that are hashed.
    pub(crate) fn size(&self) -> usize {
        match self {
            Key::Text(text) => text.text.len(),
            Key::Tuple(keys) => keys.iter().map(Key::size).sum(),
            _ => 8,
        }
    }
}

/// The integers from `start` in steps of `step`, without `stop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: i64,
    pub(crate) stop: i64,
    /// Not 0.
    pub(crate) step: i64,
}

impl Range {
    pub(crate) fn len(self) -> u64 {
        let (start, stop, step) = (i128::from(self.start), i128::from(self.stop), i128::from(self.step));
        let distance = if step > 0 { stop - start } else { start - stop };
        if distance <= 0 { 0 } else { ((distance + step.abs() - 1) / step.abs()) as u64 }
    }

    /// The item with this number, which is below the length.
    pub(crate) fn item(self, number: u64) -> i64 {
        (i128::from(self.start) + i128::from(number) * i128::from(self.step)) as i64
    }
}

pub(crate) struct Function {
    pub(crate) definition: Rc<Definition>,
    /// The values of the defaults, in the order of the parameters that have one.
    pub(crate) defaults: Rc<Items>,
    pub(crate) frame: Rc<Frame>,
}

/// The variables of a call, of a comprehension or of the program.
#[derive(Default)]
pub(crate) struct Frame {
    pub(crate) variables: RefCell<HashMap<Name, Value>>,
    pub(crate) parent: Option<Rc<Frame>>,
    /// The function whose variables these are.
    pub(crate) definition: Option<Rc<Definition>>,
    /// Whether a function may outlive the call and read its variables.
    pub(crate) is_kept: Cell<bool>,
}

impl Frame {
    pub(crate) fn get(&self, name: &Name) -> Option<Value> {
        self.variables.borrow().get(name).cloned()
    }

    pub(crate) fn set(&self, name: &Name, value: Value) {
        // The old value is dropped after the borrow has ended.
        let _old = self.variables.borrow_mut().insert(name.clone(), value);
    }
}

/// Why a call failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) kind: String,
    pub(crate) message: String,
}
