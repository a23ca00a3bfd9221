//! Examples: rows with their answers that a stage shows to its models, from the spec or from a file.

use serde_json::{Map, Value};

use super::language::{ExampleTable, StageTable};
use super::resolve::Resolver;
use crate::document::Path;
use crate::source::{File, Source, SourceError};
use crate::stage::{Example, ExampleOrigin};
use crate::table::Row;

/// The most examples, since every prompt contains all of them.
const MOST: usize = 200;
/// The column of a file that contains a text answer. Also the prefix of answer keys that are also columns of the input.
const ANSWER: &str = "answer";

impl Resolver<'_> {
    /// Returns the examples of the stage at `at`, whose input has `columns`. `None` without readable examples.
    pub(super) fn examples(&mut self, at: &Path, table: &StageTable, columns: &[&str]) -> Option<Vec<Example>> {
        let before = self.problems.mark();
        let (key, examples) = match (&table.examples, &table.examples_file) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                let message = "a stage has `examples` or `examples_file`, not both";
                self.problems.error_at_key("bad-value", at.key("examples_file"), message);
                return None;
            }
            (Some(listed), None) => {
                let place = |i: usize| ExampleOrigin::Spec(at.key("examples").index(i));
                let example = |(i, example): (usize, &ExampleTable)| Example {
                    row: example.row.clone(),
                    answer: example.answer.clone(),
                    origin: place(i),
                };
                ("examples", listed.iter().enumerate().map(example).collect())
            }
            (None, Some(path)) => {
                let place = at.key("examples_file");
                if !self.inside(place.clone(), path) {
                    return None;
                }
                self.reads.borrow_mut().insert(path.clone());
                match self.read_examples(&place, path, columns) {
                    Ok(examples) => ("examples_file", examples),
                    Err(error) => {
                        self.error("unreadable-file", place, error.message).help_if(error.help);
                        return None;
                    }
                }
            }
        };
        if examples.is_empty() {
            self.error("bad-value", at.key(key), "there are no examples").help("leave it out");
        } else if examples.len() > MOST {
            let message = format!("there are more than {MOST} examples, and every prompt contains all of them");
            self.error("bad-value", at.key(key), message);
        }
        self.problems.clean_since(before).then_some(examples)
    }

    fn read_examples(&self, at: &Path, path: &str, columns: &[&str]) -> Result<Vec<Example>, SourceError> {
        let file = File { path: path.to_owned(), ..File::default() };
        let mut examples = Vec::new();
        for batch in file.read(self.folder)? {
            let batch = batch?;
            for index in 0..batch.num_rows().min(MOST + 1 - examples.len()) {
                let row = Row::new(&batch, index, examples.len() as u64);
                examples.push(example(row, columns, ExampleOrigin::File(at.clone(), examples.len() + 1)));
            }
            if examples.len() > MOST {
                break;
            }
        }
        if examples.iter().any(|example| example.answer.as_object().is_some_and(Map::is_empty)) {
            let message = format!("`{path}` has no column for the answer: all are columns of the input");
            return Err(SourceError::new(message)
                .help("put a plain text into the column `answer`, other answers into columns named like their keys"));
        }
        Ok(examples)
    }
}

/// Returns a row of a file as an example. All columns that the input lacks are the answer.
fn example(row: Row<'_>, columns: &[&str], origin: ExampleOrigin) -> Example {
    let (mut given, mut keys) = (Map::new(), Map::new());
    let mut text = None;
    for (i, field) in row.batch().schema_ref().fields().iter().enumerate() {
        let (name, value) = (field.name(), row.cell(i).json());
        if columns.contains(&name.as_str()) {
            given.insert(name.clone(), value);
        } else if name == ANSWER {
            text = Some(value);
        } else {
            let key = name.strip_prefix(ANSWER).and_then(|rest| rest.strip_prefix('.')).unwrap_or(name);
            keys.insert(key.to_owned(), value);
        }
    }
    let answer = text.filter(|_| keys.is_empty()).unwrap_or(Value::Object(keys));
    Example { row: given, answer, origin }
}
