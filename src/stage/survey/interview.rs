//! The interview: the next questions for a respondent, given the answers so far, and the cells of a row.
//!
//! No state is kept between rounds. Each round derives it from the answers, so a resumed run sends the same prompts.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use super::order::{Design, Order, Respondent};
use super::questions::Per;
use super::wording::{KEY, Labels, Question};
use crate::prompt::{
    Addressee, Answer, Bound, BoundCondition, Expect, Failure, FailureKind, Field, Measured, Message, Mode, Prompt,
    draw,
};
use crate::stage::ask::{AnswerColumns, Ask, BindContext, StageInfo, distinct};
use crate::stage::view::{Shown, View};
use crate::table::{Cell, Column, Row, Simple, Type};

/// The column of survey weights. The persona leaves it out, since weights do not describe a person.
const WEIGHT: &str = "weight";

/// What a question about probabilities says after the options.
const STATE: &str = "Do not choose. State how probable it is that this person would choose each option.";

const RULE: &str = "Answer every question as this person would, from their own situation and point of view.";

#[derive(Debug)]
pub(crate) enum Persona {
    Written(Box<Bound>),
    Columns(Vec<(usize, String)>),
}

impl Persona {
    pub(crate) fn described(context: &BindContext<'_>) -> Self {
        let fields = context.input.fields().iter().enumerate();
        let telling = fields.filter(|(i, field)| context.key != Some(*i) && field.name() != WEIGHT);
        Persona::Columns(telling.map(|(i, field)| (i, field.name().replace('_', " "))).collect())
    }

    fn render(&self, row: Row<'_>) -> Result<String, String> {
        match self {
            Persona::Written(template) => Ok(template.render(row, &[])?.trim().to_owned()),
            Persona::Columns(columns) => {
                let traits =
                    columns.iter().filter_map(|(c, name)| Some(format!("\n- {name}: {}", in_words(&row.cell(*c))?)));
                let traits: String = traits.collect();
                Ok(match traits.as_str() {
                    "" => "You are a person answering a survey.".to_owned(),
                    traits => format!("You are answering a survey as this person:{traits}"),
                })
            }
        }
    }

    fn reads(&self) -> Vec<usize> {
        match self {
            Persona::Written(template) => template.reads(),
            Persona::Columns(columns) => columns.iter().map(|(column, _)| *column).collect(),
        }
    }

    fn uses(&self) -> Vec<usize> {
        match self {
            Persona::Written(template) => template.uses(),
            Persona::Columns(_) => self.reads(),
        }
    }
}

/// Returns a cell in words, or `None` if the cell is empty.
fn in_words(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Null => None,
        Cell::Boolean(yes) => Some(if *yes { "yes" } else { "no" }.to_owned()),
        Cell::Integer(number) => Some(number.to_string()),
        Cell::Number(number) => Some(number.to_string()),
        Cell::Text(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Cell::List(items) => {
            let items: Vec<String> = items.iter().filter_map(in_words).collect();
            (!items.is_empty()).then(|| items.join(", "))
        }
        Cell::Object(_) => Some(cell.text()),
    }
}

pub(crate) fn order_column(stage: &str) -> String {
    format!("{stage}_question_order")
}

/// Returns the blocks of questions that move together: questions linked by a condition, and all questions between them.
pub(crate) fn blocks(questions: &[Question]) -> Vec<Range<usize>> {
    // Whether each question is linked with the one before it.
    let mut tied = vec![false; questions.len()];
    for (i, question) in questions.iter().enumerate() {
        let named = question.when.iter().flat_map(BoundCondition::others);
        if let Some(first) = named.filter_map(|id| questions[..i].iter().position(|q| q.id == *id)).min() {
            tied[first + 1..=i].fill(true);
        }
    }
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for (i, tied) in tied.into_iter().enumerate() {
        match blocks.last_mut() {
            Some(block) if tied => block.end = i + 1,
            _ => blocks.push(i..i + 1),
        }
    }
    blocks
}

#[derive(Debug)]
pub(crate) struct Interview {
    pub(crate) system: Option<String>,
    pub(crate) persona: Persona,
    pub(crate) questions: Vec<Question>,
    pub(crate) blocks: Vec<Range<usize>>,
    pub(crate) order: Design,
    pub(crate) per: Per,
    pub(crate) memory: bool,
    pub(crate) labels: Labels,
    pub(crate) key: Option<usize>,
    pub(crate) fold: u64,
    /// What the questions want whose options have one order for all respondents, who share it.
    pub(crate) fixed: Vec<OnceLock<Wanted>>,
}

