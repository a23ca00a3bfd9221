//! Prompts and answers, without a model. Pure: no clock, no network, no files.

mod answer_type;
mod claim;
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

pub use answer_type::{AnswerType, normalise_option};
pub use claim::{Claim, Figure};
pub use condition::{BoundCondition, Condition};
pub use expect::{Expect, Field};
pub use failure::{Failure, FailureKind};
pub use field::{FieldSpec, FieldType, ItemSpec};
pub use label_scores::{Token, label_probabilities};
pub use message::{Message, Role, Shared, system};
pub use pack::{Item, Pack, pack, together};
pub use records::{TemplateValue, Trial};
pub use shorten::shortened;
pub use template::{Bound, Template, Unknown};

#[derive(Clone, Debug)]
pub struct Prompt {
    pub messages: Vec<Message>,
    pub expect: Arc<Expect>,
    pub schema: Option<Arc<serde_json::Value>>,
    /// Set if equal questions need separate answers; else they are asked once of a greedy model.
    pub respondent: Option<u64>,
    pub pack: Option<Arc<Pack>>,
}

pub type Answer = Vec<Cell>;

/// By key, then by label as the spec writes it (null under `null`), from 0 to 1.
pub type Probabilities = IndexMap<String, IndexMap<String, f64>>;

/// In characters.
const SHOWN: usize = 4000;

/// Characters of a reply without an end that are shown to the model: all of it would lead it the same way.
const SHOWN_OF_ENDLESS: usize = 200;

impl Prompt {
    pub fn again(&self, asked: &[Message], reply: &str, reason: &str) -> Vec<Message> {
        let complaint = format!("That answer can't be used: {reason}. {}", self.expect.reminder());
        replied(asked, first(reply, SHOWN).to_owned(), complaint)
    }

    pub fn again_shorter(&self, asked: &[Message], reply: &str) -> Vec<Message> {
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
