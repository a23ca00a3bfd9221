//! Hosted servers: the fields of all kinds with an address and a key, their checks, and the connection.
//!
//! A kind is a [`Dialect`]. The key of a dialect's home is sent only to that home: another address receives a key only
//! if the spec names one for it.

use std::fmt::Debug;
use std::sync::Arc;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::address::Address;
use super::answer::Answer;
use super::call::Model;
use super::client::Provider;
use super::endpoint::{
    BatchRetries, Checks, ConnectContext, Endpoint, EndpointError, Env, Reading, deadlines, reading,
};
use super::http::{Access, Http, Secret};
use super::server::Server;
use super::settings::{Credentials, INSECURE_HELP, Settings, insecure, secret};
use super::wire::{Wire, full_body};

pub(super) trait Dialect: Wire + Sized + 'static {
    type StructuredOutput: Serialize + DeserializeOwned + JsonSchema + Copy + Debug + Default + Send + Sync;

    const HOME: Home;
    const HIGHEST_TEMPERATURE: f64;
    const HAS_EMBEDDINGS: bool = false;
    const ABOUT_STRUCTURED_OUTPUT: &'static str;

    fn new(structured_output: Self::StructuredOutput, address: &Address) -> Self;
}

#[derive(Debug)]
pub(super) struct Home {
    pub(crate) owner: &'static str,
    pub(crate) address: &'static str,
    /// The variable of the key, which is sent to no other server unless the spec names it there.
    pub(crate) key: &'static str,
    /// The variable with another address that the vendor's own clients read.
    pub(crate) address_env: &'static str,
    /// The path that fanfold adds to every base address, which must not end with it; may be empty.
    pub(crate) version: &'static str,
    pub(crate) about_address: &'static str,
}

impl Home {
    pub(crate) fn is_at(&self, address: &Address) -> bool {
        address.is_https() && Address::parse(self.address).is_ok_and(|home| home.host() == address.host())
    }

    fn parse(&self, text: &str) -> Result<Address, String> {
        let version = self.version;
        // Without an own version, the example is a server of the user.
        let address = if version.is_empty() { Address::parse(text) } else { Address::parse_like(text, self.address) }?;
        match !version.is_empty() && address.to_string().ends_with(&format!("/{version}")) {
            true => Err(format!("the address ends with `/{version}`, which fanfold adds; remove it")),
            false => Ok(address),
        }
    }
}

/// The fields of a hosted kind.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, bound = "")]
#[schemars(bound = "")]
pub(super) struct Hosted<D: Dialect> {
    /// The address.
    base_url: Option<String>,
    /// The environment variable that holds the address, instead of `base_url`.
    base_url_env: Option<String>,
    /// The environment variable that holds the key.
    api_key_env: Option<String>,
    /// Headers of every request: a text, or `{ env = "NAME" }` for a secret.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    headers: Settings,
    /// Fields that are added to the query of every address: a text, or `{ env = "NAME" }` for a secret.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    query: Settings,
    /// Send the key over plain `http://` to a host on a public network, where others can read it.
    allow_insecure: bool,
    /// The way to ask the server for JSON.
    structured_output: D::StructuredOutput,
    /// Send the first question about each row in batches, which the server answers within a day at a lower price.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    batch: bool,
    /// How further questions about a row and retries of failed calls are sent if `batch` is set: `direct`, at once at
    /// the usual price, or `batched`. Default: `direct`.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_retries: Option<BatchRetries>,
    /// The deadline of a whole call in seconds.
    #[schemars(range(min = 1, max = 86400))]
    timeout_secs: u64,
    /// The deadline for connecting in seconds.
    #[schemars(range(min = 1, max = 86400))]
    connect_timeout_secs: u64,
}

impl<D: Dialect> Default for Hosted<D> {
    fn default() -> Self {
        Hosted {
            base_url: None,
            base_url_env: None,
            api_key_env: None,
            headers: Settings::new(),
            query: Settings::new(),
            allow_insecure: false,
            structured_output: D::StructuredOutput::default(),
            batch: false,
            batch_retries: None,
            timeout_secs: 600,
            connect_timeout_secs: 10,
        }
    }
}

pub(super) fn schema<D: Dialect>(generator: &mut SchemaGenerator) -> Schema {
    let Home { owner, address, key, about_address, .. } = D::HOME;
    let mut schema = Hosted::<D>::json_schema(generator);
    if let Some(fields) = schema.get_mut("properties") {
        fields["base_url"]["description"] = json!(format!("{about_address} Default: `{address}`."));
        fields["api_key_env"]["description"] = json!(format!(
            "The environment variable that holds the key. Default: `{key}` for {owner}'s own address, and no key for any other."
        ));
        fields["structured_output"]["description"] = json!(D::ABOUT_STRUCTURED_OUTPUT);
    }
    schema
}

