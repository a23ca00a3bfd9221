//! Packs: makes the tasks for the rows of a block, one per answer about a row or a pack.

use std::collections::HashSet;
use std::sync::Arc;

use super::key::Replicate;
use super::task::{Member, Respondent, Task, TaskContext};
use crate::plan::routing;
use crate::prompt::Prompt;
use crate::random::Streams;
use crate::spec::StageSpec;
use crate::table::Row;

/// The index of a row in its block, and the prompts of its first round.
pub(crate) type FirstRound = (usize, Vec<Arc<Prompt>>);

pub(crate) fn by_pack<'a, T>(
    stage: &StageSpec,
    rows: &'a mut [(usize, T)],
) -> impl Iterator<Item = &'a mut [(usize, T)]> {
    let size = stage.rows_per_prompt as usize;
    rows.chunk_by_mut(move |a, b| a.0 / size == b.0 / size)
}

/// The first row of `rows` begins a pack. Rows in `audited`, numbered from 0, are also asked one by one.
pub(crate) fn tasks(
    stage: &StageSpec,
    context: &TaskContext<'_>,
    rows: &mut [FirstRound],
    audited: &HashSet<u64>,
) -> Vec<Task> {
    let width = stage.width();
    let mut tasks = Vec::with_capacity(rows.len() * width / stage.rows_per_prompt as usize + 1);
    for pack in by_pack(stage, rows) {
        let first = Row::new(context.input, pack[0].0, context.first_row);
        let models = routing::models_for(stage, first.number());
        for place in 0..width {
            let (model, number) = (models.start + place % models.len(), (place / models.len()) as u64);
            let replicate = Replicate { number, repeat: stage.repeat };
            let who = Respondent { model, replicate };
            if number == 0 && stage.packs() {
                for (row, round) in pack.iter().filter(|(row, _)| audited.contains(&(context.first_row + *row as u64)))
                {
                    let member = Member::new(row * width + place, *row, round.clone());
                    tasks.push(Task::audit(context, who, member));
                }
            }
            let is_last = place + 1 == width;
            let member = |(row, round): &mut FirstRound| {
                let round = if is_last { std::mem::take(round) } else { round.clone() };
                Member::new(*row * width + place, *row, round)
            };
            tasks.push(Task::new(context, who, pack.iter_mut().map(member).collect()));
        }
    }
    tasks
}

/// Rows, numbered from 0, that are also asked one by one. The seed and the stage's name determine the sample.
pub(crate) fn audited(stage: &StageSpec, seed: Option<u64>, rows: u64) -> HashSet<u64> {
    let Some(audit) = stage.audit else { return HashSet::new() };
    let mut stream = Streams::new(seed.unwrap_or_default(), &["audit", stage.name.as_str()]).of(0);
    stream.sample(audit.rows.get().into(), rows)
}
