//! Tasks: decide what to ask about a row, or about the rows of a pack, from the first question to the last answer.
//!
//! The driver answers the questions it knows ([`Task::open`]) and calls [`Task::step`]. On [`Next::Ask`] it asks the
//! questions of [`Task::wave`] and steps again. The next question depends only on the answers, so a resumed run and a
//! replay ask the same questions.
//!
//! - A round is the list of prompts that follows from the answers so far; it ends when all of them are answered.
//! - A task of one row asks its prompts in turn and stops at a failure, or asks them all at once if the stage says so.
//! - A task of several rows asks one prompt of each row at a time and packs them into calls if possible. Items with a
//!   bad answer are asked again in halves, down to single rows.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::answer::{Finished, PackPosition, ended_by_itself};
use super::key::Replicate;
use crate::prompt::{Addressee, Answer, Failure, Message, PackForm, Prompt, pack, together};
use crate::spec::{Repair, StageSpec};
use crate::stage::Ask;
use crate::store::{Key, Record};
use crate::table::{Cell, Row};

pub(crate) type Exchange = (AskedPrompt, Finished);

/// The prompt of an answered question. Messages that the prompt before it has too are kept only there, so that a long
/// conversation is kept once and not once for each of its questions; such a prompt has no schema either.
#[derive(Clone, Debug)]
pub(crate) struct AskedPrompt {
    prompt: Arc<Prompt>,
    /// The number of messages that are left out at the start.
    earlier: usize,
}

impl AskedPrompt {
    fn whole(prompt: Arc<Prompt>) -> Self {
        AskedPrompt { prompt, earlier: 0 }
    }

    fn after(before: Option<&Prompt>, prompt: &Arc<Prompt>) -> Self {
        let before = before.map(|before| before.messages.as_slice()).unwrap_or_default();
        let earlier = before.iter().zip(&prompt.messages).take_while(|(before, now)| before == now).count();
        if earlier == 0 {
            return AskedPrompt::whole(prompt.clone());
        }
        let messages = prompt.messages[earlier..].to_vec();
        let (expect, pack) = (prompt.expect.clone(), prompt.pack.clone());
        let prompt = Prompt { messages, expect, schema: None, respondent: prompt.respondent, pack, to: prompt.to };
        AskedPrompt { prompt: Arc::new(prompt), earlier }
    }

    /// Makes the messages of this prompt from those of the prompt before it.
    pub(crate) fn continues(&self, messages: &mut Vec<Message>) {
        messages.truncate(self.earlier);
        messages.extend_from_slice(&self.prompt.messages);
    }
}

/// The prompt without its messages, which may be left out.
impl Deref for AskedPrompt {
    type Target = Prompt;

    fn deref(&self) -> &Prompt {
        &self.prompt
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Respondent {
    /// The index in the stage's list of models.
    pub(crate) model: usize,
    pub(crate) replicate: Replicate,
}

pub(crate) trait Keys {
    fn key(&self, who: Respondent, prompt: &Prompt) -> Key;

    /// Other keys under which the answer may be recorded.
    fn older_keys(&self, _: Respondent, _: &Prompt) -> Vec<Key> {
        Vec::new()
    }

    /// The keys of the same call with a smaller limit of the reply. Only replies that ended by themselves count.
    fn shorter_keys(&self, _: Respondent, _: &Prompt) -> Vec<Key> {
        Vec::new()
    }

    /// The most properties of a schema that the server enforces.
    fn enforced_properties(&self, who: Respondent) -> usize;
}

#[derive(Clone, Copy)]
pub(crate) struct TaskContext<'a> {
    pub(crate) ask: &'a dyn Ask,
    pub(crate) at_once: bool,
    /// The index of the model that the row's model calls, if the stage has one.
    pub(crate) sub: usize,
    pub(crate) repair: Repair,
    pub(crate) keys: &'a dyn Keys,
    pub(crate) input: &'a RecordBatch,
    /// The number of the first row of `input`, from 0.
    pub(crate) first_row: u64,
}

pub(crate) struct Task {
    pub(crate) who: Respondent,
    /// Whether the answers are only compared with those of the row's pack.
    pub(crate) audit: bool,
    at_once: bool,
    members: Vec<Member>,
    /// The index of the next question in each member's round; only used for several members.
    next: usize,
    calls: VecDeque<Call>,
}

pub(crate) struct Member {
    slot: usize,
    row: usize,
    round: Vec<Arc<Prompt>>,
    asked: Vec<Exchange>,
    /// The prompt of the last exchange.
    last: Option<Arc<Prompt>>,
    done: bool,
}

pub(crate) struct Question {
    pub(crate) who: Respondent,
    pub(crate) prompt: Arc<Prompt>,
    pub(crate) key: Key,
    pub(crate) answer: Option<Finished>,
    /// Whether only a reply counts that ended by itself.
    must_have_ended: bool,
    /// The same question in other versions. They are looked up and never sent.
    older: Vec<OlderForm>,
}

struct OlderForm {
    prompt: Arc<Prompt>,
    key: Key,
    must_have_ended: bool,
}

impl Question {
    pub(crate) fn new(who: Respondent, prompt: Arc<Prompt>, key: Key) -> Self {
        Question { who, prompt, key, answer: None, must_have_ended: false, older: Vec::new() }
    }

