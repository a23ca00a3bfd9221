//! Look-ups: answers the open questions of tasks from the replay file and the ledger.

use std::sync::Arc;

use super::block::Block;
use super::job::Job;
use crate::ask::{Finished, Task, Terms};
use crate::store::{CallRef, Key, StoreError};

/// The replay file takes precedence over the ledger. Retires ledger answers that no longer fit the question. Blocking.
pub(crate) fn look_up(job: &Job, block: &Block, tasks: &mut [Task]) -> Result<(), StoreError> {
    let stage = job.stage();
    let terms = |model: &usize| Terms::new(stage, &job.calls.target(*model).fallback);
    let terms: Vec<Terms<'_>> = stage.models.iter().map(terms).collect();
    let questions = tasks.iter_mut().flat_map(|task| {
        let model = task.who.model;
        task.open().map(move |(question, row)| (question, row, model))
    });
    let mut open: Vec<_> = questions.collect();
    if let Some(replay) = job.calls.replay() {
        let sought = open.iter().map(|(question, row, model)| {
            let row = block.row(*row).number() as i64 + 1;
            CallRef { key: question.key, stage: stage.name.as_str(), row, model: &stage.model_names[*model] }
        });
        let found = replay.find(&sought.collect::<Vec<_>>())?;
        for ((question, _, model), record) in open.iter_mut().zip(found) {
            let finished = record.map(|record| Finished::shared(Arc::new(record), &question.prompt, &terms[*model]));
            // A failed call is asked again, unless the run must not ask.
            question.answer = finished.filter(|finished| replay.is_only() || finished.answer.is_ok());
        }
        if replay.is_only() {
            return Ok(());
        }
        open.retain(|(question, ..)| question.answer.is_none());
    }
    let keys: Vec<Key> = open.iter().map(|(question, ..)| question.key).collect();
    let (mut unfit, mut open_models) = (Vec::new(), vec![true; stage.models.len()]);
    for ((question, _, model), record) in open.iter_mut().zip(job.calls.recorder().find(&keys)?) {
        let Some(record) = record else { continue };
        question.answer = Finished::known(Arc::new(record), &question.prompt, &terms[*model]);
        match &question.answer {
            // One answer of a model says enough about it.
            Some(known) if std::mem::take(&mut open_models[*model]) => {
                job.calls.has_answered(stage.models[*model], &question.prompt, &known.record);
            }
            Some(_) => {}
            None => unfit.push(question.key),
        }
    }
    Ok(job.calls.recorder().retire(&unfit)?)
}
