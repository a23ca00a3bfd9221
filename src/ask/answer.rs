//! Answers: reads a reply or a record into cells, or into the reason why the reply can't be used.

use std::sync::Arc;

use super::cut::{ContextSize, cut, was_cut};
use super::cut_off::cut_off;
use crate::prompt::{
    Answer, Expect, Failure, FailureKind, Field, Item, Message, Pack, Probabilities, Prompt, label_probabilities,
    mass_key,
};
use crate::provider::{Finish, Reply};
use crate::spec::{Overflow, Repair, StageSpec};
use crate::store::{Notes, Record};

#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) record: Arc<Record>,
    pub(crate) answer: Result<Answer, Failure>,
    pub(crate) from_ledger: bool,
    pub(crate) place: Option<Box<PackPosition>>,
}

/// The position of a row in a call about several rows.
#[derive(Clone, Debug)]
pub(crate) struct PackPosition {
    pub(crate) size: usize,
    /// The number of the row's item, from 1.
    pub(crate) position: usize,
    /// Whether this is the first row of the first item. The calls table describes the call in the line of this row.
    pub(crate) carries: bool,
    pub(crate) part: Option<String>,
}

impl Finished {
    /// Whether a request was ever sent for the call. A prompt that exceeds the context, for example, is not sent.
    pub(crate) fn was_sent(&self) -> bool {
        self.record.attempts > 0
    }

    /// Returns `None` if the reply is not valid for `prompt`, if `terms` forbid how it was obtained, or if the server
    /// cut the prompt.
    pub(crate) fn known(record: Arc<Record>, prompt: &Prompt, terms: &Terms<'_>) -> Option<Finished> {
        terms.allow(&record.notes).ok()?;
        if !prompt.expect.is_vector() && was_cut(&record, prompt, terms.context) {
            return None;
        }
        let answer = of_record(prompt, &record).ok()?;
        Some(Finished { record, answer: Ok(answer), from_ledger: true, place: None })
    }

    /// The result of an equal call of another task or process, or of a replay file.
    pub(crate) fn shared(record: Arc<Record>, prompt: &Prompt, terms: &Terms<'_>) -> Finished {
        let answer = match &record.error {
            Some(error) => Err(Failure::read(error)),
            None => terms
                .allow(&record.notes)
                .and_then(|()| of_record(prompt, &record).map_err(|reason| unfit(&record).because(reason))),
        };
        Finished { record, answer, from_ledger: true, place: None }
    }

