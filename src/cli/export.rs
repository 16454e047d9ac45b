//! `vlora export`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::print;
use super::weights::{CheckpointArgs, LoraName, refuse_overwriting};
use crate::error::{Error, Result};
use crate::models::checkpoint::{CONFIG, Exported, Form, MODEL};
use crate::results::write_atomic;

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// The form to write
    #[arg(long, value_enum, value_name = "FORM")]
    to: ToName,
    /// The file to write; for hf-vit the folder
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// What becomes of LoRA on top [default: kept by compact, merged by timm and hf-vit]
    #[arg(long, value_enum, value_name = "HOW")]
    lora: Option<LoraName>,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ToName {
    /// One file of this program, with increments as factors and the model's shape in it
    Compact,
    /// State dict for the authors' package (vlora 0.1.2); for the models that it can hold
    Authors,
    /// State dict for timm's VisionTransformer, increments added up
    Timm,
    /// Folder for Hugging Face's ViTForImageClassification, increments added up
    HfVit,
}

pub fn export(args: &ExportArgs) -> Result<()> {
    let form = match args.to {
        ToName::Compact => Form::Compact,
        ToName::Authors => Form::Authors,
        ToName::Timm => Form::Timm,
        ToName::HfVit => Form::HuggingFace,
    };
    refuse(args)?;
    let loaded = args.checkpoint.read()?;
    let checkpoint = match args.lora {
        None => loaded.checkpoint.clone(),
        Some(_) if loaded.checkpoint.lora.is_none() => {
            return Err(Error::Input(
                "--lora: the checkpoint has no LoRA\n  help:     leave --lora out".into(),
            ));
        }
        Some(how) => how.apply(&loaded.checkpoint)?,
    };
    let written = match checkpoint.export(form)? {
        Exported::File(bytes) => {
            write_atomic(&args.out, &bytes)?;
            vec![args.out.clone()]
        }
        Exported::Folder(files) => {
            let write = |(name, bytes): (PathBuf, Vec<u8>)| {
                let path = args.out.join(name);
                write_atomic(&path, &bytes).map(|()| path)
            };
            files.into_iter().map(write).collect::<Result<_>>()?
        }
    };
    let written: String = written.iter().map(|p| format!("wrote {}\n", p.display())).collect();
    print(&(args.checkpoint.describe(&loaded) + &written))
}

/// Refuses what would be written over, before anything is read.
fn refuse(args: &ExportArgs) -> Result<()> {
    if args.to != ToName::HfVit {
        return refuse_overwriting(&[&args.out], args.force);
    }
    if args.out.exists() && !args.out.is_dir() {
        return Err(Error::Input(format!(
            "{}: this is a file\n  expected: the name of a folder to write into",
            args.out.display()
        )));
    }
    let paths = [CONFIG, MODEL].map(|name| args.out.join(name));
    refuse_overwriting(&paths.each_ref().map(AsRef::<Path>::as_ref), args.force)
}
