//! Estimates: counts the calls of a stage about some rows, and answers them from the ledger.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::unknown::{Unknown, read_by};
use super::volume::{OpenCall, Sample, Volume, bytes};
use crate::ask::{
    Fate, Finished, FirstRound, Keys, Next, OutputSlot, Question, Respondent, Task, TaskContext, Terms, answered_by,
    answers, by_pack, columns, correct, fates, tasks,
};
use crate::lock::PromptDigest;
use crate::models::Models;
use crate::plan::routing;
use crate::prompt::{Failure, PackForm, Prompt, pack, together};
use crate::spec::{Overflow, StageSpec};
use crate::store::{Key, Ledger, LedgerError, Since};
use crate::table::{Cutter, Row};

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StageEstimate {
    pub(crate) from_ledger: u64,
    pub(crate) skipped: u64,
    pub(crate) complete: u64,
    pub(crate) unknown: u64,
    /// The answers in the ledger that may be of another server.
    pub(crate) other_servers: u64,
    /// The calls to send that another universe of the grid makes too.
    pub(crate) shared: u64,
    /// The largest number of calls about the known rows, except rows that are skipped or complete.
    pub(crate) calls: u64,
    pub(crate) packs: Packs,
    pub(crate) bytes: PromptBytes,
    /// The calls to each model, in the order of the stage's models.
    pub(crate) volumes: Vec<Volume>,
    /// Texts of the first prompts, to measure how many bytes a token has.
    pub(crate) sample: String,
}

/// The most bytes of sampled prompts.
const SAMPLE: usize = 64 << 10;

/// The prompts to render.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Render<'a> {
    /// The number of rows, for each stage.
    pub(crate) most: usize,
    /// Only the row with this key, or `#12` or without a key this number.
    pub(crate) row: Option<&'a str>,
    /// The column with the keys of the stage's input.
    pub(crate) key: Option<usize>,
}

impl Render<'_> {
    fn has(&self, row: Row<'_>) -> bool {
        let number = row.number() + 1;
        let Some(wanted) = self.row else { return true };
        match (wanted.strip_prefix('#').and_then(|digits| digits.parse::<u64>().ok()), self.key) {
            (Some(wanted), _) => wanted == number,
            (None, Some(key)) => row.cell(key).text() == wanted,
            (None, None) => wanted.parse() == Ok(number),
        }
    }
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
    pub(crate) unknown: &'a Unknown,
}

impl StageRows<'_> {
    fn model_of(&self, row: Row<'_>, place: usize) -> usize {
        routing::model_of(self.stage, row.number(), place)
    }

    /// Whether a prompt to the model (by its index in the stage) is sent. A prompt that exceeds the context is not.
    fn is_sent(&self, model: usize, prompt: &Prompt) -> bool {
        let Some(models) = self.models else { return true };
        let target = models.target(self.stage.models[model]);
        let has_other_way = self.stage.overflow == Overflow::TruncateMiddle || !target.fallback.is_empty();
        has_other_way || target.context_size().exceeded_by(&prompt.messages).is_none()
    }

    /// The models of the answers about a row that need a call, by their indices in the stage.
    fn asked(&self, row: Row<'_>, prompts: &[Prompt]) -> Vec<usize> {
        let models = (0..self.stage.width()).map(|place| self.model_of(row, place));
        models.filter(|model| prompts.first().is_none_or(|first| self.is_sent(*model, first))).collect()
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Recall<'a> {
    pub(crate) models: &'a Models,
    /// `None` if there is no ledger yet.
    pub(crate) ledger: Option<&'a Ledger>,
    /// Older answers do not count.
    pub(crate) since: Since,
}

