//! The syntax tree of a program.

use std::rc::Rc;

use super::characters::Text;

pub(crate) type Name = Rc<str>;

#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) body: Vec<Statement>,
}

#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) line: u32,
    pub(crate) kind: StatementKind,
}

#[derive(Debug)]
pub(crate) enum StatementKind {
    Expression(Expression),
    Assign(Target, Expression),
    Augment(Target, BinaryOp, Expression),
    /// The conditions with their blocks, then the block of `else`.
    If(Vec<(Expression, Vec<Statement>)>, Vec<Statement>),
    For(Target, Expression, Vec<Statement>),
    Def(Rc<Definition>),
    Return(Option<Expression>),
    Break,
    Continue,
    Pass,
}

#[derive(Debug)]
pub(crate) enum Target {
    Name(Name),
    Index(Expression, Expression),
    Sequence(Vec<Target>),
}

/// A function as written: of `def` or of `lambda`.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) name: Name,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) body: Body,
    /// The names that the body assigns. They are local to each call.
    pub(crate) locals: Vec<Name>,
}

#[derive(Debug)]
pub(crate) enum Body {
    Block(Vec<Statement>),
    Expression(Expression),
}

#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: Name,
    pub(crate) kind: ParameterKind,
    pub(crate) default: Option<Expression>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParameterKind {
    Plain,
    /// Only by name: it comes after `*` or `*args`.
    Named,
    /// `*args`
    Rest,
    /// `**kwargs`
    Names,
}

#[derive(Debug)]
pub(crate) struct Expression {
    pub(crate) kind: ExpressionKind,
    /// The number of levels of the tree.
    pub(crate) depth: u32,
}

#[derive(Debug)]
pub(crate) enum ExpressionKind {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<Text>),
    /// An f-string.
    Format(Vec<FormatPart>),
    Name(Name),
    List(Vec<Expression>),
    Tuple(Vec<Expression>),
    Dict(Vec<(Expression, Expression)>),
    Not(Box<Expression>),
    Negate(Box<Expression>),
    Plus(Box<Expression>),
    Invert(Box<Expression>),
    Binary(BinaryOp, Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Or(Box<Expression>, Box<Expression>),
    /// The condition, then the values where it holds and where it does not.
    If(Box<Expression>, Box<Expression>, Box<Expression>),
    Call(Box<Expression>, Vec<Argument>),
    Attribute(Box<Expression>, Name),
    Index(Box<Expression>, Box<Expression>),
    Slice(Box<Expression>, Box<SliceParts>),
    Lambda(Rc<Definition>),
    Comprehension(Box<Comprehension>),
}

#[derive(Debug, Default)]
pub(crate) struct SliceParts {
    pub(crate) start: Option<Expression>,
    pub(crate) stop: Option<Expression>,
    pub(crate) step: Option<Expression>,
}

#[derive(Debug)]
pub(crate) enum FormatPart {
    Text(Rc<str>),
    /// The value, and how it is formatted.
    Value(Expression, String),
}

#[derive(Debug)]
pub(crate) enum Argument {
    Plain(Expression),
    Named(Name, Expression),
    /// `*list`
    Rest(Expression),
    /// `**dict`
    Names(Expression),
}

#[derive(Debug)]
pub(crate) struct Comprehension {
    pub(crate) item: Item,
    pub(crate) clauses: Vec<Clause>,
}

#[derive(Debug)]
pub(crate) enum Item {
    List(Expression),
    Dict(Expression, Expression),
}

#[derive(Debug)]
pub(crate) enum Clause {
    For(Target, Expression),
    If(Expression),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Modulo,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
    BitAnd,
    BitOr,
    BitXor,
    ShiftLeft,
    ShiftRight,
}
