//! `vlora plan`.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;

use super::hub::LockedHubArgs;
use super::numbers::positive;
use super::{
    DeviceArgs, FormatArgs, FormatName, OutArgs, SpecArgs, eprint_line, listed, matched, planned,
    print, print_as, several, states, tell_notes,
};
use crate::error::{Error, Fault, Result};
use crate::models::training_memory::memory;
use crate::report::{
    Align, Cell, Deviation, Format, SeedPlan, Table, count, percent, plain, reduction, start_note,
};
use crate::results::{ExperimentFolder, PrimaryContrast, RunFolder, RunResult, RunState};
use crate::runner::{Basis, Estimate, History, Plan, PlannedRun, PlannedVariant};
use crate::size::{bytes, clock};
use crate::spec::{DeviceKind, Experiment, Variant, flatten, shares_nothing, ways_of_sharing};
use crate::tasks::evidence;

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// List every run, and the whole spec with what each arm changes, also where there are many
    #[arg(long)]
    details: bool,
    /// Standard deviation of the differences between two arms with the same seed, in the metric's
    /// printed unit, for what the seeds can show [default: that of the finished runs]
    #[arg(long, value_name = "S", value_parser = positive)]
    sd: Option<f64>,
    /// A loss that is small enough to be called none, in the metric's printed unit: how many seeds
    /// it takes to show that an arm loses less
    #[arg(long, value_name = "M", value_parser = positive)]
    margin: Option<f64>,
    #[command(flatten)]
    hub: LockedHubArgs,
    #[command(flatten)]
    out: OutArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// The most runs, or rows of arms, that are listed without `--details`.
const FEW: usize = 24;
/// The most arms, or values of a swept field, that are named in one line.
const MAX_NAMES: usize = 12;

pub fn plan(args: &PlanArgs) -> Result<()> {
    let device = args.device.planned()?;
    let experiment = args.spec.load_for_kind(device)?;
    tell_notes(&experiment);
    let folder = args.out.folder(&experiment);
    let plan =
        planned(experiment, &folder, &args.hub.open(&args.spec.spec, false)?, &args.spec.spec)?;
    if args.format.format != FormatName::Table {
        let text = runs(&plan, device).render(args.format.format.into());
        print_as(args.format.format, &text)?;
        if args.sd.is_some() || args.margin.is_some() {
            eprint_line(seeds(args, &plan, &folder).trim_end());
        }
        return Ok(());
    }
    let history = History::of(&folder, device);
    let estimates = plan.estimates(&history, device)?;
    let few = args.details || plan.run_count() <= FEW;
    let mut text = summary(&plan, device, &estimates) + &seeds(args, &plan, &folder) + "\n";
    text += &match few {
        true => runs(&plan, device),
        false => arms(&plan, device, &estimates),
    }
    .render(Format::Table);
    text += &first_lines(&starts(&plan), few);
    text += &first_lines(&matched(&plan.experiment), few);
    text.push('\n');
    text += &match few {
        true => resolved(&plan)?,
        false => "--details lists every run, and the spec with its defaults\n".to_string(),
    };
    print(&text)
}

/// What the seeds can show. Empty where no arm is compared with a baseline.
fn seeds(args: &PlanArgs, plan: &Plan, folder: &ExperimentFolder) -> String {
    let experiment = &plan.experiment;
    let compared = experiment.variants.iter().filter(|v| is_tested(v, experiment));
    let labels: BTreeSet<&str> = compared.map(Variant::compared_label).collect();
    let (comparisons, Some(first)) = (labels.len(), plan.variants.first()) else {
        return String::new();
    };
    if comparisons == 0 {
        return String::new();
    }
    let metric = evidence(&first.variant.spec).primary();
    let stored = |shown: f64| shown / metric.scale;
    let seeds = SeedPlan {
        metric,
        seeds: experiment.seeds.len(),
        comparisons,
        has_primary: plan.primary_contrast.as_ref().is_some_and(PrimaryContrast::is_in_advance),
        deviation: match args.sd {
            Some(sd) => Some(Deviation::Given(stored(sd))),
            // Test results of trials are not looked at.
            None if !experiment.tuned.is_empty() => None,
            None => Deviation::pooled(&differences(plan, folder)),
        },
        margin: args.margin.map(stored),
    };
    let mut lines = seeds.lines();
    let primary = plan.primary_contrast.as_ref().filter(|primary| !primary.is_in_advance());
    lines.extend(primary.map(|primary| {
        format!(
            "the primary contrast counts as exploratory: it was named over these seeds after {} had \
             finished",
            several(primary.finished_before, "run")
        )
    }));
    let name = |i: usize| if i == 0 { "seeds" } else { "" };
    lines.iter().enumerate().map(|(i, line)| format!("  {:<8} {line}\n", name(i))).collect()
}

