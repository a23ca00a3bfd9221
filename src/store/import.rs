//! Importing: reads and checks a whole source before the first call, and stores its rows as Parquet in the project.
//!
//! The file is named after the hash of the source's content. So an unchanged source is not parsed again, and a source
//! that changes during a run does not change the run.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use super::checksum::{open_checked, write_sum};
use super::error::StoreError;
use super::project::Project;
use crate::plan::scan::scan;
use crate::plan::{RowPick, SourceFacts};
use crate::source::{SourceError, content};
use crate::spec::SourceSpec;
use crate::table::parquet::{Options, Table, TableWriter, clean};

const VALUES: &str = "fanfold.values";
/// The import report. Copies without one are of readers that changed some texts silently; they are written again.
const IMPORT: &str = "fanfold.import";

/// Imports the chosen rows of a source, unless an earlier run has imported them.
pub(crate) fn import(
    project: &Project,
    name: &str,
    source: &SourceSpec,
    folder: &Path,
    pick: RowPick,
) -> Result<(Table, SourceFacts), StoreError> {
    let named = |error: SourceError| StoreError::Source { name: name.to_owned(), error };
    let content = content(source.source.as_ref(), folder).map_err(named)?;
    let mark = pick.file_mark().map(|mark| format!("-{mark}")).unwrap_or_default();
    let file = format!("{}{mark}.parquet", &content[..32]);
    let path = project.sources().join(file);
    clean(&project.sources(), None);
    // A damaged file is written again, and so is one of an earlier version that read other types.
    if let Ok(table) = open_checked(&path)
        && table.schema() == source.relation.schema
        && let Some(values) = table.fact(VALUES).map(str::to_owned)
        && let Some(import) = table.fact(IMPORT).and_then(|text| serde_json::from_str(text).ok())
    {
        let facts = SourceFacts { rows: table.rows(), content, values, import: Some(import), is_fresh: false };
        return Ok((table, facts));
    }
    let mut writer = TableWriter::create(&path, source.relation.schema.clone(), &Options::default())?;
    // A thread writes the rows while the next ones are checked.
    let (written, facts) = thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(1);
        let write = || receiver.into_iter().try_for_each(|batch| writer.write(batch));
        let writing = thread::Builder::new().name("writer".to_owned()).spawn_scoped(scope, write)?;
        let facts = scan(source, folder, content, pick, move |batch| {
            sender.send(batch).map_err(|_| SourceError::new("its copy can't be written"))
        });
        Ok((writing.join().unwrap_or_else(|panic| resume_unwind(panic)), facts))
    })
    .map_err(StoreError::io(&path))?;
    written?;
    let facts = facts.map_err(named)?;
    // If the source changed during the import, its rows must not get the hash of the earlier content.
    if crate::source::content(source.source.as_ref(), folder).map_err(named)? != facts.content {
        return Err(named(SourceError::new("it changed while it was being read").help("run again")));
    }
    writer.fact(VALUES, facts.values.clone());
    writer.fact(IMPORT, serde_json::to_string(&facts.import).unwrap_or_default());
    writer.commit()?;
    write_sum(&path)?;
    Ok((Table::open(&path)?, facts))
}
