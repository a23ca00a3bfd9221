//! `fanfold diff`. What the arguments are is found out in `given`.

mod given;

use std::path::PathBuf;

use super::exit::Exit;
use super::status::Format;
use super::terminal::Terminal;
use crate::lock::{Comparison, Lock};
use crate::name::listed;
use crate::report::diff::{Compared, ComparedTable, Diff as Found, Facets, as_json, human};
use crate::store::Stored;
use crate::table::diff::{DiffError, Matching, Side, Which, diff};
use given::{Given, Run, given};

/// Shows what changed from A to B: in the spec, the inputs and the models, and in the answers, cell by cell.
///
/// Each of A and B is a spec (its finished run), the folder of a run under .fanfold/runs, a lock, or a table (.parquet, .csv,
/// .tsv or .jsonl). A lock has no cells, and a table doesn't say what it was made from. Exit code 0 if nothing differs, 1 if
/// something does. Sends and writes nothing.
#[derive(Debug, clap::Args)]
pub struct Diff {
    /// What it was.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// What it is.
    #[arg(value_name = "B")]
    b: PathBuf,
    /// The columns that tell rows apart; left out: the key of the source, else the row's number.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    key: Vec<String>,
    /// Rows that are shown of each kind of difference.
    #[arg(long, default_value_t = 5, value_name = "N")]
    examples: usize,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

/// Why there is nothing to show: a message, what to do about it, the exit code.
struct Refusal(String, Option<String>, Exit);

impl Diff {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let given = given(&self.a, terminal).and_then(|a| Ok((a, given(&self.b, terminal)?)));
        let found = match given {
            // What is wrong with it has been shown.
            Err(exit) => return exit,
            Ok((a, b)) => self.found(&a, &b),
        };
        match found {
            Err(Refusal(message, help, exit)) => {
                terminal.error(&message, help.as_deref());
                exit
            }
            Ok(found) => {
                match self.format {
                    Format::Human => terminal.text(&human(&found)),
                    Format::Json => terminal.json(&as_json(&found)),
                }
                if found.differs() { Exit::Failed } else { Exit::Ok }
            }
        }
    }

    fn found(&self, a: &Given, b: &Given) -> Result<Found, Refusal> {
        let mut found = Found {
            a: a.words(&self.a),
            b: b.words(&self.b),
            facets: a.lock().zip(b.lock()).map(|(a, b)| facets(a, b)),
            tables: Vec::new(),
            only_a: Vec::new(),
            only_b: Vec::new(),
            no_cells: None,
        };
        match (a, b) {
            (Given::Run(a), Given::Run(b)) => self.outputs(a, b, &mut found)?,
            (Given::Lock(_), Given::Table(_)) | (Given::Table(_), Given::Lock(_)) => {
                let message = "a lock has no cells, and a table doesn't say what it was made from";
                let help = "compare the lock with a lock, a run or a spec".to_owned();
                return Err(Refusal(message.to_owned(), Some(help), Exit::Spec));
            }
            (Given::Lock(_), _) | (_, Given::Lock(_)) => found.no_cells = Some("a lock holds hashes of tables only"),
            (a, b) => {
                let name = self.b.display().to_string();
                let table = |given: &Given, path: &PathBuf| {
                    given.one_table().map_err(|(message, help)| {
                        Refusal(format!("{}: {message}", path.display()), Some(help), Exit::Spec)
                    })
                };
                let compared = self.compared(&table(a, &self.a)?, &table(b, &self.b)?)?;
                found.tables.push(ComparedTable { name, compared });
            }
        }
        Ok(found)
    }

    /// Compares the outputs of two runs by their names.
    fn outputs(&self, a: &Run, b: &Run, found: &mut Found) -> Result<(), Refusal> {
        for name in a.lock.outputs.keys().chain(b.lock.outputs.keys().filter(|n| !a.lock.outputs.contains_key(*n))) {
            match (a.lock.outputs.contains_key(name), b.lock.outputs.contains_key(name)) {
                (true, true) => {
                    let compared = match a.table(name).and_then(|table| Ok((table, b.table(name)?))) {
                        Ok((a, b)) => self.compared(&a, &b)?,
                        Err(why) => Compared::Not(why),
                    };
                    found.tables.push(ComparedTable { name: name.clone(), compared });
                }
                (true, false) => found.only_a.push(name.clone()),
                (false, _) => found.only_b.push(name.clone()),
            }
        }
        Ok(())
    }

    fn compared(&self, a: &Stored, b: &Stored) -> Result<Compared, Refusal> {
        let (by, folds) = match self.key.as_slice() {
            [] => match a.matching(b) {
                Ok(matching) => matching,
                Err(why) => return Ok(Compared::Not(why)),
            },
            columns => {
                self.has_key(a, &self.a)?;
                self.has_key(b, &self.b)?;
                (Matching { columns: columns.to_vec(), numbered: false }, [1, 1])
            }
        };
        let (read_a, read_b) = (|| a.read(), || b.read());
        let one = Side { schema: a.schema(), read: &read_a, fold: folds[0] };
        let other = Side { schema: b.schema(), read: &read_b, fold: folds[1] };
        match diff(&one, &other, &by, self.examples) {
            Ok(found) => Ok(Compared::Cells(by, Box::new(found))),
            Err(error) => Err(self.broken(&error)),
        }
    }

    fn has_key(&self, table: &Stored, path: &std::path::Path) -> Result<(), Refusal> {
        let Some(column) = self.key.iter().find(|column| !table.has(column)) else { return Ok(()) };
        let schema = table.schema();
        let names = listed(schema.fields().iter().map(|field| field.name().as_str()));
        let message = format!("{}: there is no column `{column}`", path.display());
        Err(Refusal(message, Some(format!("its columns are {names}")), Exit::Spec))
    }

    fn broken(&self, error: &DiffError) -> Refusal {
        let path = |side: Which| if side == Which::A { self.a.display() } else { self.b.display() };
        match error {
            DiffError::Read { side, .. } => Refusal(format!("{}: {error}", path(*side)), None, Exit::Environment),
            DiffError::Twice { side, key, .. } => {
                let key = key.iter().map(|cell| cell.json().to_string()).collect::<Vec<_>>().join(", ");
                let help = "say which columns tell rows apart, such as `--key id,model`".to_owned();
                Refusal(format!("{}: {error}: {key}", path(*side)), Some(help), Exit::Spec)
            }
            DiffError::Spill(_) => Refusal(error.to_string(), None, Exit::Environment),
        }
    }
}

fn facets(a: &Lock, b: &Lock) -> Facets {
    let Comparison { drift, same } = a.facets().compare(&b.facets());
    Facets { same, drift }
}
