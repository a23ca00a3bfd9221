//! Layouts: which columns of a file are read, in which order and under which names.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use super::File;
use super::column_choice::{ColumnChoice, ColumnRef};
use crate::document::Path;
use crate::name::suggestion;
use crate::prompt::{BoundCondition, ConditionError};
use crate::source::batches::{SourceError, record_batch};
use crate::source::text::cell::no_column;
use crate::table::PathColumn;

/// The columns to read. Every reader returns these columns and no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The number of each column in the file, from 0, and its name in the table. Columns that only `where` reads are at
    /// the end.
    pub(crate) columns: Vec<(usize, String)>,
    /// The columns that are parts of nested columns: the place in `columns`, and the path.
    paths: BTreeMap<usize, String>,
}

impl Layout {
    /// The layout of a file with the columns `header`. Messages call the file `shown`; `place` is where the header is
    /// in it, and may be empty.
    pub(crate) fn new(file: &File, header: &[String], shown: &str, place: &str) -> Result<Layout, SourceError> {
        let header = named(file, header, shown)?;
        let mut columns = match &file.columns {
            None => {
                check_header(header, &format!("{shown}{place}"))?;
                header.iter().cloned().enumerate().collect()
            }
            Some(choices) => chosen(choices, header, shown)?,
        };
        read_by_condition(file, &mut columns, header, shown)?;
        let offered = offered(&columns, header);
        match file.types.keys().find(|name| !offered.iter().any(|(_, other)| other == *name)) {
            None => Ok(Layout { columns, paths: BTreeMap::new() }),
            Some(name) => {
                let names: Vec<String> = offered.into_iter().map(|(_, name)| name).collect();
                Err(no_column(name, &names, shown).at(["types", name]))
            }
        }
    }

    /// The layout of a file with the columns `all`, of which `columns` can choose parts: `user.name`.
    pub(crate) fn with_paths(file: &File, all: &SchemaRef, shown: &str) -> Result<Layout, SourceError> {
        let names: Vec<String> = all.fields().iter().map(|field| field.name().clone()).collect();
        let choices = file.columns.as_deref().unwrap_or_default();
        let paths: Vec<(usize, &str, &str)> = choices
            .iter()
            .enumerate()
            .filter_map(|(i, choice)| {
                let path = choice.path(&names)?;
                Some((i, path, choice.name.as_deref().unwrap_or(path)))
            })
            .collect();
        let whole = |i: usize| !paths.iter().any(|(path, ..)| *path == i);
        let chosen = choices.iter().enumerate().filter(|(i, _)| whole(*i)).map(|(_, choice)| choice.clone());
        let columns = file.columns.as_ref().map(|_| chosen.collect());
        let types = file.types.clone().into_iter().filter(|(name, _)| !paths.iter().any(|(.., other)| other == name));
        let plain = File { columns, types: types.collect(), condition: None, ..file.clone() };
        let mut layout = Layout::new(&plain, &names, shown, "")?;
        for (i, path, name) in paths {
            let at = |message: String| {
                SourceError::new(format!("{shown}: {message}")).at(["columns", i.to_string().as_str()])
            };
            if layout.columns.iter().any(|(_, other)| other == name) {
                return Err(
                    at(format!("`columns` has two columns called `{name}`")).help("give one of them another `name`")
                );
            }
            PathColumn::new(all, path).map_err(at)?;
            layout.paths.insert(i, path.to_owned());
            layout.columns.insert(i, (usize::MAX, name.to_owned()));
        }
        read_by_condition(file, &mut layout.columns, &names, shown)?;
        Ok(layout)
    }

    /// Whether it has parts of nested columns.
    pub(crate) fn has_paths(&self) -> bool {
        !self.paths.is_empty()
    }

    /// The columns of this layout, of a file with the columns `all`.
    pub(crate) fn schema(&self, all: &SchemaRef) -> SchemaRef {
        let field = |(place, (index, name)): (usize, &(usize, String))| {
            let path = self.paths.get(&place).and_then(|path| PathColumn::new(all, path).ok());
            let field = path.map_or_else(|| all.field(*index).clone(), |path| path.field().clone());
            field.with_name(name)
        };
        let fields: Vec<Field> = self.columns.iter().enumerate().map(field).collect();
        Arc::new(Schema::new_with_metadata(fields, all.metadata().clone()))
    }

    /// The columns of this layout, which have the schema `schema`, of a batch with all columns of the file.
    pub(crate) fn batch(
        &self,
        batch: &RecordBatch,
        schema: &SchemaRef,
        shown: &str,
    ) -> Result<RecordBatch, SourceError> {
        let array = |(place, (index, _)): (usize, &(usize, String))| match self.paths.get(&place) {
            Some(path) => PathColumn::new(batch.schema_ref(), path).and_then(|path| path.values(batch)),
            None => Ok(Arc::clone(batch.column(*index))),
        };
        let arrays = self.columns.iter().enumerate().map(array).collect::<Result<_, _>>();
        let arrays = arrays.map_err(|message: String| SourceError::new(message).at(["columns"]))?;
        record_batch(schema, arrays, batch.num_rows(), shown)
    }
}

