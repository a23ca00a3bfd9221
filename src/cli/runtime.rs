//! The process: its environment variables, and its threads for asynchronous work.

use super::{Exit, Failure};

pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The address space that a run reserves at least, most of which it never uses.
const ADDRESS_SPACE: u64 = 1_000_000_000;
/// Threads for blocking work without which a run would wait for ever.
const BLOCKING: usize = 16;

pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(few_threads)?;
    let result = runtime.block_on(work);
    // Dropped calls may still wait for their sockets; the shutdown does not wait for them.
    runtime.shutdown_background();
    result
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) + BLOCKING
}

fn wrong(message: String, help: &str) -> Failure {
    Failure::new(Exit::Environment, message).help(help)
}

fn few_threads(error: std::io::Error) -> Failure {
    let message = format!("the system refuses to start {} threads: {error}", threads());
    wrong(message, "raise the limit of processes: `ulimit -u 4096`, or `--pids-limit` of the container")
}

/// Checks that the system allows what a run needs: threads and addresses.
pub(crate) fn check() -> Result<(), Failure> {
    if let Some(most) = most_address_space().filter(|most| *most < ADDRESS_SPACE) {
        let message = format!("the address space is limited to {} MB, and a run reserves 1,000 MB", most / 1_000_000);
        return Err(wrong(
            message,
            "raise the limit: `ulimit -v 2000000`; a memory limit of the container does no harm",
        ));
    }
    // Tokio panics, or waits for ever, if it cannot start a thread.
    start_at_once(threads()).map_err(few_threads)
}

/// Starts this number of threads at the same time and ends them. Returns an error if the system refuses one.
fn start_at_once(threads: usize) -> std::io::Result<()> {
    let gate = std::sync::Arc::new(std::sync::RwLock::new(()));
    let closed = gate.write();
    let start = |_| {
        let gate = gate.clone();
        std::thread::Builder::new().stack_size(64 << 10).spawn(move || drop(gate.read()))
    };
    let started: Result<Vec<_>, _> = (0..threads).map(start).collect();
    drop(closed);
    for thread in started? {
        let _ = thread.join();
    }
    Ok(())
}

#[cfg(unix)]
fn most_address_space() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

#[cfg(not(unix))]
fn most_address_space() -> Option<u64> {
    None
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

/// Makes writing beyond the limit of file sizes an error, as a full disk is. The signal would end the process.
#[cfg(unix)]
pub(crate) fn ignore_file_size_signal() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

#[cfg(not(unix))]
pub(crate) fn ignore_file_size_signal() {}
