//! Jobs: state that the producer, the dispatcher and the assembler of a stage share.

use std::sync::Arc;

use super::block::Block;
use super::calls::Calls;
use super::parts::Parts;
use super::progress::{Progress, StageProgress};
use super::replay::Replay;
use super::stop::{Stop, StopReason};
use crate::ask::{Keys, Next, Respondent, SlotResult, Task, TaskContext};
use crate::plan::{Plan, routing};
use crate::prompt::Prompt;
use crate::spec::{Order, StageSpec, TableId};
use crate::store::{Key, RunDir};

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

    pub(crate) fn lanes(&self) -> usize {
        self.stage().workers * self.stage().batch_size
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
