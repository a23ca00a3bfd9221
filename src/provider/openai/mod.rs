//! OpenAI and the many servers that speak its protocol (vLLM, llama.cpp, LM Studio, gateways): `POST /chat/completions`
//! and `GET /models`. Answers are read in `reply` and `stream`, the server's models in `inventory`; `quirks` has differences.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/create>. Pure.

mod batch;
mod embedding;
mod inventory;
mod quirks;
mod reply;
mod stream;

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::address::Address;
use super::answer::Answer;
use super::batch::BatchWire;
use super::embedding::EmbedWire;
use super::hosted::{Dialect, Home};
use super::http::Headers;
use super::scores::LIKELIEST;
use super::structured_output::StructuredOutput;
use super::wire::{Wire, encoded, portable_seed, set};
use super::{Build, Call, CallError, Encoded, Inventory, Model, Page, Reply, SystemRole, Timings};
use crate::prompt::{Message, Role};
use quirks::Quirk;

/// Azure's limit for one schema; OpenAI's is 5,000:
/// <https://learn.microsoft.com/en-us/azure/ai-services/openai/how-to/structured-outputs>.
const MOST_PROPERTIES: usize = 100;

#[derive(Clone, Debug)]
pub(super) struct OpenAi {
    structured_output: StructuredOutput,
    server: &'static quirks::Server,
}

impl Dialect for OpenAi {
    type StructuredOutput = StructuredOutput;

    const HOME: Home = Home {
        owner: "OpenAI",
        address: "https://api.openai.com/v1",
        key: "OPENAI_API_KEY",
        address_env: "OPENAI_BASE_URL",
        version: "",
        about_address: "The address up to and with `/v1`, such as `http://10.0.0.5:8000/v1`.",
    };
    // OpenAI's limit is 2, but similar servers have other limits.
    const HIGHEST_TEMPERATURE: f64 = 5.0;
    const HAS_EMBEDDINGS: bool = true;
    const ABOUT_STRUCTURED_OUTPUT: &'static str =
        "How the server is asked for JSON: `json_schema`, `json_object`, or `none` for servers that know neither.";

    fn new(structured_output: StructuredOutput, address: &Address) -> Self {
        OpenAi { structured_output, server: quirks::of(address) }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Messages<'a>,
    #[serde(flatten)]
    settings: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Messages<'a> {
    Plain(&'a [Message]),
    Developer(Vec<Value>),
}

impl<'a> Messages<'a> {
    fn new(call: &Call<'a>) -> Self {
        if call.model.sampling.system_role != Some(SystemRole::Developer) {
            return Messages::Plain(call.messages);
        }
        let role =
            |message: &Message| if message.role == Role::System { json!("developer") } else { json!(message.role) };
        let said = |message: &Message| json!({ "role": role(message), "content": message.content });
        Messages::Developer(call.messages.iter().map(said).collect())
    }
}

impl OpenAi {
    fn response_format(&self, schema: &Value) -> Value {
        match self.structured_output {
            StructuredOutput::JsonSchema => json!({
                "type": "json_schema", "json_schema": { "name": "answer", "strict": true, "schema": schema },
            }),
            StructuredOutput::JsonObject => json!({ "type": "json_object" }),
            StructuredOutput::None => Value::Null,
        }
    }
}

impl Wire for OpenAi {
    const KIND: &'static str = "openai";

    /// The protocol has the two penalties; most servers other than OpenAI's own also read `top_k` and `min_p`.
    fn option_field(&self, option: &str) -> Option<String> {
        let is_protocol = matches!(option, "presence_penalty" | "frequency_penalty");
        let is_common = matches!(option, "top_k" | "min_p") && !self.server.has(Quirk::OnlyProtocol);
        (is_protocol || is_common).then_some(option).or_else(|| self.server.field(option)).map(str::to_owned)
    }

    fn option_value(&self, option: &str, value: Value) -> Value {
        match value.as_bool().filter(|_| option == "think" && self.server.has(Quirk::ThinksByWord)) {
            Some(thinks) => json!(if thinks { "enabled" } else { "disabled" }),
            None => value,
        }
    }

    fn headers(&self) -> Headers {
        match self.server.has(Quirk::ApiKeyHeader) {
            true => Headers { key: "api-key", before_key: "", fixed: &[] },
            false => Self::HEADERS,
        }
    }

    fn path(&self, _: &str) -> Cow<'static, str> {
        "chat/completions".into()
    }

    fn encode(&self, call: &Call<'_>) -> Encoded {
        let sampling = &call.model.sampling;
        let completion = sampling.completion_limit || self.server.has(Quirk::MaxCompletionTokens);
        let seed = if self.server.has(Quirk::RandomSeed) { "random_seed" } else { "seed" };
        let settings = set([
            ("temperature", json!(sampling.temperature)),
            ("top_p", json!(sampling.top_p)),
            ("max_tokens", json!(sampling.max_tokens.filter(|_| !completion))),
            ("max_completion_tokens", json!(sampling.max_tokens.filter(|_| completion))),
            (seed, json!(sampling.seed.map(portable_seed))),
            ("stop", json!(sampling.stops())),
            ("logprobs", json!(sampling.logprobs.then_some(true))),
            ("top_logprobs", json!(sampling.logprobs.then_some(LIKELIEST))),
            ("response_format", json!(call.schema.map(|schema| self.response_format(schema)))),
        ]);
        encoded(self, "", &Body { model: &call.model.id, messages: Messages::new(call), settings }, call)
    }

    fn encode_relaxed(&self, call: &Call<'_>, level: usize) -> Option<(Encoded, &'static str)> {
        let (structured_output, name) = self.structured_output.relaxed(level)?;
        Some((OpenAi { structured_output, ..self.clone() }.encode(call), name))
    }

    fn decode(&self, answer: Answer<'_>) -> Result<Reply, CallError> {
        reply::decode(answer)
    }

    fn embeddings(&self) -> Option<&dyn EmbedWire> {
        Some(self)
    }

    fn batches(&self) -> Option<&dyn BatchWire> {
        Some(self)
    }

    fn models_path(&self, _: &Model) -> Cow<'static, str> {
        "models".into()
    }

    fn find_model(&self, model: &Model, endpoint: &str, answer: Answer<'_>) -> Result<Build, CallError> {
        reply::find_model(model, endpoint, answer)
    }

    fn enforced_properties(&self) -> usize {
        if self.structured_output == StructuredOutput::JsonSchema { MOST_PROPERTIES } else { 0 }
    }

    fn timings(&self, answer: Answer<'_>) -> Timings {
        inventory::timings(answer)
    }

    fn pages(&self, _: &[&str]) -> Vec<Page> {
        inventory::pages(self.server.quirks)
    }

    fn inventory(&self, _: &[&str], pages: &[Option<Answer<'_>>]) -> Result<Inventory, CallError> {
        inventory::read(pages)
    }
}

#[cfg(test)]
mod tests;
