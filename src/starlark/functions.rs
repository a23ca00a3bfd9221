//! The functions of the language, and the attributes of values.

use std::cmp::Ordering;
use std::rc::Rc;

use super::containers::{dict_method, list_method};
use super::heap::Heap;
use super::host::{Arguments, Caller};
use super::json::{from_json, to_json};
use super::meter::{Stop, error};
use super::operators::{binary, compare};
use super::strings;
use super::syntax::{BinaryOp, Name};
use super::text::{Writer, display};
use super::value::{Range, Value};

pub(crate) const NAMES: &[&str] = &[
    "abs",
    "all",
    "any",
    "bool",
    "dict",
    "enumerate",
    "fail",
    "float",
    "int",
    "is_error",
    "json",
    "len",
    "list",
    "max",
    "min",
    "range",
    "repr",
    "reversed",
    "round",
    "sorted",
    "str",
    "sum",
    "tuple",
    "type",
    "zip",
];

/// An attribute of a value: a method, or a field of a failed call.
pub(crate) fn attribute(heap: &mut Heap, value: &Value, name: &Name) -> Result<Value, Stop> {
    match (value, &**name) {
        (Value::Failed(failed), "kind") => heap.text(&failed.kind),
        (Value::Failed(failed), "message") => heap.text(&failed.message),
        (Value::Builtin("json"), "encode") => Ok(Value::Builtin("json.encode")),
        (Value::Builtin("json"), "decode") => Ok(Value::Builtin("json.decode")),
        (Value::Text(_) | Value::List(_) | Value::Dict(_), _) => {
            heap.room(0)?;
            Ok(Value::Method(Rc::new((value.clone(), name.clone()))))
        }
        (Value::Failed(_), _) => {
            error(format!("a failed call has no `{name}`; test it with is_error(), its fields are kind and message"))
        }
        _ => error(format!("a {} has no attribute `{name}`", value.kind())),
    }
}

pub(crate) fn method(heap: &mut Heap, value: &Value, name: &str, arguments: Arguments) -> Result<Value, Stop> {
    match value {
        Value::Text(text) => strings::method(heap, text, name, arguments),
        Value::List(items) => list_method(heap, items, name, arguments),
        Value::Dict(dict) => dict_method(heap, dict, name, arguments),
        other => error(format!("a {} has no method `{name}`", other.kind())),
    }
}

/// Calls a function of [`NAMES`].
pub(crate) fn call<C: Caller>(machine: &mut C, name: &str, arguments: Arguments) -> Result<Value, Stop> {
    match name {
        "sorted" | "min" | "max" => ordered(machine, name, arguments),
        "zip" => zip(machine, arguments),
        "range" => range(arguments),
        "dict" => dict(machine, arguments),
        "list" | "tuple" | "reversed" | "any" | "all" | "enumerate" | "sum" => listed(machine, name, arguments),
        "json.encode" | "json.decode" => json(machine.heap(), name, arguments),
        _ => converted(machine.heap(), name, arguments),
    }
}

fn converted(heap: &mut Heap, name: &str, arguments: Arguments) -> Result<Value, Stop> {
    let [first, second] = arguments.at_most(name)?;
    match (name, first, second) {
        ("str", None, None) => heap.text(""),
        ("str", Some(value @ Value::Text(_)), None) => Ok(value),
        ("str" | "repr", Some(value), None) => {
            let mut writer = Writer::new(&mut heap.meter);
            if name == "repr" {
                writer.repr(&value, 0)?
            } else {
                writer.value(&value)?
            }
            let text = writer.text;
            heap.room(0)?;
            Ok(Heap::counted(text))
        }
        ("len", Some(value), None) => length(&value),
        ("bool", value, None) => Ok(Value::Bool(value.is_some_and(|value| value.is_true()))),
        ("type", Some(value), None) => heap.text(value.kind()),
        ("is_error", Some(value), None) => Ok(Value::Bool(matches!(value, Value::Failed(_)))),
        ("fail", Some(value), None) => {
            let message = display(&value, heap)?;
            error(format!("fail: {message}"))
        }
        ("abs", Some(Value::Int(number)), None) => match number.checked_abs() {
            Some(number) => Ok(Value::Int(number)),
            None => error("the result of `abs` exceeds 64 bits"),
        },
        ("abs", Some(Value::Float(number)), None) => Ok(Value::Float(number.abs())),
        ("round", Some(Value::Int(number)), _) => Ok(Value::Int(number)),
        ("round", Some(Value::Float(number)), None) => whole(number.round_ties_even()),
        ("round", Some(Value::Float(number)), Some(Value::Int(digits))) if (0..=15).contains(&digits) => {
            Ok(Value::Float(format!("{number:.*}", digits as usize).parse().unwrap_or(number)))
        }
        ("int", Some(value), radix) => integer(&value, radix),
        ("float", Some(Value::Int(number)), None) => Ok(Value::Float(number as f64)),
        ("float", Some(value @ Value::Float(_)), None) => Ok(value),
        ("float", Some(Value::Text(text)), None) => match text.text.trim().parse() {
            Ok(number) => Ok(Value::Float(number)),
            Err(_) => error("this text is not a number"),
        },
        (_, Some(Value::Failed(_)), _) => error(format!("`{name}` got a failed call; test it with is_error()")),
        ("json", ..) => error("write `json.decode(text)` or `json.encode(value)`"),
        _ => error(format!("`{name}` got wrong arguments")),
    }
}

