//! Questions about a group: one prompt if it fits, else a tree or a fold of partial answers. Which rows share a prompt
//! depends only on the rows and on `max_input_tokens`.

use std::ops::Range;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::prompt::{Addressee, Answer, Bound, Expect, Failure, FailureKind, Message, Prompt, TemplateValue};
use crate::stage::ask::{Ask, StageInfo};
use crate::stage::view::{self, Shown, View};
use crate::table::{Cell, Row};

/// The prefix of a hidden column's name. The rest is the name of the column whose cells it gathers.
const HIDDEN: &str = "rows/";
/// The number of prompt bytes that are counted as one token.
const BYTES_PER_TOKEN: u64 = 4;

pub(crate) fn hidden(name: &str) -> String {
    format!("{HIDDEN}{name}")
}

pub(crate) fn shown(hidden: &str) -> &str {
    hidden.strip_prefix(HIDDEN).unwrap_or(hidden)
}

/// Treatment of a group that does not fit into one prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Strategy {
    /// The group fails.
    Single,
    /// Asks about parts of it, then about the answers.
    #[default]
    Tree,
    /// Asks about one part after the other, with the answer so far.
    Fold,
}

#[derive(Debug)]
pub(crate) struct BoundReduce {
    pub(crate) strategy: Strategy,
    pub(crate) tokens: Option<u64>,
    pub(crate) prompt: Bound,
    pub(crate) combine: Option<Bound>,
    pub(crate) system: Option<String>,
    pub(crate) expect: Arc<Expect>,
    pub(crate) schema: Option<Arc<Value>>,
    pub(crate) names: Vec<String>,
    pub(crate) hidden: Vec<usize>,
    pub(crate) rows: usize,
    pub(crate) keys: Vec<String>,
    /// The columns of the numbers of rows of a group: those in the prompt, and those left out.
    pub(crate) counts: [String; 2],
}

type Item = Vec<Cell>;

type PromptAbout<'a> = &'a dyn Fn(Range<usize>) -> Result<Prompt, Failure>;

impl BoundReduce {
    fn items(&self, row: Row<'_>) -> Vec<Item> {
        let count = match row.cell(self.rows) {
            Cell::Integer(count) => count.max(0) as usize,
            _ => 0,
        };
        let mut items = vec![Vec::with_capacity(self.hidden.len()); count];
        for column in &self.hidden {
            let Cell::List(cells) = row.cell(*column) else { continue };
            items.iter_mut().zip(cells).for_each(|(item, cell)| item.push(cell));
        }
        items
    }

    fn asked(&self, question: String) -> Prompt {
        let messages = self.system.iter().map(Message::system).chain([Message::user(question)]).collect();
        Prompt {
            messages,
            expect: self.expect.clone(),
            schema: self.schema.clone(),
            respondent: None,
            pack: None,
            to: Addressee::Row,
        }
    }

