//! Timings: how long calls took, for measurements. Data only.

use std::time::Duration;

/// How long the parts of a call took, by the provider's own clock; none where it doesn't tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Loading the model.
    pub load: Option<Duration>,
    /// Computing the prompt.
    pub prompt: Option<Duration>,
    /// Writing the reply, from its first token on. What a call took beside that is the time to its first token.
    pub writing: Option<Duration>,
    /// Tokens of the prompt that were known from earlier calls and not computed again.
    pub cached_tokens: Option<u64>,
}

impl Timings {
    /// A duration in milliseconds, as servers write it; nonsense is none.
    pub fn millis(millis: Option<f64>) -> Option<Duration> {
        millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok())
    }
}

/// A call that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When it ended, from the start of the measurement.
    pub ended: Duration,
    /// From the moment it was sent to the end of its reply; the wait for its turn is no part of it.
    pub took: Duration,
    /// What came.
    pub outcome: Result<Measured, Missed>,
}

/// A reply that was measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Tokens of the prompt, as the server counted them.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the reply, as the server counted them.
    pub completion_tokens: Option<u64>,
    /// How long the parts of it took.
    pub timings: Timings,
    /// Why a run would not take it for an answer, as the kind of a failure.
    pub unusable: Option<&'static str>,
}

/// A call without a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The kind of the failure.
    pub kind: &'static str,
    /// What the server or the network said.
    pub message: String,
}
