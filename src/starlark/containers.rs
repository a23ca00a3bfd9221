//! Lists, tuples and dicts: their items, slices and methods.

use std::rc::Rc;

use super::heap::{Heap, VALUE};
use super::host::Arguments;
use super::meter::{Stop, error};
use super::operators::equal;
use super::syntax::BinaryOp;
use super::value::{Dict, Items, Key, Value};

pub(crate) fn item(heap: &mut Heap, container: &Value, index: &Value) -> Result<Value, Stop> {
    match container {
        Value::Dict(dict) => {
            let key = Key::of(index, 0)?;
            heap.meter.read(key.size())?;
            match dict.entries.borrow().get(&key) {
                Some((_, value)) => Ok(value.clone()),
                None => error("the dict has no such key; use `get` if it may be missing"),
            }
        }
        Value::List(items) | Value::Tuple(items) => {
            let values = items.values.borrow();
            Ok(values[place(index, values.len())?].clone())
        }
        Value::Text(text) => {
            let at = place(index, text.chars)?;
            heap.text(text.slice(at, at + 1))
        }
        Value::Range(range) => {
            let length = usize::try_from(range.len()).unwrap_or(usize::MAX);
            Ok(Value::Int(range.item(place(index, length)? as u64)))
        }
        Value::Failed(_) => error("a failed call has no items; test it with is_error()"),
        other => error(format!("a {} has no items", other.kind())),
    }
}

/// The place of an index, which counts from the end if it is negative.
fn place(index: &Value, length: usize) -> Result<usize, Stop> {
    let Value::Int(index) = index else { return error(format!("an index is an int, not a {}", index.kind())) };
    let at = if *index < 0 { i128::from(*index) + length as i128 } else { i128::from(*index) };
    match usize::try_from(at) {
        Ok(at) if at < length => Ok(at),
        _ => error(format!("the index {index} is out of range: there are {length} items")),
    }
}

pub(crate) fn set_item(heap: &mut Heap, container: &Value, index: Value, value: Value) -> Result<(), Stop> {
    match container {
        Value::List(items) => {
            let length = items.values.borrow().len();
            let at = place(&index, length)?;
            let _old = std::mem::replace(&mut items.values.borrow_mut()[at], value);
            Ok(())
        }
        Value::Dict(dict) => {
            let is_new = !dict.entries.borrow().contains_key(&Key::of(&index, 0)?);
            if is_new {
                unlooped(dict.loops.get())?;
            }
            heap.insert(dict, index, value)
        }
        other => error(format!("an item of a {} can't be set", other.kind())),
    }
}

fn unlooped(loops: u32) -> Result<(), Stop> {
    if loops > 0 { error("a list or dict can't change while a loop goes over it") } else { Ok(()) }
}

/// Extends a list by `list += more`, which changes the list. Returns `false` if it is another operation.
pub(crate) fn extends(heap: &mut Heap, op: BinaryOp, list: &Value, more: &Value) -> Result<bool, Stop> {
    let (BinaryOp::Add, Value::List(list), Value::List(more)) = (op, list, more) else { return Ok(false) };
    let values = more.values.borrow().clone();
    append(heap, list, values)?;
    Ok(true)
}

fn append(heap: &mut Heap, list: &Items, values: Vec<Value>) -> Result<(), Stop> {
    unlooped(list.loops.get())?;
    heap.meter.take(values.len() as u64 * VALUE)?;
    list.values.borrow_mut().extend(values);
    Ok(())
}