pub(crate) struct StageState {
    pub(crate) estimate: StageEstimate,
    /// The hash of the first prompts; `None` once a row is unknown.
    pub(crate) digest: Option<PromptDigest>,
    pub(crate) rendered: Vec<Rendered>,
    /// Cuts the rows into packs; also the number of the next row. `None` once a row is unknown.
    pub(crate) packs: Option<(Cutter, u64)>,
    /// The unknown columns of the rows in packs. The stage does not read them.
    pub(crate) unread: BTreeSet<usize>,
    /// The sample of calls for a pilot.
    pub(crate) pilot: Option<Sample>,
    /// Whether the table is kept and no other stage reads it, so that its calls are not looked up.
    pub(crate) is_kept: bool,
    /// The calls to send of all universes of the grid, if the stage is one of them.
    pub(crate) asked: Option<Rc<RefCell<HashSet<Key>>>>,
}

impl StageState {
    /// `kept` is the number of the calls of a table that is kept and that no other stage reads.
    pub(crate) fn new(stage: &StageSpec, kept: Option<u64>) -> Self {
        StageState {
            estimate: StageEstimate {
                from_ledger: kept.unwrap_or(0),
                volumes: vec![Volume::default(); stage.models.len()],
                ..StageEstimate::default()
            },
            digest: Some(PromptDigest::default()),
            rendered: Vec::new(),
            packs: Some((Cutter::new(stage.rows_per_prompt as usize), 0)),
            unread: BTreeSet::new(),
            pilot: None,
            is_kept: kept.is_some(),
            asked: None,
        }
    }

    /// Keeps the prompts to render. Returns the output rows and their unknown cells.
    pub(crate) fn estimate(
        &mut self,
        rows: StageRows<'_>,
        recall: Option<Recall<'_>>,
        render: Render<'_>,
    ) -> Result<Option<(RecordBatch, Unknown)>, LedgerError> {
        let StageRows { stage, batch, first, unknown, .. } = rows;
        let (recall, width) = (recall.filter(|_| !self.is_kept), stage.width());
        let waits = unknown.rows(&read_by(stage));
        let mut slots: Vec<Option<OutputSlot<'_>>> = (0..batch.num_rows() * width).map(|_| None).collect();
        let mut rounds: Vec<FirstRound> = Vec::new();
        let mut left = render.most.saturating_sub(self.rendered.len());
        for (i, fate) in fates(stage, batch, first).iter().enumerate() {
            let row = Row::new(batch, i, first);
            if waits.as_ref().is_some_and(|waits| waits[i]) {
                self.wait(rows, row);
                continue;
            }
            let most = if *fate == Fate::Asked { stage.stage.most_prompts(row) } else { 0 };
            if most == 0 {
                self.unasked(stage, row, fate, &mut slots[i * width..(i + 1) * width]);
                continue;
            }
            let prompts = stage.stage.ask.prompts(row, &[]);
            let asked = rows.asked(row, prompts.as_deref().unwrap_or_default());
            self.estimate.calls += asked.len() as u64 * most;
            if let Some(digest) = &mut self.digest {
                digest.asked(&prompts);
            }
            if left > 0 && render.has(row) {
                left -= 1;
                self.rendered.extend(rendered(stage, row, &prompts));
            }
            let Ok(prompts) = prompts else { continue };
            if !stage.packs() {
                prompts.iter().for_each(|prompt| self.estimate.measure(prompt));
                if recall.is_none() && !self.is_kept {
                    asked.iter().for_each(|model| self.estimate.ask_rounds(stage, *model, &prompts, most));
                }
            }
            if stage.packs() || recall.is_some() {
                rounds.push((i, prompts.into_iter().map(Arc::new).collect()));
            }
        }
        if stage.packs() {
            self.pack(rows, &mut rounds, recall.is_some());
        }
        if self.is_kept {
            return Ok(None);
        }
        if let Some(recall) = recall {
            self.estimate.from_ledger += recall.answer(rows, rounds, &mut slots, self)?;
        }
        Ok(output(rows, slots))
    }

