//! Characteristics as written in the spec: a list, a table of weights, a distribution of numbers, or one of these for
//! each value of the parents. `graph` resolves the names of parents.

use super::expression::Expression;
use super::numeric::Numeric;
use crate::document::{Entry, Node, Path, Problems, Value};
use crate::table::Cell;

/// The largest difference of the sum of weights from 1 without a warning, since shares such as 0.333333 are rounded.
const ROUNDING: f64 = 1e-5;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Law {
    /// Options of one type (text, whole numbers or booleans), with shares that sum to 1.
    Options(Vec<(Cell, f64)>),
    Number(Numeric),
}

pub(crate) struct Written<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: Path,
    pub(crate) kind: Kind<'a>,
}

pub(crate) enum Kind<'a> {
    /// Without parents; `None` if the characteristic is invalid.
    Alone(Option<Law>),
    /// The options and their weights are in a file.
    File(&'a str),
    /// Computed from the other columns; `None` if it is invalid.
    Computed(Option<Expression>),
    Given {
        parents: Vec<(&'a str, Path)>,
        /// Nested tables, one level per parent.
        distributions: &'a Node,
        path: Path,
    },
}

pub(crate) fn characteristics<'a>(node: &'a Node, path: &Path, problems: &mut Problems) -> Vec<Written<'a>> {
    let Value::Table(entries) = &node.value else {
        let message = format!("`characteristics` must be a table of named characteristics, not {}", node.kind_name());
        problems.error("wrong-type", path.clone(), message);
        return Vec::new();
    };
    if entries.is_empty() {
        problems.error("bad-value", path.clone(), "there are no characteristics");
    }
    let written = |entry: &'a Entry| {
        let path = path.key(&entry.key);
        let text = |key: &str| entry.node.get(key).and_then(Node::as_str);
        let kind = match (entry.node.get("depends_on"), text("file"), text("expression")) {
            (Some(parents), ..) => given(&entry.node, parents, &path, problems),
            (None, Some(file), _) => of_file(&entry.node, &entry.key, file, &path, problems),
            (None, None, Some(_)) => Kind::Computed(Expression::decode(&entry.node, &entry.key, &path, problems)),
            (None, None, None) => Kind::Alone(law(&entry.node, &path, problems)),
        };
        Written { name: &entry.key, path, kind }
    };
    entries.iter().map(written).collect()
}

fn of_file<'a>(node: &Node, name: &str, file: &'a str, path: &Path, problems: &mut Problems) -> Kind<'a> {
    match node.entries().iter().find(|entry| entry.key != "file") {
        None => Kind::File(file),
        Some(other) => {
            let message = format!("`{}` is not a field of a characteristic with a `file`", other.key);
            let help = format!("its rows have the columns `{name}` and `count`, `weight` or `share`");
            problems.error_at_key("unknown-field", path.key(&other.key), message).help(help);
            Kind::Alone(None)
        }
    }
}

fn given<'a>(node: &'a Node, parents: &'a Node, path: &Path, problems: &mut Problems) -> Kind<'a> {
    let before = problems.mark();
    for entry in node.entries().iter().filter(|e| !["depends_on", "distributions"].contains(&e.key.as_str())) {
        let message = format!("`{}` is not a field of a table with `depends_on`", entry.key);
        problems
            .error_at_key("unknown-field", path.key(&entry.key), message)
            .help("the fields are `depends_on` and `distributions`");
    }
    let parents = names(parents, &path.key("depends_on"), problems);
    let Some(distributions) = node.get("distributions") else {
        problems
            .error("missing-field", path.clone(), "`distributions` is missing")
            .help("write a distribution for each value of the parent");
        return Kind::Alone(None);
    };
    match problems.clean_since(before) {
        true => Kind::Given { parents, distributions, path: path.key("distributions") },
        false => Kind::Alone(None),
    }
}

pub(crate) fn names<'a>(node: &'a Node, path: &Path, problems: &mut Problems) -> Vec<(&'a str, Path)> {
    let field = path.last_key().unwrap_or_default();
    let listed: Vec<(&Node, Path)> = match &node.value {
        Value::List(items) => items.iter().enumerate().map(|(i, item)| (item, path.index(i))).collect(),
        _ => vec![(node, path.clone())],
    };
    if listed.is_empty() {
        problems.error("bad-value", path.clone(), format!("`{field}` does not name a characteristic"));
    }
    let mut found: Vec<(&str, Path)> = Vec::new();
    for (node, path) in listed {
        match node.as_str() {
            Some(name) if found.iter().any(|(other, _)| *other == name) => {
                problems.error("duplicate", path, format!("`{field}` names `{name}` twice"));
            }
            Some(name) => found.push((name, path)),
            None => {
                let message = format!(
                    "`{field}` must be the name of a characteristic or a list of them, not {}",
                    node.kind_name()
                );
                problems.error("wrong-type", path, message);
            }
        }
    }
    found
}