/// The items that a slice takes of `length` items: the first, the step and the number.
fn taken(bounds: &[Option<Value>; 3], length: usize) -> Result<(usize, i64, usize), Stop> {
    let mut numbers = [None; 3];
    for (number, bound) in numbers.iter_mut().zip(bounds) {
        *number = match bound {
            None | Some(Value::None) => None,
            Some(Value::Int(number)) => Some(*number),
            Some(other) => return error(format!("the bound of a slice is an int, not a {}", other.kind())),
        };
    }
    let [start, stop, step] = numbers;
    let step = step.unwrap_or(1);
    if step == 0 {
        return error("the step of a slice can't be 0");
    }
    let length = length as i64;
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |number: Option<i64>, otherwise: i64| match number {
        None => otherwise,
        Some(number) if number < 0 => number.saturating_add(length).clamp(low, high),
        Some(number) => number.clamp(low, high),
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (start, stop) = (bound(start, first), bound(stop, last));
    let range = super::value::Range { start, stop, step };
    Ok((start.max(0) as usize, step, range.len() as usize))
}

pub(crate) fn slice(heap: &mut Heap, value: &Value, bounds: &[Option<Value>; 3]) -> Result<Value, Stop> {
    match value {
        Value::Text(text) => {
            let (start, step, count) = taken(bounds, text.chars)?;
            if step == 1 {
                return heap.text(text.slice(start, start + count));
            }
            heap.room(text.text.len() * 5)?;
            let characters: Vec<char> = text.text.chars().collect();
            let picked = (0..count).map(|i| characters[(start as i64 + i as i64 * step) as usize]);
            Ok(Heap::counted(picked.collect()))
        }
        Value::List(items) | Value::Tuple(items) => {
            let values = items.values.borrow();
            let (start, step, count) = taken(bounds, values.len())?;
            heap.room_for(count)?;
            let picked = (0..count).map(|i| values[(start as i64 + i as i64 * step) as usize].clone()).collect();
            if let Value::List(_) = value { Ok(heap.counted_list(picked)) } else { heap.tuple(picked) }
        }
        other => error(format!("a {} has no slices", other.kind())),
    }
}

/// Calls a method of a list.
pub(crate) fn list_method(heap: &mut Heap, list: &Rc<Items>, name: &str, arguments: Arguments) -> Result<Value, Stop> {
    let [first, second] = arguments.at_most(name)?;
    let length = list.values.borrow().len();
    match (name, first, second) {
        ("append", Some(value), None) => append(heap, list, vec![value])?,
        ("extend", Some(Value::List(more) | Value::Tuple(more)), None) => {
            let values = more.values.borrow().clone();
            append(heap, list, values)?;
        }
        ("insert", Some(Value::Int(at)), Some(value)) => {
            unlooped(list.loops.get())?;
            heap.meter.take(VALUE)?;
            heap.meter.read(length)?;
            let at = if at < 0 { at.saturating_add(length as i64).max(0) } else { at.min(length as i64) };
            list.values.borrow_mut().insert(at as usize, value);
        }
        ("pop", index, None) => {
            unlooped(list.loops.get())?;
            heap.meter.read(length)?;
            let at = place(&index.unwrap_or(Value::Int(-1)), length)?;
            return Ok(list.values.borrow_mut().remove(at));
        }
        ("remove", Some(value), None) => {
            unlooped(list.loops.get())?;
            let Some(at) = position(heap, list, &value)? else { return error("the list has no such item") };
            let _old = list.values.borrow_mut().remove(at);
        }
        ("index", Some(value), None) => match position(heap, list, &value)? {
            Some(at) => return Ok(Value::Int(at as i64)),
            None => return error("the list has no such item"),
        },
        ("count", Some(value), None) => {
            let mut count = 0;
            for item in list.values.borrow().iter() {
                count += i64::from(equal(&mut heap.meter, item, &value, 1)?);
            }
            return Ok(Value::Int(count));
        }
        ("clear", None, None) => {
            unlooped(list.loops.get())?;
            let _old = list.values.take();
        }
        ("reverse", None, None) => {
            unlooped(list.loops.get())?;
            heap.meter.step(length as u64 / 8)?;
            list.values.borrow_mut().reverse();
        }
        ("sort", ..) => return error("a list has no `sort`; use `sorted(list)`"),
        ("append" | "extend" | "insert" | "remove" | "index" | "count" | "clear" | "reverse", ..) => {
            return error(format!("`{name}` of a list got wrong arguments"));
        }
        _ => return error(format!("a list has no method `{name}`")),
    }
    Ok(Value::None)
}

fn position(heap: &mut Heap, list: &Items, value: &Value) -> Result<Option<usize>, Stop> {
    for (at, item) in list.values.borrow().iter().enumerate() {
        if equal(&mut heap.meter, item, value, 1)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Calls a method of a dict.
pub(crate) fn dict_method(
    heap: &mut Heap,
    dict: &Rc<Dict>,
    name: &str,
    mut arguments: Arguments,
) -> Result<Value, Stop> {
    if name == "update" {
        let named = std::mem::take(&mut arguments.named);
        unlooped(dict.loops.get())?;
        for (name, value) in named {
            let key = heap.text(&name)?;
            heap.insert(dict, key, value)?;
        }
    }
    let [first, second] = arguments.at_most(name)?;
    match (name, first, second) {
        ("get", Some(key), default) => {
            let key = Key::of(&key, 0)?;
            heap.meter.read(key.size())?;
            let found = dict.entries.borrow().get(&key).map(|(_, value)| value.clone());
            Ok(found.or(default).unwrap_or(Value::None))
        }
        ("keys" | "values" | "items", None, None) => {
            let count = dict.entries.borrow().len();
            heap.room_for(count)?;
            let mut values = Vec::with_capacity(count);
            for (key, value) in dict.entries.borrow().values() {
                values.push(match name {
                    "keys" => key.clone(),
                    "values" => value.clone(),
                    _ => heap.tuple(vec![key.clone(), value.clone()])?,
                });
            }
            Ok(heap.counted_list(values))
        }
        ("pop", Some(key), default) => {
            unlooped(dict.loops.get())?;
            heap.meter.read(dict.entries.borrow().len())?;
            let removed = dict.entries.borrow_mut().shift_remove(&Key::of(&key, 0)?);
            match removed.map(|(_, value)| value).or(default) {
                Some(value) => Ok(value),
                None => error("the dict has no such key"),
            }
        }
        ("setdefault", Some(key), default) => {
            let found = dict.entries.borrow().get(&Key::of(&key, 0)?).map(|(_, value)| value.clone());
            if let Some(value) = found {
                return Ok(value);
            }
            unlooped(dict.loops.get())?;
            let value = default.unwrap_or(Value::None);
            heap.insert(dict, key, value.clone())?;
            Ok(value)
        }
        ("update", None, None) => Ok(Value::None),
        ("update", Some(Value::Dict(more)), None) => {
            let entries: Vec<(Value, Value)> = more.entries.borrow().values().cloned().collect();
            for (key, value) in entries {
                heap.insert(dict, key, value)?;
            }
            Ok(Value::None)
        }
        ("clear", None, None) => {
            unlooped(dict.loops.get())?;
            let _old = dict.entries.take();
            Ok(Value::None)
        }
        ("get" | "keys" | "values" | "items" | "pop" | "setdefault" | "update" | "clear", ..) => {
            error(format!("`{name}` of a dict got wrong arguments"))
        }
        _ => error(format!("a dict has no method `{name}`")),
    }
}
