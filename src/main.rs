use std::process::ExitCode;

use vlora::cli::{self, Cli};
use vlora::error::Error;
use vlora::runner::{Counting, keep_freed_memory};

#[global_allocator]
static ALLOCATOR: Counting<mimalloc::MiMalloc> = Counting(mimalloc::MiMalloc);

fn main() -> ExitCode {
    keep_freed_memory();
    let arguments = match Cli::of_process() {
        Ok(arguments) => arguments,
        Err(error) => {
            cli::print_argument_message(&error);
            // 0 for help, 2 for an error.
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match cli::main(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::eprint_line(&match &error {
                Error::Interrupted => {
                    "interrupted: what is trained so far is kept; the same command \
                                       resumes there"
                        .to_string()
                }
                error => format!("error: {error}"),
            });
            ExitCode::from(error.exit_code())
        }
    }
}
