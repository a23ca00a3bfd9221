//! Sequences: calls in progress, from the body of the call and its prompt to the end of the reply.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

use super::ENGINE;
use super::cache::Cache;
use super::enum_scores::{EnumScores, Step};
use super::grammar::Grammar;
use super::model::Model;
use super::sampling::Sampler;
use crate::prompt::Message;
use crate::provider::{Call, CallError, CallErrorKind, Encoded, Finish, Reply, Sampling, Timings};

#[derive(Debug, Deserialize)]
pub(crate) struct Body {
    pub(crate) messages: Vec<Message>,
    pub(crate) sampling: Sampling,
    pub(crate) schema: Option<Value>,
    pub(crate) model: String,
}

#[derive(Serialize)]
struct Written<'a> {
    engine: &'static str,
    messages: &'a [Message],
    sampling: &'a Sampling,
    schema: Option<&'a Value>,
}

/// The key does not contain the model's name; it contains the digest of the weights instead.
pub(crate) fn encode(call: &Call<'_>) -> Encoded {
    let sampling = &call.model.sampling;
    let written = Written { engine: ENGINE, messages: call.messages, sampling, schema: call.schema };
    let mut body =
        serde_json::to_vec(&written).expect("text and numbers are always JSON, and a vector takes all bytes");
    body.pop();
    let keyed = body.len();
    body.extend_from_slice(format!(",\"model\":{}}}", Value::from(call.model.id.as_str())).as_bytes());
    Encoded { body, unsent: 0, keyed }
}

pub(crate) type Tell = oneshot::Sender<Result<(Reply, Timings), CallError>>;

pub(crate) struct Sequence {
    tokens: Vec<u32>,
    prompt: usize,
    pub(crate) cache: Cache,
    reply: Vec<u8>,
    grammar: Option<Grammar>,
    labels: EnumScores,
    sampler: Sampler,
    stop: Vec<String>,
    most: usize,
    tell: Tell,
    began: Instant,
    first: Option<Instant>,
}

const MAX_TOKENS: u32 = 512;

impl Sequence {
    pub(crate) fn new(body: &Body, model: &Model, tell: Tell) -> Option<Self> {
        let began = Instant::now();
        let (tokens, context, grammar) = match prepare(body, model) {
            Ok(prepared) => prepared,
            Err(error) => {
                // Sending fails only if the run is being dropped.
                let _ = tell.send(Err(error));
                return None;
            }
        };
        let prompt = tokens.len();
        let most = context.min(prompt + body.sampling.max_tokens.unwrap_or(MAX_TOKENS) as usize);
        let mut sequence = Sequence {
            sampler: Sampler::new(&body.sampling, &tokens),
            labels: EnumScores::of(body.schema.as_ref()),
            cache: model.transformer.cache(most),
            reply: Vec::new(),
            stop: body.sampling.stop.clone(),
            most,
            tokens,
            prompt,
            grammar,
            tell,
            began,
            first: None,
        };
        let forced = sequence.grammar.as_mut().map(Grammar::forced).unwrap_or_default();
        match sequence.extend(&forced, model) {
            None => Some(sequence),
            Some(finish) => {
                sequence.end(finish);
                None
            }
        }
    }

