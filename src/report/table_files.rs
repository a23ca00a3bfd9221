//! Table files: where a program finds the rows of the tables of a run. Stages and outputs have Parquet files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow_schema::{Field, FieldRef};
use serde::Serialize;

use crate::plan::Plan;
use crate::spec::TableId;
use crate::store::{RunDir, calls_schema};
use crate::table::type_words;

/// The rows of a table, in the order of the files.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct TableFiles {
    files: Vec<PathBuf>,
    /// The columns of the table. The files may have more.
    columns: Vec<FileColumn>,
}

#[derive(Clone, Debug, Serialize)]
struct FileColumn {
    name: String,
    /// The name in the files.
    from: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct RunFiles {
    /// The tables of the stages and, under their names, of the outputs. Tables that only a stage itself reads and those
    /// of sources are left out.
    pub(crate) tables: BTreeMap<String, TableFiles>,
    /// The calls table.
    pub(crate) calls: TableFiles,
}

impl RunFiles {
    pub(crate) fn new(plan: &Plan, run: &RunDir) -> RunFiles {
        let columns = calls_schema().fields().iter().map(|field| FileColumn::of(field)).collect();
        let calls = TableFiles { files: run.call_files().unwrap_or_default(), columns };
        RunFiles { tables: tables(plan, run), calls }
    }
}

impl FileColumn {
    fn of(field: &Field) -> FileColumn {
        FileColumn { name: field.name().clone(), from: field.name().clone(), kind: type_words(field) }
    }
}

fn tables(plan: &Plan, run: &RunDir) -> BTreeMap<String, TableFiles> {
    let files = |id: TableId| {
        let parts = (0..).map(|part| run.part_path(plan.spec.table_name(id), part));
        parts.take_while(|path| path.exists()).collect::<Vec<_>>()
    };
    let column = |id: TableId, index: usize| FileColumn::of(plan.spec.relation(id).schema.field(index));
    let made = plan.stages().chain(plan.transforms()).map(|id| {
        let columns = (0..plan.spec.relation(id).shown()).map(|index| column(id, index)).collect();
        (plan.spec.table_name(id).to_owned(), TableFiles { files: files(id), columns })
    });
    let outputs = plan.outputs().filter_map(|index| plan.spec.outputs.get_index(index));
    let outputs = outputs.filter(|(_, output)| !output.codebook && plan.spec.table(output.input).as_source().is_none());
    let outputs = outputs.map(|(name, output)| {
        let names = output.columns.iter().zip(output.schema.fields());
        let named = |(index, field): (&usize, &FieldRef)| FileColumn {
            name: field.name().clone(),
            ..column(output.input, *index)
        };
        (name.to_string(), TableFiles { files: files(output.input), columns: names.map(named).collect() })
    });
    made.filter(|(name, _)| !name.contains('.')).chain(outputs).collect()
}