    /// Counts a row whose prompts depend on unknown cells. Their sizes are those with nothing in these cells.
    fn wait(&mut self, rows: StageRows<'_>, row: Row<'_>) {
        self.digest = None;
        self.estimate.unknown += 1;
        let most = rows.stage.stage.most_prompts(row);
        let prompts = rows.stage.stage.ask.prompts(row, &[]).unwrap_or_default();
        for place in 0..rows.stage.width() {
            let model = rows.model_of(row, place);
            match prompts.is_empty() {
                true => self.estimate.volumes[model].ask_unknown(most),
                false => self.estimate.ask_rounds(rows.stage, model, &prompts, most),
            }
        }
    }

    /// Counts the packs of some rows and their prompts; also as calls if the ledger is not read.
    fn pack(&mut self, rows: StageRows<'_>, rounds: &mut [FirstRound], is_recalled: bool) {
        let StageRows { stage, batch, first, .. } = rows;
        for pack in by_pack(stage, rounds) {
            let row = Row::new(batch, pack[0].0, first);
            for prompt in self.estimate.packs.add(pack) {
                self.estimate.measure(&prompt);
                let later = stage.stage.info.most_prompts;
                for place in (0..stage.width()).filter(|_| !is_recalled) {
                    let volume = &mut self.estimate.volumes[rows.model_of(row, place)];
                    volume.ask_rounds(std::slice::from_ref(&*prompt), later);
                }
            }
        }
    }

    /// Counts the open questions of a task as calls to send, and the prompts that may follow them.
    fn send(&mut self, rows: StageRows<'_>, task: &mut Task) {
        let StageRows { stage, batch, first, .. } = rows;
        let who = task.who;
        // Of this round, the ledger may have some answers.
        let known = if stage.packs() { 0 } else { task.known_count() };
        let asked = task.asked_count() as u64 + known;
        let (mut row, mut prompts, mut last, mut shared) = (None, Vec::new(), None, 0);
        let mut model = who.model;
        for (question, of) in task.open().filter(|(question, _)| rows.is_sent(question.who.model, &question.prompt)) {
            model = question.who.model;
            row.get_or_insert(of);
            match self.asked.as_ref().is_none_or(|asked| asked.borrow_mut().insert(question.key)) {
                true => prompts.push(question.prompt.clone()),
                false => shared += 1,
            }
            last = Some(question.prompt.clone());
        }
        let (Some(row), Some(last)) = (row, last) else { return };
        self.estimate.shared += shared;
        let most = match stage.packs() {
            true => stage.stage.info.most_prompts,
            false => stage.stage.most_prompts(Row::new(batch, row, first)),
        };
        let later = most.saturating_sub(asked + prompts.len() as u64 + shared);
        // The calls of later programs have unknown sizes.
        let sub = later.min(stage.stage.info.most_sub_prompts);
        prompts.iter().for_each(|prompt| self.estimate.volumes[model].ask(prompt, 1));
        self.estimate.volumes[who.model].ask(&last, later - sub);
        self.estimate.volumes[stage.sub()].ask_unknown(sub);
        let who = Respondent { model, ..who };
        if let Some(pilot) = &mut self.pilot {
            prompts.iter().for_each(|prompt| pilot.offer(|| OpenCall { who, prompt: prompt.clone() }));
        }
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
                Fate::Asked => OutputSlot::new(stage.stage.ask.cells(row, model, &[]), Some(model), None),
                _ => OutputSlot::new(stage.stage.ask.unanswered(row, &[]), None, None),
            });
        }
    }
}

impl StageEstimate {
    /// Counts the first round about a row, and the most prompts that later rounds may have, by the models.
    fn ask_rounds(&mut self, stage: &StageSpec, model: usize, prompts: &[Prompt], most: u64) {
        let sub = stage.stage.info.most_sub_prompts;
        self.volumes[model].ask_rounds(prompts, most.saturating_sub(sub));
        if sub > 0 {
            self.volumes[stage.sub()].ask_unknown(sub);
        }
    }