/// Whether a variant is compared with a baseline over seeds. Between weights that no seed changes there is
/// nothing to test.
fn is_tested(variant: &Variant, experiment: &Experiment) -> bool {
    let baseline = experiment.baseline_of(variant);
    baseline.is_some_and(|baseline| !(variant.spec.is_fixed() && baseline.spec.is_fixed()))
}

/// For each comparison with a baseline, the differences of the seeds that both have finished, as
/// their results say.
fn differences(plan: &Plan, folder: &ExperimentFolder) -> Vec<Vec<f64>> {
    let metrics = |v: &PlannedVariant| -> Vec<Option<f64>> {
        let metric = |run: &PlannedRun| {
            let is_finished = run.state == RunState::Finished;
            let result = is_finished.then(|| folder.run(&run.id).read_json(RunFolder::RESULT));
            result?.ok().map(|result: RunResult| result.test_metric)
        };
        v.runs.iter().map(metric).collect()
    };
    let tested = plan.variants.iter().filter(|v| is_tested(&v.variant, &plan.experiment));
    let compared = tested.filter_map(|v| {
        let baseline = plan.experiment.baseline_of(&v.variant)?;
        Some((v, plan.variants.iter().find(|b| b.variant.label == baseline.label)?))
    });
    let differences = |(v, baseline): (&PlannedVariant, &PlannedVariant)| {
        let pairs = metrics(v).into_iter().zip(metrics(baseline));
        pairs.filter_map(|(value, baseline_value)| Some(value? - baseline_value?)).collect()
    };
    compared.map(differences).collect()
}

/// The plan in a few lines.
fn summary(plan: &Plan, device: DeviceKind, estimates: &[Option<Estimate>]) -> String {
    let e = &plan.experiment;
    let mut arms: Vec<&str> = plan.variants.iter().map(|v| v.variant.arm.as_str()).collect();
    arms.dedup();
    let mut text = format!("{}: {}\n", e.name, several(plan.run_count(), "run"));
    let mut line = |name: &str, value: String| text += &format!("  {name:<8} {value}\n");
    let points = match plan.variants.len() == arms.len() {
        true => String::new(),
        false => format!(", {} of arms and swept values", several(plan.variants.len(), "pair")),
    };
    line(
        "arms",
        format!("{}{points}; {}", listed(&arms, MAX_NAMES), several(e.seeds.len(), "seed")),
    );
    for (field, values) in swept(plan) {
        line("sweep", format!("{field}: {}", listed(&values, MAX_NAMES)));
    }
    if !e.tuned.is_empty() {
        // What others start from may have one trial, all else has as many.
        let mut trials: BTreeMap<&str, usize> = BTreeMap::new();
        e.variants.iter().for_each(|v| *trials.entry(v.compared_label()).or_default() += 1);
        line(
            "tune",
            format!(
                "{}: {} an arm, chosen on validation",
                listed(&e.tuned, MAX_NAMES),
                several(trials.into_values().max().unwrap_or_default(), "trial")
            ),
        );
    }
    let arms = plan.variants.iter().map(|v| (v.variant.label.as_str(), &v.variant.spec));
    for way in ways_of_sharing(arms) {
        let stacks = way.stack_names().map_or(String::new(), |names| format!("{names}: "));
        line("layers", format!("{stacks}{}  ({})", way.drawing, listed(&way.labels, 3)));
    }
    let apart = plan.variants.iter().filter(|v| shares_nothing(&v.variant.spec));
    let apart: Vec<&str> = apart.map(|v| v.variant.label.as_str()).collect();
    if !apart.is_empty() {
        line(
            "layers",
            format!("none shares a weight, as in a dense model  ({})", listed(&apart, 3)),
        );
    }
    line("state", planned_states(plan));
    let damaged: Vec<&str> = plan
        .variants
        .iter()
        .flat_map(|v| &v.runs)
        .filter(|run| run.state == RunState::Damaged)
        .map(|run| run.id.as_str())
        .collect();
    if !damaged.is_empty() {
        let ids = listed(&damaged, MAX_NAMES);
        line(
            "damaged",
            format!(
                "{ids}: no table counts them; `vlora run` trains them again once their folders are removed"
            ),
        );
    }
    let left: f64 = plan.variants.iter().map(|v| v.flops * left(v) as f64).sum();
    let all = plan.flops();
    let rest = if left == all { String::new() } else { format!(", {} left", flops_text(left)) };
    line("work", format!("{} in all{rest}", flops_text(all)));
    let memories = plan.variants.iter().map(|v| (memory(&v.variant.spec, device), v));
    if let Some((most, v)) = memories.max_by_key(|(memory, _)| memory.peak) {
        let of =
            if plan.variants.len() > 1 { format!(" ({})", v.variant.label) } else { String::new() };
        line(
            "memory",
            format!(
                "at most {}{of}: estimated training memory, without decoded data",
                bytes(most.peak)
            ),
        );
    }
    line("time", time(plan, estimates));
    text
}

