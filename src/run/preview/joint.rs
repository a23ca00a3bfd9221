//! Rows that are asked about together, as a preview follows them through the answers that the ledger holds.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::Answered;
use crate::plan::routing;
use crate::prompt::{Answer, Prompt};
use crate::run::answer::{Finished, Terms};
use crate::run::connect::Models;
use crate::run::packs::{Group, Site};
use crate::spec::StageSpec;
use crate::store::{Ledger, LedgerError};
use crate::table::Row;

/// What the ledger knows of rows that are asked about together: how many calls, and by slot the cells and who answered.
pub type Known = (u64, HashMap<usize, Answered>);

/// How many packs there are with rows that are asked about, of rows (from 0) in order.
pub fn packs(stage: &StageSpec, rows: impl Iterator<Item = u64>) -> u64 {
    let mut packs: Vec<u64> = rows.map(|row| row / stage.rows_per_prompt).collect();
    packs.dedup();
    packs.len() as u64
}

/// Follows rows of `batch`, whose first is row `first` and begins a pack: each with what is asked about it first.
pub fn answered(
    stage: &StageSpec,
    models: &Models,
    (ledger, since): (&Ledger, i64),
    (batch, first): (&RecordBatch, u64),
    rows: &[(usize, Vec<Prompt>)],
) -> Result<Known, LedgerError> {
    let (mut calls, mut found) = (0, HashMap::new());
    let pack = |row: &(usize, Vec<Prompt>)| row.0 as u64 / stage.rows_per_prompt;
    for rows in rows.chunk_by(|a, b| pack(a) == pack(b)) {
        for place in 0..stage.width() {
            let model = routing::model_of(stage, first + rows[0].0 as u64, place);
            let target = models.target(stage.models[model]);
            let terms = Terms::new(stage, target);
            let site = Site { stage, target, input: batch, first_row: first };
            let prompts = |prompts: &[Prompt]| prompts.iter().cloned().map(Arc::new).collect();
            let slots = rows.iter().map(|(row, asked)| (row * stage.width() + place, *row, prompts(asked))).collect();
            let replicate = (place / stage.answers.models_per_row()) as u64;
            let mut group = Group::new(site, model, replicate, slots);
            while !group.is_over() {
                let keys: Vec<_> = group.wave().map(|(question, _)| question.key).collect();
                for ((question, _), record) in group.wave().zip(ledger.find_since(&keys, since)?) {
                    question.known = record.and_then(|r| Finished::known(Arc::new(r), &question.prompt, &terms));
                }
                if !group.is_known() {
                    calls += group.wave().filter(|(question, _)| question.known.is_some()).count() as u64;
                    break;
                }
                let stepped = group.step(site);
                calls += stepped.known;
                for filled in stepped.filled.into_iter().filter(|filled| filled.failure.is_none()) {
                    let row = Row::new(batch, filled.slot / stage.width(), first);
                    let name = &stage.model_names[model];
                    let answers: Vec<Answer> = filled.asked.iter().filter_map(|(_, f)| f.answer.clone().ok()).collect();
                    let mut by = filled.asked.iter().rev().filter(|(_, f)| f.answer.is_ok());
                    let by = by.find_map(|(_, f)| f.record.notes.fallback.clone()).unwrap_or_else(|| name.clone());
                    found.insert(filled.slot, (stage.stage.cells(row, name, &answers), by));
                }
            }
        }
    }
    Ok((calls, found))
}
