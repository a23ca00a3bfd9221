//! Ports for servers of other programs, which have to be told one before they start.
//!
//! These ports are below 32768, the first that Linux gives to programs that ask for any free port, as the other tests do.
//! So none of them takes a port between its choice and the start of its server.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 17_000;
const LAST: u16 = 31_000;

/// Where the next search begins: every port is given once.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// Ports of 127.0.0.1 on which nothing listens.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    // Suites that run at the same time begin at different ports.
    let start = FIRST + (std::process::id() % 100) as u16 * 100;
    std::array::from_fn(|_| {
        loop {
            let port = start + NEXT.fetch_add(1, Ordering::Relaxed);
            assert!(port < LAST, "no free port");
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}
