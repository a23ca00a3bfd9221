//! Calls and replies: a model, a conversation with it and its answer, independent of any protocol.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::prompt::{Message, Probabilities, Token};

/// `None` is not sent at all, so the server's default holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub max_tokens: Option<u32>,
    pub stop: Vec<String>,
    pub seed: Option<u64>,
    pub num_ctx: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logprobs: bool,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    pub id: String,
    pub sampling: Sampling,
}

#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub model: &'a Model,
    pub messages: &'a [Message],
    pub schema: Option<&'a Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Field order is fixed, so equal calls are equal bytes.
    pub body: Vec<u8>,
    /// First bytes, not posted: differences that the protocol keeps out of the body (Gemini's model, Anthropic's seed).
    pub unsent: usize,
    /// First bytes, with the unsent ones, that the call key hashes; the rest cannot change the answer.
    pub keyed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    /// At `max_tokens` or the end of the context: incomplete.
    Length,
    ContentFilter,
    Other(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Empty only where `finish` is `Length` or `ContentFilter`.
    pub text: String,
    pub finish: Finish,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub build: Option<String>,
    pub probabilities: Option<Probabilities>,
    pub tokens: Vec<Token>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The digest of the weights (Ollama), the id behind an alias (Anthropic), or a version (Gemini).
    pub digest: Option<String>,
    pub quantization: Option<String>,
    #[serde(default)]
    pub template: Option<String>,
}
