//! The life of the process: command line → configuration → run → exit code.

#[cfg(not(php_embed))]
compile_error!(concat!(
    env!("RR_NO_EMBED"),
    ": the program needs PHP configured with --enable-zts --enable-embed; set PHP_CONFIG to one, or let ./x build make it. \
     (rr.so alone can be built for this PHP: cargo build --lib)"
));

use std::process::ExitCode;

// A sanitizer watches the system's allocator only.
#[cfg(not(address_sanitizer))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(php_embed)]
fn main() -> ExitCode {
    rr::cli::run(std::env::args_os()).into()
}

#[cfg(not(php_embed))]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
