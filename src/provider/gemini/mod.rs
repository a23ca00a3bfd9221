//! Google's Gemini, and servers that speak its `generateContent` protocol: requests in `wire`, answers in `reply`.

mod reply;
mod wire;

use super::address::Address;
use super::hosted::{Dialect, Home};
use super::structured_output::StructuredOutput;
use wire::GeminiWire;

#[derive(Clone, Debug)]
pub(super) struct Gemini;

impl Dialect for Gemini {
    type Wire = GeminiWire;
    type StructuredOutput = StructuredOutput;

    const KIND: &'static str = wire::KIND;
    const HOME: Home = Home {
        owner: "Google",
        address: "https://generativelanguage.googleapis.com",
        key: "GEMINI_API_KEY",
        version: "v1beta",
        about_address: "The address without `/v1beta`.",
    };
    const HIGHEST_TEMPERATURE: f64 = 2.0;
    const ABOUT_STRUCTURED_OUTPUT: &'static str =
        "How the server is asked for JSON: `json_schema`, `json_object`, or `none` for models that know neither.";

    fn wire(structured_output: StructuredOutput, _: &Address) -> GeminiWire {
        GeminiWire { structured_output }
    }
}
