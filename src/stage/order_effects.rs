//! `type = "order-effects"`: whether the orders of a survey change its answers.

use std::collections::BTreeMap;

use indexmap::IndexSet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::method::columns::{Read, Reading, Rows, is_list};
use super::method::frame::{Frame, Method};
use super::method::settings::{Confidence, read_column};
use super::method::tidy::{Statistic, counted};
use super::transform::{DataError, InputTable, Transform, TransformConfig, TransformContext};
use super::view::{Estimates, Shown, View};
use crate::document::{Path, Problems};
use crate::registry::Kind;
use crate::stats::{Dependence, Positions, independence, reach, wilson_at};

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> =
    Kind::new::<OrderEffects>("order-effects", "Whether the orders of a survey change its answers.");

/// The columns of the table after `statistic`.
const OF: [&str; 3] = ["column", "position", "option"];
/// What the column of the options as shown has more in its name than the column of the answer.
const SHOWN: &str = "_shown";
/// The most options whose positions are compared.
const MOST_OPTIONS: usize = 50;
/// The most expected counts below 5, as a share, that Cochran's rule allows.
const MOST_SMALL: f64 = 0.2;

/// Whether the orders of a survey change its answers, from the orders that the survey records. For each question with
/// one answer: the test of whether an option is chosen equally often at each position (`chi_square`, `df`, `p_value`,
/// `cramers_v`), the share of the answers at each position (`position_share`), and the share of each option among those
/// who saw it at a position (`chosen_share`). With `question_order_column`, also whether the answers depend on the position of
/// the question (`question_chi_square`, `question_df`, `question_p_value`, `question_cramers_v`).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OrderEffects {
    /// The survey, or another table with its columns.
    input: String,
    /// The columns of answers. Default: all with a column `<id>_shown`, which has the options in their order.
    columns: Option<Vec<String>>,
    /// The column with the order of the questions, such as `interview_question_order`.
    question_order_column: Option<String>,
    /// Columns whose groups are looked at one by one too, such as `model` or `universe`.
    #[serde(default)]
    by: Vec<String>,
    /// The confidence of the intervals. Default: 0.95.
    #[serde(default)]
    confidence: Confidence,
}

/// A column of answers.
#[derive(Debug)]
struct Question {
    column: String,
    /// The column of the options as shown.
    shown: String,
}

impl Question {
    /// The name of the question in the order of the questions, which has no suffix of a model.
    fn id(&self) -> &str {
        let at = (0..self.shown.len()).rev().find(|at| self.shown.get(*at..).is_some_and(|s| s.starts_with(SHOWN)));
        at.map_or(&self.column, |at| &self.shown[..at])
    }
}

/// The columns of lists that record the orders of the answers in `column`.
fn orders<'i>(input: &InputTable<'i>, column: &str) -> impl Iterator<Item = &'i String> {
    let lists = input.schema.fields().iter().filter(|field| is_list(field)).map(|field| field.name());
    let fits = move |name: &str| {
        let mut places = name.match_indices(SHOWN);
        places.any(|(at, _)| column == [&name[..at], &name[at + SHOWN.len()..]].concat())
    };
    lists.filter(|name| fits(name)).collect::<Vec<_>>().into_iter()
}

impl OrderEffects {
    fn questions(&self, input: &InputTable<'_>, at: &Path, problems: &mut Problems) -> Vec<Question> {
        let question = |column: &str| {
            let shown = orders(input, column).next()?.clone();
            Some(Question { column: column.to_owned(), shown })
        };
        let Some(columns) = &self.columns else {
            let answers = input.schema.fields().iter().filter(|field| !is_list(field));
            let found: Vec<Question> = answers.filter_map(|field| question(field.name())).collect();
            if found.is_empty() {
                let message = format!("no column of `{}` records in which order options were shown", input.name);
                problems
                    .error("missing-field", at.key("input"), message)
                    .help("write `option_order = \"random\"` in the survey, which then records `<id>_shown`");
            }
            return found;
        };
        let mut found = Vec::new();
        for (i, column) in columns.iter().enumerate() {
            let at = at.key("columns").index(i);
            if columns[..i].contains(column) {
                problems.error("bad-value", at, format!("`{column}` is listed twice")).help("leave one out");
            } else if input.column(at.clone(), column, problems).is_none() {
                continue;
            } else if let Some(question) = question(column) {
                found.push(question);
            } else {
                let message = format!("no column `{column}{SHOWN}` records in which order the options were shown");
                problems
                    .error("unknown-column", at, message)
                    .help("write `option_order = \"random\"` for this question in the survey, or leave the column out");
            }
        }
        found
    }
}

