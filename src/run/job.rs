//! Jobs: state that the producer, the dispatcher and the assembler of a stage share.

use std::sync::Arc;

use super::block::Block;
use super::calls::Calls;
use super::error::RunError;
use super::parts::Parts;
use super::progress::{Progress, StageProgress};
use super::replay::Replay;
use super::stop::{Stop, StopReason};
use crate::ask::{Keys, Next, Respondent, SlotResult, Task, TaskContext};
use crate::plan::{Part, Plan, routing};
use crate::prompt::Prompt;
use crate::spec::{Order, StageSpec, TableId};
use crate::store::{Key, RunDir, SharedDir, StoreError};

#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) plan: Arc<Plan>,
    pub(crate) id: TableId,
    pub(crate) dir: RunDir,
    pub(crate) input: Arc<Parts>,
    pub(crate) output: Arc<Parts>,
    pub(crate) calls: Arc<Calls>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: Stop,
    pub(crate) choice: PartChoice,
}

/// The parts that a process makes.
#[derive(Clone, Debug, Default)]
pub(crate) enum PartChoice {
    #[default]
    All,
    /// All, except that parts with failed rows are kept too.
    Missing,
    One(u64),
    /// Those that this worker of a cluster claims; its own share comes first.
    Claimed {
        worker: WorkerId,
        shared: SharedDir,
    },
}

/// A worker of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerId {
    /// From 0.
    pub(crate) number: u64,
    /// The number of all workers.
    pub(crate) of: u64,
}

impl WorkerId {
    pub(crate) fn name(&self) -> String {
        format!("worker-{}", self.number)
    }
}

impl PartChoice {
    /// The parts in the order in which they are made.
    pub(crate) fn ordered(&self, parts: impl Iterator<Item = Part>) -> Vec<Part> {
        match self {
            PartChoice::All | PartChoice::Missing => parts.collect(),
            PartChoice::One(number) => parts.filter(|part| part.number == *number).collect(),
            PartChoice::Claimed { worker, .. } => {
                let (own, others): (Vec<Part>, Vec<Part>) =
                    parts.partition(|part| part.number % worker.of == worker.number);
                // The workers help at different places.
                let start = others.len() * worker.number as usize / worker.of as usize;
                own.into_iter().chain(others[start..].iter().copied()).chain(others[..start].iter().copied()).collect()
            }
        }
    }

    /// Whether this process makes the part. Another worker may have begun it.
    pub(crate) fn claims(&self, stage: &str, part: u64) -> Result<bool, StoreError> {
        match self {
            PartChoice::Claimed { worker, shared } => shared.claim(stage, part, &worker.name()),
            _ => Ok(true),
        }
    }

    fn is_of_cluster(&self) -> bool {
        matches!(self, PartChoice::One(_) | PartChoice::Claimed { .. })
    }

    /// Whether committed parts with failed rows are made again.
    pub(crate) fn retries_failed(&self) -> bool {
        matches!(self, PartChoice::All)
    }
}

impl Keys for Job {
    fn key(&self, who: Respondent, prompt: &Prompt) -> Key {
        self.calls.target(self.stage().models[who.model]).key(prompt, who.replicate)
    }

    fn older_keys(&self, who: Respondent, prompt: &Prompt) -> Vec<Key> {
        self.calls.target(self.stage().models[who.model]).older_keys(prompt, who.replicate)
    }

    fn shorter_keys(&self, who: Respondent, prompt: &Prompt) -> Vec<Key> {
        self.calls.target(self.stage().models[who.model]).shorter_keys(prompt, who.replicate)
    }

    fn enforced_properties(&self, who: Respondent) -> usize {
        self.calls.target(self.stage().models[who.model]).provider.enforced_properties()
    }
}

impl Job {
    pub(crate) fn stage(&self) -> &StageSpec {
        self.plan.spec.stage(self.id)
    }

    pub(crate) fn progress(&self) -> &StageProgress {
        self.progress.stage(self.id)
    }

    /// Whether the ledger has asked other servers for this model of the stage, whose build is unknown.
    pub(crate) fn has_other_servers(&self, model: usize) -> bool {
        !self.calls.target(self.stage().models[model]).servers.others.is_empty()
    }

