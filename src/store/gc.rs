//! Cleaning a project's ledger: drops the answers that no run uses.

use std::path::Path;
use std::str::FromStr;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;

use super::error::StoreError;
use super::export::NO_KEY;
use super::ledger::{DropCounts, Ledger};
use super::manifest::{Manifest, State};
use super::project::Project;
use super::record::Key;
use crate::table::parquet::Table;

/// Deletes the failed calls, the retired answers and the answers that no run's folder uses from the project's ledger.
/// An unfinished run has answers that are not in a table yet, so all answers of its models are kept. Without any run,
/// nothing shows which answers are used, so all are kept. With `dry`, only counts.
pub(crate) fn gc(project: &Project, dry: bool) -> Result<DropCounts, StoreError> {
    let _alone = project.alone()?;
    let mut kept = Vec::new();
    let mut files = Vec::new();
    let runs = project.run_dirs()?;
    for run in &runs {
        let calls = run.call_files()?;
        match Manifest::read(run) {
            Some(manifest) if manifest.state == State::Done => {}
            Some(manifest) => kept.extend(manifest.models.into_values().map(|model| model.model)),
            None if calls.is_empty() => {}
            None => return Err(StoreError::Unfinished { run: run.root().to_owned() }),
        }
        files.extend(calls);
    }
    let mut ledger = Ledger::open(&project.ledger())?;
    if runs.is_empty() {
        kept.extend(ledger.contents()?.models.into_iter().map(|model| model.model));
    }
    let keys = files.into_iter().flat_map(|file| match keys(&file) {
        Ok(keys) => Box::new(keys) as Box<dyn Iterator<Item = _>>,
        Err(error) => Box::new(std::iter::once(Err(error))),
    });
    ledger.sweep(keys, &kept, dry)
}

fn keys(file: &Path) -> Result<impl Iterator<Item = Result<Key, StoreError>> + use<>, StoreError> {
    let table = Table::open(file)?;
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
