//! Pages of Ollama's API about its models, and their errors. Pure.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::provider::answer::Answer;
use crate::provider::call::Service;
use crate::provider::failure::{CallError, CallErrorKind, safe};
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
    #[serde(default)]
    system: Option<String>,
    /// One line per parameter, in no fixed order.
    #[serde(default)]
    parameters: Option<String>,
    #[serde(default)]
    messages: Option<Vec<Said>>,
}

/// A MESSAGE of a Modelfile.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    role: String,
    #[serde(default)]
    content: String,
}

/// The most characters of a text of a Modelfile, and the most parameters or messages, that are recorded.
const RECORDED: (usize, usize) = (20_000, 200);

impl ModelPage {
    /// What the Modelfile adds to requests.
    pub(super) fn service(&self) -> Service {
        let text = |text: &str| text.chars().take(RECORDED.0).collect::<String>();
        let words = |line: &str| text(&line.split_whitespace().collect::<Vec<_>>().join(" "));
        let lines = self.parameters.iter().flat_map(|lines| lines.lines()).map(words);
        let mut parameters: Vec<String> = lines.filter(|line| !line.is_empty()).take(RECORDED.1).collect();
        parameters.sort();
        let messages = self.messages.iter().flatten().take(RECORDED.1);
        Service {
            software: None,
            system: self.system.as_deref().filter(|system| !system.is_empty()).map(text),
            parameters,
            messages: messages.map(|said| text(&format!("{}: {}", said.role, said.content))).collect(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Version {
    version: String,
}

impl Version {
    /// The name and the version of the software.
    pub(super) fn software(&self) -> String {
        safe(&format!("Ollama {}", self.version), None)
    }
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
