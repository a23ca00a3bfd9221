//! The moment from which on answers count, when a run asks everything again.

use std::fmt;

/// A moment in the ledger. Records have growing ids, whatever the clock says. Runs of older versions kept a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    /// Records with this id or a lower one are old.
    pub(super) id: i64,
    /// Records before this time are old, in milliseconds since 1970.
    pub(super) ms: i64,
}

impl Since {
    /// All records count.
    pub(crate) const ALWAYS: Since = Since::after(i64::MIN);
    /// No record counts.
    pub(crate) const NEVER: Since = Since::after(i64::MAX);

    pub(crate) const fn after(id: i64) -> Since {
        Since { id, ms: i64::MIN }
    }

    pub(crate) const fn time(ms: i64) -> Since {
        Since { id: i64::MIN, ms }
    }
}

/// The mark in the facts of a part.
impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ms {
            i64::MIN => write!(f, "fresh:after {}", self.id),
            ms => write!(f, "fresh:{ms}"),
        }
    }
}
