//! Wires: dialects of chat servers as pure functions, from a call to bytes and from bytes to a reply. `server` sends
//! bytes.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::batch::BatchWire;
use super::call::{Build, Call, Encoded, Finish, Model, Reply, Sampling};
use super::embedding::EmbedWire;
use super::extra::{added_fields, merge};
use super::failure::{CallError, CallErrorKind};
use super::fault::Fault;
use super::http::Headers;
use super::inventory::{Inventory, Page};
use super::timing::Timings;
use crate::prompt::{Message, Role, is_object};

pub(crate) trait Wire: fmt::Debug + Send + Sync {
    const KIND: &'static str;
    const HEADERS: Headers = Headers::BEARER;
    /// Whether replies can report the probabilities of tokens.
    const TELLS_TOKENS: bool = true;
    const HOLDS_ONE_MODEL: bool = false;
    /// Whether almost every model of the server can be held to a schema.
    const TAKES_SCHEMAS: bool = false;

    /// The `max_tokens` that is sent when the model sets none.
    const DEFAULT_MAX_TOKENS: Option<u32> = None;

    /// The field of a request that holds a model's option, as a path such as `options.top_k`. `None` if the protocol has
    /// no such option.
    fn option_field(&self, _option: &str) -> Option<String> {
        None
    }

    /// The value of that field.
    fn option_value(&self, _option: &str, value: Value) -> Value {
        value
    }

    fn headers(&self) -> Headers {
        Self::HEADERS
    }

    /// The path below the base address. `unsent` is the text that [`Wire::encode`] put before the body.
    fn path(&self, unsent: &str) -> Cow<'static, str>;

    fn encode(&self, call: &Call<'_>) -> Encoded;

    fn encode_relaxed(&self, _call: &Call<'_>, _level: usize) -> Option<(Encoded, &'static str)> {
        None
    }

    /// Whether a more relaxed form may avoid this rejection.
    fn may_relax(&self, _rejection: &CallError) -> bool {
        true
    }

    /// Error messages contain the server's own words; the caller cleans them.
    fn decode(&self, answer: Answer<'_>) -> Result<Reply, CallError>;

    /// The protocol of embeddings, if the dialect has one.
    fn embeddings(&self) -> Option<&dyn EmbedWire> {
        None
    }

    /// The protocol of batches, if the dialect has one.
    fn batches(&self) -> Option<&dyn BatchWire> {
        None
    }

    fn models_path(&self, model: &Model) -> Cow<'static, str>;

    fn find_model(&self, model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError>;

    /// Further pages about the build of a model.
    fn build_pages(&self, _: &Model) -> Vec<Page> {
        Vec::new()
    }

    /// Adds what a page of [`Wire::build_pages`] says. A gateway may lack the page.
    fn add_page(&self, _: &mut Build, _: &Page, _: Answer<'_>) {}

    fn timings(&self, _: Answer<'_>) -> Timings {
        Timings::default()
    }

    /// The first page is required; the others may be missing.
    fn pages(&self, _ids: &[&str]) -> Vec<Page> {
        Vec::new()
    }

    fn inventory(&self, _ids: &[&str], _pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
        Ok(Inventory::default())
    }

    fn is_listed_as(&self, id: &str, listed: &str) -> bool {
        listed == id || listed.rsplit('/').next() == Some(id)
    }

    fn unreachable(&self, endpoint: &str) -> String {
        format!("can't connect to {endpoint}; is it running, and is the address right?")
    }

    fn enforced_properties(&self) -> usize {
        0
    }

    fn context_tokens(&self, _model: &Model) -> Option<u64> {
        None
    }
}

/// Writes the body with the model's options and extra fields, after `unsent`. All bytes are keyed.
pub(super) fn encoded(wire: &impl Wire, unsent: &str, whole: &impl Serialize, call: &Call<'_>) -> Encoded {
    let said: usize = call.messages.iter().map(|message| message.content.len() + 40).sum();
    let mut body = Vec::with_capacity(unsent.len() + said + said / 16 + 512);
    body.extend_from_slice(unsent.as_bytes());
    let sampling = &call.model.sampling;
    let written = match sampling.options.is_empty() && sampling.extra.is_empty() {
        true => serde_json::to_writer(&mut body, whole),
        false => serde_json::to_value(whole).and_then(|mut whole| {
            let placed = |option: &str, value| Some((wire.option_field(option)?, wire.option_value(option, value)));
            merge(&mut whole, &added_fields(sampling, placed));
            serde_json::to_writer(&mut body, &whole)
        }),
    };
    written.expect("text and numbers are always JSON, and a vector takes all bytes");
    let keyed = body.len();
    Encoded { body, unsent: unsent.len(), keyed }
}

/// Returns a body with these fields. A field that is null is not sent.
pub(super) fn set<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    let set = fields.into_iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn full_body(wire: &impl Wire) -> Value {
    let sampling = Sampling {
        temperature: Some(0.5),
        top_p: Some(0.5),
        max_tokens: Some(1),
        stop: vec!["x".to_owned()],
        seed: Some(1),
        num_ctx: Some(1),
        logprobs: true,
        ..Sampling::default()
    };
    let model = Model { id: "x".to_owned(), sampling };
    let messages = [Message::system("x"), Message::user("x")];
    let schema = json!({"type": "object"});
    let call = wire.encode(&Call { model: &model, messages: &messages, schema: Some(&schema) });
    serde_json::from_slice(&call.body[call.unsent..]).unwrap_or_default()
}

pub(super) fn system(messages: &[Message]) -> Option<String> {
    let said: Vec<&str> = messages
        .iter()
        .filter(|message| message.role == Role::System)
        .map(|message| message.content.as_str())
        .collect();
    (!said.is_empty()).then(|| said.join("\n\n"))
}

/// Reads the page of a model. A model is unknown only if the server says so, with the code `not_found`: a gateway without
/// such pages may still serve it.
pub(super) fn model_page<'a, T: Deserialize<'a>>(
    model: &Model,
    endpoint: &str,
    answer: Answer<'a>,
    not_found: &str,
) -> Result<Option<T>, CallError> {
    let fault = Fault::of_body(answer.body);
    if answer.status == 404 && fault.says(not_found) {
        let message = format!("{endpoint} doesn't serve the model `{}`", model.id);
        return Err(CallError::raw(CallErrorKind::UnknownModel, message));
    }
    match answer.is_success() {
        true => Ok(answer.json().ok()),
        false if answer.is_missing() => Ok(None),
        false => Err(fault.error(answer)),
    }
}

/// The end of a reply that does not say why it ended: only a complete JSON object proves that nothing is missing.
pub(super) fn unstated(text: &str, field: &str) -> Result<Finish, CallError> {
    match is_object(text) {
        true => Ok(Finish::Other(Finish::UNSTATED.to_owned())),
        false => {
            let message = format!("the reply does not say why it ended (no `{field}`)");
            Err(CallError::raw(CallErrorKind::Truncated, message))
        }
    }
}

/// Keeps seeds below 2^31 and folds others: llama.cpp keeps 32 bits, Ollama reads numbers as floating point.
pub(super) fn portable_seed(seed: u64) -> u64 {
    if seed <= i32::MAX as u64 { seed } else { (seed ^ (seed >> 31) ^ (seed >> 62)) & i32::MAX as u64 }
}
