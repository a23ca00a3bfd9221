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

/// Raises the soft limit of open files, which is 256 on some systems: each call in flight needs a connection.
#[cfg(unix)]
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    // macOS refuses more than its own limit, also where the hard limit is higher.
    for wanted in [65_536, 10_240].map(|wanted| most.min(wanted)) {
        let is_higher = limit.current.is_some_and(|current| current < wanted);
        if !is_higher || setrlimit(Resource::Nofile, rustix::process::Rlimit { current: Some(wanted), ..limit }).is_ok()
        {
            return;
        }
    }
}

#[cfg(not(unix))]
pub(crate) fn raise_open_files() {}
