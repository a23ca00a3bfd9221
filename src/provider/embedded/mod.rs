//! Models that run inside the process, on the CPU: GGUF files, without any server. Fields of the spec here.
//!
//! `weights` finds and fetches files and is always there. The rest is the Cargo feature `embedded`: a file (`gguf`) gives
//! a vocabulary, a chat template and a transformer (`model`); `engine` answers calls with it, several at a time, each of
//! them a `sequence`; `process` is the provider that hands them over. Built on candle for the arithmetic, `tokenizers`
//! and `llguidance`; only the forward pass and the batching are our own.

#[cfg(feature = "embedded")]
mod body;
#[cfg(feature = "embedded")]
mod cache;
#[cfg(feature = "embedded")]
mod chat;
#[cfg(feature = "embedded")]
mod engine;
#[cfg(feature = "embedded")]
mod gguf;
#[cfg(feature = "embedded")]
mod grammar;
#[cfg(feature = "embedded")]
mod labels;
#[cfg(feature = "embedded")]
mod linear;
#[cfg(feature = "embedded")]
mod model;
#[cfg(feature = "embedded")]
mod process;
#[cfg(feature = "embedded")]
mod sampling;
#[cfg(feature = "embedded")]
mod sequence;
#[cfg(all(test, feature = "embedded"))]
mod tests;
#[cfg(feature = "embedded")]
mod transformer;
#[cfg(feature = "embedded")]
mod vocabulary;
pub mod weights;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Provider;
use super::endpoint::{Checked, Checks, ConnectError, Endpoint, Here, Limits};

/// The kind's name.
const KIND: &str = "embedded";

/// What answers: to be raised whenever the same call to the same weights would be answered differently.
#[cfg(feature = "embedded")]
const ENGINE: &str = "candle-0.11.1/1";

/// Models inside the process: GGUF files, without a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Embedded {
    /// The most calls in flight at once. Left out: as many as the stages ask for; at most 16 are worked on together.
    #[schemars(range(min = 1))]
    max_concurrent_calls: Option<u32>,
}

impl Checked for Embedded {
    fn check(&self, checks: &mut Checks<'_>) {
        checks.calls(self.max_concurrent_calls);
    }
}

impl Endpoint for Embedded {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn limits(&self) -> Limits {
        Limits { max_concurrent_calls: self.max_concurrent_calls }
    }

    fn secret_env(&self) -> Option<&str> {
        None
    }

    fn gives_probabilities(&self) -> bool {
        true
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    #[cfg(feature = "embedded")]
    fn connect(&self, here: &Here<'_>) -> Result<Arc<dyn Provider>, ConnectError> {
        let folders =
            weights::Folders::from_env(here.env).map_err(|e| ConnectError { message: e.message, help: e.help })?;
        Ok(Arc::new(process::Process::new(folders, here.folder)))
    }

    #[cfg(not(feature = "embedded"))]
    fn connect(&self, _: &Here<'_>) -> Result<Arc<dyn Provider>, ConnectError> {
        Err(ConnectError::new("this fanfold was built without models of its own")
            .help("build it with its default features, or use a server such as Ollama"))
    }
}