    fn measure(&mut self, prompt: &Prompt) {
        self.bytes.add(prompt);
        if self.sample.len() < SAMPLE {
            prompt.messages.iter().for_each(|message| self.sample.push_str(&message.content));
        }
    }
}

/// The output rows. The cells of unknown answers are empty.
fn output<'a>(rows: StageRows<'a>, slots: Vec<Option<OutputSlot<'a>>>) -> Option<(RecordBatch, Unknown)> {
    let StageRows { stage, batch, first, unknown, .. } = rows;
    let width = stage.width();
    let open: Vec<bool> = slots.chunks(width).map(|slots| slots.iter().any(Option::is_none)).collect();
    let slot = |(i, slot): (usize, Option<OutputSlot<'a>>)| {
        let empty = || stage.stage.ask.unanswered(Row::new(batch, i / width, first), &[]);
        slot.unwrap_or_else(|| OutputSlot::new(empty(), None, None))
    };
    let mut slots: Vec<_> = slots.into_iter().enumerate().map(slot).collect();
    correct(stage, batch, first, &mut slots);
    Some((columns(stage, batch, &slots).ok()?, unknown.after(stage, &open)))
}

fn rendered(stage: &StageSpec, row: Row<'_>, prompts: &Result<Vec<Prompt>, Failure>) -> Vec<Rendered> {
    let named = |prompt| Rendered { stage: stage.name.to_string(), row: row.number() + 1, prompt };
    match prompts {
        Ok(prompts) => prompts.iter().cloned().map(Ok).map(named).collect(),
        Err(failure) => vec![named(Err(failure.to_string()))],
    }
}

fn with_model((question, _): (&mut Question, usize)) -> (&mut Question, usize) {
    let model = question.who.model;
    (question, model)
}

struct ModelKeys<'a> {
    stage: &'a StageSpec,
    models: &'a Models,
}

impl Keys for ModelKeys<'_> {
    fn key(&self, who: Respondent, prompt: &Prompt) -> Key {
        self.models.target(self.stage.models[who.model]).key(prompt, who.replicate)
    }

    fn older_keys(&self, who: Respondent, prompt: &Prompt) -> Vec<Key> {
        self.models.target(self.stage.models[who.model]).older_keys(prompt, who.replicate)
    }

    fn shorter_keys(&self, who: Respondent, prompt: &Prompt) -> Vec<Key> {
        self.models.target(self.stage.models[who.model]).shorter_keys(prompt, who.replicate)
    }

    fn enforced_properties(&self, who: Respondent) -> usize {
        self.models.target(self.stage.models[who.model]).provider.enforced_properties()
    }
}

