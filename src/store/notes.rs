//! Notes: special steps that were needed to obtain an answer.

use serde::{Deserialize, Serialize};

/// Stored as a JSON object in the record and in the column `notes` of the calls table. Null if all fields are defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Notes {
    /// How JSON was requested, if the server refused the form that the spec asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) structured_output: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) repaired: bool,
    /// The number of characters removed from the middle of the prompt so that it fits the context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fallback: Option<String>,
}

impl Notes {
    pub(crate) fn to_json(&self) -> Option<String> {
        (*self != Notes::default()).then(|| serde_json::to_string(self).unwrap_or_default())
    }

    /// Reads [`Notes::to_json`]. Unreadable notes become the default, and the record's checksum detects the change.
    pub(crate) fn of_json(json: &str) -> Notes {
        serde_json::from_str(json).unwrap_or_default()
    }
}
