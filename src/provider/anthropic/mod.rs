//! Anthropic's Claude, and servers that speak its Messages protocol: requests in `wire`, answers in `reply`.

mod reply;
mod wire;

use super::address::Address;
use super::hosted::{Dialect, Home};
use super::structured_output::SchemaOrNone;
use wire::AnthropicWire;

#[derive(Clone, Debug)]
pub(super) struct Anthropic;

impl Dialect for Anthropic {
    type Wire = AnthropicWire;
    type StructuredOutput = SchemaOrNone;

    const KIND: &'static str = wire::KIND;
    const HOME: Home = Home {
        owner: "Anthropic",
        address: "https://api.anthropic.com",
        key: "ANTHROPIC_API_KEY",
        version: "v1",
        about_address: "The address without `/v1`, such as `http://10.0.0.5:4000`.",
    };
    const HIGHEST_TEMPERATURE: f64 = 1.0;
    const ABOUT_STRUCTURED_OUTPUT: &'static str = "How the server is asked for JSON: `json_schema`, or `none` for models and \
                                                   servers without structured outputs.";

    fn wire(structured_output: SchemaOrNone, _: &Address) -> AnthropicWire {
        AnthropicWire { structured_output }
    }
}
