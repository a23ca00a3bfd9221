//! Rows that are asked about together, as a preview follows them through the answers that the ledger holds.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;

use super::Answered;
use super::said::{self, Said};
use crate::ask::{Finished, Terms};
use crate::models::Models;
use crate::plan::routing;
use crate::prompt::{Answer, Prompt, pack, together};
use crate::run::packs::{Group, Site};
use crate::spec::StageSpec;
use crate::store::{Ledger, LedgerError};
use crate::table::Row;

/// What the ledger knows of rows that are asked about together: how many calls, and by slot the cells and who answered.
pub type Known = (u64, HashMap<usize, Answered>);

/// Rows of a batch that begins a pack, each with what is asked about it first.
type Rows = [(usize, Vec<Prompt>)];

/// Packs in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packs {
    /// Packs with rows that are asked about.
    pub count: u64,
    /// Bytes of the first prompts about their rows if each were asked about by itself, for one answer about each row.
    pub single_bytes: u64,
}

/// The rows pack by pack.
fn by_pack<'a>(stage: &StageSpec, rows: &'a Rows) -> impl Iterator<Item = &'a Rows> + use<'a> {
    let size = stage.rows_per_prompt;
    rows.chunk_by(move |a, b| a.0 as u64 / size == b.0 as u64 / size)
}

impl Packs {
    /// Adds the packs of a batch, and to `all` what is said in them.
    pub fn add(&mut self, stage: &StageSpec, rows: &Rows, all: &mut Said) {
        for rows in by_pack(stage, rows) {
            self.count += 1;
            let mut alike: Vec<Vec<&Prompt>> = Vec::new();
            for prompt in rows.iter().flat_map(|(_, prompts)| prompts) {
                self.single_bytes += said::bytes(prompt);
                match alike.iter_mut().find(|others| together(others[0], prompt)) {
                    Some(others) => others.push(prompt),
                    None => alike.push(vec![prompt]),
                }
            }
            for prompts in alike {
                if let [one] = prompts.as_slice() { all.add(one) } else { all.add(&pack(&prompts)) }
            }
        }
    }
}

/// Follows rows of `batch`, whose first is row `first`.
pub fn answered(
    stage: &StageSpec,
    models: &Models,
    (ledger, since): (&Ledger, i64),
    (batch, first): (&RecordBatch, u64),
    rows: &Rows,
) -> Result<Known, LedgerError> {
    let (mut calls, mut found) = (0, HashMap::new());
    for rows in by_pack(stage, rows) {
        for place in 0..stage.width() {
            let model = routing::model_of(stage, first + rows[0].0 as u64, place);
            let target = models.target(stage.models[model]);
            let terms = Terms::new(stage, &target.fallback);
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
                    found.insert(filled.slot, (stage.stage.ask.cells(row, name, &answers), by));
                }
            }
        }
    }
    Ok((calls, found))
}
