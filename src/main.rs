//! The program: arguments in, exit code out.

use std::process::ExitCode;

/// Many threads make and free buffers for each other here; this allocator keeps the peak the same for any number of rows.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A model in the process works on several calls at a time, each on one thread; candle's own threads would only be in
    // their way.
    // SAFETY: there is no other thread yet that could read the environment.
    #[cfg(feature = "embedded")]
    unsafe {
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    fanfold::cli::main(std::env::args_os())
}