/// The condition of `where`, over columns of `schema`.
pub(crate) fn bound(condition: &str, schema: &SchemaRef, shown: &str) -> Result<BoundCondition, SourceError> {
    BoundCondition::new(condition, schema, &[]).map_err(|error| {
        let error = match error {
            ConditionError::Unknown(unknown) if unknown.names().next().is_some() => {
                let name = unknown.names().next().unwrap_or_default();
                let known = schema.fields().iter().map(|field| field.name().as_str());
                let error = SourceError::new(format!("`where` uses `{name}`, but {shown} has no such column"));
                SourceError { help: suggestion(name, "the columns are", known), ..error }
            }
            error => {
                let found = error.problems(&Path::root()).into_iter().next();
                let (message, help) = found.map_or((String::new(), None), |found| (found.message, found.help));
                SourceError { help, ..SourceError::new(format!("`where`: {message}")) }
            }
        };
        error.at(["where"])
    })
}

/// The names of the file's columns: those in `names`, else those in the header.
fn named<'a>(file: &'a File, header: &'a [String], shown: &str) -> Result<&'a [String], SourceError> {
    let Some(names) = &file.names else { return Ok(header) };
    if names.len() == header.len() {
        return Ok(names);
    }
    let message = format!("`names` has {} names, {shown} has {} columns", names.len(), header.len());
    Err(SourceError::new(message).help("name every column of the file, in order").at(["names"]))
}

/// Without `columns` every column needs its own name.
fn check_header(header: &[String], place: &str) -> Result<(), SourceError> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (number, name) in (1..).zip(header) {
        let other = seen.insert(name, number);
        let (message, new) = match other {
            _ if name.trim().is_empty() => (format!("column {number} has no name"), format!("column_{number}")),
            Some(other) => {
                (format!("columns {other} and {number} are both called `{name}`"), format!("{name}_{number}"))
            }
            None => continue,
        };
        let help = format!(
            "choose columns by number, such as columns = [1, {{ from = {number}, name = \"{new}\" }}], or name all \
             columns of the file with `names`"
        );
        return Err(SourceError::new(format!("{place}: {message}")).help(help).at(["path"]));
    }
    Ok(())
}

fn chosen(choices: &[ColumnChoice], header: &[String], shown: &str) -> Result<Vec<(usize, String)>, SourceError> {
    let mut columns: Vec<(usize, String)> = Vec::with_capacity(choices.len());
    for (i, choice) in choices.iter().enumerate() {
        let at = |error: SourceError| error.at(["columns", i.to_string().as_str()]);
        let index = find(&choice.from, header, shown).map_err(at)?;
        let name = choice.name.as_ref().unwrap_or(&header[index]);
        if name.trim().is_empty() {
            let message = format!("{shown}: column {} has no name", index + 1);
            let help = format!("give it one: {{ from = {}, name = \"..\" }}", index + 1);
            return Err(at(SourceError::new(message).help(help)));
        }
        if columns.iter().any(|(other, _)| *other == index) {
            let message = format!("`columns` has column {} of {shown} twice", index + 1);
            return Err(at(SourceError::new(message).help("leave one of them out")));
        }
        if columns.iter().any(|(_, other)| other == name) {
            let message = format!("`columns` has two columns called `{name}`");
            return Err(at(SourceError::new(message).help("give one of them another `name`")));
        }
        columns.push((index, name.clone()));
    }
    Ok(columns)
}

fn find(column: &ColumnRef, header: &[String], shown: &str) -> Result<usize, SourceError> {
    let name = match column {
        ColumnRef::Number(number) if (1..=header.len()).contains(number) => return Ok(number - 1),
        ColumnRef::Number(number) => {
            let message = format!("{shown}: has no column {number}, only {}", header.len());
            return Err(SourceError::new(message));
        }
        ColumnRef::Name(name) => name,
    };
    let numbers: Vec<usize> = (0..header.len()).filter(|&i| header[i] == *name).collect();
    match numbers[..] {
        [] => Err(no_column(name, header, shown)),
        [one] => Ok(one),
        [first, second, ..] => {
            let (first, second) = (first + 1, second + 1);
            let message = format!("{shown}: columns {first} and {second} are both called `{name}`");
            Err(SourceError::new(message).help(format!("choose by number: {{ from = {second}, name = \"..\" }}")))
        }
    }
}

/// Adds the columns that only `where` reads to the `columns`.
fn read_by_condition(
    file: &File,
    columns: &mut Vec<(usize, String)>,
    header: &[String],
    shown: &str,
) -> Result<(), SourceError> {
    let Some(condition) = file.condition.as_deref() else { return Ok(()) };
    let offered = offered(columns, header);
    // Nothing is known of their types yet.
    let names: Vec<Field> = offered.iter().map(|(_, name)| Field::new(name, DataType::Null, true)).collect();
    let read = bound(condition, &Arc::new(Schema::new(names)), shown)?.reads();
    let chosen = columns.len();
    columns.extend(read.into_iter().filter(|&i| i >= chosen).map(|i| offered[i].clone()));
    Ok(())
}

/// The columns that `where` and `types` can name: the chosen ones, then the others that have their own name.
fn offered(columns: &[(usize, String)], header: &[String]) -> Vec<(usize, String)> {
    let mut count: HashMap<&str, usize> = HashMap::new();
    for name in header.iter().chain(columns.iter().map(|(_, name)| name)) {
        *count.entry(name).or_default() += 1;
    }
    let chosen: std::collections::HashSet<usize> = columns.iter().map(|(index, _)| *index).collect();
    let others = header.iter().enumerate().filter(|(i, name)| !chosen.contains(i) && count[name.as_str()] == 1);
    columns.iter().cloned().chain(others.map(|(i, name)| (i, name.clone()))).collect()
}
