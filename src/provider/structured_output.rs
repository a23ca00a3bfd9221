//! Structured output: the ways to ask a server for JSON.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a server is asked for JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StructuredOutput {
    /// The schema is sent: the server holds the reply to it.
    #[default]
    JsonSchema,
    /// The server only guarantees that the reply is JSON.
    JsonObject,
    /// Nothing is sent; the prompt has to ask for it.
    None,
}

impl StructuredOutput {
    /// The forms from the strictest to the loosest, with their names in a spec.
    const FORMS: [(StructuredOutput, &'static str); 3] = [
        (StructuredOutput::JsonSchema, "json_schema"),
        (StructuredOutput::JsonObject, "json_object"),
        (StructuredOutput::None, "none"),
    ];

    pub(crate) fn relaxed(self, level: usize) -> Option<(StructuredOutput, &'static str)> {
        let at = Self::FORMS.iter().position(|(form, _)| *form == self)?;
        Self::FORMS.get(at + level).copied()
    }
}

/// How a server is asked for JSON by a protocol that has no way to ask for JSON without a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SchemaOrNone {
    /// The schema is sent: the server holds the reply to it.
    #[default]
    JsonSchema,
    /// Nothing is sent; the prompt has to ask for it.
    None,
}
