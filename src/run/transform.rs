//! Transforms: make one table from others without a model. Those of sources run before the first call, so that the
//! number of rows is known; the others run when the earlier stages have ended.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::RunError;
use super::parts::{PartTables, Parts, batch_rows};
use super::stop::Stop;
use crate::plan::Plan;
use crate::spec::TableId;
use crate::stage::DataError;
use crate::store::{PartFacts, RunDir, StoreError};

/// Makes the table of a transform, unless it is already committed; `inputs` are tables in parts.
pub(crate) fn carry_out(
    plan: &Plan,
    id: TableId,
    dir: &RunDir,
    inputs: &[Vec<PartTables>],
) -> Result<PartTables, RunError> {
    let transform = plan.spec.transform(id);
    let marks: Vec<String> = inputs.iter().flatten().map(|part| part.id.clone()).collect();
    let meaning = &transform.transform.info.meaning;
    // Equal inputs and settings produce an equal table.
    let id = blake3::hash(format!("{meaning} {marks:?}").as_bytes()).to_hex()[..16].to_owned();
    if let Some(found) = dir.find(&transform.name, 0)?.filter(|found| found.facts.id == id) {
        return Ok(PartTables { id, table: found.table });
    }
    let failed = |error: DataError| {
        let (spec, stage) = (plan.spec.file.clone(), transform.name.clone());
        RunError::Transform { spec, stage, error }
    };
    let mut writer = dir.write_table(&transform.name, transform.relation.schema.clone())?;
    let mut work = transform.transform.work.start();
    for (place, parts) in inputs.iter().enumerate() {
        for part in parts {
            let batches = part.table.read(0, part.table.rows(), batch_rows(&part.table)).map_err(StoreError::from)?;
            for batch in batches {
                for made in work.take(place, &batch.map_err(StoreError::from)?).map_err(failed)? {
                    writer.write(made)?;
                }
            }
        }
    }
    for made in work.finish().map_err(failed)? {
        writer.write(made)?;
    }
    let facts = PartFacts { id: id.clone(), inputs: marks, ..PartFacts::default() };
    Ok(PartTables { id, table: writer.commit(facts)?.table })
}

/// Runs the transforms of `tables`. Adds the new tables to `tables` and their row counts to the plan.
pub(crate) fn carry_out_known(
    plan: &mut Plan,
    dir: &RunDir,
    tables: &mut HashMap<TableId, PartTables>,
) -> Result<(), RunError> {
    for i in plan.transforms().collect::<Vec<_>>() {
        let transform = plan.spec.transform(i);
        let inputs: Option<Vec<_>> =
            transform.inputs.iter().map(|input| Some(vec![tables.get(input)?.clone()])).collect();
        let Some(inputs) = inputs else { continue };
        let made = carry_out(plan, i, dir, &inputs)?;
        plan.transformed.insert(i, made.table.rows());
        tables.insert(i, made);
    }
    Ok(())
}

/// Runs a transform once its inputs are complete. Ends early if the run stops, or if a part of them never appears.
pub(crate) async fn drive(
    plan: Arc<Plan>,
    id: TableId,
    dir: RunDir,
    parts: HashMap<TableId, Arc<Parts>>,
    stop: Stop,
) -> Result<(), RunError> {
    let mut inputs = Vec::new();
    for input in &plan.spec.transform(id).inputs {
        let Some(Some(all)) = stop.unless_draining(parts[input].all()).await else {
            parts[&id].close();
            return Ok(());
        };
        inputs.push(all);
    }
    let made = tokio::task::spawn_blocking({
        let plan = plan.clone();
        move || carry_out(&plan, id, &dir, &inputs)
    });
    let made = made.await.map_err(|e| RunError::Died(e.to_string()))??;
    parts[&id].put(made);
    Ok(())
}
