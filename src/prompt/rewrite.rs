//! Rewriting of templates: steps into nested columns become one filter, and names that a column hides are made plain.

use std::ops::Range;

use super::nested::AT;
use super::render_budget::{FUNCTION, FUNCTIONS};
use super::tokens::{TokenKind, tokens};
use super::tree::{Access, Known, ROW, Variable, Walk};
use super::unparse::literal;
use crate::table::Shape;
use crate::table::json::Step;

/// The variable that holds all columns where a column is called `row`.
pub(super) const ALL_COLUMNS: &str = "_columns";

#[derive(Debug, Default)]
pub(super) struct Rewritten {
    /// `None` if nothing changes.
    pub(super) text: Option<String>,
    /// Whether all columns are in [`ALL_COLUMNS`].
    pub(super) hides_row: bool,
}

pub(super) fn rewritten(source: &str, walk: &Walk<'_>, known: &Known) -> Rewritten {
    let hides_row = known.columns.contains_key(ROW);
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for access in &walk.accesses {
        edits.extend(edit(access, source, known, hides_row));
    }
    for (name, span) in &walk.calls {
        if known.variables.contains_key(name) && FUNCTIONS.contains(&name.as_str()) {
            edits.push((span.clone(), format!("{FUNCTION}{name}")));
        }
    }
    edits.sort_by_key(|(span, _)| (span.start, std::cmp::Reverse(span.end)));
    let (mut text, mut from) = (String::with_capacity(source.len()), 0);
    let any = !edits.is_empty();
    for (span, new) in edits {
        // An expression that the engine compiles twice is walked twice.
        if span.start >= from {
            text.push_str(&source[from..span.start]);
            text.push_str(&new);
            from = span.end;
        }
    }
    text.push_str(&source[from..]);
    Rewritten { text: any.then_some(text), hides_row }
}

fn edit(access: &Access, source: &str, known: &Known, hides_row: bool) -> Option<(Range<usize>, String)> {
    let start = access.span.start;
    if access.name != ROW || access.steps.is_empty() && access.is_looped {
        let variable = known.variables.get(&access.name)?;
        let (end, steps) = stepped(variable, &access.steps, source, start)?;
        return Some((start..end.max(access.span.end), format!("({}|{AT}({steps}))", access.name)));
    }
    let all = if hides_row { ALL_COLUMNS } else { ROW };
    let Some((Step::Key(column), end)) = access.steps.first() else {
        return hides_row.then(|| (access.span.clone(), ALL_COLUMNS.to_owned()));
    };
    let base = format!("{all}[{}]", literal(&column.as_str().into()));
    match known.columns.get(column).and_then(|column| stepped(column, &access.steps[1..], source, start)) {
        Some((end_of_steps, steps)) if !steps.is_empty() || access.is_looped => {
            Some((start..end_of_steps.max(*end), format!("({base}|{AT}({steps}))")))
        }
        _ if !hides_row => None,
        _ if is_whole(&source[start..*end]) => Some((start..*end, base)),
        _ => Some((access.span.clone(), ALL_COLUMNS.to_owned())),
    }
}

/// The end of the steps into a nested column, and the steps as arguments; `None` for a column that is not nested.
fn stepped(variable: &Variable, steps: &[(Step, usize)], source: &str, start: usize) -> Option<(usize, String)> {
    if !variable.is_deep {
        return None;
    }
    let (mut shape, mut end, mut taken) = (variable.shape.clone(), start, Vec::new());
    for (step, after) in steps {
        // A text has characters; the engine takes those itself.
        if matches!((&shape, step), (Shape::Text, Step::Index(_))) || !is_whole(&source[start..*after]) {
            break;
        }
        shape = shape.step(step).unwrap_or(Shape::Any);
        end = *after;
        taken.push(match step {
            Step::Key(key) => literal(&key.as_str().into()),
            Step::Index(index) => index.to_string(),
        });
    }
    Some((end, taken.join(", ")))
}

/// Whether no bracket begins or ends outside.
fn is_whole(text: &str) -> bool {
    let mut open = 0_i32;
    for token in tokens(text) {
        match token.kind {
            TokenKind::Open => open += 1,
            TokenKind::Close => open -= 1,
            _ => {}
        }
        if open < 0 {
            return false;
        }
    }
    open == 0
}
