//! The program: arguments in, exit code out.

use std::process::ExitCode;

/// Threads allocate and free each other's buffers; with this allocator, the peak does not grow with the number of rows.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // An embedded model processes several calls in parallel, each on one thread; more threads of candle would slow them
    // down. SAFETY: no other thread exists yet that could read the environment.
    #[cfg(feature = "embedded")]
    unsafe {
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    fanfold::main(std::env::args_os())
}
