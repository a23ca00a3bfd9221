//! Answers: from a reply to cells, or to the reason why it is none; from a record to what it says again.

use std::sync::Arc;

use crate::prompt::{Answer, Failure, FailureKind, Item, Pack, Probabilities, Prompt, of_tokens};
use crate::provider::{Finish, Reply};
use crate::spec::{Overflow, Repair, StageSpec};
use crate::store::{Notes, Record};

/// A finished call as a row sees it.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What was recorded.
    pub record: Arc<Record>,
    pub answer: Result<Answer, Failure>,
    /// Whether it was there already.
    pub from_ledger: bool,
    /// The row's place in it, where it asks about several rows.
    pub place: Option<Box<PackPosition>>,
}

/// The place of a row in a call about several.
#[derive(Clone, Debug)]
pub struct PackPosition {
    /// How many items it asks about.
    pub size: usize,
    /// The row's item among them, from 1.
    pub position: usize,
    /// Whether it is the first row of the first item, in whose line of the calls table the call itself stands.
    pub carries: bool,
    /// The item's part of the reply, as JSON.
    pub part: Option<String>,
}

impl Finished {
    /// What an answered record says under `prompt`; `None` if its reply doesn't fit what is expected now, or came about in a
    /// way that is not allowed now.
    pub fn known(record: Arc<Record>, prompt: &Prompt, terms: &Terms<'_>) -> Option<Finished> {
        terms.allow(&record.notes).ok()?;
        let answer = of_record(prompt, &record).ok()?;
        Some(Finished { record, answer: Ok(answer), from_ledger: true, place: None })
    }

    /// Somebody else's answer to the same call.
    pub fn shared(record: Arc<Record>, prompt: &Prompt, terms: &Terms<'_>) -> Finished {
        let answer = match &record.error {
            Some(error) => Err(Failure::read(error)),
            None => terms
                .allow(&record.notes)
                .and_then(|()| of_record(prompt, &record).map_err(|reason| FailureKind::Malformed.because(reason))),
        };
        Finished { record, answer, from_ledger: true, place: None }
    }

    /// What became of the items of a pack that this call asked about.
    pub fn items(&self, pack: &Pack, repair: Repair) -> Vec<Item> {
        let failed = match &self.answer {
            Err(failure) => failure.to_string(),
            Ok(_) if is_whole(&self.record.finish) => {
                return pack.read(&self.record.reply, repair == Repair::Lenient);
            }
            Ok(_) => format!("the reply about {} rows ended with `{}`", pack.size(), self.record.finish),
        };
        vec![Item { part: None, answer: Err(failed) }; pack.size()]
    }
}

/// What a stage lets pass for an answer of a model.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// How often a call may be tried.
    pub max_attempts: u32,
    /// What becomes of a prompt that is too long.
    pub overflow: Overflow,
    /// What becomes of a reply that is not quite JSON.
    pub repair: Repair,
    /// Who may answer in the model's place: name and index in the spec.
    pub fallback: &'a [(String, usize)],
}

