//! Importing: the rows of a source as Parquet in the project, read and checked as a whole before a call is sent.
//!
//! The file is named by the hash of the source's content, so a source that hasn't changed is not parsed again, and one
//! that changes during a run doesn't change the run.

use std::path::Path;

use super::{Project, StoreError};
use crate::plan::SourceFacts;
use crate::plan::scan::scan;
use crate::source::{SourceError, content};
use crate::spec::SourceSpec;
use crate::table::parquet::{Options, Table, TableError, TableWriter};

/// The fact of an imported file that holds the hash of its rows.
const VALUES: &str = "fanfold.values";

/// The rows of a source (all, or the first `limit`), imported or found from an earlier run.
pub fn import(
    project: &Project,
    name: &str,
    source: &SourceSpec,
    folder: &Path,
    limit: Option<u64>,
) -> Result<(Table, SourceFacts), StoreError> {
    let named = |error: SourceError| StoreError::Source { name: name.to_owned(), error };
    let content = content(source.source.as_ref(), folder).map_err(named)?;
    let file = match limit {
        None => format!("{}.parquet", &content[..32]),
        Some(limit) => format!("{}-{limit}.parquet", &content[..32]),
    };
    let path = project.sources().join(file);
    // A file that can't be read any more is made again.
    if let Ok(table) = Table::open(&path)
        && let Some(values) = table.fact(VALUES).map(str::to_owned)
    {
        return Ok((table.clone(), SourceFacts { rows: table.rows(), content, values }));
    }
    let mut writer = TableWriter::create(&path, source.relation.schema.clone(), &Options::default())?;
    let facts = scan(source, folder, content, limit, |batch| writer.write(batch).map_err(Failed::Table));
    let facts = facts.map_err(|failed| match failed {
        Failed::Source(error) => named(error),
        Failed::Table(error) => error.into(),
    })?;
    // A file that was saved meanwhile must not stand under the hash of what it was before.
    if crate::source::content(source.source.as_ref(), folder).map_err(named)? != facts.content {
        return Err(named(SourceError::new("it changed while it was read").help("run again")));
    }
    writer.fact(VALUES, facts.values.clone());
    writer.commit()?;
    Ok((Table::open(&path)?, facts))
}

enum Failed {
    Source(SourceError),
    Table(TableError),
}

impl From<SourceError> for Failed {
    fn from(error: SourceError) -> Self {
        Failed::Source(error)
    }
}
