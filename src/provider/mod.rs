//! Providers: talking to models. Per dialect two pure functions ([`Wire`]), and one HTTP client for all of them.
//!
//! One of the four doors to the outside (the network). Knows `prompt` and what stands below it; never retries, waits
//! for its turn or writes anything: that is `run`'s.
//!
//! `spec` decodes an entry of `[providers]` with its row of [`PROVIDERS`] into a [`Config`]; `run` makes a [`Provider`]
//! of it with [`Endpoint::connect`]. To add a dialect: one folder with its fields (a `hosted::Service`, or an
//! [`Endpoint`] of its own) and its [`Wire`], one `mod` line, one row in [`PROVIDERS`]. An OpenAI-like server needs no
//! code, only a `base_url`.

mod address;
mod anthropic;
mod embedded;
mod endpoint;
mod extra;
mod failure;
mod fault;
mod gemini;
mod hosted;
mod http;
mod inventory;
mod mock;
mod ollama;
mod openai;
mod owner;
mod scores;
mod server;
mod subset;
mod timing;
mod wire;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document;
use crate::prompt::{Message, Probabilities, Token};
use crate::registry::Kind;

pub use embedded::weights;
pub use endpoint::{Config, ConnectError, Endpoint, Env, Here, Reading, default_endpoint};
pub use extra::taken;
pub use failure::LONGEST_MESSAGE;
pub use inventory::{Inventory, Listed, Page, memory};
pub use ollama::DEFAULT_NUM_CTX;
pub use timing::{Level, Measured, Missed, Sample, Timings};
pub use wire::{Answer, Wire};

/// The kinds of providers: what `type = "..."` in `[providers]` can say, and `provider = "..."` of a model.
pub static PROVIDERS: &[Kind<Config>] = &[
    Kind {
        name: "ollama",
        about: "A server of open models, mostly on one's own machine.",
        schema: ollama::Ollama::json_schema,
        fields: document::fields_of::<ollama::Ollama>,
        decode: endpoint::decode::<ollama::Ollama>,
    },
    Kind {
        name: "openai",
        about: "OpenAI, or any server that speaks its chat protocol (vLLM, llama.cpp, LM Studio, gateways).",
        schema: openai::OpenAi::json_schema,
        fields: document::fields_of::<openai::OpenAi>,
        decode: endpoint::decode::<openai::OpenAi>,
    },
    Kind {
        name: "anthropic",
        about: "Anthropic's Claude, or any server that speaks its Messages protocol.",
        schema: anthropic::Anthropic::json_schema,
        fields: document::fields_of::<anthropic::Anthropic>,
        decode: endpoint::decode::<anthropic::Anthropic>,
    },
    Kind {
        name: "gemini",
        about: "Google's Gemini, or any server that speaks its protocol.",
        schema: gemini::Gemini::json_schema,
        fields: document::fields_of::<gemini::Gemini>,
        decode: endpoint::decode::<gemini::Gemini>,
    },
    Kind {
        name: "embedded",
        about: "A model inside the process, on the CPU; no server.",
        schema: embedded::Embedded::json_schema,
        fields: document::fields_of::<embedded::Embedded>,
        decode: endpoint::decode::<embedded::Embedded>,
    },
    Kind {
        name: "mock",
        about: "Made-up answers, the same for the same call; no model and no network.",
        schema: mock::Mock::json_schema,
        fields: document::fields_of::<mock::Mock>,
        decode: endpoint::decode::<mock::Mock>,
    },
];

/// What decides how a model picks its words. `None` is not sent at all, so the server's default holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: Option<f64>,
    /// Nucleus sampling: the share of probability kept.
    pub top_p: Option<f64>,
    /// The most tokens of a reply.
    pub max_tokens: Option<u32>,
    /// Texts that end the reply.
    pub stop: Vec<String>,
    /// The seed of the server's sampler.
    pub seed: Option<u64>,
    /// The context size in tokens, for Ollama and models in the process.
    pub num_ctx: Option<u32>,
    /// Whether the reply is to say how probable its tokens were, for servers that can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub logprobs: bool,
    /// What is added to the body of every request, for servers.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// A model as its provider knows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    /// The provider's id of it, such as `llama3.2`.
    pub id: String,
    /// How it picks its words.
    pub sampling: Sampling,
}

/// One call: a model, a conversation and, where a typed answer is wanted, its JSON Schema.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Whom to ask.
    pub model: &'a Model,
    /// What to say.
    pub messages: &'a [Message],
    /// The schema that the server should enforce, if it can.
    pub schema: Option<&'a serde_json::Value>,
}

/// A call as the provider's protocol writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The JSON body, behind the unsent bytes. Field order is fixed, so equal calls are equal bytes.
    pub body: Vec<u8>,
    /// The first so many bytes are no part of what is posted: they hold what makes another call of it although the
    /// protocol keeps it out of the body (Gemini's model stands in the URL) or doesn't know it (Anthropic has no seed,
    /// yet replicates are different calls).
    pub unsent: usize,
    /// The first so many bytes, the unsent ones among them, hold everything that can change the answer; the call key
    /// hashes them. What comes after (Ollama's `keep_alive`) can't.
    pub keyed: usize,
}

