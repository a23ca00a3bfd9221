//! Packs at work: rows that are asked about together, from their first question to their last answer.
//!
//! A [`Group`] holds the rows of one pack for one model. It goes through them round by round and question by question: what
//! they ask alike is one call; items whose answer is bad are asked again by halves, down to single rows, which are the
//! ordinary calls of a stage that asks row by row. What it asks next follows from the answers so far alone, so that a
//! resumed run and a replay ask the same. Pure but for the keys: who looks up and asks is `produce` and `stage`, and
//! `preview`.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;
use arrow_select::concat::concat_batches;

use super::block::Asked;
use super::produce::{Question, answers};
use crate::ask::{Finished, PackPosition};
use crate::models::Target;
use crate::prompt::{Failure, Prompt, pack, together};
use crate::random::Streams;
use crate::spec::StageSpec;
use crate::store::Key;
use crate::table::Row;

/// Where a group stands.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The stage.
    pub stage: &'a StageSpec,
    /// Who is asked.
    pub target: &'a Target,
    /// The rows of the block that the group is in.
    pub input: &'a RecordBatch,
    /// The number of the first of them, from 0.
    pub first_row: u64,
}

/// Rows that are asked about together.
pub struct Group {
    /// The model's place in the stage's list.
    pub model: usize,
    /// Which of the replicates it is, from 0.
    pub replicate: u64,
    members: Vec<Member>,
    /// The place of the question in each row's round.
    at: usize,
    /// The calls that are to be made now.
    wave: Vec<Joint>,
}

/// A slot of a group.
struct Member {
    slot: usize,
    row: usize,
    asked: Vec<Asked>,
    round: Vec<Arc<Prompt>>,
    done: bool,
}

/// A call about some rows of a group.
struct Joint {
    question: Question,
    items: Vec<Item>,
}

/// What one row asks, or several that ask the same.
#[derive(Clone)]
struct Item {
    prompt: Arc<Prompt>,
    key: Key,
    members: Vec<usize>,
}

/// A slot with nothing more to ask.
pub struct Filled {
    /// The slot.
    pub slot: usize,
    /// What was asked.
    pub asked: Vec<Asked>,
    /// Why there is no answer.
    pub failure: Option<Failure>,
}

/// What a step came to.
#[derive(Default)]
pub struct Stepped {
    /// The slots with nothing more to ask.
    pub filled: Vec<Filled>,
    /// Calls that were sent.
    pub sent: u64,
    /// Calls that were answered already.
    pub known: u64,
    /// Calls that rows asked one by one would have been.
    pub singles: u64,
}

impl Site<'_> {
    fn key(&self, prompt: &Prompt, replicate: u64) -> Key {
        self.target.key(prompt, replicate)
    }

    fn next(&self, member: &Member) -> Result<Vec<Arc<Prompt>>, Failure> {
        let row = Row::new(self.input, member.row, self.first_row);
        let prompts = self.stage.stage.ask.prompts(row, &answers(&member.asked))?;
        Ok(prompts.into_iter().map(Arc::new).collect())
    }
}

impl Group {
    /// A group of slots: each with its row in the block and what is asked about it first, which is something.
    pub fn new(site: Site<'_>, model: usize, replicate: u64, slots: Vec<(usize, usize, Vec<Arc<Prompt>>)>) -> Group {
        let member = |(slot, row, round)| Member { slot, row, asked: Vec::new(), round, done: false };
        let members = slots.into_iter().map(member).collect();
        let mut group = Group { model, replicate, members, at: 0, wave: Vec::new() };
        group.wave = group.question(site);
        group
    }

    /// Its first slot.
    pub fn slot(&self) -> usize {
        self.members.first().map_or(0, |member| member.slot)
    }

    /// What is to be asked now, each with the row in whose name it is.
    pub fn wave(&mut self) -> impl Iterator<Item = (&mut Question, usize)> {
        let members = &self.members;
        self.wave.iter_mut().map(|joint| (&mut joint.question, members[joint.items[0].members[0]].row))
    }

    /// Whether nothing is to be asked any more.
    pub fn is_over(&self) -> bool {
        self.wave.is_empty()
    }

    /// Whether all that is to be asked now is known.
    pub fn is_known(&self) -> bool {
        self.wave.iter().all(|joint| joint.question.known.is_some())
    }

    /// Takes over what is known of the wave, which is all of it, and makes the next one.
    pub fn step(&mut self, site: Site<'_>) -> Stepped {
        let mut stepped = Stepped::default();
        let mut again = Vec::new();
        for joint in std::mem::take(&mut self.wave) {
            let Some(finished) = joint.question.known else { continue };
            *(if finished.from_ledger { &mut stepped.known } else { &mut stepped.sent }) += 1;
            match &joint.question.prompt.pack {
                None => self.single(&joint.question.prompt, &finished, &joint.items[0], &mut stepped),
                Some(_) => {
                    let bad = self.several(&joint.question.prompt, &finished, joint.items, site, &mut stepped);
                    let (first, second) = bad.split_at(bad.len().div_ceil(2));
                    let halves = [first, second].into_iter().filter(|half| !half.is_empty());
                    again.extend(halves.map(|half| self.joint(site, half.to_vec())));
                }
            }
        }
        self.wave = again;
        while self.wave.is_empty() {
            self.at += 1;
            self.wave = self.question(site);
            if self.wave.is_empty() && !self.round(site, &mut stepped) {
                break;
            }
        }
        stepped
    }

    /// Ends it, since nothing more can be asked: its open slots fail because of `failure`.
    pub fn end(&mut self, failure: &Failure) -> Vec<Filled> {
        self.wave.clear();
        let open = self.members.iter_mut().filter(|member| !member.done);
        open.map(|member| member.fill(Some(failure.clone()))).collect()
    }

