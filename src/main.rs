//! The program: arguments in, exit code out.

use std::process::ExitCode;

/// Many threads make and free buffers for each other here; this allocator keeps the peak the same for any number of rows.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // SAFETY: there is no other thread yet that could read the environment.
    unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    fanfold::cli::main(std::env::args_os())
}
