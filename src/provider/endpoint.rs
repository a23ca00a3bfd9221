//! Endpoints: entries of `[providers]`, which are checked without network, and their connection.

use std::fmt;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::call::{Build, Model, Reply};
use super::client::Provider;
use super::failure::CallError;
use super::http::Deadlines;
use super::wire::Wire;
use crate::document::{self, Node, Path, Problems};

const DAY: u64 = 86_400;

pub(crate) type Config = Arc<dyn Endpoint>;

pub(crate) type Env<'a> = &'a (dyn Fn(&str) -> Option<String> + Sync);

pub(crate) struct ConnectContext<'a> {
    pub(crate) env: Env<'a>,
    /// The spec's folder.
    #[cfg_attr(not(feature = "embedded"), expect(dead_code, reason = "only embedded models read files"))]
    pub(crate) folder: &'a FilePath,
}

pub(crate) trait Endpoint: fmt::Debug + Send + Sync {
    fn kind(&self) -> &'static str;

    fn check(&self, _: &mut Checks<'_>) {}

    /// Returns the name of the variable with the API key, never the key.
    fn secret_env(&self) -> Option<&str> {
        None
    }

    /// The variables of other secrets, in headers and in the query.
    fn setting_envs(&self) -> Vec<&str> {
        Vec::new()
    }

    fn address_env(&self) -> Option<&str> {
        None
    }

    fn gives_probabilities(&self) -> bool {
        true
    }

    /// The deadline of a call in seconds; `None` without requests.
    fn timeout_secs(&self) -> Option<u64> {
        None
    }

    fn is_free(&self) -> bool {
        true
    }

    /// Whether calls go to the address of the kind's vendor, whose prices are known.
    fn is_vendors(&self) -> bool {
        false
    }

    /// How failed calls are retried if calls go in batches; `None` if they don't.
    fn batch(&self) -> Option<BatchRetries> {
        None
    }

    /// Whether models of embeddings can be asked for vectors.
    fn has_embeddings(&self) -> bool {
        false
    }

    fn uses_num_ctx(&self) -> bool {
        false
    }

    /// The lowest temperature is always 0.
    fn highest_temperature(&self) -> f64 {
        5.0
    }

    /// Returns a body with every field that fanfold can set, to compare with a model's `extra`; `None` without
    /// requests.
    fn full_body(&self) -> Option<Value> {
        None
    }

    /// The field of a request that holds a model's option, as a path such as `options.top_k`. `None` if the provider
    /// can't take it.
    fn option_field(&self, _option: &str) -> Option<String> {
        None
    }

    /// The fields of a model's `extra` that the server would ignore without a word.
    fn ignored(&self, _extra: &Map<String, Value>) -> Vec<Ignored> {
        Vec::new()
    }

    /// Reads the files of a model that runs in the process, without its weights.
    fn examine(&self, _id: &str, _context: &ConnectContext<'_>) -> Examined {
        Examined::default()
    }

    /// Reads an answer as the provider does, but without a connection. Returns `None` for a kind without a server.
    #[cfg_attr(not(any(test, fuzzing)), expect(dead_code, reason = "for tests and fuzz targets"))]
    fn read(&self, _model: &Model, _answer: Answer<'_>) -> Option<Reading> {
        None
    }

    /// Makes a client without opening a connection. Fails if an environment variable is missing or has a bad address.
    fn connect(&self, context: &ConnectContext<'_>) -> Result<Arc<dyn Provider>, EndpointError>;
}

/// How a call is sent after its first request, if first requests go in batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BatchRetries {
    /// At once, at the usual price.
    #[default]
    Direct,
    /// In a further batch.
    Batched,
}

/// What the files of a model say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Examined {
    /// Why the model can't run.
    pub(crate) error: Option<EndpointError>,
    /// Why the model is not on this machine. It may be on a different machine.
    pub(crate) missing: Option<EndpointError>,
    /// What a Modelfile adds to the weights and the provider does not use.
    pub(crate) unused: Vec<String>,
}

/// A field of `extra` that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ignored {
    pub(crate) path: Vec<String>,
    pub(crate) message: String,
    pub(crate) help: String,
}

#[cfg_attr(not(any(test, fuzzing)), expect(dead_code, reason = "for tests and fuzz targets"))]
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) reply: Result<Reply, CallError>,
    pub(crate) build: Result<Build, CallError>,
}

/// Error messages are cleaned, so that they are safe to show.
pub(super) fn reading(wire: &impl Wire, model: &Model, answer: Answer<'_>) -> Reading {
    Reading {
        reply: wire.decode(answer).map_err(|error| error.cleaned(None)),
        build: wire.find_model(model, "the server", answer).map_err(|error| error.cleaned(None)),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct EndpointError {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl EndpointError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        EndpointError { message: message.into(), help: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        EndpointError { help: Some(help.into()), ..self }
    }

    pub(super) fn unset(name: &str, what: &str) -> Self {
        EndpointError::new(format!("the environment variable `{name}` is not set"))
            .help(format!("it holds {what}; set it with `export {name}=...`"))
    }
}

pub(super) fn decode<T>(node: &Node, path: &Path, problems: &mut Problems) -> Option<Config>
where
    T: Endpoint + serde::de::DeserializeOwned + 'static,
{
    let fields: T = document::decode(node, path, problems)?;
    let mut found = Checks { path, problems, failed: false };
    fields.check(&mut found);
    if found.failed { None } else { Some(Arc::new(fields)) }
}

pub(crate) struct Checks<'a> {
    path: &'a Path,
    problems: &'a mut Problems,
    failed: bool,
}

impl Checks<'_> {
    pub(crate) fn wrong(&mut self, field: &str, message: impl Into<String>, help: Option<&str>) {
        self.problems.error("bad-provider", self.path.key(field), message).help_if(help.map(str::to_owned));
        self.failed = true;
    }

    /// Accepts one second to one day: 0 could mean "never" or "at once".
    pub(crate) fn seconds(&mut self, field: &str, value: u64) {
        if !(1..=DAY).contains(&value) {
            self.wrong(field, format!("`{field}` is {value}, but must be between 1 and {DAY} seconds"), None);
        }
    }

    /// The message does not repeat the text, because it may be a key.
    pub(crate) fn variable(&mut self, field: &str, value: Option<&str>) {
        if value.is_some_and(|name| !is_variable(name)) {
            self.wrong(
                field,
                format!("`{field}` must be the name of an environment variable"),
                Some("keys and addresses are never written into it, only where they are, such as `LAB_KEY`"),
            );
        }
    }
}

fn is_variable(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let shaped = first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let lower = name.bytes().any(|b| b.is_ascii_lowercase());
    let digit = name.bytes().any(|b| b.is_ascii_digit());
    shaped && !(name.len() >= 20 && lower && digit)
}

pub(super) fn deadlines(connect_timeout_secs: u64, timeout_secs: u64) -> Deadlines {
    Deadlines { connect: Duration::from_secs(connect_timeout_secs), total: Duration::from_secs(timeout_secs) }
}

#[cfg(test)]
pub(super) mod tests;
