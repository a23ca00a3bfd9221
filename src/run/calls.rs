//! The one door to the models: a call is asked here, tried again here, checked and recorded here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::{Cost, Purse};
use super::connect::{Models, Target};
use super::progress::StageProgress;
use super::recent::{Claim, Lookup, Recent};
use super::recorder::Recorder;
use super::retry::{self, Next};
use super::stop::{Stop, StopReason};
use crate::prompt::{Answer, Message, Probabilities, Prompt};
use crate::provider::{Call, CallError, CallErrorKind, Encoded, Finish, Reply};
use crate::spec::{Budget, OnOutage};
use crate::store::{Key, LedgerError, Record};

/// The version of how keys are made; another one asks everything again.
pub const KEY_VERSION: &str = "fanfold-call-1";

/// The door.
pub struct Calls {
    models: Models,
    purse: Purse,
    recorder: Recorder,
    stop: Stop,
}

/// A finished call as a row sees it.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What was recorded.
    pub record: Arc<Record>,
    /// Its cells, or `kind: message`.
    pub answer: Result<Answer, String>,
    /// Whether it was there already.
    pub from_ledger: bool,
}

impl Finished {
    /// What an answered record says under `prompt`; `None` if its reply doesn't fit what is expected now.
    pub fn known(record: Arc<Record>, prompt: &Prompt) -> Option<Finished> {
        let answer = read(prompt, &record.reply, record.probabilities.as_deref()).ok()?;
        Some(Finished { record, answer: Ok(answer), from_ledger: true })
    }
}

/// A call that is wanted.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// The model's index in the spec.
    pub model: usize,
    /// How often the same was asked of the model before, for another row of the replicates.
    pub replicate: u64,
    /// What to ask.
    pub prompt: &'a Prompt,
    /// Its key.
    pub key: Key,
    /// How often to try.
    pub max_attempts: u32,
}

/// The key of a call: a hash of the provider's kind, the model's build, the request as it is sent without what cannot
/// change the answer, the replicate (from 0) and the respondent.
pub fn call_key(target: &Target, prompt: &Prompt, replicate: u64) -> Key {
    let model = target.model_for(prompt, replicate);
    let call = Call { model: &model, messages: &prompt.messages, schema: prompt.schema.as_deref() };
    let encoded = target.provider.encode(&call);
    let mut hasher = blake3::Hasher::new();
    for part in [KEY_VERSION, target.provider.kind(), target.build.digest.as_deref().unwrap_or("")] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.update(&encoded.body[..encoded.keyed]);
    for (what, number) in [(0, Some(replicate).filter(|r| *r > 0)), (1, target.respondent(prompt))] {
        if let Some(number) = number {
            hasher.update(&[what]).update(&number.to_le_bytes());
        }
    }
    Key(hasher.finalize().as_bytes()[..16].try_into().expect("a hash has 32 bytes"))
}

/// Tokens that are reserved for a reply that may be of any length.
const USUAL_REPLY: u64 = 256;

/// Words beside `stop` that servers use when a model was done.
const WHOLE: [&str; 5] = ["eos", "eos_token", "stop_sequence", "end_turn", "completed"];

/// How an attempt ended without an answer.
struct Failure {
    kind: &'static str,
    message: String,
    reply: Option<Reply>,
}

/// An attempt without a reply.
struct Failed {
    error: CallError,
    /// For how long the server has been down, if it is.
    outage: Option<Duration>,
}

/// About how many tokens of prompt and reply a call takes, before one knows: a token for 4 bytes, and the longest reply that
/// is allowed.
fn estimate(encoded: &Encoded, call: &Call<'_>) -> (u64, u64) {
    let reply = call.model.sampling.max_tokens.map_or(USUAL_REPLY, u64::from);
    (encoded.body.len() as u64 / 4, reply)
}

/// What the attempts at a call add up to.
#[derive(Default)]
struct Tally {
    /// When the first attempt had its turn: time in our own queue is nobody's patience.
    started: Option<Instant>,
    attempts: u32,
    /// Attempts that count towards `max_attempts`; a rate limit is no failed attempt.
    counted: u32,
    prompt_tokens: u64,
    completion_tokens: u64,
    tries: Vec<serde_json::Value>,
}