    /// Takes over the answer to a call about one item.
    fn single(&mut self, prompt: &Arc<Prompt>, finished: &Finished, item: &Item, stepped: &mut Stepped) {
        for (i, member) in item.members.iter().enumerate() {
            stepped.singles += 1;
            let member = &mut self.members[*member];
            // Rows that ask the same are asked about once.
            let from_ledger = finished.from_ledger || i > 0;
            member.asked.push((prompt.clone(), Finished { from_ledger, ..finished.clone() }));
            if let Err(failure) = &finished.answer {
                stepped.filled.push(member.fill(Some(failure.clone())));
            }
        }
    }

    /// Takes over the answer to a call about several items; gives those that are bad.
    fn several(
        &mut self,
        prompt: &Arc<Prompt>,
        finished: &Finished,
        items: Vec<Item>,
        site: Site<'_>,
        stepped: &mut Stepped,
    ) -> Vec<Item> {
        let Some(pack) = &prompt.pack else { return Vec::new() };
        let told = finished.items(pack, site.stage.repair);
        let mut bad = Vec::new();
        for (position, (item, told)) in items.into_iter().zip(told).enumerate() {
            for (i, member) in item.members.iter().enumerate() {
                let carries = position == 0 && i == 0;
                let (size, part) = (pack.size(), told.part.clone());
                let place = Some(Box::new(PackPosition { size, position: position + 1, carries, part }));
                let finished = Finished {
                    answer: told.answer.clone().map_err(|text| Failure::read(&text)),
                    place,
                    ..finished.clone()
                };
                self.members[*member].asked.push((prompt.clone(), finished));
            }
            match told.answer {
                Ok(_) => stepped.singles += item.members.len() as u64,
                Err(_) => bad.push(item),
            }
        }
        bad
    }

    /// The calls for the next question of the round: what can be asked together is, in the order of the rows.
    fn question(&self, site: Site<'_>) -> Vec<Joint> {
        let mut together_with: Vec<Vec<Item>> = Vec::new();
        for (i, member) in self.members.iter().enumerate() {
            let Some(prompt) = member.round.get(self.at).filter(|_| !member.done) else { continue };
            let key = site.key(prompt, self.replicate);
            match together_with.iter_mut().find(|items| together(&items[0].prompt, prompt)) {
                Some(items) => match items.iter_mut().find(|item| item.key == key) {
                    Some(twin) => twin.members.push(i),
                    None => items.push(Item { prompt: prompt.clone(), key, members: vec![i] }),
                },
                None => together_with.push(vec![Item { prompt: prompt.clone(), key, members: vec![i] }]),
            }
        }
        together_with.into_iter().map(|items| self.joint(site, items)).collect()
    }

    /// The call about some items, at least one.
    fn joint(&self, site: Site<'_>, items: Vec<Item>) -> Joint {
        let question = match items.as_slice() {
            [one] => Question { prompt: one.prompt.clone(), key: one.key, known: None },
            several => {
                let prompt = pack(&several.iter().map(|item| &*item.prompt).collect::<Vec<_>>());
                Question { key: site.key(&prompt, self.replicate), prompt: Arc::new(prompt), known: None }
            }
        };
        Joint { question, items }
    }

    /// Begins the next round; `false`: no row has one.
    fn round(&mut self, site: Site<'_>, stepped: &mut Stepped) -> bool {
        self.at = 0;
        for member in self.members.iter_mut().filter(|member| !member.done) {
            match site.next(member) {
                Ok(round) if !round.is_empty() => member.round = round,
                other => stepped.filled.push(member.fill(other.err())),
            }
        }
        self.wave = self.question(site);
        !self.wave.is_empty()
    }
}

impl Member {
    fn fill(&mut self, failure: Option<Failure>) -> Filled {
        self.done = true;
        Filled { slot: self.slot, asked: std::mem::take(&mut self.asked), failure }
    }
}

/// Rows cut between packs, however they come.
pub struct Cutter {
    size: usize,
    left: Option<RecordBatch>,
}

impl Cutter {
    /// For a stage whose first row to come begins a pack.
    pub fn new(stage: &StageSpec) -> Self {
        Cutter { size: stage.rows_per_prompt as usize, left: None }
    }

    /// The whole packs that there are with the rows of `batch`.
    pub fn push(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>, ArrowError> {
        let batch = match self.left.take() {
            Some(left) => concat_batches(&left.schema(), [&left, &batch])?,
            None => batch,
        };
        let whole = batch.num_rows() / self.size * self.size;
        if whole < batch.num_rows() {
            self.left = Some(batch.slice(whole, batch.num_rows() - whole));
        }
        Ok((whole > 0).then(|| batch.slice(0, whole)))
    }

    /// The rows that are left at the end.
    pub fn finish(&mut self) -> Option<RecordBatch> {
        self.left.take()
    }
}

/// The rows of the stage's input (from 0) that are asked one by one as well, of `rows` in all: so many, all equally likely,
/// by the seed and the stage's name (Floyd's sampling: Bentley and Floyd 1987, <https://doi.org/10.1145/30401.315746>).
pub fn audited(stage: &StageSpec, seed: Option<u64>, rows: u64) -> HashSet<u64> {
    let Some(audit) = stage.audit else { return HashSet::new() };
    let mut stream = Streams::new(seed.unwrap_or_default(), &["audit", stage.name.as_str()]).of(0);
    let mut sample = HashSet::new();
    for last in rows.saturating_sub(audit.rows.get().into())..rows {
        let row = stream.below(last + 1);
        if !sample.insert(row) {
            sample.insert(last);
        }
    }
    sample
}