    /// Whether a record under the key of the question may answer it.
    pub(crate) fn takes(&self, record: &Record) -> bool {
        !self.must_have_ended || ended_by_itself(record)
    }

    fn swap(&mut self, form: usize) {
        if let Some(older) = self.older.get_mut(form) {
            std::mem::swap(&mut older.prompt, &mut self.prompt);
            std::mem::swap(&mut older.key, &mut self.key);
            std::mem::swap(&mut older.must_have_ended, &mut self.must_have_ended);
        }
    }
}

struct Call {
    question: Question,
    /// Empty if the task has only one member.
    items: Vec<Item>,
}

#[derive(Clone)]
struct Item {
    prompt: Arc<Prompt>,
    key: Key,
    members: Vec<usize>,
}

pub(crate) struct SlotResult {
    pub(crate) slot: usize,
    /// The exchanges in the order of the calls.
    pub(crate) asked: Vec<Exchange>,
    pub(crate) failure: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    LookUp,
    Ask,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepResult {
    pub(crate) next: Next,
    pub(crate) sent: u64,
    pub(crate) known: u64,
    /// The number of calls that the same rows would have needed without packs.
    pub(crate) singles: u64,
}

pub(crate) fn answers(asked: &[Exchange]) -> Vec<Answer> {
    asked.iter().filter_map(|(prompt, finished)| answer(prompt.to, finished)).collect()
}

/// The answer to a prompt; `None` if it fails the row. In a stage of two models it is the text, the kind of the failure
/// and the tokens of the prompt and of the reply. A replay file has no other words about a failure.
fn answer(to: Addressee, finished: &Finished) -> Option<Answer> {
    let (text, failure) = match (&finished.answer, to) {
        (answer, Addressee::Row) => return answer.clone().ok(),
        (Ok(answer), _) => (answer.first().cloned().unwrap_or(Cell::Null), Cell::Null),
        (Err(failure), _) if !fails_row(to, failure) => (Cell::Null, Cell::Text(failure.kind.name().to_owned())),
        (Err(_), _) => return None,
    };
    let tokens = |number: u64| Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let Record { prompt_tokens, completion_tokens, .. } = *finished.record;
    Some(vec![text, failure, tokens(prompt_tokens), tokens(completion_tokens)])
}

fn fails_row(to: Addressee, failure: &Failure) -> bool {
    to != Addressee::Sub || !failure.kind.is_of_one_call()
}

/// The model that an exchange asked, by its index in the stage's list. `model` is the one that answers the row.
pub(crate) fn asked_model(stage: &StageSpec, prompt: &Prompt, model: usize) -> usize {
    if prompt.to == Addressee::Sub { stage.sub() } else { model }
}

/// The name of the last fallback that answered; `None` if the asked model answered.
pub(crate) fn answered_by(asked: &[Exchange]) -> Option<&str> {
    // A pack whose answer was bad does not count: its rows were asked again.
    let of_row = asked.iter().rev().filter(|(prompt, _)| prompt.to != Addressee::Sub);
    let mut answers = of_row.filter(|(_, f)| f.place.is_none() || f.answer.is_ok());
    answers.find_map(|(_, finished)| finished.record.notes.fallback.as_deref())
}

impl<'a> TaskContext<'a> {
    pub(crate) fn new(stage: &'a StageSpec, keys: &'a dyn Keys, input: &'a RecordBatch, first_row: u64) -> Self {
        let (ask, at_once) = (stage.stage.ask.as_ref(), stage.stage.info.at_once);
        TaskContext { ask, at_once, sub: stage.sub(), repair: stage.repair, keys, input, first_row }
    }