impl<'a> Recall<'a> {
    /// Answers the questions about rows from the ledger, fills their slots, and counts the calls to send. Returns how
    /// many calls the ledger answers.
    fn answer(
        self,
        rows: StageRows<'a>,
        mut rounds: Vec<FirstRound>,
        slots: &mut [Option<OutputSlot<'a>>],
        state: &mut StageState,
    ) -> Result<u64, LedgerError> {
        let StageRows { stage, batch, first, .. } = rows;
        let keys = ModelKeys { stage, models: self.models };
        let context = TaskContext::new(stage, &keys, batch, first);
        let mut open = tasks(stage, &context, &mut rounds, &HashSet::new());
        let mut calls = 0;
        while !open.is_empty() {
            state.estimate.other_servers += self.look_up(stage, &mut open, &mut state.estimate.volumes)?;
            open.retain_mut(|task| {
                let model = task.who.model;
                let result = task.step(&context, |result| {
                    if result.failure.is_none() {
                        let row = Row::new(batch, result.slot / stage.width(), first);
                        let name = stage.model_names[model].as_str();
                        let cells = stage.stage.ask.cells(row, name, &answers(&result.asked));
                        let fallback = answered_by(&result.asked).and_then(|by| self.fallback(stage.models[model], by));
                        slots[result.slot] = Some(OutputSlot::new(cells, fallback.or(Some(name)), None));
                    }
                });
                calls += result.known;
                if result.next == Next::Ask {
                    calls += task.known_count();
                    state.send(rows, task);
                }
                result.next == Next::LookUp
            });
        }
        Ok(calls)
    }

    /// Returns the number of answers that may be of another server.
    fn look_up(&self, stage: &StageSpec, tasks: &mut [Task], volumes: &mut [Volume]) -> Result<u64, LedgerError> {
        let open = tasks.iter_mut().flat_map(|task| task.open().map(with_model));
        self.find(stage, open.collect(), volumes)?;
        let before = self.doubtful(stage, tasks);
        for form in 0.. {
            let older = tasks.iter_mut().flat_map(|task| task.open_older(form).map(with_model));
            let older: Vec<_> = older.collect();
            if older.is_empty() {
                break;
            }
            let found = self.find(stage, older, volumes);
            tasks.iter_mut().for_each(|task| task.settle(form));
            found?;
        }
        Ok(before - self.doubtful(stage, tasks))
    }

    /// The number of open questions whose older answers may be of another server.
    fn doubtful(&self, stage: &StageSpec, tasks: &[Task]) -> u64 {
        let has_others = |task: &&Task| !self.models.target(stage.models[task.who.model]).servers.others.is_empty();
        tasks.iter().filter(has_others).map(|task| task.open_count() as u64).sum()
    }

    fn find(
        &self,
        stage: &StageSpec,
        questions: Vec<(&mut Question, usize)>,
        volumes: &mut [Volume],
    ) -> Result<(), LedgerError> {
        let keys: Vec<Key> = questions.iter().map(|(question, _)| question.key).collect();
        let Some(ledger) = self.ledger else { return Ok(()) };
        for ((question, model), record) in questions.into_iter().zip(ledger.find_since(&keys, self.since)?) {
            let target = self.models.target(stage.models[model]);
            let terms = Terms::new(stage, &target.fallback, target.context_size());
            let record = record.filter(|record| question.takes(record));
            question.answer = record.and_then(|r| Finished::known(Arc::new(r), &question.prompt, &terms));
            if let Some(known) = &question.answer {
                volumes[model].known(&question.prompt, &known.record);
            }
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
    /// Counts a pack of rows. Returns its prompts for one answer about each row.
    fn add<'a>(&mut self, rows: &'a [FirstRound]) -> Vec<Cow<'a, Prompt>> {
        self.count += 1;
        let mut alike: Vec<Vec<&Prompt>> = Vec::new();
        for prompt in rows.iter().flat_map(|(_, prompts)| prompts) {
            self.single_bytes += bytes(prompt);
            match alike.iter_mut().find(|others| together(others[0], prompt)) {
                Some(others) => others.push(prompt),
                None => alike.push(vec![prompt]),
            }
        }
        let packed = |prompts: Vec<&'a Prompt>| match prompts.as_slice() {
            [one] => Cow::Borrowed(*one),
            several => Cow::Owned(pack(several, PackForm::List)),
        };
        alike.into_iter().map(packed).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::prompt::{Addressee, Expect, Message};

    #[test]
    fn the_shared_beginning_ends_at_the_first_text_of_a_row() {
        let mut sizes = PromptBytes::default();
        for text in ["We won.", "Peace"] {
            let question = Message::user(format!("Tone?{text} Be brief.")).around("Tone?", " Be brief.");
            let messages = vec![Message::system("Judge.").for_all(), question, Message::user("Now").for_all()];
            let prompt = Prompt {
                messages,
                expect: Arc::new(Expect::Text),
                schema: None,
                respondent: None,
                pack: None,
                to: Addressee::Row,
            };
            sizes.add(&prompt);
        }
        let expected =
            PromptBytes { prompts: 2, bytes: 2 * (6 + 5 + 10 + 3) + 12, shared: 2 * 11, beginning: 11, behind: 20 };
        assert_eq!((sizes, sizes.read()), (expected, 60 - 11));
    }
}
