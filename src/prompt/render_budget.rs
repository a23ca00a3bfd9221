//! The budget of one rendering: how many bytes its filters, operators and prints may handle, and which filters, tests
//! and functions that a template may use.
//!
//! The engine's fuel counts instructions, not bytes: one `replace` or `indent` can make gigabytes. A filter that copies
//! or multiplies its input is charged before it runs. A template can use only the functions listed here. A filter whose
//! result is larger than its arguments also needs an arm in [`extra`].

use std::sync::LazyLock;

use minijinja::value::{Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters, functions, tests};

pub(super) const CHARGE: &str = "_charge";
pub(super) const NUMBER: &str = "_number";
/// The filter that reads JSON text.
pub(super) const JSON: &str = "json";
const MOST: usize = 64 << 20;
const ITEM: usize = 64;
/// The most levels of nested lists: the engine drops values recursively.
const DEEPEST: usize = 64;

#[derive(Default)]
struct Spent(usize);

pub(super) fn charge(state: &mut State<'_, '_>, bytes: usize) -> Result<(), Error> {
    let Spent(spent) = state.get_or_insert_extension(Spent::default());
    *spent = spent.saturating_add(bytes);
    match *spent > MOST {
        true => Err(refused(format!("the template makes more than {} MiB of text", MOST >> 20))),
        false => Ok(()),
    }
}

pub(super) fn charge_value(state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let weight = weight(value)?;
    charge(state, weight)
}

pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Returns the size in bytes. Stops slightly above [`MOST`], because lazy values may be endless.
fn weight(value: &Value) -> Result<usize, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.len());
    }
    let mut weight = 0_usize;
    // No recursion: the template decides how deep a value is nested.
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
        "round" => number(args.get(1).cloned().or_else(|| named("precision"))),
        "sum" => items().saturating_mul(args.first().map_or(0, |arg| weight(arg).unwrap_or(MOST) / 64)),
        "pprint" => args.first().map_or(0, |arg| weight(arg).unwrap_or(MOST)).saturating_mul(4),
        _ => 0,
    }
}

fn charged(
    name: &'static str,
    own: Value,
) -> impl Fn(&mut State<'_, '_>, Rest<ValueOrKwargs>) -> Result<Value, Error> + Send + Sync + 'static {
    move |state, args| {
        let args = args.into_values();
        for arg in &args {
            charge_value(state, arg)?;
        }
        charge(state, extra(name, &args))?;
        own.call(state, &args)
    }
}

fn guarded(
    state: &mut State<'_, '_>,
    value: ValueOrKwargs,
    copies: usize,
    _sliced: Option<Value>,
) -> Result<Value, Error> {
    let bytes = weight(&value)?;
    charge(state, bytes.saturating_mul(copies))?;
    match value.kind() {
        // The engine would follow nested slices recursively on the stack.
        ValueKind::Iterable => Ok(Value::from(value.try_iter()?.collect::<Vec<_>>())),
        _ => Ok(value.into_value()),
    }
}

fn number(value: ValueOrKwargs) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Bytes | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            Err(refused("`*` is for numbers"))
        }
        _ => Ok(value.into_value()),
    }
}

type Add = fn(&mut Environment<'static>, &'static str);

/// Rows of names, each with what adds it to an environment.
macro_rules! rows {
    ($add:ident, $($name:literal = $own:path,)*) => {
        &[$(($name, |environment, name| environment.$add(name, $own)),)*]
    };
}

/// Filters that are charged for their arguments.
macro_rules! charged_rows {
    ($($name:ident)*) => {
        &[$((stringify!($name), |environment, name| {
            environment.add_filter(name, charged(stringify!($name), Value::from_function(filters::$name)));
        }),)*]
    };
}

const CHARGED_FILTERS: &[(&str, Add)] = charged_rows! {
    batch capitalize chain dictsort escape format groupby indent items join lines list lower map max min pprint reject
    rejectattr replace reverse round safe select selectattr slice sort split string sum title trim unique upper zip
};

const FREE_FILTERS: &[(&str, Add)] = rows! { add_filter,
    "abs" = filters::abs, "attr" = filters::attr, "bool" = filters::bool, "count" = filters::length,
    "d" = filters::default, "default" = filters::default, "first" = filters::first, "float" = filters::float,
    "int" = filters::int, "last" = filters::last, "length" = filters::length,
};

const ALL_TESTS: &[(&str, Add)] = rows! { add_test,
    "!=" = tests::is_ne, "<" = tests::is_lt, "<=" = tests::is_le, "==" = tests::is_eq, ">" = tests::is_gt,
    ">=" = tests::is_ge, "boolean" = tests::is_boolean, "defined" = tests::is_defined,
    "divisibleby" = tests::is_divisibleby, "endingwith" = tests::is_endingwith, "eq" = tests::is_eq,
    "equalto" = tests::is_eq, "escaped" = tests::is_safe, "even" = tests::is_even, "false" = tests::is_false,
    "filter" = tests::is_filter, "float" = tests::is_float, "ge" = tests::is_ge, "greaterthan" = tests::is_gt,
    "gt" = tests::is_gt, "in" = tests::is_in, "int" = tests::is_integer, "integer" = tests::is_integer,
    "iterable" = tests::is_iterable, "le" = tests::is_le, "lessthan" = tests::is_lt, "lower" = tests::is_lower,
    "lt" = tests::is_lt, "mapping" = tests::is_mapping, "ne" = tests::is_ne, "none" = tests::is_none,
    "number" = tests::is_number, "odd" = tests::is_odd, "safe" = tests::is_safe, "sameas" = tests::is_sameas,
    "sequence" = tests::is_sequence, "startingwith" = tests::is_startingwith, "string" = tests::is_string,
    "test" = tests::is_test, "true" = tests::is_true, "undefined" = tests::is_undefined, "upper" = tests::is_upper,
};

/// The names of the filters, without those that guards insert.
pub(super) static FILTERS: LazyLock<Vec<&str>> =
    LazyLock::new(|| CHARGED_FILTERS.iter().chain(FREE_FILTERS).map(|(name, _)| *name).chain(["e", JSON]).collect());
pub(super) static TESTS: LazyLock<Vec<&str>> = LazyLock::new(|| ALL_TESTS.iter().map(|(name, _)| *name).collect());
pub(super) const FUNCTIONS: &[&str] = &["range", "dict"];
/// A function under the name of a column is called by its own name with this in front.
pub(super) const FUNCTION: &str = "_";

pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::empty();
    for (name, add) in CHARGED_FILTERS.iter().chain(FREE_FILTERS).chain(ALL_TESTS) {
        add(&mut environment, name);
    }
    environment.add_filter(CHARGE, guarded);
    environment.add_filter(NUMBER, number);
    environment.add_filter("e", charged("e", Value::from_function(filters::escape)));
    for name in FUNCTIONS {
        let own = match *name {
            "range" => Value::from_function(functions::range),
            _ => Value::from_function(charged("dict", Value::from_function(functions::dict))),
        };
        environment.add_global(*name, own.clone());
        environment.add_global(format!("{FUNCTION}{name}"), own);
    }
    environment
}

#[test]
fn the_book_lists_the_filters() {
    let mut names = FILTERS.clone();
    names.sort_unstable();
    let list = format!("- Filters: `{}`.", names.join(" "));
    assert!(include_str!("../../docs/src/reference/templates.md").contains(&list), "the page lacks: {list}");
}