impl<D: Dialect> Hosted<D> {
    fn credentials(&self) -> Credentials<'_> {
        Credentials::new(&self.api_key_env, (&self.headers, &self.query), self.allow_insecure)
    }

    /// The address, and whether it comes from the variable that the vendor's own clients read.
    fn address(&self, env: Env<'_>) -> Result<(Address, bool), EndpointError> {
        let value = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let of_variable = |name: &str, value: &str| {
            D::HOME.parse(value).map_err(|problem| {
                EndpointError::new(format!("the environment variable `{name}` holds no usable address: {problem}"))
            })
        };
        let own = || value(D::HOME.address_env).map(|value| of_variable(D::HOME.address_env, &value));
        let (address, is_own) = match (&self.base_url, &self.base_url_env) {
            (Some(base), _) => (D::HOME.parse(base).map_err(EndpointError::new)?, false),
            (None, Some(name)) => {
                let value = value(name).ok_or_else(|| EndpointError::unset(name, "the server's address"))?;
                (of_variable(name, &value)?, false)
            }
            (None, None) => match own() {
                Some(address) => (address?, true),
                None => (Address::parse(D::HOME.address).map_err(EndpointError::new)?, false),
            },
        };
        match self.credentials().exposes(&address) {
            true => Err(EndpointError::new(insecure(&address)).help(INSECURE_HELP)),
            false => Ok((address, is_own)),
        }
    }

    /// `is_own`: the user pointed the vendor's own clients at the address, which then receives the vendor's key too.
    fn key(&self, address: &Address, is_own: bool, env: Env<'_>) -> Result<Option<Secret>, EndpointError> {
        match &self.api_key_env {
            Some(name) => secret(name, address, env).map(Some),
            None if self.credentials().has_header(D::HEADERS.key) => Ok(None),
            None if D::HOME.is_at(address) => secret(D::HOME.key, address, env).map(Some),
            None if is_own => {
                let key = secret(D::HOME.key, address, env).ok();
                match key.is_some() && address.exposes_a_key() && !self.allow_insecure {
                    true => Err(EndpointError::new(insecure(address)).help(INSECURE_HELP)),
                    false => Ok(key),
                }
            }
            None => Ok(None),
        }
    }

    fn wire(&self) -> Option<D> {
        let address = Address::parse(self.base_url.as_deref().unwrap_or(D::HOME.address)).ok()?;
        Some(D::new(self.structured_output, &address))
    }
}

impl<D: Dialect> Endpoint for Hosted<D> {
    fn kind(&self) -> &'static str {
        D::KIND
    }

    fn check(&self, checks: &mut Checks<'_>) {
        if let Some(Err(problem)) = self.base_url.as_deref().map(|base| D::HOME.parse(base)) {
            checks.wrong("base_url", problem, None);
        }
        let address = self.base_url.as_deref().and_then(|base| D::HOME.parse(base).ok());
        self.credentials().check(address.as_ref(), checks);
        if self.base_url.is_some() && self.base_url_env.is_some() {
            let help = "keep one of `base_url` and `base_url_env`";
            checks.wrong("base_url_env", "there is a `base_url` already", Some(help));
        }
        if self.batch_retries.is_some() && !self.batch {
            checks.wrong("batch_retries", "calls do not go in batches", Some("add `batch = true`"));
        }
        checks.variable("base_url_env", self.base_url_env.as_deref());
        checks.seconds("timeout_secs", self.timeout_secs);
        checks.seconds("connect_timeout_secs", self.connect_timeout_secs);
    }

    fn secret_env(&self) -> Option<&str> {
        self.api_key_env.as_deref().or(self.is_vendors().then_some(D::HOME.key))
    }

    fn setting_envs(&self) -> Vec<&str> {
        self.credentials().variables().collect()
    }

    fn is_vendors(&self) -> bool {
        match (&self.base_url, &self.base_url_env) {
            (Some(base), _) => Address::parse(base).is_ok_and(|address| D::HOME.is_at(&address)),
            (None, other) => other.is_none(),
        }
    }

    fn address_env(&self) -> Option<&str> {
        self.base_url_env.as_deref()
    }

    fn batch(&self) -> Option<BatchRetries> {
        self.batch.then_some(self.batch_retries.unwrap_or_default())
    }

    fn has_embeddings(&self) -> bool {
        D::HAS_EMBEDDINGS
    }

    fn gives_probabilities(&self) -> bool {
        D::TELLS_TOKENS
    }

    fn is_free(&self) -> bool {
        false
    }

    fn highest_temperature(&self) -> f64 {
        D::HIGHEST_TEMPERATURE
    }

    fn timeout_secs(&self) -> Option<u64> {
        Some(self.timeout_secs)
    }

    fn full_body(&self) -> Option<Value> {
        self.wire().as_ref().map(full_body)
    }

    fn option_field(&self, option: &str) -> Option<String> {
        let elsewhere = self.base_url_env.as_ref().map(|_| "https://unset.invalid");
        let address = self.base_url.as_deref().or(elsewhere).unwrap_or(D::HOME.address);
        D::new(self.structured_output, &Address::parse(address).ok()?).option_field(option)
    }

    fn read(&self, model: &Model, answer: Answer<'_>) -> Option<Reading> {
        Some(reading(&self.wire()?, model, answer))
    }

    fn connect(&self, context: &ConnectContext<'_>) -> Result<Arc<dyn Provider>, EndpointError> {
        let (address, is_own) = self.address(context.env)?;
        let key = self.key(&address, is_own, context.env)?;
        let (access, address) = self.credentials().read(&address, context.env)?;
        let wire = D::new(self.structured_output, &address);
        let deadlines = deadlines(self.connect_timeout_secs, self.timeout_secs);
        let http =
            Http::new(&address, deadlines, Access { key, ..access }, wire.headers()).map_err(EndpointError::new)?;
        Ok(Arc::new(Server::new(wire, http, address)))
    }
}

#[cfg(test)]
mod tests;
