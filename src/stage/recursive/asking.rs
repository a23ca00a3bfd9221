//! Asking: the prompts and the cells of a row, from its session.

use std::sync::Arc;

use super::session::{Context, Round, Session, State, Subject, session};
use super::settings::Bounds;
use super::trajectory;
use super::wording;
use crate::prompt::{Addressee, Answer, Bound, Expect, Failure, FailureKind, Message, Prompt};
use crate::stage::ask::{Ask, StageInfo};
use crate::stage::view::{self, View};
use crate::table::{Cell, Row};

/// The columns of the input that are the context.
#[derive(Debug)]
pub(crate) enum ContextColumns {
    Text(usize),
    /// The column with the number of rows of the group, and the columns with their values.
    Rows {
        count: usize,
        columns: Vec<(usize, String)>,
    },
}

impl ContextColumns {
    pub(crate) fn is_text(&self) -> bool {
        matches!(self, ContextColumns::Text(_))
    }

    pub(crate) fn reads(&self) -> Vec<usize> {
        match self {
            ContextColumns::Text(column) => vec![*column],
            ContextColumns::Rows { columns, .. } => columns.iter().map(|(column, _)| *column).collect(),
        }
    }

    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        match self {
            ContextColumns::Text(_) => None,
            ContextColumns::Rows { columns, .. } => Some(columns.iter().map(|(_, name)| name.as_str()).collect()),
        }
    }

    fn of(&self, row: Row<'_>) -> Context {
        let (count, columns) = match self {
            ContextColumns::Text(column) => return Context::Text(row.cell(*column).text()),
            ContextColumns::Rows { count, columns } => (*count, columns),
        };
        let count = match row.cell(count) {
            Cell::Integer(count) => count.max(0) as usize,
            _ => 0,
        };
        let mut rows = vec![Vec::with_capacity(columns.len()); count];
        for (column, _) in columns {
            let Cell::List(cells) = row.cell(*column) else { continue };
            rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
        }
        Context::Rows(columns.iter().map(|(_, name)| name.clone()).collect(), rows)
    }
}

#[derive(Debug)]
pub(crate) struct BoundRecursive {
    pub(crate) bounds: Bounds,
    pub(crate) prompt: Bound,
    pub(crate) system: String,
    pub(crate) columns: ContextColumns,
    /// The characters of the context in the first prompt.
    pub(crate) head: usize,
    /// The number of columns of the answer.
    pub(crate) width: usize,
    pub(crate) expect: Expect,
}

impl BoundRecursive {
    fn session(&self, row: Row<'_>, answers: &[Answer]) -> Result<Session, Failure> {
        let question = self.prompt.render(row, &[]).map_err(|message| FailureKind::Template.because(message))?;
        let context = self.columns.of(row);
        let (about, head) = self.about(&context);
        let opening = vec![
            Message::system(self.system.as_str()).for_all(),
            Message::user(wording::opening(&question, &about, &head)),
        ];
        Ok(session(Subject { bounds: &self.bounds, expect: &self.expect, opening, context: &context }, answers))
    }

    /// What the root model knows of the context: its type and its length, and its beginning if the spec says so.
    fn about(&self, context: &Context) -> (String, String) {
        let head = |text: &str| text.chars().take(self.head).collect::<String>();
        match context {
            Context::Text(text) => {
                (format!("The context is a text of {} characters.", text.chars().count()), head(text))
            }
            Context::Rows(names, rows) => {
                let about = format!("The context is a list of {} rows with the keys {}.", rows.len(), names.join(", "));
                let mut shown = String::new();
                for row in rows.iter().take_while(|_| self.head > 0) {
                    let cells = names.iter().zip(row).map(|(name, cell)| (name.clone(), cell.json())).collect();
                    shown.push_str(&serde_json::Value::Object(cells).to_string());
                    shown.push('\n');
                    if shown.chars().count() > self.head {
                        break;
                    }
                }
                (about, head(&shown).trim_end().to_owned())
            }
        }
    }

    fn prompt(&self, messages: Vec<Message>, to: Addressee) -> Prompt {
        Prompt { messages, expect: Arc::new(Expect::Text), schema: None, respondent: None, pack: None, to }
    }

    /// The columns after those of the answer.
    fn of_rounds(session: &Session) -> [Cell; 3] {
        let rounds: &[Round] = &session.rounds;
        let number = |number: u64| Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        [number(rounds.len() as u64), number(session.calls), Cell::Text(trajectory::written(rounds))]
    }
}

impl Ask for BoundRecursive {
    fn prompts(&self, row: Row<'_>, so_far: &[Answer]) -> Result<Vec<Prompt>, Failure> {
        match self.session(row, so_far)?.state {
            State::Root(messages) => Ok(vec![self.prompt(messages, Addressee::Root)]),
            State::Sub(prompts) => {
                let prompt = |text: String| self.prompt(vec![Message::user(text)], Addressee::Sub);
                Ok(prompts.into_iter().map(prompt).collect())
            }
            State::Done(_) => Ok(Vec::new()),
            State::Failed(failure) => Err(failure),
        }
    }

    fn cells(&self, row: Row<'_>, _: &str, answers: &[Answer]) -> Vec<Cell> {
        let Ok(session) = self.session(row, answers) else { return self.unanswered(row, &[]) };
        let rounds = Self::of_rounds(&session);
        match session.state {
            State::Done(cells) => cells.into_iter().chain(rounds).collect(),
            _ => vec![Cell::Null; self.width].into_iter().chain(rounds).collect(),
        }
    }

    fn unanswered(&self, row: Row<'_>, answers: &[Answer]) -> Vec<Cell> {
        if answers.is_empty() {
            return vec![Cell::Null; self.width + 3];
        }
        self.cells(row, "", answers)
    }

    fn views(&self, info: &StageInfo) -> Vec<View> {
        let of = |at: usize| info.writes[self.width + at].name.as_str();
        let answers = info.views().into_iter().take(self.width);
        answers.chain([view::numbers("Rounds per row", of(0)), view::numbers("Calls per row", of(1))]).collect()
    }
}
