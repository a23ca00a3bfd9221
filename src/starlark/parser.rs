//! The parser: from tokens to the syntax tree. The depth of the tree is bounded, since it is walked by recursion.

use std::rc::Rc;

use super::lexer::{Token, mistake, tokens};
use super::meter::Stop;
use super::syntax::{
    BinaryOp, Body, Definition, Expression, ExpressionKind, Name, Parameter, ParameterKind, Program, Statement,
    StatementKind, Target,
};

/// The most levels of an expression, and of the blocks around it.
pub(super) const DEEPEST: u32 = 80;

pub(super) type Parsed<T> = Result<T, Stop>;

/// Parses a program.
pub(crate) fn parse(source: &str) -> Parsed<Program> {
    let mut parser = Parser { tokens: tokens(source)?, at: 0, depth: 0, functions: 0, loops: 0 };
    let mut body = Vec::new();
    while *parser.peek() != Token::End {
        parser.statement(&mut body)?;
    }
    Ok(Program { body })
}

pub(super) struct Parser {
    pub(super) tokens: Vec<(Token, u32)>,
    pub(super) at: usize,
    pub(super) depth: u32,
    pub(super) functions: u32,
    pub(super) loops: u32,
}

pub(super) const COMPARISONS: &[(&str, BinaryOp)] = &[
    ("==", BinaryOp::Equal),
    ("!=", BinaryOp::NotEqual),
    ("<", BinaryOp::Less),
    ("<=", BinaryOp::LessEqual),
    (">", BinaryOp::Greater),
    (">=", BinaryOp::GreaterEqual),
    ("in", BinaryOp::In),
    ("is", BinaryOp::Equal),
];

/// The operators above comparisons, from the weakest.
pub(super) const LEVELS: &[&[(&str, BinaryOp)]] = &[
    &[("|", BinaryOp::BitOr)],
    &[("^", BinaryOp::BitXor)],
    &[("&", BinaryOp::BitAnd)],
    &[("<<", BinaryOp::ShiftLeft), (">>", BinaryOp::ShiftRight)],
    &[("+", BinaryOp::Add), ("-", BinaryOp::Subtract)],
    &[("*", BinaryOp::Multiply), ("/", BinaryOp::Divide), ("//", BinaryOp::FloorDivide), ("%", BinaryOp::Modulo)],
];

const AUGMENTED: &[(&str, BinaryOp)] = &[
    ("+=", BinaryOp::Add),
    ("-=", BinaryOp::Subtract),
    ("*=", BinaryOp::Multiply),
    ("/=", BinaryOp::Divide),
    ("//=", BinaryOp::FloorDivide),
    ("%=", BinaryOp::Modulo),
    ("&=", BinaryOp::BitAnd),
    ("|=", BinaryOp::BitOr),
    ("^=", BinaryOp::BitXor),
    ("<<=", BinaryOp::ShiftLeft),
    (">>=", BinaryOp::ShiftRight),
];

