//! Prompts: asking and answering without a model. Pure: no clock, no network, no files.
//!
//! A [`Template`] and a row make a [`Prompt`]; its [`Expect`] says what an answer is, tells the model so, and reads the
//! reply into cells or into a reason why it can't be used. Knows tables and what stands below them.

mod allowance;
mod condition;
mod expect;
mod field;
mod kind;
mod message;
mod operators;
mod reply;
mod template;

use std::sync::Arc;

use indexmap::IndexMap;

use crate::table::Cell;

pub use condition::{BoundCondition, Condition};
pub use expect::{Expect, Field};
pub use field::{FieldSpec, FieldType, ItemSpec};
pub use kind::{Kind, normal};
pub use message::{Message, Role};
pub use template::{Bound, Template, Unknown};

/// What to ask about a row, and what an answer is.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// The conversation, ending with the question.
    pub messages: Vec<Message>,
    /// What the reply must be.
    pub expect: Arc<Expect>,
    /// The same as a JSON Schema, for servers that can enforce one.
    pub schema: Option<Arc<serde_json::Value>>,
    /// Who answers, where an equal question is to be answered anew by everyone: two respondents who are described alike
    /// are two people. Without it, and of a model that doesn't draw its words, equal questions are asked once.
    pub respondent: Option<u64>,
}

/// The cells of a reply, in the order of the fields that were asked for.
pub type Answer = Vec<Cell>;

/// How probable each label of each key with an `enum` was to the model: by key, then by label as the spec writes it (null
/// under `null`), from 0 to 1.
pub type Probabilities = IndexMap<String, IndexMap<String, f64>>;

/// Characters of an unusable reply that are shown to the model when it is asked again.
const SHOWN: usize = 4000;

impl Prompt {
    /// The conversation that asks again after a reply that can't be used, with the reason.
    pub fn again(&self, reply: &str, reason: &str) -> Vec<Message> {
        let shown = match reply.char_indices().nth(SHOWN) {
            Some((end, _)) => &reply[..end],
            None => reply,
        };
        let mut messages = self.messages.clone();
        messages.push(Message::assistant(shown));
        messages.push(Message::user(format!("That answer can't be used: {reason}. {}", self.expect.reminder())));
        messages
    }
}
