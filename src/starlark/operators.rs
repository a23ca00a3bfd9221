//! Operators: arithmetic, comparison, membership and repetition.

use std::cmp::Ordering;
use std::rc::Rc;

use super::heap::Heap;
use super::meter::{Meter, Stop, error};
use super::strings;
use super::syntax::BinaryOp;
use super::text::Writer;
use super::value::{DEEPEST_VALUE, Key, Value};

pub(crate) fn binary(heap: &mut Heap, op: BinaryOp, left: &Value, right: &Value) -> Result<Value, Stop> {
    let meter = &mut heap.meter;
    Ok(Value::Bool(match op {
        BinaryOp::Equal => equal(meter, left, right, 0)?,
        BinaryOp::NotEqual => !equal(meter, left, right, 0)?,
        BinaryOp::Less => compare(meter, left, right, 0)?.is_lt(),
        BinaryOp::LessEqual => compare(meter, left, right, 0)?.is_le(),
        BinaryOp::Greater => compare(meter, left, right, 0)?.is_gt(),
        BinaryOp::GreaterEqual => compare(meter, left, right, 0)?.is_ge(),
        BinaryOp::In => contains(meter, right, left)?,
        BinaryOp::NotIn => !contains(meter, right, left)?,
        _ => return arithmetic(heap, op, left, right),
    }))
}

fn arithmetic(heap: &mut Heap, op: BinaryOp, left: &Value, right: &Value) -> Result<Value, Stop> {
    match (op, left, right) {
        (_, Value::Int(left), Value::Int(right)) => integers(op, *left, *right),
        (BinaryOp::Add, Value::Text(left), Value::Text(right)) => {
            heap.room(left.text.len() + right.text.len())?;
            Ok(Heap::counted([&*left.text, &*right.text].concat()))
        }
        (BinaryOp::Add, Value::List(left), Value::List(right)) => {
            heap.room_for(left.values.borrow().len() + right.values.borrow().len())?;
            let values = [&left.values.borrow()[..], &right.values.borrow()[..]].concat();
            Ok(heap.counted_list(values))
        }
        (BinaryOp::Add, Value::Tuple(left), Value::Tuple(right)) => {
            heap.room_for(left.values.borrow().len() + right.values.borrow().len())?;
            let values = [&left.values.borrow()[..], &right.values.borrow()[..]].concat();
            heap.tuple(values)
        }
        (BinaryOp::Multiply, Value::Int(times), other) | (BinaryOp::Multiply, other, Value::Int(times))
            if number(other).is_none() =>
        {
            repeated(heap, other, *times)
        }
        (BinaryOp::Modulo, Value::Text(pattern), value) => {
            let mut writer = Writer::new(&mut heap.meter);
            strings::percent(&mut writer, &pattern.text, value)?;
            Ok(Heap::counted(writer.text))
        }
        (BinaryOp::BitOr, Value::Dict(left), Value::Dict(right)) => {
            let made = heap.dict()?;
            for dict in [left, right] {
                for (key, value) in dict.entries.borrow().values() {
                    heap.insert(&made, key.clone(), value.clone())?;
                }
            }
            Ok(Value::Dict(made))
        }
        _ => match (number(left), number(right)) {
            (Some(one), Some(other)) => floats(op, one, other),
            _ => refused(op, left, right),
        },
    }
}

fn refused<T>(op: BinaryOp, left: &Value, right: &Value) -> Result<T, Stop> {
    let hint = match (left, right) {
        (Value::Text(_), _) | (_, Value::Text(_)) if op == BinaryOp::Add => "; make a text with str()",
        (Value::Failed(_), _) | (_, Value::Failed(_)) => "; test a call with is_error()",
        _ => "",
    };
    error(format!("`{}` does not work on {} and {}{hint}", sign(op), left.kind(), right.kind()))
}

fn sign(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Subtract => "-",
        BinaryOp::Multiply => "*",
        BinaryOp::Divide => "/",
        BinaryOp::FloorDivide => "//",
        BinaryOp::Modulo => "%",
        BinaryOp::BitAnd => "&",
        BinaryOp::BitOr => "|",
        BinaryOp::BitXor => "^",
        BinaryOp::ShiftLeft => "<<",
        BinaryOp::ShiftRight => ">>",
        BinaryOp::Equal => "==",
        BinaryOp::NotEqual => "!=",
        BinaryOp::Less => "<",
        BinaryOp::LessEqual => "<=",
        BinaryOp::Greater => ">",
        BinaryOp::GreaterEqual => ">=",
        BinaryOp::In => "in",
        BinaryOp::NotIn => "not in",
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn integers(op: BinaryOp, left: i64, right: i64) -> Result<Value, Stop> {
    if right == 0 && matches!(op, BinaryOp::Divide | BinaryOp::FloorDivide | BinaryOp::Modulo) {
        return error("division by zero");
    }
    let shift = u32::try_from(right).ok().filter(|shift| *shift < 64);
    let found = match op {
        BinaryOp::Add => left.checked_add(right),
        BinaryOp::Subtract => left.checked_sub(right),
        BinaryOp::Multiply => left.checked_mul(right),
        BinaryOp::Divide => return Ok(Value::Float(left as f64 / right as f64)),
        // The quotient is rounded down, and the rest has the sign of the divisor.
        BinaryOp::FloorDivide => {
            left.checked_div(right).map(|whole| whole - i64::from(left % right != 0 && (left < 0) != (right < 0)))
        }
        BinaryOp::Modulo => left.checked_rem(right).map(|rest| match rest != 0 && (rest < 0) != (right < 0) {
            true => rest + right,
            false => rest,
        }),
        BinaryOp::BitAnd => Some(left & right),
        BinaryOp::BitOr => Some(left | right),
        BinaryOp::BitXor => Some(left ^ right),
        BinaryOp::ShiftLeft => {
            shift.and_then(|shift| left.checked_shl(shift).filter(|shifted| shifted >> shift == left))
        }
        BinaryOp::ShiftRight => shift.map(|shift| left >> shift),
        _ => None,
    };
    match found {
        Some(number) => Ok(Value::Int(number)),
        None => error(format!("the result of `{left} {} {right}` exceeds 64 bits", sign(op))),
    }
}

fn floats(op: BinaryOp, left: f64, right: f64) -> Result<Value, Stop> {
    if right == 0.0 && matches!(op, BinaryOp::Divide | BinaryOp::FloorDivide | BinaryOp::Modulo) {
        return error("division by zero");
    }
    Ok(Value::Float(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Subtract => left - right,
        BinaryOp::Multiply => left * right,
        BinaryOp::Divide => left / right,
        BinaryOp::FloorDivide => (left / right).floor(),
        BinaryOp::Modulo => left - right * (left / right).floor(),
        _ => return error(format!("`{}` needs integers", sign(op))),
    }))
}