    fn question(&self, who: Respondent, prompt: Arc<Prompt>) -> Question {
        let who = if prompt.to == Addressee::Sub { Respondent { model: self.sub, ..who } } else { who };
        let form = |must_have_ended| {
            let prompt = prompt.clone();
            move |key| OlderForm { prompt: prompt.clone(), key, must_have_ended }
        };
        let older = self.keys.older_keys(who, &prompt).into_iter().map(form(false));
        let older = older.chain(self.keys.shorter_keys(who, &prompt).into_iter().map(form(true))).collect();
        Question { older, ..Question::new(who, prompt.clone(), self.keys.key(who, &prompt)) }
    }
}

impl Member {
    pub(crate) fn new(slot: usize, row: usize, round: Vec<Arc<Prompt>>) -> Self {
        Member { slot, row, round, asked: Vec::new(), last: None, done: false }
    }

    fn result(&mut self, failure: Option<Failure>) -> SlotResult {
        self.done = true;
        SlotResult { slot: self.slot, asked: std::mem::take(&mut self.asked), failure }
    }
}

impl Task {
    /// A task about `members`. There is at least one member, and each has something to ask.
    pub(crate) fn new(context: &TaskContext<'_>, who: Respondent, members: Vec<Member>) -> Task {
        let at_once = context.at_once;
        let mut task = Task { who, audit: false, at_once, members, next: 0, calls: VecDeque::new() };
        task.make_calls(context);
        task
    }

    pub(crate) fn audit(context: &TaskContext<'_>, who: Respondent, member: Member) -> Task {
        Task { audit: true, ..Task::new(context, who, vec![member]) }
    }

    /// The order of the task in its block; an audit comes after the pack it is compared with.
    pub(crate) fn place(&self) -> (usize, bool) {
        (self.members[0].slot, self.audit)
    }

    /// The questions without an answer, each with the input row it belongs to.
    pub(crate) fn open(&mut self) -> impl Iterator<Item = (&mut Question, usize)> {
        let members = &self.members;
        let open = self.calls.iter_mut().filter(|call| call.question.answer.is_none());
        open.map(|call| {
            let first = call.items.first().map_or(0, |item| item.members[0]);
            (&mut call.question, members[first].row)
        })
    }

    /// The open questions that have an older form with this number, in that form until [`Task::settle`].
    pub(crate) fn open_older(&mut self, form: usize) -> impl Iterator<Item = (&mut Question, usize)> {
        self.open().filter(move |(question, _)| question.older.len() > form).map(move |(question, row)| {
            question.swap(form);
            (question, row)
        })
    }

    /// Brings the questions of [`Task::open_older`] that are still open into their present form.
    pub(crate) fn settle(&mut self, form: usize) {
        self.open().for_each(|(question, _)| question.swap(form));
    }

    /// Whether nothing has been answered about the task's rows.
    pub(crate) fn is_new(&self) -> bool {
        self.asked_count() == 0
    }

    /// Makes every wave contain all questions that can be asked.
    pub(crate) fn ask_at_once(&mut self) {
        self.at_once = true;
    }

    /// The number of answered questions about the member with the most of them.
    pub(crate) fn asked_count(&self) -> usize {
        self.members.iter().map(|member| member.asked.len()).max().unwrap_or(0)
    }

    pub(crate) fn open_count(&self) -> usize {
        self.calls.iter().filter(|call| call.question.answer.is_none()).count()
    }

    pub(crate) fn known_count(&self) -> u64 {
        (self.calls.len() - self.open_count()) as u64
    }