fn length(value: &Value) -> Result<Value, Stop> {
    Ok(Value::Int(match value {
        Value::Text(text) => text.chars as i64,
        Value::List(items) | Value::Tuple(items) => items.values.borrow().len() as i64,
        Value::Dict(dict) => dict.entries.borrow().len() as i64,
        Value::Range(range) => i64::try_from(range.len()).unwrap_or(i64::MAX),
        Value::Failed(_) => return error("a failed call has no length; test it with is_error()"),
        other => return error(format!("a {} has no length", other.kind())),
    }))
}

fn whole(number: f64) -> Result<Value, Stop> {
    // The next integer above 64 bits is 2^63.
    match number.abs() < 9_223_372_036_854_775_808.0 {
        true => Ok(Value::Int(number as i64)),
        false => error(format!("`{number}` is not an integer of 64 bits")),
    }
}

fn integer(value: &Value, radix: Option<Value>) -> Result<Value, Stop> {
    match (value, radix) {
        (Value::Int(number), None) => Ok(Value::Int(*number)),
        (Value::Bool(yes), None) => Ok(Value::Int(i64::from(*yes))),
        (Value::Float(number), None) => whole(number.trunc()),
        (Value::Text(text), radix) => {
            let radix = match radix {
                None => 10,
                Some(Value::Int(radix @ 2..=36)) => radix as u32,
                Some(_) => return error("the base of `int` is an int from 2 to 36"),
            };
            match i64::from_str_radix(text.text.trim(), radix) {
                Ok(number) => Ok(Value::Int(number)),
                Err(_) => error("this text is not an integer"),
            }
        }
        (Value::Failed(_), _) => error("`int` got a failed call; test it with is_error()"),
        (other, _) => error(format!("`int` does not work on a {}", other.kind())),
    }
}

fn range(arguments: Arguments) -> Result<Value, Stop> {
    let mut bounds = Vec::new();
    for value in &arguments.plain {
        let Value::Int(number) = value else { return error(format!("`range` needs ints, not a {}", value.kind())) };
        bounds.push(*number);
    }
    let (start, stop, step) = match (bounds.as_slice(), arguments.named.is_empty()) {
        ([stop], true) => (0, *stop, 1),
        ([start, stop], true) => (*start, *stop, 1),
        ([start, stop, step], true) => (*start, *stop, *step),
        _ => return error("`range` needs one to three ints"),
    };
    match step {
        0 => error("the step of a range can't be 0"),
        _ => Ok(Value::Range(Range { start, stop, step })),
    }
}

fn dict<C: Caller>(machine: &mut C, mut arguments: Arguments) -> Result<Value, Stop> {
    let dict = machine.heap().dict()?;
    let named = std::mem::take(&mut arguments.named);
    match arguments.at_most("dict")? {
        [None, _] => {}
        [Some(Value::Dict(other)), None] => {
            for (key, value) in other.entries.borrow().values() {
                machine.heap().insert(&dict, key.clone(), value.clone())?;
            }
        }
        [Some(pairs), None] => {
            for pair in machine.all(&pairs)? {
                let mut pair = machine.all(&pair)?.into_iter();
                let (Some(key), Some(value), None) = (pair.next(), pair.next(), pair.next()) else {
                    return error("`dict` needs pairs of a key and a value");
                };
                machine.heap().insert(&dict, key, value)?;
            }
        }
        _ => return error("`dict` got too many arguments"),
    }
    for (name, value) in named {
        let key = machine.heap().text(&name)?;
        machine.heap().insert(&dict, key, value)?;
    }
    Ok(Value::Dict(dict))
}

/// A function of the items of one list.
fn listed<C: Caller>(machine: &mut C, name: &str, arguments: Arguments) -> Result<Value, Stop> {
    let [first, second] = arguments.at_most(name)?;
    let mut values = match &first {
        None if matches!(name, "list" | "tuple") => Vec::new(),
        None => return error(format!("`{name}` needs a list")),
        Some(list) => machine.all(list)?,
    };
    match (name, second) {
        ("list", None) => Ok(machine.heap().counted_list(values)),
        ("tuple", None) => machine.heap().tuple(values),
        ("reversed", None) => {
            values.reverse();
            Ok(machine.heap().counted_list(values))
        }
        ("any", None) => Ok(Value::Bool(values.iter().any(Value::is_true))),
        ("all", None) => Ok(Value::Bool(values.iter().all(Value::is_true))),
        ("enumerate", start) => {
            let start = match start {
                None => 0,
                Some(Value::Int(start)) => start,
                Some(other) => return error(format!("`enumerate` needs an int, not a {}", other.kind())),
            };
            let mut pairs = Vec::with_capacity(values.len());
            for (number, value) in values.into_iter().enumerate() {
                pairs.push(machine.heap().tuple(vec![Value::Int(start.saturating_add(number as i64)), value])?);
            }
            Ok(machine.heap().counted_list(pairs))
        }
        ("sum", start) => {
            let mut sum = start.unwrap_or(Value::Int(0));
            if let Value::Text(_) = sum {
                return error("`sum` adds numbers; join texts with `\"\".join(list)`");
            }
            for value in &values {
                sum = binary(machine.heap(), BinaryOp::Add, &sum, value)?;
            }
            Ok(sum)
        }
        _ => error(format!("`{name}` got too many arguments")),
    }
}

