use std::process::ExitCode;

use clap::Parser;
use vlora::cli::{self, Cli};
use vlora::error::Error;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::main(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match &error {
                Error::Interrupted => eprintln!(
                    "interrupted: finished runs and whole epochs are kept; the same command goes \
                     on from there"
                ),
                error => eprintln!("error: {error}"),
            }
            ExitCode::from(error.exit_code())
        }
    }
}
