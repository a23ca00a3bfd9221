//! Wordings: how a stage asks another stage with several wordings of its prompt.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A model that writes other wordings of a prompt.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Paraphrase {
    /// The model that writes them. Its temperature decides how much they differ.
    pub(crate) model: String,
    /// The number of wordings. Default: 10.
    #[serde(default = "ten")]
    pub(crate) n: NonZeroU32,
}

pub(super) fn ten() -> NonZeroU32 {
    NonZeroU32::new(10).expect("it is not 0")
}

/// How a stability asks a stage.
pub(crate) struct Wordings<'a> {
    pub(crate) stage: &'a str,
    /// The table with the rows, if it is not the input of the stage.
    pub(crate) rows: Option<&'a str>,
    pub(crate) file: Option<&'a str>,
    pub(crate) paraphrase: Option<&'a Paraphrase>,
    pub(crate) replicates: u32,
    /// The replicates of each other wording.
    pub(crate) others: u32,
    pub(crate) temperatures: &'a [f64],
}