pub(crate) fn law(node: &Node, path: &Path, problems: &mut Problems) -> Option<Law> {
    match &node.value {
        Value::List(items) => options(items, path, problems).map(Law::Options),
        Value::Table(_) if node.get("distribution").is_some() => Numeric::decode(node, path, problems).map(Law::Number),
        Value::Table(entries) => {
            let weights = weights(entries, path, problems)?;
            let sum: f64 = weights.iter().sum();
            if (sum - 1.0).abs() > ROUNDING {
                let message = format!("the weights sum to {}, not to 1; they will be normalised", rounded(sum));
                problems.warning("weights-sum", path.clone(), message);
            }
            let choices = entries.iter().map(|entry| Cell::Text(entry.key.clone()));
            Some(Law::Options(choices.zip(weights.into_iter().map(|weight| weight / sum)).collect()))
        }
        _ => {
            let message = format!(
                "a distribution is a list of options, a table of weights, or a table with `distribution`, not {}",
                node.kind_name()
            );
            problems.error("wrong-type", path.clone(), message);
            None
        }
    }
}

fn options(items: &[Node], path: &Path, problems: &mut Problems) -> Option<Vec<(Cell, f64)>> {
    let before = problems.mark();
    if items.is_empty() {
        problems.error("bad-value", path.clone(), "there are no options");
    }
    let mut choices: Vec<Cell> = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let path = path.index(i);
        match (cell(item), choices.first()) {
            (None | Some(Cell::Number(_)), _) => {
                let message =
                    format!("an option must be text, a whole number, or true or false, not {}", item.kind_name());
                problems.error("wrong-type", path, message);
            }
            (Some(choice), Some(first)) if choice.kind() != first.kind() => {
                let message = format!("the options are {}, but this is {}", noun(first), item.kind_name());
                problems.error("mixed-types", path, message).help("to write a number as text, put it in quotes");
            }
            (Some(choice), _) if choices.contains(&choice) => {
                problems
                    .error("duplicate", path, format!("the option `{}` is listed twice", choice.text()))
                    .help("to make it more likely, give weights: { a = 0.7, b = 0.3 }");
            }
            (Some(choice), _) => choices.push(choice),
        }
    }
    let share = 1.0 / choices.len() as f64;
    problems.clean_since(before).then(|| choices.into_iter().map(|choice| (choice, share)).collect())
}

/// The value of a text, a finite number or a boolean.
pub(crate) fn cell(node: &Node) -> Option<Cell> {
    match &node.value {
        Value::String(text) => Some(Cell::Text(text.clone())),
        Value::Integer(number) => Some(Cell::Integer(*number)),
        Value::Float(number) if number.is_finite() => Some(Cell::Number(*number)),
        Value::Bool(truth) => Some(Cell::Boolean(*truth)),
        _ => None,
    }
}

pub(crate) fn noun(option: &Cell) -> &'static str {
    match option {
        Cell::Integer(_) => "whole numbers",
        Cell::Boolean(_) => "booleans",
        _ => "texts",
    }
}

/// The numbers of a table of weights: at least 0, and not all 0.
pub(crate) fn weights(entries: &[Entry], path: &Path, problems: &mut Problems) -> Option<Vec<f64>> {
    let before = problems.mark();
    if entries.is_empty() {
        problems.error("bad-value", path.clone(), "there are no options");
    }
    let found = entries.iter().map(|entry| weight(&entry.node, &path.key(&entry.key), problems).unwrap_or_default());
    let weights: Vec<f64> = found.collect();
    if problems.clean_since(before) && weights.iter().sum::<f64>() == 0.0 {
        problems.error("bad-weight", path.clone(), "all weights are 0");
    }
    problems.clean_since(before).then_some(weights)
}

pub(crate) fn weight(node: &Node, path: &Path, problems: &mut Problems) -> Option<f64> {
    let (rule, fault) = match node.value {
        Value::Float(weight) if !weight.is_finite() => ("bad-weight", "must be a finite number".to_owned()),
        Value::Float(weight) if weight >= 0.0 => return Some(weight),
        Value::Integer(weight) if weight >= 0 => return Some(weight as f64),
        Value::Float(_) | Value::Integer(_) => ("bad-weight", "is negative".to_owned()),
        _ => ("wrong-type", format!("must be a number, not {}", node.kind_name())),
    };
    let key = path.last_key().unwrap_or_default();
    problems.error(rule, path.clone(), format!("the weight of `{key}` {fault}"));
    None
}

/// A number for a message, rounded to hide binary noise.
pub(crate) fn rounded(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
