//! `type = "survey"`: each row is a respondent who answers a questionnaire.

mod check;
mod interview;
mod names;
mod order;
mod questions;
#[cfg(test)]
mod tests;
mod wording;

use std::sync::OnceLock;

use super::ask::{BindContext, Stage, StageConfig};
use super::question::{self, TextColumn};
use crate::document::Problems;
use crate::registry::Kind;

use interview::{Interview, Persona};
use order::Design;
use questions::Survey;

pub(crate) const KIND: Kind<Box<dyn StageConfig>> =
    Kind::new::<Survey>("survey", "Each row is a respondent who answers a questionnaire.");

impl StageConfig for Survey {
    fn bind(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<Stage> {
        let before = problems.mark();
        let persona = match &self.persona {
            Some(source) => question::bind(context, (source, "persona"), TextColumn::default(), &[], problems)
                .map(|template| Persona::Written(Box::new(template))),
            None => Some(Persona::described(context)),
        };
        let questions = check::questions(self, context, problems);
        if problems.had_errors_since(before) {
            return None;
        }
        let questions = questions?;
        let blocks = interview::blocks(&questions);
        let pinned: Vec<bool> = blocks.iter().map(|block| questions[block.clone()].iter().any(|q| q.pinned)).collect();
        let seed = context.seed.unwrap_or_default();
        let interview = Interview {
            system: self.system.clone(),
            persona: persona?,
            fixed: questions.iter().map(|_| OnceLock::new()).collect(),
            questions,
            blocks,
            order: Design::new(self.question_order, seed, &["questions"], &pinned),
            per: self.per,
            memory: self.memory,
            labels: self.option_labels,
            key: context.key,
            fold: context.fold,
        };
        Some(Stage { info: interview.info(KIND.name, context.name, seed), ask: Box::new(interview) })
    }
}
