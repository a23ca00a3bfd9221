//! Requests of Anthropic's Messages protocol: `POST /v1/messages` and `GET /v1/models/{id}`.
//!
//! Sources: <https://platform.claude.com/docs/en/api/messages/create>,
//! <https://platform.claude.com/docs/en/api/models/retrieve>, <https://platform.claude.com/docs/en/api/versioning> and
//! <https://platform.claude.com/docs/en/build-with-claude/structured-outputs>. Pure. Answers are read in `reply`.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::reply;
use crate::prompt::{Message, Role};
use crate::provider::answer::Answer;
use crate::provider::http::Headers;
use crate::provider::structured_output::SchemaOrNone;
use crate::provider::subset::subset;
use crate::provider::wire::{Wire, encoded, system};
use crate::provider::{Build, Call, CallError, Encoded, Inventory, Model, Page, Reply};

pub(super) const KIND: &str = "anthropic";

/// The protocol requires `max_tokens`.
const DEFAULT_MAX_TOKENS: u32 = 1024;

/// The keywords that structured outputs accept; bounds of numbers, texts and lists are refused with 400.
const KNOWN: [&str; 8] =
    ["type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "description"];

#[derive(Clone, Debug)]
pub(crate) struct AnthropicWire {
    pub(super) structured_output: SchemaOrNone,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    messages: Vec<&'a Message>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
}

#[derive(Serialize)]
struct OutputConfig {
    format: JsonSchema,
}

#[derive(Serialize)]
struct JsonSchema {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: Value,
}

impl Wire for AnthropicWire {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn headers(&self) -> Headers {
        Headers { key: "x-api-key", before_key: "", fixed: &[("anthropic-version", "2023-06-01")] }
    }

    fn path(&self, _: &str) -> Cow<'static, str> {
        "v1/messages".into()
    }

    /// The protocol has no seed. The seed is only part of the call key, so replicates are different calls.
    fn encode(&self, call: &Call<'_>) -> Encoded {
        let sampling = &call.model.sampling;
        let schema = call.schema.filter(|_| self.structured_output == SchemaOrNone::JsonSchema);
        let body = Body {
            model: &call.model.id,
            max_tokens: sampling.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
            system: system(call.messages),
            messages: call.messages.iter().filter(|message| message.role != Role::System).collect(),
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            stop_sequences: &sampling.stop,
            output_config: schema.map(|schema| OutputConfig {
                format: JsonSchema { kind: "json_schema", schema: subset(schema, &KNOWN) },
            }),
        };
        let seed = sampling.seed.map(|seed| format!("{seed}\n")).unwrap_or_default();
        encoded(&seed, &body, call)
    }

    fn encode_relaxed(&self, call: &Call<'_>, level: usize) -> Option<(Encoded, &'static str)> {
        let relaxed = (self.structured_output, level) == (SchemaOrNone::JsonSchema, 1);
        relaxed.then(|| (AnthropicWire { structured_output: SchemaOrNone::None }.encode(call), "none"))
    }

    fn tells_tokens(&self) -> bool {
        false
    }

    fn decode(&self, answer: Answer<'_>) -> Result<Reply, CallError> {
        reply::decode(answer)
    }

    fn models_path(&self, model: &Model) -> Cow<'static, str> {
        format!("v1/models/{}", model.id).into()
    }

    fn find_model(&self, model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError> {
        reply::find_model(model, endpoint, answer)
    }

    fn pages(&self, _: &[&str]) -> Vec<Page> {
        vec![Page { query: Some("limit=1000"), ..Page::get("v1/models") }]
    }

    fn inventory(&self, _: &[&str], pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
        reply::inventory(pages)
    }
}