/// The answer that a prompt wants.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    expect: Arc<Expect>,
    schema: Option<Arc<Value>>,
}

impl Wanted {
    fn new(expect: Expect) -> Wanted {
        Wanted { schema: expect.schema().map(Arc::new), expect: Arc::new(expect) }
    }
}

struct Progress {
    respondent: u64,
    order: Vec<usize>,
    options: Vec<Vec<usize>>,
    /// The answer to each question: null if it was skipped, `None` if it has not been reached.
    cells: Vec<Option<Cell>>,
    answered: Vec<usize>,
    /// What was found about the distribution of each question.
    measured: Vec<Measured>,
    /// The next questions; empty at the end.
    next: Vec<usize>,
    failure: Option<Failure>,
}

impl Interview {
    pub(crate) fn info(&self, kind: &'static str, stage: &str, seed: u64) -> StageInfo {
        let conditions = || self.questions.iter().filter_map(|q| q.when.as_ref());
        let mut columns = AnswerColumns::default();
        for question in &self.questions {
            let (answer, mut labels) = (columns.writes.len(), question.labels());
            for (i, column) in question.columns().into_iter().enumerate() {
                columns.push(column, &["questions"], std::mem::take(&mut labels));
                if i == 0 {
                    columns.type_last(question.answer_type());
                }
            }
            if let Some((distribution, options)) = question.distributed() {
                columns.push_distribution(answer, distribution, options);
            }
        }
        if self.order.order() != Order::AsGiven {
            let column = Column::new(order_column(stage), Type::List(Simple::Text));
            columns.push(column, &["question_order"], Vec::new());
        }
        let meaning = self.meaning(kind, &columns.writes, seed);
        let more = || {
            self.questions.iter().filter_map(Question::distributed).map(|(of, _)| of.more_prompts() as u64).sum::<u64>()
        };
        StageInfo {
            reads: distinct(self.persona.reads().into_iter().chain(conditions().flat_map(BoundCondition::reads))),
            uses: distinct(self.persona.uses().into_iter().chain(conditions().flat_map(BoundCondition::uses))),
            most_prompts: if self.per == Per::Respondent { 1 } else { self.questions.len() as u64 + more() },
            probabilities: self.questions.iter().any(Question::has_masses),
            refuses_examples: Some(
                "a survey can't have examples: every row is a person, and the examples' answers would be attributed to this respondent",
            ),
            ..StageInfo::new(kind, columns, None, meaning)
        }
    }

    fn meaning(&self, kind: &str, writes: &[Column], seed: u64) -> Value {
        let persona = match &self.persona {
            Persona::Written(template) => json!({ "template": template.source() }),
            Persona::Columns(columns) => json!({ "columns": columns.iter().map(|(_, name)| name).collect::<Vec<_>>() }),
        };
        let varies = self.order.order().varies()
            || self.questions.iter().filter_map(Question::reordered).any(|choice| choice.design.order().varies());
        json!({
            "type": kind,
            "system": self.system,
            "persona": persona,
            "rule": RULE,
            "questions": self.questions.iter().map(Question::meaning).collect::<Vec<_>>(),
            "question_order": self.order.order(),
            "per": self.per,
            "memory": self.memory,
            "labels": self.labels,
            "seed": varies.then_some(seed),
            "columns": writes.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        })
    }

    fn way(&self, row: Row<'_>, answers: &[Answer]) -> Progress {
        let who = Respondent::of(row, self.key, self.fold);
        let mut way = Progress {
            respondent: who.identity(),
            order: self.order.of(&who).into_iter().flat_map(|block| self.blocks[block].clone()).collect(),
            options: self.questions.iter().map(|q| q.order(&who)).collect(),
            cells: vec![None; self.questions.len()],
            answered: Vec::new(),
            measured: vec![Measured::default(); self.questions.len()],
            next: Vec::new(),
            failure: None,
        };
        // The cells of all answers in question order. A call about a whole questionnaire returns several cells.
        let mut given = answers.iter().flatten();
        loop {
            match self.round(row, &mut way.cells, &way.order) {
                Ok(round) => way.next = round,
                Err(message) => {
                    way.failure = Some(FailureKind::When.because(message));
                    return way;
                }
            }
            for (i, question) in way.next.iter().enumerate() {
                match given.next() {
                    Some(cell) => {
                        way.cells[*question] = Some(self.questions[*question].kept(cell.clone()));
                        way.measured[*question] = self.questions[*question].measured(cell, &mut given);
                        way.answered.push(*question);
                    }
                    None => {
                        way.next.drain(..i);
                        return way;
                    }
                }
            }
            if way.next.is_empty() {
                return way;
            }
        }
    }

