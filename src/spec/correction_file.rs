//! Files of corrections: reads and checks the file that the field `corrections` of a stage names.

use std::collections::HashMap;

use super::columns::{Answers, ColumnRole, Relation};
use super::corrections::{CorrectedCell, Correction, Corrections};
use super::resolve::Resolver;
use super::table::StageSpec;
use crate::document::Path;
use crate::name::{listed, nearest};
use crate::source::{File, Source, SourceError};
use crate::stage::StageInfo;
use crate::table::{Cell, cell_at};
use arrow_schema::Schema;

const HELP: &str = "its columns are `row` (the key of the row), `column`, `value`, and if you like `by`, `reason`, `model` \
                    and `replicate`";

/// The columns of a stage, for its corrections.
pub(super) struct Corrected<'a> {
    pub(super) info: &'a StageInfo,
    pub(super) answers: &'a Answers,
    pub(super) models: &'a [String],
    /// The table of the stage, and the number of its columns that come from the input.
    pub(super) relation: &'a Relation,
    pub(super) given: usize,
}

impl Resolver<'_> {
    /// Reads and checks the corrections in the file `path`. A correction of a column that is gone is a warning.
    pub(super) fn corrections(&mut self, at: &Path, path: &str, stage: &Corrected<'_>) -> Option<Corrections> {
        let at = at.key("corrections");
        if !self.inside(at.clone(), path) {
            return None;
        }
        self.reads.borrow_mut().insert(path.to_owned());
        let key = stage.relation.key.map(|key| stage.relation.schema.field(key).name().as_str());
        let read = match self.read_corrections(path, key) {
            Ok(read) => read,
            Err(error) => {
                let help = error.help.unwrap_or_else(|| HELP.to_owned());
                self.error("unreadable-file", at, error.message).help(help);
                return None;
            }
        };
        let before = self.problems.mark();
        let mut corrections = Corrections { path: path.to_owned(), ..Corrections::default() };
        let mut seen: HashMap<(String, String, Option<String>, Option<u64>), usize> = HashMap::new();
        for (number, correction) in (1..).zip(read) {
            let place = format!("{path}: row {number} ({})", correction.row);
            let Correction { row, column, model, replicate, .. } = correction.clone();
            if let Some(first) = seen.insert((row, column, model, replicate), number) {
                let message = format!("{place}: row {first} corrects `{}` of the same row", correction.column);
                self.error("bad-correction", at.clone(), message).help("remove one of them");
                continue;
            }
            match stage.cell(&correction) {
                Ok(cell) => corrections.rows.entry(correction.row).or_default().push(cell),
                Err(Unfit::Gone(message)) => {
                    let help = "remove the correction, or restore the column";
                    self.problems.warning("lost-correction", at.clone(), format!("{place}: {message}")).help(help);
                }
                Err(Unfit::Wrong(message, help)) => {
                    self.error("bad-correction", at.clone(), format!("{place}: {message}")).help_if(help);
                }
            }
        }
        self.problems.clean_since(before).then_some(corrections)
    }

    fn read_corrections(&self, path: &str, key: Option<&str>) -> Result<Vec<Correction>, SourceError> {
        let file = File { path: path.to_owned(), ..File::default() };
        let mut found = Vec::new();
        for batch in file.read(self.folder)? {
            let batch = batch?;
            let places = places(batch.schema_ref(), path, key)?;
            for row in 0..batch.num_rows() {
                let text = |place: Option<usize>| match cell_at(batch.column(place?).as_ref(), row) {
                    Cell::Null => None,
                    cell => Some(cell.text()),
                };
                let [of, column, value, model, replicate, by, reason] = places.map(text);
                let number = found.len() + 1;
                let missing = |name: &str| {
                    let message = format!("row {number} has no {name}");
                    SourceError::of_file(path, message).help(HELP)
                };
                let replicate = replicate.map(|text| {
                    let wrong = || {
                        SourceError::of_file(
                            path,
                            format!("row {number}: `replicate` is {text:?}, not a number from 1"),
                        )
                    };
                    text.trim().parse::<u64>().map_err(|_| wrong())
                });
                found.push(Correction {
                    row: of.ok_or_else(|| missing("row"))?,
                    column: column.ok_or_else(|| missing("column"))?,
                    model,
                    replicate: replicate.transpose()?,
                    value,
                    by,
                    reason,
                });
            }
        }
        Ok(found)
    }
}

