//! The life of the process: command line → configuration → run → exit code.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rr::cli::run(std::env::args_os()).into()
}
