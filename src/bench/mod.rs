//! Benches: measure with real calls how fast models answer at several levels of concurrency.
//!
//! Each level keeps a fixed number of calls in flight: a lane sends its next call as soon as the last one is answered.
//! A failed call is not retried, and the ledger is neither read nor written. Rate limits and the budget apply as in a
//! run; waiting time is reported separately and is not included in latency.

mod measure;
mod request;

pub(crate) use measure::{Event, ModelBench, measure};
pub(crate) use request::{BenchError, BenchRequest, Ready, connect, prepare};
