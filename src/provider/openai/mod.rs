//! OpenAI and the many servers that speak its protocol (vLLM, llama.cpp, LM Studio, gateways): `POST /chat/completions`
//! and `GET /models`. Answers are read in `reply` and `stream`, the server's models in `inventory`; `quirks` has differences.
//!
//! Source: <https://platform.openai.com/docs/api-reference/chat/create>. Pure.

mod inventory;
mod quirks;
mod reply;
mod stream;

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::address::Address;
use super::answer::Answer;
use super::hosted::{Dialect, Home};
use super::scores::LIKELIEST;
use super::structured_output::StructuredOutput;
use super::wire::{Wire, encoded, portable_seed, set};
use super::{Build, Call, CallError, Encoded, Inventory, Model, Page, Reply, Timings};
use crate::prompt::Message;
use quirks::Quirk;

/// Azure's limit for one schema; OpenAI's is 5,000:
/// <https://learn.microsoft.com/en-us/azure/ai-services/openai/how-to/structured-outputs>.
const MOST_PROPERTIES: usize = 100;

#[derive(Clone, Debug)]
pub(super) struct OpenAi {
    structured_output: StructuredOutput,
    quirks: &'static [Quirk],
}

impl Dialect for OpenAi {
    type StructuredOutput = StructuredOutput;

    const HOME: Home = Home {
        owner: "OpenAI",
        address: "https://api.openai.com/v1",
        key: "OPENAI_API_KEY",
        version: "",
        about_address: "The address up to and with `/v1`, such as `http://10.0.0.5:8000/v1`.",
    };
    // OpenAI's limit is 2, but similar servers have other limits.
    const HIGHEST_TEMPERATURE: f64 = 5.0;
    const ABOUT_STRUCTURED_OUTPUT: &'static str =
        "How the server is asked for JSON: `json_schema`, `json_object`, or `none` for servers that know neither.";

    fn new(structured_output: StructuredOutput, address: &Address) -> Self {
        OpenAi { structured_output, quirks: quirks::of(address) }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: &'a [Message],
    #[serde(flatten)]
    settings: Map<String, Value>,
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
        let is_common = matches!(option, "top_k" | "min_p") && !self.quirks.contains(&Quirk::OnlyProtocol);
        (is_protocol || is_common).then(|| option.to_owned())
    }

    fn path(&self, _: &str) -> Cow<'static, str> {
        "chat/completions".into()
    }

    fn encode(&self, call: &Call<'_>) -> Encoded {
        let sampling = &call.model.sampling;
        let completion = self.quirks.contains(&Quirk::MaxCompletionTokens);
        let settings = set([
            ("temperature", json!(sampling.temperature)),
            ("top_p", json!(sampling.top_p)),
            ("max_tokens", json!(sampling.max_tokens.filter(|_| !completion))),
            ("max_completion_tokens", json!(sampling.max_tokens.filter(|_| completion))),
            ("seed", json!(sampling.seed.map(portable_seed))),
            ("stop", json!(sampling.stops())),
            ("logprobs", json!(sampling.logprobs.then_some(true))),
            ("top_logprobs", json!(sampling.logprobs.then_some(LIKELIEST))),
            ("response_format", json!(call.schema.map(|schema| self.response_format(schema)))),
        ]);
        encoded(self, "", &Body { model: &call.model.id, messages: call.messages, settings }, call)
    }

    fn encode_relaxed(&self, call: &Call<'_>, level: usize) -> Option<(Encoded, &'static str)> {
        let (structured_output, name) = self.structured_output.relaxed(level)?;
        Some((OpenAi { structured_output, ..self.clone() }.encode(call), name))
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

    fn enforced_properties(&self) -> usize {
        if self.structured_output == StructuredOutput::JsonSchema { MOST_PROPERTIES } else { 0 }
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

#[cfg(test)]
mod tests;
