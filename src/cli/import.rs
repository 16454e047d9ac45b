//! `vlora import`.

use std::path::PathBuf;

use clap::Args;

use super::print;
use super::weights::{CheckpointArgs, refuse_overwriting};
use crate::atomic::write_atomic;
use crate::error::Result;

#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Overwrite an existing file
    #[arg(long)]
    force: bool,
}

pub fn import(args: &ImportArgs) -> Result<()> {
    refuse_overwriting(&[&args.out], args.force)?;
    let loaded = args.checkpoint.read()?;
    write_atomic(&args.out, &loaded.checkpoint.to_bytes()?)?;
    let tokenizer = match &loaded.tokenizer {
        Some(_) => "note: the file has no tokenizer; it stays beside the weights that were read\n",
        None => "",
    };
    let described = args.checkpoint.describe(&loaded);
    print(&format!("{described}wrote {}\n{tokenizer}", args.out.display()))
}
