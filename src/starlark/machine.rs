//! The machine: carries out statements, expressions and calls.

use std::rc::Rc;

use super::functions;
use super::heap::Heap;
use super::host::{Arguments, Caller, Host};
use super::meter::{Meter, Stop, error};
use super::operators;
use super::syntax::{
    Argument, BinaryOp, Body, Definition, Expression, ExpressionKind, FormatPart, Name, ParameterKind, Program,
    Statement, StatementKind, Target,
};
use super::text::{Writer, formatted};
use super::value::{Frame, Function, Value};

/// The most levels of expressions, blocks and calls together.
const DEEPEST: u32 = 120;

/// The most bytes that a stack frame of a call needs beside its values.
const CALL: u64 = 2;

/// Carries out programs one after the other. They share their variables.
pub(crate) struct Machine<H> {
    pub(crate) host: H,
    pub(crate) heap: Heap,
    module: Rc<Frame>,
    depth: u32,
    /// The functions that are being called.
    calls: Vec<Rc<Definition>>,
}

/// What follows a statement.
enum Flow {
    Next,
    Break,
    Continue,
    Return(Value),
}

impl<H: Host> Machine<H> {
    pub(crate) fn new(host: H, meter: Meter) -> Self {
        Machine { host, heap: Heap::new(meter), module: Rc::new(Frame::default()), depth: 0, calls: Vec::new() }
    }

    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.module.set(&name.into(), value);
    }

    pub(crate) fn run(&mut self, program: &Program) -> Result<(), Stop> {
        let module = self.module.clone();
        self.heap.keep(&module)?;
        self.depth = 0;
        self.calls.clear();
        self.block(&program.body, &module).map(drop)
    }

    pub(super) fn deeper<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        if self.depth >= DEEPEST {
            return error(format!("calls and expressions are nested deeper than {DEEPEST} levels"));
        }
        self.depth += 1;
        let done = run(self);
        self.depth -= 1;
        done
    }
}

