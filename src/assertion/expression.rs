//! `type = "expression"`: an expression over the figures of the whole table is true.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::config::{Assertion, AssertionConfig, Check, Rule};
use super::context::TestContext;
use super::finding::{Finding, RowsView, rounded};
use crate::document::{Path, Problems};
use crate::name::{listed, nearest};
use crate::prompt::{Claim, Figure};
use crate::registry::Kind;
use crate::table::{Cell, Type};

pub(crate) const KIND: Kind<Box<dyn AssertionConfig>> =
    Kind::new::<Expression>("expression", "An expression over the figures of the whole table is true.");

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Expression {
    /// A Jinja expression such as `rows > 30 and failed == 0 and shares.refund > 0.1`. It knows `rows`, `failed` (rows
    /// with a failed call), and of a column `shares.<column>` (how many of its booleans are true, from 0 to 1),
    /// `means.<column>` (of its numbers) and `nulls.<column>`. Shares and means leave null out.
    expression: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Shares,
    Means,
    Nulls,
}

const GROUPS: [(&str, Group); 3] = [("shares", Group::Shares), ("means", Group::Means), ("nulls", Group::Nulls)];
const WHOLE: [&str; 2] = ["rows", "failed"];

#[derive(Debug)]
struct Bound {
    claim: Claim,
    errors: Vec<usize>,
    used: Vec<(Group, usize, String)>,
    whole: Vec<&'static str>,
}

impl AssertionConfig for Expression {
    fn bind(&self, context: &TestContext<'_>, problems: &mut Problems) -> Option<Assertion> {
        let at = context.path.key("expression");
        let claim = match Claim::new(&self.expression) {
            Ok(claim) => claim,
            Err(message) => {
                let message = format!("the expression does not compile: {message}");
                problems.error("bad-template", at, message);
                return None;
            }
        };
        let before = problems.mark();
        let (mut used, mut whole) = (Vec::new(), Vec::new());
        for figure in claim.figures() {
            let (name, part) = match figure.split_once('.') {
                Some((name, part)) => (name, Some(part)),
                None => (figure.as_str(), None),
            };
            let group = GROUPS.iter().find(|(group, _)| *group == name).map(|(_, group)| *group);
            let fitting = |group: Group| {
                let columns = (0..context.schema.fields().len()).filter(move |column| group.fits(context, *column));
                columns.map(move |column| (group, column, format!("{name}.{}", context.name(column))))
            };
            match (group, part) {
                (None, None) if WHOLE.contains(&name) => whole.extend(WHOLE.iter().find(|w| **w == name)),
                // The expression uses the whole group: in a loop, or with a name that is not a word.
                (Some(group), None) => used.extend(fitting(group)),
                (Some(group), Some(part)) => {
                    match fitting(group).find(|(_, column, _)| context.name(*column) == part) {
                        Some(found) => used.push(found),
                        None => {
                            let names: Vec<&str> = fitting(group).map(|(_, column, _)| context.name(column)).collect();
                            unknown(&figure, part, (&format!("{name}."), &names), at.clone(), problems);
                        }
                    }
                }
                _ => {
                    let names: Vec<&str> = WHOLE.iter().copied().chain(GROUPS.map(|(group, _)| group)).collect();
                    unknown(&figure, name, ("", &names), at.clone(), problems);
                }
            }
        }
        used.sort();
        used.dedup();
        if problems.had_errors_since(before) {
            return None;
        }
        let mut errors: Vec<usize> = context.stages.iter().flat_map(|stage| stage.errors.iter().copied()).collect();
        errors.retain(|_| whole.contains(&"failed"));
        let words = claim.source().split_whitespace().collect::<Vec<_>>().join(" ");
        let reads = errors.iter().copied().chain(used.iter().map(|(_, column, _)| *column)).collect();
        Some(Assertion::new(words, reads, Bound { claim, errors, used, whole }))
    }
}

/// Reports a figure that does not exist. Compares `name` with `names`, which all follow `prefix`.
fn unknown(figure: &str, name: &str, (prefix, names): (&str, &[&str]), at: Path, problems: &mut Problems) {
    let problem = problems.error("unknown-variable", at, format!("this table has no figure `{figure}`"));
    match nearest(name, names.iter().copied()) {
        Some(near) => problem.meant(Some(&format!("{prefix}{near}"))),
        None if names.is_empty() => problem,
        None => problem.help(format!("known here: {}", listed(names.iter().copied()))),
    };
}

impl Group {
    fn fits(self, context: &TestContext<'_>, column: usize) -> bool {
        let kind = context.kind(column);
        match self {
            Group::Shares => kind == Type::Boolean,
            Group::Means => kind.is_numeric(),
            Group::Nulls => true,
        }
    }
}

impl Rule for Bound {
    fn check(&self) -> Box<dyn Check + '_> {
        Box::new(Sums { bound: self, failed: 0, sums: vec![Sum::default(); self.used.len()] })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    nulls: u64,
    values: u64,
    sum: f64,
}

struct Sums<'a> {
    bound: &'a Bound,
    failed: u64,
    sums: Vec<Sum>,
}

impl Check for Sums<'_> {
    fn take(&mut self, rows: &RowsView<'_>) {
        let failed = |row: &usize| self.bound.errors.iter().any(|column| !rows.array(*column).is_null(*row));
        self.failed += (0..rows.len()).filter(failed).count() as u64;
        for ((group, column, _), sum) in self.bound.used.iter().zip(&mut self.sums) {
            let nulls = rows.array(*column).null_count();
            sum.nulls += nulls as u64;
            sum.values += (rows.len() - nulls) as u64;
            if *group != Group::Nulls {
                sum.sum += (0..rows.len()).map(|row| number(&rows.cell(*column, row))).sum::<f64>();
            }
        }
    }

    fn finding(self: Box<Self>, rows: u64) -> Finding {
        let mut figures = BTreeMap::new();
        let (mut told, mut missing) = (Vec::new(), Vec::new());
        for name in &self.bound.whole {
            let figure = if *name == "rows" { rows } else { self.failed };
            told.push(format!("{name} = {figure}"));
            figures.insert((*name).to_owned(), Figure::Count(figure));
        }
        for ((group, _, name), sum) in self.bound.used.iter().zip(&self.sums) {
            let figure = match group {
                Group::Nulls => Figure::Count(sum.nulls),
                // Without values the figure does not exist, and an expression that needs it can't be true.
                _ if sum.values == 0 => {
                    missing.push(format!("{name} is unknown: no row has a value"));
                    continue;
                }
                Group::Shares | Group::Means => Figure::Number(sum.sum / sum.values as f64),
            };
            told.push(match &figure {
                Figure::Number(number) => format!("{name} = {}", rounded(*number)),
                _ => format!("{name} = {}", sum.nulls),
            });
            let (group, column) = name.split_once('.').unwrap_or((name, ""));
            let groups = figures.entry(group.to_owned()).or_insert_with(|| Figure::Group(BTreeMap::new()));
            if let Figure::Group(inner) = groups {
                inner.insert(column.to_owned(), figure);
            }
        }
        match self.bound.claim.holds(&figures) {
            Ok(holds) => Finding::whole(holds, told.join(", ")),
            Err(message) => Finding::whole(false, missing.into_iter().next().unwrap_or(message)),
        }
    }
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Boolean(b) => f64::from(u8::from(*b)),
        Cell::Integer(i) => *i as f64,
        Cell::Number(n) => *n,
        _ => 0.0,
    }
}
