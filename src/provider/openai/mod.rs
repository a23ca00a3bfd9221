//! OpenAI and the many servers that speak its protocol (vLLM, llama.cpp, LM Studio, gateways): requests in `wire`,
//! answers in `reply`, the server's models in `inventory`, differences between servers in `quirks`.

mod inventory;
mod quirks;
mod reply;
mod wire;

use super::address::Address;
use super::hosted::{Dialect, Home};
use super::structured_output::StructuredOutput;
use wire::OpenAiWire;

#[derive(Clone, Debug)]
pub(super) struct OpenAi;

impl Dialect for OpenAi {
    type Wire = OpenAiWire;
    type StructuredOutput = StructuredOutput;

    const KIND: &'static str = wire::KIND;
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

    fn wire(structured_output: StructuredOutput, address: &Address) -> OpenAiWire {
        OpenAiWire { structured_output, quirks: quirks::of(address) }
    }
}

#[cfg(test)]
mod tests;
