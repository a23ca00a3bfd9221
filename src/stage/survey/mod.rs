//! `type = "survey"`: each row is a respondent who answers a questionnaire.
//!
//! `questions` reads the questionnaire, `check` finds what contradicts itself, `order` designs the orders of options and
//! questions, `wording` puts questions into words, and `interview` is the stage: what to ask next, and what was answered.

mod check;
mod interview;
mod order;
mod questions;
#[cfg(test)]
mod tests;
mod wording;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::question;
use super::{Site, Stage, StageConfig};
use crate::document::{self, Problems};
use crate::registry::Kind;
use crate::table::Cell;

use interview::{Interview, Persona};
use order::{Design, Order};
use questions::Questions;

/// The row of the registry.
pub const KIND: Kind<Box<dyn StageConfig>> = Kind {
    name: "survey",
    about: "Each row is a respondent who answers a questionnaire.",
    schema: |generator| generator.subschema_for::<Survey>(),
    fields: document::fields_of::<Survey>,
    decode: |node, path, problems| {
        document::decode::<Survey>(node, path, problems).map(|s| Box::new(s) as Box<dyn StageConfig>)
    },
};

/// The column of survey weights, which say nothing of a person.
const WEIGHT: &str = "weight";

/// A questionnaire for every row.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Survey {
    /// What the model is told before the persona: instructions that all rows share, without variables.
    system: Option<String>,
    /// Who answers, a Jinja template over the row's columns: `You are {{ name }}, {{ age }} years old.` Left out: a list
    /// of all columns but the key and `weight`, nulls left out.
    persona: Option<String>,
    /// The questions: a list of tables, or in short a table of texts with their options.
    #[schemars(required)]
    questions: Option<Questions>,
    /// What is asked in one call: a question, or the whole questionnaire of a respondent. Default: `question`.
    #[serde(default)]
    per: Per,
    /// Whether later questions see the earlier ones and their answers, for `per = "question"`. Default: false.
    #[serde(default)]
    memory: bool,
    /// The order of options, recorded in a column `<id>_shown`. Default: `as_given`.
    #[serde(default)]
    option_order: Order,
    /// The order of questions, recorded in a column `<stage>_question_order`. Questions that are tied by `when` move as
    /// one block. Default: `as_given`.
    #[serde(default)]
    question_order: Order,
    /// What stands before each option, to answer with. Default: `none`.
    #[serde(default)]
    option_labels: Labels,
}

/// What is asked in one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Per {
    /// One question.
    #[default]
    Question,
    /// The whole questionnaire.
    Respondent,
}

/// What stands before each option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Labels {
    /// Nothing; the answer is an option's text.
    #[default]
    None,
    /// `A.`, `B.`, ... in the order that is shown; at most 26 options.
    Letters,
    /// `1.`, `2.`, ... in the order that is shown.
    Numbers,
}

impl Labels {
    /// The label of the option in place `place`, from 0; none where options have no labels.
    fn of(self, place: usize) -> Option<String> {
        match self {
            Labels::None => None,
            Labels::Letters => u8::try_from(place).ok().filter(|p| *p < 26).map(|p| char::from(b'A' + p).to_string()),
            Labels::Numbers => Some((place + 1).to_string()),
        }
    }
}

impl StageConfig for Survey {
    fn bind(&self, site: &Site<'_>, problems: &mut Problems) -> Option<Arc<dyn Stage>> {
        let before = problems.mark();
        let persona = match &self.persona {
            Some(source) => question::bind(site, source, "persona", None, false, problems)
                .map(|template| Persona::Written(Box::new(template))),
            None => Some(Persona::Columns(described(site))),
        };
        let questions = check::questions(self, site, problems);
        if problems.had_errors_since(before) {
            return None;
        }
        let (persona, questions) = (persona?, questions?);
        let blocks = interview::blocks(&questions);
        let pinned: Vec<bool> = blocks.iter().map(|block| questions[block.clone()].iter().any(|q| q.pinned)).collect();
        let seed = site.seed.unwrap_or_default();
        let order = Design::new(self.question_order, seed, &["questions"], &pinned);
        Some(Arc::new(Interview::new(self, site, persona, questions, blocks, order)))
    }
}

/// The columns that say something of a respondent, each with its name in words.
fn described(site: &Site<'_>) -> Vec<(usize, String)> {
    let fields = site.input.fields().iter().enumerate();
    let telling = fields.filter(|(i, field)| site.key != Some(*i) && field.name() != WEIGHT);
    telling.map(|(i, field)| (i, field.name().replace('_', " "))).collect()
}

/// A cell in words; none where it says nothing.
fn in_words(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Null => None,
        Cell::Boolean(yes) => Some(if *yes { "yes" } else { "no" }.to_owned()),
        Cell::Integer(number) => Some(number.to_string()),
        Cell::Number(number) => Some(number.to_string()),
        Cell::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Cell::List(items) => {
            let items: Vec<String> = items.iter().filter_map(in_words).collect();
            (!items.is_empty()).then(|| items.join(", "))
        }
    }
}
