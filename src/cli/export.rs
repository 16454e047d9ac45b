//! `vlora export`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::print;
use super::weights::{CheckpointArgs, LoraName, format_parser, refuse_overwriting};
use crate::atomic::write_atomic;
use crate::checkpoints::{
    Checkpoint, CheckpointFormat, Exported, Hints, TOKENIZER, read_checkpoint,
};
use crate::error::{Error, Fault, Result};
use crate::report::count;

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// The format to write
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    to: CheckpointFormat,
    /// The file to write, or the folder for a format that is one
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// How to export LoRA [default: kept by compact, merged by the formats of other programs]
    #[arg(long, value_enum, value_name = "HOW")]
    lora: Option<LoraName>,
    /// Take the LoRA of this checkpoint out of the weights again, into which it was merged
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "lora")]
    unmerge: Option<PathBuf>,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
}

pub fn export(args: &ExportArgs) -> Result<()> {
    let format = args.to;
    refuse(args)?;
    let loaded = args.checkpoint.read()?;
    let checkpoint = match args.lora {
        _ if args.unmerge.is_some() => unmerged(args, &loaded.checkpoint)?,
        None => loaded.checkpoint.clone(),
        Some(_) if loaded.checkpoint.lora.is_none() => {
            return Err(Fault::new("the checkpoint has no LoRA")
                .within("--lora")
                .help("leave --lora out")
                .into());
        }
        Some(how) => how.apply(&loaded.checkpoint)?,
    };
    let written = match checkpoint.export(format)? {
        Exported::File(bytes) => {
            write_atomic(&args.out, &bytes)?;
            vec![args.out.clone()]
        }
        Exported::Folder(mut files) => {
            // The tokenizer is exported with the model.
            let tokenizer =
                loaded.tokenizer.clone().filter(|_| format.files().contains(&TOKENIZER));
            files.extend(tokenizer.map(|bytes| (PathBuf::from(TOKENIZER), bytes)));
            refuse_stale(format, &args.out, &files)?;
            let write = |(name, bytes): (PathBuf, Vec<u8>)| {
                let path = args.out.join(name);
                write_atomic(&path, &bytes).map(|()| path)
            };
            files.into_iter().map(write).collect::<Result<_>>()?
        }
    };
    let written: String = written.iter().map(|p| format!("wrote {}\n", p.display())).collect();
    let without_lora = match args.lora {
        Some(LoraName::Drop) => format!(
            "note: what is written has no LoRA: {} parameters\n",
            count(checkpoint.parameters())
        ),
        _ => String::new(),
    };
    let notes = without_lora + &checkpoint.not_held_by(format);
    print(&(args.checkpoint.describe(&loaded) + &written + &notes))
}

/// The weights after subtracting the LoRA that was merged into them.
fn unmerged(args: &ExportArgs, merged: &Checkpoint) -> Result<Checkpoint> {
    let Some(path) = &args.unmerge else { return Ok(merged.clone()) };
    let adapted = read_checkpoint(path, &Hints::default())?;
    let place = format!("--unmerge {}", path.display());
    let named = |e: Error| e.map_fault(|fault| fault.under(place));
    merged.unmerge_lora(&adapted.checkpoint).map_err(named)
}

/// Refuses to leave an old file of another model in the folder that this export would not replace.
fn refuse_stale(
    format: CheckpointFormat,
    folder: &Path,
    files: &[(PathBuf, Vec<u8>)],
) -> Result<()> {
    let is_written = |name: &str| files.iter().any(|(written, _)| written == Path::new(name));
    let left = format.files().iter().filter(|name| !is_written(name)).map(|name| folder.join(name));
    let Some(stale) = left.into_iter().find(|path| path.exists()) else { return Ok(()) };
    Err(Fault::new("the file belongs to another model")
        .source(stale.display())
        .found("nothing in the checkpoint that would replace it")
        .help("remove it, or export to another folder")
        .into())
}

/// Refuses to overwrite files, before anything is read.
fn refuse(args: &ExportArgs) -> Result<()> {
    if args.to.files().is_empty() {
        return refuse_overwriting(&[&args.out], args.force);
    }
    if args.out.exists() && !args.out.is_dir() {
        return Err(Fault::new("this is a file")
            .source(args.out.display())
            .expected("the name of a folder to write into")
            .into());
    }
    let paths: Vec<PathBuf> = args.to.files().iter().map(|name| args.out.join(name)).collect();
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    refuse_overwriting(&paths, args.force)
}
