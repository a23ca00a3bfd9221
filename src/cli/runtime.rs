//! The process: its environment variables, and its threads for asynchronous work.

use super::{Exit, Failure};

pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Environment, format!("threads can't be started: {error}")))?;
    let result = runtime.block_on(work);
    // Dropped calls may still wait for their sockets; the shutdown does not wait for them.
    runtime.shutdown_background();
    result
}
