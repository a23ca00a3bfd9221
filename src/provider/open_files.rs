//! The limit of open files: bounds the requests in flight, and names the limit when it is reached all the same.

use std::error::Error;
use std::io;
use std::sync::LazyLock;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::failure::{CallError, CallErrorKind};

/// The files that a run needs beside its connections: the ledger, sources, parts and outputs.
const OWN: u64 = 40;
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

static SOCKETS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(sockets(limit())));

fn sockets(limit: Option<u64>) -> usize {
    let most = Semaphore::MAX_PERMITS as u64;
    limit.map_or(most, |limit| limit.saturating_sub(OWN).clamp(2, most)) as usize
}

#[cfg(unix)]
fn limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn limit() -> Option<u64> {
    None
}

/// Waits until one more connection may be open.
pub(super) async fn socket() -> Option<SemaphorePermit<'static>> {
    SOCKETS.acquire().await.ok()
}

/// The error of a connection that the limit did not allow: neither the server nor the row is at fault.
pub(super) fn exhausted(error: &(dyn Error + 'static)) -> Option<CallError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if let Some(code @ (EMFILE | ENFILE)) = code {
            return Some(reached(code));
        }
        cause = error.source();
    }
    None
}

fn reached(code: i32) -> CallError {
    let limit = limit().map_or("the limit of".to_owned(), |limit| format!("the limit of {limit}"));
    let message = match code {
        EMFILE => format!("{limit} open files is reached; raise it with `ulimit -n 4096`"),
        _ => "the system has too many open files; close other programs".to_owned(),
    };
    let fewer = "or write a lower `max_concurrent_calls` for the provider";
    CallError::raw(CallErrorKind::TooManyOpenFiles, format!("{message}, {fewer}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_other_files() {
        assert_eq!([256, 64, 8].map(|limit| sockets(Some(limit))), [216, 24, 2]);
        assert!(sockets(None) > 1_000_000);
    }

    #[test]
    fn the_limit_is_found_in_any_depth_of_an_error() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        for code in [EMFILE, ENFILE] {
            let error = exhausted(&Outer(io::Error::from_raw_os_error(code))).expect("it is the limit");
            assert_eq!(error.kind, CallErrorKind::TooManyOpenFiles);
            assert!(error.message.contains("max_concurrent_calls"), "{}", error.message);
        }
        let message = exhausted(&io::Error::from_raw_os_error(EMFILE)).map(|error| error.message).unwrap_or_default();
        assert!(message.contains("`ulimit -n 4096`"), "{message}");
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(exhausted(&Outer(refused)), None);
    }
}
