//! Look-ups: answers the open questions of tasks from the replay file and the ledger.

use std::sync::Arc;

use super::block::Block;
use super::job::Job;
use crate::ask::{Finished, Question, Task, Terms, was_cut};
use crate::store::{CallRef, Key, Record, StoreError};

type Open<'a> = (&'a mut Question, usize, usize);

/// Looks for the answers to the open questions, and then to those in the form of earlier versions. Blocking.
pub(crate) fn look_up(job: &Job, block: &Block, tasks: &mut [Task]) -> Result<(), StoreError> {
    let open = tasks.iter_mut().flat_map(|task| task.open().map(with_model));
    find(job, block, open.collect())?;
    let mut before = doubtful(job, tasks);
    for form in 0.. {
        let older = tasks.iter_mut().flat_map(|task| task.open_older(form).map(with_model));
        let older: Vec<Open<'_>> = older.collect();
        if older.is_empty() {
            break;
        }
        let found = find(job, block, older);
        tasks.iter_mut().for_each(|task| task.settle(form));
        found?;
        let now = doubtful(job, tasks);
        job.progress().other_servers(before - now);
        before = now;
    }
    Ok(())
}

fn with_model<'a>((question, row): (&'a mut Question, usize)) -> Open<'a> {
    let model = question.who.model;
    (question, row, model)
}

/// The number of open questions whose older answers may be of another server than the one that is asked.
fn doubtful(job: &Job, tasks: &[Task]) -> u64 {
    if job.calls.replay().is_some() {
        return 0;
    }
    let has_others = |task: &&Task| job.has_other_servers(task.who.model);
    tasks.iter().filter(has_others).map(|task| task.open_count() as u64).sum()
}

/// The replay file takes precedence over the ledger. Retires ledger answers that no longer fit the question.
fn find(job: &Job, block: &Block, mut open: Vec<Open<'_>>) -> Result<(), StoreError> {
    let stage = job.stage();
    let terms = |model: &usize| {
        let target = job.calls.target(*model);
        Terms::new(stage, &target.fallback, target.context_size())
    };
    let terms: Vec<Terms<'_>> = stage.models.iter().map(terms).collect();
    if let Some(replay) = job.calls.replay() {
        let sought = open.iter().map(|(question, row, model)| {
            let row = block.row(*row).number() as i64 + 1;
            CallRef { key: question.key, stage: stage.name.as_str(), row, model: &stage.model_names[*model] }
        });
        let found = replay.find(&sought.collect::<Vec<_>>())?;
        for ((question, _, model), record) in open.iter_mut().zip(found) {
            let record = record.filter(|record| question.takes(record));
            let is_cut = |record: &Record| was_cut(record, &question.prompt, terms[*model].context);
            job.progress().cut(record.as_ref().is_some_and(is_cut));
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
        let Some(record) = record.filter(|record| question.takes(record)) else { continue };
        job.progress().cut(was_cut(&record, &question.prompt, terms[*model].context));
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