impl Parser {
    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    pub(super) fn line(&self) -> u32 {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    pub(super) fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    pub(super) fn takes(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expects(&mut self, sign: &str) -> Parsed<()> {
        match self.takes(sign) {
            true => Ok(()),
            false => self.unexpected(&format!("`{sign}`")),
        }
    }

    pub(super) fn unexpected<T>(&self, wanted: &str) -> Parsed<T> {
        let found = match self.peek() {
            Token::Name(name) => format!("`{name}`"),
            Token::Int(number) => format!("`{number}`"),
            Token::Float(number) => format!("`{number}`"),
            Token::Text(_) | Token::Format(_) => "a string".to_owned(),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::Line => "the end of the line".to_owned(),
            Token::Indent => "a deeper indentation".to_owned(),
            Token::Dedent => "the end of the block".to_owned(),
            Token::End => "the end of the program".to_owned(),
        };
        mistake(format!("{wanted} is expected before {found}"), self.line())
    }

    pub(super) fn name(&mut self) -> Parsed<Name> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    pub(super) fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEEPEST {
            return self.too_deep();
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    pub(super) fn too_deep<T>(&self) -> Parsed<T> {
        mistake(format!("the code is nested deeper than {DEEPEST} levels; use variables for its parts"), self.line())
    }

    /// An expression above `parts`.
    pub(super) fn node(&self, kind: ExpressionKind, parts: &[u32]) -> Parsed<Expression> {
        let depth = parts.iter().copied().max().unwrap_or(0) + 1;
        if depth > DEEPEST { self.too_deep() } else { Ok(Expression { kind, depth }) }
    }
}

/// Statements.
impl Parser {
    pub(super) fn statement(&mut self, into: &mut Vec<Statement>) -> Parsed<()> {
        let line = self.line();
        let kind = match self.peek() {
            Token::Sign("if") => self.deeper(Self::branches)?,
            Token::Sign("for") => self.deeper(Self::repeated)?,
            Token::Sign("def") => self.deeper(Self::definition)?,
            Token::Line => {
                self.at += 1;
                return Ok(());
            }
            Token::Indent => return mistake("this line is indented without need", line),
            _ => return self.simple(into),
        };
        into.push(Statement { line, kind });
        Ok(())
    }

    /// The statements of one line, between semicolons.
    pub(super) fn simple(&mut self, into: &mut Vec<Statement>) -> Parsed<()> {
        loop {
            let line = self.line();
            let kind = self.small()?;
            into.push(Statement { line, kind });
            if !self.takes(";") || *self.peek() == Token::Line {
                break;
            }
        }
        match self.next() {
            Token::Line => Ok(()),
            Token::End => {
                self.at -= 1;
                Ok(())
            }
            _ => {
                self.at -= 1;
                self.unexpected("the end of the line")
            }
        }
    }

    pub(super) fn small(&mut self) -> Parsed<StatementKind> {
        let line = self.line();
        if self.takes("pass") {
            return Ok(StatementKind::Pass);
        }
        for (word, kind) in [("break", StatementKind::Break), ("continue", StatementKind::Continue)] {
            if self.takes(word) {
                return match self.loops {
                    0 => mistake(format!("`{word}` is outside of a loop"), line),
                    _ => Ok(kind),
                };
            }
        }
        if self.takes("return") {
            if self.functions == 0 {
                return mistake("`return` is outside of a function; call `final(answer)` to end", line);
            }
            let is_empty = matches!(self.peek(), Token::Line | Token::End) || self.is(";");
            return Ok(StatementKind::Return(if is_empty { None } else { Some(self.expressions()?) }));
        }
        let left = self.expressions()?;
        if let Some((_, op)) = AUGMENTED.iter().find(|(sign, _)| self.is(sign)) {
            self.at += 1;
            let target = target(left, line)?;
            if matches!(target, Target::Sequence(_)) {
                return mistake("several variables can't be changed at once", line);
            }
            return Ok(StatementKind::Augment(target, *op, self.expressions()?));
        }
        if self.takes(":") {
            // The type of a variable has no effect.
            self.expression()?;
            if !self.is("=") {
                return Ok(StatementKind::Pass);
            }
        }
        if self.takes("=") {
            let target = target(left, line)?;
            let value = self.expressions()?;
            return match self.is("=") {
                true => mistake("only one assignment is allowed on a line", line),
                false => Ok(StatementKind::Assign(target, value)),
            };
        }
        Ok(StatementKind::Expression(left))
    }

    pub(super) fn block(&mut self) -> Parsed<Vec<Statement>> {
        self.expects(":")?;
        let mut body = Vec::new();
        if *self.peek() != Token::Line {
            self.simple(&mut body)?;
            return Ok(body);
        }
        self.at += 1;
        if self.next() != Token::Indent {
            self.at -= 1;
            return self.unexpected("an indented block");
        }
        while *self.peek() != Token::Dedent && *self.peek() != Token::End {
            self.statement(&mut body)?;
        }
        self.at += usize::from(*self.peek() == Token::Dedent);
        Ok(body)
    }

    pub(super) fn branches(&mut self) -> Parsed<StatementKind> {
        let mut branches = Vec::new();
        let mut word = "if";
        while self.takes(word) {
            let condition = self.expression()?;
            branches.push((condition, self.block()?));
            word = "elif";
        }
        let otherwise = if self.takes("else") { self.block()? } else { Vec::new() };
        Ok(StatementKind::If(branches, otherwise))
    }

    pub(super) fn repeated(&mut self) -> Parsed<StatementKind> {
        self.expects("for")?;
        let target = self.targets()?;
        self.expects("in")?;
        let over = self.expressions()?;
        self.loops += 1;
        let body = self.block();
        self.loops -= 1;
        let body = body?;
        match self.is("else") {
            true => mistake("a loop has no `else`", self.line()),
            false => Ok(StatementKind::For(target, over, body)),
        }
    }

    /// The variables before `in`.
    pub(super) fn targets(&mut self) -> Parsed<Target> {
        let line = self.line();
        let mut found = Vec::new();
        let mut is_sequence = false;
        loop {
            found.push(self.binary(0)?);
            if !self.takes(",") {
                break;
            }
            is_sequence = true;
            if self.is("in") {
                break;
            }
        }
        let mut targets = found.into_iter().map(|expression| target(expression, line)).collect::<Parsed<Vec<_>>>()?;
        Ok(match (is_sequence, targets.len()) {
            (false, 1) => targets.remove(0),
            _ => Target::Sequence(targets),
        })
    }

    pub(super) fn definition(&mut self) -> Parsed<StatementKind> {
        self.expects("def")?;
        let name = self.name()?;
        self.expects("(")?;
        let parameters = self.parameters(")")?;
        self.expects(")")?;
        if self.takes("->") {
            self.expression()?;
        }
        let loops = std::mem::take(&mut self.loops);
        self.functions += 1;
        let body = self.block();
        self.functions -= 1;
        self.loops = loops;
        let body = body?;
        let mut locals = Vec::new();
        assigned(&body, &mut locals);
        Ok(StatementKind::Def(Rc::new(Definition { name, parameters, body: Body::Block(body), locals })))
    }

    pub(super) fn parameters(&mut self, end: &str) -> Parsed<Vec<Parameter>> {
        let mut found: Vec<Parameter> = Vec::new();
        let mut plain = ParameterKind::Plain;
        while !self.is(end) {
            let line = self.line();
            let kind = match (self.takes("**"), self.takes("*")) {
                (true, _) => ParameterKind::Names,
                (_, true) if self.is(",") => {
                    self.at += 1;
                    plain = ParameterKind::Named;
                    continue;
                }
                (_, true) => ParameterKind::Rest,
                _ => plain,
            };
            let name = self.name()?;
            if found.iter().any(|other| other.name == name) {
                return mistake(format!("the parameter `{name}` is named twice"), line);
            }
            if end == ")" && self.takes(":") {
                self.expression()?;
            }
            let default = if self.takes("=") { Some(self.expression()?) } else { None };
            if found.iter().any(|other| other.kind == ParameterKind::Names) {
                return mistake("`**` is the last parameter", line);
            }
            if kind == ParameterKind::Rest {
                plain = ParameterKind::Named;
            }
            found.push(Parameter { name, kind, default });
            if !self.takes(",") {
                break;
            }
        }
        Ok(found)
    }
}

fn target(expression: Expression, line: u32) -> Parsed<Target> {
    match expression.kind {
        ExpressionKind::Name(name) => Ok(Target::Name(name)),
        ExpressionKind::Index(value, index) => Ok(Target::Index(*value, *index)),
        ExpressionKind::Tuple(items) | ExpressionKind::List(items) if !items.is_empty() => {
            items.into_iter().map(|item| target(item, line)).collect::<Parsed<_>>().map(Target::Sequence)
        }
        _ => mistake("only a variable or an item can be assigned", line),
    }
}

/// Collects the names that a block assigns, without those of the functions in it.
fn assigned(block: &[Statement], names: &mut Vec<Name>) {
    for statement in block {
        match &statement.kind {
            StatementKind::Assign(target, _) | StatementKind::Augment(target, ..) => of_target(target, names),
            StatementKind::For(target, _, body) => {
                of_target(target, names);
                assigned(body, names);
            }
            StatementKind::If(branches, otherwise) => {
                branches.iter().for_each(|(_, body)| assigned(body, names));
                assigned(otherwise, names);
            }
            StatementKind::Def(definition) => names.push(definition.name.clone()),
            _ => {}
        }
    }
}

fn of_target(target: &Target, names: &mut Vec<Name>) {
    match target {
        Target::Name(name) => names.push(name.clone()),
        Target::Index(..) => {}
        Target::Sequence(targets) => targets.iter().for_each(|target| of_target(target, names)),
    }
}
