//! Source text of parsed expressions.

use minijinja::Value;
use minijinja::machinery::ast::{BinOpKind, CallArg, CompareOpKind, Expr, UnaryOpKind};

/// The expression in Jinja, with brackets wherever an operand is not a single word, literal, call or path.
pub(super) fn unparsed(expr: &Expr<'_>) -> String {
    match expr {
        Expr::Var(var) => var.id.to_owned(),
        Expr::Const(value) => literal(&value.value),
        Expr::Slice(slice) => {
            let part = |part: &Option<Expr<'_>>| part.as_ref().map(unparsed).unwrap_or_default();
            let step = slice.step.as_ref().map(|step| format!(":{}", unparsed(step))).unwrap_or_default();
            format!("{}[{}:{}{step}]", operand(&slice.expr), part(&slice.start), part(&slice.stop))
        }
        Expr::UnaryOp(unary) => match unary.op {
            UnaryOpKind::Not => format!("not {}", operand(&unary.expr)),
            UnaryOpKind::Neg => format!("-{}", operand(&unary.expr)),
        },
        Expr::BinOp(binary) => format!("{} {} {}", operand(&binary.left), sign(&binary.op), operand(&binary.right)),
        Expr::Compare(chain) => {
            let rest = chain.ops.iter().map(|op| format!(" {} {}", comparison(&op.op), operand(&op.expr)));
            operand(&chain.expr) + &rest.collect::<String>()
        }
        Expr::IfExpr(choice) => {
            let otherwise = choice.false_expr.as_ref().map(|e| format!(" else {}", operand(e))).unwrap_or_default();
            format!("{} if {}{otherwise}", operand(&choice.true_expr), operand(&choice.test_expr))
        }
        Expr::Filter(filter) => {
            let input = filter.expr.as_ref().map(operand).unwrap_or_default();
            format!("{input} | {}{}", filter.name, with_arguments(&filter.args))
        }
        Expr::Test(test) => format!("{} is {}{}", operand(&test.expr), test.name, with_arguments(&test.args)),
        Expr::GetAttr(attr) => format!("{}.{}", operand(&attr.expr), attr.name),
        Expr::GetItem(item) => format!("{}[{}]", operand(&item.expr), unparsed(&item.subscript_expr)),
        Expr::Call(call) => format!("{}({})", operand(&call.expr), arguments(&call.args)),
        Expr::List(list) => format!("[{}]", all(&list.items)),
        Expr::Tuple(tuple) => format!("({},)", all(&tuple.items)),
        Expr::Map(map) => {
            let entries = map.keys.iter().zip(&map.values).map(|(k, v)| format!("{}: {}", unparsed(k), unparsed(v)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// The expression as part of a larger one.
pub(super) fn operand(expr: &Expr<'_>) -> String {
    match expr {
        Expr::Var(_) | Expr::Slice(_) | Expr::GetAttr(_) | Expr::GetItem(_) | Expr::Call(_) | Expr::List(_) => {
            unparsed(expr)
        }
        Expr::Const(value) if !value.value.to_string().starts_with('-') => unparsed(expr),
        _ => format!("({})", unparsed(expr)),
    }
}

pub(super) fn literal(value: &Value) -> String {
    match value.as_str() {
        Some(text) => serde_json::Value::from(text).to_string(),
        None if value.is_none() => "none".to_owned(),
        None => match value.to_string().as_str() {
            "True" => "true".to_owned(),
            "False" => "false".to_owned(),
            other => other.to_owned(),
        },
    }
}

fn all(items: &[Expr<'_>]) -> String {
    items.iter().map(unparsed).collect::<Vec<_>>().join(", ")
}

fn with_arguments(args: &[CallArg<'_>]) -> String {
    if args.is_empty() { String::new() } else { format!("({})", arguments(args)) }
}

fn arguments(args: &[CallArg<'_>]) -> String {
    let argument = |arg: &CallArg<'_>| match arg {
        CallArg::Pos(value) => unparsed(value),
        CallArg::Kwarg(name, value) => format!("{name}={}", unparsed(value)),
        CallArg::PosSplat(value) => format!("*{}", operand(value)),
        CallArg::KwargSplat(value) => format!("**{}", operand(value)),
    };
    args.iter().map(argument).collect::<Vec<_>>().join(", ")
}

fn sign(op: &BinOpKind) -> &'static str {
    match op {
        BinOpKind::Eq => "==",
        BinOpKind::Ne => "!=",
        BinOpKind::Lt => "<",
        BinOpKind::Lte => "<=",
        BinOpKind::Gt => ">",
        BinOpKind::Gte => ">=",
        BinOpKind::ScAnd => "and",
        BinOpKind::ScOr => "or",
        BinOpKind::Add => "+",
        BinOpKind::Sub => "-",
        BinOpKind::Mul => "*",
        BinOpKind::Div => "/",
        BinOpKind::FloorDiv => "//",
        BinOpKind::Rem => "%",
        BinOpKind::Pow => "**",
        BinOpKind::Concat => "~",
        BinOpKind::In => "in",
    }
}

pub(super) fn comparison(op: &CompareOpKind) -> &'static str {
    match op {
        CompareOpKind::Eq => "==",
        CompareOpKind::Ne => "!=",
        CompareOpKind::Lt => "<",
        CompareOpKind::Lte => "<=",
        CompareOpKind::Gt => ">",
        CompareOpKind::Gte => ">=",
        CompareOpKind::In => "in",
        CompareOpKind::NotIn => "not in",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::machinery::parse_expr;

    #[test]
    fn text_parses_to_the_same_tree() {
        for source in [
            "a.b[0]['c d'] == 'x\"\\n'",
            "-a ** 2 + 3 * (b - 1) // 2 % 4",
            "not a and (b or c) in [1, none, true]",
            "a if b else c[1:2:3] ~ d[:4]",
            "x | default('y', true) | round(precision=1) > 1.5e300",
            "x is not none and x is divisibleby(3)",
            "f(*a, **b) == {'k': [1, (2, 3)]}",
            "1 < a <= b not in c",
            "(-1) | abs == 1",
        ] {
            let shape = |source: &str| {
                let tree = format!("{:?}", parse_expr(source).unwrap());
                // The places differ.
                let parts = tree.split(" @ ").map(|part| part.trim_start_matches(|c: char| "0123456789:-".contains(c)));
                parts.collect::<String>()
            };
            let text = unparsed(&parse_expr(source).unwrap());
            assert_eq!(shape(&text), shape(source), "{source}: {text}");
        }
    }
}
