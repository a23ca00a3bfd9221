//! Wording: a question as shown to a respondent, the form of its answer, and an answer as repeated in the memory.
//!
//! Each question states the form of its answer, since a conversation contains questions of several types.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::order::{Design, Order, Respondent};
use crate::prompt::{AnswerType, BoundCondition, Distribution, Field, Measured, Mode};
use crate::stage::ask::MOST_LABELS;
use crate::stage::view::{Shown, View};
use crate::table::{Cell, Column, Simple, Type};

/// The key of a typed answer to one question.
pub(crate) const KEY: &str = "answer";

/// The labels before the options.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Labels {
    /// Nothing; the answer is an option's text.
    #[default]
    None,
    /// `A.`, `B.`, ... in the order as shown; at most 26 options.
    Letters,
    /// `1.`, `2.`, ... in the order as shown.
    Numbers,
}

impl Labels {
    /// Returns the label of the option at position `place`, from 0.
    pub(crate) fn of(self, place: usize) -> Option<String> {
        match self {
            Labels::None => None,
            Labels::Letters => u8::try_from(place).ok().filter(|p| *p < 26).map(|p| char::from(b'A' + p).to_string()),
            Labels::Numbers => Some((place + 1).to_string()),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: String,
    /// The name of the column of the answer.
    pub(crate) column: String,
    pub(crate) text: String,
    pub(crate) form: Form,
    pub(crate) when: Option<BoundCondition>,
    pub(crate) pinned: bool,
    pub(crate) distribution: Option<Distribution>,
}

#[derive(Debug)]
pub(crate) enum Form {
    Choice(Choice),
    /// A whole number between two ends. Each end may have a meaning.
    Scale {
        min: f64,
        max: f64,
        labels: [Option<String>; 2],
    },
    Number(Option<f64>, Option<f64>),
    Text,
}

#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) options: Vec<String>,
    pub(crate) several: bool,
    pub(crate) design: Design,
}

impl Question {
    pub(crate) fn kind(&self) -> Type {
        match &self.form {
            Form::Choice(choice) if choice.several => Type::List(Simple::Text),
            Form::Choice(_) | Form::Text => Type::Text,
            Form::Scale { .. } => Type::Integer,
            Form::Number(..) => Type::Number,
        }
    }

    /// Returns the column of the answer and, if the options are reordered, the column of the options as shown. Those of
    /// its distribution come after them.
    pub(crate) fn columns(&self) -> Vec<Column> {
        let shown = self.reordered().map(|_| Column::new(format!("{}_shown", self.column), Type::List(Simple::Text)));
        [Column::new(&self.column, self.kind())].into_iter().chain(shown).collect()
    }

