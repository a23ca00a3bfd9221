//! Estimates: counts the calls of a stage about some rows, and answers them from the ledger.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::RecordBatch;

use crate::ask::{
    Fate, Finished, FirstRound, Keys, Next, OutputSlot, Question, Respondent, Task, TaskContext, Terms, answered_by,
    answers, by_pack, columns, fates, tasks,
};
use crate::lock::PromptDigest;
use crate::models::Models;
use crate::plan::routing;
use crate::prompt::{Failure, PackForm, Prompt, pack, together};
use crate::spec::{Overflow, StageSpec};
use crate::store::{Key, Ledger, LedgerError};
use crate::table::{Cutter, Row};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StageEstimate {
    pub(crate) from_ledger: u64,
    pub(crate) skipped: u64,
    pub(crate) complete: u64,
    pub(crate) unknown: u64,
    /// The largest number of calls about the known rows, except rows that are skipped or complete.
    pub(crate) calls: u64,
    pub(crate) packs: Packs,
    pub(crate) bytes: PromptBytes,
}

pub(crate) struct Rendered {
    pub(crate) stage: String,
    /// The number of the row, from 1.
    pub(crate) row: u64,
    pub(crate) prompt: Result<Prompt, String>,
}

#[derive(Clone, Copy)]
pub(crate) struct StageRows<'a> {
    pub(crate) stage: &'a StageSpec,
    /// The rows, of which the first begins a pack.
    pub(crate) batch: &'a RecordBatch,
    /// The number of the first row, from 0.
    pub(crate) first: u64,
    /// `None` if the models are unknown.
    pub(crate) models: Option<&'a Models>,
}

impl StageRows<'_> {
    /// The number of answers about a row that need a call: a prompt that exceeds the context is not sent.
    fn asked(&self, row: Row<'_>, prompts: &Result<Vec<Prompt>, Failure>) -> usize {
        let (stage, width) = (self.stage, self.stage.width());
        let (Some(models), Ok([first, ..])) = (self.models, prompts.as_deref()) else { return width };
        let is_sent = |place: &usize| {
            let target = models.target(stage.models[routing::model_of(stage, row.number(), *place)]);
            let has_other_way = stage.overflow == Overflow::TruncateMiddle || !target.fallback.is_empty();
            has_other_way || target.context_size().exceeded_by(&first.messages).is_none()
        };
        (0..width).filter(is_sent).count()
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Recall<'a> {
    pub(crate) models: &'a Models,
    pub(crate) ledger: &'a Ledger,
    /// The time before which answers do not count, in milliseconds since 1970.
    pub(crate) since: i64,
}

pub(crate) struct StageState {
    pub(crate) estimate: StageEstimate,
    /// The hash of the first prompts; `None` once a row is unknown.
    pub(crate) digest: Option<PromptDigest>,
    pub(crate) rendered: Vec<Rendered>,
    /// Cuts the rows into packs; also the number of the next row. `None` once a row is unknown.
    pub(crate) packs: Option<(Cutter, u64)>,
}

impl StageState {
    pub(crate) fn new(stage: &StageSpec) -> Self {
        StageState {
            estimate: StageEstimate::default(),
            digest: Some(PromptDigest::default()),
            rendered: Vec::new(),
            packs: Some((Cutter::new(stage.rows_per_prompt as usize), 0)),
        }
    }

    /// Keeps up to `render` prompts. Returns the output rows if `recall` answers all calls.
    pub(crate) fn estimate(
        &mut self,
        rows: StageRows<'_>,
        recall: Option<Recall<'_>>,
        render: usize,
    ) -> Result<Option<RecordBatch>, LedgerError> {
        let StageRows { stage, batch, first, .. } = rows;
        let width = stage.width();
        let mut slots: Vec<Option<OutputSlot<'_>>> = (0..batch.num_rows() * width).map(|_| None).collect();
        let mut rounds: Vec<FirstRound> = Vec::new();
        let mut render = render.saturating_sub(self.rendered.len());
        for (i, fate) in fates(stage, batch, first).iter().enumerate() {
            let row = Row::new(batch, i, first);
            let most = if *fate == Fate::Asked { stage.stage.most_prompts(row) } else { 0 };
            if most == 0 {
                self.unasked(stage, row, fate, &mut slots[i * width..(i + 1) * width]);
                continue;
            }
            let prompts = stage.stage.ask.prompts(row, &[]);
            self.estimate.calls += rows.asked(row, &prompts) as u64 * most;
            if let Some(digest) = &mut self.digest {
                digest.asked(&prompts);
            }
            if render > 0 {
                render -= 1;
                self.rendered.extend(rendered(stage, row, &prompts));
            }
            let Ok(prompts) = prompts else { continue };
            if !stage.packs() {
                prompts.iter().for_each(|prompt| self.estimate.bytes.add(prompt));
            }
            if stage.packs() || recall.is_some() {
                rounds.push((i, prompts.into_iter().map(Arc::new).collect()));
            }
        }
        if stage.packs() {
            self.estimate.packs.add(stage, &mut rounds, &mut self.estimate.bytes);
        }
        if let Some(recall) = recall {
            self.estimate.from_ledger += recall.answer(rows, rounds, &mut slots)?;
        }
        let slots: Option<Vec<_>> = slots.into_iter().collect();
        Ok(slots.and_then(|slots| columns(stage, batch, &slots).ok()))
    }

