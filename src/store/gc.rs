//! Cleaning a project's ledger: what no run uses goes.

use std::str::FromStr;

use arrow_array::cast::AsArray;

use super::export::call_files;
use super::{Dropped, Key, Ledger, Manifest, Project, RunDir, State, StoreError};
use crate::table::parquet::Table;

/// Drops from the project's ledger the failed calls, the answers that are out of service, and the answers that no run's
/// folder uses. A run that is not finished has answers that stand in no table yet, so those of its models all stay; and
/// in a project without any run nothing says which answers are used, so all stay. `dry`: only counts.
pub fn gc(project: &Project, dry: bool) -> Result<Dropped, StoreError> {
    let _alone = project.alone()?;
    let mut kept = Vec::new();
    let mut files = Vec::new();
    let runs = project.run_dirs()?;
    for run in &runs {
        let calls = call_files(run)?;
        match Manifest::read(run) {
            Some(manifest) if manifest.state == State::Done => {}
            Some(manifest) => kept.extend(manifest.models.into_values().map(|model| model.model)),
            None if calls.is_empty() => {}
            // Not even that is known of it.
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

/// The keys in a file of a calls table.
fn keys(file: &std::path::Path) -> Result<impl Iterator<Item = Result<Key, StoreError>> + use<>, StoreError> {
    let table = Table::open(file)?;
    let batches = table.with_columns(&["call_key"]).read(0, table.rows(), 4096)?;
    let path = file.to_owned();
    Ok(batches.flat_map(move |batch| {
        let read = |batch: arrow_array::RecordBatch| -> Vec<Result<Key, StoreError>> {
            let keys = batch.column(0).as_string::<i32>().iter();
            let key = |text: Option<&str>| Key::from_str(text.unwrap_or_default());
            let refused = || StoreError::Replay { path: path.clone(), reason: "it holds what is no key".to_owned() };
            keys.map(|text| key(text).map_err(|()| refused())).collect()
        };
        batch.map_or_else(|error| vec![Err(error.into())], read)
    }))
}

impl Project {
    /// The folders of all runs.
    fn run_dirs(&self) -> Result<Vec<RunDir>, StoreError> {
        let folder = self.runs();
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let entries = std::fs::read_dir(&folder).map_err(StoreError::io(&folder))?;
        let paths = entries.map(|entry| entry.map(|e| e.path()));
        let paths: Vec<_> = paths.collect::<Result<_, _>>().map_err(StoreError::io(&folder))?;
        Ok(paths.into_iter().filter(|path| path.is_dir()).map(RunDir::new).collect())
    }
}