/// Why a model stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// It was done.
    Stop,
    /// It ran into `max_tokens` or the end of its context: the reply is not whole.
    Length,
    /// The provider withheld the reply.
    ContentFilter,
    /// Something else, in the provider's own word.
    Other(String),
}

/// What a model replied.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The raw text; empty only where `finish` is `Length` or `ContentFilter`.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt, as the server counted them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the reply, as the server counted them.
    pub completion_tokens: Option<u64>,
    /// The build that answered, where replies name one (OpenAI's `system_fingerprint`, Gemini's `modelVersion`).
    pub build: Option<String>,
    /// How probable the labels were, where the provider tells it ([`Endpoint::gives_probabilities`]).
    pub probabilities: Option<Probabilities>,
    /// Its tokens with their probabilities, where they were asked for ([`Sampling::logprobs`]) and the provider tells them.
    pub tokens: Vec<Token>,
}

/// Which build of a model a server has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// What tells this build from others, where the server tells it: the content digest of the weights (Ollama), the
    /// id that an alias stands for (Anthropic), a version (Gemini).
    pub digest: Option<String>,
    /// The quantisation, such as `Q4_K_M`, where the server tells it.
    pub quantization: Option<String>,
    /// The hash of the chat template, in hex, where the server tells it.
    #[serde(default)]
    pub template: Option<String>,
}

/// Why a call gave no reply, sorted by what the caller should do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// What to do.
    pub kind: CallErrorKind,
    /// What the server or the network said: at most 300 characters, no control characters, no URL query, no key.
    pub message: String,
}

/// The classes of failed calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallErrorKind {
    /// Wait, then again; at least so long, if the server said.
    RateLimited {
        /// The server's Retry-After.
        retry_after: Option<Duration>,
    },
    /// The server is down or busy for now (refused, reset, 502, 503): again later.
    Unavailable {
        /// The server's Retry-After.
        retry_after: Option<Duration>,
    },
    /// The server is there, but failed at this request (500): again, perhaps it does better.
    ServerError {
        /// The server's Retry-After.
        retry_after: Option<Duration>,
    },
    /// A deadline passed: again later.
    Timeout,
    /// The key is missing, wrong or not allowed (401, 403): stop the run.
    Unauthorized,
    /// The server doesn't have the model: stop the run.
    UnknownModel,
    /// The quota is used up (not a rate that recovers): stop the run.
    QuotaExhausted,
    /// The server won't take this request (other 4xx): the row fails.
    Rejected,
    /// The prompt is longer than the model's context: the row fails.
    ContextTooLong,
    /// The provider withheld the reply or the model refused: the row fails.
    Refused,
    /// The reply was cut off (`finish = length`, or a body that ended early).
    Truncated,
    /// The reply is not what the protocol says.
    Malformed,
}

/// A future that can be kept in a box.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A server of models (or, in process, the thing itself).
pub trait Provider: Send + Sync + fmt::Debug {
    /// The kind's name in [`PROVIDERS`]; part of the call key.
    fn kind(&self) -> &'static str;

    /// Where it is, for messages: an address without credentials.
    fn endpoint(&self) -> String;

    /// Writes a call as the protocol wants it. Pure.
    fn encode(&self, call: &Call<'_>) -> Encoded;

    /// Writes a call with more relaxed structured output, for servers that don't know the form of [`Provider::encode`]
    /// (level 0): a schema, then just JSON, then the prompt alone. Returns the form's name in a spec too; `None` where there
    /// is no such level.
    fn encode_relaxed(&self, _call: &Call<'_>, _level: usize) -> Option<(Encoded, &'static str)> {
        None
    }

    /// Whether replies say how probable their tokens were when [`Sampling::logprobs`] asks for it.
    fn tells_tokens(&self) -> bool {
        false
    }

    /// Sends a call and reads its reply: one attempt, with deadlines, never retried here.
    fn send(&self, call: Encoded) -> Boxed<'_, Result<Reply, CallError>>;

    /// The same, with how long its parts took, for measurements.
    fn send_timed(&self, call: Encoded) -> Boxed<'_, Result<(Reply, Timings), CallError>> {
        Box::pin(async move { Ok((self.send(call).await?, Timings::default())) })
    }

    /// Asks what the server has; more is told of the models `ids`. Nothing where it can't tell.
    fn inventory<'a>(&'a self, _ids: &'a [&'a str]) -> Boxed<'a, Result<Inventory, CallError>> {
        Box::pin(async { Ok(Inventory::default()) })
    }

    /// Asks whether the server is there and has the model, and which build of it.
    fn inspect<'a>(&'a self, model: &'a Model) -> Boxed<'a, Result<Build, CallError>>;

    /// Whether a model with this sampling always takes the likeliest word, so that its seed changes nothing.
    fn is_greedy(&self, sampling: &Sampling) -> bool {
        sampling.temperature == Some(0.0)
    }

    /// Whether it holds one model at a time, so that switching models is dear.
    fn holds_one_model(&self) -> bool;

    /// Tokens that the context holds, prompt and reply together, where the request itself says so.
    fn context_tokens(&self, model: &Model) -> Option<u64>;

    /// What has to be done before it can answer, while that is so (a model is fetched or loaded), in a few words.
    fn preparing(&self) -> Option<String> {
        None
    }
}
