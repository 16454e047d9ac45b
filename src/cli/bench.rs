//! `vlora bench`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::hub::LockedHubArgs;
use super::{DeviceArgs, SpecArgs, print, print_data};
use crate::atomic::{check_writable, write_atomic};
use crate::error::{Error, Result};
use crate::models::vit::tokens;
use crate::nn::KernelTime;
use crate::report::{Align, Cell, Format, Table, count, percent};
use crate::runner::{
    Amount, Examples, Measured, Quartiles, Rate, device_name, largest_product, measure,
};
use crate::size::bytes;
use crate::spec::{Experiment, Precision, RunSpec, Variant, nearest};
use crate::terminal::{draws_bars, set_message};

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Measure this arm; may be given several times [default: every arm]
    #[arg(long = "arm", value_name = "NAME")]
    arms: Vec<String>,
    /// Optimiser steps to time
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: usize,
    /// Steps before them, which are not timed
    #[arg(long, value_name = "N", default_value_t = 3)]
    warmup: usize,
    /// Take images of noise and random labels of the model's size; needs no data
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
        return Err(Error::Input(
            "--kernels: only a GPU's kernels are timed one by one\n  found:    the processor\n  \
             expected: a GPU, by --device cuda"
                .into(),
        ));
    }
    let variants = chosen(&experiment, &args.arms)?;
    let file = args.json.as_deref().filter(|path| *path != Path::new("-"));
    file.map_or(Ok(()), check_writable)?;
    let examples = match args.synthetic {
        true => Examples::synthetic(&variants)?,
        false => Examples::read(&variants, &args.hub.open(&args.spec.spec, false)?)?,
    };
    let bar = bar(variants.len() * amount.total());
    let rates = rates(&variants, &device, &bar)?;
    let seed = experiment.seeds.first().copied().unwrap_or_default();
    let mut table = columns(args.kernels);
    let mut kernels = String::new();
    for variant in &variants {
        set_message(&bar, &variant.label);
        let tick = &mut || bar.inc(1);
        let measured = measure(variant, seed, &examples, amount, &device, tick)?;
        table.row(row(args, variant, &measured, rates[&rated(variant)], &device));
        kernels += &kernels_text(&variant.label, &measured);
        // After each arm: what ends the command later loses none of it.
        if let Some(file) = file {
            write_atomic(file, table.render(Format::Json).as_bytes())?;
        }
    }
    bar.finish_and_clear();
    match (&args.json, file) {
        (Some(_), None) => print_data(&table.render(Format::Json)),
        _ => {
            let notes = notes(args, &variants, &rates, &device);
            print(&(table.render(Format::Table) + &notes + &kernels))
        }
    }
}

fn amount(args: &BenchArgs) -> Result<Amount> {
    // More would not be waited for.
    const MOST: usize = 1_000_000;
    for (option, found, least) in [("--steps", args.steps, 1), ("--warmup", args.warmup, 0)] {
        if !(least..=MOST).contains(&found) {
            return Err(Error::Input(format!(
                "{option}: not a number of steps to measure\n  found:    {found}\n  expected: a \
                 whole number from {least} to {}",
                count(MOST as u64)
            )));
        }
    }
    Ok(Amount { steps: args.steps, warmup: args.warmup, kernels: args.kernels })
}

/// The variants of these arms, or all.
fn chosen<'a>(experiment: &'a Experiment, arms: &[String]) -> Result<Vec<&'a Variant>> {
    let mut names: Vec<&str> = experiment.variants.iter().map(|v| v.arm.as_str()).collect();
    names.dedup();
    for arm in arms {
        if !names.contains(&arm.as_str()) {
            let help = nearest(arm, names.iter().copied())
                .map_or(String::new(), |name| format!("\n  help:     did you mean `{name}`?"));
            return Err(Error::Input(format!(
                "--arm {arm}: there is no such arm\n  found:    `{arm}`\n  expected: one of \
                 {}{help}",
                names.join(", ")
            )));
        }
    }
    Ok(experiment.variants.iter().filter(|v| arms.is_empty() || arms.contains(&v.arm)).collect())
}

