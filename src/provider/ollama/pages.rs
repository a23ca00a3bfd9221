//! Pages of Ollama's API about its models, and their errors. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::provider::answer::Answer;
use crate::provider::failure::{CallError, CallErrorKind};
use crate::provider::fault::Fault;

#[derive(Deserialize)]
pub(super) struct Tags {
    pub(crate) models: Vec<Tag>,
}

#[derive(Deserialize)]
pub(super) struct Tag {
    pub(crate) name: String,
    pub(crate) digest: Option<String>,
    pub(crate) size: Option<u64>,
    pub(crate) details: Option<Details>,
}

#[derive(Deserialize)]
pub(super) struct ModelPage {
    pub(crate) template: Option<String>,
    pub(crate) details: Option<Details>,
    #[serde(default)]
    pub(crate) model_info: Map<String, Value>,
}

#[derive(Default, Deserialize)]
pub(super) struct Details {
    pub(crate) parameter_size: Option<String>,
    pub(crate) quantization_level: Option<String>,
}

pub(super) fn failed(answer: Answer<'_>) -> CallError {
    let fault = Fault::of_body(answer.body);
    let error = fault.clone().error(answer);
    if error.kind != CallErrorKind::UnknownModel {
        return error;
    }
    // Only a message such as "model 'x' not found" names the model.
    let quoted = fault.message.split(['\'', '"', '`']).nth(1).filter(|name| !name.is_empty() && !name.contains(' '));
    let message = match quoted {
        Some(name) => format!("{}; run `ollama pull {name}`", fault.message),
        None => format!("{}; is this the address of an Ollama server?", error.message),
    };
    CallError::raw(CallErrorKind::UnknownModel, message)
}

pub(super) fn tagged(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') { name.to_owned() } else { format!("{name}:latest") }
}