    /// Whether first questions to some model of the stage go in batches.
    pub(crate) fn has_batches(&self) -> bool {
        self.calls.batches().is_some() && self.stage().models.iter().any(|m| self.calls.target(*m).batch.is_some())
    }

    /// Whether first questions to this model go in batches.
    pub(crate) fn is_batched(&self, who: Respondent) -> bool {
        self.calls.batches().is_some() && self.calls.target(self.stage().models[who.model]).batch.is_some()
    }

    pub(crate) fn lanes(&self) -> usize {
        self.stage().workers * self.stage().batch_size
    }

    /// On a cluster: opens the parts of the input stage that `part` reads. Other processes have made them.
    pub(crate) fn fetch_input(&self, part: Part) -> Result<(), RunError> {
        let Some(from) = self.plan.spec.table(self.stage().input).as_stage().filter(|_| self.choice.is_of_cluster())
        else {
            return Ok(());
        };
        for number in self.input.missing(part.start, part.rows) {
            let stage = from.name.as_str();
            let found = self.dir.find(stage, number)?;
            let found = found.ok_or_else(|| RunError::MissingPart { table: stage.to_owned(), part: number })?;
            self.input.commit(number, found);
        }
        Ok(())
    }

    pub(crate) fn order(&self) -> Order {
        let stage = self.stage();
        let holds_one = stage.models.iter().any(|m| self.calls.target(*m).holds_one_model());
        routing::order(stage, holds_one)
    }

    pub(crate) fn context<'a>(&'a self, block: &'a Block) -> TaskContext<'a> {
        TaskContext::new(self.stage(), self, &block.input, block.place.first_row)
    }

    /// The number of a row of the block, from 1, and its name in messages.
    pub(crate) fn row_name(&self, block: &Block, row: usize) -> (i64, String) {
        let (number, key) = block.row_name(self.plan.spec.relation(self.stage().input).key, row);
        (number, key.unwrap_or_else(|| number.to_string()))
    }

    pub(crate) fn step(&self, block: &Block, task: &mut Task) -> Next {
        let audit = task.audit;
        let result = task.step(&self.context(block), |slot| self.fill(block, slot, audit));
        let singles = if self.stage().packs() && !audit { result.singles } else { 0 };
        self.progress().calls(result.sent, result.known, singles);
        result.next
    }

    pub(crate) fn fill(&self, block: &Block, result: SlotResult, audit: bool) {
        if audit {
            return block.fill_audit(result);
        }
        let width = self.stage().width();
        if let Some(failure) = &result.failure {
            self.progress().error(failure, self.row_name(block, result.slot / width), result.slot % width);
        }
        match block.fill(result, width) {
            None => {}
            Some(false) => self.progress().answered(),
            Some(true) => self.row_failed(),
        }
    }

    fn row_failed(&self) {
        let failed = self.progress().failed();
        // Missing calls of a replay are reported once for the whole run.
        if self.calls.replay().is_some_and(Replay::is_incomplete) {
            return;
        }
        let Some(most) = self.stage().max_failed else { return };
        let allowed = most.of(self.progress().rows());
        if failed > allowed {
            let stage = self.stage().name.to_string();
            self.stop.drain(StopReason::TooManyFailed { stage, failed, allowed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_begins_with_its_own_share_and_then_helps() {
        let parts = |choice: &PartChoice| {
            let all = (0..7).map(|number| Part { number, start: number * 10, rows: 10 });
            choice.ordered(all).into_iter().map(|part| part.number).collect::<Vec<_>>()
        };
        assert_eq!(parts(&PartChoice::All), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!((parts(&PartChoice::One(3)), parts(&PartChoice::One(9))), (vec![3], vec![]));
        let worker = |number| {
            let shared = SharedDir::of(&RunDir::new("run".into()));
            parts(&PartChoice::Claimed { worker: WorkerId { number, of: 3 }, shared })
        };
        assert_eq!(worker(0), [0, 3, 6, 1, 2, 4, 5]);
        assert_eq!(worker(1), [1, 4, 2, 3, 5, 6, 0]);
        assert_eq!(worker(2), [2, 5, 4, 6, 0, 1, 3]);
    }
}
