//! Descriptions of the columns of a table, for a codebook.

use arrow_array::RecordBatch;

use super::names::{Rules, SPSS, STATA};
use super::origin::{Absence, Origin, Reason, Role, absence, origin};
use super::table::Output;
use super::variables::{Variable, variables};
use crate::spec::{Spec, StageSpec, TableFormat};
use crate::store::StoreError;
use crate::table::{Cell, Labels, Type, cell_at};

/// What is known about a column.
pub(crate) struct Description {
    pub(crate) name: String,
    /// The label, the question of a survey, or the description of the key.
    pub(crate) question: String,
    pub(crate) kind: String,
    /// Codes with their texts, or the options.
    pub(crate) labels: Vec<String>,
    /// The smallest and the largest value; of free text, the numbers of characters.
    pub(crate) range: Option<[String; 2]>,
    pub(crate) unit: &'static str,
    pub(crate) rows: u64,
    pub(crate) missing: u64,
    pub(crate) failed: u64,
    pub(crate) not_asked: u64,
    pub(crate) source: String,
    pub(crate) models: Vec<String>,
    /// The stage whose prompt the column answers.
    pub(crate) stage: Option<String>,
}

/// What the cells of a column have shown so far.
#[derive(Default)]
struct Seen {
    whole: Option<(i64, i64)>,
    numbers: Option<(f64, f64)>,
    texts: Option<(String, String)>,
    lengths: Option<(usize, usize)>,
    missing: u64,
    failed: u64,
    not_asked: u64,
}

pub(crate) fn describe(output: &Output<'_>) -> Result<Vec<Description>, StoreError> {
    let (spec, input) = (output.spec, output.output.input);
    let stored = match output.output.holds {
        TableFormat::Dta => Some(stored(output, &STATA)?),
        TableFormat::Sav => Some(stored(output, &SPSS)?),
        _ => None,
    };
    let columns = &output.output.columns;
    let absences: Vec<Option<Absence>> = columns.iter().map(|index| absence(spec, input, *index)).collect();
    let mut seen: Vec<Seen> = columns.iter().map(|_| Seen::default()).collect();
    let mut rows = 0;
    for batch in (output.read)() {
        let batch = batch?;
        rows += batch.num_rows() as u64;
        for ((seen, index), absence) in seen.iter_mut().zip(columns).zip(&absences) {
            (0..batch.num_rows()).for_each(|row| seen.add(&batch, *index, row, absence.as_ref()));
        }
    }
    let described = seen.into_iter().enumerate().map(|(at, seen)| {
        let field = output.output.schema.field(at);
        let origin = origin(spec, input, columns[at]);
        let variable = stored.as_ref().map(|variables| &variables[at]);
        let mut labels = Labels::of(field);
        if labels.values.is_empty() {
            labels.values = origin.codes();
        }
        let values = variable.map_or(&labels.values, |variable| &variable.values);
        let mut texts: Vec<String> = values.iter().map(|(code, text)| format!("{} = {text}", code.text())).collect();
        if texts.is_empty() {
            texts = origin.choices();
        }
        texts.extend(variable.iter().flat_map(|variable| variable.missing_labels(output.output.holds)));
        let is_text = texts.is_empty() && Type::of_cells(field.data_type()) == Type::Text;
        let (range, unit) = seen.range(is_text);
        Description {
            name: variable.map_or_else(|| field.name().clone(), |variable| variable.name.clone()),
            question: labels.variable.or_else(|| origin.question().map(str::to_owned)).unwrap_or_default(),
            kind: kind(field.data_type()),
            labels: texts,
            range,
            unit,
            rows,
            missing: seen.missing,
            failed: seen.failed,
            not_asked: seen.not_asked,
            source: source(&origin),
            models: models(spec, &origin),
            stage: answered(&origin).map(|stage| stage.name.to_string()),
        }
    });
    Ok(described.collect())
}

fn stored(output: &Output<'_>, rules: &Rules) -> Result<Vec<Variable>, StoreError> {
    variables(output, rules).map(|(variables, _)| variables)
}

