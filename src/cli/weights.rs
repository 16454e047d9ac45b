//! What `import` and `export` share: which checkpoint, how to read it, where files may go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::hub::HubArgs;
use crate::checkpoints::{Checkpoint, Form, Hints, Loaded, read_checkpoint_as};
use crate::error::{Error, Result};
use crate::report::count;
use crate::spec::{Normalize, Pool, Rank, Target, VitSpec, VloraSpec, nearest};

/// A checkpoint and what its file does not say.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    /// A safetensors file, the index of several, a run's folder, a Hugging Face model's folder, or
    /// hub:owner/name
    #[arg(value_name = "CHECKPOINT")]
    path: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// The form it is in; found out from its tensors' names unless given
    #[arg(long, value_enum, default_value_t, hide_default_value = true)]
    from: FromName,
    /// Attention heads, which timm's and the authors' files do not say
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Alpha of the increments, which the authors' files do not say [default: 1, as in their
    /// package]
    #[arg(long, value_name = "X")]
    alpha: Option<f64>,
    /// Alpha of a single target's increments there, as in mlp.fc2=2; may be given several times
    #[arg(long, value_name = "TARGET=X")]
    target_alpha: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum FromName {
    /// Any of the others, by the names of the tensors
    #[default]
    Auto,
    /// Of this program: model.safetensors of a run, or what `import` wrote
    Compact,
    /// State dict of the authors' package (vlora 0.1.2)
    Authors,
    /// State dict of timm's VisionTransformer
    Timm,
    /// Hugging Face's ViTForImageClassification, with config.json beside the weights
    HfVit,
}

impl CheckpointArgs {
    pub fn read(&self) -> Result<Loaded> {
        let form = match self.from {
            FromName::Auto => None,
            FromName::Compact => Some(Form::Compact),
            FromName::Authors => Some(Form::Authors),
            FromName::Timm => Some(Form::Timm),
            FromName::HfVit => Some(Form::HuggingFace),
        };
        let target_alphas = self.target_alphas()?;
        let hints = Hints {
            heads: self.heads,
            alpha: self.alpha,
            target_alphas: target_alphas.clone(),
            ..Hints::default()
        };
        let loaded =
            self.hub.checkpoint(&self.path, |path| read_checkpoint_as(path, form, &hints))?;
        let heads = loaded.checkpoint.model.heads;
        if let Some(given) = self.heads.filter(|given| *given != heads) {
            return Err(self.contradicts(format!("--heads {given}"), format!("{heads} heads")));
        }
        let alpha = loaded.checkpoint.vlora.as_ref().map(|v| v.alpha);
        if let Some(given) = self.alpha.filter(|given| Some(*given) != alpha) {
            let held = alpha.map_or("no increments".into(), |alpha| format!("alpha {alpha}"));
            return Err(self.contradicts(format!("--alpha {given}"), held));
        }
        for (target, given) in target_alphas {
            let own = loaded.checkpoint.vlora.as_ref().and_then(|v| {
                let own = v.targets.iter().find(|own| own.target == target)?;
                Some(own.alpha.unwrap_or(v.alpha)).filter(|_| !target.is_vector())
            });
            if own != Some(given) {
                let held =
                    own.map_or("no such increments".into(), |alpha| format!("alpha {alpha}"));
                let given = format!("--target-alpha {}={given}", target.name());
                return Err(self.contradicts(given, held));
            }
        }
        Ok(loaded)
    }

    fn target_alphas(&self) -> Result<BTreeMap<Target, f64>> {
        let parse = |argument: &String| {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            match value.parse::<f64>() {
                Ok(alpha) => Ok((target(name, "--target-alpha")?, alpha)),
                Err(_) => Err(Error::Input(format!(
                    "--target-alpha: no target and number\n  found:    `{argument}`\n  \
                     expected: TARGET=X, as in mlp.fc2=2"
                ))),
            }
        };
        self.target_alpha.iter().map(parse).collect()
    }

    fn contradicts(&self, given: String, held: String) -> Error {
        let option = given.split(' ').next().unwrap_or_default();
        Error::Input(format!(
            "{}: the file has {held}\n  found:    {given}\n  help:     leave {option} out",
            self.path.display()
        ))
    }

