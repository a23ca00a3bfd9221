//! Prompts: builds prompts and reads answers, without a model. Pure: no clock, no network, no files.

mod answer_type;
mod condition;
mod expect;
mod failure;
mod field;
mod guards;
mod label_scores;
mod message;
mod pack;
mod records;
mod render_budget;
mod reply;
mod shorten;
mod template;
mod tokens;

use std::sync::Arc;

use indexmap::IndexMap;

use crate::table::Cell;

pub(crate) use answer_type::{AnswerType, normalise_option};
pub(crate) use condition::{BoundCondition, Claim, ConditionError, Figure};
pub(crate) use expect::{Expect, Field};
pub(crate) use failure::{Failure, FailureKind};
pub(crate) use field::{FieldSpec, FieldType, ItemSpec};
pub(crate) use label_scores::{Token, label_probabilities};
pub(crate) use message::{Message, Role, system};
pub(crate) use pack::{Item, Pack, pack, together};
pub(crate) use records::TemplateValue;
pub(crate) use shorten::shortened;
pub(crate) use template::{Bound, Template};

#[derive(Clone, Debug)]
pub(crate) struct Prompt {
    pub(crate) messages: Vec<Message>,
    pub(crate) expect: Arc<Expect>,
    pub(crate) schema: Option<Arc<serde_json::Value>>,
    /// Set if equal questions need separate answers; otherwise a greedy model is asked each question once.
    pub(crate) respondent: Option<u64>,
    pub(crate) pack: Option<Arc<Pack>>,
}

pub(crate) type Answer = Vec<Cell>;

/// The keys are field names, then labels as in the spec (null is `null`). The values range from 0 to 1.
pub(crate) type Probabilities = IndexMap<String, IndexMap<String, f64>>;

/// The most characters of a rejected reply in the next prompt.
const SHOWN: usize = 4000;

/// The most characters of an endless reply in the next prompt: the whole reply would lead the model the same way.
const SHOWN_OF_ENDLESS: usize = 200;

impl Prompt {
    pub(crate) fn again(&self, asked: &[Message], reply: &str, reason: &str) -> Vec<Message> {
        let complaint = format!("That answer can't be used: {reason}. {}", self.expect.reminder());
        replied(asked, first(reply, SHOWN).to_owned(), complaint)
    }

    pub(crate) fn again_shorter(&self, asked: &[Message], reply: &str) -> Vec<Message> {
        let complaint =
            format!("That answer was too long and was cut off. Be much briefer. {}", self.expect.reminder());
        replied(asked, format!("{} …", first(reply, SHOWN_OF_ENDLESS)), complaint)
    }
}

fn replied(asked: &[Message], reply: String, complaint: String) -> Vec<Message> {
    asked.iter().cloned().chain([Message::assistant(reply), Message::user(complaint)]).collect()
}

fn first(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}
