//! Calls: makes one call to one model, from the wait for its turn to its record.

mod admission;
mod attempts;
mod budget;
mod context;
mod endpoint;
mod first_answer;
mod form;
mod limiter;
mod outcome;
mod refusal_counts;
mod request;
mod residency;
mod retry;
mod structured_output;
mod tally;
mod texts;
mod waiting;

pub(crate) use admission::Admission;
pub(crate) use attempts::Attempts;
pub(crate) use budget::{BudgetMeter, Cost, SpentLimit};
pub(crate) use endpoint::Endpoints;
pub(crate) use first_answer::{Alike, Pass, alike};
pub(crate) use refusal_counts::Counts;
pub(crate) use request::CallRequest;
pub(crate) use tally::{FailedAttempt, Tally};
