//! The command `fanfold show`.

use std::path::PathBuf;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{Schema, SchemaRef};
use arrow_select::concat::concat_batches;
use arrow_select::filter::filter_record_batch;
use indexmap::IndexSet;

use super::past_run::PastRun;
use super::{Exit, Failure, Terminal, load_spec, only_spec};
use crate::document::{self, Diagnostic};
use crate::name::suggestion;
use crate::output::csv_text;
use crate::prompt::{BoundCondition, ConditionError};
use crate::report::text::{count, number};
use crate::report::{findings, preview};
use crate::spec::Spec;
use crate::store::StoredTable;
use crate::table::Row;

const ROWS: u64 = 20;
const CALLS: &str = "calls";
/// The columns of the calls table that are shown by default.
const CALL_COLUMNS: [&str; 9] =
    ["row", "row_key", "stage", "model", "reply", "error", "prompt_tokens", "completion_tokens", "at"];

/// Shows the rows of a table: an output or a stage of the last run, the calls of that run, or a file.
///
/// `fanfold show SPEC calls --csv` writes the calls table as CSV to standard output. Sends and writes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// A spec, or a table (.parquet, .csv, .tsv or .jsonl) [default: the only spec of this folder].
    #[arg(default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    spec: PathBuf,
    /// An output or a stage of the spec, or `calls` [default: the first output].
    table: Option<String>,
    /// Only rows for which this condition holds, such as "tone == 'neutral'".
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Only these columns.
    #[arg(long, value_name = "COLUMN", value_delimiter = ',')]
    columns: Vec<String>,
    /// At most N rows [default: 20, with `--csv` all].
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Write CSV.
    #[arg(long)]
    csv: bool,
}

impl Show {
    pub(crate) fn run(mut self, terminal: &Terminal) -> Result<Exit, Failure> {
        if self.table.is_none() && !only_spec::names_file(&self.spec) {
            let spec = only_spec::only_spec().map_err(|error| Failure::from(&error))?;
            self.table = Some(std::mem::replace(&mut self.spec, spec).display().to_string());
        }
        let table = self.table(terminal)?;
        let condition = self.condition.as_deref().map(|source| bound(source, &table.schema())).transpose()?;
        let most = self.limit.or((!self.csv).then_some(ROWS));
        let columns = self.places(&table.schema())?;
        let (batches, found) = chosen(&table, condition.as_ref(), most, &columns)?;
        let schema = std::sync::Arc::new(table.schema().project(&columns).map_err(|error| broken(&error))?);
        if self.csv {
            return print_csv(&schema, &batches, terminal);
        }
        if findings::is_tidy(&table.schema()) && self.condition.is_none() {
            let all: Result<Vec<RecordBatch>, String> = table.read().and_then(Iterator::collect);
            findings::lines(&all.unwrap_or_default()).iter().for_each(|line| terminal.note(line));
        }
        let rows = concat_batches(&schema, &batches).map_err(|error| broken(&error))?;
        terminal.text(&preview::table(&rows, terminal.width()));
        let shown = rows.num_rows() as u64;
        let of = if self.condition.is_some() { "that match" } else { "in all" };
        let more =
            if found > shown { format!(" of {} {of}; `--limit N` shows more", number(found)) } else { String::new() };
        terminal.note(&format!("{}{more}", count(shown, "row")));
        Ok(Exit::Ok)
    }

    fn table(&self, terminal: &Terminal) -> Result<StoredTable, Failure> {
        if document::SpecFormat::of(&self.spec).is_none() {
            if let Some(name) = &self.table {
                let message = format!("`{}` is a table, so it has no table `{name}`", self.spec.display());
                return Err(Failure::new(Exit::Spec, message).help("name the spec: fanfold show SPEC TABLE"));
            }
            return StoredTable::file(&self.spec).map_err(|message| Failure::new(Exit::Environment, message));
        }
        let spec = load_spec(&self.spec, terminal)?;
        let name = self.name(&spec)?;
        let PastRun { dir, manifest, .. } = PastRun::last(spec, &self.spec, terminal)?;
        let table = match name.as_str() {
            CALLS => StoredTable::calls(&dir),
            name => match manifest.outputs.get(name) {
                // The table of a method or another transform has no answers, but it has parts.
                Some(facts) if !facts.codebook && !manifest.stages.contains_key(&facts.input) => {
                    StoredTable::stage(&dir, &facts.input).or_else(|_| StoredTable::output(&dir, &manifest, name))
                }
                Some(_) => StoredTable::output(&dir, &manifest, name),
                None => StoredTable::stage(&dir, name),
            },
        };
        table.map_err(|why| Failure::new(Exit::Environment, format!("the table `{name}` can't be shown: {why}")))
    }

