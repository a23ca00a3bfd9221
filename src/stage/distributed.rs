//! Distributed answers of an `analysis`: the further prompts about a row, and the cells of the distributions.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::prompt::{self, Answer, AnswerType, Distribution, Expect, Field, Measured, Message, Mode, Prompt, draw};
use crate::table::Cell;

/// What a prompt for stated probabilities says before the keys.
const STATE: &str = "Do not decide on one value. State for each key how probable each of its values is.";

/// The keys whose distributions are measured.
#[derive(Debug)]
pub(super) struct Distributions {
    keys: Vec<Key>,
    /// The further prompts that ask the same question.
    draws: usize,
    /// The answer to such a prompt.
    again: Arc<Expect>,
    states: Option<Statement>,
}

/// The prompt that asks for probabilities.
#[derive(Debug)]
struct Statement {
    system: String,
    expect: Arc<Expect>,
    schema: Option<Arc<Value>>,
}

#[derive(Debug)]
struct Key {
    name: String,
    labels: Vec<String>,
    distribution: Distribution,
    /// The places of the value and of the masses in the first answer, and of the value in a further one.
    value: usize,
    masses: usize,
    again: usize,
    /// The place in the answer with the stated probabilities.
    stated: Option<usize>,
}

impl Distributions {
    /// Returns `None` if no key has a distribution. `system` is the stage's own text.
    pub(super) fn of(expect: &Expect, system: Option<&str>) -> Option<Distributions> {
        let Expect::Record(fields) = expect else { return None };
        let (mut keys, mut states, mut place) = (Vec::new(), Vec::new(), 0);
        for (again, field) in fields.iter().enumerate() {
            let value = place;
            let masses = value + field.columns().count();
            place = masses + usize::from(field.masses);
            let Some(distribution) = field.distribution.clone() else { continue };
            let labels = field.kind.labels();
            let stated = distribution.has(Mode::Verbalized).then(|| {
                let kind = AnswerType::Probabilities(labels.iter().map(|l| (l.clone(), l.clone())).collect());
                states.push(Field { description: field.description.clone(), ..Field::new(&field.name, kind) });
                states.len() - 1
            });
            let name = field.name.clone();
            keys.push(Key { name, labels, distribution, value, masses, again, stated });
        }
        let draws = keys.iter().map(|key| key.distribution.draws()).max()?;
        let again = Arc::new(Expect::Record(fields.iter().map(Field::plain).collect()));
        let states = (!states.is_empty()).then(|| {
            let expect = Expect::Record(states);
            let words = prompt::system([system, Some(STATE), expect.instruction().as_deref()]).unwrap_or_default();
            let schema = expect.schema().map(Arc::new);
            Statement { system: words, expect: Arc::new(expect), schema }
        });
        Some(Distributions { keys, draws, again, states })
    }

    /// The number of prompts after the first one.
    pub(super) fn more_prompts(&self) -> usize {
        self.draws + usize::from(self.states.is_some())
    }

    /// The prompts after `first`.
    pub(super) fn prompts(&self, first: &Prompt) -> Vec<Prompt> {
        let again = |number: usize| {
            let respondent = Some(draw(first.respondent, number));
            Prompt { expect: self.again.clone(), respondent, ..first.clone() }
        };
        let state = |Statement { system, expect, schema }: &Statement| {
            let question = first.messages.iter().filter(|message| message.role != prompt::Role::System).cloned();
            let messages = [Message::system(system).for_all()].into_iter().chain(question).collect();
            Prompt { messages, expect: expect.clone(), schema: schema.clone(), ..first.clone() }
        };
        (1..=self.draws).map(again).chain(self.states.iter().map(state)).collect()
    }

    fn measured(&self, key: &Key, answers: &[Answer]) -> Measured {
        let cell = |answer: Option<&Answer>, place: usize| answer.and_then(|cells| cells.get(place)).cloned();
        let draws = answers.iter().skip(1).take(key.distribution.draws());
        Measured {
            answer: cell(answers.first(), key.value),
            draws: draws.filter_map(|answer| answer.get(key.again)).cloned().collect(),
            masses: key.distribution.has(Mode::Logprobs).then(|| cell(answers.first(), key.masses)).flatten(),
            stated: key.stated.and_then(|place| cell(answers.get(1 + self.draws), place)),
        }
    }

    /// The cells of the distribution of the key called `name`; none if it has no distribution.
    pub(super) fn cells(&self, name: &str, answers: &[Answer]) -> Vec<Cell> {
        let key = self.keys.iter().find(|key| key.name == name);
        key.map(|key| key.distribution.cells(&key.labels, &self.measured(key, answers))).unwrap_or_default()
    }

    /// Why a key has no probabilities.
    pub(super) fn problem(&self, answers: &[Answer]) -> Option<String> {
        let problem = |key: &Key| key.distribution.problem(&key.name, &self.measured(key, answers));
        let problems: Vec<String> = self.keys.iter().filter_map(problem).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }

    pub(super) fn meaning(&self) -> Value {
        let keys = self.keys.iter().map(|key| (key.name.clone(), key.distribution.meaning())).collect();
        let system = self.states.as_ref().map(|statement| statement.system.as_str());
        json!({ "keys": Value::Object(keys), "states": system })
    }
}
