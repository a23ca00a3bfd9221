//! Requests of OpenAI's chat protocol: `POST /chat/completions` and `GET /models`.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/create>. Pure. Answers are read in `reply`.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::quirks::Quirk;
use super::{inventory, reply};
use crate::prompt::Message;
use crate::provider::answer::Answer;
use crate::provider::scores::LIKELIEST;
use crate::provider::structured_output::StructuredOutput;
use crate::provider::wire::{Wire, encoded, portable_seed};
use crate::provider::{Build, Call, CallError, Encoded, Inventory, Model, Page, Reply, Timings};

pub(super) const KIND: &str = "openai";

#[derive(Clone, Debug)]
pub(crate) struct OpenAiWire {
    pub(super) structured_output: StructuredOutput,
    pub(super) quirks: &'static [Quirk],
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [Message],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<JsonSchema<'a>>,
}

#[derive(Serialize)]
struct JsonSchema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a Value,
}

impl OpenAiWire {
    fn response_format<'a>(&self, schema: &'a Value) -> Option<ResponseFormat<'a>> {
        match self.structured_output {
            StructuredOutput::JsonSchema => Some(ResponseFormat {
                kind: "json_schema",
                json_schema: Some(JsonSchema { name: "answer", strict: true, schema }),
            }),
            StructuredOutput::JsonObject => Some(ResponseFormat { kind: "json_object", json_schema: None }),
            StructuredOutput::None => None,
        }
    }
}

impl Wire for OpenAiWire {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn path(&self, _: &str) -> Cow<'static, str> {
        "chat/completions".into()
    }

    fn encode(&self, call: &Call<'_>) -> Encoded {
        let sampling = &call.model.sampling;
        let completion = self.quirks.contains(&Quirk::MaxCompletionTokens);
        let body = Body {
            model: &call.model.id,
            messages: call.messages,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            max_tokens: sampling.max_tokens.filter(|_| !completion),
            max_completion_tokens: sampling.max_tokens.filter(|_| completion),
            seed: sampling.seed.map(portable_seed),
            stop: &sampling.stop,
            logprobs: sampling.logprobs.then_some(true),
            top_logprobs: sampling.logprobs.then_some(LIKELIEST),
            response_format: call.schema.and_then(|schema| self.response_format(schema)),
        };
        encoded("", &body, call)
    }

    fn encode_relaxed(&self, call: &Call<'_>, level: usize) -> Option<(Encoded, &'static str)> {
        let (structured_output, name) = self.structured_output.relaxed(level)?;
        Some((OpenAiWire { structured_output, ..self.clone() }.encode(call), name))
    }

    fn decode(&self, answer: Answer<'_>) -> Result<Reply, CallError> {
        reply::decode(answer)
    }

    fn models_path(&self, _: &Model) -> Cow<'static, str> {
        "models".into()
    }

    fn find_model(&self, model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError> {
        reply::find_model(model, endpoint, answer)
    }

    fn timings(&self, answer: Answer<'_>) -> Timings {
        inventory::timings(answer)
    }

    fn pages(&self, _: &[&str]) -> Vec<Page> {
        inventory::pages(self.quirks)
    }

    fn inventory(&self, _: &[&str], pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
        inventory::read(pages)
    }
}