    /// What was read, in a few lines.
    pub fn describe(&self, loaded: &Loaded) -> String {
        let checkpoint = &loaded.checkpoint;
        let mut lines = vec![
            format!("{}: {}", self.path.display(), loaded.form),
            format!("  model       {}", shape(&checkpoint.model)),
        ];
        if !checkpoint.labels.class_names.is_empty() {
            lines.push(format!("  classes     {}", first_names(&checkpoint.labels.class_names)));
        }
        if let Some(Normalize { mean, std }) = &checkpoint.labels.normalize {
            lines.push(format!("  pixels      normalised with mean {mean:?}, deviation {std:?}"));
        }
        if let Some(vlora) = &checkpoint.vlora {
            let depth = checkpoint.model.depth;
            lines.push(format!("  compounds   {}", compounds(vlora, depth)));
            let assumed = loaded.form == Form::Authors && self.alpha.is_none();
            let source =
                if assumed { " (the package's default; the file does not say)" } else { "" };
            lines.push(format!("  increments  {}{source}", increments(vlora)));
        }
        if let Some(lora) = &checkpoint.lora {
            let targets: Vec<&str> = lora.targets.iter().map(|t| t.name()).collect();
            let (rank, alpha) = (lora.rank, lora.alpha);
            let targets = targets.join(", ");
            lines.push(format!("  LoRA        {targets}: rank {rank}, alpha {alpha}"));
        }
        lines.push(format!("  parameters  {}", count(checkpoint.parameters())));
        lines.push(format!("  sha256      {}", loaded.sha256));
        lines.join("\n") + "\n"
    }
}

fn shape(model: &VitSpec) -> String {
    let pool = match model.pool {
        Pool::ClassToken => "class token",
        Pool::Mean => "mean pooling",
    };
    format!(
        "Vision Transformer, dim {}, depth {}, heads {}, MLP {}, {pool}; images {} × {} × {}, \
         patch {}; {} classes",
        model.dim,
        model.depth,
        model.heads,
        model.hidden(),
        model.channels,
        model.image_size,
        model.image_size,
        model.patch_size,
        model.classes
    )
}

/// The first few names, without what a terminal would act on.
fn first_names(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let plain =
        |name: &String| -> String { name.chars().filter(|c| !c.is_control()).take(40).collect() };
    let shown: Vec<String> = names.iter().take(SHOWN).map(plain).collect();
    let more = if names.len() > SHOWN { ", …" } else { "" };
    shown.join(", ") + more
}

fn compounds(vlora: &VloraSpec, depth: usize) -> String {
    let size = vlora.compound_size;
    let number = depth.checked_div(size).unwrap_or(0);
    format!("{number} of {size} layers, the first of each dense")
}

/// Targets with their ranks, those of one rank together.
fn increments(vlora: &VloraSpec) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for own in &vlora.targets {
        let mut rank = match own.rank.unwrap_or(vlora.rank) {
            _ if own.target.is_vector() => "vectors".to_string(),
            Rank::Full => "full".into(),
            Rank::Of(rank) => format!("rank {rank}"),
        };
        if let Some(alpha) = own.alpha {
            rank += &format!(", alpha {alpha}");
        }
        match groups.iter_mut().find(|(r, _)| *r == rank) {
            Some((_, targets)) => targets.push(own.target.name()),
            None => groups.push((rank, vec![own.target.name()])),
        }
    }
    let groups = groups.iter().map(|(rank, targets)| format!("{}: {rank}", targets.join(", ")));
    format!("{}; alpha {}", groups.collect::<Vec<_>>().join("; "), vlora.alpha)
}

/// The target of this name, which `option` gives.
pub fn target(name: &str, option: &str) -> Result<Target> {
    if let Some(target) = Target::all().find(|t| t.name() == name.trim()) {
        return Ok(target);
    }
    let all: Vec<&str> = Target::all().map(Target::name).collect();
    let help = match nearest(name, all.iter().copied()) {
        Some(near) => format!("\n  help:     did you mean `{near}`?"),
        None => String::new(),
    };
    let all = all.join(", ");
    Err(Error::Input(format!(
        "{option}: unknown name\n  found:    `{name}`\n  expected: one of {all}{help}"
    )))
}

/// Refuses to write over files that are there, unless it is asked for.
pub fn refuse_overwriting(paths: &[&Path], force: bool) -> Result<()> {
    for path in paths {
        if path.is_dir() {
            return Err(Error::Input(format!(
                "{}: this is a folder\n  expected: the name of a file to write",
                path.display()
            )));
        }
        if path.symlink_metadata().is_ok() && !force {
            return Err(Error::Input(format!(
                "{}: the file exists\n  help:     --force writes over it",
                path.display()
            )));
        }
    }
    Ok(())
}

/// The model that a checkpoint holds without its LoRA, or with LoRA in its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LoraName {
    /// Add it to the weights, which makes every layer dense
    Merge,
    /// Leave it out
    Drop,
}

impl LoraName {
    pub fn apply(self, checkpoint: &Checkpoint) -> Result<Checkpoint> {
        match self {
            LoraName::Merge => checkpoint.merge_lora(),
            LoraName::Drop => Ok(checkpoint.without_lora()),
        }
    }
}