/// Statements.
impl<H: Host> Machine<H> {
    fn block(&mut self, block: &[Statement], frame: &Rc<Frame>) -> Result<Flow, Stop> {
        for statement in block {
            self.heap.meter.step(1)?;
            match self.deeper(|machine| machine.statement(statement, frame)).map_err(|stop| stop.at(statement.line))? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn statement(&mut self, statement: &Statement, frame: &Rc<Frame>) -> Result<Flow, Stop> {
        match &statement.kind {
            StatementKind::Expression(value) => drop(self.value(value, frame)?),
            StatementKind::Assign(target, value) => {
                let value = self.value(value, frame)?;
                self.assign(target, value, frame)?;
            }
            StatementKind::Augment(target, op, value) => self.augment((target, *op, value), frame)?,
            StatementKind::If(branches, otherwise) => {
                for (condition, block) in branches {
                    if self.value(condition, frame)?.is_true() {
                        return self.block(block, frame);
                    }
                }
                return self.block(otherwise, frame);
            }
            StatementKind::For(target, over, body) => {
                let over = self.value(over, frame)?;
                let mut returned = Flow::Next;
                self.each(&over, |machine, item| {
                    machine.assign(target, item, frame)?;
                    match machine.block(body, frame)? {
                        Flow::Next | Flow::Continue => Ok(true),
                        Flow::Break => Ok(false),
                        Flow::Return(value) => {
                            returned = Flow::Return(value);
                            Ok(false)
                        }
                    }
                })?;
                return Ok(returned);
            }
            StatementKind::Def(definition) => {
                let function = self.function(definition, frame)?;
                frame.set(&definition.name, function);
            }
            StatementKind::Return(None) => return Ok(Flow::Return(Value::None)),
            StatementKind::Return(Some(value)) => return Ok(Flow::Return(self.value(value, frame)?)),
            StatementKind::Break => return Ok(Flow::Break),
            StatementKind::Continue => return Ok(Flow::Continue),
            StatementKind::Pass => {}
        }
        Ok(Flow::Next)
    }

    pub(super) fn assign(&mut self, target: &Target, value: Value, frame: &Rc<Frame>) -> Result<(), Stop> {
        match target {
            Target::Name(name) => frame.set(name, value),
            Target::Index(container, index) => {
                let container = self.value(container, frame)?;
                let index = self.value(index, frame)?;
                super::containers::set_item(&mut self.heap, &container, index, value)?;
            }
            Target::Sequence(targets) => {
                let mut values = Vec::new();
                self.each(&value, |_, item| {
                    values.push(item);
                    Ok(values.len() <= targets.len())
                })?;
                if values.len() != targets.len() {
                    let more = if values.len() > targets.len() { "more" } else { "fewer" };
                    return error(format!("{} variables are assigned, and there are {more} values", targets.len()));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value, frame)?;
                }
            }
        }
        Ok(())
    }

    fn augment(
        &mut self,
        (target, op, value): (&Target, BinaryOp, &Expression),
        frame: &Rc<Frame>,
    ) -> Result<(), Stop> {
        match target {
            Target::Name(name) => {
                let old = self.variable(name, frame)?;
                let value = self.value(value, frame)?;
                if !super::containers::extends(&mut self.heap, op, &old, &value)? {
                    let new = operators::binary(&mut self.heap, op, &old, &value)?;
                    frame.set(name, new);
                }
            }
            Target::Index(container, index) => {
                let container = self.value(container, frame)?;
                let index = self.value(index, frame)?;
                let old = super::containers::item(&mut self.heap, &container, &index)?;
                let value = self.value(value, frame)?;
                if !super::containers::extends(&mut self.heap, op, &old, &value)? {
                    let new = operators::binary(&mut self.heap, op, &old, &value)?;
                    super::containers::set_item(&mut self.heap, &container, index, new)?;
                }
            }
            Target::Sequence(_) => return error("several variables can't be changed at once"),
        }
        Ok(())
    }

    /// Calls `run` with each item until it returns `false`. A list or dict must not change meanwhile.
    pub(super) fn each(
        &mut self,
        over: &Value,
        mut run: impl FnMut(&mut Self, Value) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        let loops = match over {
            Value::List(items) | Value::Tuple(items) => &items.loops,
            Value::Dict(dict) => &dict.loops,
            Value::Range(range) => {
                for number in 0..range.len() {
                    self.heap.meter.step(1)?;
                    if !run(self, Value::Int(range.item(number)))? {
                        break;
                    }
                }
                return Ok(());
            }
            Value::Text(_) => return error("a text is not a list; its characters are `text.elems()`"),
            Value::Failed(_) => return error("a failed call is not a list; test it with is_error()"),
            other => return error(format!("a {} is not a list", other.kind())),
        };
        loops.set(loops.get() + 1);
        let mut number = 0;
        let done = loop {
            let item = match over {
                Value::List(items) | Value::Tuple(items) => items.values.borrow().get(number).cloned(),
                Value::Dict(dict) => dict.entries.borrow().get_index(number).map(|(_, (key, _))| key.clone()),
                _ => None,
            };
            let Some(item) = item else { break Ok(()) };
            match self.heap.meter.step(1).and_then(|()| run(self, item)) {
                Ok(true) => number += 1,
                Ok(false) => break Ok(()),
                Err(stop) => break Err(stop),
            }
        };
        loops.set(loops.get() - 1);
        done
    }
}

/// Expressions.
impl<H: Host> Machine<H> {
    fn variable(&self, name: &Name, frame: &Rc<Frame>) -> Result<Value, Stop> {
        let mut next = Some(frame);
        while let Some(frame) = next {
            if let Some(value) = frame.get(name) {
                return Ok(value);
            }
            if frame.definition.as_ref().is_some_and(|definition| definition.locals.contains(name)) {
                return error(format!("the variable `{name}` is used before it has a value"));
            }
            next = frame.parent.as_ref();
        }
        let mut names = functions::NAMES.iter().chain(H::FUNCTIONS);
        match names.find(|function| **function == &**name) {
            Some(function) => Ok(Value::Builtin(function)),
            None => error(format!("there is no variable or function `{name}`")),
        }
    }

    pub(super) fn value(&mut self, expression: &Expression, frame: &Rc<Frame>) -> Result<Value, Stop> {
        self.heap.meter.step(1)?;
        match &expression.kind {
            ExpressionKind::None => Ok(Value::None),
            ExpressionKind::Bool(yes) => Ok(Value::Bool(*yes)),
            ExpressionKind::Int(number) => Ok(Value::Int(*number)),
            ExpressionKind::Float(number) => Ok(Value::Float(*number)),
            ExpressionKind::Text(text) => Ok(Value::Text(text.clone())),
            ExpressionKind::Name(name) => self.variable(name, frame),
            _ => self.deeper(|machine| machine.composed(expression, frame)),
        }
    }

    fn composed(&mut self, expression: &Expression, frame: &Rc<Frame>) -> Result<Value, Stop> {
        match &expression.kind {
            ExpressionKind::And(left, right) => {
                let left = self.value(left, frame)?;
                if left.is_true() { self.value(right, frame) } else { Ok(left) }
            }
            ExpressionKind::Or(left, right) => {
                let left = self.value(left, frame)?;
                if left.is_true() { Ok(left) } else { self.value(right, frame) }
            }
            ExpressionKind::If(condition, value, otherwise) => {
                let holds = self.value(condition, frame)?.is_true();
                self.value(if holds { value } else { otherwise }, frame)
            }
            ExpressionKind::Binary(op, left, right) => {
                let left = self.value(left, frame)?;
                let right = self.value(right, frame)?;
                operators::binary(&mut self.heap, *op, &left, &right)
            }
            ExpressionKind::Call(function, arguments) => {
                let function = self.value(function, frame)?;
                let arguments = self.arguments(arguments, frame)?;
                self.call(&function, arguments)
            }
            ExpressionKind::Lambda(definition) => self.function(definition, frame),
            ExpressionKind::Comprehension(comprehension) => self.comprehension(comprehension, frame),
            ExpressionKind::Format(parts) => self.format(parts, frame),
            _ => self.container(expression, frame),
        }
    }

