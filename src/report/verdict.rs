//! Verdicts: evaluates the tests of a spec on the tables of one finished run.
//!
//! A test reads the file of an output, the committed parts of a stage, or the rows of a source. CSV and JSON Lines
//! files have no types, so the parts are read instead. Each table is read once, batch by batch, and only the columns
//! that its tests need.

use std::collections::HashMap;
use std::time::SystemTime;

use arrow_schema::Schema;

use crate::assertion::{Check, Finding, RowsView};
use crate::plan::Selection;
use crate::spec::{OutputSpec, Spec, StageSpec, TableFormat, TableSpec, TestSpec};
use crate::store::{Manifest, Project, RunDir, State, StoreError, import};
use crate::table::parquet::{Table, TableError};

const BATCH_ROWS: usize = 256;

#[derive(Debug, thiserror::Error)]
pub(crate) enum VerdictError {
    #[error("no finished run matches this spec and its sources as they are now")]
    NoRun,
    /// A table is missing, or was not written by the run.
    #[error("{0}")]
    Stale(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Table(#[from] TableError),
}

struct FinishedRun {
    dir: RunDir,
    manifest: Manifest,
    ended: SystemTime,
}

/// The findings of the tests of `spec`, in the order of the tests, for the newest finished run of `runs`.
pub(crate) fn verdicts(spec: &Spec, project: &Project, runs: Vec<RunDir>) -> Result<Vec<Finding>, VerdictError> {
    let finished = runs.into_iter().filter_map(|dir| {
        let manifest = Manifest::read(&dir).filter(|manifest| manifest.state == State::Done)?;
        Some(FinishedRun { ended: Manifest::written(&dir)?, dir, manifest })
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

fn tables(
    spec: &Spec,
    project: &Project,
    run: Option<&FinishedRun>,
    test: &TestSpec,
) -> Result<Vec<Table>, VerdictError> {
    if let Some(output) = test.output {
        let run = run.ok_or(VerdictError::NoRun)?;
        let (name, output) = spec.outputs.get_index(output).expect("an index of this table");
        let rows = run.manifest.outputs.get(name.as_str()).map(|facts| facts.rows);
        if let Some(table) = written(run, output, rows)? {
            return Ok(vec![table]);
        }
    }
    match spec.table(test.input) {
        TableSpec::Source(source) => {
            project.create()?;
            let all = Selection::default().pick(spec);
            Ok(vec![import(project, source.name.as_str(), source, &spec.folder, all)?.0])
        }
        TableSpec::Stage(stage) => parts(run.ok_or(VerdictError::NoRun)?, stage),
        TableSpec::Transform(transform) => {
            let name = &transform.name;
            let made = run.ok_or(VerdictError::NoRun)?.dir.committed(name, 0);
            let made = made.ok_or_else(|| VerdictError::Stale(format!("the table of stage `{name}` is missing")))?;
            Ok(vec![made.table])
        }
    }
}

/// The table of an output, if its format has types. Fails if the file is not the one that the run wrote.
fn written(run: &FinishedRun, output: &OutputSpec, rows: Option<u64>) -> Result<Option<Table>, VerdictError> {
    let stale = |why: &str| Err(VerdictError::Stale(format!("{} {why}", output.path)));
    if output.sheet.is_some() {
        return Ok(None);
    }
    let modified = std::fs::metadata(&output.file).and_then(|file| file.modified());
    let Ok(modified) = modified else { return stale("does not exist") };
    if modified > run.ended {
        return stale("was changed after the last full run ended; run the spec again to write it");
    }
    if output.format != TableFormat::Parquet {
        return Ok(None);
    }
    let table = Table::open(&output.file)?;
    let columns = |schema: &Schema| -> Vec<_> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    if Some(table.rows()) != rows || columns(&table.schema()) != columns(&output.schema) {
        return stale("is not the table of the last full run; run the spec again to write it");
    }
    // A test reads the columns of the input, which the file of a shaped output does not all have.
    Ok(Some(table).filter(|_| !output.is_shaped()))
}

fn parts(run: &FinishedRun, stage: &StageSpec) -> Result<Vec<Table>, VerdictError> {
    let name = stage.name.as_str();
    let expected = run.manifest.stages.get(name).map(|totals| totals.rows * stage.answers.fold());
    let mut tables = Vec::new();
    let mut rows = 0;
    while Some(rows) < expected {
        let Some(part) = run.dir.committed(name, tables.len() as u64) else {
            return Err(VerdictError::Stale(format!("part {} of stage `{name}` is missing", tables.len())));
        };
        rows += part.table.rows();
        tables.push(part.table);
    }
    Ok(tables)
}

fn held(spec: &Spec, tests: &[&TestSpec], tables: &[Table]) -> Result<Vec<Finding>, TableError> {
    let mut checks: Vec<Box<dyn Check + '_>> = tests.iter().map(|test| test.assertion.rule.check()).collect();
    let mut read: Vec<usize> = tests.iter().flat_map(|test| test.assertion.reads.clone()).collect();
    let rows = tables.iter().map(Table::rows).sum();
    if !read.is_empty() {
        let relation = spec.relation(tests[0].input);
        read.extend(relation.key);
        let names: Vec<&str> = read.iter().map(|column| relation.schema.field(*column).name().as_str()).collect();
        // Parquet interprets a dot in a name as a path into a nested column.
        let plain = names.iter().all(|name| !name.contains('.'));
        let mut first = 1;
        for table in tables {
            let table = if plain { table.with_columns(&names) } else { table.clone() };
            for batch in table.read(0, table.rows(), BATCH_ROWS)? {
                let batch = batch?;
                let schema = batch.schema();
                let place = |(column, name): (&usize, &&str)| Some((*column, schema.index_of(name).ok()?));
                let places: HashMap<usize, usize> = read.iter().zip(&names).filter_map(place).collect();
                let view = RowsView { batch: &batch, places: &places, key: relation.key, first };
                checks.iter_mut().for_each(|check| check.take(&view));
                first += batch.num_rows() as u64;
            }
        }
    }
    Ok(checks.into_iter().map(|check| check.finding(rows)).collect())
}