    fn rendered(&self, template: &Bound, row: Row<'_>, given: &[(&str, TemplateValue<'_>)]) -> Result<String, Failure> {
        template.render_with(row, given).map_err(|message| FailureKind::Template.because(message))
    }

    fn over(&self, row: Row<'_>, items: &[Item]) -> Result<String, Failure> {
        let items: Vec<&[Cell]> = items.iter().map(Vec::as_slice).collect();
        self.rendered(&self.prompt, row, &[("rows", TemplateValue::Records(&self.names, &items))])
    }

    fn over_answers(&self, row: Row<'_>, answers: &[Answer]) -> Result<String, Failure> {
        let Some(combine) = &self.combine else {
            let parts: Vec<String> =
                answers.iter().enumerate().map(|(i, answer)| format!("{}. {}", i + 1, self.text(answer))).collect();
            return Ok(format!(
                "The same question was asked about consecutive parts of one whole. The question, without the parts:\n\n\
                 {}\n\nThe answers, in order:\n\n{}\n\nGive one answer to the question about the whole.",
                self.over(row, &[])?.trim(),
                parts.join("\n\n")
            ));
        };
        match &*self.expect {
            Expect::Text | Expect::CutText => {
                let texts = Cell::List(answers.iter().filter_map(|answer| answer.first().cloned()).collect());
                self.rendered(combine, row, &[("answers", TemplateValue::Cell(&texts))])
            }
            Expect::Record(_) | Expect::Vector(_) => {
                let answers: Vec<&[Cell]> = answers.iter().map(Vec::as_slice).collect();
                self.rendered(combine, row, &[("answers", TemplateValue::Records(&self.keys, &answers))])
            }
        }
    }

    fn onwards(&self, row: Row<'_>, so_far: &Answer, items: &[Item]) -> Result<String, Failure> {
        let Some(combine) = &self.combine else {
            return Ok(format!(
                "{}\n\nThese are not all: from what came before them, the answer so far is:\n\n{}\n\nGive the answer about \
                 all of it.",
                self.over(row, items)?.trim(),
                self.text(so_far)
            ));
        };
        let items: Vec<&[Cell]> = items.iter().map(Vec::as_slice).collect();
        let answer = match (&*self.expect, so_far.first()) {
            (Expect::Text | Expect::CutText, Some(text)) => TemplateValue::Cell(text),
            _ => TemplateValue::Record(&self.keys, so_far),
        };
        self.rendered(combine, row, &[("answer", answer), ("rows", TemplateValue::Records(&self.names, &items))])
    }

    fn text(&self, answer: &Answer) -> String {
        match (&*self.expect, answer.as_slice()) {
            (Expect::Text | Expect::CutText, [Cell::Text(text), ..]) => text.clone(),
            (_, cells) => {
                let object = self.keys.iter().zip(cells).map(|(key, cell)| (key.clone(), cell.json()));
                Value::Object(object.collect()).to_string()
            }
        }
    }

    /// Returns how many of the `all` items fit into one prompt, counting from item `start`.
    fn fitting(&self, start: usize, all: usize, ask: PromptAbout<'_>) -> Result<usize, Failure> {
        let Some(most) = self.tokens else { return Ok(all - start) };
        let fits = |count: usize| -> Result<bool, Failure> { Ok(tokens(&ask(start..start + count)?) <= most) };
        let (mut fit, mut step) = (0, 1);
        while start + fit < all {
            let count = (fit + step).min(all - start);
            if fits(count)? {
                fit = count;
                step *= 2;
            } else if step == 1 {
                break;
            } else {
                // The limit is below `count`: continue in smaller steps.
                step = 1.max(step / 4);
            }
        }
        Ok(fit)
    }

    fn leaves(&self, row: Row<'_>, items: &[Item]) -> Result<Vec<Range<usize>>, Failure> {
        let ask = |range: Range<usize>| Ok(self.asked(self.over(row, &items[range])?));
        let mut leaves = Vec::new();
        let mut start = 0;
        while start < items.len() {
            let fit = self.fitting(start, items.len(), &ask)?;
            if fit == 0 {
                return Err(
                    self.too_long(&format!("row {} of the group alone", start + 1), tokens(&ask(start..start + 1)?))
                );
            }
            leaves.push(start..start + fit);
            start += fit;
        }
        Ok(leaves)
    }

    fn too_long(&self, what: &str, tokens: u64) -> Failure {
        FailureKind::ContextTooLong.because(format!(
            "{what} makes a prompt of about {tokens} tokens, more than `max_input_tokens`, which is {}",
            self.tokens.unwrap_or_default()
        ))
    }

    /// Returns the prompts of the next level of a tree; none if there is one answer.
    fn tree(&self, row: Row<'_>, items: &[Item], so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        let leaves = self.leaves(row, items)?;
        if so_far.is_empty() {
            return leaves.into_iter().map(|leaf| Ok(self.asked(self.over(row, &items[leaf])?))).collect();
        }
        let mut left = so_far.iter();
        let mut level: Vec<Answer> = left.by_ref().take(leaves.len()).cloned().collect();
        while level.len() > 1 {
            let ask = |range: Range<usize>| Ok(self.asked(self.over_answers(row, &level[range])?));
            let mut groups = Vec::new();
            let mut start = 0;
            while start < level.len() {
                let fit = self.fitting(start, level.len(), &ask)?.max(1);
                groups.push(start..start + fit);
                start += fit;
            }
            if groups.len() == level.len() {
                return Err(self.too_long("two partial answers", tokens(&ask(0..2)?)));
            }
            let known = left.len();
            if known == 0 {
                return groups.into_iter().filter(|group| group.len() > 1).map(ask).collect();
            }
            // An answer without a partner goes to the next level unchanged.
            let next = groups.into_iter().map(|group| match group.len() {
                1 => Some(level[group.start].clone()),
                _ => left.next().cloned(),
            });
            level = next.collect::<Option<_>>().unwrap_or_default();
        }
        Ok(Vec::new())
    }

    /// Returns the next prompt of a fold; none after the last row.
    fn fold(&self, row: Row<'_>, items: &[Item], so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        let mut start = 0;
        for i in 0..=so_far.len() {
            if start >= items.len() {
                return Ok(Vec::new());
            }
            let ask = |range: Range<usize>| {
                let items = &items[range];
                Ok(self.asked(match i.checked_sub(1) {
                    None => self.over(row, items)?,
                    Some(before) => self.onwards(row, &so_far[before], items)?,
                }))
            };
            let fit = self.fitting(start, items.len(), &ask)?;
            if fit == 0 {
                let what = format!("row {} of the group with the answer so far", start + 1);
                return Err(self.too_long(&what, tokens(&ask(start..start + 1)?)));
            }
            if i == so_far.len() {
                return Ok(vec![ask(start..start + fit)?]);
            }
            start += fit;
        }
        Ok(Vec::new())
    }
}

