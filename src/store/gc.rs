//! Cleaning a project's ledger: drops the answers that no run uses.

use std::path::Path;
use std::str::FromStr;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;

use super::error::StoreError;
use super::export::NO_KEY;
use super::history::last_end;
use super::ledger::{DropCounts, Ledger};
use super::manifest::{Manifest, State};
use super::pieces::is_stored;
use super::project::Project;
use super::record::Key;
use super::rundir::RunDir;
use crate::table::parquet::Table;

/// Deletes the failed calls, the retired answers and the answers that no run's folder uses from the project's ledger.
/// An unfinished run has answers that are not in a table yet, so all answers of its models are kept. So are answers of
/// after the last run, such as those of a pilot. Without any run, nothing shows which answers are used, so all are kept.
/// With `dry`, only counts.
pub(crate) fn gc(project: &Project, dry: bool) -> Result<DropCounts, StoreError> {
    let _alone = project.alone()?;
    let mut kept = Vec::new();
    let mut keeps_last = false;
    let mut files = Vec::new();
    let runs = project.run_dirs()?;
    for run in &runs {
        Manifest::check(run)?;
        match Manifest::read(run) {
            Some(manifest) if manifest.state == State::Done => has_all_calls(run, &manifest)?,
            Some(manifest) => {
                // A fresh run counts the ids after those that it found, so no id may be used again.
                keeps_last |= manifest.fresh_after.is_some();
                kept.extend(manifest.models.into_values().map(|model| model.model));
            }
            None if run.call_files()?.is_empty() => {}
            None => return Err(StoreError::Unfinished { run: run.root().to_owned() }),
        }
        files.extend(run.call_tables()?);
    }
    let mut ledger = Ledger::open(&project.ledger())?;
    if runs.is_empty() {
        kept.extend(ledger.contents()?.models.into_iter().map(|model| model.model));
    }
    let keys = files.into_iter().flat_map(|(file, table)| match keys(&file, table) {
        Ok(keys) => Box::new(keys) as Box<dyn Iterator<Item = _>>,
        Err(error) => Box::new(std::iter::once(Err(error))),
    });
    ledger.sweep(keys, (&kept, keeps_last, last_end(project)), dry)
}

/// Fails if a part of a finished run has no calls: nothing else shows which answers the run uses.
fn has_all_calls(run: &RunDir, manifest: &Manifest) -> Result<(), StoreError> {
    for (stage, totals) in &manifest.stages {
        let size = manifest.tables.get(stage).map_or(u64::MAX, |shape| shape.chunk_size.max(1));
        let parts = 0..totals.rows.div_ceil(size);
        let mut parts = parts.flat_map(|part| [run.calls_path(stage, part), run.part_path(stage, part)]);
        if let Some(path) = parts.find(|path| !is_stored(path)) {
            return Err(StoreError::NoCalls { path });
        }
    }
    Ok(())
}

fn keys(file: &Path, table: Table) -> Result<impl Iterator<Item = Result<Key, StoreError>> + use<>, StoreError> {
    let batches = table.with_columns(&["call_key"]).read(0, table.rows(), 4096)?;
    let path = file.to_owned();
    Ok(batches.flat_map(move |batch| {
        let read = |batch: RecordBatch| -> Vec<Result<Key, StoreError>> {
            let keys = batch.column(0).as_string::<i32>().iter();
            let refused = |()| StoreError::Replay { path: path.clone(), reason: NO_KEY.to_owned() };
            keys.map(|text| Key::from_str(text.unwrap_or_default()).map_err(refused)).collect()
        };
        batch.map_or_else(|error| vec![Err(error.into())], read)
    }))
}
