//! Own headers and query fields of a provider, whose secret values are in the environment.

use indexmap::IndexMap;
use reqwest::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::address::{Address, is_secret_name};
use super::endpoint::{Checks, EndpointError, Env};
use super::http::{Access, Secret};
use super::owner::other_owner;

/// Headers that belong to the protocol itself.
const RESERVED: [&str; 6] = ["host", "content-length", "content-type", "transfer-encoding", "connection", "accept"];
pub(super) const INSECURE_HELP: &str = "use `https://`, or set `allow_insecure = true` if the network is safe";
const OTHER_OWNER_HELP: &str = "put the key of this server into a variable of another name, such as `LAB_KEY`";

/// A text, or `{ env = "NAME" }` with the environment variable that holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a text, or `{ env = \"NAME\" }`")]
pub(super) enum Setting {
    Text(String),
    Variable(Variable),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Variable {
    /// The environment variable.
    env: String,
}

pub(super) type Settings = IndexMap<String, Setting>;

/// Everything of a provider that may hold a secret.
#[derive(Clone, Copy)]
pub(super) struct Credentials<'a> {
    api_key_env: Option<&'a str>,
    headers: &'a Settings,
    query: &'a Settings,
    allow_insecure: bool,
}

fn variables(settings: &Settings) -> impl Iterator<Item = &str> {
    settings.values().filter_map(|setting| match setting {
        Setting::Text(_) => None,
        Setting::Variable(Variable { env }) => Some(env.as_str()),
    })
}

pub(super) fn insecure(address: &Address) -> String {
    format!("the key would go to `{}` in clear text over `http://`", address.host())
}

/// The key in the variable `name`.
pub(super) fn secret(name: &str, address: &Address, env: Env<'_>) -> Result<Secret, EndpointError> {
    match env(name).filter(|value| !value.trim().is_empty()) {
        Some(value) => Ok(Secret::new(&value)),
        None => Err(EndpointError::unset(name, &format!("the key for {address}"))),
    }
}

impl<'a> Credentials<'a> {
    pub(super) fn new(
        api_key_env: &'a Option<String>,
        (headers, query): (&'a Settings, &'a Settings),
        allow_insecure: bool,
    ) -> Self {
        Credentials { api_key_env: api_key_env.as_deref(), headers, query, allow_insecure }
    }

    /// The variables of headers and query fields.
    pub(super) fn variables(self) -> impl Iterator<Item = &'a str> {
        variables(self.headers).chain(variables(self.query))
    }

    pub(super) fn exposes(self, address: &Address) -> bool {
        let has_secret = self.api_key_env.is_some() || self.variables().next().is_some();
        has_secret && !self.allow_insecure && address.exposes_a_key()
    }

    pub(super) fn has_header(self, name: &str) -> bool {
        self.headers.keys().any(|header| header.eq_ignore_ascii_case(name))
    }

    /// `address` is the one in the spec. One from the environment is the user's choice.
    pub(super) fn check(self, address: Option<&Address>, checks: &mut Checks<'_>) {
        checks.variable("api_key_env", self.api_key_env);
        for (field, settings) in [("headers", self.headers), ("query", self.query)] {
            for (name, setting) in settings {
                let place = format!("{field}.{name}");
                match setting {
                    Setting::Text(_) if is_secret_name(name) => {
                        let help = format!("write `{field} = {{ {name} = {{ env = \"LAB_KEY\" }} }}`");
                        checks.wrong(field, format!("the value of `{place}` looks like a secret"), Some(&help));
                    }
                    Setting::Text(text) if HeaderValue::try_from(text).is_err() => {
                        checks.wrong(field, format!("the value of `{place}` can't be sent"), None);
                    }
                    Setting::Text(_) => {}
                    Setting::Variable(Variable { env }) => checks.variable(field, Some(env)),
                }
            }
        }
        for name in self.headers.keys() {
            if HeaderName::try_from(name).is_err() || RESERVED.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                checks.wrong("headers", format!("`{name}` can't be set as a header"), None);
            }
        }
        let Some(address) = address else { return };
        if self.exposes(address) {
            checks.wrong("base_url", insecure(address), Some(INSECURE_HELP));
            return;
        }
        let keys = self.api_key_env.map(|name| ("api_key_env", name)).into_iter();
        for (field, name) in keys.chain(self.variables().map(|name| ("headers", name))) {
            if let Some(owner) = other_owner(name, address) {
                let problem = format!("`{name}` holds a key of {owner}, which would go to `{}`", address.host());
                checks.wrong(field, problem, Some(OTHER_OWNER_HELP));
            }
        }
    }

    /// Reads the values, and adds those of the query to the address.
    pub(super) fn read(self, address: &Address, env: Env<'_>) -> Result<(Access, Address), EndpointError> {
        let (headers, mut secrets) = values(self.headers, env)?;
        let (query, hidden) = values(self.query, env)?;
        let (address, encoded) = address.with_query(&query);
        // A server may show a secret in the form of the address.
        let encoded = encoded.iter().zip(&query).filter(|(_, (name, _))| hidden_name(self.query, name));
        secrets.extend(encoded.map(|(encoded, _)| Secret::new(encoded)));
        secrets.extend(hidden);
        Ok((Access { headers, secrets, ..Access::default() }, address))
    }
}

fn hidden_name(settings: &Settings, name: &str) -> bool {
    matches!(settings.get(name), Some(Setting::Variable(_)))
}

type Values = (Vec<(String, String)>, Vec<Secret>);

fn values(settings: &Settings, env: Env<'_>) -> Result<Values, EndpointError> {
    let mut secrets = Vec::new();
    let value = |(name, setting): (&String, &Setting)| {
        let value = match setting {
            Setting::Text(text) => text.clone(),
            Setting::Variable(Variable { env: variable }) => {
                let value = env(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
                let value = value.ok_or_else(|| EndpointError::unset(variable, &format!("the value of `{name}`")))?;
                secrets.push(Secret::new(&value));
                // The key of a header such as `Bearer x` is shown without its first word.
                secrets.extend(value.split_once(' ').map(|(_, key)| Secret::new(key)));
                value
            }
        };
        Ok((name.clone(), value))
    };
    let values = settings.iter().map(value).collect::<Result<Vec<_>, EndpointError>>()?;
    Ok((values, secrets))
}
