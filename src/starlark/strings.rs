//! Methods of texts, and the two ways to fill values into a text.

use std::rc::Rc;

use super::characters::Text;
use super::heap::{Heap, VALUE};
use super::host::Arguments;
use super::meter::{Stop, error};
use super::text::{Writer, formatted};
use super::value::Value;

/// The bytes of a short text in a list.
const PIECE: u64 = VALUE + 96;

/// Calls a method of a text.
pub(crate) fn method(heap: &mut Heap, text: &Rc<Text>, name: &str, arguments: Arguments) -> Result<Value, Stop> {
    heap.meter.read(text.text.len())?;
    match name {
        "format" => return format(heap, text, &arguments),
        "split" | "rsplit" | "splitlines" => return split(heap, text, name, arguments),
        "replace" => return replace(heap, text, arguments),
        _ => {}
    }
    if let "find" | "rfind" | "index" | "rindex" | "count" | "startswith" | "endswith" = name {
        return search(text, name, arguments);
    }
    let [first, second] = arguments.at_most(name)?;
    match (name, &first, second) {
        ("join", Some(Value::List(items) | Value::Tuple(items)), None) => {
            let mut writer = Writer::new(&mut heap.meter);
            for (i, item) in items.values.borrow().iter().enumerate() {
                let Value::Text(item) = item else {
                    return error(format!("`join` needs texts, and item {i} is a {}", item.kind()));
                };
                writer.push(if i > 0 { &text.text } else { "" })?;
                writer.push(&item.text)?;
            }
            let joined = writer.text;
            heap.room(0)?;
            Ok(Heap::counted(joined))
        }
        ("strip" | "lstrip" | "rstrip", signs, None) => {
            let signs = match signs {
                None | Some(Value::None) => None,
                Some(Value::Text(signs)) => Some(&*signs.text),
                Some(other) => return error(format!("`{name}` needs a text, not a {}", other.kind())),
            };
            let is_stripped = |sign: char| signs.map_or(sign.is_whitespace(), |signs| signs.contains(sign));
            heap.text(match name {
                "strip" => text.text.trim_matches(is_stripped),
                "lstrip" => text.text.trim_start_matches(is_stripped),
                _ => text.text.trim_end_matches(is_stripped),
            })
        }
        ("removeprefix", Some(Value::Text(part)), None) => {
            heap.text(text.text.strip_prefix(&*part.text).unwrap_or(&text.text))
        }
        ("removesuffix", Some(Value::Text(part)), None) => {
            heap.text(text.text.strip_suffix(&*part.text).unwrap_or(&text.text))
        }
        ("partition" | "rpartition", Some(Value::Text(part)), None) if !part.text.is_empty() => {
            let split = if name == "partition" {
                text.text.split_once(&*part.text)
            } else {
                text.text.rsplit_once(&*part.text)
            };
            let parts = match (split, name) {
                (Some((before, after)), _) => [before, &part.text, after],
                (None, "partition") => [&text.text, "", ""],
                (None, _) => ["", "", &text.text],
            };
            let values = parts.into_iter().map(|part| heap.text(part)).collect::<Result<_, _>>()?;
            heap.tuple(values)
        }
        (_, None, None) => plain(heap, text, name),
        _ => wrong(name),
    }
}

fn wrong<T>(name: &str) -> Result<T, Stop> {
    const KNOWN: &[&str] = &["join", "strip", "removeprefix", "removesuffix", "partition", "rpartition"];
    match KNOWN.contains(&name) {
        true => error(format!("`{name}` of a text got wrong arguments")),
        false => error(format!("a text has no method `{name}` with these arguments")),
    }
}

/// A method without arguments.
fn plain(heap: &mut Heap, text: &Text, name: &str) -> Result<Value, Stop> {
    // Upper and lower case have at most three times the bytes.
    let has = |test: fn(char) -> bool| Value::Bool(!text.text.is_empty() && text.text.chars().all(test));
    let cased = |is_right: fn(char) -> bool, is_wrong: fn(char) -> bool| {
        Value::Bool(text.text.chars().any(is_right) && !text.text.chars().any(is_wrong))
    };
    match name {
        "upper" | "lower" | "title" | "capitalize" => {
            heap.room(text.text.len() * 3)?;
            Ok(Heap::counted(match name {
                "upper" => text.text.to_uppercase(),
                "lower" => text.text.to_lowercase(),
                _ => titled(&text.text, name == "title"),
            }))
        }
        "isdigit" => Ok(has(|c| c.is_ascii_digit())),
        "isalpha" => Ok(has(char::is_alphabetic)),
        "isalnum" => Ok(has(char::is_alphanumeric)),
        "isspace" => Ok(has(char::is_whitespace)),
        "isupper" => Ok(cased(char::is_uppercase, char::is_lowercase)),
        "islower" => Ok(cased(char::is_lowercase, char::is_uppercase)),
        "elems" => {
            heap.meter.take(text.chars as u64 * PIECE)?;
            let signs = text.text.chars().map(|sign| Heap::counted(sign.to_string())).collect();
            heap.list(signs)
        }
        _ => wrong(name),
    }
}

