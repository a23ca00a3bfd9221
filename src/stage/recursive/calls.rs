//! The functions of a program: calls to the sub model, search, printing and the final answer.
//!
//! The answers so far are used in the order of the calls. A call without an answer ends the program: the stage asks it, and
//! carries the program out again.

use std::rc::Rc;
use std::slice::Iter;

use regex::RegexBuilder;

use super::settings::Bounds;
use crate::prompt::Answer;
use crate::starlark::{Arguments, Heap, Host, Stop, Text, Value, display, error, to_json};
use crate::table::Cell;

/// The most bytes of a compiled pattern.
const PATTERN: usize = 1 << 18;
/// The most matches that a search returns, unless the program says otherwise.
const MATCHES: usize = 100;
/// The steps of compiling a pattern.
const COMPILING: u64 = 500;
const CHUNK: &str = "{chunk}";

/// Why the host ended a program.
#[derive(Debug)]
pub(crate) enum Ended {
    /// These prompts to the sub model have no answer yet.
    Needs(Vec<String>),
    Final(serde_json::Value),
    /// The program exceeds a bound: what it does, and the field.
    Exceeds(String, &'static str),
}

/// The tokens of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) prompt: i64,
    pub(crate) completion: i64,
}

impl Tokens {
    pub(crate) fn add(&mut self, answer: &Answer) {
        if let [_, _, Cell::Integer(prompt), Cell::Integer(completion)] = answer.as_slice() {
            self.prompt += prompt;
            self.completion += completion;
        }
    }
}

pub(crate) struct Calls<'a> {
    bounds: &'a Bounds,
    /// The answers to all calls of the row, in order: those to the root model and those of its programs.
    pub(crate) answers: Iter<'a, Answer>,
    context: Value,
    pub(crate) ended: Option<Ended>,
    /// What the program of this round has printed.
    pub(crate) printed: String,
    /// The calls of the row, and those of this round.
    pub(crate) calls: u64,
    pub(crate) round_calls: u64,
    pub(crate) round_failed: u64,
    pub(crate) tokens: Tokens,
}

impl<'a> Calls<'a> {
    pub(crate) fn new(bounds: &'a Bounds, answers: &'a [Answer]) -> Self {
        Calls {
            bounds,
            answers: answers.iter(),
            context: Value::None,
            ended: None,
            printed: String::new(),
            calls: 0,
            round_calls: 0,
            round_failed: 0,
            tokens: Tokens::default(),
        }
    }

    pub(crate) fn set_context(&mut self, context: Value) {
        self.context = context;
    }

    /// Forgets what the program of the last round has done.
    pub(crate) fn begin_round(&mut self) {
        (self.printed, self.ended) = (String::new(), None);
        (self.round_calls, self.round_failed, self.tokens) = (0, 0, Tokens::default());
    }

    fn end<T>(&mut self, ended: Ended) -> Result<T, Stop> {
        self.ended = Some(ended);
        Err(Stop::Host)
    }

    /// Counts calls before they are made.
    fn count(&mut self, calls: u64) -> Result<(), Stop> {
        if self.calls.saturating_add(calls) > self.bounds.calls {
            let most = self.bounds.calls;
            return self.end(Ended::Exceeds(format!("needs more than {most} calls to the sub model"), "max_calls"));
        }
        self.calls += calls;
        self.round_calls += calls;
        Ok(())
    }

    fn fits(&mut self, chars: usize) -> Result<(), Stop> {
        let most = self.bounds.prompt_chars;
        match chars as u64 > most {
            true => {
                let what = format!("makes a prompt of {chars} characters, more than {most}");
                self.end(Ended::Exceeds(what, "max_prompt_chars"))
            }
            false => Ok(()),
        }
    }

    /// The value of the next answer, if there is one.
    fn answer(&mut self, heap: &mut Heap) -> Result<Option<Value>, Stop> {
        let Some(answer) = self.answers.next() else { return Ok(None) };
        self.tokens.add(answer);
        match answer.as_slice() {
            [Cell::Text(text), ..] => heap.text(text).map(Some),
            [_, Cell::Text(failure), ..] => {
                self.round_failed += 1;
                heap.failed(failure, "the call failed").map(Some)
            }
            _ => heap.failed("missing", "the call has no answer").map(Some),
        }
    }

    fn llm_query(&mut self, arguments: Arguments, heap: &mut Heap) -> Result<Value, Stop> {
        let [Some(Value::Text(prompt)), None] = arguments.at_most("llm_query")? else {
            return error("`llm_query` needs one text, the prompt");
        };
        if prompt.text.trim().is_empty() {
            return error("the prompt of `llm_query` is empty");
        }
        self.fits(prompt.chars)?;
        self.count(1)?;
        match self.answer(heap)? {
            Some(answer) => Ok(answer),
            None => self.end(Ended::Needs(vec![prompt.text.to_string()])),
        }
    }

