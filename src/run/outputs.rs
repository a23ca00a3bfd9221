//! Outputs: writes the files and the manifest entries of a run.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use indexmap::IndexMap;

use super::error::RunError;
use super::parts::{PartTables, Parts, batch_rows};
use crate::lock::{Lock, PromptDigest};
use crate::models::Models;
use crate::object::fetch;
use crate::output::{Batches, Output};
use crate::plan::{Plan, RowPick};
use crate::spec::{TableId, TransformSpec};
use crate::store::{
    Manifest, OutputFacts, RunDir, SourceEntry, StageShape, StageTotals, StoreError, TransformEntry, copy_name,
};
use crate::table::parquet::TableError;

/// Writes the outputs and completes the lock. With `keep_replaced`, a file that is replaced by different bytes is kept
/// in the run's folder. The outputs contain the hash of the lock's causes, the lock their hashes.
pub(crate) fn write(
    plan: &Plan,
    dir: &RunDir,
    inputs: &HashMap<TableId, Arc<Parts>>,
    lock: Option<Lock>,
    keep_replaced: bool,
) -> Result<(IndexMap<String, OutputFacts>, Option<Lock>), RunError> {
    let kept = keep_replaced.then_some(dir);
    let run = Finished { plan, inputs, kept };
    let Some(mut lock) = lock else { return Ok((run.write_outputs(None)?, None)) };
    for i in plan.stages() {
        let stage = plan.spec.stage(i);
        let rows = inputs[&stage.input].tables().unwrap_or_default();
        lock.add_prompts(stage.name.as_str(), PromptDigest::of_rows(stage, read_all(&rows)).map_err(StoreError::from)?);
    }
    lock.add_counts(plan, dir);
    let written = run.write_outputs(Some(&lock))?;
    lock.add_outputs(plan);
    Ok((written, Some(lock)))
}

pub(crate) fn describe(manifest: &mut Manifest, plan: &Plan, models: &Models) {
    for (id, source) in plan.spec.sources() {
        if let Some(facts) = plan.sources.get(&id) {
            let entry = SourceEntry {
                rows: facts.rows,
                content: facts.content.clone(),
                paths: source.source.paths().into_iter().map(|(_, path)| path).collect(),
                key: source.source.key().map(str::to_owned),
                copy: Some(copy_name(&facts.content, RowPick::new(plan.rows, &plan.spec))),
                import: facts.import.clone(),
            };
            manifest.sources.insert(source.name.to_string(), entry);
        }
    }
    for i in plan.transforms() {
        let transform = plan.spec.transform(i);
        let relation = &transform.relation;
        let entry = TransformEntry {
            kind: transform.transform.info.kind.to_owned(),
            inputs: transform.inputs.iter().map(|input| plan.spec.table_name(*input).to_owned()).collect(),
            key: relation.key.map(|key| relation.schema.field(key).name().clone()),
            hidden: relation.hidden,
            copies: copies(plan, transform),
            is_stack: transform.stacked(0).is_some(),
        };
        manifest.transforms.insert(transform.name.clone(), entry);
    }
    manifest.models = models.entries();
    for i in plan.stages() {
        let stage = plan.spec.stage(i);
        let totals = StageTotals { rows: plan.rows(stage.input).unwrap_or_default(), ..StageTotals::default() };
        manifest.stages.insert(stage.name.to_string(), totals);
        manifest.tables.insert(stage.name.to_string(), StageShape::of(&plan.spec, stage));
    }
}