impl Calls {
    /// The door to `models`.
    pub fn new(models: Models, budget: Budget, recorder: Recorder, stop: Stop) -> Self {
        Calls { models, purse: Purse::new(budget), recorder, stop }
    }

    /// The model of index `model` in the spec.
    pub fn target(&self, model: usize) -> &Target {
        self.models.target(model)
    }

    /// The ledger's writer and readers.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    fn recent(&self) -> &Arc<Recent> {
        self.recorder.recent()
    }

    /// The answered calls of `keys`. Blocking.
    pub fn find(&self, keys: &[Key]) -> Result<Vec<Option<Record>>, LedgerError> {
        self.recorder.find(keys)
    }

    /// Asks what is wanted; equal calls are asked once. `lookup`, in which the ledger didn't know the call, is over
    /// when the call is claimed. `None`: the run stops, nothing is known.
    pub async fn ask(
        &self,
        wanted: Wanted<'_>,
        lookup: Option<Arc<Lookup>>,
        progress: &StageProgress,
    ) -> Option<Finished> {
        let mut lookup = lookup;
        loop {
            let claim = self.recent().claim(wanted.key);
            drop(lookup.take());
            match claim {
                Claim::Answered(record) => return Some(self.shared(record, wanted.prompt)),
                Claim::Wait(mut told) => {
                    let record = tokio::select! {
                        told = told.wait_for(Option::is_some) => told.ok().and_then(|r| r.clone()),
                        () = self.stop.aborted() => return None,
                    };
                    match record {
                        Some(record) => return Some(self.shared(record, wanted.prompt)),
                        // Whoever was asking has stopped without an answer.
                        None if self.stop.is_draining() => return None,
                        None => continue,
                    }
                }
                Claim::Ask(asking) => {
                    let (record, answer) = tokio::select! {
                        asked = self.try_until_done(wanted, progress) => asked?,
                        () = self.stop.aborted() => return None,
                    };
                    let record = Arc::new(record);
                    let (place, earlier) = self.recorder.record(record.clone()).await?;
                    let earlier = earlier.map(Arc::new);
                    let counts = earlier.clone().unwrap_or_else(|| record.clone());
                    asking.finish(counts, answer.is_ok().then_some(place));
                    return Some(match earlier {
                        // Another process was first: what it left in the ledger is the answer.
                        Some(earlier) => self.shared(earlier, wanted.prompt),
                        None => Finished { record, answer, from_ledger: false },
                    });
                }
            }
        }
    }

    /// Somebody else's answer to the same call.
    fn shared(&self, record: Arc<Record>, prompt: &Prompt) -> Finished {
        let read = match &record.error {
            Some(error) => Err(error.clone()),
            None => read(prompt, &record.reply, record.probabilities.as_deref())
                .map_err(|reason| format!("malformed: {reason}")),
        };
        Finished { record, answer: read, from_ledger: true }
    }

    /// Attempts until there is an answer or the row is given up. `None`: the run stops.
    async fn try_until_done(
        &self,
        wanted: Wanted<'_>,
        progress: &StageProgress,
    ) -> Option<(Record, Result<Answer, String>)> {
        let Wanted { prompt, key, max_attempts, .. } = wanted;
        let target = self.models.target(wanted.model);
        let model = target.model_for(prompt, wanted.replicate);
        let mut tally = Tally::default();
        let mut again: Option<Vec<Message>> = None;
        loop {
            tally.attempts += 1;
            tally.counted += 1;
            let messages = again.as_deref().unwrap_or(&prompt.messages);
            let call = Call { model: &model, messages, schema: prompt.schema.as_deref() };
            let outcome = self.attempt(target, &call, &mut tally, progress).await?;
            let failure = match outcome {
                Ok(reply) => {
                    tally.count(&reply, progress);
                    match usable(&reply, prompt, target) {
                        Ok(answer) => {
                            let record = tally.record(key, target, Some(&reply), None);
                            return Some((record, Ok(answer)));
                        }
                        Err((kind, message)) if kind == "malformed" && tally.counted < max_attempts => {
                            again = Some(prompt.again(&reply.text, &message));
                            tally.note(Failure { kind, message, reply: Some(reply) });
                            continue;
                        }
                        Err((kind, message)) => Failure { kind, message, reply: Some(reply) },
                    }
                }
                Err(failed) => {
                    let jitter = rand::random::<f64>();
                    let next = self.after(&failed, &tally, max_attempts, jitter, target);
                    let error = failed.error;
                    match next {
                        Next::Again { delay, all, counts } => {
                            tally.counted -= u32::from(!counts);
                            if all {
                                target.endpoint.limiter.pause_for(delay);
                            }
                            tally.note(Failure { kind: error.kind.name(), message: error.message, reply: None });
                            tokio::select! {
                                () = tokio::time::sleep(delay) => continue,
                                () = self.stop.draining() => return None,
                            }
                        }
                        Next::StopRun => {
                            let model = target.name.clone();
                            self.stop.drain(StopReason::Environment { model, error });
                            return None;
                        }
                        Next::GiveUp => Failure { kind: error.kind.name(), message: error.message, reply: None },
                    }
                }
            };
            let error = format!("{}: {}", failure.kind, failure.message);
            let record = tally.record(key, target, failure.reply.as_ref(), Some(error.clone()));
            return Some((record, Err(error)));
        }
    }

    /// What to do after an error; a server that was down before the run began is no row's fault, nor is an outage.
    fn after(&self, failed: &Failed, tally: &Tally, max_attempts: u32, jitter: f64, target: &Target) -> Next {
        let Failed { error, outage } = failed;
        let down = matches!(error.kind, CallErrorKind::Unavailable { .. } | CallErrorKind::ServerError { .. });
        if down && target.endpoint.was_down() {
            return Next::StopRun;
        }
        if let Some(lasting) = outage {
            let wait = target.endpoint.on_outage == OnOutage::Pause && *lasting < retry::PATIENCE;
            // The limiter lets everyone wait.
            let again = Next::Again { delay: Duration::ZERO, all: false, counts: false };
            return if wait { again } else { Next::StopRun };
        }
        if error.kind == CallErrorKind::Rejected && target.endpoint.rejects_all(&error.message) {
            return Next::StopRun;
        }
        let last = tally.counted >= max_attempts;
        retry::next(error, tally.attempts, last, tally.spent(), jitter)
    }

    /// One attempt, when it is its turn. `None`: the run stops before it began.
    async fn attempt(
        &self,
        target: &Target,
        call: &Call<'_>,
        tally: &mut Tally,
        progress: &StageProgress,
    ) -> Option<Result<Reply, Failed>> {
        let encoded = target.provider.encode(call);
        let (prompt, reply) = estimate(&encoded, call);
        let reserved = tokio::select! {
            biased;
            () = self.stop.draining() => return None,
            reserved = self.purse.reserve(Cost::of(prompt, reply, target.price)) => reserved,
        };
        let reserved = match reserved {
            Ok(reserved) => reserved,
            Err(what) => {
                self.stop.drain(StopReason::BudgetSpent { what });
                return None;
            }
        };
        let turn = tokio::select! {
            biased;
            () = self.stop.draining() => return None,
            turn = target.endpoint.limiter.turn(prompt + reply) => turn,
        };
        tally.started.get_or_insert_with(Instant::now);
        let flight = progress.flight();
        let result = target.provider.send(encoded).await;
        drop(flight);
        let error = match result {
            Ok(reply) => {
                let tokens = reply.prompt_tokens.zip(reply.completion_tokens).map(|(prompt, reply)| prompt + reply);
                let (prompt, completion) =
                    (reply.prompt_tokens.unwrap_or(prompt), reply.completion_tokens.unwrap_or(0));
                reserved.settle(Cost::of(prompt, completion, target.price));
                turn.answered(tokens);
                target.endpoint.is_up();
                return Some(Ok(reply));
            }
            Err(error) => error,
        };
        let outage = match error.kind {
            CallErrorKind::Unavailable { .. } | CallErrorKind::Timeout => turn.failed(),
            CallErrorKind::RateLimited { .. } => {
                turn.refused();
                None
            }
            _ => None,
        };
        Some(Err(Failed { error, outage }))
    }
}

