//! Ollama, a server of open models. The spec's fields are in this file, the protocol in `wire`, the models in
//! `inventory`.

mod embedding;
mod host;
mod inventory;
mod keep_alive;
mod options;
mod pages;
mod wire;

use std::sync::Arc;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use options::unknown_field_help;
pub(crate) use wire::DEFAULT_NUM_CTX;

use super::address::Address;
use super::endpoint::{Checks, ConnectContext, Endpoint, EndpointError, Ignored, Reading, deadlines, reading};
use super::http::{Access, Http};
use super::server::Server;
use super::settings::{Credentials, INSECURE_HELP, Settings, insecure, secret};
use super::structured_output::StructuredOutput;
use super::wire::{Wire, full_body};
use super::{Answer, Model, Provider};
use keep_alive::KeepAlive;
use wire::OllamaWire;

const HOST: &str = "OLLAMA_HOST";

const EXAMPLE: &str = "http://127.0.0.1:11434";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Ollama {
    /// The server's address, such as `http://127.0.0.1:11434`. Default: the environment variable `OLLAMA_HOST`, as for
    /// Ollama itself, else `http://127.0.0.1:11434`.
    base_url: Option<String>,
    /// The environment variable that holds the key, for a server behind a proxy or Ollama's cloud. Default: no key.
    api_key_env: Option<String>,
    /// Headers of every request: a text, or `{ env = "NAME" }` for a secret.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    headers: Settings,
    /// Fields that are added to the query of every address: a text, or `{ env = "NAME" }` for a secret.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    query: Settings,
    /// Send the key over plain `http://` to a host on a public network, where others can read it.
    allow_insecure: bool,
    /// How long the server keeps a model in memory after a call: `"5m"`, `"1h30m"`, a number of seconds, or -1 for
    /// always. Left out: not sent, the server decides (`OLLAMA_KEEP_ALIVE`).
    keep_alive: Option<KeepAlive>,
    /// How the server is asked for JSON: `json_schema`, `json_object`, or `none` for models that can be held to neither.
    structured_output: StructuredOutput,
    /// The deadline of a whole call in seconds, loading the model included.
    #[schemars(range(min = 1, max = 86400))]
    timeout_secs: u64,
    /// The deadline for connecting in seconds.
    #[schemars(range(min = 1, max = 86400))]
    connect_timeout_secs: u64,
}

impl Default for Ollama {
    fn default() -> Self {
        Ollama {
            base_url: None,
            api_key_env: None,
            headers: Settings::new(),
            query: Settings::new(),
            allow_insecure: false,
            keep_alive: None,
            structured_output: StructuredOutput::default(),
            timeout_secs: 600,
            connect_timeout_secs: 10,
        }
    }
}

impl Endpoint for Ollama {
    fn kind(&self) -> &'static str {
        OllamaWire::KIND
    }

    fn check(&self, checks: &mut Checks<'_>) {
        let address = match self.base_url.as_deref().map(address) {
            Some(Err(problem)) => {
                checks.wrong("base_url", problem, None);
                None
            }
            other => other.and_then(Result::ok),
        };
        self.credentials().check(address.as_ref(), checks);
        if self.keep_alive.as_ref().is_some_and(|keep_alive| !keep_alive.is_valid()) {
            checks.wrong(
                "keep_alive",
                "`keep_alive` is not a duration",
                Some("write `\"5m\"`, `\"1h30m\"`, a number of seconds such as `300`, or `-1` for always"),
            );
        }
        checks.seconds("timeout_secs", self.timeout_secs);
        checks.seconds("connect_timeout_secs", self.connect_timeout_secs);
    }

    fn secret_env(&self) -> Option<&str> {
        self.api_key_env.as_deref()
    }

    fn setting_envs(&self) -> Vec<&str> {
        self.credentials().variables().collect()
    }

    fn has_embeddings(&self) -> bool {
        true
    }

    fn uses_num_ctx(&self) -> bool {
        true
    }

    fn timeout_secs(&self) -> Option<u64> {
        Some(self.timeout_secs)
    }

    fn full_body(&self) -> Option<Value> {
        let keep_alive = Some(KeepAlive::new("5m"));
        Some(full_body(&Ollama { keep_alive, ..self.clone() }.wire()))
    }

    fn option_field(&self, option: &str) -> Option<String> {
        self.wire().option_field(option)
    }

    fn ignored(&self, extra: &Map<String, Value>) -> Vec<Ignored> {
        options::ignored(extra)
    }

    fn read(&self, model: &Model, answer: Answer<'_>) -> Option<Reading> {
        Some(reading(&self.wire(), model, answer))
    }

    fn connect(&self, context: &ConnectContext<'_>) -> Result<Arc<dyn Provider>, EndpointError> {
        let address = match (&self.base_url, (context.env)(HOST)) {
            (Some(base), _) => address(base).map_err(EndpointError::new)?,
            (None, host) => address(&host::address(host.as_deref().unwrap_or_default())).map_err(|problem| {
                EndpointError::new(format!("the environment variable `{HOST}` holds no usable address: {problem}"))
                    .help("give the provider a `base_url`, or unset the variable")
            })?,
        };
        let deadlines = deadlines(self.connect_timeout_secs, self.timeout_secs);
        let wire = self.wire();
        if self.credentials().exposes(&address) {
            return Err(EndpointError::new(insecure(&address)).help(INSECURE_HELP));
        }
        let (access, address) = self.credentials().read(&address, context.env)?;
        let key = self.api_key_env.as_deref().map(|name| secret(name, &address, context.env)).transpose()?;
        let http = Http::new(&address, deadlines, Access { key, ..access }, OllamaWire::HEADERS);
        let http = http.map_err(EndpointError::new)?;
        Ok(Arc::new(Server::new(wire, http, address)))
    }
}

impl Ollama {
    fn credentials(&self) -> Credentials<'_> {
        Credentials::new(&self.api_key_env, (&self.headers, &self.query), self.allow_insecure)
    }

    fn wire(&self) -> OllamaWire {
        OllamaWire::new(self.structured_output, self.keep_alive.as_ref())
    }
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse_like(text, EXAMPLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::endpoint::tests::context;

    #[test]
    fn the_address_comes_from_the_spec_then_from_the_environment() {
        let at = |base_url: Option<&str>, host: Option<&str>| {
            let fields = Ollama { base_url: base_url.map(str::to_owned), ..Ollama::default() };
            let env = |name: &str| host.filter(|_| name == HOST).map(str::to_owned);
            fields.connect(&context(&env)).map(|p| p.endpoint())
        };
        assert_eq!(at(None, None).unwrap(), "http://127.0.0.1:11434");
        assert_eq!(at(None, Some("gpu:9999")).unwrap(), "http://gpu:9999");
        assert_eq!(at(Some("http://a:1/"), Some("gpu:9999")).unwrap(), "http://a:1");
        let error = at(None, Some("tcp://gpu:11434")).unwrap_err();
        assert!(error.message.ends_with("looks like `http://127.0.0.1:11434`"), "{error}");
        let error = at(None, Some("http://u:hunter2@gpu")).unwrap_err();
        assert!(error.message.contains(HOST) && !format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
