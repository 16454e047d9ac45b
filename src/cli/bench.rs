//! `vlora bench`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::hub::LockedHubArgs;
use super::numbers::whole;
use super::{DeviceArgs, SpecArgs, print, print_data};
use crate::atomic::{check_writable, write_atomic};
use crate::error::{Fault, Result};
use crate::nn::KernelTime;
use crate::report::{Align, Cell, Format, Row, Table, count, percent};
use crate::runner::{
    Amount, Examples, Measured, Quartiles, Rate, Timings, device_name, largest_product,
};
use crate::size::bytes;
use crate::spec::{Experiment, Precision, RunSpec, Variant, nearest};
use crate::tasks::definition;
use crate::terminal::{draws_bars, set_message};

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Measure this arm; may be given several times [default: every arm]
    #[arg(long = "arm", value_name = "NAME")]
    arms: Vec<String>,
    /// Optimiser steps to time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole::<usize>)]
    steps: usize,
    /// Steps before them, which are not timed
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole::<usize>)]
    warmup: usize,
    /// Rounds: each times `--steps` steps of every arm, in turn, and shows an arm's step time over the
    /// baseline's in the same round
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<usize>)]
    rounds: usize,
    /// Take random examples of the model's size; needs no data
    #[arg(long)]
    synthetic: bool,
    /// Write the measurements as JSON, with quartiles, into this file; `-` prints them instead of
    /// the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Show what each kernel and matrix product of one more step takes on the GPU
    #[arg(long)]
    kernels: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    hub: LockedHubArgs,
}

pub fn bench(args: &BenchArgs) -> Result<()> {
    let device = args.device.select()?;
    let experiment = args.spec.load_for(&device)?;
    let amount = amount(args)?;
    if args.kernels && device.is_cpu() {
        return Err(Fault::new("only a GPU's kernels are timed one by one")
            .within("--kernels")
            .found("the processor")
            .expected("a GPU, by --device cuda")
            .into());
    }
    let (variants, left_out) = chosen(&experiment, &args.arms)?;
    let file = args.json.as_deref().filter(|path| *path != Path::new("-"));
    file.map_or(Ok(()), check_writable)?;
    let examples = match args.synthetic {
        true => Examples::synthetic(&variants)?,
        false => Examples::read(&variants, &args.hub.open(&args.spec.spec, false)?)?,
    };
    let bar =
        bar(variants.len() * (0..args.rounds).map(|r| amount.of_round(r).total()).sum::<usize>());
    let rates = rates(&variants, &device, &bar)?;
    let seed = experiment.seeds.first().copied().unwrap_or_default();
    let mut timings: Vec<Timings> = variants.iter().map(|_| Timings::default()).collect();
    let summaries = |timings: &[Timings]| -> Vec<Option<Measured>> {
        timings.iter().zip(&variants).map(|(t, v)| t.measured(&v.spec, &device)).collect()
    };
    for round in 0..args.rounds {
        for i in in_turn(variants.len(), round) {
            let variant = variants[i];
            set_message(&bar, &variant.label);
            let tick = &mut || bar.inc(1);
            timings[i].add_round(
                variant,
                seed,
                &examples,
                amount.of_round(round),
                &device,
                tick,
            )?;
            // Written after each arm, so that a later failure loses no measurements.
            if let Some(file) = file {
                let measured = summaries(&timings);
                let table = arms(args, &experiment, &variants, &measured, &rates, &device);
                write_atomic(file, table.render(Format::Json).as_bytes())?;
            }
        }
    }
    bar.finish_and_clear();
    let measured = summaries(&timings);
    let table = arms(args, &experiment, &variants, &measured, &rates, &device);
    match (&args.json, file) {
        (Some(_), None) => print_data(&table.render(Format::Json)),
        _ => {
            let notes = notes(args, &variants, &left_out, &rates, &device);
            let timed = measured.iter().flatten().zip(&variants);
            let kernels: String = timed.map(|(m, v)| kernels_text(&v.label, m)).collect();
            print(&(table.render(Format::Table) + &notes + &kernels))
        }
    }
}

/// The order of the variants in a round. Every second round goes backwards, so that a machine that
/// becomes slower or faster favours none.
fn in_turn(variants: usize, round: usize) -> Vec<usize> {
    let order = 0..variants;
    if round.is_multiple_of(2) { order.collect() } else { order.rev().collect() }
}