fn repeated(heap: &mut Heap, value: &Value, times: i64) -> Result<Value, Stop> {
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    match value {
        Value::Text(text) => {
            heap.room(text.text.len().saturating_mul(times))?;
            Ok(Heap::counted(text.text.repeat(times)))
        }
        Value::List(items) | Value::Tuple(items) => {
            heap.room_for(items.values.borrow().len().saturating_mul(times))?;
            let values = (0..times).flat_map(|_| items.values.borrow().clone()).collect();
            match value {
                Value::List(_) => Ok(heap.counted_list(values)),
                _ => heap.tuple(values),
            }
        }
        other => refused(BinaryOp::Multiply, other, &Value::Int(0)),
    }
}

pub(crate) fn equal(meter: &mut Meter, left: &Value, right: &Value, depth: u32) -> Result<bool, Stop> {
    if depth > DEEPEST_VALUE {
        return error("the values are nested too deeply to be compared");
    }
    meter.step(1)?;
    Ok(match (left, right) {
        (Value::None, Value::None) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Int(left), Value::Int(right)) => left == right,
        (Value::Text(left), Value::Text(right)) => {
            meter.read(left.text.len().min(right.text.len()))?;
            left.text == right.text
        }
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            let (left, right) = (left.values.borrow(), right.values.borrow());
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(&*right) {
                if !equal(meter, left, right, depth + 1)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Dict(left), Value::Dict(right)) => {
            let (left, right) = (left.entries.borrow(), right.entries.borrow());
            if left.len() != right.len() {
                return Ok(false);
            }
            for (key, (_, value)) in &*left {
                match right.get(key) {
                    Some((_, other)) if equal(meter, value, other, depth + 1)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Range(left), Value::Range(right)) => left == right,
        (Value::Failed(left), Value::Failed(right)) => left == right,
        (Value::Function(left), Value::Function(right)) => Rc::ptr_eq(left, right),
        (Value::Builtin(left), Value::Builtin(right)) => left == right,
        _ => matches!((number(left), number(right)), (Some(left), Some(right)) if left == right),
    })
}

pub(crate) fn compare(meter: &mut Meter, left: &Value, right: &Value, depth: u32) -> Result<Ordering, Stop> {
    if depth > DEEPEST_VALUE {
        return error("the values are nested too deeply to be compared");
    }
    meter.step(1)?;
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Ok(left.cmp(right)),
        (Value::Int(left), Value::Int(right)) => Ok(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => {
            meter.read(left.text.len().min(right.text.len()))?;
            Ok(left.text.cmp(&right.text))
        }
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            let (left, right) = (left.values.borrow(), right.values.borrow());
            for (left, right) in left.iter().zip(&*right) {
                let order = compare(meter, left, right, depth + 1)?;
                if order.is_ne() {
                    return Ok(order);
                }
            }
            Ok(left.len().cmp(&right.len()))
        }
        _ => match (number(left), number(right)) {
            // NaN is the largest number, so that there is an order.
            (Some(left), Some(right)) => {
                Ok(left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan())))
            }
            _ => error(format!("values of the types {} and {} have no order", left.kind(), right.kind())),
        },
    }
}

fn contains(meter: &mut Meter, container: &Value, item: &Value) -> Result<bool, Stop> {
    match (container, item) {
        (Value::Text(text), Value::Text(part)) => {
            meter.read(text.text.len())?;
            Ok(text.text.contains(&*part.text))
        }
        (Value::Text(_), other) => error(format!("`in` a text needs a text, not a {}", other.kind())),
        (Value::List(items) | Value::Tuple(items), _) => {
            for value in items.values.borrow().iter() {
                if equal(meter, value, item, 1)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        (Value::Dict(dict), _) => {
            let key = Key::of(item, 0)?;
            meter.read(key.size())?;
            Ok(dict.entries.borrow().contains_key(&key))
        }
        (Value::Range(range), Value::Int(number)) => {
            let (start, number) = (i128::from(range.start), i128::from(*number));
            let distance = (number - start) * i128::from(range.step.signum());
            let step = i128::from(range.step).abs();
            Ok(distance >= 0 && distance % step == 0 && distance / step < i128::from(range.len()))
        }
        (other, _) => error(format!("`in` does not work on a {}", other.kind())),
    }
}
