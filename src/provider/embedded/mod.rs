//! Models that run in the process, on the CPU: GGUF files without a server. The spec's fields are in this file.

#[cfg(feature = "embedded")]
mod inference;
pub(crate) mod weights;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::client::Provider;
#[cfg(feature = "embedded")]
use super::endpoint::Examined;
use super::endpoint::{ConnectContext, Endpoint, EndpointError};

/// Models inside the process: GGUF files, without a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Embedded {}

impl Endpoint for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn uses_num_ctx(&self) -> bool {
        true
    }

    #[cfg(feature = "embedded")]
    fn examine(&self, id: &str, context: &ConnectContext<'_>) -> Examined {
        let folders = weights::Folders::from_env(context.env);
        folders.map_or_else(|_| Examined::default(), |folders| inference::examine(id, context.folder, &folders))
    }

    #[cfg(feature = "embedded")]
    fn connect(&self, context: &ConnectContext<'_>) -> Result<Arc<dyn Provider>, EndpointError> {
        let folders = weights::Folders::from_env(context.env)?;
        Ok(Arc::new(inference::Process::new(folders, context.folder)))
    }

    #[cfg(not(feature = "embedded"))]
    fn connect(&self, _: &ConnectContext<'_>) -> Result<Arc<dyn Provider>, EndpointError> {
        Err(EndpointError::new("this fanfold was built without embedded models")
            .help("build it with its default features, or use a server such as Ollama"))
    }
}
