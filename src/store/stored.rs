//! Stored tables, which can be read repeatedly: files, and the tables of a finished run.
//!
//! A run's table is read from its parts, which stay the same when another run overwrites the output.

use std::path::{Path, PathBuf};

use arrow_schema::SchemaRef;
use indexmap::IndexMap;

use super::manifest::{Manifest, TransformEntry};
use super::rundir::RunDir;
use crate::source::{self, Source};
use crate::stage::UNIVERSE;
use crate::table::diff::{Batches, Matching};
use crate::table::files::folder_of;
use crate::table::parquet::{Table, TableError};

const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: u64 = 4 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    /// The column that identifies a row of the source. `None` means that the row's number does.
    key: Option<String>,
    /// The columns that distinguish the rows of one key: `replicate` and `model` if there are several, the universe of a
    /// grid, the other columns of a group.
    within: Vec<String>,
    /// The number of rows per source row.
    fold: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct StoredTable {
    schema: SchemaRef,
    location: Location,
    /// `None` for a file.
    identity: Option<Identity>,
}

#[derive(Clone, Debug)]
enum Location {
    Parts(Vec<Table>),
    File(Box<source::File>, PathBuf),
}

impl StoredTable {
    pub(crate) fn file(path: &Path) -> Result<StoredTable, String> {
        let folder = folder_of(path);
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("its name is not UTF-8")?;
        // Escaped, because a file name may look like a glob pattern.
        let (pattern, format) = (glob::Pattern::escape(name), source::FileFormat::of(path));
        let file = source::File { path: pattern, format, ..source::File::default() };
        let schema = file.schema(folder).map_err(|error| error.message)?;
        Ok(StoredTable { schema, location: Location::File(Box::new(file), folder.to_owned()), identity: None })
    }

    /// Returns the table of `output` as a finished run with this manifest wrote it. The error says why there is none.
    pub(crate) fn output(run: &RunDir, manifest: &Manifest, output: &str) -> Result<StoredTable, String> {
        let Some(facts) = manifest.outputs.get(output) else { return Err("the run has no such output".to_owned()) };
        if facts.codebook {
            return Err("it describes the columns of a table".to_owned());
        }
        if !manifest.stages.contains_key(&facts.input) && !manifest.transforms.contains_key(&facts.input) {
            return Err(format!("it contains the rows of the source `{}` and no answers", facts.input));
        }
        let parts = (0..).map_while(|number| run.committed(&facts.input, number));
        let parts: Vec<Table> = parts.map(|part| part.table).collect();
        let rows: u64 = parts.iter().map(Table::rows).sum();
        match parts.first() {
            None if facts.rows == 0 => Err("it has no rows".to_owned()),
            Some(first) if rows == facts.rows => {
                let identity = Identity::of_statistics(&first.schema());
                let identity = Some(identity.unwrap_or_else(|| Identity::of(manifest, &facts.input)));
                Ok(StoredTable { schema: first.schema(), location: Location::Parts(parts), identity })
            }
            _ => Err(format!("{} contains only {rows} of its {} rows", run.root().display(), facts.rows)),
        }
    }

    /// The table of a stage, with all parts that are committed.
    pub(crate) fn stage(run: &RunDir, stage: &str) -> Result<StoredTable, String> {
        StoredTable::parts((0..).map_while(|number| run.committed(stage, number)).map(|part| part.table).collect())
    }

    /// The calls table of a run.
    pub(crate) fn calls(run: &RunDir) -> Result<StoredTable, String> {
        let tables = run.call_tables().map_err(|error| error.to_string())?;
        StoredTable::parts(tables.into_iter().map(|(_, table)| table).collect())
    }

    fn parts(parts: Vec<Table>) -> Result<StoredTable, String> {
        let schema = parts.first().ok_or("no part of it is finished")?.schema();
        Ok(StoredTable { schema, location: Location::Parts(parts), identity: None })
    }

    /// Returns how rows are matched with those of `other`, and the number of consecutive rows per source row in both
    /// tables. The error is a sentence.
    pub(crate) fn matching(&self, other: &StoredTable) -> Result<(Matching, [u64; 2]), String> {
        let plain = Identity { key: None, within: Vec::new(), fold: 1 };
        // A file has no identity. It can use the identity of the other table if it has the columns.
        let like = |identity: &Identity, table: &StoredTable| {
            let fits = identity.key.iter().chain(&identity.within).all(|column| table.has(column));
            if fits { identity.clone() } else { plain.clone() }
        };
        let (a, b) = match (&self.identity, &other.identity) {
            (Some(a), Some(b)) => (a.clone(), b.clone()),
            (Some(a), None) => (a.clone(), like(a, other)),
            (None, Some(b)) => (like(b, self), b.clone()),
            (None, None) => (plain.clone(), plain),
        };
        if a.within != b.within {
            let of = |within: &[String]| match within {
                [] => "row".to_owned(),
                columns => format!("row and {}", columns.join(" and ")),
            };
            return Err(format!("A has a line for each {}, B for each {}", of(&a.within), of(&b.within)));
        }
        let key = a.key.filter(|key| b.key.as_ref() == Some(key));
        let numbered = key.is_none();
        Ok((Matching { columns: key.into_iter().chain(a.within).collect(), numbered }, [a.fold, b.fold]))
    }