    /// The name of the table, which must be in the spec.
    fn name(&self, spec: &Spec) -> Result<String, Failure> {
        let outputs = spec.outputs.keys().map(|name| name.as_str());
        let made = spec.tables().filter(|(_, table)| table.as_source().is_none()).map(|(_, table)| table.name());
        let names: Vec<&str> = outputs.chain(made).filter(|name| !name.contains('.')).chain([CALLS]).collect();
        let name = self.table.as_deref().or(names.first().copied()).unwrap_or(CALLS);
        if names.contains(&name) {
            return Ok(name.to_owned());
        }
        let known: IndexSet<&str> = names.into_iter().collect();
        let help = suggestion(name, "there are", known);
        Err(Failure::new(Exit::Spec, format!("there is no output or stage `{name}`")).help_if(help))
    }

    /// The places of the chosen columns.
    fn places(&self, schema: &SchemaRef) -> Result<Vec<usize>, Failure> {
        let all = || (0..schema.fields().len()).collect::<Vec<_>>();
        if self.columns.is_empty() {
            let is_calls = self.table.as_deref() == Some(CALLS) && !self.csv;
            let places = CALL_COLUMNS.iter().filter_map(|name| schema.index_of(name).ok());
            return Ok(if is_calls { places.collect() } else { all() });
        }
        let place = |name: &String| {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            schema.index_of(name).map_err(|_| {
                Failure::new(Exit::Spec, format!("there is no column `{name}`")).help_if(suggestion(
                    name,
                    "there are",
                    names,
                ))
            })
        };
        self.columns.iter().map(place).collect()
    }
}

fn bound(source: &str, schema: &SchemaRef) -> Result<BoundCondition, Failure> {
    let failure = |message: String| Failure::new(Exit::Spec, message);
    let root = document::Path::root();
    BoundCondition::new(source, schema, &[]).map_err(|error| {
        let problems = match error {
            ConditionError::Unknown(unknown) => unknown.problems(&root, "the condition of `--where`", schema),
            error => error.problems(&root),
        };
        let Some(Diagnostic { message, help, .. }) = problems.into_iter().next() else {
            return failure("the condition of `--where` can't be read".to_owned());
        };
        failure(message.replacen("the condition does", "the condition of `--where` does", 1)).help_if(help)
    })
}

/// The rows for which the condition holds, at most `most` of them, and the number of all such rows.
fn chosen(
    table: &StoredTable,
    condition: Option<&BoundCondition>,
    most: Option<u64>,
    columns: &[usize],
) -> Result<(Vec<RecordBatch>, u64), Failure> {
    let unreadable = |message: String| Failure::new(Exit::Environment, message);
    let (mut kept, mut found, mut first) = (Vec::new(), 0, 0);
    for batch in table.read().map_err(unreadable)? {
        let mut batch = batch.map_err(unreadable)?;
        let rows = batch.num_rows() as u64;
        if let Some(condition) = condition {
            let holds = |row: usize| condition.holds(Row::new(&batch, row, first), &[]);
            let mask: Result<Vec<bool>, String> = (0..batch.num_rows()).map(holds).collect();
            let mask =
                mask.map_err(|message| Failure::new(Exit::Spec, format!("the condition of `--where`: {message}")))?;
            batch = filter_record_batch(&batch, &BooleanArray::from(mask)).map_err(|error| broken(&error))?;
        }
        first += rows;
        let room = most.map_or(u64::MAX, |most| most.saturating_sub(found));
        found += batch.num_rows() as u64;
        let taken = (batch.num_rows() as u64).min(room) as usize;
        if taken > 0 {
            kept.push(batch.slice(0, taken).project(columns).map_err(|error| broken(&error))?);
        }
    }
    Ok((kept, found))
}

/// Prints the rows in the CSV format of outputs.
fn print_csv(schema: &Schema, batches: &[RecordBatch], terminal: &Terminal) -> Result<Exit, Failure> {
    let text = csv_text(schema, batches).map_err(|error| broken(&error))?;
    terminal.data(&text);
    Ok(Exit::Ok)
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Environment, format!("the table can't be shown: {error}"))
}
