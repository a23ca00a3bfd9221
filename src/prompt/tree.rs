//! Syntax trees of templates: which values of a row a template reads, and which of its names do not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use arrow_schema::{DataType, Field, Schema};
use minijinja::machinery::ast::{BinOpKind, Call, CallArg, CallType, Expr, Filter, Macro, Stmt, UnaryOpKind};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::render_budget::{FILTERS, FUNCTIONS, TESTS};
use super::unparse::unparsed;
use crate::name::{listed, nearest};
use crate::table::Shape;
use crate::table::json::Step;

/// The variable through which a template reads any column by its name.
pub(super) const ROW: &str = "row";

/// What is known of a variable.
#[derive(Clone, Debug)]
pub(super) struct Variable {
    pub(super) shape: Shape,
    /// Whether its value is JSON text, which has this shape only for those who reach into it.
    pub(super) is_json: bool,
    /// Whether steps into it lead through objects, or through lists of lists or objects.
    pub(super) is_deep: bool,
}

impl Variable {
    pub(super) fn unknown() -> Self {
        Variable { shape: Shape::Any, is_json: false, is_deep: false }
    }

    pub(super) fn of(field: &Field) -> Self {
        let (shape, is_json) = (Shape::of(field), Shape::is_json(field));
        let is_deep = match (field.data_type(), &shape) {
            (DataType::Struct(_) | DataType::Map(..), _) => true,
            (_, Shape::List(item)) => is_json || item.is_nested() || matches!(**item, Shape::Any),
            _ => is_json,
        };
        Variable { shape, is_json, is_deep }
    }

    /// The shape of the value itself.
    fn bare(&self) -> Shape {
        if self.is_json { Shape::Text } else { self.shape.clone() }
    }
}

/// The variables of a template.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) variables: BTreeMap<String, Variable>,
    pub(super) columns: BTreeMap<String, Variable>,
}

impl Known {
    /// `text` is the column of this number if there is one; nothing is known of `others`.
    pub(super) fn new(input: &Schema, text: Option<usize>, others: &[&str]) -> Self {
        let columns = input.fields().iter().map(|field| (field.name().clone(), Variable::of(field)));
        let columns: BTreeMap<String, Variable> = columns.collect();
        let mut variables = columns.clone();
        variables.extend(text.map(|text| ("text".to_owned(), Variable::of(input.field(text)))));
        variables.extend(others.iter().map(|name| ((*name).to_owned(), Variable::unknown())));
        Known { variables, columns }
    }
}

/// The name by which a template calls its own blocks.
const ITSELF: &str = "self";

/// A variable that is reached into: `user.name`, `row["a b"]`, or the `tags` in a loop.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) name: String,
    /// The place of the variable in the source.
    pub(super) span: Range<usize>,
    /// The constant steps, each with the place where it ends.
    pub(super) steps: Vec<(Step, usize)>,
    pub(super) is_looped: bool,
}

impl Access {
    /// The column that the first step from `row` leads to, if it is a constant.
    pub(super) fn column(&self, input: &Schema) -> Option<usize> {
        match self.steps.first() {
            Some((Step::Key(name), _)) => input.index_of(name).ok(),
            _ => None,
        }
    }

    /// The column that a step from `row` leads to but is not there.
    pub(super) fn unknown_column(&self, input: &Schema) -> Option<String> {
        match &self.steps.first()?.0 {
            Step::Key(name) => input.index_of(name).is_err().then(|| name.clone()),
            Step::Index(index) => Some(index.to_string()),
        }
    }
}

/// A name or a part that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) rule: &'static str,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) line: usize,
}

pub(super) struct Walk<'k> {
    known: &'k Known,
    locals: Vec<BTreeMap<String, Shape>>,
    pub(super) faults: Vec<Fault>,
    pub(super) accesses: Vec<Access>,
    /// Whether `row` is used whole.
    pub(super) whole_row: bool,
    /// The places of the names of functions that are called.
    pub(super) calls: Vec<(String, Range<usize>)>,
}

impl<'k> Walk<'k> {
    pub(super) fn new(known: &'k Known) -> Self {
        let (locals, faults, accesses, calls) = (vec![BTreeMap::new()], Vec::new(), Vec::new(), Vec::new());
        Walk { known, locals, faults, accesses, whole_row: false, calls }
    }

