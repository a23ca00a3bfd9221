//! Timings: measured calls. Data only.

use std::time::Duration;

/// By the provider's own clock; `None` if it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    pub load: Option<Duration>,
    pub prompt: Option<Duration>,
    /// From its first token on. The rest of the call is the time to its first token.
    pub writing: Option<Duration>,
    /// Known from earlier calls and not computed again.
    pub cached_tokens: Option<u64>,
}

impl Timings {
    pub fn millis(millis: Option<f64>) -> Option<Duration> {
        millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok())
    }
}

#[derive(Clone, Debug, Default)]
pub struct Level {
    pub in_flight: u32,
    /// In the order in which they ended.
    pub samples: Vec<Sample>,
    pub took: Duration,
    pub held: Duration,
    pub whole: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub ended: Duration,
    /// Without the wait before.
    pub took: Duration,
    pub outcome: Result<Measured, Missed>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub timings: Timings,
    pub unusable: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    pub kind: &'static str,
    pub message: String,
}
