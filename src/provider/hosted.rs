//! Hosted servers: an address and a key, from the spec or the environment, with a home where both are known.
//!
//! A kind whose server wants a key implements [`Service`]; its checks and its [`Endpoint`] follow from that. The key of
//! a home goes to that home only: another address gets a key when the spec names one for it.

use std::fmt::Debug;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::endpoint::{Checked, Checks, ConnectError, Endpoint, Env, Here, Reading, deadlines, reading};
use super::http::{Http, Secret};
use super::owner::other_owner;
use super::server::Server;
use super::wire::{Wire, full_body};
use super::{Answer, Model, Provider};

/// How a server is asked for JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StructuredOutput {
    /// The schema is sent: the server holds the reply to it.
    #[default]
    JsonSchema,
    /// The server only sees to it that the reply is JSON.
    JsonObject,
    /// Nothing is sent; the prompt has to ask for it.
    None,
}

impl StructuredOutput {
    /// The forms from the strictest to the loosest, with their names in a spec.
    const FORMS: [(StructuredOutput, &'static str); 3] = [
        (StructuredOutput::JsonSchema, "json_schema"),
        (StructuredOutput::JsonObject, "json_object"),
        (StructuredOutput::None, "none"),
    ];

    /// The form at this level of relaxation (0 is this one), with its name.
    pub fn relaxed(self, level: usize) -> Option<(StructuredOutput, &'static str)> {
        let at = Self::FORMS.iter().position(|(form, _)| *form == self)?;
        Self::FORMS.get(at + level).copied()
    }
}

/// Where a service is at home.
#[derive(Debug)]
pub(super) struct Home {
    /// Its base address.
    pub address: &'static str,
    /// The environment variable that holds its key. It is sent to nobody else unless the spec names it for them.
    pub key: &'static str,
    /// What the dialect adds to every base address, which a `base_url` must not end with; empty where it adds nothing.
    pub version: &'static str,
}

impl Home {
    /// Whether `address` is the service itself, over TLS.
    pub fn is_at(&self, address: &Address) -> bool {
        address.is_https() && Address::parse(self.address).is_ok_and(|home| home.host() == address.host())
    }

    /// Reads a base address; the error is a sentence.
    fn parse(&self, text: &str) -> Result<Address, String> {
        let address = Address::parse(text)?;
        let version = self.version;
        match !version.is_empty() && address.to_string().ends_with(&format!("/{version}")) {
            true => Err(format!("the address ends with `/{version}`, which is added to it; leave that out")),
            false => Ok(address),
        }
    }
}

/// The fields that all hosted kinds have, as one of them holds them.
pub(super) struct Hosted<'a> {
    /// Where the service is at home.
    pub home: &'static Home,
    /// The address.
    pub base_url: Option<&'a str>,
    /// The variable that holds the address.
    pub base_url_env: Option<&'a str>,
    /// The variable that holds the key.
    pub api_key_env: Option<&'a str>,
    /// Whether a key may be sent in clear text over a public network.
    pub allow_insecure: bool,
    /// The deadline of a call in seconds.
    pub timeout_secs: u64,
    /// The deadline for connecting in seconds.
    pub connect_timeout_secs: u64,
}

/// A kind of provider whose server has an address and a key.
pub(super) trait Service: Serialize + Debug + Send + Sync {
    /// Its dialect.
    type Wire: Wire + 'static;

    /// The kind's name in [`super::PROVIDERS`].
    const KIND: &'static str;

    /// The highest temperature that the protocol knows.
    const HIGHEST_TEMPERATURE: f64;

    /// Its fields.
    fn hosted(&self) -> Hosted<'_>;

    /// Its dialect as it is spoken at `address`.
    fn wire(&self, address: &Address) -> Self::Wire;
}

/// What to do about a key that would be sent in clear text.
const INSECURE_HELP: &str = "use `https://`, or set `allow_insecure = true` if the way there is safe";

/// What to do about a key that belongs to somebody else.
const STRANGER_HELP: &str = "give the key of this server a variable of its own, such as `LAB_KEY`";

fn insecure(address: &Address) -> String {
    format!("the key would go to `{}` in clear text over `http://`", address.host())
}

