//! Requests of Gemini's protocol: `POST /v1beta/{model}:generateContent` and `GET /v1beta/{model}`.
//!
//! Sources: <https://ai.google.dev/api/generate-content>, <https://ai.google.dev/api/models>, and for schemas
//! <https://ai.google.dev/gemini-api/docs/structured-output>. Pure. Answers are read in `reply`.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use super::reply;
use crate::prompt::{Message, Role};
use crate::provider::answer::Answer;
use crate::provider::http::Headers;
use crate::provider::scores::LIKELIEST;
use crate::provider::structured_output::StructuredOutput;
use crate::provider::subset::subset;
use crate::provider::wire::{Wire, encoded, portable_seed, system};
use crate::provider::{Build, Call, CallError, Encoded, Inventory, Model, Page, Reply};

pub(super) const KIND: &str = "gemini";

/// The keywords that `responseJsonSchema` accepts; lengths of texts are not among them.
const KNOWN: [&str; 11] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "anyOf",
    "description",
    "minimum",
    "maximum",
    "maxItems",
];

#[derive(Clone, Debug)]
pub(crate) struct GeminiWire {
    pub(super) structured_output: StructuredOutput,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Instruction>,
    contents: Vec<Content<'a>>,
    generation_config: GenerationConfig<'a>,
}

#[derive(Serialize)]
struct Instruction {
    parts: [Part<String>; 1],
}

#[derive(Serialize)]
struct Content<'a> {
    role: &'static str,
    parts: [Part<&'a str>; 1],
}

#[derive(Serialize)]
struct Part<T> {
    text: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<Value>,
}

/// Models before 2.5 sort keys by name unless `propertyOrdering` sets an order. JSON Schema has no such keyword.
fn known(schema: &Value) -> Value {
    let mut known = subset(schema, &KNOWN);
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        known["propertyOrdering"] = json!(properties.keys().collect::<Vec<_>>());
    }
    known
}

fn resource(id: &str) -> String {
    if id.contains('/') { format!("v1beta/{id}") } else { format!("v1beta/models/{id}") }
}

impl Wire for GeminiWire {
    fn kind(&self) -> &'static str {
        KIND
    }

    /// The key is sent in a header: as `?key=` it would be in the logs of every proxy.
    fn headers(&self) -> Headers {
        Headers { key: "x-goog-api-key", before_key: "", fixed: &[] }
    }

    fn path(&self, unsent: &str) -> Cow<'static, str> {
        format!("{}:generateContent", resource(unsent.trim_end())).into()
    }

    /// The model is only in the path, so the call key hashes it before the body.
    fn encode(&self, call: &Call<'_>) -> Encoded {
        let sampling = &call.model.sampling;
        let schema = call.schema.filter(|_| self.structured_output == StructuredOutput::JsonSchema);
        let json = call.schema.is_some() && self.structured_output != StructuredOutput::None;
        let contents = call.messages.iter().filter(|message| message.role != Role::System);
        let body = Body {
            system_instruction: system(call.messages).map(|text| Instruction { parts: [Part { text }] }),
            contents: contents.map(content).collect(),
            generation_config: GenerationConfig {
                temperature: sampling.temperature,
                top_p: sampling.top_p,
                max_output_tokens: sampling.max_tokens,
                stop_sequences: &sampling.stop,
                seed: sampling.seed.map(portable_seed),
                response_logprobs: sampling.logprobs.then_some(true),
                logprobs: sampling.logprobs.then_some(LIKELIEST),
                response_mime_type: json.then_some("application/json"),
                response_json_schema: schema.map(known),
            },
        };
        encoded(&format!("{}\n", call.model.id), &body, call)
    }

    fn encode_relaxed(&self, call: &Call<'_>, level: usize) -> Option<(Encoded, &'static str)> {
        let (structured_output, name) = self.structured_output.relaxed(level)?;
        Some((GeminiWire { structured_output }.encode(call), name))
    }

    fn decode(&self, answer: Answer<'_>) -> Result<Reply, CallError> {
        reply::decode(answer)
    }

    fn models_path(&self, model: &Model) -> Cow<'static, str> {
        resource(&model.id).into()
    }

    fn find_model(&self, model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError> {
        reply::find_model(model, endpoint, answer)
    }

    fn pages(&self, _: &[&str]) -> Vec<Page> {
        vec![Page { query: Some("pageSize=1000"), ..Page::get("v1beta/models") }]
    }

    fn is_listed_as(&self, id: &str, listed: &str) -> bool {
        id.strip_prefix("models/").unwrap_or(id) == listed
    }

    fn inventory(&self, _: &[&str], pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
        reply::inventory(pages)
    }
}

fn content(message: &Message) -> Content<'_> {
    let role = if message.role == Role::Assistant { "model" } else { "user" };
    Content { role, parts: [Part { text: &message.content }] }
}
