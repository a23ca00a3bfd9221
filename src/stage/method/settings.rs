//! Settings that methods share.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::{Read, Reading, is_list};
use crate::document::{Path, Problems};
use crate::random::Streams;
use crate::stage::transform::{InputTable, declaration};
use crate::stats::Bootstrap;
use crate::table::Type;

/// Standard errors and intervals by the bootstrap: units are drawn again, with replacement, by the spec's seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BootstrapSettings {
    /// How often the units are drawn again; 0 for no bootstrap. Default: 2000.
    #[serde(default = "replicates")]
    replicates: u32,
    /// The intervals: `bca` (corrected for bias and acceleration; percentiles where that is undefined) or `percentile`.
    /// Default: `bca`.
    #[serde(default)]
    interval: IntervalKind,
}

/// The kind of a bootstrap interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum IntervalKind {
    /// Corrected for bias and acceleration.
    #[default]
    Bca,
    /// The percentiles of the replicates.
    Percentile,
}

fn replicates() -> u32 {
    2000
}

impl Default for BootstrapSettings {
    fn default() -> Self {
        BootstrapSettings { replicates: replicates(), interval: IntervalKind::default() }
    }
}

impl BootstrapSettings {
    /// The bootstrap of a stage of this kind.
    pub(crate) fn bootstrap(&self, seed: u64, kind: &str, confidence: Confidence) -> Bootstrap {
        Bootstrap {
            replicates: self.replicates as usize,
            confidence: confidence.0,
            bca: self.interval == IntervalKind::Bca,
            streams: Streams::new(seed, &["bootstrap", kind]),
        }
    }
}

/// The confidence of intervals, such as 0.95.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "f64")]
pub(crate) struct Confidence(pub(crate) f64);

impl Default for Confidence {
    fn default() -> Self {
        Confidence(0.95)
    }
}

impl TryFrom<f64> for Confidence {
    type Error = String;

    fn try_from(share: f64) -> Result<Self, String> {
        let is_share = share > 0.0 && share < 1.0;
        is_share.then_some(Confidence(share)).ok_or_else(|| format!("the confidence is between 0 and 1, not {share}"))
    }
}

/// Binds the column `name`, which the method reads in this way. Reports an unknown column and one of a wrong type.
pub(crate) fn read_column(
    input: &InputTable<'_>,
    at: Path,
    name: &str,
    reading: Reading,
    problems: &mut Problems,
) -> Option<Read> {
    let index = input.column(at.clone(), name, problems)?;
    let field = input.schema.field(index);
    if !reading.fits(field) {
        let holds = if is_list(field) { "lists" } else { Type::of_cells(field.data_type()).words() };
        let message = format!("`{name}` holds {holds}, but {} are needed here", reading.words());
        let declared = reading.kind().filter(|_| !is_list(field)).map(|kind| declaration(name, kind));
        let declared = declared.map_or(String::new(), |line| format!("write {line} in its source, or "));
        problems.error("wrong-type", at, message).help(format!("{declared}name another column"));
        return None;
    }
    Some(Read::Column(index, reading))
}