    /// Whether its rows are the statistics of a method.
    pub(crate) fn has_statistics(&self) -> bool {
        Identity::of_statistics(&self.schema).is_some()
    }

    pub(crate) fn has(&self, column: &str) -> bool {
        self.schema.index_of(column).is_ok()
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub(crate) fn read(&self) -> Result<Batches, String> {
        let said = |error: TableError| error.to_string();
        match &self.location {
            Location::File(file, folder) => {
                let batches = file.read(folder).map_err(|error| error.message)?;
                Ok(Box::new(batches.map(|batch| batch.map_err(|error| error.message))))
            }
            Location::Parts(parts) => {
                let parts = parts.clone().into_iter();
                Ok(Box::new(parts.flat_map(move |part| {
                    let rows = (BATCH_BYTES / part.bytes_per_row().max(1)).clamp(1, BATCH_ROWS as u64);
                    match part.read(0, part.rows(), rows as usize) {
                        Ok(rows) => Box::new(rows.map(move |batch| batch.map_err(said))) as Batches,
                        Err(error) => Box::new(std::iter::once(Err(said(error)))),
                    }
                })))
            }
        }
    }
}

impl Identity {
    /// What tells the rows of the table of a method apart: all columns before the estimate, and the method. `None` for
    /// other tables.
    fn of_statistics(schema: &SchemaRef) -> Option<Identity> {
        let estimate = schema.index_of("estimate").ok().filter(|_| schema.index_of("ci_low").is_ok())?;
        let names = schema.fields().iter().map(|field| field.name());
        let mut columns: Vec<String> = names.clone().take(estimate).cloned().collect();
        columns.extend(names.skip(estimate).filter(|name| *name == "method").cloned());
        let key = columns.iter().position(|name| name == "statistic").map(|place| columns.remove(place))?;
        Some(Identity { key: Some(key), within: columns, fold: 1 })
    }

    fn of(manifest: &Manifest, table: &str) -> Identity {
        if let Some(stage) = manifest.tables.get(table) {
            let mut identity = Identity::of(manifest, &stage.input);
            identity.fold *= stage.fold;
            identity.within.extend((stage.replicates > 1).then(|| "replicate".to_owned()));
            identity.within.extend((stage.layout == "long").then(|| "model".to_owned()));
            return identity;
        }
        let own = manifest.transforms.get(table).map(|made| Identity::of_transform(manifest, made));
        own.unwrap_or_else(|| Identity {
            key: manifest.sources.get(table).and_then(|source| source.key.clone()),
            within: Vec::new(),
            fold: 1,
        })
    }

    /// What tells the rows of a transform apart: its key and the columns that it copies of those that tell the rows of
    /// its input apart.
    fn of_transform(manifest: &Manifest, made: &TransformEntry) -> Identity {
        let input = |place: usize| made.inputs.get(place).map(|input| Identity::of(manifest, input));
        let copy = |place: usize, column: &String| {
            let copies = made.copies.get(place)?;
            copies.iter().find(|(_, copied)| *copied == column).map(|(own, _)| own.clone())
        };
        let key_of = |place: usize| copy(place, &input(place)?.key?);
        let within_of = |place: usize| {
            let within = input(place).map(|input| input.within).unwrap_or_default();
            within.iter().filter_map(|column| copy(place, column)).collect::<Vec<String>>()
        };
        // These name the table first that they look rows up in.
        let (own, other) = if ["join", "retrieve"].contains(&made.kind.as_str()) { (1, 0) } else { (0, 1) };
        let (key, within) = match made.kind.as_str() {
            _ if made.is_stack => (key_of(0), [vec![UNIVERSE.to_owned()], within_of(0)].concat()),
            "gather" => {
                let mut groups = made.copies.first().into_iter().flat_map(IndexMap::keys).cloned();
                (groups.next(), groups.collect())
            }
            // Several rows of the second table fit a row of the first one.
            "join" if made.key.is_none() => match (key_of(own), key_of(other)) {
                (Some(key), Some(found)) => (Some(key), [within_of(own), vec![found], within_of(other)].concat()),
                _ => (None, Vec::new()),
            },
            _ => (made.key.clone().or_else(|| key_of(own)), within_of(own)),
        };
        // Without a key, the number of a row tells it from all others.
        let within = if key.is_some() { within } else { Vec::new() };
        Identity { key, within, fold: 1 }
    }
}