/// Each swept field with its values, in order of first appearance.
fn swept(plan: &Plan) -> Vec<(String, Vec<String>)> {
    let mut fields: Vec<(String, Vec<String>)> = Vec::new();
    for (field, value) in plan.variants.iter().flat_map(|v| &v.variant.point) {
        match fields.iter_mut().find(|(known, _)| known == field) {
            Some((_, values)) if values.contains(value) => {}
            Some((_, values)) => values.push(value.clone()),
            None => fields.push((field.clone(), vec![value.clone()])),
        }
    }
    fields
}

/// The number of runs in each state, and of those that another experiment has finished.
fn planned_states(plan: &Plan) -> String {
    let runs = || plan.variants.iter().flat_map(|v| &v.runs);
    let mut text = states(runs().map(|run| run.state));
    let in_sibling = runs().filter(|run| run.in_sibling).count();
    if in_sibling > 0 {
        text += &format!(
            "; {} finished in another experiment here, and taken from there",
            match in_sibling {
                1 => "1 of them is".to_string(),
                n => format!("{} of them are", count(n as u64)),
            }
        );
    }
    text
}

/// The number of runs of a variant that still have to be trained. Damaged ones are not trained over.
fn left(variant: &PlannedVariant) -> usize {
    let is_left = |run: &&PlannedRun| !run.state.has_result() && !run.in_sibling;
    variant.runs.iter().filter(is_left).count()
}

/// The estimated time for the remaining runs, one at a time, and its basis.
fn time(plan: &Plan, estimates: &[Option<Estimate>]) -> String {
    let todo: Vec<(usize, Option<Estimate>)> = plan
        .variants
        .iter()
        .zip(estimates)
        .map(|(variant, estimate)| (left(variant), *estimate))
        .filter(|(runs, _)| *runs > 0)
        .collect();
    if todo.is_empty() {
        return "nothing is left to train".into();
    }
    let known: Option<Vec<(usize, Estimate)>> =
        todo.into_iter().map(|(runs, estimate)| Some((runs, estimate?))).collect();
    let Some(known) = known else {
        return "not known: no finished run of these results says how fast this device is".into();
    };
    let seconds: f64 = known.iter().map(|(runs, estimate)| *runs as f64 * estimate.seconds).sum();
    let (about, by) = match known.iter().map(|(_, estimate)| estimate.basis).max() {
        Some(Basis::Products) => (
            "at least",
            "a lower bound from the speed of matrix products, measured now; `vlora bench` measures \
             a step",
        ),
        Some(Basis::OtherModels) => {
            ("about", "by the operations a second of finished runs of other models")
        }
        _ => ("about", "by finished runs of the same models"),
    };
    format!("{about} {} for what is left, one run at a time, {by}", clock(seconds))
}

/// One row per variant, or one row per arm if there are many.
fn arms(plan: &Plan, device: DeviceKind, estimates: &[Option<Estimate>]) -> Table {
    let mut table = Table::new()
        .column("arm", "arm", Align::Left)
        .column("runs", "runs", Align::Right)
        .column("finished", "finished", Align::Right)
        .column("parameters", "parameters", Align::Right)
        .column("reduction", "reduction", Align::Right)
        .column("steps", "steps", Align::Right)
        .column("training_flops", "FLOPs per run", Align::Right)
        .column("memory_bytes", "memory", Align::Right)
        .column("seconds", "time per run", Align::Right);
    let all: Vec<(&PlannedVariant, Option<Estimate>)> =
        plan.variants.iter().zip(estimates.iter().copied()).collect();
    let by_point = all.len() <= FEW;
    for group in all.chunk_by(|a, b| !by_point && a.0.variant.arm == b.0.variant.arm) {
        let (first, _) = group[0];
        let name = match group.len() {
            1 => first.variant.label.clone(),
            n => format!("{} ({} swept values)", first.variant.arm, count(n as u64)),
        };
        let runs = || group.iter().flat_map(|(v, _)| &v.runs);
        let finished = runs().filter(|run| run.state == RunState::Finished).count();
        let whole = |f: &dyn Fn(&PlannedVariant) -> u64, text: &dyn Fn(u64) -> String| {
            range(group.iter().map(|(v, _)| f(v) as f64), &|n| text(n as u64))
        };
        let reductions = group.iter().filter_map(|(v, _)| reduction_of(plan, v));
        let seconds = group.iter().filter_map(|(_, estimate)| Some(estimate.as_ref()?.seconds));
        table.row(vec![
            Cell::text(name),
            Cell::text(count(runs().count() as u64)),
            Cell::text(count(finished as u64)),
            whole(&|v| v.cost.parameters, &count),
            range(reductions, &percent),
            whole(&|v| v.steps(), &count),
            range(group.iter().map(|(v, _)| v.flops), &flops_text),
            whole(&|v| memory(&v.variant.spec, device).peak, &bytes),
            range(seconds, &clock),
        ]);
    }
    table
}

