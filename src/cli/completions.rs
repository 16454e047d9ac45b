//! `vlora completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, print_data};
use crate::error::Result;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell; as in: source <(vlora completions bash)
    shell: Shell,
}

pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vlora", &mut script);
    print_data(&String::from_utf8_lossy(&script))
}