/// On a terminal a bar, elsewhere nothing.
fn bar(total: usize) -> ProgressBar {
    if !draws_bars() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─");
    ProgressBar::new(total as u64).with_style(style)
}

/// What a rate is of: a product's shape, and a precision.
type Rated = ((usize, usize, usize), Precision);

fn rated(variant: &Variant) -> Rated {
    (largest_product(&variant.spec), variant.spec.precision)
}

/// The rates of each variant's largest product.
fn rates(
    variants: &[&Variant],
    device: &Device,
    bar: &ProgressBar,
) -> Result<BTreeMap<Rated, Rate>> {
    set_message(bar, "matrix product");
    bar.tick();
    let mut rates = BTreeMap::new();
    for variant in variants {
        if let Entry::Vacant(entry) = rates.entry(rated(variant)) {
            entry.insert(Rate::of(&variant.spec, device)?);
        }
    }
    Ok(rates)
}

fn columns(kernels: bool) -> Table {
    let table = Table::new()
        .hidden("arm")
        .column("label", "arm", Align::Left)
        .column("parameters", "parameters", Align::Right)
        .column("step_seconds", "step (quartiles)", Align::Right)
        .hidden("step_seconds_quartiles")
        .column("forward_seconds", "forward", Align::Right)
        .hidden("forward_seconds_quartiles")
        .column("backward_seconds", "backward", Align::Right)
        .hidden("backward_seconds_quartiles")
        .column("optimizer_seconds", "optimiser", Align::Right)
        .hidden("optimizer_seconds_quartiles")
        .column("wait_seconds", "wait", Align::Right)
        .hidden("wait_seconds_quartiles")
        .hidden("device_seconds")
        .hidden("device_seconds_quartiles")
        .hidden("launches")
        .hidden("products")
        .hidden("refused_products")
        .column("examples_per_second", "examples/s", Align::Right)
        .hidden("examples_per_second_quartiles")
        .column("evaluation_examples_per_second", "evaluated/s", Align::Right)
        .hidden("evaluation_examples_per_second_quartiles")
        .column("gflops", "GFLOP/s", Align::Right)
        .hidden("gflops_quartiles")
        .column("floor_seconds", "floor", Align::Right)
        .column("floor_share", "share of floor", Align::Right)
        .hidden("floor_share_quartiles")
        .column("peak_bytes", "peak memory", Align::Right)
        .hidden("resident_peak_bytes")
        .hidden("expected_peak_bytes")
        .hidden("step_flops")
        .hidden("product_gflops")
        .hidden("step_bytes")
        .hidden("copy_gb_per_second")
        .hidden("precision")
        .hidden("device")
        .hidden("batch_size")
        .hidden("threads")
        .hidden("steps")
        .hidden("warmup")
        .hidden("synthetic");
    if kernels { table.hidden("kernels") } else { table }
}