    /// Returns the questions that can be asked now. Skips questions whose condition does not hold.
    fn round(&self, row: Row<'_>, cells: &mut [Option<Cell>], order: &[usize]) -> Result<Vec<usize>, String> {
        let mut round = Vec::new();
        for question in order.iter().copied() {
            if cells[question].is_some() {
                continue;
            }
            match self.applies(row, cells, question)? {
                None => {}
                Some(false) => cells[question] = Some(Cell::Null),
                Some(true) => round.push(question),
            }
            if self.memory && !round.is_empty() {
                break;
            }
        }
        Ok(round)
    }

    /// Returns whether the condition of a question holds, or `None` while it depends on a question not yet reached.
    fn applies(&self, row: Row<'_>, cells: &[Option<Cell>], question: usize) -> Result<Option<bool>, String> {
        let Some(when) = &self.questions[question].when else { return Ok(Some(true)) };
        let mut known = Vec::new();
        for (earlier, cell) in self.questions.iter().zip(cells) {
            if !when.others().contains(&earlier.id) {
                continue;
            }
            match cell {
                Some(cell) => known.push((earlier.id.as_str(), cell)),
                None => return Ok(None),
            }
        }
        when.holds(row, &known).map(Some)
    }

    fn wanted(&self, way: &Progress, question: usize) -> Wanted {
        let q = &self.questions[question];
        let new = || {
            let field = || q.field(KEY, &way.options[question], self.labels);
            let record = || Expect::Record(vec![Field { masses: q.has_masses(), ..field() }]);
            Wanted::new(if q.is_open() { Expect::Text } else { record() })
        };
        if q.reordered().is_some() { new() } else { self.fixed[question].get_or_init(new).clone() }
    }

    /// Returns the prompts of one question: the question, its repetitions, and the question about its probabilities.
    fn prompts_of(&self, way: &Progress, system: &Message, question: usize) -> Vec<Prompt> {
        let first = self.single(way, system, question);
        let q = &self.questions[question];
        let Some((distribution, _)) = q.distributed() else { return vec![first] };
        let plain = Arc::new(Expect::Record(vec![q.field(KEY, &way.options[question], self.labels)]));
        let again = |number: usize| {
            let respondent = Some(draw(first.respondent, number));
            Prompt { expect: plain.clone(), respondent, ..first.clone() }
        };
        let kind = q.stated(&way.options[question], self.labels).filter(|_| distribution.has(Mode::Verbalized));
        let state = kind.map(|kind| {
            let field = Field::new(KEY, kind);
            let (shown, words) = (q.shown(&way.options[question], self.labels), field.kind.words());
            let text = format!(
                "{shown}\n\n{STATE}\n\nAnswer with one JSON object and nothing else. Its key:\n- \"{KEY}\": {words}"
            );
            let before = first.messages.iter().take(first.messages.len() - 1).cloned();
            let messages = before.chain([Message::user(text).for_all()]).collect();
            prompt(way, messages, Wanted::new(Expect::Record(vec![field])))
        });
        let draws: Vec<Prompt> = (1..=distribution.draws()).map(again).collect();
        [first].into_iter().chain(draws).chain(state).collect()
    }

    /// Why a question has no probabilities.
    fn problem(&self, way: &Progress) -> Option<Failure> {
        let problems = way.answered.iter().filter_map(|i| {
            let (distribution, _) = self.questions[*i].distributed()?;
            distribution.problem(&self.questions[*i].column, &way.measured[*i])
        });
        let problems: Vec<String> = problems.collect();
        (!problems.is_empty()).then(|| FailureKind::OptionMass.because(problems.join("; ")))
    }

    fn asked(&self, way: &Progress, question: usize) -> String {
        let q = &self.questions[question];
        let shown = q.shown(&way.options[question], self.labels);
        if q.is_open() {
            return format!("{shown}\n\nAnswer in your own words, with the answer and nothing else.");
        }
        let wanted = q.wanted(self.labels);
        format!("{shown}\n\nAnswer with one JSON object and nothing else. Its key:\n- \"{KEY}\": {wanted}")
    }

