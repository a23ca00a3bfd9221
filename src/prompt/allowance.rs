//! The allowance of one rendering: how much text its filters, operators and prints may handle, so that no template, and no
//! row, makes more of it than a prompt can need.
//!
//! The engine's fuel counts instructions, not bytes: `replace`, `indent` and the like make gigabytes in one. Every filter
//! that goes through its input, or makes more of it, is wrapped here and pays before it works. A filter that the engine
//! gets anew is a line in [`install`], and an arm in [`extra`] if it can make more than it is given.

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};

/// The filter behind operands of `~` and `+`.
pub(super) const PART: &str = "_part";
/// The filter behind operands of `*`.
pub(super) const NUMBER: &str = "_number";
/// Bytes that one rendering may handle.
const MOST: usize = 64 << 20;
/// What an item of a list costs besides what it holds.
const ITEM: usize = 64;
/// Lists in lists at most.
const DEEPEST: usize = 64;
/// What stands before the name of the engine's own filter; no template can write it as a filter.
const OWN: &str = "!";

/// What a rendering has handled so far.
#[derive(Default)]
struct Spent(usize);

/// Pays for `bytes`.
pub(super) fn charge(state: &mut State<'_, '_>, bytes: usize) -> Result<(), Error> {
    let Spent(spent) = state.get_or_insert_extension(Spent::default());
    *spent = spent.saturating_add(bytes);
    match *spent > MOST {
        true => Err(refused(format!("the template makes more than {} MiB of text", MOST >> 20))),
        false => Ok(()),
    }
}

/// Pays for a value that is handled.
pub(super) fn charge_value(state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let weight = weight(value)?;
    charge(state, weight)
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The bytes of a value and all it holds, or a little more than [`MOST`]: what is lazy may be endless.
fn weight(value: &Value) -> Result<usize, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.len());
    }
    let mut weight = 0_usize;
    // No recursion: how deep a value is nested is the template's business.
    let mut open = vec![(value.clone(), 0)];
    while let Some((value, depth)) = open.pop() {
        weight += ITEM + value.as_bytes().map_or(0, <[u8]>::len);
        if weight > MOST {
            break;
        }
        let is_map = value.kind() == ValueKind::Map;
        if !is_map && !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            continue;
        }
        if depth == DEEPEST {
            return Err(refused(format!("lists are nested deeper than {DEEPEST} levels")));
        }
        for item in value.try_iter()? {
            if is_map && let Ok(held) = value.get_item(&item) {
                open.push((held, depth + 1));
            }
            open.push((item, depth + 1));
            if weight + open.len() * ITEM > MOST {
                return Ok(MOST + 1);
            }
        }
    }
    Ok(weight)
}

/// What a filter makes at most beside what it is given.
fn extra(name: &str, args: &[Value]) -> usize {
    let text = |i: usize| args.get(i).and_then(Value::as_str).unwrap_or_default();
    let length = |i: usize| args.get(i).map_or(0, |arg| arg.as_str().map_or_else(|| arg.to_string().len(), str::len));
    let named = |key: &str| args.iter().find_map(|arg| arg.get_attr(key).ok().filter(|value| !value.is_undefined()));
    let number = |value: Option<Value>| value.and_then(|value| value.as_usize()).unwrap_or(0);
    let items = || args.first().and_then(Value::len).unwrap_or(MOST);
    match name {
        "replace" => text(0).matches(text(1)).count().saturating_mul(length(2)),
        "indent" => {
            let width = args.get(1).filter(|width| width.as_usize().is_some()).cloned().or_else(|| named("width"));
            (text(0).matches('\n').count() + 2).saturating_mul(number(width))
        }
        "join" => {
            let joiner = named("d").map_or(length(1), |d| d.to_string().len());
            if joiner == 0 { 0 } else { items().saturating_mul(joiner) }
        }
        "batch" | "slice" => number(args.get(1).cloned()).saturating_mul(ITEM),
        "format" => {
            let widths = text(0).split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<usize>().ok());
            let stars = if text(0).contains('*') { args.iter().filter_map(Value::as_usize).max() } else { None };
            let widest = widths.chain(stars).max().unwrap_or(0);
            let longest = args.iter().skip(1).map(|arg| weight(arg).unwrap_or(MOST)).max().unwrap_or(0);
            text(0).matches('%').count().saturating_mul(widest.saturating_add(longest))
        }
        // Digits behind the point.
        "round" => number(args.get(1).cloned().or_else(|| named("precision"))),
        // Texts and lists are joined one by one.
        "sum" => items().saturating_mul(args.first().map_or(0, |arg| weight(arg).unwrap_or(MOST) / 64)),
        // Each level is indented.
        "pprint" => args.first().map_or(0, |arg| weight(arg).unwrap_or(MOST)).saturating_mul(4),
        _ => 0,
    }
}

/// A filter that pays and then does what the engine's own does.
fn paid(
    name: &'static str,
) -> impl Fn(&mut State<'_, '_>, Rest<ValueOrKwargs>) -> Result<Value, Error> + Send + Sync + 'static {
    let own = format!("{OWN}{name}");
    move |state, args| {
        let args = args.into_values();
        // `map` and its kind take the name of a filter.
        if args.iter().skip(1).any(|arg| arg.as_str().is_some_and(|text| text.starts_with(OWN) && text.len() > 1))
            && name == "map"
        {
            return Err(refused("there is no such filter"));
        }
        for arg in &args {
            charge_value(state, arg)?;
        }
        charge(state, extra(name, &args))?;
        state.apply_filter(&own, &args)
    }
}

/// Makes an environment's filters pay.
pub(super) fn install(environment: &mut Environment<'static>) {
    macro_rules! pay {
        ($($name:literal = $filter:path,)*) => {$(
            environment.add_filter(concat!("!", $name), $filter);
            environment.add_filter($name, paid($name));
        )*};
    }
    pay! {
        "batch" = filters::batch, "capitalize" = filters::capitalize, "chain" = filters::chain,
        "dictsort" = filters::dictsort, "e" = filters::escape, "escape" = filters::escape, "format" = filters::format,
        "groupby" = filters::groupby, "indent" = filters::indent, "items" = filters::items, "join" = filters::join,
        "lines" = filters::lines, "list" = filters::list, "lower" = filters::lower, "map" = filters::map,
        "max" = filters::max, "min" = filters::min, "pprint" = filters::pprint, "reject" = filters::reject,
        "rejectattr" = filters::rejectattr, "replace" = filters::replace, "reverse" = filters::reverse,
        "round" = filters::round, "select" = filters::select, "selectattr" = filters::selectattr,
        "slice" = filters::slice, "sort" = filters::sort, "split" = filters::split, "string" = filters::string,
        "sum" = filters::sum, "title" = filters::title, "trim" = filters::trim, "unique" = filters::unique,
        "upper" = filters::upper, "zip" = filters::zip,
    }
    environment.add_filter(PART, |state: &mut State<'_, '_>, value: ValueOrKwargs, parts: usize| {
        let weight = weight(&value)?;
        charge(state, weight.saturating_mul(parts))?;
        Ok::<Value, Error>(value.into_value())
    });
    environment.add_filter(NUMBER, |value: ValueOrKwargs| match value.kind() {
        ValueKind::String | ValueKind::Bytes | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            Err(refused("`*` is for numbers"))
        }
        _ => Ok(value.into_value()),
    });
}
