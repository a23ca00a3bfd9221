//! OpenAI and the many servers that speak its protocol: vLLM, llama.cpp, LM Studio, gateways. Fields of the spec here,
//! the protocol in `wire` (requests), `reply` (answers) and `inventory` (what a server has).
//!
//! Knows only what stands beside it in `provider`.

mod inventory;
mod reply;
mod wire;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::hosted::{Home, Hosted, Service, StructuredOutput};
use wire::OpenAiWire;

/// OpenAI's own address.
static HOME: Home = Home { address: "https://api.openai.com/v1", key: "OPENAI_API_KEY", version: "" };

/// OpenAI, or any server that speaks its chat protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OpenAi {
    /// The address up to and with `/v1`, such as `http://10.0.0.5:8000/v1`. Left out: `https://api.openai.com/v1`.
    base_url: Option<String>,
    /// The environment variable that holds the address, instead of `base_url`.
    base_url_env: Option<String>,
    /// The environment variable that holds the key. Left out: `OPENAI_API_KEY` for OpenAI's own address, and no key for
    /// any other.
    api_key_env: Option<String>,
    /// Send the key over plain `http://` to a host on a public network, where others can read it.
    allow_insecure: bool,
    /// How the server is asked for JSON: `json_schema`, `json_object`, or `none` for servers that know neither.
    structured_output: StructuredOutput,
    /// The deadline of a whole call in seconds.
    #[schemars(range(min = 1, max = 86400))]
    timeout_secs: u64,
    /// The deadline for connecting in seconds.
    #[schemars(range(min = 1, max = 86400))]
    connect_timeout_secs: u64,
}

impl Default for OpenAi {
    fn default() -> Self {
        OpenAi {
            base_url: None,
            base_url_env: None,
            api_key_env: None,
            allow_insecure: false,
            structured_output: StructuredOutput::default(),
            timeout_secs: 600,
            connect_timeout_secs: 10,
        }
    }
}

impl Service for OpenAi {
    type Wire = OpenAiWire;

    const KIND: &'static str = wire::KIND;

    // OpenAI's is 2, but servers like it have limits of their own.
    const HIGHEST_TEMPERATURE: f64 = 5.0;

    fn hosted(&self) -> Hosted<'_> {
        Hosted {
            home: &HOME,
            base_url: self.base_url.as_deref(),
            base_url_env: self.base_url_env.as_deref(),
            api_key_env: self.api_key_env.as_deref(),
            allow_insecure: self.allow_insecure,
            timeout_secs: self.timeout_secs,
            connect_timeout_secs: self.connect_timeout_secs,
        }
    }

    fn wire(&self, address: &Address) -> OpenAiWire {
        OpenAiWire { structured_output: self.structured_output, home: HOME.is_at(address) }
    }
}

#[cfg(test)]
mod tests;