/// The answer of a reply, or why it is none.
fn usable(reply: &Reply, prompt: &Prompt, target: &Target) -> Result<Answer, (&'static str, String)> {
    // Ollama drops the front of a prompt that is too long and answers what is left; its own count gives it away.
    let context = target.provider.context_tokens(&target.model).unwrap_or(u64::MAX);
    if reply.prompt_tokens.is_some_and(|tokens| tokens >= context) {
        let message = format!("the prompt fills the whole context of {context} tokens and was cut; raise `num_ctx`");
        return Err((CallErrorKind::ContextTooLong.name(), message));
    }
    match &reply.finish {
        Finish::Length => {
            let tokens = reply.completion_tokens.map_or("some".to_owned(), |n| n.to_string());
            Err(("truncated", format!("the reply was cut off after {tokens} tokens; raise `max_tokens`")))
        }
        Finish::ContentFilter => Err(("refused", "the provider withheld the reply".to_owned())),
        Finish::Other(word) if !WHOLE.contains(&word.as_str()) => {
            Err(("truncated", format!("the model stopped because of `{word}`, which is no end of an answer")))
        }
        Finish::Stop | Finish::Other(_) => {
            read(prompt, &reply.text, kept(reply).as_deref()).map_err(|reason| ("malformed", reason))
        }
    }
}

