//! `vlora export`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::print;
use super::weights::{CheckpointArgs, LoraName, refuse_overwriting};
use crate::atomic::write_atomic;
use crate::checkpoints::{
    CONFIG, Checkpoint, Exported, Form, Hints, MODEL, PREPROCESSOR, TIMM_NORM_EPS, construction,
    read_checkpoint,
};
use crate::error::{Error, Result};

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
    /// Take the LoRA of this checkpoint out of the weights again, into which it was merged
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "lora")]
    unmerge: Option<PathBuf>,
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
        _ if args.unmerge.is_some() => unmerged(args, &loaded.checkpoint)?,
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
            refuse_stale(&args.out, &files)?;
            let write = |(name, bytes): (PathBuf, Vec<u8>)| {
                let path = args.out.join(name);
                write_atomic(&path, &bytes).map(|()| path)
            };
            files.into_iter().map(write).collect::<Result<_>>()?
        }
    };
    let written: String = written.iter().map(|p| format!("wrote {}\n", p.display())).collect();
    print(&(args.checkpoint.describe(&loaded) + &written + &unsaid(&checkpoint, form)))
}

/// The weights without the LoRA that was merged into them.
fn unmerged(args: &ExportArgs, merged: &Checkpoint) -> Result<Checkpoint> {
    let Some(path) = &args.unmerge else { return Ok(merged.clone()) };
    let adapted = read_checkpoint(path, &Hints::default())?;
    let named = |e: Error| Error::Input(format!("--unmerge {}: {e}", path.display()));
    merged.unmerge_lora(&adapted.checkpoint).map_err(named)
}

/// What the written form does not hold and its reader has to know.
fn unsaid(checkpoint: &Checkpoint, form: Form) -> String {
    let eps = checkpoint.model.norm_eps;
    let labels = match form {
        Form::Authors | Form::Timm if !checkpoint.labels.is_empty() => {
            "note: a state dict has no place for the names of the classes and the images' \
             normalisation; compact and hf-vit have\n"
        }
        _ => "",
    };
    let rest = match form {
        Form::Authors => match construction(checkpoint) {
            Some(call) => format!("for {call}\n"),
            None => String::new(),
        },
        Form::Timm if eps != TIMM_NORM_EPS => format!(
            "note: timm's norms have ε = {TIMM_NORM_EPS:e} unless told otherwise; build the model \
             with norm_layer=functools.partial(torch.nn.LayerNorm, eps={eps:e})\n"
        ),
        _ => String::new(),
    };
    labels.to_string() + &rest
}

/// Refuses to leave another model's normalisation beside a model that comes without one.
fn refuse_stale(folder: &Path, files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
    let stale = folder.join(PREPROCESSOR);
    if !stale.exists() || files.iter().any(|(name, _)| name == Path::new(PREPROCESSOR)) {
        return Ok(());
    }
    Err(Error::Input(format!(
        "{}: the file is of another model\n  found:    no normalisation of images in the \
         checkpoint to write over it\n  help:     remove it, or export to another folder",
        stale.display()
    )))
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
    let paths = [CONFIG, MODEL, PREPROCESSOR].map(|name| args.out.join(name));
    refuse_overwriting(&paths.each_ref().map(AsRef::<Path>::as_ref), args.force)
}