/// One row for each variant that has been measured.
fn arms(
    args: &BenchArgs,
    experiment: &Experiment,
    variants: &[&Variant],
    measured: &[Option<Measured>],
    rates: &BTreeMap<RateKey, Rate>,
    device: &Device,
) -> Table {
    let place_of_baseline = |variant: &Variant| {
        let baseline = experiment.baseline_of(variant)?;
        variants.iter().position(|v| v.label == baseline.label)
    };
    let compares = args.rounds > 1 && variants.iter().any(|v| place_of_baseline(v).is_some());
    let mut table = Table::new();
    for (variant, m) in variants.iter().zip(measured) {
        let Some(m) = m else { continue };
        let over = || m.over(measured[place_of_baseline(variant)?].as_ref()?);
        let over = compares.then(over);
        table.add(row(args, variant, m, over, rates[&rate_key(variant)], device));
    }
    table
}

fn amount(args: &BenchArgs) -> Result<Amount> {
    // Nobody would wait for more.
    const MAX_AMOUNT: usize = 1_000_000;
    for (option, found, least, of) in [
        ("--steps", args.steps, 1, "steps"),
        ("--warmup", args.warmup, 0, "steps"),
        ("--rounds", args.rounds, 1, "rounds"),
    ] {
        if !(least..=MAX_AMOUNT).contains(&found) {
            return Err(Fault::new(format!("not a number of {of} to measure"))
                .source(option)
                .found(found)
                .expected(format!("a whole number from {least} to {}", count(MAX_AMOUNT as u64)))
                .into());
        }
    }
    Ok(Amount { steps: args.steps, warmup: args.warmup, kernels: args.kernels, evaluation: true })
}

/// The variants of these arms, all variants if no arm is given; and those of them that are not measured,
/// since they have no training.
fn chosen<'a>(
    experiment: &'a Experiment,
    arms: &[String],
) -> Result<(Vec<&'a Variant>, Vec<&'a Variant>)> {
    let mut names: Vec<&str> = experiment.variants.iter().map(|v| v.arm.as_str()).collect();
    names.dedup();
    for arm in arms {
        if !names.contains(&arm.as_str()) {
            return Err(Fault::new("there is no such arm")
                .within(format!("--arm {arm}"))
                .found(format!("`{arm}`"))
                .expected(format!("one of {}", names.join(", ")))
                .did_you_mean(nearest(arm, names.iter().copied()))
                .into());
        }
    }
    let trains = |v: &&Variant| v.spec.training.trains();
    let chosen = experiment.variants.iter().filter(|v| arms.is_empty() || arms.contains(&v.arm));
    let (trained, tested): (Vec<&Variant>, Vec<&Variant>) = chosen.partition(trains);
    match tested.first() {
        Some(first) if trained.is_empty() || !arms.is_empty() => {
            Err(Fault::new("there are no training steps to time")
                .within(format!("arm {}", first.arm))
                .found("`training: none`")
                .expected("arms that are trained")
                .into())
        }
        _ => Ok((trained, tested)),
    }
}

/// A bar on a terminal; hidden elsewhere.
fn bar(total: usize) -> ProgressBar {
    if !draws_bars() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─");
    ProgressBar::new(total as u64).with_style(style)
}

/// The key of a rate: the shape of the product and its precision.
type RateKey = ((usize, usize, usize), Precision);

fn rate_key(variant: &Variant) -> RateKey {
    (largest_product(&variant.spec), variant.spec.precision)
}

/// The rate of each variant's largest product.
fn rates(
    variants: &[&Variant],
    device: &Device,
    bar: &ProgressBar,
) -> Result<BTreeMap<RateKey, Rate>> {
    set_message(bar, "matrix product");
    bar.tick();
    let mut rates = BTreeMap::new();
    for variant in variants {
        if let Entry::Vacant(entry) = rates.entry(rate_key(variant)) {
            entry.insert(Rate::of(&variant.spec, device)?);
        }
    }
    Ok(rates)
}

