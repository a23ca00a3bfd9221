//! The host of a program, and what functions need of the machine that calls them.

use super::heap::Heap;
use super::meter::{Stop, error};
use super::syntax::Name;
use super::value::Value;

/// The arguments of a call.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) plain: Vec<Value>,
    pub(crate) named: Vec<(Name, Value)>,
}

/// The functions that a program can call beside those of the language.
pub(crate) trait Host {
    const FUNCTIONS: &'static [&'static str];

    /// Calls the function called `name`, one of [`Host::FUNCTIONS`].
    fn call(&mut self, name: &'static str, arguments: Arguments, heap: &mut Heap) -> Result<Value, Stop>;
}

/// The machine that calls a function of the language.
pub(crate) trait Caller {
    fn heap(&mut self) -> &mut Heap;

    /// All items of a list, a tuple, a dict or a range. Room for a list of them is made.
    fn all(&mut self, over: &Value) -> Result<Vec<Value>, Stop>;

    fn call(&mut self, function: &Value, arguments: Arguments) -> Result<Value, Stop>;
}

impl Arguments {
    pub(crate) fn name(&mut self, name: Name, value: Value) -> Result<(), Stop> {
        if self.named.iter().any(|(other, _)| *other == name) {
            return error(format!("the argument `{name}` is named twice"));
        }
        self.named.push((name, value));
        Ok(())
    }

    /// The arguments without names, at most two.
    pub(crate) fn at_most(self, function: &str) -> Result<[Option<Value>; 2], Stop> {
        if let Some((name, _)) = self.named.first() {
            return error(format!("`{function}` has no parameter `{name}`"));
        }
        if self.plain.len() > 2 {
            return error(format!("`{function}` got too many arguments"));
        }
        let mut plain = self.plain.into_iter();
        Ok([plain.next(), plain.next()])
    }
}
