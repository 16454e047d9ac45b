//! `vlora evaluate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::hub::LockedHubArgs;
use super::numbers::{number, whole};
use super::weights::{check_options, refuse_overwriting};
use super::{DeviceArgs, FormatArgs, FormatName, eprint_line, print_as};
use crate::atomic::write_atomic;
use crate::checkpoints::{LoadedCheckpoint, read_checkpoint};
use crate::error::Result;
use crate::models;
use crate::report::{Align, Cell, Format, Row, Table, count, plain};
use crate::results::{CheckLevel, IntactRun, RunFolder};
use crate::runner::{
    Evaluated, chosen_variant, device_kind, device_name, evaluate as evaluated, evaluation_hints,
    named_variants,
};
use crate::spec::{self, DeviceKind, Variant};
use crate::tasks::Split;

#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// A run's folder, a safetensors file, the index of several, a model's folder, or
    /// hub:owner/name
    checkpoint: PathBuf,
    /// The experiment's YAML file: its data, model and precision are used
    #[arg(long, value_name = "SPEC")]
    spec: PathBuf,
    /// The arm whose data, model and precision are used [default: for a run's weights its own
    /// arm; otherwise any arm that they fit, if those agree]
    ///
    /// An arm's name, or its label where it is swept over. What the arm does with weights (method,
    /// LoRA, a new head) is not done: the checkpoint is evaluated as it is.
    #[arg(long, value_name = "NAME")]
    arm: Option<String>,
    /// The split to evaluate on
    #[arg(long, value_enum, default_value_t)]
    split: SplitName,
    /// Write the outcome of each example into a file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long, requires = "out")]
    force: bool,
    /// Override a field of the spec, as in `run`; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Attention heads, where neither the file nor the spec settles them
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    heads: Option<usize>,
    /// Alpha of the increments, which the authors' files do not store [default: the arm's
    /// start.alpha, else 1]
    #[arg(long, value_name = "X", value_parser = number)]
    alpha: Option<f64>,
    #[command(flatten)]
    hub: LockedHubArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum SplitName {
    /// Read once in a run, at its end
    #[default]
    Test,
    /// What `select: best` chooses by
    Validation,
}

impl SplitName {
    fn name(self) -> &'static str {
        match self {
            SplitName::Test => "test",
            SplitName::Validation => "validation",
        }
    }
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Split {
        match name {
            SplitName::Test => Split::Test,
            SplitName::Validation => Split::Validation,
        }
    }
}

