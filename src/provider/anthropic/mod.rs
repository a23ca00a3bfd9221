//! Anthropic's Claude, and servers that speak its Messages protocol. Fields of the spec here, the protocol in `wire`
//! (requests) and `reply` (answers).
//!
//! Knows only what stands beside it in `provider`.

mod reply;
mod wire;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::hosted::{Home, Hosted, Service};
use wire::AnthropicWire;

/// Anthropic's own address.
static HOME: Home = Home { address: "https://api.anthropic.com", key: "ANTHROPIC_API_KEY", version: "v1" };

/// How a server is asked for JSON. The protocol has no way to ask for JSON without a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// `output_config.format`: the server holds the reply to the schema.
    #[default]
    JsonSchema,
    /// Nothing is sent; the prompt has to ask for it.
    None,
}

/// Anthropic, or any server that speaks its Messages protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Anthropic {
    /// The address without `/v1`, such as `http://10.0.0.5:4000`. Left out: `https://api.anthropic.com`.
    base_url: Option<String>,
    /// The environment variable that holds the address, instead of `base_url`.
    base_url_env: Option<String>,
    /// The environment variable that holds the key. Left out: `ANTHROPIC_API_KEY` for Anthropic's own address, and no
    /// key for any other.
    api_key_env: Option<String>,
    /// Send the key over plain `http://` to a host on a public network, where others can read it.
    allow_insecure: bool,
    /// How the server is asked for JSON: `json_schema`, or `none` for models and servers without structured outputs.
    structured_output: Format,
    /// The deadline of a whole call in seconds.
    #[schemars(range(min = 1, max = 86400))]
    timeout_secs: u64,
    /// The deadline for connecting in seconds.
    #[schemars(range(min = 1, max = 86400))]
    connect_timeout_secs: u64,
}

impl Default for Anthropic {
    fn default() -> Self {
        Anthropic {
            base_url: None,
            base_url_env: None,
            api_key_env: None,
            allow_insecure: false,
            structured_output: Format::default(),
            timeout_secs: 600,
            connect_timeout_secs: 10,
        }
    }
}

impl Service for Anthropic {
    type Wire = AnthropicWire;

    const KIND: &'static str = wire::KIND;

    const HIGHEST_TEMPERATURE: f64 = 1.0;

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

    fn wire(&self, _: &Address) -> AnthropicWire {
        AnthropicWire { format: self.structured_output }
    }
}