    fn unasked<'a>(&mut self, stage: &'a StageSpec, row: Row<'_>, fate: &Fate, slots: &mut [Option<OutputSlot<'a>>]) {
        if let Some(digest) = &mut self.digest {
            digest.unasked(fate);
        }
        match fate {
            Fate::Asked => self.estimate.complete += 1,
            Fate::Skipped => self.estimate.skipped += 1,
            Fate::Failed(_) => return,
        }
        for (place, slot) in slots.iter_mut().enumerate() {
            let model = stage.model_names[routing::model_of(stage, row.number(), place)].as_str();
            *slot = Some(match fate {
                Fate::Asked => {
                    OutputSlot { cells: stage.stage.ask.cells(row, model, &[]), who: Some(model), failure: None }
                }
                _ => OutputSlot { cells: stage.stage.ask.unanswered(row, &[]), who: None, failure: None },
            });
        }
    }
}

fn rendered(stage: &StageSpec, row: Row<'_>, prompts: &Result<Vec<Prompt>, Failure>) -> Vec<Rendered> {
    let named = |prompt| Rendered { stage: stage.name.to_string(), row: row.number() + 1, prompt };
    match prompts {
        Ok(prompts) => prompts.iter().cloned().map(Ok).map(named).collect(),
        Err(failure) => vec![named(Err(failure.to_string()))],
    }
}

struct ModelKeys<'a> {
    stage: &'a StageSpec,
    models: &'a Models,
}

impl Keys for ModelKeys<'_> {
    fn key(&self, who: Respondent, prompt: &Prompt) -> Key {
        self.models.target(self.stage.models[who.model]).key(prompt, who.replicate)
    }

    fn enforced_properties(&self, who: Respondent) -> usize {
        self.models.target(self.stage.models[who.model]).provider.enforced_properties()
    }
}

impl<'a> Recall<'a> {
    /// Answers the questions about rows from the ledger and fills their slots. Returns how many calls the ledger
    /// answers.
    fn answer(
        self,
        StageRows { stage, batch, first, .. }: StageRows<'a>,
        mut rounds: Vec<FirstRound>,
        slots: &mut [Option<OutputSlot<'a>>],
    ) -> Result<u64, LedgerError> {
        let keys = ModelKeys { stage, models: self.models };
        let context = TaskContext::new(stage, &keys, batch, first);
        let mut open = tasks(stage, &context, &mut rounds, &HashSet::new());
        let mut calls = 0;
        while !open.is_empty() {
            self.look_up(stage, &mut open)?;
            open.retain_mut(|task| {
                let model = task.who.model;
                let result = task.step(&context, |result| {
                    if result.failure.is_none() {
                        let row = Row::new(batch, result.slot / stage.width(), first);
                        let name = stage.model_names[model].as_str();
                        let cells = stage.stage.ask.cells(row, name, &answers(&result.asked));
                        let fallback = answered_by(&result.asked).and_then(|by| self.fallback(stage.models[model], by));
                        slots[result.slot] = Some(OutputSlot { cells, who: fallback.or(Some(name)), failure: None });
                    }
                });
                calls += result.known;
                if result.next == Next::Ask {
                    calls += task.known_count();
                }
                result.next == Next::LookUp
            });
        }
        Ok(calls)
    }

    fn look_up(&self, stage: &StageSpec, tasks: &mut [Task]) -> Result<(), LedgerError> {
        let open = tasks.iter_mut().flat_map(|task| {
            let model = task.who.model;
            task.open().map(move |(question, _)| (question, model))
        });
        self.find(stage, open.collect())?;
        let older = tasks.iter_mut().flat_map(|task| {
            let model = task.who.model;
            task.open_older().map(move |(question, _)| (question, model))
        });
        let found = self.find(stage, older.collect());
        tasks.iter_mut().for_each(Task::settle);
        found
    }

    fn find(&self, stage: &StageSpec, questions: Vec<(&mut Question, usize)>) -> Result<(), LedgerError> {
        let keys: Vec<Key> = questions.iter().map(|(question, _)| question.key).collect();
        for ((question, model), record) in questions.into_iter().zip(self.ledger.find_since(&keys, self.since)?) {
            let target = self.models.target(stage.models[model]);
            let terms = Terms::new(stage, &target.fallback, target.context_size());
            question.answer = record.and_then(|r| Finished::known(Arc::new(r), &question.prompt, &terms));
        }
        Ok(())
    }

    fn fallback(&self, model: usize, name: &str) -> Option<&'a str> {
        let models = self.models;
        models.target(model).fallback.iter().map(|(other, _)| other.as_str()).find(|other| *other == name)
    }
}