pub fn evaluate(args: &EvaluateArgs) -> Result<()> {
    if let Some(out) = &args.out {
        refuse_overwriting(&[out], args.force)?;
    }
    let device = args.device.select()?;
    let experiment =
        spec::load_for(Some(device_kind(&device)), &args.spec, &args.set, &models::parameters)?;
    let variants = named_variants(&experiment, args.arm.as_deref())?;
    // Arms that start from files have to agree. One without `start.alpha` has the default, so it disagrees with
    // one that sets it.
    let files = variants.iter().filter_map(|v| v.spec.start.as_ref());
    let mut alphas = files.filter(|start| start.arm.is_none()).map(|start| start.alpha);
    let alpha = alphas.next().flatten().filter(|first| alphas.all(|other| other == Some(*first)));
    let alpha = args.alpha.or(alpha);
    let hints = evaluation_hints(&variants, args.heads, alpha);
    // Weights of a run are evaluated as the run's own arm, after a check that they are unchanged.
    let run = match RunFolder::of_weights(&args.checkpoint) {
        Some(folder) => Some(folder.verify_with_weights(CheckLevel::Thorough)?),
        None => None,
    };
    let loaded =
        args.hub.checkpoint(&args.spec, &args.checkpoint, |path| read_checkpoint(path, &hints))?;
    check_options(&args.checkpoint, &loaded.checkpoint, args.heads, args.alpha)?;
    let name = args.checkpoint.display().to_string();
    let run_spec = run.as_ref().map(|run| &run.spec.spec);
    let variant = chosen_variant(&loaded, &variants, run_spec, args.arm.is_some())
        .map_err(|e| e.map_fault(|fault| fault.under(name)))?;
    tell_overrides_without_effect(args, variant, device_kind(&device));
    let split = Split::from(args.split);
    let hub = args.hub.open(&args.spec, false)?;
    let done = evaluated(&loaded, variant, split, &hub, &device)?;
    if let Some(out) = &args.out {
        write_atomic(out, &done.outcomes)?;
    }
    let table = table(args, &loaded, run.as_ref(), variant, &done, &device_name(&device));
    print_as(
        args.format.format,
        &match args.format.format {
            FormatName::Table => {
                let mut text = table.render(Format::Table) + "\n";
                let precision = variant.spec.precision;
                for note in &done.notes {
                    text += &format!("· {}\n", plain(note));
                }
                text += &format!(
                    "· {}, {} parameters; {}, on {}\n",
                    loaded.format,
                    count(done.parameters),
                    precision,
                    device_name(&device)
                );
                if let Some(run) = &run {
                    text +=
                        &format!("· the weights of run {}, seed {}\n", run.spec.id, run.spec.seed);
                }
                if let Some(out) = &args.out {
                    text += &format!("wrote {}\n", out.display());
                }
                text
            }
            other => table.render(other.into()),
        },
    )
}

/// Prints a note for each `--set` without which the chosen arm would be the same.
fn tell_overrides_without_effect(args: &EvaluateArgs, variant: &Variant, kind: DeviceKind) {
    for (i, argument) in args.set.iter().enumerate() {
        let others: Vec<String> = [&args.set[..i], &args.set[i + 1..]].concat();
        // Without it, the spec may not be valid.
        let Ok(without) = spec::load_for(Some(kind), &args.spec, &others, &models::parameters)
        else {
            continue;
        };
        let is_same = |other: &Variant| other.label == variant.label && other.spec == variant.spec;
        if without.variants.iter().any(is_same) {
            eprint_line(&format!("note: --set {argument} changes nothing in `{}`", variant.label));
        }
    }
}

/// One row.
fn table(
    args: &EvaluateArgs,
    loaded: &LoadedCheckpoint,
    run: Option<&IntactRun>,
    variant: &Variant,
    done: &Evaluated,
    device: &str,
) -> Table {
    let right = Align::Right;
    let examples = Cell::number(done.examples, count(done.examples as u64));
    let mut row = Row::new()
        .cell(
            "checkpoint",
            "checkpoint",
            Align::Left,
            Cell::text(args.checkpoint.display().to_string()),
        )
        .cell("arm", "arm", Align::Left, Cell::text(&variant.label))
        .cell("split", "split", Align::Left, Cell::text(args.split.name()))
        .cell("examples", "examples", right, examples);
    for (i, (metric, value)) in done.metrics.iter().enumerate() {
        let cell = Cell::number(*value, metric.text(*value));
        row = match i {
            // The primary metric is always in the same columns.
            0 => row.hidden("metric", metric.name).cell("value", metric.name, right, cell),
            _ => row.cell(metric.name, metric.name, right, cell),
        };
    }
    row = match done.metrics.first().is_some_and(|(metric, _)| metric.is_loss()) {
        true => row.hidden("loss", done.loss),
        false => {
            row.cell("loss", "loss", right, Cell::number(done.loss, format!("{:.4}", done.loss)))
        }
    };
    row = row
        .hidden("parameters", done.parameters)
        .hidden("precision", variant.spec.precision.name())
        .hidden("device", device)
        .hidden("sha256", loaded.sha256.as_str())
        .hidden("run", run.map(|run| run.spec.id.as_str()));
    let mut table = Table::new();
    table.add(row);
    table
}