impl<'a> Terms<'a> {
    /// The terms of `stage` for a model with these fallbacks.
    pub fn new(stage: &StageSpec, fallback: &'a [(String, usize)]) -> Terms<'a> {
        let StageSpec { max_attempts, overflow, repair, .. } = *stage;
        Terms { max_attempts, overflow, repair, fallback }
    }

    /// Whether an answer may have come about like this.
    fn allow(&self, notes: &Notes) -> Result<(), Failure> {
        if notes.left_out.is_some() && self.overflow == Overflow::Error {
            let reason = "the prompt exceeds the context; a recorded answer exists only for a shortened prompt, which this \
                          stage does not allow";
            return Err(FailureKind::ContextTooLong.because(reason));
        }
        if notes.repaired && self.repair == Repair::None {
            let reason = "the reply is only JSON when it is repaired, as another stage wants it";
            return Err(FailureKind::Malformed.because(reason));
        }
        match &notes.fallback {
            Some(name) if !self.fallback.iter().any(|(allowed, _)| allowed == name) => {
                Err(FailureKind::Unavailable.because(format!("only `{name}` answered, as another model's fallback")))
            }
            _ => Ok(()),
        }
    }
}

/// Words beside `stop` that servers use when a model was done.
const WHOLE: [&str; 5] = ["eos", "eos_token", "stop_sequence", "end_turn", "completed"];

/// Whether a reply that ended so, by its record, came to its end.
fn is_whole(finish: &str) -> bool {
    finish == "stop" || WHOLE.contains(&finish)
}

/// The answer of a reply and whether it had to be repaired; `context` is how many tokens prompt and reply may have together.
pub fn usable(reply: &Reply, prompt: &Prompt, context: Option<u64>, repair: Repair) -> Result<(Answer, bool), Failure> {
    let unusable = |kind: FailureKind, message: String| Err(kind.because(message));
    let context = context.unwrap_or(u64::MAX);
    let prompt_tokens = reply.prompt_tokens.unwrap_or(0);
    // Ollama drops the front of a prompt that is too long and answers what is left; its own count gives it away.
    if prompt_tokens >= context {
        let message = format!("the prompt fills the whole context of {context} tokens and was cut; raise `num_ctx`");
        return unusable(FailureKind::ContextTooLong, message);
    }
    match &reply.finish {
        Finish::Length if prompt_tokens + reply.completion_tokens.unwrap_or(0) >= context => {
            let message = format!("the reply was cut off where the context of {context} tokens was full");
            unusable(FailureKind::ContextTooLong, message)
        }
        Finish::Length => {
            let tokens = reply.completion_tokens.map_or("some".to_owned(), |n| n.to_string());
            let message = format!("the reply was cut off after {tokens} tokens; raise `max_tokens`");
            unusable(FailureKind::Truncated, message)
        }
        Finish::ContentFilter => unusable(FailureKind::Refused, "the provider withheld the reply".to_owned()),
        Finish::Other(word) if !WHOLE.contains(&word.as_str()) => {
            let message = format!("the model stopped because of `{word}`, which is no end of an answer");
            unusable(FailureKind::Truncated, message)
        }
        Finish::Stop | Finish::Other(_) => {
            if prompt.pack.is_some() {
                // Whatever it says counts: each of its items is read by itself.
                return Ok((Vec::new(), false));
            }
            let kept = probabilities(reply, prompt);
            read(prompt, &reply.text, kept.as_deref(), false).map(|answer| (answer, false)).or_else(|reason| {
                let repaired = (repair == Repair::Lenient).then(|| read(prompt, &reply.text, kept.as_deref(), true));
                match repaired {
                    Some(Ok(answer)) => Ok((answer, true)),
                    _ => unusable(FailureKind::Malformed, reason),
                }
            })
        }
    }
}

/// The probabilities of a reply's labels as they are kept in its record.
pub fn probabilities(reply: &Reply, prompt: &Prompt) -> Option<String> {
    if prompt.pack.is_some() {
        return None;
    }
    let of_tokens = || of_tokens(&reply.text, &reply.tokens, prompt.schema.as_deref()?);
    let found = reply.probabilities.clone().or_else(of_tokens)?;
    serde_json::to_string(&found).ok()
}

fn of_record(prompt: &Prompt, record: &Record) -> Result<Answer, String> {
    if prompt.pack.is_some() {
        return Ok(Vec::new());
    }
    read(prompt, &record.reply, record.probabilities.as_deref(), record.notes.repaired)
}

/// The answer of a reply with its kept probabilities: read from what is kept even when the reply is new, so that a row
/// has the same cells when it is answered from the ledger.
fn read(prompt: &Prompt, reply: &str, kept: Option<&str>, repaired: bool) -> Result<Answer, String> {
    let kept = kept.filter(|_| prompt.expect.needs_probabilities());
    let probabilities: Option<Probabilities> = kept.and_then(|json| serde_json::from_str(json).ok());
    match repaired {
        true => {
            prompt.expect.read_repaired(reply, probabilities.as_ref()).ok_or_else(|| "it can't be repaired".to_owned())
        }
        false => prompt.expect.read(reply, probabilities.as_ref()),
    }
}
