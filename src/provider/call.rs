//! Calls and replies: a model, a conversation and its answer, independent of any protocol.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::Options;
use super::quota::Quotas;
use crate::prompt::{Message, Probabilities, Token};

/// A field that is `None` is not sent, so the server's default applies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sampling {
    pub(crate) temperature: Option<f64>,
    pub(crate) top_p: Option<f64>,
    pub(crate) max_tokens: Option<u32>,
    pub(crate) stop: Vec<String>,
    pub(crate) seed: Option<u64>,
    pub(crate) num_ctx: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) logprobs: bool,
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    pub(crate) options: Options,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) extra: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) system_role: Option<SystemRole>,
    /// The settings of a vector, if the call asks for one instead of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) embedding: Option<Embedding>,
    /// Whether the seed is only a part of the call key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) hides_seed: bool,
    /// Whether the server asked for `max_completion_tokens`. No part of the call key.
    #[serde(skip)]
    pub(crate) completion_limit: bool,
    /// Whether the server is asked to cache the start of the prompt, which other calls share. No part of the call key.
    #[serde(skip)]
    pub(crate) caches_start: bool,
}

impl Sampling {
    pub(super) fn stops(&self) -> Option<&[String]> {
        Some(self.stop.as_slice()).filter(|stop| !stop.is_empty())
    }
}

/// The settings of a call for a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Embedding {
    /// The length of the vector, for models that offer several.
    pub(crate) dimensions: Option<u32>,
}

/// How a model is sent the text for all rows: the stage's `system`, and how to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SystemRole {
    /// As a message of the role `system`.
    System,
    /// As a message of the role `developer`. `openai`.
    Developer,
    /// At the start of the first message of the user, for chat templates without a system role.
    User,
    /// Not at all.
    None,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Model {
    pub(crate) id: String,
    pub(crate) sampling: Sampling,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) model: &'a Model,
    pub(crate) messages: &'a [Message],
    pub(crate) schema: Option<&'a Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// The field order is fixed, so equal calls have equal bytes.
    pub(crate) body: Vec<u8>,
    /// The number of first bytes that are not sent: values outside the body (Gemini's model, Anthropic's seed).
    pub(crate) unsent: usize,
    /// The number of first bytes, unsent ones included, that the call key hashes. The rest cannot change the answer.
    pub(crate) keyed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finish {
    Stop,
    /// The reply is incomplete: it reached `max_tokens` or the end of the context.
    Length,
    ContentFilter,
    Other(String),
}

impl Finish {
    /// The word for the end of a complete JSON object whose server does not say why it ended.
    pub(crate) const UNSTATED: &str = "unstated";
    /// The word for the end of a text that misses the schema, as the server says.
    pub(crate) const UNFIT: &str = "json_validate_failed";
}

/// What a model thought before it answered, if the server separates it from the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Thoughts {
    pub(crate) text: Option<String>,
    /// The tokens of the thoughts, which the tokens of the reply include.
    pub(crate) tokens: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) text: String,
    pub(crate) finish: Finish,
    pub(crate) prompt_tokens: Option<u64>,
    /// Those of `prompt_tokens` that the server read from its cache. Some servers leave them out of `prompt_tokens`.
    pub(crate) cached_tokens: u64,
    /// Those of `prompt_tokens` that the server wrote to its cache.
    pub(crate) cache_writes: u64,
    pub(crate) completion_tokens: Option<u64>,
    pub(crate) build: Option<String>,
    pub(crate) probabilities: Option<Probabilities>,
    pub(crate) tokens: Vec<Token>,
    pub(crate) thoughts: Thoughts,
    /// What is left of the server's limits.
    pub(crate) quotas: Quotas,
}

impl Reply {
    /// A reply of which nothing else is known.
    pub(crate) fn new(text: impl Into<String>, finish: Finish) -> Self {
        Reply {
            text: text.into(),
            finish,
            prompt_tokens: None,
            cached_tokens: 0,
            cache_writes: 0,
            completion_tokens: None,
            build: None,
            probabilities: None,
            tokens: Vec::new(),
            thoughts: Thoughts::default(),
            quotas: Quotas::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Build {
    /// The digest of the weights (Ollama), the id behind an alias (Anthropic), or a version (Gemini).
    pub(crate) digest: Option<String>,
    pub(crate) quantization: Option<String>,
    pub(crate) template: Option<String>,
    #[serde(default, skip_serializing_if = "Service::is_empty")]
    pub(crate) service: Service,
}

/// The software of a server, and what its model adds to requests. It is reported, and does not identify a build: the
/// digest covers what a Modelfile adds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Service {
    /// The name and the version, such as `Ollama 0.17.4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) software: Option<String>,
    /// The SYSTEM of a Modelfile, which precedes a prompt without a system text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system: Option<String>,
    /// Each PARAMETER of a Modelfile, which holds where a request does not set it, such as `temperature 0.7`; sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parameters: Vec<String>,
    /// Each MESSAGE of a Modelfile, which precedes every prompt, such as `user: Is Toronto in Canada?`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) messages: Vec<String>,
}

impl Service {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Service::default()
    }
}
