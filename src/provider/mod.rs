//! Providers: clients of language models. One of the four doors to the outside (the network).
//!
//! A dialect is two pure functions, from a call to bytes and from bytes to a reply ([`Wire`]); one HTTP client sends what
//! they write. Nothing here retries, waits for its turn or stores anything: `run` does.
//!
//! To add a dialect: a folder with its [`Wire`] and its fields (a `hosted::Dialect`, or an [`Endpoint`]), one `mod` line and
//! one row in `kinds.rs`. An OpenAI-like server needs only a `base_url`; where it differs, a row in `openai/quirks.rs`.

mod address;
mod answer;
mod anthropic;
mod call;
mod client;
mod embedded;
mod endpoint;
mod extra;
mod failure;
mod fault;
mod gemini;
mod hosted;
mod http;
mod inventory;
mod kinds;
mod mock;
mod ollama;
mod openai;
mod owner;
mod scores;
mod server;
mod structured_output;
mod subset;
mod timing;
mod wire;

pub use answer::Answer;
pub use call::{Build, Call, Encoded, Finish, Model, Reply, Sampling};
pub use client::{Boxed, Provider};
pub use embedded::weights;
pub use endpoint::{Config, ConnectContext, Endpoint, EndpointError, Env, Reading};
pub use extra::taken;
pub use failure::{CallError, CallErrorKind, LONGEST_MESSAGE};
pub use inventory::{Inventory, Listed, Page, memory};
pub use kinds::{PROVIDERS, default_endpoint};
pub use ollama::DEFAULT_NUM_CTX;
pub use timing::{Level, Measured, Missed, Sample, Timings};
pub use wire::Wire;
