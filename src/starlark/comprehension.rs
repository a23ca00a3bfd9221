//! Comprehensions: lists and dicts that are made by loops in an expression.

use std::rc::Rc;

use super::heap::VALUE;
use super::host::Host;
use super::machine::Machine;
use super::meter::Stop;
use super::syntax::{Clause, Comprehension, Item};
use super::value::{Dict, Frame, Value};

struct Made {
    values: Vec<Value>,
    dict: Rc<Dict>,
}

impl<H: Host> Machine<H> {
    pub(super) fn comprehension(&mut self, made: &Comprehension, frame: &Rc<Frame>) -> Result<Value, Stop> {
        // The variables of the loops are not visible outside.
        let frame = Rc::new(Frame { parent: Some(frame.clone()), ..Frame::default() });
        let mut found = Made { values: Vec::new(), dict: self.heap.dict()? };
        self.clauses(&made.clauses, &made.item, &frame, &mut found)?;
        match made.item {
            Item::List(_) => {
                self.heap.room_for(0)?;
                Ok(self.heap.counted_list(found.values))
            }
            Item::Dict(..) => Ok(Value::Dict(found.dict)),
        }
    }

    fn clauses(&mut self, clauses: &[Clause], item: &Item, frame: &Rc<Frame>, found: &mut Made) -> Result<(), Stop> {
        match (clauses, item) {
            ([Clause::For(target, over), rest @ ..], _) => {
                let over = self.value(over, frame)?;
                self.deeper(|machine| {
                    machine.each(&over, |machine, value| {
                        machine.assign(target, value, frame)?;
                        machine.clauses(rest, item, frame, found)?;
                        Ok(true)
                    })
                })
            }
            ([Clause::If(condition), rest @ ..], _) => match self.value(condition, frame)?.is_true() {
                true => self.deeper(|machine| machine.clauses(rest, item, frame, found)),
                false => Ok(()),
            },
            ([], Item::List(value)) => {
                let value = self.value(value, frame)?;
                self.heap.meter.take(VALUE)?;
                found.values.push(value);
                Ok(())
            }
            ([], Item::Dict(key, value)) => {
                let key = self.value(key, frame)?;
                let value = self.value(value, frame)?;
                self.heap.insert(&found.dict, key, value)
            }
        }
    }
}