fn zip<C: Caller>(machine: &mut C, arguments: Arguments) -> Result<Value, Stop> {
    if !arguments.named.is_empty() {
        return error("`zip` needs lists");
    }
    let mut lists = Vec::new();
    for list in &arguments.plain {
        lists.push(machine.all(list)?.into_iter());
    }
    let mut tuples = Vec::new();
    while !lists.is_empty() {
        let Some(values) = lists.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() else { break };
        tuples.push(machine.heap().tuple(values)?);
    }
    machine.heap().list(tuples)
}

/// `sorted`, `min` and `max`, each with a key.
fn ordered<C: Caller>(machine: &mut C, name: &str, arguments: Arguments) -> Result<Value, Stop> {
    let (mut key, mut is_reversed, mut default) = (None, false, None);
    for (parameter, value) in arguments.named {
        match (&*parameter, name) {
            ("key", _) => key = Some(value).filter(|value| !matches!(value, Value::None)),
            ("reverse", "sorted") => is_reversed = value.is_true(),
            ("default", "min" | "max") => default = Some(value),
            _ => return error(format!("`{name}` has no parameter `{parameter}`")),
        }
    }
    let values = match (arguments.plain.as_slice(), name) {
        ([list], _) => machine.all(list)?,
        ([_, _, ..], "min" | "max") => arguments.plain,
        _ => return error(format!("`{name}` needs a list")),
    };
    let mut keyed = Vec::with_capacity(values.len());
    for value in values {
        let by = match &key {
            Some(key) => machine.call(key, Arguments { plain: vec![value.clone()], named: Vec::new() })?,
            None => value.clone(),
        };
        keyed.push((by, value));
    }
    if name == "sorted" {
        sort(machine, &mut keyed, is_reversed)?;
        return Ok(machine.heap().counted_list(keyed.into_iter().map(|(_, value)| value).collect()));
    }
    let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
    let mut best: Option<(Value, Value)> = None;
    for pair in keyed {
        let is_better = match &best {
            Some((by, _)) => compare(&mut machine.heap().meter, &pair.0, by, 0)? == wanted,
            None => true,
        };
        if is_better {
            best = Some(pair);
        }
    }
    match best.map(|(_, value)| value).or(default) {
        Some(value) => Ok(value),
        None => error(format!("`{name}` got an empty list")),
    }
}

/// A stable sort by merging, which ends at the first pair that can't be ordered. The sort of the standard library may
/// panic if integers and numbers of more than 53 bits have no consistent order.
fn sort<C: Caller>(machine: &mut C, keyed: &mut Vec<(Value, Value)>, is_reversed: bool) -> Result<(), Stop> {
    let mut width = 1;
    while width < keyed.len() {
        let mut merged = Vec::with_capacity(keyed.len());
        for pair in keyed.chunks(2 * width) {
            let (left, right) = pair.split_at(width.min(pair.len()));
            let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
            while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
                let order = compare(&mut machine.heap().meter, &one.0, &other.0, 0)?;
                let takes_right = if is_reversed { order.is_lt() } else { order.is_gt() };
                merged.extend(if takes_right { right.next() } else { left.next() }.cloned());
            }
            merged.extend(left.chain(right).cloned());
        }
        *keyed = merged;
        width *= 2;
    }
    Ok(())
}

fn json(heap: &mut Heap, name: &str, arguments: Arguments) -> Result<Value, Stop> {
    match (name, arguments.at_most(name)?) {
        ("json.encode", [Some(value), None]) => {
            let json = to_json(&mut heap.meter, &value, 0)?.to_string();
            heap.room(json.len())?;
            Ok(Heap::counted(json))
        }
        ("json.decode", [Some(Value::Text(text)), default]) => {
            // A parsed value takes a multiple of its text.
            heap.meter.take(text.text.len() as u64 * 40)?;
            match serde_json::from_str(&text.text) {
                Ok(json) => from_json(heap, &json),
                Err(fault) => match default {
                    Some(default) => Ok(default),
                    None => error(format!("the text is not JSON: {fault}; give a default as the second argument")),
                },
            }
        }
        _ => error(format!("`{name}` got wrong arguments")),
    }
}