    fn parallel_query(&mut self, arguments: Arguments, heap: &mut Heap) -> Result<Value, Stop> {
        let [Some(Value::Text(template)), Some(Value::List(chunks) | Value::Tuple(chunks))] =
            arguments.at_most("parallel_query")?
        else {
            return error("`parallel_query` needs a template, a text with `{chunk}`, and a list of chunks");
        };
        if !template.text.contains(CHUNK) {
            return error("the template of `parallel_query` does not contain `{chunk}`");
        }
        let chunks = chunks.values.borrow();
        self.count(chunks.len() as u64)?;
        let mut values = Vec::new();
        let mut needed = Vec::new();
        for chunk in chunks.iter() {
            if matches!(chunk, Value::Failed(_)) {
                return error("a chunk is a failed call; leave it out with is_error()");
            }
            heap.meter.step(1)?;
            if needed.is_empty()
                && let Some(value) = self.answer(heap)?
            {
                values.push(value);
                continue;
            }
            if needed.len() as u64 >= self.bounds.parallel_calls {
                break;
            }
            let chunk = display(chunk, heap)?;
            let places = template.text.matches(CHUNK).count();
            let without = template.chars - places * CHUNK.len();
            self.fits(without.saturating_add(places.saturating_mul(chunk.chars().count())))?;
            heap.room(template.text.len().saturating_add(places.saturating_mul(chunk.len())))?;
            needed.push(template.text.replace(CHUNK, &chunk));
        }
        if needed.is_empty() { heap.list(values) } else { self.end(Ended::Needs(needed)) }
    }

    fn search(&mut self, mut arguments: Arguments, heap: &mut Heap) -> Result<Value, Stop> {
        let mut limit = MATCHES;
        if let Some(at) = arguments.named.iter().position(|(name, _)| &**name == "limit") {
            match arguments.named.remove(at).1 {
                Value::Int(most) => limit = usize::try_from(most).unwrap_or(0),
                other => return error(format!("`limit` is an int, not a {}", other.kind())),
            }
        }
        let [Some(Value::Text(pattern)), within] = arguments.at_most("search")? else {
            return error("`search` needs a pattern, and a text or a list if not the context is searched");
        };
        heap.meter.step(COMPILING)?;
        let regex = match RegexBuilder::new(&pattern.text).size_limit(PATTERN).dfa_size_limit(PATTERN).build() {
            Ok(regex) => regex,
            Err(fault) => {
                let why = fault.to_string();
                return error(format!("the pattern is not valid: {}", why.lines().last().unwrap_or(&why)));
            }
        };
        let within = within.unwrap_or_else(|| self.context.clone());
        let mut found = Vec::new();
        match &within {
            Value::Text(text) => matches(heap, &regex, (text, None), limit, &mut found)?,
            Value::List(rows) => {
                for (number, row) in rows.values.borrow().iter().enumerate() {
                    match row {
                        Value::Text(text) => matches(heap, &regex, (text, Some((number, None))), limit, &mut found)?,
                        Value::Dict(dict) => {
                            for (column, value) in dict.entries.borrow().values() {
                                if let Value::Text(text) = value {
                                    matches(heap, &regex, (text, Some((number, Some(column)))), limit, &mut found)?;
                                }
                            }
                        }
                        _ => {}
                    }
                }
            }
            other => return error(format!("`search` needs a text or a list, not a {}", other.kind())),
        }
        heap.list(found)
    }

    fn print(&mut self, arguments: Arguments, heap: &mut Heap) -> Result<Value, Stop> {
        for (i, value) in arguments.plain.iter().enumerate() {
            let text = display(value, heap)?;
            self.printed.push_str(if i > 0 { " " } else { "" });
            self.printed.push_str(&text);
        }
        heap.meter.take(arguments.plain.len() as u64 + 1)?;
        self.printed.push('\n');
        Ok(Value::None)
    }
}

/// A row of the searched list, and the key of a value in it.
type InRow<'a> = Option<(usize, Option<&'a Value>)>;

/// Adds the matches in a text. Each is a dict with the text of the match and its characters.
fn matches(
    heap: &mut Heap,
    regex: &regex::Regex,
    (text, row): (&Rc<Text>, InRow<'_>),
    limit: usize,
    found: &mut Vec<Value>,
) -> Result<(), Stop> {
    if found.len() >= limit {
        return Ok(());
    }
    // A search reads each byte a bounded number of times.
    heap.meter.step(1 + text.text.len() as u64 / 8)?;
    for place in regex.find_iter(&text.text).take(limit - found.len()) {
        heap.meter.step(1)?;
        let dict = heap.dict()?;
        let mut entries = vec![
            ("start", Value::Int(text.character(place.start()) as i64)),
            ("end", Value::Int(text.character(place.end()) as i64)),
            ("text", heap.text(place.as_str())?),
        ];
        if let Some((number, column)) = row {
            entries.push(("row", Value::Int(number as i64)));
            entries.extend(column.map(|column| ("column", column.clone())));
        }
        for (key, value) in entries {
            let key = heap.text(key)?;
            heap.insert(&dict, key, value)?;
        }
        found.push(Value::Dict(dict));
    }
    Ok(())
}

impl Host for Calls<'_> {
    const FUNCTIONS: &'static [&'static str] = &["llm_query", "parallel_query", "search", "print", "final"];

    fn call(&mut self, name: &'static str, arguments: Arguments, heap: &mut Heap) -> Result<Value, Stop> {
        match name {
            "llm_query" => self.llm_query(arguments, heap),
            "parallel_query" => self.parallel_query(arguments, heap),
            "search" => self.search(arguments, heap),
            "print" => self.print(arguments, heap),
            _ => {
                let [Some(answer), None] = arguments.at_most(name)? else {
                    return error("`final` needs one value, the answer");
                };
                let answer = to_json(&mut heap.meter, &answer, 0)?;
                self.end(Ended::Final(answer))
            }
        }
    }
}
