//! Kept tables: stages whose parts a run would keep as they are, so that their calls need not be looked up.

use std::collections::HashMap;

use crate::ask::{Replicate, probe};
use crate::models::Models;
use crate::plan::Plan;
use crate::run::fresh_since;
use crate::spec::{StageSpec, TableId};
use crate::store::{Manifest, RunDir, State, open_table};

/// For each stage of a finished run whose parts would be kept, the number of its calls. Only stages without packs, whose
/// calls table has a row for each call.
pub(super) fn kept(plan: &Plan, dir: &RunDir, manifest: Option<&Manifest>, models: &Models) -> HashMap<TableId, u64> {
    let Some(manifest) = manifest.filter(|manifest| manifest.state == State::Done) else { return HashMap::new() };
    let calls = |id: TableId| Some((id, calls(plan.spec.stage(id), dir, manifest, models)?));
    plan.stages().filter_map(calls).collect()
}

fn calls(stage: &StageSpec, dir: &RunDir, manifest: &Manifest, models: &Models) -> Option<u64> {
    let name = stage.name.as_str();
    let is_plain = !stage.packs() && stage.models.iter().all(|model| models.target(*model).servers.others.is_empty());
    let rows = manifest.stages.get(name).filter(|_| is_plain)?.rows;
    let probe = probe(stage);
    let keys = stage.models.iter().map(|model| models.target(*model).key(&probe, Replicate::default()).to_string());
    let marks: Vec<String> = keys.chain(fresh_since(manifest).map(|since| since.to_string())).collect();
    let mut calls = 0;
    for part in 0..rows.div_ceil(stage.chunk_size) {
        let facts = dir.committed(name, part)?.facts;
        if facts.counts.failed > 0 || !facts.inputs.ends_with(&marks) {
            return None;
        }
        calls += open_table(&dir.calls_path(name, part)).ok()?.rows();
    }
    Some(calls)
}