/// `rate` is that of the arm's largest product.
fn row(
    args: &BenchArgs,
    variant: &Variant,
    m: &Measured,
    rate: Rate,
    device: &Device,
) -> Vec<Cell> {
    let flops = m.step_flops();
    let floor = rate.floor(m);
    let (examples, gflops) = (m.step.under(m.examples as f64), m.step.under(flops / 1e9));
    let share = m.step.under(floor);
    let quartiles = |q: Quartiles| Cell::number(vec![q.first, q.third], "");
    let timed = |q: Quartiles, text: fn(f64) -> String| {
        [Cell::number(q.median, text(q.median)), quartiles(q)]
    };
    let hidden = |value: f64| Cell::number(value, "");
    let size = |n: Option<u64>| n.map_or(Cell::none(), |n| Cell::number(n, bytes(n)));
    let mut cells = vec![
        Cell::text(&variant.arm),
        Cell::text(&variant.label),
        Cell::number(m.cost.parameters, count(m.cost.parameters)),
        Cell::number(m.step.median, with_quartiles(m.step)),
        quartiles(m.step),
    ];
    cells.extend(
        [m.forward, m.backward, m.optimizer, m.wait].into_iter().flat_map(|q| timed(q, time)),
    );
    cells.extend([hidden(m.device.median), quartiles(m.device)]);
    let asked = [m.asked.launches, m.asked.products, m.asked.refused];
    cells.extend(asked.map(|n| Cell::number(n, "")));
    cells.extend([examples, m.evaluation, gflops].into_iter().flat_map(|q| timed(q, tenths)));
    cells.push(Cell::number(floor, time(floor)));
    cells.extend(timed(share, percent));
    cells.extend([
        size(m.peak_bytes),
        size(m.resident_peak_bytes),
        Cell::number(m.expected_peak_bytes, ""),
        hidden(flops),
        hidden(rate.product / 1e9),
        Cell::number(m.step_bytes, ""),
        rate.copy.map_or(Cell::none(), |copy| hidden(copy / 1e9)),
        Cell::text(variant.spec.precision.name()),
        Cell::text(device_name(device)),
        Cell::number(variant.spec.training.batch_size, ""),
        Cell::number(rayon::current_num_threads(), ""),
        Cell::number(args.steps, ""),
        Cell::number(args.warmup, ""),
        Cell::number(args.synthetic, ""),
    ]);
    if let Some(kernels) = &m.kernels {
        let of = |k: &KernelTime| json!({"name": k.name, "count": k.count, "seconds": k.seconds});
        cells.push(Cell::number(kernels.iter().map(of).collect::<Vec<_>>(), ""));
    }
    cells
}

/// What took most of a step first, with its share of all that was timed; nothing where none was.
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

/// What the numbers mean and what they were measured with, a line each, behind an empty one.
fn notes(
    args: &BenchArgs,
    variants: &[&Variant],
    rates: &BTreeMap<Rated, Rate>,
    device: &Device,
) -> String {
    let mut sizes: Vec<String> = variants.iter().map(|v| batch_text(&v.spec)).collect();
    sizes.dedup();
    let of_products: Vec<String> = rates
        .iter()
        .map(|(((m, n, k), precision), rate)| {
            let rate = rate.product / 1e9;
            format!("{rate:.1} GFLOP/s at [{m} × {k}] · [{k} × {n}] in {precision}")
        })
        .collect();
    let data = match args.synthetic {
        true => "synthetic images and labels",
        false => "the spec's data, decoded before",
    };
    let threads = rayon::current_num_threads();
    let mut text = format!(
        "\n· {}; {threads} threads; {}; {data}; medians of {} steps after {}\n\
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
                 · forward, backward, optimiser: the time to ask the GPU for them; the rest of a step \
                 is the wait until it is done",
                copy / 1e9
            );
            "tensors held of the GPU's memory at once during the timed steps, decoded images aside"
        }
        None => "bytes allocated at once during the timed steps, decoded data included",
    };
    text + &format!("\n· peak memory: the most {memory}\n")
}

fn batch_text(spec: &RunSpec) -> String {
    let accumulated = match spec.training.accumulation {
        1 => String::new(),
        n => format!(", {n} a step"),
    };
    let (batch, tokens) = (spec.training.batch_size, tokens(spec.vit()));
    format!("batches of {batch} images of {tokens} tokens{accumulated}")
}

/// How seconds of this size are shown: times what, with how many decimals, in which unit.
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

fn tenths(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_their_unit() {
        let got: Vec<String> = [2.346, 0.4121, 0.0421, 0.00312, 0.0].map(time).to_vec();
        assert_eq!(got, ["2.35 s", "412 ms", "42.1 ms", "3.12 ms", "0.00 ms"]);
        let q = Quartiles { first: 0.99, median: 1.0, third: 1.5 };
        assert_eq!(with_quartiles(q), "1.00 s (0.99–1.50)");
    }
}
