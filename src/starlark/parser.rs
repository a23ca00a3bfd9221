//! The parser: from tokens to the syntax tree. The depth of the tree is bounded, since it is walked by recursion.

use std::rc::Rc;

use super::characters::Text;
use super::lexer::{RawPart, Token, mistake, tokens};
use super::meter::Stop;
use super::syntax::{
    Argument, BinaryOp, Body, Clause, Comprehension, Definition, Expression, ExpressionKind, FormatPart, Item, Name,
    Parameter, ParameterKind, Program, SliceParts, Statement, StatementKind, Target,
};

/// The most levels of an expression, and of the blocks around it.
const DEEPEST: u32 = 80;

type Parsed<T> = Result<T, Stop>;

/// Parses a program.
pub(crate) fn parse(source: &str) -> Parsed<Program> {
    let mut parser = Parser { tokens: tokens(source)?, at: 0, depth: 0, functions: 0, loops: 0 };
    let mut body = Vec::new();
    while *parser.peek() != Token::End {
        parser.statement(&mut body)?;
    }
    Ok(Program { body })
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    depth: u32,
    functions: u32,
    loops: u32,
}

const COMPARISONS: &[(&str, BinaryOp)] = &[
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
const LEVELS: &[&[(&str, BinaryOp)]] = &[
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
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    fn line(&self) -> u32 {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.at += usize::from(found);
        found
    }

    fn expects(&mut self, sign: &str) -> Parsed<()> {
        match self.takes(sign) {
            true => Ok(()),
            false => self.unexpected(&format!("`{sign}`")),
        }
    }

    fn unexpected<T>(&self, wanted: &str) -> Parsed<T> {
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

    fn name(&mut self) -> Parsed<Name> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEEPEST {
            return self.too_deep();
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn too_deep<T>(&self) -> Parsed<T> {
        mistake(format!("the code is nested deeper than {DEEPEST} levels; use variables for its parts"), self.line())
    }

    /// An expression above `parts`.
    fn node(&self, kind: ExpressionKind, parts: &[u32]) -> Parsed<Expression> {
        let depth = parts.iter().copied().max().unwrap_or(0) + 1;
        if depth > DEEPEST { self.too_deep() } else { Ok(Expression { kind, depth }) }
    }
}

/// Statements.
impl Parser {
    fn statement(&mut self, into: &mut Vec<Statement>) -> Parsed<()> {
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
    fn simple(&mut self, into: &mut Vec<Statement>) -> Parsed<()> {
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

    fn small(&mut self) -> Parsed<StatementKind> {
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

    fn block(&mut self) -> Parsed<Vec<Statement>> {
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

    fn branches(&mut self) -> Parsed<StatementKind> {
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

    fn repeated(&mut self) -> Parsed<StatementKind> {
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
    fn targets(&mut self) -> Parsed<Target> {
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

    fn definition(&mut self) -> Parsed<StatementKind> {
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

    fn parameters(&mut self, end: &str) -> Parsed<Vec<Parameter>> {
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

/// Expressions.
impl Parser {
    /// An expression, or a tuple without brackets.
    fn expressions(&mut self) -> Parsed<Expression> {
        let first = self.expression()?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.takes(",") {
            if matches!(self.peek(), Token::Line | Token::End) || self.is("=") || self.is(")") || self.is("]") {
                break;
            }
            items.push(self.expression()?);
        }
        let depths: Vec<u32> = items.iter().map(|item| item.depth).collect();
        self.node(ExpressionKind::Tuple(items), &depths)
    }

    fn expression(&mut self) -> Parsed<Expression> {
        self.deeper(|parser| {
            if parser.takes("lambda") {
                return parser.lambda();
            }
            let value = parser.either()?;
            if !parser.takes("if") {
                return Ok(value);
            }
            let condition = parser.either()?;
            parser.expects("else")?;
            let otherwise = parser.expression()?;
            let depths = [value.depth, condition.depth, otherwise.depth];
            let kind = ExpressionKind::If(Box::new(condition), Box::new(value), Box::new(otherwise));
            parser.node(kind, &depths)
        })
    }

    fn lambda(&mut self) -> Parsed<Expression> {
        let parameters = self.parameters(":")?;
        self.expects(":")?;
        let body = self.expression()?;
        let depth = body.depth;
        let definition =
            Definition { name: "lambda".into(), parameters, body: Body::Expression(body), locals: Vec::new() };
        self.node(ExpressionKind::Lambda(Rc::new(definition)), &[depth])
    }

    fn either(&mut self) -> Parsed<Expression> {
        let mut left = self.both()?;
        while self.takes("or") {
            let right = self.both()?;
            let depths = [left.depth, right.depth];
            left = self.node(ExpressionKind::Or(Box::new(left), Box::new(right)), &depths)?;
        }
        Ok(left)
    }

    fn both(&mut self) -> Parsed<Expression> {
        let mut left = self.negated()?;
        while self.takes("and") {
            let right = self.negated()?;
            let depths = [left.depth, right.depth];
            left = self.node(ExpressionKind::And(Box::new(left), Box::new(right)), &depths)?;
        }
        Ok(left)
    }

    fn negated(&mut self) -> Parsed<Expression> {
        if !self.takes("not") {
            return self.comparison();
        }
        let operand = self.deeper(Self::negated)?;
        let depth = operand.depth;
        self.node(ExpressionKind::Not(Box::new(operand)), &[depth])
    }

    fn comparison(&mut self) -> Parsed<Expression> {
        let left = self.binary(0)?;
        let Some(op) = self.comparing() else { return Ok(left) };
        let right = self.binary(0)?;
        let line = self.line();
        if self.comparing().is_some() {
            return mistake("comparisons can't be chained; write `a < b and b < c`", line);
        }
        let depths = [left.depth, right.depth];
        self.node(ExpressionKind::Binary(op, Box::new(left), Box::new(right)), &depths)
    }

    /// Takes a comparison.
    fn comparing(&mut self) -> Option<BinaryOp> {
        let before = self.at;
        if self.takes("not") {
            if self.takes("in") {
                return Some(BinaryOp::NotIn);
            }
            self.at = before;
            return None;
        }
        let (sign, op) = COMPARISONS.iter().find(|(sign, _)| self.is(sign))?;
        self.at += 1;
        Some(if *sign == "is" && self.takes("not") { BinaryOp::NotEqual } else { *op })
    }

    fn binary(&mut self, level: usize) -> Parsed<Expression> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some((_, op)) = operators.iter().find(|(sign, _)| self.is(sign)) {
            self.at += 1;
            let right = self.binary(level + 1)?;
            let depths = [left.depth, right.depth];
            left = self.node(ExpressionKind::Binary(*op, Box::new(left), Box::new(right)), &depths)?;
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Expression> {
        let make: fn(Box<Expression>) -> ExpressionKind = match self.peek() {
            Token::Sign("-") => ExpressionKind::Negate,
            Token::Sign("+") => ExpressionKind::Plus,
            Token::Sign("~") => ExpressionKind::Invert,
            _ => return self.postfix(),
        };
        self.at += 1;
        let operand = self.deeper(Self::unary)?;
        let depth = operand.depth;
        self.node(make(Box::new(operand)), &[depth])
    }

    fn postfix(&mut self) -> Parsed<Expression> {
        let mut value = self.primary()?;
        loop {
            let depth = value.depth;
            value = if self.takes(".") {
                let name = self.name()?;
                self.node(ExpressionKind::Attribute(Box::new(value), name), &[depth])?
            } else if self.takes("(") {
                let arguments = self.arguments()?;
                let depths = arguments.iter().map(|argument| match argument {
                    Argument::Plain(value) | Argument::Named(_, value) => value.depth,
                    Argument::Rest(value) | Argument::Names(value) => value.depth,
                });
                let depths: Vec<u32> = depths.chain([depth]).collect();
                self.node(ExpressionKind::Call(Box::new(value), arguments), &depths)?
            } else if self.takes("[") {
                self.index(value)?
            } else {
                match self.peek() {
                    Token::Sign("**") => return mistake("there is no `**`; multiply instead", self.line()),
                    _ => return Ok(value),
                }
            };
        }
    }

    fn arguments(&mut self) -> Parsed<Vec<Argument>> {
        let mut arguments = Vec::new();
        while !self.takes(")") {
            let line = self.line();
            let named = matches!(self.tokens.get(self.at + 1), Some((Token::Sign("="), _)));
            let argument = match self.peek().clone() {
                Token::Sign("**") => {
                    self.at += 1;
                    Argument::Names(self.expression()?)
                }
                Token::Sign("*") => {
                    self.at += 1;
                    Argument::Rest(self.expression()?)
                }
                Token::Name(name) if named => {
                    self.at += 2;
                    Argument::Named(name, self.expression()?)
                }
                _ if arguments.iter().any(|argument| matches!(argument, Argument::Named(..))) => {
                    return mistake("an argument without a name comes after one with a name", line);
                }
                _ => {
                    let value = self.expression()?;
                    let value = if self.is("for") { self.comprehension(Item::List(value))? } else { value };
                    Argument::Plain(value)
                }
            };
            arguments.push(argument);
            if !self.takes(",") {
                self.expects(")")?;
                break;
            }
        }
        Ok(arguments)
    }

    fn index(&mut self, value: Expression) -> Parsed<Expression> {
        let mut parts = SliceParts::default();
        if !self.is(":") {
            let index = self.expressions()?;
            if self.takes("]") {
                let depths = [value.depth, index.depth];
                return self.node(ExpressionKind::Index(Box::new(value), Box::new(index)), &depths);
            }
            parts.start = Some(index);
        }
        self.expects(":")?;
        if !self.is(":") && !self.is("]") {
            parts.stop = Some(self.expression()?);
        }
        if self.takes(":") && !self.is("]") {
            parts.step = Some(self.expression()?);
        }
        self.expects("]")?;
        let parts_of = [&parts.start, &parts.stop, &parts.step];
        let depths: Vec<u32> = parts_of.into_iter().flatten().map(|part| part.depth).chain([value.depth]).collect();
        self.node(ExpressionKind::Slice(Box::new(value), Box::new(parts)), &depths)
    }

    fn primary(&mut self) -> Parsed<Expression> {
        let line = self.line();
        let kind = match self.next() {
            Token::Name(name) => ExpressionKind::Name(name),
            Token::Int(number) => ExpressionKind::Int(number),
            Token::Float(number) => ExpressionKind::Float(number),
            Token::Sign("None") => ExpressionKind::None,
            Token::Sign("True") => ExpressionKind::Bool(true),
            Token::Sign("False") => ExpressionKind::Bool(false),
            Token::Text(_) | Token::Format(_) => {
                self.at -= 1;
                return self.strings();
            }
            Token::Sign("(") => return self.deeper(Self::bracketed),
            Token::Sign("[") => return self.deeper(Self::list),
            Token::Sign("{") => return self.deeper(Self::dict),
            _ => {
                self.at -= 1;
                return match self.is("lambda") || self.is("if") {
                    true => mistake("this needs brackets around it", line),
                    false => self.unexpected("a value"),
                };
            }
        };
        self.node(kind, &[])
    }

    /// Strings next to each other are one string.
    fn strings(&mut self) -> Parsed<Expression> {
        let mut parts: Vec<FormatPart> = Vec::new();
        let mut text = String::new();
        let mut depths = Vec::new();
        loop {
            let line = self.line();
            match self.peek().clone() {
                Token::Text(more) => text.push_str(&more),
                Token::Format(raw) => {
                    for part in raw {
                        match part {
                            RawPart::Text(more) => text.push_str(&more),
                            RawPart::Code(code, spec) => {
                                let value = self.inner(&code, line)?;
                                depths.push(value.depth);
                                parts.push(FormatPart::Text(std::mem::take(&mut text).into()));
                                parts.push(FormatPart::Value(value, spec));
                            }
                        }
                    }
                }
                _ => break,
            }
            self.at += 1;
        }
        let kind = match parts.is_empty() {
            true => ExpressionKind::Text(Rc::new(Text::new(text.into()))),
            false => {
                parts.push(FormatPart::Text(text.into()));
                ExpressionKind::Format(parts)
            }
        };
        self.node(kind, &depths)
    }

    /// Parses the code in an f-string.
    fn inner(&mut self, code: &str, line: u32) -> Parsed<Expression> {
        if code.is_empty() {
            return mistake("an f-string has `{}` without a value", line);
        }
        let at = |stop: Stop| match stop {
            Stop::Error(mut error) => {
                error.line = Some(line);
                Stop::Error(error)
            }
            other => other,
        };
        let tokens = tokens(code).map_err(at)?;
        let mut parser = Parser { tokens, at: 0, depth: self.depth + 1, functions: 0, loops: 0 };
        if parser.depth >= DEEPEST {
            return self.too_deep();
        }
        let value = parser.expressions().map_err(at)?;
        match parser.peek() {
            Token::Line | Token::End => Ok(value),
            _ => mistake(format!("`{code}` in an f-string is not a value"), line),
        }
    }

    fn bracketed(&mut self) -> Parsed<Expression> {
        if self.takes(")") {
            return self.node(ExpressionKind::Tuple(Vec::new()), &[]);
        }
        let value = self.expressions()?;
        if self.is("for") {
            let list = self.comprehension(Item::List(value))?;
            self.expects(")")?;
            return Ok(list);
        }
        self.expects(")")?;
        Ok(value)
    }

    fn list(&mut self) -> Parsed<Expression> {
        let mut items = Vec::new();
        while !self.takes("]") {
            let item = self.expression()?;
            if items.is_empty() && self.is("for") {
                let list = self.comprehension(Item::List(item))?;
                self.expects("]")?;
                return Ok(list);
            }
            items.push(item);
            if !self.takes(",") {
                self.expects("]")?;
                break;
            }
        }
        let depths: Vec<u32> = items.iter().map(|item| item.depth).collect();
        self.node(ExpressionKind::List(items), &depths)
    }

    fn dict(&mut self) -> Parsed<Expression> {
        let mut entries = Vec::new();
        while !self.takes("}") {
            let line = self.line();
            let key = self.expression()?;
            if !self.takes(":") {
                return mistake("a `{` starts a dict, `{key: value}`; there are no sets", line);
            }
            let value = self.expression()?;
            if entries.is_empty() && self.is("for") {
                let dict = self.comprehension(Item::Dict(key, value))?;
                self.expects("}")?;
                return Ok(dict);
            }
            entries.push((key, value));
            if !self.takes(",") {
                self.expects("}")?;
                break;
            }
        }
        let depths: Vec<u32> = entries.iter().flat_map(|(key, value)| [key.depth, value.depth]).collect();
        self.node(ExpressionKind::Dict(entries), &depths)
    }

    fn comprehension(&mut self, item: Item) -> Parsed<Expression> {
        let mut depths = match &item {
            Item::List(value) => vec![value.depth],
            Item::Dict(key, value) => vec![key.depth, value.depth],
        };
        let mut clauses = Vec::new();
        loop {
            if self.takes("for") {
                let target = self.targets()?;
                self.expects("in")?;
                let over = self.either()?;
                depths.push(over.depth);
                clauses.push(Clause::For(target, over));
            } else if self.takes("if") {
                let condition = self.either()?;
                depths.push(condition.depth);
                clauses.push(Clause::If(condition));
            } else {
                break;
            }
        }
        // Each clause is a level of the evaluation.
        let deepest = depths.iter().max().copied().unwrap_or(0) + clauses.len() as u32;
        self.node(ExpressionKind::Comprehension(Box::new(Comprehension { item, clauses })), &[deepest])
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
