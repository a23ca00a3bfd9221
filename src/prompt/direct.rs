//! Direct conditions: comparisons of columns and constants, evaluated without the template engine, whose start costs more
//! than the comparison. They run the same filters in the same order.

use arrow_schema::Schema;
use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Filter, UnaryOpKind};
use minijinja::machinery::parse_expr;
use minijinja::{Error, Value};

use super::compare::{COMPARE, MISSING, TRUTH, compare, is_missing, truth};
use super::nested::value_of;
use super::tree::ROW;
use crate::table::Row;

#[derive(Debug)]
pub(super) enum Direct {
    /// `and`, or else `or`.
    Both(Box<Direct>, bool, Box<Direct>),
    Not(Box<Direct>),
    Compared {
        left: Operand,
        sign: String,
        right: Operand,
        wanted: bool,
        shown: String,
    },
    Truth {
        value: Operand,
        wanted: bool,
        shown: String,
    },
    Missing(Operand),
}

#[derive(Debug)]
pub(super) enum Operand {
    Column(usize),
    Constant(Value),
}

impl Operand {
    fn value(&self, row: Row<'_>) -> Value {
        match self {
            Operand::Column(column) => value_of(row.cell(*column)),
            Operand::Constant(value) => value.clone(),
        }
    }
}

impl Direct {
    /// The condition that the strict expression `text` makes; `None` if it needs the engine. The values of `others` are
    /// not those of columns.
    pub(super) fn new(text: &str, input: &Schema, others: &[&str]) -> Option<Self> {
        let column = |name: &str| input.index_of(name).ok().filter(|_| name != ROW && !others.contains(&name));
        direct(&parse_expr(text).ok()?, &column)
    }

    pub(super) fn holds(&self, row: Row<'_>) -> Result<bool, Error> {
        match self {
            Direct::Both(left, is_and, right) => match left.holds(row)? == *is_and {
                true => right.holds(row),
                false => Ok(!is_and),
            },
            Direct::Not(inner) => inner.holds(row).map(|holds| !holds),
            Direct::Compared { left, sign, right, wanted, shown } => {
                compare(&left.value(row), sign, &right.value(row), *wanted, shown)
            }
            Direct::Truth { value, wanted, shown } => truth(&value.value(row), *wanted, shown),
            Direct::Missing(value) => Ok(is_missing(&value.value(row))),
        }
    }
}

fn direct(expr: &Expr<'_>, column: &impl Fn(&str) -> Option<usize>) -> Option<Direct> {
    match expr {
        Expr::BinOp(binary) => {
            let is_and = match binary.op {
                BinOpKind::ScAnd => true,
                BinOpKind::ScOr => false,
                _ => return None,
            };
            let (left, right) = (direct(&binary.left, column)?, direct(&binary.right, column)?);
            Some(Direct::Both(Box::new(left), is_and, Box::new(right)))
        }
        Expr::UnaryOp(unary) if matches!(unary.op, UnaryOpKind::Not) => {
            Some(Direct::Not(Box::new(direct(&unary.expr, column)?)))
        }
        Expr::Test(test) if test.name == "none" && test.args.is_empty() => {
            operand(&test.expr, column).map(Direct::Missing)
        }
        Expr::Filter(filter) => filtered(filter, column),
        _ => None,
    }
}

fn operand(expr: &Expr<'_>, column: &impl Fn(&str) -> Option<usize>) -> Option<Operand> {
    match expr {
        Expr::Var(var) => column(var.id).map(Operand::Column),
        Expr::Const(_) | Expr::List(_) => expr.as_const().map(Operand::Constant),
        Expr::UnaryOp(unary) if matches!(unary.expr, Expr::Const(_)) => expr.as_const().map(Operand::Constant),
        _ => None,
    }
}

fn filtered(filter: &Filter<'_>, column: &impl Fn(&str) -> Option<usize>) -> Option<Direct> {
    let constant = |arg: &CallArg<'_>| match arg {
        CallArg::Pos(Expr::Const(constant)) => Some(constant.value.clone()),
        _ => None,
    };
    let text = |arg: &CallArg<'_>| constant(arg)?.as_str().map(str::to_owned);
    let value = operand(filter.expr.as_ref()?, column)?;
    match (filter.name, filter.args.as_slice()) {
        (COMPARE, [sign, CallArg::Pos(right), wanted, shown]) => Some(Direct::Compared {
            left: value,
            sign: text(sign)?,
            right: operand(right, column)?,
            wanted: constant(wanted)?.is_true(),
            shown: text(shown)?,
        }),
        (TRUTH, [wanted, shown]) => {
            Some(Direct::Truth { value, wanted: constant(wanted)?.is_true(), shown: text(shown)? })
        }
        (MISSING, []) => Some(Direct::Missing(value)),
        _ => None,
    }
}
