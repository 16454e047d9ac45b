//! Shared by `import`, `export` and `compress`: the checkpoint options, and checks of output files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::hub::HubArgs;
use super::numbers::{number, whole};
use crate::checkpoints::{
    Checkpoint, CheckpointFormat, Hints, LoadedCheckpoint, authors_targets, read_checkpoint_as,
};
use crate::error::{Error, Fault, Result};
use crate::report::count;
use crate::results::RunFolder;
use crate::spec::{LayerWeight, ModelSpec, Rank, Target, VloraSpec, nearest};

/// None: the format is detected. clap would make a field of type `Option` an optional argument, so
/// the type needs another name.
type FormatOrAny = Option<CheckpointFormat>;

/// A checkpoint and what its file does not say.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    /// A safetensors file, the index of several, a run's folder, a Hugging Face model's folder, or
    /// hub:owner/name
    #[arg(value_name = "CHECKPOINT")]
    path: PathBuf,
    #[command(flatten)]
    hub: HubArgs,
    /// The format of the file; recognised by its tensors' names unless given
    #[arg(long, value_name = "FROM", value_parser = any_format_parser(), default_value = AUTO,
        hide_default_value = true)]
    from: FormatOrAny,
    /// Attention heads, which timm's and the authors' files do not store
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    heads: Option<usize>,
    /// Alpha of the increments, which the authors' files do not store [default: 1, as in their
    /// package]
    #[arg(long, value_name = "X", value_parser = number)]
    alpha: Option<f64>,
    /// Give the model a new head of zeros for N classes, which a base model without a head needs
    #[arg(long, value_name = "CLASSES", value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    new_head: Option<u32>,
    /// Alpha of a single target's increments there, as in mlp.fc2=2; may be given several times
    #[arg(long, value_name = "TARGET=X")]
    target_alpha: Vec<String>,
}

/// The name for a format that is detected.
const AUTO: &str = "auto";

/// Parses the name of a format.
pub fn format_parser() -> impl TypedValueParser<Value = CheckpointFormat> {
    let value = |format: CheckpointFormat| PossibleValue::new(format.name()).help(format.about());
    PossibleValuesParser::new(CheckpointFormat::ALL.map(value))
        .map(|name| format(&name).unwrap_or(CheckpointFormat::Compact))
}

/// Parses the name of a format; `auto` gives None.
fn any_format_parser() -> impl TypedValueParser<Value = Option<CheckpointFormat>> {
    let auto = PossibleValue::new(AUTO).help("Any of the others, by the names of the tensors");
    let value = |format: CheckpointFormat| PossibleValue::new(format.name()).help(format.about());
    let values = [auto].into_iter().chain(CheckpointFormat::ALL.map(value));
    PossibleValuesParser::new(values).map(|name| format(&name))
}

fn format(name: &str) -> Option<CheckpointFormat> {
    CheckpointFormat::ALL.into_iter().find(|format| format.name() == name)
}

impl CheckpointArgs {
    pub fn read(&self) -> Result<LoadedCheckpoint> {
        let target_alphas = self.target_alphas()?;
        let hints = Hints {
            heads: self.heads,
            alpha: self.alpha,
            target_alphas: target_alphas.clone(),
            new_head: self.new_head.map(|classes| classes as usize),
            ..Hints::default()
        };
        let loaded =
            self.hub.checkpoint(&self.path, |path| read_checkpoint_as(path, self.from, &hints))?;
        if self.new_head.is_some() && loaded.format == CheckpointFormat::Compact {
            return Err(Fault::new("a file of this program has a head, which is kept")
                .source(self.path.display())
                .within("--new-head")
                .help("leave --new-head out; a run with `start.head: new` trains another head")
                .into());
        }
        check_options(&self.path, &loaded.checkpoint, self.heads, self.alpha)?;
        let model = &loaded.checkpoint.model;
        for (target, given) in target_alphas {
            let alpha = loaded.checkpoint.vlora.as_ref().and_then(|v| {
                let target_spec = v.targets.iter().find(|spec| spec.target == target)?;
                Some(target_spec.alpha.unwrap_or(v.alpha)).filter(|_| !model.is_vector(&target))
            });
            if alpha != Some(given) {
                let held =
                    alpha.map_or("no such increments".into(), |alpha| format!("alpha {alpha}"));
                let given = format!("--target-alpha {target}={given}");
                return Err(contradicts(&self.path, given, held));
            }
        }
        Ok(loaded)
    }

    fn target_alphas(&self) -> Result<BTreeMap<Target, f64>> {
        let targets = authors_targets();
        let parse = |argument: &String| {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            match value.parse::<f64>() {
                Ok(alpha) => Ok((target(name, "--target-alpha", &targets)?, alpha)),
                Err(_) => Err(Fault::new("no target and number")
                    .within("--target-alpha")
                    .found(format!("`{argument}`"))
                    .expected("TARGET=X, as in mlp.fc2=2")
                    .into()),
            }
        };
        self.target_alpha.iter().map(parse).collect()
    }