fn titled(text: &str, each_word: bool) -> String {
    let mut is_start = true;
    let mut titled = String::with_capacity(text.len());
    for sign in text.chars() {
        match is_start {
            true => titled.extend(sign.to_uppercase()),
            false => titled.extend(sign.to_lowercase()),
        }
        is_start = each_word && !sign.is_alphanumeric();
    }
    titled
}

/// A part in a range of the text: its first place, its last, the number, or whether the text begins or ends with it.
fn search(text: &Text, name: &str, arguments: Arguments) -> Result<Value, Stop> {
    if let Some((other, _)) = arguments.named.first() {
        return error(format!("`{name}` has no parameter `{other}`"));
    }
    let bound = |number: usize, otherwise: usize| match arguments.plain.get(number) {
        None | Some(Value::None) => Ok(otherwise),
        Some(Value::Int(at)) if *at < 0 => Ok(text.chars.saturating_sub(at.unsigned_abs() as usize)),
        Some(Value::Int(at)) => Ok(text.chars.min(*at as usize)),
        Some(other) => error(format!("`{name}` needs an int, not a {}", other.kind())),
    };
    let (start, end) = (bound(1, 0)?, bound(2, text.chars)?);
    let (from, to) = (text.byte(start), text.byte(end.max(start)));
    let within = &text.text[from..to];
    let parts: Vec<Rc<Text>> = match arguments.plain.first() {
        Some(Value::Text(part)) => vec![part.clone()],
        Some(Value::Tuple(items)) if name.ends_with("with") => {
            let texts = items.values.borrow();
            let texts = texts.iter().map(|item| if let Value::Text(text) = item { Some(text.clone()) } else { None });
            texts.collect::<Option<_>>().map_or_else(|| error(format!("`{name}` needs texts")), Ok)?
        }
        _ => return error(format!("`{name}` needs a text")),
    };
    if let "startswith" | "endswith" = name {
        let holds = |part: &Rc<Text>| match name {
            "startswith" => within.starts_with(&*part.text),
            _ => within.ends_with(&*part.text),
        };
        return Ok(Value::Bool(parts.iter().any(holds)));
    }
    let part = &*parts[0].text;
    let found = match name {
        "count" if part.is_empty() => return Ok(Value::Int(within.chars().count() as i64 + 1)),
        "count" => return Ok(Value::Int(within.matches(part).count() as i64)),
        "find" | "index" => within.find(part),
        _ => within.rfind(part),
    };
    match found {
        Some(at) => Ok(Value::Int(text.character(from + at) as i64)),
        None if name.ends_with("index") => error("the text does not contain this part"),
        None => Ok(Value::Int(-1)),
    }
}

fn split(heap: &mut Heap, text: &Text, name: &str, mut arguments: Arguments) -> Result<Value, Stop> {
    if let Some(at) = arguments.named.iter().position(|(key, _)| &**key == "maxsplit") {
        let (_, most) = arguments.named.remove(at);
        if arguments.plain.is_empty() {
            arguments.plain.push(Value::None);
        }
        arguments.plain.push(most);
    }
    let [separator, most] = arguments.at_most(name)?;
    let most = match most {
        None | Some(Value::None) => usize::MAX,
        Some(Value::Int(most)) => usize::try_from(most).unwrap_or(usize::MAX),
        Some(other) => return error(format!("`{name}` needs an int, not a {}", other.kind())),
    };
    let text = &*text.text;
    let pieces = |heap: &mut Heap, parts: &mut dyn Iterator<Item = &str>| -> Result<Vec<Value>, Stop> {
        let mut values = Vec::new();
        for part in parts {
            heap.meter.take(VALUE)?;
            values.push(heap.text(part)?);
        }
        Ok(values)
    };
    let at_most = most.saturating_add(1);
    let values = match (name, separator) {
        ("splitlines", None) => pieces(heap, &mut text.lines())?,
        ("splitlines", Some(_)) => return error("`splitlines` has no arguments"),
        ("split", None | Some(Value::None)) if most == usize::MAX => pieces(heap, &mut text.split_whitespace())?,
        (_, None | Some(Value::None)) => return error("give the separator if the number of splits is limited"),
        (_, Some(Value::Text(separator))) if separator.text.is_empty() => return error("the separator is empty"),
        ("split", Some(Value::Text(separator))) => pieces(heap, &mut text.splitn(at_most, &*separator.text))?,
        (_, Some(Value::Text(separator))) => {
            let mut values = pieces(heap, &mut text.rsplitn(at_most, &*separator.text))?;
            values.reverse();
            values
        }
        (_, Some(other)) => return error(format!("the separator is a text, not a {}", other.kind())),
    };
    heap.list(values)
}

