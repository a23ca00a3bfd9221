//! Sessions: the rounds of a row, derived from its question, its context and the answers so far.

use serde_json::Value as Json;

use super::calls::{Calls, Ended, Tokens};
use super::settings::Bounds;
use super::wording::{self, Reply};
use crate::prompt::{Answer, Expect, Failure, FailureKind, Message};
use crate::starlark::{Limit, Machine, Meter, Stop, Value, from_json, parse};
use crate::table::Cell;

/// The version of the language and of the wording. Another version makes other rounds.
pub(crate) const VERSION: u32 = 1;

/// The context of a row.
#[derive(Clone, Debug)]
pub(crate) enum Context {
    Text(String),
    /// The rows of a group, each with the values of these columns.
    Rows(Vec<String>, Vec<Vec<Cell>>),
}

/// What a session is about.
pub(crate) struct Subject<'a> {
    pub(crate) bounds: &'a Bounds,
    pub(crate) expect: &'a Expect,
    /// The first messages to the root model.
    pub(crate) opening: Vec<Message>,
    pub(crate) context: &'a Context,
}

/// How a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The next round follows.
    Continued,
    /// The program has a mistake, which the root model sees.
    Mistake,
    /// The final answer does not fit, and the root model sees why.
    Refused,
    Final,
    /// The program exceeds a bound.
    Exceeded,
    /// Calls of the program have no answer.
    Open,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Continued => "continued",
            Outcome::Mistake => "mistake",
            Outcome::Refused => "refused",
            Outcome::Final => "final",
            Outcome::Exceeded => "exceeded",
            Outcome::Open => "open",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    pub(crate) reply: String,
    pub(crate) code: Option<String>,
    pub(crate) printed: String,
    pub(crate) outcome: Outcome,
    pub(crate) calls: u64,
    pub(crate) failed_calls: u64,
    pub(crate) root: Tokens,
    pub(crate) sub: Tokens,
}

/// Where a session is.
#[derive(Debug)]
pub(crate) enum State {
    /// The root model is asked next.
    Root(Vec<Message>),
    /// The sub model is asked these prompts next.
    Sub(Vec<String>),
    Done(Answer),
    Failed(Failure),
}

pub(crate) struct Session {
    pub(crate) rounds: Vec<Round>,
    pub(crate) calls: u64,
    pub(crate) state: State,
}

/// What a round leads to.
enum Next {
    /// The root model sees this text.
    Say(String, Outcome),
    End(State, Outcome),
}

/// Carries out the rounds of a row until an answer is missing.
pub(crate) fn session(subject: Subject<'_>, answers: &[Answer]) -> Session {
    let Subject { bounds, expect, opening, context } = subject;
    let mut messages = opening;
    let mut rounds: Vec<Round> = Vec::new();
    let mut machine = match machine(bounds, context, answers) {
        Ok(machine) => machine,
        Err(_) => {
            let failure = FailureKind::Program.because("the context can't be read");
            return Session { rounds, calls: 0, state: State::Failed(failure) };
        }
    };
    let state = loop {
        if rounds.len() as u64 >= bounds.rounds {
            let message = format!("no final answer came in {} rounds: raise `max_rounds`", bounds.rounds);
            break State::Failed(FailureKind::Program.because(message));
        }
        let Some(answer) = machine.host.answers.next() else { break State::Root(messages) };
        let (Some(Cell::Text(reply)), mut root) = (answer.first(), Tokens::default()) else {
            break State::Failed(FailureKind::Program.because("the root model has no reply"));
        };
        root.add(answer);
        machine.host.begin_round();
        let read = wording::read(reply);
        let next = match &read {
            Reply::Code(code) => carried_out(&mut machine, code, (bounds, expect), rounds.len() + 1),
            Reply::Final(text) => finished(expect, Json::String(text.clone())),
            Reply::Neither => Next::Say(wording::NEITHER.to_owned(), Outcome::Mistake),
        };
        let outcome = match &next {
            Next::Say(_, outcome) | Next::End(_, outcome) => *outcome,
        };
        let host = &machine.host;
        rounds.push(Round {
            reply: reply.clone(),
            code: if let Reply::Code(code) = read { Some(code) } else { None },
            printed: wording::shown(&host.printed, bounds.output_chars),
            outcome,
            calls: host.round_calls,
            failed_calls: host.round_failed,
            root,
            sub: host.tokens,
        });
        match next {
            Next::End(state, _) => break state,
            Next::Say(text, _) => messages.extend([Message::assistant(reply.as_str()), Message::user(text)]),
        }
    };
    Session { rounds, calls: machine.host.calls, state }
}

