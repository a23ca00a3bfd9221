//! The fields of the provider kind `embedded`, and its connection.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::provider::client::Provider;
use crate::provider::endpoint::{ConnectContext, Endpoint, EndpointError};

/// Models inside the process: GGUF files, without a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::provider) struct Embedded {}

impl Endpoint for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn uses_num_ctx(&self) -> bool {
        true
    }

    #[cfg(feature = "embedded")]
    fn connect(&self, context: &ConnectContext<'_>) -> Result<Arc<dyn Provider>, EndpointError> {
        let folders = super::weights::Folders::from_env(context.env)?;
        Ok(Arc::new(super::inference::Process::new(folders, context.folder)))
    }

    #[cfg(not(feature = "embedded"))]
    fn connect(&self, _: &ConnectContext<'_>) -> Result<Arc<dyn Provider>, EndpointError> {
        Err(EndpointError::new("this fanfold was built without embedded models")
            .help("build it with its default features, or use a server such as Ollama"))
    }
}
