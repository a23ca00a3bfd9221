//! Expressions: the parser of values, calls, texts and comprehensions.

use std::rc::Rc;

use super::characters::Text;
use super::lexer::{RawPart, Token, mistake, tokens};
use super::meter::Stop;
use super::parser::{COMPARISONS, DEEPEST, LEVELS, Parsed, Parser};
use super::syntax::{
    Argument, BinaryOp, Body, Clause, Comprehension, Definition, Expression, ExpressionKind, FormatPart, Item,
    SliceParts,
};

/// Expressions.
impl Parser {
    /// An expression, or a tuple without brackets.
    pub(super) fn expressions(&mut self) -> Parsed<Expression> {
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

    pub(super) fn expression(&mut self) -> Parsed<Expression> {
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

    pub(super) fn lambda(&mut self) -> Parsed<Expression> {
        let parameters = self.parameters(":")?;
        self.expects(":")?;
        let body = self.expression()?;
        let depth = body.depth;
        let definition =
            Definition { name: "lambda".into(), parameters, body: Body::Expression(body), locals: Vec::new() };
        self.node(ExpressionKind::Lambda(Rc::new(definition)), &[depth])
    }

    pub(super) fn either(&mut self) -> Parsed<Expression> {
        let mut left = self.both()?;
        while self.takes("or") {
            let right = self.both()?;
            let depths = [left.depth, right.depth];
            left = self.node(ExpressionKind::Or(Box::new(left), Box::new(right)), &depths)?;
        }
        Ok(left)
    }

    pub(super) fn both(&mut self) -> Parsed<Expression> {
        let mut left = self.negated()?;
        while self.takes("and") {
            let right = self.negated()?;
            let depths = [left.depth, right.depth];
            left = self.node(ExpressionKind::And(Box::new(left), Box::new(right)), &depths)?;
        }
        Ok(left)
    }

    pub(super) fn negated(&mut self) -> Parsed<Expression> {
        if !self.takes("not") {
            return self.comparison();
        }
        let operand = self.deeper(Self::negated)?;
        let depth = operand.depth;
        self.node(ExpressionKind::Not(Box::new(operand)), &[depth])
    }

    pub(super) fn comparison(&mut self) -> Parsed<Expression> {
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
    pub(super) fn comparing(&mut self) -> Option<BinaryOp> {
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

    pub(super) fn binary(&mut self, level: usize) -> Parsed<Expression> {
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

    pub(super) fn unary(&mut self) -> Parsed<Expression> {
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

    pub(super) fn postfix(&mut self) -> Parsed<Expression> {
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

    pub(super) fn arguments(&mut self) -> Parsed<Vec<Argument>> {
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

    pub(super) fn index(&mut self, value: Expression) -> Parsed<Expression> {
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

    pub(super) fn primary(&mut self) -> Parsed<Expression> {
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
    pub(super) fn strings(&mut self) -> Parsed<Expression> {
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
    pub(super) fn inner(&mut self, code: &str, line: u32) -> Parsed<Expression> {
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

    pub(super) fn bracketed(&mut self) -> Parsed<Expression> {
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

    pub(super) fn list(&mut self) -> Parsed<Expression> {
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

    pub(super) fn dict(&mut self) -> Parsed<Expression> {
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

    pub(super) fn comprehension(&mut self, item: Item) -> Parsed<Expression> {
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