    pub(crate) fn prompt(&self) -> &[u32] {
        &self.tokens[..self.prompt]
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    pub(crate) fn pending(&self) -> &[u32] {
        &self.tokens[self.cache.len()..]
    }

    pub(crate) fn next(&mut self, most: usize) -> (&mut Cache, &[u32]) {
        let from = self.cache.len();
        let to = self.tokens.len().min(from + most);
        (&mut self.cache, &self.tokens[from..to])
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.tell.is_closed()
    }

    pub(crate) fn go_on(&mut self, mut scores: Vec<f32>, model: &Model) -> Result<Option<Finish>, String> {
        self.first.get_or_insert_with(Instant::now);
        let vocabulary = &model.vocabulary;
        let Some(grammar) = &mut self.grammar else {
            let token = self.sampler.pick(&scores);
            return Ok(self.extend(&[token], model));
        };
        let mask = grammar.mask()?;
        let judged = self.labels.is_open(&self.reply).then(|| scores.clone());
        mask.iter_unset_entries(|token| {
            if let Some(score) = scores.get_mut(token) {
                *score = f32::NEG_INFINITY;
            }
        });
        let token = self.sampler.pick(&scores);
        if let Some(scores) = judged {
            let step = Step { allowed: &mask.to_list(), scores: &scores, taken: token };
            self.labels.see(&self.reply, &step, vocabulary);
        }
        let forced = match vocabulary.ends().contains(&token) {
            true => Vec::new(),
            false => grammar.take(token)?,
        };
        let done = grammar.is_done();
        let finish = self.extend(&[&[token], forced.as_slice()].concat(), model);
        Ok(finish.or(done.then_some(Finish::Stop)))
    }

    fn extend(&mut self, tokens: &[u32], model: &Model) -> Option<Finish> {
        for token in tokens {
            if model.vocabulary.ends().contains(token) {
                return Some(Finish::Stop);
            }
            if self.tokens.len() >= self.most {
                return Some(Finish::Length);
            }
            self.tokens.push(*token);
            self.reply.extend_from_slice(model.vocabulary.bytes(*token));
            if let Some(at) = self.stop.iter().filter_map(|stop| find(&self.reply, stop.as_bytes())).min() {
                self.reply.truncate(at);
                return Some(Finish::Stop);
            }
        }
        None
    }

    pub(crate) fn end(self, finish: Finish) -> (Vec<u32>, Cache) {
        let reply = Reply {
            text: String::from_utf8_lossy(&self.reply).into_owned(),
            prompt_tokens: Some(self.prompt as u64),
            cached_tokens: 0,
            cache_writes: 0,
            completion_tokens: Some((self.tokens.len() - self.prompt) as u64),
            build: Some(ENGINE.to_owned()),
            tokens: Vec::new(),
            thoughts: Default::default(),
            quotas: Default::default(),
            probabilities: if finish == Finish::Stop { self.labels.probabilities() } else { None },
            finish,
        };
        let timings = Timings {
            prompt: self.first.map(|first| first.duration_since(self.began)),
            writing: self.first.map(|first| first.elapsed()),
            ..Timings::default()
        };
        // Sending fails only if the run is being dropped.
        let _ = self.tell.send(Ok((reply, timings)));
        let mut tokens = self.tokens;
        tokens.truncate(self.cache.len());
        (tokens, self.cache)
    }

    pub(crate) fn fail(self, message: &str) {
        let _ = self.tell.send(Err(CallError::new(CallErrorKind::Rejected, message)));
    }
}

/// The second value is the most tokens of prompt and reply together.
fn prepare(body: &Body, model: &Model) -> Result<(Vec<u32>, usize, Option<Grammar>), CallError> {
    let rejected = |message: String| CallError::new(CallErrorKind::Rejected, message);
    let tokens = model.chat.tokens(&body.messages, &model.vocabulary).map_err(rejected)?;
    if tokens.is_empty() {
        return Err(rejected("the prompt is empty".to_owned()));
    }
    let context = model.transformer.context();
    let context = body.sampling.num_ctx.map_or(context, |n| context.min(n as usize));
    if tokens.len() >= context {
        let message = format!("the prompt has {} tokens, the model's context {context}", tokens.len());
        return Err(CallError::new(CallErrorKind::ContextTooLong, message));
    }
    let grammar = body.schema.as_ref().map(|schema| model.grammars.of(schema)).transpose().map_err(rejected)?;
    Ok((tokens, context, grammar))
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() { None } else { text.windows(needle.len()).position(|window| window == needle) }
}