    /// Returns the prompt of one question. With memory, the questions answered so far precede it.
    fn single(&self, way: &Progress, system: &Message, question: usize) -> Prompt {
        let mut messages = vec![system.clone()];
        for earlier in way.answered.iter().filter(|_| self.memory) {
            let cell = way.cells[*earlier].as_ref().unwrap_or(&Cell::Null);
            let said = self.questions[*earlier].said(cell, &way.options[*earlier], self.labels);
            messages.extend([Message::user(self.asked(way, *earlier)).for_all(), Message::assistant(said)]);
        }
        messages.push(Message::user(self.asked(way, question)).for_all());
        prompt(way, messages, self.wanted(way, question))
    }

    fn whole(&self, way: &Progress, system: &Message) -> Prompt {
        let mut text = String::from("Please answer this questionnaire.\n\n");
        let mut keys = String::new();
        for (i, question) in way.order.iter().enumerate() {
            let q = &self.questions[*question];
            let number = i + 1;
            text.push_str(&format!("{number}. {}\n\n", q.shown(&way.options[*question], self.labels)));
            keys.push_str(&format!("\n- \"{}\": your answer to question {number}, {}", q.id, q.wanted(self.labels)));
        }
        text.push_str(&format!("Answer with one JSON object and nothing else. Its keys:{keys}"));
        let field = |q: &usize| self.questions[*q].field(&self.questions[*q].id, &way.options[*q], self.labels);
        let messages = vec![system.clone(), Message::user(text).for_all()];
        prompt(way, messages, Wanted::new(Expect::Record(way.order.iter().map(field).collect())))
    }
}

fn prompt(way: &Progress, messages: Vec<Message>, Wanted { expect, schema }: Wanted) -> Prompt {
    Prompt { messages, expect, schema, respondent: Some(way.respondent), pack: None, to: Addressee::Row }
}

impl Ask for Interview {
    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        let way = self.way(row, so_far);
        if let Some(failure) = way.failure {
            return Err(failure);
        }
        if way.next.is_empty() {
            // The whole interview comes first: its other answers are good.
            return self.problem(&way).map_or(Ok(Vec::new()), Err);
        }
        let persona = self.persona.render(row).map_err(|message| FailureKind::Template.because(message))?;
        // The system text (first) and the rule (last) are the same for all rows. The persona between them differs.
        let told = self.system.as_deref().unwrap_or("").trim();
        let start = if told.is_empty() { String::new() } else { format!("{told}\n\n") };
        let end = if persona.is_empty() { RULE.to_owned() } else { format!("\n\n{RULE}") };
        let system = Message::system(format!("{start}{persona}{end}")).around(&start, &end);
        Ok(match self.per {
            Per::Respondent => vec![self.whole(&way, &system)],
            Per::Question => way.next.iter().flat_map(|question| self.prompts_of(&way, &system, *question)).collect(),
        })
    }

    fn cells(&self, row: Row<'_>, _: &str, answers: &[Answer]) -> Vec<Cell> {
        let way = self.way(row, answers);
        let mut cells = Vec::new();
        for (i, question) in self.questions.iter().enumerate() {
            cells.push(way.cells[i].clone().unwrap_or(Cell::Null));
            if let Some(choice) = question.reordered() {
                let shown = || way.options[i].iter().map(|o| Cell::Text(choice.options[*o].clone())).collect();
                cells.push(if way.answered.contains(&i) { Cell::List(shown()) } else { Cell::Null });
            }
            if let Some((distribution, options)) = question.distributed() {
                cells.extend(distribution.cells(options, &way.measured[i]));
            }
        }
        if self.order.order() != Order::AsGiven {
            let ids = way.answered.iter().map(|i| Cell::Text(self.questions[*i].column.clone())).collect();
            cells.push(if way.answered.is_empty() { Cell::Null } else { Cell::List(ids) });
        }
        cells
    }

    fn unanswered(&self, row: Row<'_>, answers: &[Answer]) -> Vec<Cell> {
        self.cells(row, "", answers)
    }

    fn views(&self, _: &StageInfo) -> Vec<View> {
        let questions = self.questions.iter().map(|question| question.column.clone()).collect();
        let flow = View::new("Questions", Shown::Questions { questions });
        [flow].into_iter().chain(self.questions.iter().flat_map(Question::views)).collect()
    }
}
