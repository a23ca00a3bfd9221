//! The command `fanfold diff`; `argument` recognises its arguments.

mod argument;

use std::path::{Path, PathBuf};

use super::{Exit, Failure, OutputFormat, Terminal};
use crate::lock::{Comparison, Lock};
use crate::name::listed;
use crate::report::diff::{Compared, ComparedTable, DiffReport, Facets};
use crate::store::StoredTable;
use crate::table::diff::{DiffError, Matching, Side, Which, diff};
use argument::{Argument, Run, argument};

/// Shows what changed from A to B: the spec, the inputs, the models, and every cell of the answers.
///
/// A and B can each be a spec (its finished run), a run folder under .fanfold/runs, a lock, or a table (.parquet, .csv,
/// .tsv or .jsonl). A lock contains no cells; a table does not record its inputs. Exit code 0 if nothing differs, 1
/// otherwise. Sends and writes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The old version.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The new version.
    #[arg(value_name = "B")]
    b: PathBuf,
    /// The columns that identify a row [default: the key of the source, or the row number].
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    key: Vec<String>,
    /// Rows to show for each kind of difference.
    #[arg(long, default_value_t = 5, value_name = "N")]
    examples: usize,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Diff {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let (a, b) = (argument(&self.a, terminal)?, argument(&self.b, terminal)?);
        let report = self.report(&a, &b)?;
        self.format.write(&report, terminal);
        Ok(if report.differs() { Exit::Failed } else { Exit::Ok })
    }

    fn report(&self, a: &Argument, b: &Argument) -> Result<DiffReport, Failure> {
        let mut report = DiffReport {
            a: a.words(&self.a),
            b: b.words(&self.b),
            facets: a.lock().zip(b.lock()).map(|(a, b)| facets(a, b)),
            tables: Vec::new(),
            only_a: Vec::new(),
            only_b: Vec::new(),
            no_cells: None,
        };
        match (a, b) {
            (Argument::Run(a), Argument::Run(b)) => self.outputs(a, b, &mut report)?,
            (Argument::Lock(_), Argument::Table(_)) | (Argument::Table(_), Argument::Lock(_)) => {
                let message = "a lock contains no cells, and a table does not record its inputs";
                return Err(Failure::new(Exit::Spec, message).help("compare the lock with a lock, a run or a spec"));
            }
            (Argument::Lock(_), _) | (_, Argument::Lock(_)) => {
                report.no_cells = Some("a lock contains only the hashes of tables");
            }
            (a, b) => {
                let name = self.b.display().to_string();
                let compared = self.compared(&a.one_table(&self.a)?, &b.one_table(&self.b)?)?;
                report.tables.push(ComparedTable { name, compared });
            }
        }
        Ok(report)
    }

    fn outputs(&self, a: &Run, b: &Run, report: &mut DiffReport) -> Result<(), Failure> {
        let (in_a, in_b) = (&a.lock.outputs, &b.lock.outputs);
        report.only_a.extend(in_a.keys().filter(|name| !in_b.contains_key(*name)).cloned());
        report.only_b.extend(in_b.keys().filter(|name| !in_a.contains_key(*name)).cloned());
        for name in in_a.keys().filter(|name| in_b.contains_key(*name)) {
            let compared = match a.table(name).and_then(|table| Ok((table, b.table(name)?))) {
                Ok((a, b)) => self.compared(&a, &b)?,
                Err(why) => Compared::Not(why),
            };
            report.tables.push(ComparedTable { name: name.clone(), compared });
        }
        Ok(())
    }

    fn compared(&self, a: &StoredTable, b: &StoredTable) -> Result<Compared, Failure> {
        let (by, folds) = match self.key.as_slice() {
            [] => match a.matching(b) {
                Ok(matching) => matching,
                Err(why) => return Ok(Compared::Not(why)),
            },
            columns => {
                self.check_key(a, &self.a)?;
                self.check_key(b, &self.b)?;
                (Matching { columns: columns.to_vec(), numbered: false }, [1, 1])
            }
        };
        let (read_a, read_b) = (|| a.read(), || b.read());
        let one = Side { schema: a.schema(), read: &read_a, fold: folds[0] };
        let other = Side { schema: b.schema(), read: &read_b, fold: folds[1] };
        match diff(&one, &other, &by, self.examples) {
            Ok(found) => Ok(Compared::Cells(by, Box::new(found))),
            Err(error) => Err(self.failure(&error)),
        }
    }

    fn check_key(&self, table: &StoredTable, path: &Path) -> Result<(), Failure> {
        let Some(column) = self.key.iter().find(|column| !table.has(column)) else { return Ok(()) };
        let schema = table.schema();
        let names = listed(schema.fields().iter().map(|field| field.name().as_str()));
        let message = format!("{} has no column `{column}`", path.display());
        Err(Failure::new(Exit::Spec, message).help(format!("its columns are {names}")))
    }

    fn failure(&self, error: &DiffError) -> Failure {
        let path = |side: Which| if side == Which::A { self.a.display() } else { self.b.display() };
        match error {
            DiffError::Read { side, .. } => Failure::new(Exit::Environment, format!("{}: {error}", path(*side))),
            DiffError::Twice { side, key, .. } => {
                let key = key.iter().map(|cell| cell.json().to_string()).collect::<Vec<_>>().join(", ");
                Failure::new(Exit::Spec, format!("{}: {error}: {key}", path(*side)))
                    .help("name the columns that identify a row, such as `--key id,model`")
            }
            DiffError::Spill(_) => Failure::new(Exit::Environment, error.to_string()),
        }
    }
}

fn facets(a: &Lock, b: &Lock) -> Facets {
    let Comparison { drift, same } = a.facets().compare(&b.facets());
    Facets { same, drift }
}