/// The sizes of the first prompts of rows, for one answer about each row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PromptBytes {
    pub(crate) prompts: u64,
    pub(crate) bytes: u64,
    /// Bytes at the beginning of the prompts that are the same for all rows.
    pub(crate) shared: u64,
    pub(crate) beginning: u64,
    /// Bytes of templates that are the same for all rows but come after the row's own text.
    pub(crate) behind: u64,
}

impl PromptBytes {
    pub(crate) fn add(&mut self, prompt: &Prompt) {
        let own = prompt.messages.iter().position(|message| !message.parts().1.is_empty());
        let before = &prompt.messages[..own.unwrap_or(prompt.messages.len())];
        let mut beginning: u64 = before.iter().map(|message| message.content.len() as u64).sum();
        if let Some(message) = own.map(|at| &prompt.messages[at]) {
            beginning += message.shared.start as u64;
            self.behind += message.shared.end as u64;
        }
        self.prompts += 1;
        self.bytes += bytes(prompt);
        self.shared += beginning;
        self.beginning = self.beginning.max(beginning);
    }

    /// Bytes that a server processes if it caches the shared beginning.
    pub(crate) fn read(&self) -> u64 {
        self.bytes - self.shared + self.beginning
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packs {
    pub(crate) count: u64,
    /// Bytes of the first prompts without packs, for one answer about each row.
    pub(crate) single_bytes: u64,
}

impl Packs {
    /// Adds the packs of some rows to the count, and their prompts to `all`.
    pub(crate) fn add(&mut self, stage: &StageSpec, rows: &mut [FirstRound], all: &mut PromptBytes) {
        for rows in by_pack(stage, rows) {
            self.count += 1;
            let mut alike: Vec<Vec<&Prompt>> = Vec::new();
            for prompt in rows.iter().flat_map(|(_, prompts)| prompts) {
                self.single_bytes += bytes(prompt);
                match alike.iter_mut().find(|others| together(others[0], prompt)) {
                    Some(others) => others.push(prompt),
                    None => alike.push(vec![prompt]),
                }
            }
            for prompts in alike {
                if let [one] = prompts.as_slice() { all.add(one) } else { all.add(&pack(&prompts, PackForm::List)) }
            }
        }
    }
}

fn bytes(prompt: &Prompt) -> u64 {
    prompt.messages.iter().map(|message| message.content.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prompt::{Expect, Message};

    #[test]
    fn the_shared_beginning_ends_at_the_first_text_of_a_row() {
        let mut sizes = PromptBytes::default();
        for text in ["We won.", "Peace"] {
            let question = Message::user(format!("Tone?{text} Be brief.")).around("Tone?", " Be brief.");
            let messages = vec![Message::system("Judge.").for_all(), question, Message::user("Now").for_all()];
            let prompt =
                Prompt { messages, expect: Arc::new(Expect::Text), schema: None, respondent: None, pack: None };
            sizes.add(&prompt);
        }
        let expected =
            PromptBytes { prompts: 2, bytes: 2 * (6 + 5 + 10 + 3) + 12, shared: 2 * 11, beginning: 11, behind: 20 };
        assert_eq!((sizes, sizes.read()), (expected, 60 - 11));
    }
}