fn tokens(prompt: &Prompt) -> u64 {
    let bytes: usize = prompt.messages.iter().map(|message| message.content.len()).sum();
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
}

impl Ask for BoundReduce {
    fn views(&self, info: &StageInfo) -> Vec<View> {
        let [rows, left_out] = &self.counts;
        let counts = [view::numbers("Rows per group", rows), view::numbers("Rows left out per group", left_out)];
        let prompts = View::new("Prompts per group", Shown::Prompts);
        let prompts = Some(prompts).filter(|_| self.strategy != Strategy::Single);
        info.views().into_iter().chain(counts).chain(prompts).collect()
    }

    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        let items = self.items(row);
        match self.strategy {
            Strategy::Fold => self.fold(row, &items, so_far),
            Strategy::Tree => self.tree(row, &items, so_far),
            Strategy::Single if so_far.is_empty() => {
                let prompt = self.asked(self.over(row, &items)?);
                match tokens(&prompt) {
                    tokens if self.tokens.is_some_and(|most| tokens > most) => {
                        Err(self.too_long(&format!("the group of {} rows", items.len()), tokens))
                    }
                    _ => Ok(vec![prompt]),
                }
            }
            Strategy::Single => Ok(Vec::new()),
        }
    }

    fn cells(&self, _: Row<'_>, _: &str, answers: &[Answer]) -> Vec<Cell> {
        let mut cells = answers.last().cloned().unwrap_or_default();
        if let (Expect::CutText, Some(flag)) = (&*self.expect, cells.get_mut(1)) {
            // The answer rests on all partial answers.
            *flag = Cell::Boolean(answers.iter().any(|answer| answer.get(1) == Some(&Cell::Boolean(true))));
        }
        cells
    }

    fn unanswered(&self, _: Row<'_>, _: &[Answer]) -> Vec<Cell> {
        vec![Cell::Null; self.keys.len()]
    }

    fn most_prompts(&self, row: Row<'_>) -> Option<u64> {
        let leaves = self.leaves(row, &self.items(row)).map_or(1, |leaves| leaves.len() as u64);
        Some(match self.strategy {
            Strategy::Single => 1,
            // Each level has at most half as many prompts as the level below.
            Strategy::Tree => (2 * leaves).saturating_sub(1).max(1),
            // The answer so far also takes tokens, so there may be more prompts than leaves, at most one for each row.
            Strategy::Fold => leaves,
        })
    }
}