fn replace(heap: &mut Heap, text: &Text, arguments: Arguments) -> Result<Value, Stop> {
    let most = match arguments.plain.get(2) {
        None => usize::MAX,
        Some(Value::Int(most)) => usize::try_from(*most).unwrap_or(usize::MAX),
        Some(other) => return error(format!("`replace` needs an int, not a {}", other.kind())),
    };
    let (Some(Value::Text(old)), Some(Value::Text(new)), true) =
        (arguments.plain.first(), arguments.plain.get(1), arguments.named.is_empty())
    else {
        return error("`replace` needs two texts");
    };
    let count = text.text.matches(&*old.text).count().min(most);
    heap.room(text.text.len().saturating_add(count.saturating_mul(new.text.len())))?;
    Ok(Heap::counted(text.text.replacen(&*old.text, &new.text, most)))
}

/// `"{} and {name}".format(value, name = value)`
fn format(heap: &mut Heap, text: &Text, arguments: &Arguments) -> Result<Value, Stop> {
    let mut writer = Writer::new(&mut heap.meter);
    let mut rest = &*text.text;
    let mut count = 0;
    while let Some(at) = rest.find(['{', '}']) {
        let sign = &rest[at..=at];
        writer.push(&rest[..at])?;
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(sign) {
            writer.push(sign)?;
            rest = after;
            continue;
        }
        let Some(end) = rest.find('}').filter(|_| sign == "{") else {
            return error("`{` and `}` in a text for `format` come in pairs; a single one is written twice");
        };
        let field = &rest[..end];
        rest = &rest[end + 1..];
        let at = field.find([':', '!']).unwrap_or(field.len());
        let (name, spec) = field.split_at(at);
        let value = match name.parse::<usize>() {
            Ok(number) => arguments.plain.get(number),
            Err(_) if name.is_empty() => {
                count += 1;
                arguments.plain.get(count - 1)
            }
            Err(_) => arguments.named.iter().find(|(key, _)| &**key == name).map(|(_, value)| value),
        };
        let Some(value) = value else { return error(format!("`format` got no value for `{{{field}}}`")) };
        formatted(&mut writer, value, spec.strip_prefix(':').unwrap_or(spec))?;
    }
    writer.push(rest)?;
    let filled = writer.text;
    heap.room(0)?;
    Ok(Heap::counted(filled))
}

/// `"%s and %d" % (value, value)`
pub(crate) fn percent(writer: &mut Writer<'_>, pattern: &str, value: &Value) -> Result<(), Stop> {
    let values: Vec<Value> = match value {
        Value::Tuple(items) => items.values.borrow().clone(),
        other => vec![other.clone()],
    };
    let mut values = values.iter();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        writer.push(&rest[..at])?;
        rest = &rest[at + 1..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let Some(kind) = rest[end..].chars().next() else { return error("the text ends with `%`; write `%%`") };
        let width = &rest[..end];
        rest = &rest[end + kind.len_utf8()..];
        if kind == '%' {
            writer.push("%")?;
            continue;
        }
        let Some(value) = values.next() else { return error("there are fewer values than `%` signs") };
        match (kind, value) {
            ('s', _) => formatted(writer, value, width)?,
            ('r', _) => writer.repr(value, 0)?,
            ('d', Value::Int(_)) => formatted(writer, value, width)?,
            ('d', Value::Float(number)) => formatted(writer, &Value::Int(*number as i64), width)?,
            ('f', Value::Int(_) | Value::Float(_)) => {
                let digits = if width.contains('.') { "" } else { ".6" };
                formatted(writer, value, &format!("{width}{digits}f"))?;
            }
            _ => return error(format!("`%{kind}` does not work on a {}", value.kind())),
        }
    }
    writer.push(rest)?;
    match values.next() {
        Some(_) => error("there are more values than `%` signs"),
        None => Ok(()),
    }
}
