//! `vlora bench`.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::hub::LockedHubArgs;
use super::{SpecArgs, print, tell_unused_gpu};
use crate::atomic::{check_writable, write_atomic};
use crate::error::{Error, Result};
use crate::models::vit::tokens;
use crate::nn::product_rate;
use crate::report::{Align, Cell, Format, Table, bytes, count, percent};
use crate::runner::{
    Amount, Examples, Measured, Quartiles, largest_product, measure, select_device,
};
use crate::spec::{Experiment, RunSpec, Variant, nearest};

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
    /// What to compute on: auto, cpu, cuda (the first NVIDIA GPU) or cuda:N
    ///
    /// auto is the first GPU where this program is built for GPUs and there is one, else the CPU.
    #[arg(long, default_value = "auto")]
    device: String,
    #[command(flatten)]
    hub: LockedHubArgs,
}

pub fn bench(args: &BenchArgs) -> Result<()> {
    tell_unused_gpu(&args.device);
    let device = select_device(&args.device)?;
    let experiment = args.spec.load()?;
    let amount = amount(args)?;
    let variants = chosen(&experiment, &args.arms)?;
    let file = args.json.as_deref().filter(|path| *path != Path::new("-"));
    file.map_or(Ok(()), check_writable)?;
    let examples = match args.synthetic {
        true => Examples::synthetic(&variants)?,
        false => Examples::read(&variants, &args.hub.open(&args.spec.spec, false)?)?,
    };
    let bar = bar(variants.len() * amount.total());
    let rates = product_rates(&variants, &bar);
    let seed = experiment.seeds.first().copied().unwrap_or_default();
    let mut table = columns();
    for variant in &variants {
        bar.set_message(variant.label.clone());
        let tick = &mut || bar.inc(1);
        let measured = measure(&variant.spec, seed, &examples, amount, &device, tick)?;
        table.row(row(args, variant, &measured, rates[&largest_product(&variant.spec)]));
        // After each arm: what ends the command later loses none of it.
        if let Some(file) = file {
            write_atomic(file, table.render(Format::Json).as_bytes())?;
        }
    }
    bar.finish_and_clear();
    match (&args.json, file) {
        (Some(_), None) => print(&table.render(Format::Json)),
        _ => print(&(table.render(Format::Table) + &notes(args, &variants, &rates))),
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
    Ok(Amount { steps: args.steps, warmup: args.warmup })
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
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─");
    ProgressBar::new(total as u64).with_style(style)
}

type Shape = (usize, usize, usize);

/// The rate of each variant's largest product, 10⁹ floating-point operations a second.
fn product_rates(variants: &[&Variant], bar: &ProgressBar) -> BTreeMap<Shape, f64> {
    bar.set_message("matrix product");
    bar.tick();
    let mut rates = BTreeMap::new();
    for variant in variants {
        let shape = largest_product(&variant.spec);
        rates.entry(shape).or_insert_with(|| product_rate(shape));
    }
    rates
}

fn columns() -> Table {
    Table::new()
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
        .hidden("step_flops")
        .hidden("product_gflops")
        .hidden("batch_size")
        .hidden("threads")
        .hidden("steps")
        .hidden("warmup")
        .hidden("synthetic")
}

/// `rate` is that of the arm's largest product.
fn row(args: &BenchArgs, variant: &Variant, m: &Measured, rate: f64) -> Vec<Cell> {
    let flops = m.step_flops();
    let floor = flops / (1e9 * rate);
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
    cells.extend([examples, m.evaluation, gflops].into_iter().flat_map(|q| timed(q, tenths)));
    cells.push(Cell::number(floor, time(floor)));
    cells.extend(timed(share, percent));
    cells.extend([
        size(m.peak_bytes),
        size(m.resident_peak_bytes),
        hidden(flops),
        hidden(rate),
        Cell::number(variant.spec.training.batch_size, ""),
        Cell::number(rayon::current_num_threads(), ""),
        Cell::number(args.steps, ""),
        Cell::number(args.warmup, ""),
        Cell::number(args.synthetic, ""),
    ]);
    cells
}

/// What the numbers mean and what they were measured with, a line each, behind an empty one.
fn notes(args: &BenchArgs, variants: &[&Variant], rates: &BTreeMap<Shape, f64>) -> String {
    let mut sizes: Vec<String> = variants.iter().map(|v| batch_text(&v.spec)).collect();
    sizes.dedup();
    let rates: Vec<String> = rates
        .iter()
        .map(|((m, n, k), rate)| format!("{rate:.1} GFLOP/s at [{m} × {k}] · [{k} × {n}]"))
        .collect();
    let data = match args.synthetic {
        true => "synthetic images and labels",
        false => "the spec's data, decoded before",
    };
    format!(
        "\n· {} threads; {}; {data}; medians of {} steps after {}\n\
         · step: all of an optimiser step, the wait for its batches included\n\
         · GFLOP/s: the operations of its matrix products in closed form, over its time; floor: \
         those at the rate of one float32 product measured in this run, {}\n\
         · peak memory: the most bytes allocated at once during the timed steps, decoded data \
         included\n",
        rayon::current_num_threads(),
        sizes.join(", "),
        args.steps,
        args.warmup,
        rates.join(", "),
    )
}

fn batch_text(spec: &RunSpec) -> String {
    let accumulated = match spec.training.accumulation {
        1 => String::new(),
        n => format!(", {n} a step"),
    };
    let (batch, tokens) = (spec.training.batch_size, tokens(&spec.model));
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