/// The machine of a row, with its context. The context does not count against the bounds.
fn machine<'a>(bounds: &'a Bounds, context: &Context, answers: &'a [Answer]) -> Result<Machine<Calls<'a>>, Stop> {
    let mut machine = Machine::new(Calls::new(bounds, answers), Meter::new(u64::MAX, u64::MAX));
    let heap = &mut machine.heap;
    let value = match context {
        Context::Text(text) => heap.text(text)?,
        Context::Rows(names, rows) => {
            let mut values = Vec::with_capacity(rows.len());
            for row in rows {
                let dict = heap.dict()?;
                for (name, cell) in names.iter().zip(row) {
                    let key = heap.text(name)?;
                    let value = match cell {
                        Cell::Text(text) => heap.text(text)?,
                        other => from_json(heap, &other.json())?,
                    };
                    heap.insert(&dict, key, value)?;
                }
                values.push(Value::Dict(dict));
            }
            heap.list(values)?
        }
    };
    machine.host.set_context(value.clone());
    machine.set("context", value);
    machine.heap.meter = Meter::new(bounds.steps, bounds.memory_mb << 20);
    Ok(machine)
}

fn carried_out(
    machine: &mut Machine<Calls<'_>>,
    code: &str,
    (bounds, expect): (&Bounds, &Expect),
    round: usize,
) -> Next {
    let ended = parse(code).and_then(|program| machine.run(&program));
    let printed = wording::shown(&machine.host.printed, bounds.output_chars);
    let exceeds = |what: &str, field: &str| {
        let message = format!("the program of round {round} {what}: raise `{field}`");
        Next::End(State::Failed(FailureKind::Program.because(message)), Outcome::Exceeded)
    };
    match ended {
        Ok(()) => Next::Say(wording::ran(&printed), Outcome::Continued),
        Err(Stop::Error(error)) => Next::Say(wording::failed(&printed, &error), Outcome::Mistake),
        Err(Stop::Limit(Limit::Steps)) => exceeds(&format!("takes more than {} steps", bounds.steps), "max_steps"),
        Err(Stop::Limit(Limit::Memory)) => {
            exceeds(&format!("takes more than {} MB of memory", bounds.memory_mb), "max_memory_mb")
        }
        Err(Stop::Host) => match machine.host.ended.take() {
            Some(Ended::Needs(prompts)) => Next::End(State::Sub(prompts), Outcome::Open),
            Some(Ended::Exceeds(what, field)) => exceeds(&what, field),
            Some(Ended::Final(answer)) => finished(expect, answer),
            None => Next::Say(wording::ran(&printed), Outcome::Continued),
        },
    }
}

/// Reads a final answer. The root model sees why an answer does not fit.
fn finished(expect: &Expect, answer: Json) -> Next {
    let text = match answer {
        Json::String(text) => text,
        Json::Null => String::new(),
        other => other.to_string(),
    };
    let refused = |why: &str| Next::Say(wording::refused(why), Outcome::Refused);
    if text.trim().is_empty() {
        return refused("it is empty");
    }
    match expect.read(&text, None) {
        Ok(cells) => Next::End(State::Done(cells), Outcome::Final),
        Err(why) => refused(&why),
    }
}