    pub(crate) fn items(&self, pack: &Pack, repair: Repair) -> Vec<Item> {
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

#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) max_attempts: u32,
    pub(crate) overflow: Overflow,
    pub(crate) repair: Repair,
    /// The most texts of a request for vectors.
    pub(crate) texts: usize,
    /// The models that may answer instead, by name and index in the spec.
    pub(crate) fallback: &'a [(String, usize)],
    /// The context of the model.
    pub(crate) context: ContextSize,
}

impl<'a> Terms<'a> {
    pub(crate) fn new(stage: &StageSpec, fallback: &'a [(String, usize)], context: ContextSize) -> Terms<'a> {
        let StageSpec { max_attempts, overflow, repair, .. } = *stage;
        Terms { max_attempts, overflow, repair, texts: stage.batch_size, fallback, context }
    }

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

/// The word of a record for a reply that was cut off at `max_tokens`.
const CUT: &str = "length";

/// Words other than `stop` that servers use for a complete reply.
const WHOLE: [&str; 6] = ["eos", "eos_token", "stop_sequence", "end_turn", "completed", Finish::UNSTATED];

fn is_whole(finish: &str) -> bool {
    finish == "stop" || WHOLE.contains(&finish)
}

/// Whether the model itself ended the reply and all replies before it, so that a larger limit changes nothing.
pub(super) fn ended_by_itself(record: &Record) -> bool {
    let was_cut = record.tries.as_ref().is_some_and(|tries| tries.contains(r#""error":"truncated"#));
    record.error.is_none() && is_whole(&record.finish) && record.notes.fallback.is_none() && !was_cut
}

/// The answer of a reply, and whether its JSON was repaired. `sent` is the prompt without replies to be corrected.
pub(crate) fn usable(
    reply: &Reply,
    prompt: &Prompt,
    sent: &[Message],
    context: ContextSize,
    repair: Repair,
) -> Result<(Answer, bool), Failure> {
    let unusable = |kind: FailureKind, message: String| Err(kind.because(message));
    if let Some(message) = cut(reply, sent, context).filter(|_| !prompt.expect.is_vector()) {
        return unusable(FailureKind::ContextTooLong, message);
    }
    let complete = |word: &str| WHOLE.contains(&word) && (word != Finish::UNSTATED || prompt.schema.is_some());
    match &reply.finish {
        Finish::Length if prompt.pack.is_none() && prompt.expect.read_cut(&reply.text).is_ok() => {
            Ok((prompt.expect.read_cut(&reply.text).unwrap_or_default(), false))
        }
        Finish::Length => Err(cut_off(reply, context)),
        Finish::Other(word) if word == Finish::UNFIT => {
            unusable(FailureKind::Malformed, "the server found that the reply does not fit the schema".to_owned())
        }
        Finish::Stop | Finish::Other(_) if reply.text.trim().is_empty() && reply.thoughts.text.is_some() => {
            let message = "only reasoning came, and no answer: the server took the whole text for reasoning; change its \
                           reasoning parser, or set `think = false`";
            unusable(FailureKind::Malformed, message.to_owned())
        }
        Finish::Stop if reply.text.is_empty() => unusable(FailureKind::Malformed, "the reply has no text".to_owned()),
        Finish::Other(why) if reply.text.is_empty() => {
            unusable(FailureKind::Malformed, format!("the reply has no text; the model stopped with `{why}`"))
        }
        Finish::ContentFilter => unusable(FailureKind::Refused, "the provider withheld the reply".to_owned()),
        Finish::Other(word) if word == Finish::UNSTATED && !complete(word) => {
            unusable(FailureKind::Truncated, "the reply does not say why it ended".to_owned())
        }
        Finish::Other(word) if !complete(word) => {
            let message = format!("the model stopped because of `{word}`, which does not end an answer");
            unusable(FailureKind::Truncated, message)
        }
        Finish::Stop | Finish::Other(_) => {
            if prompt.pack.is_some() {
                // The items are read separately later.
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

pub(crate) fn probabilities(reply: &Reply, prompt: &Prompt) -> Option<String> {
    if prompt.pack.is_some() {
        return None;
    }
    let Expect::Record(fields) = &*prompt.expect else { return None };
    let found = match &reply.probabilities {
        Some(found) => with_masses(found.clone(), fields),
        None => label_probabilities(&reply.text, &reply.tokens, fields)?,
    };
    serde_json::to_string(&found).ok()
}

/// A provider that reports probabilities of labels without their masses looks at nothing but the labels.
fn with_masses(mut found: Probabilities, fields: &[Field]) -> Probabilities {
    for field in fields {
        if let Some(scaled) = found.get(&field.name).cloned() {
            found.entry(mass_key(&field.name)).or_insert(scaled);
        }
    }
    found
}

fn unfit(record: &Record) -> FailureKind {
    if record.finish == CUT { FailureKind::Truncated } else { FailureKind::Malformed }
}

fn of_record(prompt: &Prompt, record: &Record) -> Result<Answer, String> {
    if prompt.pack.is_some() {
        return Ok(Vec::new());
    }
    if record.finish == CUT {
        return prompt.expect.read_cut(&record.reply);
    }
    let kept = kept(prompt, record.probabilities.as_deref());
    match record.notes.repaired {
        true => read(prompt, &record.reply, record.probabilities.as_deref(), true),
        false => prompt.expect.read_recorded(&record.reply, kept.as_ref()),
    }
}

fn kept(prompt: &Prompt, kept: Option<&str>) -> Option<Probabilities> {
    serde_json::from_str(kept.filter(|_| prompt.expect.needs_probabilities())?).ok()
}

/// A new reply is also read from its stored form, so that the ledger later returns the same cells.
fn read(prompt: &Prompt, reply: &str, kept: Option<&str>, repaired: bool) -> Result<Answer, String> {
    let probabilities = self::kept(prompt, kept);
    match repaired {
        true => {
            prompt.expect.read_repaired(reply, probabilities.as_ref()).ok_or_else(|| "it can't be repaired".to_owned())
        }
        false => prompt.expect.read(reply, probabilities.as_ref()),
    }
}
