//! Labels: how often each was given, column by column, for the summary of a run.

use serde_json::Value;

use super::block::Asked;
use crate::plan::Plan;
use crate::spec::{Form, StageSpec};
use crate::store::{Share, Shares, StageShape};
use crate::table::{Cell, Type};

/// A column with more labels than this is no column of labels.
const MOST: usize = 20;

/// The count of the labels in some rows of a stage.
pub struct Count {
    /// The columns of labels, of each model that has counts of its own.
    models: Vec<Vec<Column>>,
}

/// A column of labels.
#[derive(Clone)]
struct Column {
    name: String,
    /// Its place among the cells of an answer.
    cell: usize,
    /// The key of the reply that it comes from.
    key: String,
    share: Share,
}

impl Count {
    /// Nothing counted yet; each model has counts of its own where every one is asked about every row.
    pub fn new(plan: &Plan, stage: &StageSpec) -> Count {
        let shape = StageShape::of(&plan.spec, stage);
        let answers: Vec<_> = shape.adds.iter().filter(|column| !column.from.is_empty()).collect();
        let meaning = stage.stage.meaning();
        let writes = stage.stage.writes();
        let mut columns: Vec<Column> = Vec::new();
        for (cell, (write, added)) in writes.iter().zip(&answers).enumerate() {
            let key = added.from.last().filter(|_| added.schema.is_some()).unwrap_or(&write.name).clone();
            let labels = match (write.kind, &added.schema) {
                (Type::Boolean, _) => vec!["true".to_owned(), "false".to_owned()],
                // Behind the answer of a key stands what else is known of it: a probability, a quote.
                (Type::Text | Type::Integer, _) if columns.iter().any(|column| column.key == key) => Vec::new(),
                (Type::Text | Type::Integer, Some(schema)) => options(&schema["enum"]),
                (Type::Text | Type::Integer, None) => of_question(&meaning, &write.name),
                (Type::Number | Type::List(_), _) => Vec::new(),
            };
            if (1..=MOST).contains(&labels.len()) {
                let share = Share { labels: labels.into_iter().map(|label| (label, 0)).collect(), null: 0 };
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
        Count { models: (0..stage.answers.models_per_row()).map(named).collect() }
    }

    /// Counts the answer in the slot at `place` of its row, with what was asked for it if it has come to its end.
    pub fn add(&mut self, place: usize, cells: &[Cell], asked: Option<&[Asked]>) {
        let model = place % self.models.len();
        for column in &mut self.models[model] {
            let label = match &cells[column.cell] {
                Cell::Text(text) => column.share.labels.get_mut(text.as_str()),
                Cell::Integer(number) => column.share.labels.get_mut(&number.to_string()),
                Cell::Boolean(truth) => column.share.labels.get_mut(if *truth { "true" } else { "false" }),
                Cell::Null => {
                    let wanted = asked.unwrap_or_default().iter().filter_map(|(prompt, _)| prompt.schema.as_deref());
                    let mut wanted = wanted.map(|schema| &schema["properties"]);
                    column.share.null += u64::from(wanted.any(|keys| keys.get(&column.key).is_some()));
                    None
                }
                Cell::Number(_) | Cell::List(_) => None,
            };
            if let Some(count) = label {
                *count += 1;
            }
        }
    }

    /// The counts by column.
    pub fn finish(self) -> Shares {
        self.models.into_iter().flatten().map(|column| (column.name, column.share)).collect()
    }
}

/// What can be chosen, if that is a list of texts or whole numbers; null is no label.
fn options(list: &Value) -> Vec<String> {
    let label = |option: &Value| match option {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() => Some(number.to_string()),
        _ => None,
    };
    list.as_array()
        .into_iter()
        .flatten()
        .filter(|option| !option.is_null())
        .map(label)
        .collect::<Option<_>>()
        .unwrap_or_default()
}

/// What can be chosen in answer to the question of a survey that has this column.
fn of_question(meaning: &Value, column: &str) -> Vec<String> {
    let questions = meaning["questions"].as_array().into_iter().flatten();
    let Some(form) = questions.clone().find(|question| question["id"] == column).map(|question| &question["form"])
    else {
        return Vec::new();
    };
    match (form["scale"][0].as_f64(), form["scale"][1].as_f64()) {
        // A longer one has more labels than are counted.
        (Some(low), Some(high)) => (low as i64..=high as i64).take(MOST + 1).map(|n| n.to_string()).collect(),
        _ => options(&form["options"]),
    }
}