impl TransformConfig for OrderEffects {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        vec![("input", &self.input)]
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let (input, at) = (context.inputs.first()?, context.path);
        let before = problems.mark();
        let questions = self.questions(input, at, problems);
        let mut reads: Vec<Read> = Vec::new();
        for Question { column, shown } in &questions {
            let answer = read_column(input, at.key("columns"), column, Reading::Name, problems);
            let order = answer.as_ref().and_then(|_| read_column(input, at.clone(), shown, Reading::Order, problems));
            reads.extend([answer, order].into_iter().flatten());
        }
        if let Some(name) = &self.question_order_column {
            reads.extend(read_column(input, at.key("question_order_column"), name, Reading::Order, problems));
        }
        if problems.had_errors_since(before) {
            return None;
        }
        let frame = Frame {
            kind: KIND.name,
            of: &OF,
            by: &self.by,
            reads,
            merge: true,
            confidence: self.confidence,
            settings: json!(OrderEffects { input: String::new(), ..self.clone() }),
            method: Box::new(Bound {
                questions,
                asks_in_order: self.question_order_column.is_some(),
                z: reach(self.confidence.0),
            }),
        };
        frame.bind(context, problems)
    }
}

/// The first reads are the answer and the order of each question; the last one is the order of the questions.
#[derive(Debug)]
struct Bound {
    questions: Vec<Question>,
    asks_in_order: bool,
    /// How many standard errors an interval reaches.
    z: f64,
}

impl Method for Bound {
    fn views(&self) -> Vec<View> {
        let at = |statistics: &'static [&'static str], lines: &'static [&'static str]| Estimates {
            statistics,
            lines,
            shares: true,
            ..Estimates::default()
        };
        vec![
            View::new(
                "Share of the answers at each position",
                Shown::Estimates(at(&["position_share"], &["column", "position"])),
            ),
            View::new(
                "How much the choices depend on the order",
                Shown::Estimates(Estimates {
                    series: Some("statistic"),
                    ..at(&["cramers_v", "p_value", "question_cramers_v", "question_p_value"], &["column"])
                }),
            ),
        ]
    }

    fn statistics(&self, rows: &Rows<'_>) -> Result<Vec<Statistic>, DataError> {
        let mut statistics = Vec::new();
        for (i, question) in self.questions.iter().enumerate() {
            let answers = Answers::new(rows, i);
            self.positions(question, &answers, &mut statistics);
            if self.asks_in_order {
                question_order(question, rows, (i, 2 * self.questions.len()), &mut statistics);
            }
        }
        Ok(statistics)
    }
}

/// The answers to a question, by position and option.
struct Answers {
    options: IndexSet<String>,
    positions: Option<Positions>,
    most_shown: usize,
    n: u64,
    left_out: u64,
    /// Those of `left_out` whose option was not shown.
    not_shown: u64,
}

/// The lists of a read, by the code of each row.
fn sequences(rows: &Rows<'_>, read: usize) -> Vec<Vec<String>> {
    rows.names(read).iter().map(|json| serde_json::from_str(json).unwrap_or_default()).collect()
}

impl Answers {
    fn new(rows: &Rows<'_>, question: usize) -> Self {
        let (chosen, shown) = (rows.labels(2 * question), rows.labels(2 * question + 1));
        let orders = sequences(rows, 2 * question + 1);
        let used: Vec<&Vec<String>> = shown.iter().flatten().map(|code| &orders[*code]).collect();
        let mut options: IndexSet<String> = used.iter().flat_map(|order| order.iter().cloned()).collect();
        options.sort_unstable();
        let mut positions = (options.len() <= MOST_OPTIONS).then(|| Positions::new(options.len()));
        let names = rows.names(2 * question);
        let most_shown = used.iter().map(|order| order.len()).max().unwrap_or(0);
        let mut answers = Answers { options, positions: None, most_shown, n: 0, left_out: 0, not_shown: 0 };
        for ((choice, order), count) in chosen.iter().zip(&shown).zip(rows.counts()) {
            let (Some(choice), Some(order)) = (choice, order) else {
                answers.left_out += count;
                continue;
            };
            let (choice, order) = (&names[*choice], &orders[*order]);
            if !order.contains(choice) {
                answers.left_out += count;
                answers.not_shown += count;
                continue;
            }
            answers.n += count;
            let place = |option: &String| answers.options.get_index_of(option);
            if let (Some(positions), Some(choice)) = (&mut positions, place(choice)) {
                positions.add(&order.iter().filter_map(place).collect::<Vec<_>>(), choice, count as f64);
            }
        }
        Answers { positions, ..answers }
    }
}

