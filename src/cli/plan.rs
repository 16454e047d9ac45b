//! `vlora plan`.

use clap::Args;

use super::hub::LockedHubArgs;
use super::{DeviceArgs, FormatArgs, FormatName, OutArgs, SpecArgs, matched, print, print_as};
use crate::error::{Error, Result};
use crate::models::memory::memory;
use crate::report::{Align, Cell, Format, Table, count, percent, reduction, start_note};
use crate::runner::{Plan, PlannedVariant};
use crate::size::bytes;
use crate::spec::{DeviceKind, flatten};

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    hub: LockedHubArgs,
    #[command(flatten)]
    out: OutArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub fn plan(args: &PlanArgs) -> Result<()> {
    let device = args.device.planned()?;
    let experiment = args.spec.load_for_kind(device)?;
    let folder = args.out.folder(&experiment);
    let plan = Plan::new(experiment, &folder, &args.hub.open(&args.spec.spec, false)?)?;
    let table = table(&plan, device);
    match args.format.format {
        FormatName::Table => {
            let mut text = table.render(Format::Table);
            let (runs, flops) = (plan.run_count(), flops_text(plan.flops()));
            text += &starts(&plan);
            text += &matched(&plan.experiment);
            text += &format!(
                "\n{runs} runs, {flops} in all; memory is what training takes at most, by formula, \
                 decoded data aside\n\n"
            );
            text += &resolved(&plan)?;
            print(&text)
        }
        other => print_as(other, &table.render(other.into())),
    }
}

fn table(plan: &Plan, device: DeviceKind) -> Table {
    let mut table = Table::new()
        .column("arm", "arm", Align::Left)
        .column("seed", "seed", Align::Right)
        .column("run", "run", Align::Left)
        .column("state", "state", Align::Left)
        .column("parameters", "parameters", Align::Right)
        .column("reduction", "reduction", Align::Right)
        .column("steps", "steps", Align::Right)
        .column("training_flops", "training FLOPs", Align::Right)
        .column("memory_bytes", "memory", Align::Right)
        .hidden("weight_bytes")
        .hidden("gradient_bytes")
        .hidden("moment_bytes")
        .hidden("activation_bytes")
        .hidden("batch_bytes")
        .hidden("precision");
    for v in &plan.variants {
        let base = plan.experiment.baseline_of(&v.variant);
        let base = base.and_then(|b| plan.variants.iter().find(|p| p.variant.label == b.label));
        let reduction = base.map(|b| reduction(v.cost.parameters, b.cost.parameters));
        let memory = memory(&v.variant.spec, device);
        for run in &v.runs {
            table.row(vec![
                Cell::text(&v.variant.label),
                Cell::number(run.seed, run.seed.to_string()),
                Cell::text(&run.id),
                Cell::text(run.state.name()),
                Cell::number(v.cost.parameters, count(v.cost.parameters)),
                reduction.map_or(Cell::none(), |r| Cell::number(r, percent(r))),
                Cell::number(v.steps, count(v.steps)),
                Cell::number(v.flops, flops_text(v.flops)),
                Cell::number(memory.peak, bytes(memory.peak)),
                Cell::number(memory.weights, ""),
                Cell::number(memory.gradients, ""),
                Cell::number(memory.moments, ""),
                Cell::number(memory.activations.iter().sum::<u64>(), ""),
                Cell::number(memory.batches, ""),
                Cell::text(v.variant.spec.precision.name()),
            ]);
        }
    }
    table
}

/// What arms start from and what is done to it, a line each, behind an empty one.
fn starts(plan: &Plan) -> String {
    let note = |v: &PlannedVariant| start_note(&v.record(), plan.conversion(v));
    let lines = plan.variants.iter().filter_map(note);
    let lines: String = lines.map(|note| format!("· {}\n", note.replace('`', ""))).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// The first arm's whole spec with every default, then what the others change.
fn resolved(plan: &Plan) -> Result<String> {
    let Some((first, others)) = plan.variants.split_first() else { return Ok(String::new()) };
    let yaml = serde_yaml_text(first)?;
    let mut text =
        format!("Resolved spec of {}, defaults filled in:\n\n{yaml}", first.variant.label);
    let base = flatten(&first.variant.spec);
    for other in others {
        text += &format!("\n{} differs in:\n\n", other.variant.label);
        let fields = flatten(&other.variant.spec);
        for (key, value) in &fields {
            if base.get(key) != Some(value) {
                text += &format!("  {key}: {}\n", value.trim_matches('"'));
            }
        }
        for key in base.keys().filter(|key| !fields.contains_key(*key)) {
            text += &format!("  {key}: not used\n");
        }
        if fields == base {
            text += "  nothing\n";
        }
    }
    Ok(text)
}

fn serde_yaml_text(variant: &PlannedVariant) -> Result<String> {
    let text = variant
        .variant
        .spec
        .to_yaml()
        .map_err(|e| Error::Failed(format!("the resolved spec cannot be shown: {e}")))?;
    Ok(text.lines().map(|line| format!("  {line}\n")).collect())
}

/// `3.1 TFLOP`.
fn flops_text(flops: f64) -> String {
    let units = [(1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP")];
    match units.iter().find(|(size, _)| flops >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", flops / size),
        None => format!("{:.1} MFLOP", flops / 1e6),
    }
}
