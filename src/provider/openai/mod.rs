//! OpenAI and the many servers that speak its protocol: vLLM, llama.cpp, LM Studio, gateways. Fields of the spec here,
//! the protocol in `wire` (requests) and `reply` (answers).
//!
//! Knows only what stands beside it in `provider`, and `document`.

mod reply;
mod wire;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Provider;
use super::address::Address;
use super::endpoint::{Checked, Checks, ConnectError, Endpoint, Env, Here, Limits, deadlines};
use super::http::{Http, Secret};
use super::server::Server;
use wire::OpenAiWire;

/// OpenAI's own address.
const HOME: &str = "https://api.openai.com/v1";

/// Where OpenAI's own key stands. It is sent to nobody else unless the spec names it for them.
const HOME_KEY: &str = "OPENAI_API_KEY";

/// How a server is asked for JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StructuredOutput {
    /// `response_format = json_schema`: the server holds the reply to the schema.
    #[default]
    JsonSchema,
    /// `response_format = json_object`: the server only sees to it that the reply is JSON.
    JsonObject,
    /// Nothing is sent; the prompt has to ask for it.
    None,
}

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
    /// The most calls in flight at once. Left out: as many as the stages ask for.
    #[schemars(range(min = 1))]
    max_concurrent_calls: Option<u32>,
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
            max_concurrent_calls: None,
        }
    }
}

impl OpenAi {
    /// Whether a key would go over a public network in clear text.
    fn exposes(&self, address: &Address) -> bool {
        self.api_key_env.is_some() && !self.allow_insecure && address.exposes_a_key()
    }

    fn address(&self, env: Env<'_>) -> Result<Address, ConnectError> {
        let address = match (&self.base_url, &self.base_url_env) {
            (Some(base), _) => Address::parse(base).map_err(ConnectError::new)?,
            (None, Some(name)) => {
                let value = env(name).filter(|value| !value.trim().is_empty());
                let value = value.ok_or_else(|| ConnectError::unset(name, "the server's address"))?;
                Address::parse(&value).map_err(|problem| {
                    ConnectError::new(format!("the environment variable `{name}` holds no usable address: {problem}"))
                })?
            }
            (None, None) => Address::parse(HOME).map_err(ConnectError::new)?,
        };
        match self.exposes(&address) {
            true => Err(ConnectError::new(insecure(&address)).help(INSECURE_HELP)),
            false => Ok(address),
        }
    }

    fn key(&self, address: &Address, env: Env<'_>) -> Result<Option<Secret>, ConnectError> {
        let name = match &self.api_key_env {
            Some(name) => name.as_str(),
            None if is_home(address) => HOME_KEY,
            None => return Ok(None),
        };
        match env(name).filter(|value| !value.trim().is_empty()) {
            Some(value) => Ok(Some(Secret::new(&value))),
            None => Err(ConnectError::unset(name, &format!("the key for {address}"))),
        }
    }
}

/// What to do about a key that would be sent in clear text.
const INSECURE_HELP: &str = "use `https://`, or set `allow_insecure = true` if the way there is safe";

fn insecure(address: &Address) -> String {
    format!("the key would go to `{}` in clear text over `http://`", address.host())
}

/// Whether this is OpenAI itself, over TLS.
fn is_home(address: &Address) -> bool {
    address.is_https() && address.host() == "api.openai.com"
}

impl Checked for OpenAi {
    fn check(&self, checks: &mut Checks<'_>) {
        match self.base_url.as_deref().map(Address::parse) {
            Some(Err(problem)) => checks.wrong("base_url", problem, None),
            Some(Ok(address)) if self.exposes(&address) => {
                checks.wrong("base_url", insecure(&address), Some(INSECURE_HELP));
            }
            _ => {}
        }
        if self.base_url.is_some() && self.base_url_env.is_some() {
            checks.wrong(
                "base_url_env",
                "there is a `base_url` already",
                Some("keep one of `base_url` and `base_url_env`"),
            );
        }
        checks.variable("base_url_env", self.base_url_env.as_deref());
        checks.variable("api_key_env", self.api_key_env.as_deref());
        checks.seconds("timeout_secs", self.timeout_secs);
        checks.seconds("connect_timeout_secs", self.connect_timeout_secs);
        checks.calls(self.max_concurrent_calls);
    }
}

impl Endpoint for OpenAi {
    fn kind(&self) -> &'static str {
        wire::KIND
    }

    fn limits(&self) -> Limits {
        Limits { max_concurrent_calls: self.max_concurrent_calls }
    }

    fn secret_env(&self) -> Option<&str> {
        let home = match (&self.base_url, &self.base_url_env) {
            (Some(base), _) => Address::parse(base).is_ok_and(|address| is_home(&address)),
            (None, other) => other.is_none(),
        };
        self.api_key_env.as_deref().or(home.then_some(HOME_KEY))
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn gives_probabilities(&self) -> bool {
        false
    }

    fn connect(&self, here: &Here<'_>) -> Result<Arc<dyn Provider>, ConnectError> {
        let address = self.address(here.env)?;
        let key = self.key(&address, here.env)?;
        let deadlines = deadlines(self.connect_timeout_secs, self.timeout_secs);
        let http = Http::new(&address, deadlines, key).map_err(ConnectError::new)?;
        let wire = OpenAiWire { structured_output: self.structured_output, home: is_home(&address) };
        Ok(Arc::new(Server::new(wire, http, address)))
    }
}

#[cfg(test)]
mod tests;
