//! Distributions: how far the ways to measure how probable each label is are from each other, and from the answers.

use arrow_array::RecordBatch;
use serde_json::{Map, Value, json};

use super::text::{count, figure, percent};
use crate::prompt::{Mode, read_distribution};
use crate::spec::{Form, StageSpec};
use crate::stats::{jensen_shannon, total_variation};
use crate::table::{Cell, cell_at};

/// The name of the answer among the ways to measure.
const ANSWER: &str = "answer";
/// Probabilities that differ by less are equal.
const EQUAL: f64 = 1e-12;

/// How two ways differ, over the rows that have both.
#[derive(Clone, Debug)]
pub(crate) struct Mismatch {
    pub(crate) question: String,
    /// The model, if several answer each row.
    pub(crate) model: Option<String>,
    pub(crate) of: [&'static str; 2],
    pub(crate) rows: u64,
    /// The sums over the rows; only of two distributions.
    total_variation: f64,
    jensen_shannon: f64,
    /// The rows in which no label is the likeliest one in both ways.
    other: u64,
}

impl Mismatch {
    fn mean(&self, sum: f64) -> Option<f64> {
        (self.rows > 0 && self.of[0] != ANSWER).then(|| sum / self.rows as f64)
    }

    pub(crate) fn total_variation(&self) -> Option<f64> {
        self.mean(self.total_variation)
    }

    pub(crate) fn jensen_shannon(&self) -> Option<f64> {
        self.mean(self.jensen_shannon)
    }

    /// The share of rows with another likeliest label.
    pub(crate) fn other(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.other as f64 / self.rows as f64)
    }

    fn text(&self) -> String {
        let model = self.model.as_ref().map_or(String::new(), |model| format!(" ({model})"));
        let between = format!("{}{model}: {} and {}", self.question, self.of[0], self.of[1]);
        let Some(other) = self.other() else { return format!("{between}: no row has both") };
        let distances = self.total_variation().zip(self.jensen_shannon());
        let distances = distances.map_or(String::new(), |(variation, divergence)| {
            format!("total variation {}, Jensen-Shannon {} bits, ", figure(variation), figure(divergence))
        });
        format!("{between}: {distances}another likeliest label in {} of {}", percent(other), count(self.rows, "row"))
    }

    fn json(&self) -> Value {
        json!({
            "model": self.model, "of": self.of, "rows": self.rows, "total_variation": self.total_variation(),
            "jensen_shannon": self.jensen_shannon(), "other_likeliest": self.other(),
        })
    }
}

/// The answers of one model to one question.
struct Question {
    labels: Vec<String>,
    answer: usize,
    modes: Vec<(Mode, usize)>,
    /// The first row about each input row, and the distance to the next.
    rows: (usize, usize),
    /// Of the answer and each mode, then of each pair of modes.
    found: Vec<Mismatch>,
}

/// The distributions of a stage.
#[derive(Default)]
pub(crate) struct Distributions(Vec<Question>);

impl Distributions {
    pub(crate) fn new(stage: &StageSpec) -> Distributions {
        let (info, answers) = (&stage.stage.info, &stage.answers);
        let models = answers.models_per_row();
        let mut questions = Vec::new();
        for distributed in &info.distributions {
            for model in 0..models {
                let wide = if answers.form == Form::Wide { model } else { 0 };
                let index = |write: usize| stage.given + answers.place(info.writes.len(), wide, write);
                let question = info.writes[distributed.answer].name.clone();
                let name = (models > 1).then(|| stage.model_names[model].clone());
                let modes = distributed.modes.iter().map(|(mode, write)| (*mode, index(*write)));
                let ways: Vec<&str> =
                    [ANSWER].into_iter().chain(distributed.modes.iter().map(|(mode, _)| mode.name())).collect();
                questions.push(Question {
                    labels: info.labels[distributed.answer].clone(),
                    answer: index(distributed.answer),
                    modes: modes.collect(),
                    rows: if answers.form == Form::Long { (model, models) } else { (0, 1) },
                    found: pairs(ways.len())
                        .map(|(a, b)| Mismatch {
                            question: question.clone(),
                            model: name.clone(),
                            of: [ways[a], ways[b]],
                            rows: 0,
                            total_variation: 0.0,
                            jensen_shannon: 0.0,
                            other: 0,
                        })
                        .collect(),
                });
            }
        }
        Distributions(questions)
    }

    /// Adds rows: all rows about each input row.
    pub(crate) fn add(&mut self, rows: &RecordBatch) {
        for question in &mut self.0 {
            let (first, step) = question.rows;
            (first..rows.num_rows()).step_by(step).for_each(|row| question.add(rows, row));
        }
    }

    pub(crate) fn mismatches(&self) -> impl Iterator<Item = &Mismatch> {
        self.0.iter().flat_map(|question| &question.found)
    }

    /// A line for each pair.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.mismatches().map(Mismatch::text).collect()
    }

    /// The pairs by question. `None` without distributions.
    pub(crate) fn json(&self) -> Option<Value> {
        let mut questions: Map<String, Value> = Map::new();
        for mismatch in self.mismatches() {
            let pairs = questions.entry(mismatch.question.clone()).or_insert_with(|| json!([]));
            pairs.as_array_mut()?.push(mismatch.json());
        }
        (!questions.is_empty()).then_some(Value::Object(questions))
    }
}

/// The pairs of `ways` ways, those of the first one first.
fn pairs(ways: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..ways).flat_map(move |a| (a + 1..ways).map(move |b| (a, b)))
}

impl Question {
    fn add(&mut self, rows: &RecordBatch, row: usize) {
        let text = |index: usize| match cell_at(rows.column(index).as_ref(), row) {
            Cell::Text(text) => Some(text),
            _ => None,
        };
        let answer = text(self.answer).and_then(|answer| self.labels.iter().position(|label| *label == answer));
        let answer =
            answer.map(|chosen| (0..self.labels.len()).map(|label| f64::from(u8::from(label == chosen))).collect());
        let modes = self.modes.iter().map(|(_, index)| read_distribution(&text(*index)?, &self.labels));
        let ways: Vec<Option<Vec<f64>>> = [answer].into_iter().chain(modes).collect();
        for ((a, b), found) in pairs(ways.len()).zip(&mut self.found) {
            let (Some(p), Some(q)) = (&ways[a], &ways[b]) else { continue };
            found.rows += 1;
            found.total_variation += total_variation(p, q);
            found.jensen_shannon += jensen_shannon(p, q);
            let (p, q) = (likeliest(p), likeliest(q));
            found.other += u64::from(!p.iter().any(|label| q.contains(label)));
        }
    }
}

/// The labels with the largest probability.
fn likeliest(p: &[f64]) -> Vec<usize> {
    let most = p.iter().copied().fold(0.0, f64::max);
    (0..p.len()).filter(|label| most - p[*label] < EQUAL).collect()
}
