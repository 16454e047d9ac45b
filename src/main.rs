use std::process::ExitCode;

use clap::Parser;
use vlora::cli::{self, Cli};
use vlora::error::Error;
use vlora::runner::Counting;

#[global_allocator]
static ALLOCATOR: Counting<mimalloc::MiMalloc> = Counting(mimalloc::MiMalloc);

/// Keeps memory that was freed for the next tensor of the size: a training step frees and asks for
/// gigabytes, and pages given back to the system come again one fault at a time.
fn keep_freed_memory() {
    // mimalloc's `purge_delay` (never) and `arena_reserve` (in KiB), by their places in mimalloc.h.
    // What is reserved is address space; it becomes memory as it is used.
    const OPTIONS: [(libmimalloc_sys::mi_option_t, i64); 2] = [(15, -1), (23, 8 << 20)];
    for (option, value) in OPTIONS {
        // SAFETY: sets a number among mimalloc's options, which may be done at any time.
        unsafe { libmimalloc_sys::mi_option_set(option, value) };
    }
}

fn main() -> ExitCode {
    keep_freed_memory();
    match cli::main(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::tell(&match &error {
                Error::Interrupted => "interrupted: finished runs and whole epochs are kept; the \
                                       same command goes on from there"
                    .to_string(),
                error => format!("error: {error}"),
            });
            ExitCode::from(error.exit_code())
        }
    }
}