    /// The numbers of the questions to ask now: the next one, or all if the stage asks at once.
    pub(crate) fn wave(&self) -> impl Iterator<Item = usize> {
        let open = self.calls.iter().enumerate().filter(|(_, call)| call.question.answer.is_none());
        open.map(|(number, _)| number).take(if self.at_once { usize::MAX } else { 1 })
    }

    pub(crate) fn question(&self, number: usize) -> &Question {
        &self.calls[number].question
    }

    pub(crate) fn answer(&mut self, number: usize, finished: Finished) {
        self.calls[number].question.answer = Some(finished);
    }

    /// Uses the answers and continues until one is missing. Passes each slot with nothing more to ask to `fill`.
    pub(crate) fn step(&mut self, context: &TaskContext<'_>, mut fill: impl FnMut(SlotResult)) -> StepResult {
        let result = StepResult { next: Next::Ask, sent: 0, known: 0, singles: 0 };
        let mut step = Step { context, result, fill: &mut fill };
        let is_answered = match self.members.len() {
            1 => self.take_round(&mut step),
            _ => self.take_wave(&mut step),
        };
        if is_answered {
            step.result.next = self.go_on(&mut step);
        }
        step.result
    }

    pub(crate) fn abandon(&mut self, failure: &Failure, fill: impl FnMut(SlotResult)) {
        self.calls.clear();
        let open = self.members.iter_mut().filter(|member| !member.done);
        open.map(|member| member.result(Some(failure.clone()))).for_each(fill);
    }

    /// Moves the answers of the only member, up to the first failure. Returns whether no question is left.
    fn take_round(&mut self, step: &mut Step<'_>) -> bool {
        let member = &mut self.members[0];
        while let Some(call) = self.calls.pop_front_if(|call| call.question.answer.is_some()) {
            let Some(finished) = call.question.answer else { break };
            step.count(&finished);
            step.result.singles += u64::from(finished.was_sent());
            let prompt = call.question.prompt;
            let failure = finished.answer.as_ref().err().filter(|failure| fails_row(prompt.to, failure)).cloned();
            member.asked.push((AskedPrompt::after(member.last.as_deref(), &prompt), finished));
            member.last = Some(prompt);
            if failure.is_some() {
                self.calls.clear();
                (step.fill)(member.result(failure));
            }
        }
        self.calls.is_empty()
    }

    /// Uses the answers about several members and halves bad packs. Returns `false` if an answer is missing.
    fn take_wave(&mut self, step: &mut Step<'_>) -> bool {
        if self.open_count() > 0 {
            return false;
        }
        for Call { question, items } in std::mem::take(&mut self.calls) {
            let Some(finished) = question.answer else { continue };
            step.count(&finished);
            if question.prompt.pack.is_none() {
                self.take_single(step, &question.prompt, &finished, &items[0]);
                continue;
            }
            let bad = self.take_pack(step, &question.prompt, &finished, items);
            let (first, second) = bad.split_at(bad.len().div_ceil(2));
            for half in [first, second].into_iter().filter(|half| !half.is_empty()) {
                let call = self.call(step.context, half.to_vec());
                self.calls.push_back(call);
            }
        }
        true
    }

    fn take_single(&mut self, step: &mut Step<'_>, prompt: &Arc<Prompt>, finished: &Finished, item: &Item) {
        for (i, member) in item.members.iter().enumerate() {
            step.result.singles += u64::from(finished.was_sent());
            let member = &mut self.members[*member];
            // Rows with equal questions share one call.
            let from_ledger = finished.from_ledger || i > 0;
            member.asked.push((AskedPrompt::whole(prompt.clone()), Finished { from_ledger, ..finished.clone() }));
            if let Err(failure) = &finished.answer {
                (step.fill)(member.result(Some(failure.clone())));
            }
        }
    }

