//! The program: arguments in, exit code out.

use std::ffi::{c_int, c_long};
use std::process::ExitCode;

/// Threads allocate and free each other's buffers; with this allocator, the peak does not grow with the number of rows.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

unsafe extern "C" {
    fn mi_option_set(option: c_int, value: c_long);
}

/// `mi_option_purge_delay` in mimalloc.h: for how many milliseconds freed memory is kept.
const PURGE_DELAY: c_int = 15;

fn main() -> ExitCode {
    // Large buffers are freed in turn by many threads. If freed memory is kept, it is most of the peak. SAFETY: the
    // function only stores the number.
    unsafe { mi_option_set(PURGE_DELAY, 0) };
    // An embedded model processes several calls in parallel, each on one thread; more threads of candle would slow them
    // down. SAFETY: no other thread exists yet that could read the environment.
    #[cfg(feature = "embedded")]
    unsafe {
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    fanfold::main(std::env::args_os())
}