/// The places of the columns of the file: row, column, value, model, replicate, by, reason.
fn places(schema: &Schema, path: &str, key: Option<&str>) -> Result<[Option<usize>; 7], SourceError> {
    let find = |name: &str| schema.index_of(name).ok();
    let names = ["row", "column", "value", "model", "replicate", "by", "reason"];
    let mut places = names.map(find);
    places[0] = places[0].or(key.and_then(find));
    for (name, place) in names.iter().zip(&places).take(3) {
        if place.is_none() {
            return Err(SourceError::of_file(path, format_args!("has no column `{name}`")).help(HELP));
        }
    }
    let known = |name: &str| names.contains(&name) || Some(name) == key;
    if let Some(field) = schema.fields().iter().find(|field| !known(field.name())) {
        return Err(SourceError::of_file(path, format_args!("has the unknown column `{}`", field.name())).help(HELP));
    }
    Ok(places)
}

impl StageSpec {
    /// Checks a correction like those of the file. The error is a sentence.
    pub(crate) fn check_correction(&self, correction: &Correction) -> Result<(), String> {
        match self.corrected().cell(correction) {
            Ok(_) => Ok(()),
            Err(Unfit::Gone(message)) => Err(message),
            Err(Unfit::Wrong(message, help)) => Err(help.map_or(message.clone(), |help| format!("{message}; {help}"))),
        }
    }

    /// What a value of an answer column must be, and its labels.
    pub(crate) fn answer_words(&self, column: usize) -> (String, Vec<String>) {
        let place = self.corrected().place(column).map(|(place, _)| place).unwrap_or_default();
        let kind = self.stage.info.answer_type(place, self.relation.schema.field(column).data_type());
        (kind.words(), kind.labels())
    }

    fn corrected(&self) -> Corrected<'_> {
        let StageSpec { stage, answers, model_names: models, relation, given, .. } = self;
        Corrected { info: &stage.info, answers, models, relation, given: *given }
    }
}

enum Unfit {
    /// The column or the model does not exist.
    Gone(String),
    /// The message and its help.
    Wrong(String, Option<String>),
}

impl Corrected<'_> {
    fn cell(&self, correction: &Correction) -> Result<CorrectedCell, Unfit> {
        let name = &correction.column;
        let gone = || Unfit::Gone(format!("the stage has no column `{name}`"));
        let column = self.relation.schema.index_of(name).map_err(|_| gone())?;
        let (place, model) = self.place(column)?;
        if let Some(model) = correction.model.as_ref().filter(|model| !self.models.contains(*model)) {
            return Err(Unfit::Gone(format!("the stage has no model `{model}`")));
        }
        let replicates = self.answers.replicates as u64;
        if let Some(number) = correction.replicate.filter(|number| !(1..=replicates).contains(number)) {
            return Err(Unfit::Gone(format!("the stage has no replicate {number}")));
        }
        let cell = match &correction.value {
            None => Cell::Null,
            Some(value) => self.value(place, column, value)?,
        };
        Ok(CorrectedCell { place, model, cell, correction: correction.clone() })
    }

    /// The place of a column among the cells of an answer, and its model if each model has its own columns.
    fn place(&self, column: usize) -> Result<(usize, Option<usize>), Unfit> {
        let (info, name) = (self.info, self.relation.schema.field(column).name());
        let fill = info.fills.iter().position(|fill| *fill == column);
        match (column.checked_sub(self.given), fill) {
            (None, Some(fill)) => Ok((info.writes.len() + fill, None)),
            (None, None) => {
                let message = format!("`{name}` is a column of the input, and only answers are corrected");
                Err(Unfit::Wrong(message, Some("correct the source instead".to_owned())))
            }
            (Some(added), _) => match self.answers.role(info.writes.len(), added) {
                ColumnRole::Answer { model, write } => Ok((write, model)),
                _ => Err(Unfit::Wrong(format!("`{name}` is not an answer"), None)),
            },
        }
    }

    /// The cell of a value. It is checked like an answer.
    fn value(&self, place: usize, column: usize, value: &str) -> Result<Cell, Unfit> {
        let kind = self.info.answer_type(place, self.relation.schema.field(column).data_type());
        let wrong = || {
            let name = self.relation.schema.field(column).name();
            let message = format!("`{name}` must be {}, not {value:?}", kind.words());
            let labels = kind.labels();
            let near = nearest(value, labels.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
            let all = || (!labels.is_empty()).then(|| format!("write {}", listed(labels.iter().map(String::as_str))));
            Unfit::Wrong(message, near.or_else(all))
        };
        kind.read_text(value).ok_or_else(wrong)
    }
}
