//! Columns: decides which rows are asked, and makes the output rows from their answers.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::ArrowError;
use arrow_select::take::take_record_batch;

use crate::prompt::{Failure, FailureKind};
use crate::spec::{Form, StageSpec};
use crate::table::{Cell, Row, Type, array_of, narrowed};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Asked,
    /// A column that the prompts read is null or empty, or the stage's condition is false.
    Skipped,
    Failed(Failure),
}

/// The fates of the rows of `input`, whose first row has the number `first_row`, from 0.
pub(crate) fn fates(stage: &StageSpec, input: &RecordBatch, first_row: u64) -> Vec<Fate> {
    let mut fates = vec![Fate::Asked; input.num_rows()];
    for guard in &stage.guards {
        let found = guard.found(input);
        for (_, fate) in fates.iter_mut().enumerate().filter(|(row, _)| found(*row)) {
            *fate = Fate::Skipped;
        }
    }
    let Some(when) = &stage.when else { return fates };
    for (row, fate) in fates.iter_mut().enumerate().filter(|(_, fate)| **fate == Fate::Asked) {
        match when.holds(Row::new(input, row, first_row), &[]) {
            Ok(true) => {}
            Ok(false) => *fate = Fate::Skipped,
            Err(message) => *fate = Fate::Failed(FailureKind::When.because(message)),
        }
    }
    fates
}

pub(crate) struct OutputSlot<'a> {
    pub(crate) cells: Vec<Cell>,
    pub(crate) who: Option<&'a str>,
    pub(crate) failure: Option<&'a Failure>,
    /// The cells that people have corrected, and these corrections in words.
    pub(crate) corrected: Vec<usize>,
    pub(crate) source: Option<String>,
}

impl<'a> OutputSlot<'a> {
    pub(crate) fn new(cells: Vec<Cell>, who: Option<&'a str>, failure: Option<&'a Failure>) -> Self {
        OutputSlot { cells, who, failure, corrected: Vec::new(), source: None }
    }
}

/// The output rows of `input`. Slots are ordered by row, then replicate, then model.
pub(crate) fn columns(
    stage: &StageSpec,
    input: &RecordBatch,
    slots: &[OutputSlot<'_>],
) -> Result<RecordBatch, ArrowError> {
    let answers = &stage.answers;
    let (models, fold, names) = (answers.models, answers.fold() as usize, &stage.model_names);
    let rows = input.num_rows() * fold;
    let column = |kind: Type, cell: usize, from: usize, step: usize| {
        array_of(kind, (from..slots.len()).step_by(step).map(|slot| &slots[slot].cells[cell]))
    };
    // The columns of every `step`-th slot, beginning with slot `from`.
    let block = |from: usize, step: usize| -> Vec<ArrayRef> {
        let answers = stage.stage.info.writes.iter().enumerate().map(|(c, w)| column(w.kind, c, from, step));
        let failures = slots[from..].iter().step_by(step).map(|slot| slot.failure.map(Failure::to_string));
        let who = || slots[from..].iter().step_by(step).map(|slot| slot.who).collect::<StringArray>();
        let who = stage.answers.names_model().then(|| Arc::new(who()) as ArrayRef);
        let failures: ArrayRef = Arc::new(failures.collect::<StringArray>());
        let source = || slots[from..].iter().step_by(step).map(|slot| slot.source.as_deref()).collect::<StringArray>();
        let source = stage.answers.corrected.then(|| Arc::new(source()) as ArrayRef);
        answers.chain(who).chain(source).chain([failures]).collect()
    };
    let mut added: Vec<ArrayRef> = Vec::new();
    if answers.replicates > 1 {
        let every = fold / answers.replicates;
        let replicate = |row: usize| (row / every % answers.replicates) as i64 + 1;
        added.push(Arc::new(Int64Array::from_iter_values((0..rows).map(replicate))));
    }
    match answers.form {
        Form::Dealt => added.extend(block(0, 1)),
        Form::Wide => added.extend((0..models).flat_map(|model| block(model, models))),
        Form::Long => {
            let who = (0..rows).map(|i| Some(names[i % models].as_str())).collect::<StringArray>();
            added.push(Arc::new(who));
            added.extend(block(0, 1));
        }
    }
    let given = input.project(&(0..stage.given).collect::<Vec<_>>())?;
    let input = match fold {
        1 => given,
        _ => take_record_batch(&given, &UInt64Array::from_iter_values((0..rows).map(|row| (row / fold) as u64)))?,
    };
    let mut columns = input.columns().to_vec();
    for (i, filled) in stage.stage.info.fills.iter().enumerate() {
        let kind = Type::of(columns[*filled].data_type());
        if let Some(kind) = kind {
            let filling = column(kind, stage.stage.info.writes.len() + i, 0, 1);
            columns[*filled] = narrowed(filling, columns[*filled].data_type());
        }
    }
    columns.extend(added);
    RecordBatch::try_new(stage.relation.schema.clone(), columns)
}