    fn container(&mut self, expression: &Expression, frame: &Rc<Frame>) -> Result<Value, Stop> {
        match &expression.kind {
            ExpressionKind::List(items) => {
                let values = self.values(items, frame)?;
                self.heap.list(values)
            }
            ExpressionKind::Tuple(items) => {
                let values = self.values(items, frame)?;
                self.heap.tuple(values)
            }
            ExpressionKind::Dict(entries) => {
                let dict = self.heap.dict()?;
                for (key, value) in entries {
                    let key = self.value(key, frame)?;
                    let value = self.value(value, frame)?;
                    self.heap.insert(&dict, key, value)?;
                }
                Ok(Value::Dict(dict))
            }
            ExpressionKind::Attribute(value, name) => {
                let value = self.value(value, frame)?;
                functions::attribute(&mut self.heap, &value, name)
            }
            ExpressionKind::Index(value, index) => {
                let value = self.value(value, frame)?;
                let index = self.value(index, frame)?;
                super::containers::item(&mut self.heap, &value, &index)
            }
            ExpressionKind::Slice(value, parts) => {
                let value = self.value(value, frame)?;
                let mut bounds = [const { None }; 3];
                for (bound, part) in bounds.iter_mut().zip([&parts.start, &parts.stop, &parts.step]) {
                    if let Some(part) = part {
                        *bound = Some(self.value(part, frame)?);
                    }
                }
                super::containers::slice(&mut self.heap, &value, &bounds)
            }
            ExpressionKind::Not(value) => Ok(Value::Bool(!self.value(value, frame)?.is_true())),
            ExpressionKind::Negate(value) => match self.value(value, frame)? {
                Value::Float(number) => Ok(Value::Float(-number)),
                other => operators::binary(&mut self.heap, BinaryOp::Subtract, &Value::Int(0), &other),
            },
            ExpressionKind::Plus(value) => {
                let value = self.value(value, frame)?;
                operators::binary(&mut self.heap, BinaryOp::Add, &Value::Int(0), &value)
            }
            ExpressionKind::Invert(value) => {
                let value = self.value(value, frame)?;
                operators::binary(&mut self.heap, BinaryOp::BitXor, &Value::Int(-1), &value)
            }
            _ => self.value(expression, frame),
        }
    }

    fn values(&mut self, items: &[Expression], frame: &Rc<Frame>) -> Result<Vec<Value>, Stop> {
        items.iter().map(|item| self.value(item, frame)).collect()
    }

    fn format(&mut self, parts: &[FormatPart], frame: &Rc<Frame>) -> Result<Value, Stop> {
        let mut text = String::new();
        for part in parts {
            let value = match part {
                FormatPart::Text(part) => {
                    self.heap.meter.take(part.len() as u64)?;
                    text.push_str(part);
                    continue;
                }
                FormatPart::Value(value, spec) => (self.value(value, frame)?, spec),
            };
            let mut writer = Writer { meter: &mut self.heap.meter, text: std::mem::take(&mut text) };
            formatted(&mut writer, &value.0, value.1)?;
            text = writer.text;
        }
        self.heap.room(0)?;
        Ok(Heap::counted(text))
    }
}

impl<H: Host> Caller for Machine<H> {
    fn heap(&mut self) -> &mut Heap {
        &mut self.heap
    }

    fn all(&mut self, over: &Value) -> Result<Vec<Value>, Stop> {
        let count = match over {
            Value::List(items) | Value::Tuple(items) => items.values.borrow().len(),
            Value::Dict(dict) => dict.entries.borrow().len(),
            Value::Range(range) => usize::try_from(range.len()).unwrap_or(usize::MAX),
            _ => 0,
        };
        self.heap.room_for(count)?;
        let mut values = Vec::new();
        self.each(over, |_, item| {
            values.push(item);
            Ok(true)
        })?;
        Ok(values)
    }

