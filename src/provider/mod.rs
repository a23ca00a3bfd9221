//! Providers: clients of language models. Only this folder uses the network.
//!
//! A dialect is two pure functions ([`Wire`](wire::Wire)): one turns a call into bytes, the other turns bytes into a
//! reply. One HTTP client sends the bytes. Providers do not retry, queue or store calls: `run` does.
//!
//! To add a dialect: a folder with its [`Wire`](wire::Wire) and fields (a `hosted::Dialect` or an [`Endpoint`]), one
//! `mod` line and one row in `kinds.rs`. An OpenAI-like server needs only a `base_url`. Its differences are a row in
//! `openai/quirks.rs`.

mod address;
mod answer;
mod anthropic;
mod batch;
mod call;
mod client;
mod embedded;
mod embedding;
mod endpoint;
mod extra;
pub(crate) mod failure;
mod fault;
mod form;
mod gemini;
mod hosted;
mod http;
mod inventory;
mod kinds;
mod lenient;
mod mock;
mod ollama;
mod open_files;
mod openai;
mod options;
mod owner;
mod quota;
mod scores;
mod server;
mod service;
mod settings;
mod stream;
mod structured_output;
mod subset;
mod timing;
mod wire;

pub(crate) use address::server_of;
pub(crate) use answer::Answer;
pub(crate) use batch::{BatchCall, BatchClient, BatchJob, BatchResult, BatchState, LostJob};

pub(crate) use call::{Build, Call, Embedding, Encoded, Finish, Model, Reply, Sampling, Service, SystemRole, Thoughts};
pub(crate) use client::{Boxed, Provider};
pub(crate) use embedded::weights;
pub(crate) use endpoint::{BatchRetries, ConnectContext, Endpoint, EndpointError, Env, Ignored};
pub(crate) use extra::{added_fields, merge, taken};
pub(crate) use failure::{CallError, CallErrorKind};
pub(crate) use fault::Refusal;
pub(crate) use inventory::{Inventory, Listed, Page, memory};
pub(crate) use kinds::{PROVIDERS, default_endpoint};
pub(crate) use ollama::{DEFAULT_NUM_CTX, unknown_field_help};
pub(crate) use options::Options;
pub(crate) use quota::{Quota, Quotas, duration};
pub(crate) use service::JsonService;
pub(crate) use timing::{Level, Measured, Missed, Sample, Timings};
