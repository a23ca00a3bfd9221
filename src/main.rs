//! The program: arguments in, exit code out.

use std::ffi::{c_int, c_long};
use std::process::ExitCode;

/// Threads allocate and free each other's buffers; with this allocator, the peak does not grow with the number of rows.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`: milliseconds until the system gets freed memory back.
const PURGE_DELAY: c_int = 15;
/// A tenth of the default. Below it, runs with large cells take longer.
const DELAY: c_long = 100;

fn main() -> ExitCode {
    // SAFETY: the option exists, and `MIMALLOC_PURGE_DELAY` takes precedence over this default.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, DELAY) };
    // An embedded model processes several calls in parallel, each on one thread; more threads of candle would slow them
    // down. SAFETY: no other thread exists yet that could read the environment.
    #[cfg(feature = "embedded")]
    unsafe {
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    fanfold::main(std::env::args_os())
}