/// The probabilities of a reply as they are kept in its record.
fn kept(reply: &Reply) -> Option<String> {
    reply.probabilities.as_ref().and_then(|probabilities| serde_json::to_string(probabilities).ok())
}

/// The answer of a reply with its kept probabilities: read from what is kept even when the reply is new, so that a row
/// has the same cells when it is answered from the ledger.
fn read(prompt: &Prompt, reply: &str, kept: Option<&str>) -> Result<Answer, String> {
    let kept = kept.filter(|_| prompt.expect.needs_probabilities());
    let probabilities: Option<Probabilities> = kept.and_then(|json| serde_json::from_str(json).ok());
    prompt.expect.read(reply, probabilities.as_ref())
}

impl Tally {
    fn count(&mut self, reply: &Reply, progress: &StageProgress) {
        let (prompt, completion) = (reply.prompt_tokens.unwrap_or(0), reply.completion_tokens.unwrap_or(0));
        self.prompt_tokens += prompt;
        self.completion_tokens += completion;
        progress.tokens(prompt, completion);
    }

    /// Keeps an attempt that gave no answer.
    fn note(&mut self, failure: Failure) {
        let reply = failure.reply.map(|r| r.text);
        let error = format!("{}: {}", failure.kind, failure.message);
        self.tries.push(serde_json::json!({ "reply": reply, "error": error }));
    }

    fn spent(&self) -> Duration {
        self.started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    fn record(self, key: Key, target: &Target, reply: Option<&Reply>, error: Option<String>) -> Record {
        let spent = self.spent();
        let finish = match reply.map(|r| &r.finish) {
            Some(Finish::Stop) => "stop",
            Some(Finish::Length) => "length",
            Some(Finish::ContentFilter) => "content_filter",
            Some(Finish::Other(other)) => other,
            None => "",
        };
        Record {
            key,
            model: target.model.id.clone(),
            reply: reply.map(|r| r.text.clone()).unwrap_or_default(),
            finish: finish.to_owned(),
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            latency_ms: (spent.as_secs_f64() * 1e6).round() / 1e3,
            attempts: self.attempts,
            build: reply.and_then(|r| r.build.clone()),
            error,
            probabilities: reply.and_then(kept),
            tries: (!self.tries.is_empty()).then(|| serde_json::Value::Array(self.tries).to_string()),
        }
    }
}
