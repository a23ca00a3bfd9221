//! One call at one model: everything from the wait for its turn to its record.
//!
//! - [`request`]: the call to make.
//! - [`admission`]: waits for the [`budget`] and for the [`limiter`] of the [`endpoint`] (calls at once and per minute).
//! - [`attempts`]: sends the call until it is answered or given up; [`structured_output`] knows the form that the server accepts.
//! - [`outcome`]: decides what an attempt leads to; [`retry`] says when to try again, [`context`] how to shorten the prompt.
//! - [`tally`]: adds up the attempts and makes the record.

mod admission;
mod attempts;
mod budget;
mod context;
mod endpoint;
mod limiter;
mod outcome;
mod request;
mod retry;
mod structured_output;
mod tally;

pub use admission::Admission;
pub use attempts::Attempts;
pub use budget::BudgetMeter;
pub use endpoint::Endpoints;
pub use request::CallRequest;
pub use tally::{FailedAttempt, Tally};