    /// Describes what was read, in a few lines.
    pub fn describe(&self, loaded: &LoadedCheckpoint) -> String {
        let checkpoint = &loaded.checkpoint;
        let mut lines = vec![format!("{}: {}", self.path.display(), loaded.format)];
        let described = checkpoint.description().into_iter();
        lines.extend(described.map(|(name, text)| format!("  {name:<12}{text}")));
        if let Some(vlora) = &checkpoint.vlora {
            let depth = checkpoint.model.depth();
            lines.push(format!("  compounds   {}", compounds(vlora, depth)));
            let assumed = loaded.format == CheckpointFormat::Authors && self.alpha.is_none();
            let source =
                if assumed { " (the package's default; the file does not store it)" } else { "" };
            let increments = increments(vlora, &checkpoint.model);
            lines.push(format!("  increments  {increments}{source}"));
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

/// Refuses `--heads` and `--alpha` that are not what the checkpoint came to have: the file says otherwise.
pub fn check_options(
    path: &Path,
    checkpoint: &Checkpoint,
    heads: Option<usize>,
    alpha: Option<f64>,
) -> Result<()> {
    let held = checkpoint.model.heads();
    if let Some(given) = heads.filter(|given| *given != held) {
        return Err(contradicts(path, format!("--heads {given}"), format!("{held} heads")));
    }
    check_alpha(path, checkpoint.vlora.as_ref().map(|vlora| vlora.alpha), alpha)
}

/// Refuses an `--alpha` other than that of the file's increments, `held`; None if it has none.
pub fn check_alpha(path: &Path, held: Option<f64>, alpha: Option<f64>) -> Result<()> {
    match alpha.filter(|given| Some(*given) != held) {
        Some(given) => {
            let held = held.map_or("no increments".into(), |alpha| format!("alpha {alpha}"));
            Err(contradicts(path, format!("--alpha {given}"), held))
        }
        None => Ok(()),
    }
}

fn contradicts(path: &Path, given: String, held: String) -> Error {
    let option = given.split(' ').next().unwrap_or_default();
    Error::from(
        Fault::new(format!("the file has {held}"))
            .source(path.display())
            .found(&given)
            .help(format!("leave {option} out")),
    )
}

fn compounds(vlora: &VloraSpec, depth: usize) -> String {
    match vlora.compound_size.filter(|_| vlora.has_plain_compounds(depth)) {
        Some(size) => format!("{} of {size} layers, the first of each dense", depth / size),
        None => format!("layers use the weights {}", numbers(&vlora.weights(depth))),
    }
}

/// `0 1 2 0 1 2`.
fn numbers(weights: &[usize]) -> String {
    weights.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
}

/// Targets with their ranks, grouped by rank.
fn increments(vlora: &VloraSpec, model: &ModelSpec) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for target_spec in &vlora.targets {
        let mut rank = match vlora.rank_of(target_spec) {
            _ if model.is_vector(&target_spec.target) => "vectors".to_string(),
            Rank::Full => "full".into(),
            Rank::Of(rank) => format!("rank {rank}"),
        };
        if let Some(alpha) = target_spec.alpha {
            rank += &format!(", alpha {alpha}");
        }
        match groups.iter_mut().find(|(r, _)| *r == rank) {
            Some((_, targets)) => targets.push(target_spec.target.name()),
            None => groups.push((rank, vec![target_spec.target.name()])),
        }
    }
    let groups = groups.iter().map(|(rank, targets)| format!("{}: {rank}", targets.join(", ")));
    format!("{}; alpha {}", groups.collect::<Vec<_>>().join("; "), vlora.alpha)
}

/// The target with this name among a model's weights. `option`: the option that gave the name.
pub fn target(name: &str, option: &str, weights: &[LayerWeight]) -> Result<Target> {
    let all: Vec<&str> = weights.iter().map(|weight| weight.target.name()).collect();
    if all.contains(&name.trim()) {
        return Ok(Target::new(name.trim()));
    }
    Err(Fault::new("unknown name")
        .within(option)
        .found(format!("`{name}`"))
        .expected(format!("one of {}", all.join(", ")))
        .did_you_mean(nearest(name, all.iter().copied()))
        .into())
}

/// Refuses to overwrite existing files, unless `force`. A run's files are its evidence and are never
/// overwritten.
pub fn refuse_overwriting(paths: &[&Path], force: bool) -> Result<()> {
    for path in paths {
        if path.is_dir() {
            return Err(Fault::new("this is a folder")
                .source(path.display())
                .expected("the name of a file to write")
                .into());
        }
        if RunFolder::is_evidence(path) {
            return Err(Fault::new("the file is the evidence of a run, which is kept")
                .source(path.display())
                .expected("another file to write")
                .into());
        }
        if path.symlink_metadata().is_ok() && !force {
            return Err(Fault::new("the file exists")
                .source(path.display())
                .help("--force overwrites it")
                .into());
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
            LoraName::Merge => checkpoint.merged(),
            LoraName::Drop => Ok(checkpoint.without_lora()),
        }
    }
}