impl Bound {
    fn positions(&self, question: &Question, answers: &Answers, statistics: &mut Vec<Statistic>) {
        let of = |position: Option<usize>, option: Option<&String>| {
            vec![Some(question.column.clone()), position.map(|at| (at + 1).to_string()), option.cloned()]
        };
        let test = answers.positions.as_ref().and_then(Positions::test);
        let why = match &answers.positions {
            None => format!("more than {MOST_OPTIONS} options"),
            Some(_) if answers.n == 0 => "no row has an answer and an order".to_owned(),
            Some(_) => "all saw the same order, or all chose the same option".to_owned(),
        };
        let mut first = tested(["chi_square", "df", "p_value", "cramers_v"], test, &why);
        for statistic in &mut first {
            (statistic.of, statistic.n, statistic.left_out) = (of(None, None), answers.n, answers.left_out);
        }
        if answers.not_shown > 0 {
            first[0]
                .add_note(format!("{} name an option that was not shown", counted(answers.not_shown, "row", "rows")));
        }
        statistics.extend(first);
        let Some(positions) = &answers.positions else { return };
        let share = |name, of: Vec<Option<String>>, yes: f64, all: f64| {
            let share = (all > 0.0).then(|| yes / all);
            let left_out = if name == "position_share" { answers.left_out } else { 0 };
            Statistic {
                name,
                of,
                estimate: share,
                interval: share.map(|share| wilson_at(share, all, self.z)),
                n: all as u64,
                left_out,
                method: share.map(|_| "wilson"),
                ..Statistic::default()
            }
        };
        for at in 0..answers.most_shown {
            let chosen: f64 = (0..answers.options.len()).map(|option| positions.chosen(at, option)).sum();
            statistics.push(share("position_share", of(Some(at), None), chosen, answers.n as f64));
        }
        for at in 0..answers.most_shown {
            for (option, name) in answers.options.iter().enumerate().filter(|(o, _)| positions.shown(at, *o) > 0.0) {
                let (chosen, shown) = (positions.chosen(at, option), positions.shown(at, option));
                statistics.push(share("chosen_share", of(Some(at), Some(name)), chosen, shown));
            }
        }
    }
}

/// The four statistics of a test, or nulls with a note.
fn tested(names: [&'static str; 4], test: Option<Dependence>, why: &str) -> Vec<Statistic> {
    let numbers = match test {
        Some(Dependence { chi_square, freedom, p, cramers_v, .. }) => [chi_square, freedom, p, cramers_v].map(Some),
        None => [None; 4],
    };
    let statistic = |(name, estimate): (&'static str, Option<f64>)| {
        let mut statistic = Statistic { name, estimate, method: estimate.map(|_| "pearson"), ..Statistic::default() };
        if estimate.is_none() {
            statistic.add_note(why);
        }
        statistic
    };
    let mut statistics: Vec<Statistic> = names.into_iter().zip(numbers).map(statistic).collect();
    if let Some(test) = test.filter(|test| test.small > MOST_SMALL) {
        let share = (100.0 * test.small).round();
        statistics[2].add_note(format!("{share} % of the expected counts are below 5, so this is approximate"));
    }
    statistics
}

/// Adds the test of the position of a question against its answers. `at` has the number of the
/// question, and the read of the order of all questions.
fn question_order(question: &Question, rows: &Rows<'_>, at: (usize, usize), statistics: &mut Vec<Statistic>) {
    let (number, last) = at;
    let orders = sequences(rows, last);
    let (chosen, order) = (rows.labels(2 * number), rows.labels(last));
    let mut counts: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    let (mut n, mut left_out) = (0, 0);
    for ((choice, order), count) in chosen.iter().zip(&order).zip(rows.counts()) {
        let asked = order.and_then(|order| orders[order].iter().position(|id| id == question.id()));
        match (choice, asked) {
            (Some(choice), Some(asked)) => {
                *counts.entry((asked, *choice)).or_default() += count as f64;
                n += count;
            }
            _ => left_out += count,
        }
    }
    let size = |of: fn(&(usize, usize)) -> usize| counts.keys().map(of).max().map_or(0, |most| most + 1);
    let (height, width) = (size(|cell| cell.0), size(|cell| cell.1));
    let count = |row: usize, column: usize| counts.get(&(row, column)).copied().unwrap_or(0.0);
    let table: Vec<Vec<f64>> = (0..height).map(|row| (0..width).map(|column| count(row, column)).collect()).collect();
    let names = ["question_chi_square", "question_df", "question_p_value", "question_cramers_v"];
    let why = match n {
        0 => "no row has an answer and an order",
        _ => "the question was always at the same position, or all chose the same option",
    };
    let tested = tested(names, independence(&table), why).into_iter();
    let of = vec![Some(question.column.clone()), None, None];
    statistics.extend(tested.map(|statistic| Statistic { of: of.clone(), n, left_out, ..statistic }));
}
