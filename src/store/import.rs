//! Importing: reads and checks a whole source before the first call, and stores its rows as Parquet in the project.
//!
//! The file is named after the hash of the source's content. So an unchanged source is not parsed again, and a source
//! that changes during a run does not change the run.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use super::checksum::{open_checked, write_sum};
use super::error::StoreError;
use super::project::Project;
use super::rundir::own_options;
use crate::plan::scan::scan;
use crate::plan::{RowPick, SourceFacts};
use crate::source::{SourceError, content};
use crate::spec::SourceSpec;
use crate::table::files::clean;
use crate::table::parquet::{Table, TableWriter};

const VALUES: &str = "fanfold.values";
/// The import report. Copies without one are of readers that changed some texts silently; they are written again.
const IMPORT: &str = "fanfold.import";

fn path(project: &Project, content: &str, pick: RowPick) -> PathBuf {
    project.sources().join(copy_name(content, pick))
}

/// The name of the file with the chosen rows of a source with this content.
pub(crate) fn copy_name(content: &str, pick: RowPick) -> String {
    let mark = pick.file_mark().map(|mark| format!("-{mark}")).unwrap_or_default();
    format!("{}{mark}.parquet", &content[..32])
}

/// The chosen rows of a source with this content, if an earlier run has imported them. Writes nothing. A damaged file
/// does not count, nor does one of an earlier version that read other types.
pub(crate) fn imported(
    project: &Project,
    source: &SourceSpec,
    content: &str,
    pick: RowPick,
) -> Option<(Table, SourceFacts)> {
    let table = open_checked(&path(project, content, pick)).ok()?;
    let is_like = table.schema() == source.relation.schema;
    let values = table.fact(VALUES).filter(|_| is_like)?.to_owned();
    let import = Some(serde_json::from_str(table.fact(IMPORT)?).ok()?);
    let facts = SourceFacts { rows: table.rows(), content: content.to_owned(), values, import, is_fresh: false };
    Some((table, facts))
}

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
    clean(&project.sources(), None);
    if let Some(found) = imported(project, source, &content, pick) {
        return Ok(found);
    }
    let path = path(project, &content, pick);
    let mut writer = TableWriter::create(&path, source.relation.schema.clone(), &own_options())?;
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