    /// Walks a template; one that does not parse has no tree.
    pub(super) fn template(&mut self, source: &str) {
        let parsed: Result<Stmt<'_>, Error> = minijinja::machinery::parse(source, "prompt", Default::default());
        if let Ok(tree) = parsed {
            self.statement(&tree);
        }
    }

    /// The names that are called though there is no function of this name.
    pub(super) fn unknown_calls(&self) -> BTreeSet<String> {
        self.calls.iter().map(|(name, _)| name.clone()).filter(|name| !FUNCTIONS.contains(&name.as_str())).collect()
    }

    fn fault(&mut self, expr: &Expr<'_>, message: String, help: Option<String>) {
        self.faults.push(Fault { rule: "bad-template", message, help, line: expr.span().start_line.into() });
    }

    fn scope(&mut self, names: impl IntoIterator<Item = (String, Shape)>, body: &[Stmt<'_>]) {
        self.locals.push(names.into_iter().collect());
        body.iter().for_each(|statement| self.statement(statement));
        self.locals.pop();
    }

    fn define(&mut self, target: &Expr<'_>, shape: Shape) {
        let names = targets(target, shape);
        self.locals.last_mut().expect("there is always a scope").extend(names);
    }

    fn statement(&mut self, statement: &Stmt<'_>) {
        match statement {
            Stmt::Template(all) => all.children.iter().for_each(|child| self.statement(child)),
            Stmt::EmitExpr(emit) => drop(self.value(&emit.expr)),
            Stmt::ForLoop(turns) => {
                let items = match self.access(&turns.iter, true) {
                    Shape::List(item) => *item,
                    Shape::Text | Shape::Object(_) => Shape::Text,
                    _ => Shape::Any,
                };
                let mut names = targets(&turns.target, items);
                names.push(("loop".to_owned(), Shape::Any));
                self.locals.push(names.iter().cloned().collect());
                turns.filter_expr.iter().for_each(|filter| drop(self.value(filter)));
                self.locals.pop();
                self.scope(names, &turns.body);
                self.scope([], &turns.else_body);
            }
            Stmt::IfCond(choice) => {
                self.value(&choice.expr);
                choice.true_body.iter().chain(&choice.false_body).for_each(|child| self.statement(child));
            }
            Stmt::WithBlock(with) => {
                self.locals.push(BTreeMap::new());
                for (target, value) in &with.assignments {
                    let shape = self.value(value);
                    self.define(target, shape);
                }
                self.scope([], &with.body);
                self.locals.pop();
            }
            Stmt::Set(set) => {
                let shape = self.value(&set.expr);
                self.define(&set.target, shape);
            }
            Stmt::SetBlock(set) => {
                set.filter.iter().for_each(|filter| drop(self.value(filter)));
                self.scope([], &set.body);
                self.define(&set.target, Shape::Any);
            }
            Stmt::AutoEscape(block) => self.scope([], &block.body),
            Stmt::FilterBlock(block) => {
                self.value(&block.filter);
                self.scope([], &block.body);
            }
            Stmt::Block(block) => self.scope([], &block.body),
            Stmt::Macro(own) => self.own_macro(own),
            Stmt::CallBlock(block) => {
                self.call(&block.call);
                self.own_macro(&block.macro_decl);
            }
            Stmt::Do(action) => drop(self.call(&action.call)),
            _ => {}
        }
    }

    fn own_macro(&mut self, own: &Macro<'_>) {
        self.locals.last_mut().expect("there is always a scope").insert(own.name.to_owned(), Shape::Any);
        own.defaults.iter().for_each(|value| drop(self.value(value)));
        let mut names: Vec<_> = own.args.iter().flat_map(|arg| targets(arg, Shape::Any)).collect();
        names.push(("caller".to_owned(), Shape::Any));
        self.scope(names, &own.body);
    }

    fn local(&self, name: &str) -> Option<&Shape> {
        self.locals.iter().rev().find_map(|scope| scope.get(name))
    }

    /// Walks an expression; returns the shape of its value.
    pub(super) fn value(&mut self, expr: &Expr<'_>) -> Shape {
        match expr {
            Expr::Var(var) => {
                self.whole_row |= var.id == ROW;
                if var.id == ITSELF && self.known.columns.contains_key(ITSELF) && self.local(ITSELF).is_none() {
                    let help = "write `row[\"self\"]` for the column".to_owned();
                    self.fault(expr, "`self` is the template, not the column".to_owned(), Some(help));
                }
                match (self.local(var.id), self.known.variables.get(var.id)) {
                    (Some(shape), _) => shape.clone(),
                    (None, known) => known.map_or(Shape::Any, Variable::bare),
                }
            }
            Expr::Const(value) => shape_of(&value.value),
            Expr::Slice(slice) => {
                let of = self.value(&slice.expr);
                [&slice.start, &slice.stop, &slice.step].into_iter().flatten().for_each(|e| drop(self.value(e)));
                if matches!(of, Shape::Text | Shape::List(_)) { of } else { Shape::Any }
            }
            Expr::UnaryOp(unary) => match (self.value(&unary.expr), &unary.op) {
                (_, UnaryOpKind::Not) => Shape::Boolean,
                (number @ (Shape::Integer | Shape::Number), UnaryOpKind::Neg) => number,
                _ => Shape::Any,
            },
            Expr::BinOp(binary) => {
                let (left, right) = (self.value(&binary.left), self.value(&binary.right));
                result(&binary.op, left, right)
            }
            Expr::Compare(chain) => {
                self.value(&chain.expr);
                chain.ops.iter().for_each(|op| drop(self.value(&op.expr)));
                Shape::Boolean
            }
            Expr::IfExpr(choice) => {
                self.value(&choice.test_expr);
                let mut shape = self.value(&choice.true_expr);
                shape.join(choice.false_expr.as_ref().map_or(Shape::Any, |other| self.value(other)));
                shape
            }
            Expr::Filter(filter) => self.filter(expr, filter),
            Expr::Test(test) => {
                self.value(&test.expr);
                self.arguments(&test.args);
                self.exists(expr, "test", test.name, &TESTS);
                Shape::Boolean
            }
            Expr::GetAttr(_) | Expr::GetItem(_) => self.access(expr, false),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.items(&list.items),
            Expr::Tuple(tuple) => self.items(&tuple.items),
            Expr::Map(map) => {
                map.keys.iter().chain(&map.values).for_each(|part| drop(self.value(part)));
                Shape::Any
            }
        }
    }

    fn items(&mut self, items: &[Expr<'_>]) -> Shape {
        let mut item = Shape::Null;
        items.iter().for_each(|e| {
            let shape = self.value(e);
            item.join(shape);
        });
        Shape::List(Box::new(item))
    }

    fn arguments(&mut self, args: &[CallArg<'_>]) {
        for arg in args {
            let (CallArg::Pos(value)
            | CallArg::Kwarg(_, value)
            | CallArg::PosSplat(value)
            | CallArg::KwargSplat(value)) = arg;
            self.value(value);
        }
    }

    fn exists(&mut self, expr: &Expr<'_>, what: &str, name: &str, all: &[&str]) {
        if all.contains(&name) || name.starts_with('_') {
            return;
        }
        let help = match nearest(name, all.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the {what}s are {}", listed(all.iter().copied())),
        };
        self.fault(expr, format!("there is no {what} `{name}`"), Some(help));
    }

    fn filter(&mut self, expr: &Expr<'_>, filter: &Filter<'_>) -> Shape {
        let input = filter.expr.as_ref().map_or(Shape::Text, |input| self.value(input));
        self.arguments(&filter.args);
        self.exists(expr, "filter", filter.name, &FILTERS);
        let named = |place: usize| match filter.args.get(place) {
            Some(CallArg::Pos(Expr::Const(name))) => name.value.as_str().map(str::to_owned),
            _ => None,
        };
        let (what, name, all): (_, _, &[&str]) = match filter.name {
            "map" => ("filter", named(0), &FILTERS),
            "select" | "reject" => ("test", named(0), &TESTS),
            _ => ("test", named(1).filter(|_| matches!(filter.name, "selectattr" | "rejectattr")), &TESTS),
        };
        name.into_iter().for_each(|name| self.exists(expr, what, &name, all));
        match filter.name {
            "length" | "count" | "int" => Shape::Integer,
            "float" | "round" | "sum" | "abs" => Shape::Number,
            "bool" => Shape::Boolean,
            "capitalize" | "escape" | "e" | "format" | "indent" | "join" | "lower" | "replace" | "string" | "title"
            | "trim" | "upper" | "pprint" => Shape::Text,
            "list" | "sort" | "unique" | "select" | "reject" if matches!(input, Shape::List(_)) => input,
            "first" | "last" | "min" | "max" => match input {
                Shape::List(item) => *item,
                _ => Shape::Any,
            },
            _ => Shape::Any,
        }
    }

    fn call(&mut self, call: &Call<'_>) -> Shape {
        self.arguments(&call.args);
        let what = &call.expr;
        match call.identify_call() {
            CallType::Function(name) if self.local(name).is_some() => {}
            CallType::Function(name) => {
                self.calls.push((name.to_owned(), place(what)));
                if !FUNCTIONS.contains(&name) {
                    let help = match FILTERS.contains(&name) {
                        true => format!("`{name}` is a filter: write `… | {name}`"),
                        false => format!("the functions are {}", listed(FUNCTIONS.iter().copied())),
                    };
                    self.fault(what, format!("there is no function `{name}`"), Some(help));
                }
            }
            CallType::Method(of, name) => {
                self.access(of, false);
                let is_loop = matches!(of, Expr::Var(var) if self.local(var.id).is_some());
                if !is_loop {
                    let filter = match name {
                        "strip" | "lstrip" | "rstrip" => "trim",
                        name => name,
                    };
                    let help = FILTERS.contains(&filter).then(|| format!("write `{} | {filter}`", unparsed(of)));
                    self.fault(what, format!("`{}`: values have no method `{name}`", unparsed(what)), help);
                }
            }
            CallType::Object(of) => drop(self.value(of)),
            CallType::Block(_) => {}
        }
        Shape::Any
    }

    /// Walks an expression that is reached into or looped over; returns the shape of what it leads to.
    fn access(&mut self, expr: &Expr<'_>, is_looped: bool) -> Shape {
        let (root, steps) = unrolled(expr);
        let mut shape = match root {
            Expr::Var(var) if self.local(var.id).is_none() => {
                let name = var.id.to_owned();
                self.accesses.push(Access { name, span: place(root), steps: steps.clone(), is_looped });
                match self.known.variables.get(var.id) {
                    _ if var.id == ROW && !steps.is_empty() => return self.row(expr, &steps, is_looped),
                    _ if var.id == ROW && !is_looped => return Shape::Any,
                    Some(variable) => variable.shape.clone(),
                    None => Shape::Any,
                }
            }
            Expr::GetItem(item) => {
                let of = self.access(&item.expr, false);
                self.value(&item.subscript_expr);
                match of {
                    Shape::List(item) => *item,
                    Shape::Text => Shape::Text,
                    _ => Shape::Any,
                }
            }
            other => self.value(other),
        };
        for (step, _) in &steps {
            shape = self.stepped(expr, shape, step);
        }
        shape
    }

    /// Steps that begin with `row`. An unknown column is reported where the template is bound.
    fn row(&mut self, expr: &Expr<'_>, steps: &[(Step, usize)], is_looped: bool) -> Shape {
        let column = match &steps[0].0 {
            Step::Key(name) => self.known.columns.get(name),
            Step::Index(_) => None,
        };
        let Some(column) = column else { return Shape::Any };
        let (bare, mut shape) = (column.bare(), column.shape.clone());
        if steps.len() == 1 && !is_looped {
            return bare;
        }
        for (step, _) in &steps[1..] {
            shape = self.stepped(expr, shape, step);
        }
        shape
    }

    fn stepped(&mut self, expr: &Expr<'_>, shape: Shape, step: &Step) -> Shape {
        match (shape.step(step), &shape, step) {
            (Some(next), ..) => return next,
            (None, Shape::Text, Step::Index(_)) => return Shape::Text,
            (None, Shape::Object(members), Step::Key(key)) => {
                let help = match nearest(key, members.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("its keys are {}", listed(members.keys().take(12).map(String::as_str))),
                };
                self.no_part(expr, format!("`{}` is in no row: there is no key `{key}`", unparsed(expr)), Some(help));
            }
            (None, shape, step) => {
                let part = match step {
                    Step::Key(key) => format!("the key `{key}`"),
                    Step::Index(index) => format!("the item {index}"),
                };
                let help = match (shape, step) {
                    (Shape::Text, _) => Some("if it holds JSON, read it first: `(… | json)`".to_owned()),
                    (Shape::List(_), _) => Some("take an item first, such as `[0]`, or write a loop".to_owned()),
                    _ => None,
                };
                let message = format!("`{}`: {} does not have {part}", unparsed(expr), shape.words());
                self.no_part(expr, message, help);
            }
        }
        Shape::Any
    }

    /// A fault that depends on the values of the columns.
    fn no_part(&mut self, expr: &Expr<'_>, message: String, help: Option<String>) {
        self.fault(expr, message, help);
        self.faults.last_mut().expect("it was just added").rule = "unknown-part";
    }
}

/// The root of an expression, and the constant steps from there.
fn unrolled<'e, 'a>(expr: &'e Expr<'a>) -> (&'e Expr<'a>, Vec<(Step, usize)>) {
    let (mut root, mut steps) = (expr, Vec::new());
    loop {
        let end = root.span().end_offset as usize;
        let (inner, step) = match root {
            Expr::GetAttr(attr) => (&attr.expr, Step::Key(attr.name.to_owned())),
            Expr::GetItem(item) => match &item.subscript_expr {
                Expr::Const(key) => match (key.value.as_str(), key.value.as_i64()) {
                    (Some(key), _) => (&item.expr, Step::Key(key.to_owned())),
                    (_, Some(index)) => (&item.expr, Step::Index(index)),
                    _ => break,
                },
                Expr::UnaryOp(unary) => match (&unary.op, &unary.expr) {
                    (UnaryOpKind::Neg, Expr::Const(key)) if key.value.as_i64().is_some() => {
                        (&item.expr, Step::Index(-key.value.as_i64().unwrap_or_default()))
                    }
                    _ => break,
                },
                _ => break,
            },
            _ => break,
        };
        steps.push((step, end));
        root = inner;
    }
    steps.reverse();
    (root, steps)
}

fn place(expr: &Expr<'_>) -> Range<usize> {
    expr.span().start_offset as usize..expr.span().end_offset as usize
}

fn targets(target: &Expr<'_>, shape: Shape) -> Vec<(String, Shape)> {
    let many = |items: &[Expr<'_>]| items.iter().flat_map(|item| targets(item, Shape::Any)).collect();
    match target {
        Expr::Var(var) => vec![(var.id.to_owned(), shape)],
        Expr::List(list) => many(&list.items),
        Expr::Tuple(tuple) => many(&tuple.items),
        _ => Vec::new(),
    }
}

fn shape_of(value: &Value) -> Shape {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => Shape::Null,
        ValueKind::Bool => Shape::Boolean,
        ValueKind::Number if value.is_integer() => Shape::Integer,
        ValueKind::Number => Shape::Number,
        ValueKind::String => Shape::Text,
        _ => Shape::Any,
    }
}

fn result(op: &BinOpKind, left: Shape, right: Shape) -> Shape {
    let numbers = [&left, &right].iter().all(|shape| matches!(shape, Shape::Integer | Shape::Number));
    match op {
        BinOpKind::Eq
        | BinOpKind::Ne
        | BinOpKind::Lt
        | BinOpKind::Lte
        | BinOpKind::Gt
        | BinOpKind::Gte
        | BinOpKind::In => Shape::Boolean,
        BinOpKind::Concat => Shape::Text,
        BinOpKind::Add if left == Shape::Text && right == Shape::Text => Shape::Text,
        BinOpKind::ScAnd | BinOpKind::ScOr => {
            let mut both = left;
            both.join(right);
            both
        }
        _ if numbers => Shape::Number,
        _ => Shape::Any,
    }
}
