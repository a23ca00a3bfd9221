//! Prompts: builds prompts and reads answers, without a model. Pure: no clock, no network, no files.

mod answer_type;
mod compare;
mod condition;
mod direct;
mod distribution;
mod expect;
mod failure;
mod field;
mod guards;
mod label_scores;
mod logic;
mod message;
mod nested;
mod pack;
mod records;
mod render_budget;
mod reply;
mod rewrite;
mod shorten;
mod template;
mod thoughts;
mod token_bound;
mod tokens;
mod tree;
mod unparse;
mod vocabulary;

use std::sync::Arc;

use indexmap::IndexMap;

use crate::table::Cell;

pub(crate) use answer_type::{AnswerType, SUM_TO_ONE, normalise_option};
pub(crate) use condition::{BoundCondition, Claim, ConditionError, Figure};
pub(crate) use distribution::{Distribution, Measured, Mode, draw, mass_key, read_distribution};
pub(crate) use expect::{Expect, Field};
pub(crate) use failure::{Failure, FailureKind};
pub(crate) use field::{FieldSpec, FieldType, ItemSpec};
#[cfg(feature = "embedded")]
pub(crate) use label_scores::{Label, Walk};
pub(crate) use label_scores::{Token, label_probabilities};
pub(crate) use message::{Message, Role, folded, system};
pub(crate) use pack::{Item, Pack, PackForm, pack, together};
pub(crate) use records::TemplateValue;
pub(crate) use shorten::shortened;
pub(crate) use template::{Bound, Template};
pub(crate) use thoughts::{has_answer, is_object, thoughts};
pub(crate) use token_bound::least_tokens;
pub(crate) use vocabulary::{cl100k, o200k};

#[derive(Clone, Debug)]
pub(crate) struct Prompt {
    pub(crate) messages: Vec<Message>,
    pub(crate) expect: Arc<Expect>,
    pub(crate) schema: Option<Arc<serde_json::Value>>,
    /// Set if equal questions need separate answers; otherwise a greedy model is asked each question once.
    pub(crate) respondent: Option<u64>,
    pub(crate) pack: Option<Arc<Pack>>,
    pub(crate) to: Addressee,
}

/// Which of a stage's models a prompt is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Addressee {
    /// The model that answers the row.
    #[default]
    Row,
    /// The same, in a stage whose model also calls a second model. The tokens of a call follow the answer.
    Root,
    /// The model that is called. A failed call is an answer: null and the kind of the failure. The tokens follow.
    Sub,
}

pub(crate) type Answer = Vec<Cell>;

/// The keys are field names, then labels as in the spec (null is `null`). The values range from 0 to 1. The masses of a
/// field have the key [`mass_key`].
pub(crate) type Probabilities = IndexMap<String, IndexMap<String, f64>>;

/// The most characters of a rejected reply in the next prompt.
const SHOWN: usize = 4000;

/// The most characters of an endless reply in the next prompt: the whole reply would lead the model the same way.
const SHOWN_OF_ENDLESS: usize = 200;

/// What is sent after a reply that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FurtherTry {
    pub(crate) messages: Vec<Message>,
    /// Why this reply can't be used, for the tries after the next one.
    pub(crate) reason: String,
    /// The words to the model.
    pub(crate) said: String,
}

impl Prompt {
    /// The prompt with the reply and the reasons of all replies so far, so that no further try repeats another.
    pub(crate) fn again(&self, asked: &[Message], reply: &str, failure: &Failure, earlier: &[String]) -> FurtherTry {
        let (reason, complaint, shown) = match failure.kind {
            // The same prompt would usually be cut off at the same place.
            FailureKind::Truncated => (
                "it was too long and was cut off".to_owned(),
                "That answer was too long and was cut off. Be much briefer.".to_owned(),
                format!("{} …", first(reply, SHOWN_OF_ENDLESS)),
            ),
            _ => {
                let reason = failure.message.clone();
                let complaint = format!("That answer can't be used: {reason}.");
                (reason, complaint, first(reply, SHOWN).to_owned())
            }
        };
        let before: String = earlier.iter().map(|reason| format!("\n- {reason}")).collect();
        let before = if before.is_empty() { before } else { format!(" Earlier answers had faults too:{before}\n") };
        let gap = if before.is_empty() { " " } else { "" };
        let said = format!("{complaint}{before}{gap}{}", self.expect.reminder());
        // Some servers refuse a message without text.
        let shown = if shown.is_empty() { "…".to_owned() } else { shown };
        let turns = [Message::assistant(shown), Message::user(said.as_str())];
        FurtherTry { messages: asked.iter().cloned().chain(turns).collect(), reason, said }
    }
}

fn first(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}