    fn call(&mut self, function: &Value, arguments: Arguments) -> Result<Value, Stop> {
        self.heap.meter.step(CALL + arguments.plain.len() as u64)?;
        match function {
            Value::Function(function) => self.call_function(function, arguments),
            Value::Builtin(name) if H::FUNCTIONS.contains(name) => self.host.call(name, arguments, &mut self.heap),
            Value::Builtin(name) => functions::call(self, name, arguments),
            Value::Method(method) => functions::method(&mut self.heap, &method.0, &method.1, arguments),
            other => error(format!("a {} is not a function", other.kind())),
        }
    }
}

/// Calls.
impl<H: Host> Machine<H> {
    fn function(&mut self, definition: &Rc<Definition>, frame: &Rc<Frame>) -> Result<Value, Stop> {
        let mut next = Some(frame);
        while let Some(frame) = next {
            self.heap.keep(frame)?;
            next = frame.parent.as_ref();
        }
        let mut defaults = Vec::new();
        for default in definition.parameters.iter().filter_map(|parameter| parameter.default.as_ref()) {
            defaults.push(self.value(default, frame)?);
        }
        let defaults = self.heap.shared(defaults)?;
        let (definition, frame) = (definition.clone(), frame.clone());
        Ok(Value::Function(Rc::new(Function { definition, defaults, frame })))
    }

    fn arguments(&mut self, arguments: &[Argument], frame: &Rc<Frame>) -> Result<Arguments, Stop> {
        let mut found = Arguments::default();
        for argument in arguments {
            match argument {
                Argument::Plain(value) => found.plain.push(self.value(value, frame)?),
                Argument::Named(name, value) => {
                    let value = self.value(value, frame)?;
                    found.name(name.clone(), value)?;
                }
                Argument::Rest(value) => {
                    let value = self.value(value, frame)?;
                    let values = self.all(&value)?;
                    found.plain.extend(values);
                }
                Argument::Names(value) => {
                    let Value::Dict(dict) = self.value(value, frame)? else { return error("`**` needs a dict") };
                    for (key, value) in dict.entries.borrow().values() {
                        let Value::Text(key) = key else { return error("`**` needs a dict with texts as keys") };
                        self.heap.meter.step(1)?;
                        found.name(key.text.as_ref().into(), value.clone())?;
                    }
                }
            }
        }
        Ok(found)
    }

    fn call_function(&mut self, function: &Rc<Function>, arguments: Arguments) -> Result<Value, Stop> {
        let definition = &function.definition;
        if self.calls.iter().any(|other| Rc::ptr_eq(other, definition)) {
            return error(format!("the function `{}` calls itself, which is not allowed; use a loop", definition.name));
        }
        let frame =
            Frame { parent: Some(function.frame.clone()), definition: Some(definition.clone()), ..Frame::default() };
        self.bind(function, arguments, &frame)?;
        let frame = Rc::new(frame);
        self.calls.push(definition.clone());
        let returned = self.deeper(|machine| match &definition.body {
            Body::Expression(value) => machine.value(value, &frame),
            Body::Block(block) => machine.block(block, &frame).map(|flow| match flow {
                Flow::Return(value) => value,
                _ => Value::None,
            }),
        });
        self.calls.pop();
        returned
    }

    /// Gives the parameters of a function their values.
    fn bind(&mut self, function: &Function, arguments: Arguments, frame: &Frame) -> Result<(), Stop> {
        let name = &function.definition.name;
        let mut plain = arguments.plain.into_iter();
        let mut named = arguments.named;
        let mut defaults = function.defaults.values.borrow().clone().into_iter();
        let has_names = function.definition.parameters.iter().any(|p| p.kind == ParameterKind::Names);
        for parameter in &function.definition.parameters {
            let default = parameter.default.as_ref().and_then(|_| defaults.next());
            let by_name = named.iter().position(|(name, _)| *name == parameter.name);
            let value = match parameter.kind {
                ParameterKind::Rest => Some(self.heap.tuple(plain.by_ref().collect())?),
                ParameterKind::Names => continue,
                ParameterKind::Plain => plain.next(),
                ParameterKind::Named => None,
            };
            let value = match (value, by_name) {
                (Some(_), Some(_)) if parameter.kind == ParameterKind::Plain => {
                    return error(format!("`{name}` got the argument `{}` twice", parameter.name));
                }
                (Some(value), _) => Some(value),
                (None, Some(at)) => Some(named.remove(at).1),
                (None, None) => default,
            };
            let Some(value) = value else {
                return error(format!("`{name}` needs the argument `{}`", parameter.name));
            };
            frame.set(&parameter.name, value);
        }
        if plain.next().is_some() {
            return error(format!("`{name}` got too many arguments"));
        }
        if !has_names && let Some((other, _)) = named.first() {
            return error(format!("`{name}` has no parameter `{other}`"));
        }
        if let Some(parameter) = function.definition.parameters.iter().find(|p| p.kind == ParameterKind::Names) {
            let dict = self.heap.dict()?;
            for (name, value) in named {
                let key = self.heap.text(&name)?;
                self.heap.insert(&dict, key, value)?;
            }
            frame.set(&parameter.name, Value::Dict(dict));
        }
        Ok(())
    }
}
