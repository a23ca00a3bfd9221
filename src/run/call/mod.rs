//! One call at one model: everything from the wait for its turn to its record.

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
