//! Retained tables: stores the rows that transforms read, in a temporary folder.

use std::collections::HashMap;

use tempfile::TempDir;

use crate::plan::Plan;
use crate::run::RunError;
use crate::spec::TableId;
use crate::store::{PartWriter, RunDir, StoreError};

/// The tables. Dropping this removes their folder.
pub(crate) struct Retained {
    pub(crate) dir: RunDir,
    /// The inputs of transforms whose rows are all known so far.
    pub(crate) open: HashMap<TableId, PartWriter>,
    _folder: Option<TempDir>,
}

impl Retained {
    pub(crate) fn new(plan: &Plan) -> Result<Self, RunError> {
        let folder = match plan.transforms().next() {
            None => None,
            Some(_) => Some(tempfile::tempdir().map_err(StoreError::io(&std::env::temp_dir()))?),
        };
        let dir = RunDir::new(folder.as_ref().map(|folder| folder.path().to_owned()).unwrap_or_default());
        let mut open = HashMap::new();
        for input in plan.transforms().flat_map(|i| &plan.spec.transform(i).inputs) {
            if plan.spec.table(*input).as_transform().is_none() {
                let schema = plan.spec.relation(*input).schema.clone();
                open.insert(*input, dir.write_table(plan.spec.table_name(*input), schema)?);
            }
        }
        Ok(Retained { dir, open, _folder: folder })
    }
}
