//! The program: arguments in, exit code out.

use std::process::ExitCode;

/// Many threads make and free buffers for each other here; this allocator keeps the peak the same for any number of rows.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fanfold::cli::main(std::env::args_os())
}