/// A variant's row. `over`: its step time over its baseline's, if the table has that column; `rate`: that
/// of its largest product.
fn row(
    args: &BenchArgs,
    variant: &Variant,
    m: &Measured,
    over: Option<Option<Quartiles>>,
    rate: Rate,
    device: &Device,
) -> Row {
    let flops = m.step_flops();
    let floor = rate.floor(m);
    let right = Align::Right;
    let timed = |row: Row, key: &str, title: &str, q: Quartiles, text: String| {
        row.cell(key, title, right, Cell::number(q.median, text))
            .hidden(&format!("{key}_quartiles"), vec![q.first, q.third])
    };
    let size = |n: Option<u64>| n.map_or(Cell::none(), |n| Cell::number(n, bytes(n)));
    let parameters = Cell::number(m.cost.parameters, count(m.cost.parameters));
    let mut row = Row::new()
        .hidden("arm", variant.arm.as_str())
        .cell("label", "arm", Align::Left, Cell::text(&variant.label))
        .cell("parameters", "parameters", right, parameters);
    row = timed(row, "step_seconds", "step (quartiles)", m.step, with_quartiles(m.step));
    row = row.hidden("step_seconds_rounds", m.rounds.clone());
    if let Some(over) = over {
        let cell = over.map_or_else(Cell::none, |q| Cell::number(q.median, ratio(q)));
        row = row
            .cell("over_baseline", "over baseline (quartiles)", right, cell)
            .hidden("over_baseline_quartiles", over.map(|q| vec![q.first, q.third]));
    }
    for (key, title, part) in [
        ("forward_seconds", "forward", m.forward),
        ("backward_seconds", "backward", m.backward),
        ("optimizer_seconds", "optimiser", m.optimizer),
        ("wait_seconds", "wait", m.wait),
    ] {
        row = timed(row, key, title, part, time(part.median));
    }
    row = row
        .hidden("device_seconds", m.device.median)
        .hidden("device_seconds_quartiles", vec![m.device.first, m.device.third])
        .hidden("launches", m.queued.launches)
        .hidden("products", m.queued.products)
        .hidden("refused_products", m.queued.refused);
    let units = format!("{}/s", definition(variant.spec.task).work_unit().plural);
    for (key, title, rate) in [
        ("examples_per_second", "examples/s", m.step.dividing(m.examples)),
        ("evaluation_examples_per_second", "evaluated/s", m.evaluation),
        ("gflops", "GFLOP/s", m.step.dividing(flops / 1e9)),
    ] {
        row = timed(row, key, title, rate, tenths(rate.median));
    }
    let (q, key) = (m.units_per_second, "units_per_second");
    row = match m.units == m.examples {
        // The column of examples says the same.
        true => {
            row.hidden(key, q.median).hidden(&format!("{key}_quartiles"), vec![q.first, q.third])
        }
        false => timed(row, key, &units, q, tenths(q.median)),
    };
    row = row.cell("floor_seconds", "floor", right, Cell::number(floor, time(floor)));
    let share = m.step.dividing(floor);
    row = timed(row, "floor_share", "share of floor", share, percent(share.median))
        .cell("peak_bytes", "peak memory", right, size(m.peak_bytes))
        .hidden("resident_peak_bytes", m.resident_peak_bytes)
        .hidden("expected_peak_bytes", m.expected_peak_bytes)
        .hidden("step_flops", flops)
        .hidden("product_gflops", rate.product / 1e9)
        .hidden("step_bytes", m.step_bytes)
        .hidden("copy_gb_per_second", rate.copy.map(|copy| copy / 1e9))
        .hidden("precision", variant.spec.precision.name())
        .hidden("device", device_name(device))
        .hidden("batch_size", variant.spec.training.batch_size)
        .hidden("units_per_step", m.units)
        .hidden("threads", rayon::current_num_threads())
        .hidden("steps", args.steps)
        .hidden("warmup", args.warmup)
        .hidden("rounds", args.rounds)
        .hidden("synthetic", args.synthetic);
    match &m.kernels {
        None => row,
        Some(kernels) => {
            let of =
                |k: &KernelTime| json!({"name": k.name, "count": k.count, "seconds": k.seconds});
            row.hidden("kernels", kernels.iter().map(of).collect::<Vec<_>>())
        }
    }
}

/// The table of kernel times, longest first, each with its share of the total. Empty if kernels
/// were not timed.
fn kernels_text(label: &str, m: &Measured) -> String {
    let Some(kernels) = &m.kernels else { return String::new() };
    let all: f64 = kernels.iter().map(|k| k.seconds).sum();
    let mut table = Table::new()
        .column("kernel", "kernel or product", Align::Left)
        .column("count", "count", Align::Right)
        .column("seconds", "time", Align::Right)
        .column("share", "share", Align::Right);
    for k in kernels {
        let share = if all > 0.0 { k.seconds / all } else { 0.0 };
        table.row(vec![
            Cell::text(&k.name),
            Cell::number(k.count, k.count.to_string()),
            Cell::number(k.seconds, time(k.seconds)),
            Cell::number(share, percent(share)),
        ]);
    }
    format!(
        "\n{label}: one step by itself, {} on the GPU in all, batches made beside it among them\n\n{}",
        time(all),
        table.render(Format::Table)
    )
}