    /// Returns the labels of the answer: the options, or the points of a short scale. Empty for other answers.
    pub(crate) fn labels(&self) -> Vec<String> {
        match &self.form {
            Form::Choice(choice) if !choice.several => choice.options.clone(),
            Form::Scale { min, max, .. } if max - min < MOST_LABELS as f64 => {
                (*min as i64..=*max as i64).map(|point| point.to_string()).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn reordered(&self) -> Option<&Choice> {
        match &self.form {
            Form::Choice(choice) if choice.design.order() != Order::AsGiven => Some(choice),
            _ => None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.form, Form::Text)
    }

    /// Returns the order of the options for `who`; empty without options.
    pub(crate) fn order(&self, who: &Respondent) -> Vec<usize> {
        match &self.form {
            Form::Choice(choice) => choice.design.of(who),
            Form::Scale { .. } | Form::Number(..) | Form::Text => Vec::new(),
        }
    }

    /// Returns the question with its options in this order, one per line, or with the meanings of its scale's ends.
    pub(crate) fn shown(&self, order: &[usize], labels: Labels) -> String {
        let mut shown = self.text.clone();
        match &self.form {
            Form::Choice(choice) => {
                shown.extend(order.iter().enumerate().map(|(place, option)| match labels.of(place) {
                    Some(label) => format!("\n{label}. {}", choice.options[*option]),
                    None => format!("\n- {}", choice.options[*option]),
                }))
            }
            Form::Scale { min, max, labels } => {
                let ends = [min, max].into_iter().zip(labels);
                let told: Vec<String> = ends.filter_map(|(end, l)| Some(format!("{end} = {}", l.as_ref()?))).collect();
                if !told.is_empty() {
                    shown.push_str(&format!("\n({})", told.join(", ")));
                }
            }
            Form::Number(..) | Form::Text => {}
        }
        shown
    }

    /// What the report page shows of the answers.
    pub(crate) fn views(&self) -> Vec<View> {
        let column = self.column.clone();
        let answers = match &self.form {
            Form::Scale { labels, .. } if !self.labels().is_empty() => {
                View::new(&self.column, Shown::Scale { column, steps: self.labels(), ends: labels.clone() })
            }
            _ => View::of_answer(&Column::new(column, self.kind()), &self.answer_type(), None),
        };
        let order = format!("{}_shown", self.column);
        let places = Shown::Places { column: self.column.clone(), order };
        let places = self.reordered().map(|_| View::new(&self.column, places));
        let heading = Some(self.text.clone());
        [answers].into_iter().chain(places).map(|view| View { heading: heading.clone(), ..view }).collect()
    }

    /// What an answer is, in the table.
    pub(crate) fn answer_type(&self) -> AnswerType {
        let options = if let Form::Choice(choice) = &self.form { choice.options.len() } else { 0 };
        self.field("", &(0..options).collect::<Vec<_>>(), Labels::None).kind
    }

    pub(crate) fn field(&self, name: &str, order: &[usize], labels: Labels) -> Field {
        let kind = match &self.form {
            Form::Text => AnswerType::Text(None),
            Form::Number(min, max) => AnswerType::Number(*min, *max),
            Form::Scale { min, max, .. } => AnswerType::Integer(Some(*min), Some(*max)),
            Form::Choice(choice) => {
                let options = order.iter().map(|i| choice.options[*i].clone());
                let one = if labels == Labels::None {
                    AnswerType::Enum(options.collect())
                } else {
                    let label = |(place, option)| (labels.of(place).unwrap_or_default(), option);
                    AnswerType::Labelled(options.enumerate().map(label).collect())
                };
                if choice.several { AnswerType::Some(Box::new(one), order.len()) } else { one }
            }
        };
        Field::new(name, kind)
    }

    /// Returns the options of a question with a distribution.
    pub(crate) fn distributed(&self) -> Option<(&Distribution, &[String])> {
        match &self.form {
            Form::Choice(choice) => Some((self.distribution.as_ref()?, &choice.options)),
            _ => None,
        }
    }

    /// Whether the masses of the options follow the answer.
    pub(crate) fn has_masses(&self) -> bool {
        self.distributed().is_some_and(|(distribution, _)| distribution.has(Mode::Logprobs))
    }

    /// Takes the cells after an answer that are about its distribution.
    pub(crate) fn measured<'c>(&self, answer: &Cell, rest: &mut impl Iterator<Item = &'c Cell>) -> Measured {
        let Some((distribution, _)) = self.distributed() else { return Measured::default() };
        Measured {
            answer: Some(answer.clone()),
            masses: if distribution.has(Mode::Logprobs) { rest.next().cloned() } else { None },
            draws: rest.by_ref().take(distribution.draws()).cloned().collect(),
            stated: if distribution.has(Mode::Verbalized) { rest.next().cloned() } else { None },
        }
    }

    /// Returns the probabilities of the options as an answer, by their labels if they have some.
    pub(crate) fn stated(&self, order: &[usize], labels: Labels) -> Option<AnswerType> {
        let Form::Choice(choice) = &self.form else { return None };
        let key = |place: usize, option: &String| labels.of(place).unwrap_or_else(|| option.clone());
        let options = order.iter().map(|option| &choice.options[*option]).enumerate();
        let keys = options.map(|(place, option)| (key(place, option), option.clone()));
        Some(AnswerType::Probabilities(keys.collect()))
    }

    pub(crate) fn wanted(&self, labels: Labels) -> String {
        match &self.form {
            Form::Choice(choice) => match (labels, choice.several) {
                (Labels::None, false) => "one of the options, word for word",
                (Labels::None, true) => "a list of all options that apply, each word for word",
                (Labels::Letters, false) => "the letter of one option",
                (Labels::Letters, true) => "a list of the letters of all options that apply",
                (Labels::Numbers, false) => "the number of one option",
                (Labels::Numbers, true) => "a list of the numbers of all options that apply",
            }
            .to_owned(),
            Form::Text => "text, in your own words".to_owned(),
            Form::Number(..) | Form::Scale { .. } => self.field("", &[], labels).kind.words(),
        }
    }

    /// Converts an answer to its cell in the table. Chosen options are in the order of the spec.
    pub(crate) fn kept(&self, cell: Cell) -> Cell {
        match (&self.form, cell) {
            (Form::Choice(choice), Cell::List(chosen)) => {
                let options = choice.options.iter().map(|option| Cell::Text(option.clone()));
                Cell::List(options.filter(|option| chosen.contains(option)).collect())
            }
            (_, cell) => cell,
        }
    }

    /// Returns a reply that parses as `cell`. The form is fixed, so that equal answers make equal conversations.
    pub(crate) fn said(&self, cell: &Cell, order: &[usize], labels: Labels) -> String {
        let value = match (&self.form, cell) {
            (Form::Text, Cell::Text(text)) => return text.clone(),
            (Form::Choice(choice), cell) => {
                let places = order.iter().enumerate().filter(|(_, option)| {
                    let option = Cell::Text(choice.options[**option].clone());
                    *cell == option || matches!(cell, Cell::List(chosen) if chosen.contains(&option))
                });
                let written = |(place, option): (usize, &usize)| {
                    Value::String(labels.of(place).unwrap_or_else(|| choice.options[*option].clone()))
                };
                let mut written: Vec<Value> = places.map(written).collect();
                if choice.several { Value::Array(written) } else { written.pop().unwrap_or_default() }
            }
            (_, Cell::Integer(number)) => json!(number),
            (_, Cell::Number(number)) if number.fract() == 0.0 && number.abs() < 9e15 => json!(*number as i64),
            (_, Cell::Number(number)) => json!(number),
            _ => Value::Null,
        };
        json!({ KEY: value }).to_string()
    }

    pub(crate) fn meaning(&self) -> Value {
        let form = match &self.form {
            Form::Text => json!("text"),
            Form::Number(min, max) => json!({ "number": [min, max] }),
            Form::Scale { min, max, labels } => json!({ "scale": [min, max], "labels": labels }),
            Form::Choice(Choice { options, several, design }) => json!({
                "options": options, "several": several, "order": design.order(), "moving": design.moving(),
            }),
        };
        let mut meaning = json!({
            "id": self.id, "text": self.text, "form": form, "pinned": self.pinned,
            "when": self.when.as_ref().map(BoundCondition::source),
        });
        if self.column != self.id {
            meaning["column"] = json!(self.column);
        }
        if let Some(distribution) = &self.distribution {
            meaning["distribution"] = distribution.meaning();
        }
        meaning
    }
}
