use std::process::ExitCode;

use clap::Parser;
use vlora::cli::{self, Cli};
use vlora::error::Error;
use vlora::runner::{Counting, keep_freed_memory};

#[global_allocator]
static ALLOCATOR: Counting<mimalloc::MiMalloc> = Counting(mimalloc::MiMalloc);

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