/// For each input of a transform, the columns whose values are those of a column of the input.
fn copies(plan: &Plan, transform: &TransformSpec) -> Vec<IndexMap<String, String>> {
    let info = &transform.transform.info;
    let shown = info.schema.fields().len() - info.hidden;
    let copied = info.origins.iter().take(shown).enumerate().filter_map(|(own, origin)| Some((own, (*origin)?)));
    let equal: Vec<(usize, (usize, usize))> = copied.chain(transform.transform.work.matched()).collect();
    let of = |(place, input): (usize, &TableId)| {
        let schema = &plan.spec.relation(*input).schema;
        let name = |(own, column): (usize, usize)| {
            (info.schema.field(own).name().clone(), schema.field(column).name().clone())
        };
        let own = equal.iter().filter(|(_, (table, _))| *table == place).map(|(own, (_, column))| (*own, *column));
        let stacked = (0..shown).filter_map(|own| Some((own, transform.transform.work.stacked(place, own)?)));
        match transform.stacked(0) {
            None => own.map(name).collect(),
            Some(_) => stacked.map(name).collect(),
        }
    };
    transform.inputs.iter().enumerate().map(of).collect()
}

/// A run whose parts are all committed.
struct Finished<'a> {
    plan: &'a Plan,
    inputs: &'a HashMap<TableId, Arc<Parts>>,
    /// The folder in which replaced files are kept.
    kept: Option<&'a RunDir>,
}

impl Finished<'_> {
    /// Writes every output of the plan.
    fn write_outputs(&self, lock: Option<&Lock>) -> Result<IndexMap<String, OutputFacts>, RunError> {
        let plan = self.plan;
        let prompts = lock.map(Lock::prompt_hashes).unwrap_or_default();
        let causes = lock.map(Lock::causes);
        let mut written = IndexMap::new();
        for i in plan.outputs() {
            let (name, output) = plan.spec.outputs.get_index(i).expect("an index of this table");
            let mut facts = vec![
                ("fanfold.pipeline".to_owned(), plan.spec.name.clone()),
                ("fanfold.spec_hash".to_owned(), plan.spec_hash.clone()),
                ("fanfold.run".to_owned(), plan.identity()),
            ];
            facts.extend(causes.clone().map(|causes| ("fanfold.lock".to_owned(), causes)));
            // Mark a table made from some rows only, or with other settings.
            facts.extend(plan.rows.limit().map(|limit| ("fanfold.limit".to_owned(), limit.to_string())));
            facts.extend(plan.rows.mark().map(|mark| ("fanfold.rows".to_owned(), mark)));
            facts.extend((!plan.set.is_empty()).then(|| ("fanfold.set".to_owned(), plan.set.join("\n"))));
            let Some(tables) = self.inputs[&output.input].tables() else {
                return Err(RunError::Died(format!("a part of `{}` is missing", plan.spec.table_name(output.input))));
            };
            // A sheet that people fill is never replaced.
            let kept = self.kept.filter(|_| output.sheet.is_none());
            if let Some(address) = output.address().filter(|_| kept.is_some()) {
                // Without an object there is nothing to keep.
                let _ = fetch(&plan.spec.folder, &address);
            }
            let before = kept.map(|dir| dir.keep_replaced(&output.file)).transpose()?.flatten();
            let read = || Box::new(read_all(&tables)) as Batches<'_>;
            let done = Output { spec: &plan.spec, output, facts, prompts: &prompts, read: &read }.write()?;
            written.insert(
                name.to_string(),
                OutputFacts {
                    input: plan.spec.table_name(output.input).to_owned(),
                    path: output.path.clone(),
                    rows: done.rows,
                    columns: done.columns,
                    codebook: output.codebook,
                    notes: done.notes,
                    sheet: done.sheet,
                    replaced: before.and_then(|before| before.unless_equal(&output.file)),
                },
            );
        }
        Ok(written)
    }
}

fn read_all(tables: &[PartTables]) -> impl Iterator<Item = Result<RecordBatch, TableError>> {
    tables.iter().flat_map(|part| match part.table.read(0, part.table.rows(), batch_rows(&part.table)) {
        Ok(rows) => Box::new(rows) as Box<dyn Iterator<Item = _>>,
        Err(error) => Box::new(std::iter::once(Err(error))),
    })
}
