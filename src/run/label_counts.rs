//! Label counts: counts how often each label was answered, by column, for the summary of a run.

use crate::ask::Exchange;
use crate::plan::Plan;
use crate::spec::{Form, StageSpec};
use crate::stage::MOST_LABELS;
use crate::store::{Share, Shares, StageShape};
use crate::table::Cell;

pub(crate) struct LabelCounts {
    /// The label columns of each model; one list if the models share the rows.
    models: Vec<Vec<Column>>,
}

#[derive(Clone)]
struct Column {
    name: String,
    cell: usize,
    key: String,
    share: Share,
}

impl LabelCounts {
    /// Starts all counts at 0. Models that are all asked about every row are counted separately.
    pub(crate) fn new(plan: &Plan, stage: &StageSpec) -> LabelCounts {
        let shape = StageShape::of(&plan.spec, stage);
        let answers: Vec<_> = shape.adds.iter().filter(|column| !column.from.is_empty()).collect();
        let info = &stage.stage.info;
        let writes = &info.writes;
        let mut columns: Vec<Column> = Vec::new();
        for (cell, (write, labels)) in writes.iter().zip(&info.labels).enumerate() {
            if (1..=MOST_LABELS).contains(&labels.len()) {
                let key = info.answer_key(cell).unwrap_or(&write.name).to_owned();
                let share = Share { labels: labels.iter().map(|label| (label.clone(), 0)).collect(), null: 0 };
                columns.push(Column { name: write.name.clone(), cell, key, share });
            }
        }
        let named = |model: usize| -> Vec<Column> {
            let mut columns = columns.clone();
            for column in &mut columns {
                column.name = match stage.answers.form {
                    Form::Wide => answers[model * writes.len() + column.cell].name.clone(),
                    Form::Long => format!("{} ({})", column.name, stage.model_names[model]),
                    Form::Dealt => continue,
                };
            }
            columns
        };
        LabelCounts { models: (0..stage.answers.models_per_row()).map(named).collect() }
    }

    /// Counts the answer in the slot at `place` of its row; `asked` are its exchanges if no call failed.
    pub(crate) fn add(&mut self, place: usize, cells: &[Cell], asked: Option<&[Exchange]>) {
        let model = place % self.models.len();
        for column in &mut self.models[model] {
            let label = match &cells[column.cell] {
                Cell::Text(text) => column.share.labels.get_mut(text.as_str()),
                Cell::Integer(number) => column.share.labels.get_mut(&number.to_string()),
                Cell::Boolean(truth) => column.share.labels.get_mut(if *truth { "true" } else { "false" }),
                Cell::Null => {
                    let mut asked = asked.unwrap_or_default().iter();
                    column.share.null += u64::from(asked.any(|(prompt, _)| prompt.expect.has_key(&column.key)));
                    None
                }
                Cell::Number(_) | Cell::List(_) | Cell::Object(_) => None,
            };
            if let Some(count) = label {
                *count += 1;
            }
        }
    }

    pub(crate) fn finish(self) -> Shares {
        self.models.into_iter().flatten().map(|column| (column.name, column.share)).collect()
    }
}