impl Seen {
    fn add(&mut self, batch: &RecordBatch, index: usize, row: usize, absence: Option<&Absence>) {
        let array = batch.column(index).as_ref();
        if array.is_null(row) {
            self.missing += 1;
            match absence.and_then(|absence| absence.reason(batch, row)) {
                Some(Reason::Failed) => self.failed += 1,
                Some(Reason::NotAsked) => self.not_asked += 1,
                None => {}
            }
            return;
        }
        match cell_at(array, row) {
            Cell::Integer(number) => {
                let (low, high) = self.whole.unwrap_or((number, number));
                self.whole = Some((low.min(number), high.max(number)));
            }
            Cell::Number(number) => {
                let (low, high) = self.numbers.unwrap_or((number, number));
                self.numbers = Some((low.min(number), high.max(number)));
            }
            Cell::Text(text) => {
                let length = text.chars().count();
                let (low, high) = self.lengths.unwrap_or((length, length));
                self.lengths = Some((low.min(length), high.max(length)));
                if !array.data_type().is_temporal() {
                    return;
                }
                match &mut self.texts {
                    None => self.texts = Some((text.clone(), text)),
                    Some((low, _)) if text < *low => *low = text,
                    Some((_, high)) if text > *high => *high = text,
                    Some(_) => {}
                }
            }
            _ => {}
        }
    }

    /// The range and its unit.
    fn range(&self, is_text: bool) -> (Option<[String; 2]>, &'static str) {
        let whole = self.whole.map(|(low, high)| [low.to_string(), high.to_string()]);
        let numbers = self.numbers.map(|(low, high)| [low, high].map(|number| Cell::Number(number).text()));
        let texts = self.texts.clone().map(|(low, high)| [low, high]);
        let lengths = self.lengths.filter(|_| is_text).map(|(low, high)| [low.to_string(), high.to_string()]);
        match whole.or(numbers).or(texts) {
            None if self.lengths == Some((1, 1)) => (lengths, " character"),
            None => (lengths, " characters"),
            range => (range, ""),
        }
    }
}

fn kind(arrow: &arrow_schema::DataType) -> String {
    use arrow_schema::DataType;
    match arrow {
        DataType::Date32 => "date".to_owned(),
        DataType::Date64 | DataType::Timestamp(..) => "date and time".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        _ => Type::of_cells(arrow).words().to_owned(),
    }
}

/// The stage whose answers the column holds.
fn answered<'a>(origin: &Origin<'a>) -> Option<&'a StageSpec> {
    match origin.role {
        Role::Answer { stage, .. } => Some(stage),
        _ => origin.filled,
    }
}

fn source(origin: &Origin<'_>) -> String {
    let of = |stage: &StageSpec| format!("stage {} ({})", stage.name, stage.stage.info.kind);
    let from = match origin.role {
        Role::Source(source) => format!("source {}", source.name),
        Role::Made(transform) => format!("stage {} ({})", transform.name, transform.transform.info.kind),
        Role::Answer { stage, .. } => of(stage),
        Role::Model(stage) => format!("{}, the model that answered", of(stage)),
        Role::Replicate(stage) => format!("{}, the number of the replicate", of(stage)),
        Role::Corrected(stage) => format!("{}, the answers that people have corrected", of(stage)),
        Role::Error(stage) => format!("{}, the error of the call", of(stage)),
    };
    origin.filled.map_or(from.clone(), |stage| format!("{from}, filled by {}", of(stage)))
}

fn models(spec: &Spec, origin: &Origin<'_>) -> Vec<String> {
    let Some(stage) = answered(origin) else { return Vec::new() };
    let own = if let Role::Answer { model, .. } = origin.role { model } else { None };
    let shown = |index: &usize| {
        let (name, model) = spec.model(*index);
        format!("{name} ({} {})", spec.endpoints[&model.endpoint].endpoint.kind(), model.model.id)
    };
    let models = stage.models.iter().enumerate().filter(|(at, _)| own.is_none_or(|own| own == *at));
    models.map(|(_, index)| shown(index)).collect()
}