/// The range of the values.
fn range(values: impl Iterator<Item = f64>, text: &dyn Fn(f64) -> String) -> Cell {
    let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
    values.for_each(|value| (least, most) = (least.min(value), most.max(value)));
    match (least > most, text(least) == text(most)) {
        (true, _) => Cell::none(),
        (_, true) => Cell::text(text(least)),
        _ => Cell::text(format!("{} – {}", text(least), text(most))),
    }
}

fn reduction_of(plan: &Plan, variant: &PlannedVariant) -> Option<f64> {
    let base = plan.experiment.baseline_of(&variant.variant)?;
    let base = plan.variants.iter().find(|p| p.variant.label == base.label)?;
    Some(reduction(variant.cost.parameters, base.cost.parameters))
}

/// One row per run.
fn runs(plan: &Plan, device: DeviceKind) -> Table {
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
        .hidden("precision")
        .hidden("starts_from");
    for v in &plan.variants {
        let reduction = reduction_of(plan, v);
        let memory = memory(&v.variant.spec, device);
        for run in &v.runs {
            table.row(vec![
                Cell::text(&v.variant.label),
                Cell::number(run.seed, run.seed.to_string()),
                Cell::text(&run.id),
                Cell::text(run.state.name()),
                Cell::number(v.cost.parameters, count(v.cost.parameters)),
                reduction.map_or(Cell::none(), |r| Cell::number(r, percent(r))),
                Cell::number(v.steps(), count(v.steps())),
                Cell::number(v.flops, flops_text(v.flops)),
                Cell::number(memory.peak, bytes(memory.peak)),
                Cell::number(memory.weights, ""),
                Cell::number(memory.gradients, ""),
                Cell::number(memory.moments, ""),
                Cell::number(memory.activations.iter().sum::<u64>(), ""),
                Cell::number(memory.batches, ""),
                Cell::text(v.variant.spec.precision.name()),
                match plan.started_from(v, run) {
                    Some((_, before)) => Cell::text(&before.id),
                    None => Cell::none(),
                },
            ]);
        }
    }
    table
}

/// Cuts the notes of a plan with many arms.
fn first_lines(notes: &str, all: bool) -> String {
    const MAX_LINES: usize = 8;
    let lines: Vec<&str> = notes.lines().collect();
    if all || lines.len() <= MAX_LINES {
        return notes.to_string();
    }
    let first: String = lines[..MAX_LINES].iter().map(|line| format!("{line}\n")).collect();
    format!("{first}· … {} more\n", count((lines.len() - MAX_LINES) as u64))
}

/// An empty line, then one line per arm with start weights. Empty if there are none.
fn starts(plan: &Plan) -> String {
    let note = |v: &PlannedVariant| {
        let note = start_note(evidence(&v.variant.spec), &v.record(), v.started.as_ref())?;
        let more = v.note.iter().chain(&v.data_notes).map(|more| format!(" {more}"));
        Some(note + &more.collect::<String>())
    };
    let lines = plan.variants.iter().filter_map(note);
    let lines: String = lines.map(|note| format!("· {}\n", plain(&note))).collect();
    if lines.is_empty() { lines } else { format!("\n{lines}") }
}

/// The first arm's spec with its defaults, then the differences of the others.
fn resolved(plan: &Plan) -> Result<String> {
    let Some((first, others)) = plan.variants.split_first() else { return Ok(String::new()) };
    let yaml = serde_yaml_text(first)?;
    let mut text = format!(
        "Resolved spec of {}, defaults filled in, options that are off left out:\n\n{yaml}",
        first.variant.label
    );
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
    let text = variant.variant.spec.to_yaml().map_err(|e| {
        Error::from(Fault::failed(format!("the resolved spec cannot be shown: {e}")))
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_lists_are_short() {
        let text = |values: &[f64]| {
            let cell = range(values.iter().copied(), &|v| format!("{v:.0}"));
            let mut table = Table::new().column("x", "x", Align::Left);
            table.row(vec![cell]);
            table.render(Format::Table).lines().last().unwrap().to_string()
        };
        assert_eq!([text(&[]), text(&[3.0, 3.1]), text(&[5.0, 2.0])], ["—", "3", "2 – 5"]);
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        assert_eq!(listed(&names[..2], 12), "0, 1");
        assert!(listed(&names, 12).ends_with("10, 11, … (20 in all)"));
        let notes = "· x\n".repeat(20);
        assert_eq!(first_lines(&notes, false).lines().count(), 9);
        assert_eq!(first_lines(&notes, true), notes);
    }
}
