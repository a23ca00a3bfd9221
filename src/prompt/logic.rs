//! Logic of conditions: an expression becomes one that is true only where the condition is, also for nulls and for
//! negations of comparisons with null, and values that can't be compared are found before a run.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Test, UnaryOpKind};
use minijinja::machinery::parse_expr;

use super::compare::{COMPARE, MISSING, TRUTH};
use super::tree::{Known, Walk};
use super::unparse::{comparison, literal, operand, unparsed};
use crate::table::Shape;

/// A part of a condition that can't be meant so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) message: String,
    pub(crate) help: String,
}

/// Returns an expression that is true where `source` is; `None` if that does not parse.
pub(super) fn strict(source: &str, known: &Known) -> Option<(String, Vec<Mistake>)> {
    let expr = parse_expr(source).ok()?;
    let mut logic = Logic { walk: Walk::new(known), known, mistakes: Vec::new() };
    let strict = logic.truth(&expr, true);
    logic.mistakes.dedup();
    Some((strict, logic.mistakes))
}

struct Logic<'k> {
    walk: Walk<'k>,
    known: &'k Known,
    mistakes: Vec<Mistake>,
}

impl Logic<'_> {
    /// An expression that is true where `expr` is known to be `wanted`.
    fn truth(&mut self, expr: &Expr<'_>, wanted: bool) -> String {
        match expr {
            Expr::UnaryOp(unary) if matches!(unary.op, UnaryOpKind::Not) => self.truth(&unary.expr, !wanted),
            Expr::BinOp(binary) => match binary.op {
                BinOpKind::ScAnd => self.both(&binary.left, &binary.right, wanted, wanted),
                BinOpKind::ScOr => self.both(&binary.left, &binary.right, !wanted, wanted),
                BinOpKind::Eq => self.compared(&binary.left, "==", &binary.right, wanted),
                BinOpKind::Ne => self.compared(&binary.left, "!=", &binary.right, wanted),
                BinOpKind::Lt => self.compared(&binary.left, "<", &binary.right, wanted),
                BinOpKind::Lte => self.compared(&binary.left, "<=", &binary.right, wanted),
                BinOpKind::Gt => self.compared(&binary.left, ">", &binary.right, wanted),
                BinOpKind::Gte => self.compared(&binary.left, ">=", &binary.right, wanted),
                BinOpKind::In => self.compared(&binary.left, "in", &binary.right, wanted),
                _ => self.leaf(expr, wanted),
            },
            Expr::Compare(chain) => {
                let mut left = &chain.expr;
                let mut links = Vec::new();
                for op in &chain.ops {
                    let (sign, wanted) = match comparison(&op.op) {
                        "not in" => ("in", !wanted),
                        sign => (sign, wanted),
                    };
                    links.push(self.compared(left, sign, &op.expr, wanted));
                    left = &op.expr;
                }
                format!("({})", links.join(if wanted { " and " } else { " or " }))
            }
            Expr::IfExpr(choice) => {
                let test = self.truth(&choice.test_expr, true);
                let (yes, no) = (self.truth(&choice.true_expr, wanted), choice.false_expr.as_ref());
                let no = no.map_or("false".to_owned(), |no| self.truth(no, wanted));
                format!("(({yes}) if ({test}) else ({no}))")
            }
            Expr::Test(test) => self.tested(expr, test, wanted),
            _ => self.leaf(expr, wanted),
        }
    }

    fn both(&mut self, left: &Expr<'_>, right: &Expr<'_>, is_and: bool, wanted: bool) -> String {
        // A chain of the same operator needs no brackets, and must not nest them.
        let flat = |side: &Expr<'_>| match side {
            Expr::BinOp(binary) => match binary.op {
                BinOpKind::ScAnd => is_and == wanted,
                BinOpKind::ScOr => is_and != wanted,
                _ => true,
            },
            _ => false,
        };
        let brackets = |text: String, flat: bool| if flat { text } else { format!("({text})") };
        let left = brackets(self.truth(left, wanted), flat(left));
        let right = brackets(self.truth(right, wanted), flat(right));
        format!("{left} {} {right}", if is_and { "and" } else { "or" })
    }

    fn tested(&mut self, expr: &Expr<'_>, test: &Test<'_>, wanted: bool) -> String {
        let sign = match test.name {
            "eq" | "equalto" | "==" => "==",
            "ne" | "!=" => "!=",
            "lt" | "lessthan" | "<" => "<",
            "le" | "<=" => "<=",
            "gt" | "greaterthan" | ">" => ">",
            "ge" | ">=" => ">=",
            "in" => "in",
            _ => "",
        };
        match test.args.as_slice() {
            [CallArg::Pos(other)] if !sign.is_empty() => self.compared(&test.expr, sign, other, wanted),
            _ if wanted => format!("({})", unparsed(expr)),
            _ => format!("not ({})", unparsed(expr)),
        }
    }

    fn leaf(&mut self, expr: &Expr<'_>, wanted: bool) -> String {
        let shown = unparsed(expr);
        // The filter does what a condition does.
        let tested = match expr {
            Expr::Filter(filter) if filter.name == "bool" => filter.expr.as_ref().unwrap_or(expr),
            _ => expr,
        };
        if self.walk.value(tested) == Shape::Text {
            let text = unparsed(tested);
            let message = format!("`{text}` is text, and every text counts as true, also \"False\" and \"0\"");
            let types = self.cure(tested, "boolean");
            self.mistakes.push(Mistake { message, help: format!("write `{} == \"True\"`{types}", operand(tested)) });
        }
        format!("{}|{TRUTH}({wanted}, {})", operand(expr), literal(&shown.into()))
    }

    fn compared(&mut self, left: &Expr<'_>, sign: &str, right: &Expr<'_>, wanted: bool) -> String {
        let shown = format!("{} {sign} {}", operand(left), operand(right));
        if let (true, Some(tested)) = (matches!(sign, "==" | "!="), beside_none(left, right)) {
            let missing = format!("({}|{MISSING})", operand(tested));
            return if (sign == "==") == wanted { missing } else { format!("not {missing}") };
        }
        let shapes = (self.walk.value(left), self.walk.value(right));
        match (sign, &shapes.1, right) {
            ("in", _, Expr::List(list)) => {
                for item in &list.items {
                    let item_shape = self.walk.value(item);
                    self.check((left, &shapes.0), (item, &item_shape), &shown);
                }
            }
            ("in", Shape::List(item), _) => self.check((left, &shapes.0), (right, item), &shown),
            ("in", Shape::Object(_), _) => {}
            _ => self.check((left, &shapes.0), (right, &shapes.1), &shown),
        }
        let shown = literal(&shown.into());
        format!("({}|{COMPARE}(\"{sign}\", {}, {wanted}, {shown}))", operand(left), unparsed(right))
    }

    fn check(&mut self, left: (&Expr<'_>, &Shape), right: (&Expr<'_>, &Shape), shown: &str) {
        let (Some(one), Some(other)) = (class(left.1), class(right.1)) else { return };
        if one == other {
            return;
        }
        let (named, kind) = if let Expr::Const(_) = left.0 { (right.0, other) } else { (left.0, one) };
        let message = format!("`{shown}` compares {one} with {other}: `{}` is {kind}", unparsed(named));
        let help = self
            .help(left, right)
            .or_else(|| self.help(right, left))
            .unwrap_or_else(|| format!("compare it with {one}, or convert one side: `| int`, `| float` or `| string`"));
        self.mistakes.push(Mistake { message, help });
    }

    /// What to write instead of a comparison of `one` with `other`.
    fn help(&self, one: (&Expr<'_>, &Shape), other: (&Expr<'_>, &Shape)) -> Option<String> {
        let words = operand(one.0);
        let written = match other.0 {
            Expr::Const(value) => value.value.to_string(),
            _ => String::new(),
        };
        match (one.1, other.1) {
            (Shape::Text, Shape::Integer) => Some(format!("write `{words} | int`{}", self.cure(one.0, "integer"))),
            (Shape::Text, Shape::Number) => Some(format!("write `{words} | float`{}", self.cure(one.0, "number"))),
            (Shape::Text, Shape::Boolean) if !matches!(one.0, Expr::Const(_)) => {
                Some(format!("write `{words} == \"True\"`{}", self.cure(one.0, "boolean")))
            }
            (Shape::Integer | Shape::Number, Shape::Text) if written.trim().parse::<f64>().is_ok() => {
                Some(format!("write the number without quotation marks: {}", written.trim()))
            }
            (Shape::Boolean, Shape::Text | Shape::Integer) if !matches!(one.0, Expr::Const(_)) => {
                Some(format!("write `{words}` or `not {words}`"))
            }
            _ => None,
        }
    }

    /// The other way out for a column that is text in its file.
    fn cure(&self, expr: &Expr<'_>, kind: &str) -> String {
        match expr {
            Expr::Var(var) if self.known.columns.contains_key(var.id) => {
                format!(", or set `types = {{ {} = \"{kind}\" }}` in the source", var.id)
            }
            _ => String::new(),
        }
    }
}

/// The other side of a comparison with `none`.
fn beside_none<'e, 'a>(left: &'e Expr<'a>, right: &'e Expr<'a>) -> Option<&'e Expr<'a>> {
    let is_none = |expr: &Expr<'_>| matches!(expr, Expr::Const(value) if value.value.is_none());
    match (is_none(left), is_none(right)) {
        (false, true) => Some(left),
        (true, false) => Some(right),
        _ => None,
    }
}

/// What can be compared with each other; `None` where that is known only in a run.
fn class(shape: &Shape) -> Option<&'static str> {
    match shape {
        Shape::Null | Shape::Any => None,
        Shape::Integer | Shape::Number => Some("a number"),
        other => Some(other.words()),
    }
}