    /// Stores the answer to a call about several items; returns the items whose answer is bad.
    fn take_pack(
        &mut self,
        step: &mut Step<'_>,
        prompt: &Arc<Prompt>,
        finished: &Finished,
        items: Vec<Item>,
    ) -> Vec<Item> {
        let Some(pack) = &prompt.pack else { return Vec::new() };
        let mut bad = Vec::new();
        let replies = finished.items(pack, step.context.repair);
        for (position, (item, reply)) in items.into_iter().zip(replies).enumerate() {
            for (i, member) in item.members.iter().enumerate() {
                let carries = position == 0 && i == 0;
                let (size, part) = (pack.size(), reply.part.clone());
                let place = Some(Box::new(PackPosition { size, position: position + 1, carries, part }));
                let answer = reply.answer.clone().map_err(|text| Failure::read(&text));
                let finished = Finished { answer, place, ..finished.clone() };
                self.members[*member].asked.push((AskedPrompt::whole(prompt.clone()), finished));
            }
            match reply.answer {
                Ok(_) => step.result.singles += item.members.len() as u64,
                Err(_) => bad.push(item),
            }
        }
        bad
    }

    fn go_on(&mut self, step: &mut Step<'_>) -> Next {
        while self.calls.is_empty() {
            self.make_calls(step.context);
            if self.calls.is_empty() && !self.begin_round(step) {
                return Next::Done;
            }
        }
        Next::LookUp
    }

    /// Begins the next round of the members without a result. Returns `false` if there is no such round.
    fn begin_round(&mut self, step: &mut Step<'_>) -> bool {
        let TaskContext { ask, input, first_row, .. } = *step.context;
        self.next = 0;
        let mut begun = false;
        for member in self.members.iter_mut().filter(|member| !member.done) {
            match ask.prompts(Row::new(input, member.row, first_row), &answers(&member.asked)) {
                Ok(round) if !round.is_empty() => {
                    member.round = round.into_iter().map(Arc::new).collect();
                    begun = true;
                }
                other => (step.fill)(member.result(other.err())),
            }
        }
        begun
    }

    /// Combines questions that can be packed into one call, in the order of the rows.
    fn make_calls(&mut self, context: &TaskContext<'_>) {
        if let [member] = self.members.as_mut_slice() {
            let call = |prompt| Call { question: context.question(self.who, prompt), items: Vec::new() };
            self.calls.extend(member.round.drain(..).map(call));
            return;
        }
        let mut calls: Vec<Vec<Item>> = Vec::new();
        for (i, member) in self.members.iter().enumerate() {
            let Some(prompt) = member.round.get(self.next).filter(|_| !member.done) else { continue };
            let key = context.keys.key(self.who, prompt);
            let item = || Item { prompt: prompt.clone(), key, members: vec![i] };
            match calls.iter_mut().find(|items| together(&items[0].prompt, prompt)) {
                Some(items) => match items.iter_mut().find(|item| item.key == key) {
                    Some(twin) => twin.members.push(i),
                    None => items.push(item()),
                },
                None => calls.push(vec![item()]),
            }
        }
        self.next += 1;
        for items in calls {
            let call = self.call(context, items);
            self.calls.push_back(call);
        }
    }

    fn call(&self, context: &TaskContext<'_>, items: Vec<Item>) -> Call {
        let question = match items.as_slice() {
            [one] => context.question(self.who, one.prompt.clone()),
            several => {
                let prompts: Vec<&Prompt> = several.iter().map(|item| &*item.prompt).collect();
                let question = |form| context.question(self.who, Arc::new(pack(&prompts, form)));
                let list = question(PackForm::List);
                match keyed_properties(&prompts) <= context.keys.enforced_properties(self.who) {
                    true => {
                        let mut keyed = question(PackForm::Keyed);
                        let must_have_ended = false;
                        keyed.older.push(OlderForm { prompt: list.prompt, key: list.key, must_have_ended });
                        keyed.older.extend(list.older);
                        keyed
                    }
                    false => list,
                }
            }
        };
        Call { question, items }
    }
}

/// The number of properties in the schema of a pack with keys.
fn keyed_properties(prompts: &[&Prompt]) -> usize {
    let fields = prompts[0].schema.as_deref().and_then(|schema| schema["properties"].as_object());
    prompts.len() * (1 + fields.map_or(0, serde_json::Map::len))
}

struct Step<'a> {
    context: &'a TaskContext<'a>,
    result: StepResult,
    fill: &'a mut dyn FnMut(SlotResult),
}

impl Step<'_> {
    fn count(&mut self, finished: &Finished) {
        let count = if finished.from_ledger { &mut self.result.known } else { &mut self.result.sent };
        *count += u64::from(finished.was_sent());
    }
}

#[cfg(test)]
mod tests;
