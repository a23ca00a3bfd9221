//! Bounds: the `minimum` and the `maximum` of an assertion.

use std::fmt::Display;

use super::context::TestContext;
use crate::document::Problems;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds<N> {
    minimum: Option<N>,
    maximum: Option<N>,
}

impl<N: PartialOrd + Display + Copy> Bounds<N> {
    /// Returns the bounds. Reports missing and contradictory bounds. `or` is an alternative to bounds.
    pub(crate) fn new(
        context: &TestContext<'_>,
        (minimum, maximum): (Option<N>, Option<N>),
        or: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        if minimum.is_none() && maximum.is_none() {
            problems
                .error("missing-field", context.path.clone(), "`minimum` is missing")
                .help(format!("write `minimum`, `maximum` or {or}"));
            return None;
        }
        if minimum.zip(maximum).is_some_and(|(least, most)| least > most) {
            let message = "`minimum` must not be more than `maximum`";
            problems.error("bad-value", context.path.key("minimum"), message);
            return None;
        }
        Some(Bounds { minimum, maximum })
    }

    /// Whether `value` is within the bounds, both included.
    pub(crate) fn hold(&self, value: N) -> bool {
        self.minimum.is_none_or(|least| least <= value) && self.maximum.is_none_or(|most| value <= most)
    }

    pub(crate) fn words(&self) -> String {
        match (self.minimum, self.maximum) {
            (Some(least), Some(most)) => format!("from {least} to {most}"),
            (Some(least), None) => format!("at least {least}"),
            (None, Some(most)) => format!("at most {most}"),
            (None, None) => "anything".to_owned(),
        }
    }
}