impl Hosted<'_> {
    /// Whether a key would go over a public network in clear text.
    fn exposes(&self, address: &Address) -> bool {
        self.api_key_env.is_some() && !self.allow_insecure && address.exposes_a_key()
    }

    /// The variable and its owner, if the spec itself sends somebody's well-known key elsewhere. An address that comes from
    /// the environment is the user's own word.
    fn strangers_key(&self, address: &Address) -> Option<(&str, &'static str)> {
        let name = self.api_key_env?;
        Some((name, other_owner(name, address)?))
    }

    fn address(&self, env: Env<'_>) -> Result<Address, ConnectError> {
        let address = match (self.base_url, self.base_url_env) {
            (Some(base), _) => self.home.parse(base).map_err(ConnectError::new)?,
            (None, Some(name)) => {
                let value = env(name).filter(|value| !value.trim().is_empty());
                let value = value.ok_or_else(|| ConnectError::unset(name, "the server's address"))?;
                self.home.parse(&value).map_err(|problem| {
                    ConnectError::new(format!("the environment variable `{name}` holds no usable address: {problem}"))
                })?
            }
            (None, None) => Address::parse(self.home.address).map_err(ConnectError::new)?,
        };
        match self.exposes(&address) {
            true => Err(ConnectError::new(insecure(&address)).help(INSECURE_HELP)),
            false => Ok(address),
        }
    }

    fn key(&self, address: &Address, env: Env<'_>) -> Result<Option<Secret>, ConnectError> {
        let name = match self.api_key_env {
            Some(name) => name,
            None if self.home.is_at(address) => self.home.key,
            None => return Ok(None),
        };
        match env(name).filter(|value| !value.trim().is_empty()) {
            Some(value) => Ok(Some(Secret::new(&value))),
            None => Err(ConnectError::unset(name, &format!("the key for {address}"))),
        }
    }
}

impl<T: Service> Checked for T {
    fn check(&self, checks: &mut Checks<'_>) {
        let hosted = self.hosted();
        match hosted.base_url.map(|base| hosted.home.parse(base)) {
            Some(Err(problem)) => checks.wrong("base_url", problem, None),
            Some(Ok(address)) if hosted.exposes(&address) => {
                checks.wrong("base_url", insecure(&address), Some(INSECURE_HELP));
            }
            Some(Ok(address)) => {
                if let Some((name, owner)) = hosted.strangers_key(&address) {
                    let problem = format!("`{name}` holds a key of {owner}, which would go to `{}`", address.host());
                    checks.wrong("api_key_env", problem, Some(STRANGER_HELP));
                }
            }
            None => {}
        }
        if hosted.base_url.is_some() && hosted.base_url_env.is_some() {
            checks.wrong(
                "base_url_env",
                "there is a `base_url` already",
                Some("keep one of `base_url` and `base_url_env`"),
            );
        }
        checks.variable("base_url_env", hosted.base_url_env);
        checks.variable("api_key_env", hosted.api_key_env);
        checks.seconds("timeout_secs", hosted.timeout_secs);
        checks.seconds("connect_timeout_secs", hosted.connect_timeout_secs);
    }
}

impl<T: Service> Endpoint for T {
    fn kind(&self) -> &'static str {
        T::KIND
    }

    fn secret_env(&self) -> Option<&str> {
        let hosted = self.hosted();
        let home = match (hosted.base_url, hosted.base_url_env) {
            (Some(base), _) => Address::parse(base).is_ok_and(|address| hosted.home.is_at(&address)),
            (None, other) => other.is_none(),
        };
        hosted.api_key_env.or(home.then_some(hosted.home.key))
    }

    fn address_env(&self) -> Option<&str> {
        self.hosted().base_url_env
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn gives_probabilities(&self) -> bool {
        Address::parse(self.hosted().home.address).is_ok_and(|home| self.wire(&home).tells_tokens())
    }

    fn highest_temperature(&self) -> f64 {
        T::HIGHEST_TEMPERATURE
    }

    fn full_body(&self) -> Option<serde_json::Value> {
        let hosted = self.hosted();
        let address = Address::parse(hosted.base_url.unwrap_or(hosted.home.address)).ok()?;
        Some(full_body(&self.wire(&address)))
    }

    fn read(&self, model: &Model, answer: Answer<'_>) -> Option<Reading> {
        let hosted = self.hosted();
        let address = Address::parse(hosted.base_url.unwrap_or(hosted.home.address)).ok()?;
        Some(reading(&self.wire(&address), model, answer))
    }

    fn connect(&self, here: &Here<'_>) -> Result<Arc<dyn Provider>, ConnectError> {
        let hosted = self.hosted();
        let address = hosted.address(here.env)?;
        let key = hosted.key(&address, here.env)?;
        let wire = self.wire(&address);
        let deadlines = deadlines(hosted.connect_timeout_secs, hosted.timeout_secs);
        let http = Http::new(&address, deadlines, key, wire.headers()).map_err(ConnectError::new)?;
        Ok(Arc::new(Server::new(wire, http, address)))
    }
}

#[cfg(test)]
mod tests;
