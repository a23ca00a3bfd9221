//! Notes: what a record says of how its answer came about, where that is not plain.

use serde::{Deserialize, Serialize};

/// How an answer came about beyond "asked and answered". Kept as a JSON object with the record and in the column `notes` of
/// the calls table; nothing where there is nothing to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// How JSON was asked for in the end, where the server refused the form that the spec asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structured_output: Option<String>,
    /// The reply was no JSON until it was repaired.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repaired: bool,
    /// Characters that were left out of the middle of the prompt, so that it fits the context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<u64>,
    /// The model that answered in place of the one that was asked, by its name in the spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

impl Notes {
    /// The notes as they are kept; none where there is nothing to say.
    pub fn to_json(&self) -> Option<String> {
        (*self != Notes::default()).then(|| serde_json::to_string(self).unwrap_or_default())
    }

    /// Reads notes as they are kept. What is not readable is left out; the checksum of its record tells.
    pub fn of_json(kept: Option<&str>) -> Notes {
        kept.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
    }
}