/// An empty line, then notes on the meaning of the numbers and the setting, one per line.
fn notes(
    args: &BenchArgs,
    variants: &[&Variant],
    left_out: &[&Variant],
    rates: &BTreeMap<RateKey, Rate>,
    device: &Device,
) -> String {
    let mut sizes: Vec<String> = Vec::new();
    for text in variants.iter().map(|v| batch_text(&v.spec)) {
        if !sizes.contains(&text) {
            sizes.push(text);
        }
    }
    let of_products: Vec<String> = rates
        .iter()
        .map(|(((m, n, k), precision), rate)| {
            let rate = rate.product / 1e9;
            format!("{rate:.1} GFLOP/s at [{m} × {k}] · [{k} × {n}] in {precision}")
        })
        .collect();
    let synthetic = variants.iter().map(|v| definition(v.spec.task).synthetic_note());
    let data = match args.synthetic {
        true => synthetic.min().unwrap_or_default(),
        false => "the spec's data, decoded before",
    };
    let threads = rayon::current_num_threads();
    let rounds = match args.rounds {
        1 => String::new(),
        n => format!(", in each of {n} rounds; ratios are taken within a round"),
    };
    let mut text = format!(
        "\n· {}; {threads} threads; {}; {data}; medians of {} steps after {}{rounds}\n\
         · step: all of an optimiser step, the wait for its batches included\n\
         · GFLOP/s: the operations of its matrix products in closed form, over its time; floor: \
         those at the rate of one product measured in this run, {}",
        device_name(device),
        sizes.join(", "),
        args.steps,
        args.warmup,
        of_products.join(", "),
    );
    let memory = match rates.values().find_map(|rate| rate.copy) {
        Some(copy) => {
            text += &format!(
                ", or the bytes that it moves at least at the rate of a copy, {:.0} GB/s\n\
                 · forward, backward, optimiser: the time to enqueue them on the GPU; the rest of \
                 a step is the wait until it is done",
                copy / 1e9
            );
            "tensors held of the GPU's memory at once during the timed steps, without the data"
        }
        None => "bytes allocated at once during the timed steps, decoded data included",
    };
    text += &format!("\n· peak memory: the most {memory}\n");
    let labels: Vec<String> = left_out.iter().map(|v| format!("`{}`", v.label)).collect();
    match labels.is_empty() {
        true => text,
        false => text + &format!("· not measured, since only tested: {}\n", labels.join(", ")),
    }
}

fn batch_text(spec: &RunSpec) -> String {
    let accumulated = match spec.training.accumulation {
        1 => String::new(),
        n => format!(", {n} a step"),
    };
    let batch = definition(spec.task).batch_text(spec);
    format!("batches of {batch}{accumulated}")
}

/// How a time is shown: factor, decimals and unit.
fn unit(seconds: f64) -> (f64, usize, &'static str) {
    match seconds {
        s if s >= 1.0 => (1.0, 2, "s"),
        s if s >= 0.1 => (1e3, 0, "ms"),
        s if s >= 0.01 => (1e3, 1, "ms"),
        _ => (1e3, 2, "ms"),
    }
}

/// `412 ms`.
fn time(seconds: f64) -> String {
    let (scale, decimals, unit) = unit(seconds);
    format!("{:.decimals$} {unit}", seconds * scale)
}

/// `412 ms (405–420)`.
fn with_quartiles(q: Quartiles) -> String {
    let (scale, decimals, _) = unit(q.median);
    let (first, third) = (q.first * scale, q.third * scale);
    format!("{} ({first:.decimals$}–{third:.decimals$})", time(q.median))
}

/// `0.84 (0.82–0.85)`.
fn ratio(q: Quartiles) -> String {
    format!("{:.2} ({:.2}–{:.2})", q.median, q.first, q.third)
}

fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_a_fitting_unit() {
        let got: Vec<String> = [2.346, 0.4121, 0.0421, 0.00312, 0.0].map(time).to_vec();
        assert_eq!(got, ["2.35 s", "412 ms", "42.1 ms", "3.12 ms", "0.00 ms"]);
        let q = Quartiles { first: 0.99, median: 1.0, third: 1.5 };
        assert_eq!(with_quartiles(q), "1.00 s (0.99–1.50)");
    }
}
