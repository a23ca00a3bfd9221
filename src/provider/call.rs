//! Calls and replies: a model, a conversation with it and its answer, independent of any protocol.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::prompt::{Message, Probabilities, Token};

/// The sampling parameters of a model. `None` is not sent at all, so the server's default holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    /// The most tokens of a reply.
    pub max_tokens: Option<u32>,
    pub stop: Vec<String>,
    pub seed: Option<u64>,
    /// The context size in tokens, for Ollama and embedded models.
    pub num_ctx: Option<u32>,
    /// Whether the reply reports the probabilities of its tokens, for servers that can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logprobs: bool,
    /// Fields that are added to the body of every request, for servers.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    /// The provider's id, such as `llama3.2`.
    pub id: String,
    pub sampling: Sampling,
}

/// One call: a model, a conversation and, for a typed answer, its JSON Schema.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub model: &'a Model,
    pub messages: &'a [Message],
    pub schema: Option<&'a Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The JSON body, behind the unsent bytes. Field order is fixed, so equal calls are equal bytes.
    pub body: Vec<u8>,
    /// Length of the first bytes that are not posted. They distinguish calls where the protocol keeps the difference out of
    /// the body (Gemini's model is in the URL) or has no field for it (Anthropic has no seed, yet replicates are different calls).
    pub unsent: usize,
    /// Length of the first bytes, with the unsent ones, that can change the answer; the call key hashes them. The rest
    /// (Ollama's `keep_alive`) cannot.
    pub keyed: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Stop,
    /// The reply reached `max_tokens` or the end of the context: it is incomplete.
    Length,
    ContentFilter,
    Other(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The raw text; empty only where `finish` is `Length` or `ContentFilter`.
    pub text: String,
    pub finish: Finish,
    /// Tokens of the prompt, as the server counted them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the reply, as the server counted them.
    pub completion_tokens: Option<u64>,
    /// The build that answered, where replies name one (OpenAI's `system_fingerprint`, Gemini's `modelVersion`).
    pub build: Option<String>,
    /// The probabilities of the labels, where the provider reports them
    /// ([`gives_probabilities`](super::Endpoint::gives_probabilities)).
    pub probabilities: Option<Probabilities>,
    /// The tokens with their probabilities, where [`Sampling::logprobs`] asked for them and the provider reports them.
    pub tokens: Vec<Token>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Identifies the build, where the server reports it: the content digest of the weights (Ollama), the id behind an alias
    /// (Anthropic), a version (Gemini).
    pub digest: Option<String>,
    /// The quantisation, such as `Q4_K_M`.
    pub quantization: Option<String>,
    /// The hash of the chat template, in hex.
    #[serde(default)]
    pub template: Option<String>,
}
