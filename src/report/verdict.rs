//! Verdicts: what the tests of a spec say about the tables that are there. Tables are read batch by batch, each once and
//! only the columns that its tests need.
//!
//! Tested are the file of an output (of CSV and JSON Lines, which have no types, the parts that it was written from), the
//! committed parts of a stage, the rows of a source. All of them must be those of one finished run.

use std::collections::HashMap;
use std::path::Path;
use std::time::SystemTime;

use arrow_schema::Schema;

use crate::assertion::{Check, Finding, View};
use crate::spec::{Format, OutputSpec, Spec, StageSpec, TableSpec, TestSpec};
use crate::store::{Manifest, Project, RunDir, State, StoreError, import};
use crate::table::parquet::{Table, TableError};

/// Rows that are read at once.
const BATCH: usize = 256;

/// Why tests can't be run.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// There is no run to test.
    #[error("there is no finished run of this spec as it is now over its sources as they are now")]
    NoRun,
    /// A table is not there, or is not that of the run.
    #[error("{0}")]
    Stale(String),
    /// The project's folder, or a source.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A table can't be read.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// A finished run.
struct Finished {
    dir: RunDir,
    manifest: Manifest,
    /// When it ended; its outputs were written before.
    ended: SystemTime,
}

/// What the tests of `spec` say, in their order, of the newest of the finished `runs`.
pub fn verdicts(spec: &Spec, project: &Project, runs: Vec<RunDir>) -> Result<Vec<Finding>, VerdictError> {
    let finished = runs.into_iter().filter_map(|dir| {
        let manifest = Manifest::read(&dir).filter(|manifest| manifest.state == State::Done)?;
        Some(Finished { ended: Manifest::written(&dir)?, dir, manifest })
    });
    let run = finished.max_by_key(|run| run.ended);
    let mut findings: Vec<Option<Finding>> = spec.tests.iter().map(|_| None).collect();
    for first in 0..spec.tests.len() {
        if findings[first].is_some() {
            continue;
        }
        let test = &spec.tests[first];
        let same = |other: &TestSpec| (other.input, other.output) == (test.input, test.output);
        let group: Vec<usize> = (first..spec.tests.len()).filter(|i| same(&spec.tests[*i])).collect();
        let tables = tables(spec, project, run.as_ref(), test)?;
        let tests: Vec<&TestSpec> = group.iter().map(|i| &spec.tests[*i]).collect();
        for (i, finding) in group.into_iter().zip(held(spec, &tests, &tables)?) {
            findings[i] = Some(finding);
        }
    }
    Ok(findings.into_iter().flatten().collect())
}

/// The files that hold the table of a test, in order.
fn tables(spec: &Spec, project: &Project, run: Option<&Finished>, test: &TestSpec) -> Result<Vec<Table>, VerdictError> {
    if let Some(output) = test.output {
        let run = run.ok_or(VerdictError::NoRun)?;
        let (name, output) = spec.outputs.get_index(output).expect("an index of this table");
        let rows = run.manifest.outputs.get(name.as_str()).map(|facts| facts.rows);
        if let Some(table) = written(spec, run, output, rows)? {
            return Ok(vec![table]);
        }
    }
    match spec.table(test.input) {
        TableSpec::Source(source) => {
            project.create()?;
            Ok(vec![import(project, source.name.as_str(), source, &spec.folder, None)?.0])
        }
        TableSpec::Stage(stage) => parts(run.ok_or(VerdictError::NoRun)?, stage),
        TableSpec::Reshape(reshape) => {
            let name = &reshape.name;
            let made = run.ok_or(VerdictError::NoRun)?.dir.committed(name, 0);
            let made = made.ok_or_else(|| VerdictError::Stale(format!("the table of stage `{name}` is not there")))?;
            Ok(vec![made.table])
        }
    }
}

/// The table of an output, if its file is one: reports a file that is not there or that the run did not leave like this.
fn written(spec: &Spec, run: &Finished, output: &OutputSpec, rows: Option<u64>) -> Result<Option<Table>, VerdictError> {
    let stale = |why: &str| Err(VerdictError::Stale(format!("{} {why}", output.path)));
    let Some(modified) = modified(&output.file) else { return stale("is not there") };
    if modified > run.ended {
        return stale("was written after the run ended whose table it should be");
    }
    if output.format != Format::Parquet {
        return Ok(None);
    }
    let table = Table::open(&output.file)?;
    let schema = &spec.relation(output.input).schema;
    if Some(table.rows()) != rows || !is_like(&table.schema(), schema) {
        return stale("is not the table of the run");
    }
    Ok(Some(table))
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// Whether two tables have the same columns.
fn is_like(one: &Schema, other: &Schema) -> bool {
    let columns = |schema: &Schema| -> Vec<_> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    columns(one) == columns(other)
}

/// The committed parts of a stage.
fn parts(run: &Finished, stage: &StageSpec) -> Result<Vec<Table>, VerdictError> {
    let name = stage.name.as_str();
    let expected = run.manifest.stages.get(name).map(|totals| totals.rows * stage.answers.fold());
    let mut tables = Vec::new();
    let mut rows = 0;
    while Some(rows) < expected {
        let Some(part) = run.dir.committed(name, tables.len() as u64) else {
            return Err(VerdictError::Stale(format!("part {} of stage `{name}` is not there", tables.len())));
        };
        rows += part.table.rows();
        tables.push(part.table);
    }
    Ok(tables)
}

/// What these tests of one table say when they have seen its rows.
fn held(spec: &Spec, tests: &[&TestSpec], tables: &[Table]) -> Result<Vec<Finding>, TableError> {
    let mut checks: Vec<Box<dyn Check + '_>> = tests.iter().map(|test| test.assertion.check()).collect();
    let mut read: Vec<usize> = tests.iter().flat_map(|test| test.assertion.reads()).collect();
    let rows = tables.iter().map(Table::rows).sum();
    if !read.is_empty() {
        let relation = spec.relation(tests[0].input);
        read.extend(relation.key);
        let names: Vec<&str> = read.iter().map(|column| relation.schema.field(*column).name().as_str()).collect();
        // Parquet takes a dot in a name for a step into the column.
        let plain = names.iter().all(|name| !name.contains('.'));
        let mut first = 1;
        for table in tables {
            let table = if plain { table.with_columns(&names) } else { table.clone() };
            for batch in table.read(0, table.rows(), BATCH)? {
                let batch = batch?;
                let schema = batch.schema();
                let place = |(column, name): (&usize, &&str)| Some((*column, schema.index_of(name).ok()?));
                let places: HashMap<usize, usize> = read.iter().zip(&names).filter_map(place).collect();
                let view = View::new(&batch, &places, relation.key, first);
                checks.iter_mut().for_each(|check| check.take(&view));
                first += batch.num_rows() as u64;
            }
        }
    }
    Ok(checks.into_iter().map(|check| check.finding(rows)).collect())
}
