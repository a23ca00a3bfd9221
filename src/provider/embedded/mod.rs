//! Models that run inside the process, on the CPU: GGUF files, without any server. Fields of the spec here.
//!
//! `weights` finds and fetches files and is always there; `inference` runs them and is the Cargo feature `embedded`.

#[cfg(feature = "embedded")]
mod inference;
pub mod weights;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Provider;
use super::endpoint::{Checked, ConnectContext, ConnectError, Endpoint};

/// The kind's name.
const KIND: &str = "embedded";

/// Models inside the process: GGUF files, without a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Embedded {}

impl Checked for Embedded {}

impl Endpoint for Embedded {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn secret_env(&self) -> Option<&str> {
        None
    }

    fn gives_probabilities(&self) -> bool {
        true
    }

    fn is_free(&self) -> bool {
        true
    }

    fn uses_num_ctx(&self) -> bool {
        true
    }

    fn settings(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    #[cfg(feature = "embedded")]
    fn connect(&self, context: &ConnectContext<'_>) -> Result<Arc<dyn Provider>, ConnectError> {
        let folders =
            weights::Folders::from_env(context.env).map_err(|e| ConnectError { message: e.message, help: e.help })?;
        Ok(Arc::new(inference::Process::new(folders, context.folder)))
    }

    #[cfg(not(feature = "embedded"))]
    fn connect(&self, _: &ConnectContext<'_>) -> Result<Arc<dyn Provider>, ConnectError> {
        Err(ConnectError::new("this fanfold was built without models of its own")
            .help("build it with its default features, or use a server such as Ollama"))
    }
}
