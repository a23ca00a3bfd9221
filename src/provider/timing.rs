//! Timings: measured calls. Data only.

use std::time::Duration;

/// Durations by the provider's own clock; `None` if the provider does not report them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Timings {
    pub(crate) load: Option<Duration>,
    pub(crate) prompt: Option<Duration>,
    /// The time after the first token. The rest of the call is the time to the first token.
    pub(crate) writing: Option<Duration>,
    /// The tokens that were known from earlier calls and not computed again.
    pub(crate) cached_tokens: Option<u64>,
}

impl Timings {
    pub(crate) fn millis(millis: Option<f64>) -> Option<Duration> {
        millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok())
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Level {
    pub(crate) in_flight: u32,
    /// The samples in the order in which the calls ended.
    pub(crate) samples: Vec<Sample>,
    pub(crate) took: Duration,
    pub(crate) held: Duration,
    pub(crate) whole: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    pub(crate) ended: Duration,
    /// The duration without the wait before the call.
    pub(crate) took: Duration,
    pub(crate) outcome: Result<Measured, Missed>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) completion_tokens: Option<u64>,
    pub(crate) timings: Timings,
    pub(crate) unusable: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) kind: &'static str,
    pub(crate) message: String,
}
