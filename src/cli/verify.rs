//! `vlora verify`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use candle_core::Device;
use clap::Args;

use super::hub::LockedHubArgs;
use super::signals::stop_on_signal;
use super::{DeviceArgs, clean, find_run, planned, recorded_spec};
use crate::error::{Fault, Result};
use crate::report::count;
use crate::results::{Scratch, SeedEffects, Verification};
use crate::runner::{Repetition, VerifyScope, verify as verified};
use crate::terminal::print;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The folders of finished runs, as results/quickstart/runs/3feadbede2b5, or their ids under results/
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Repeat only the first N optimiser steps, with an interruption halfway
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..))]
    steps: u64,
    /// Repeat all of the run: training, with an interruption, selection and test
    #[arg(long, conflicts_with = "steps")]
    full: bool,
    #[command(flatten)]
    hub: LockedHubArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn verify(args: &VerifyArgs) -> Result<()> {
    let device = args.device.select()?;
    let stop = stop_on_signal()?;
    let mut differ = Vec::new();
    for run in &args.runs {
        let path = clean(&run.display().to_string());
        let found = verify_run(args, run, &device, stop)?;
        let what = match found.full {
            true => "the whole run".to_string(),
            false => format!("its first {} steps", count(found.steps)),
        };
        let how = if found.interrupted { ", interrupted and resumed" } else { "" };
        let seed = match found.seed_effects {
            Some(effects) if !effects.missing().is_empty() => {
                format!("; another seed does not change its {}", effects.missing().join(" and "))
            }
            Some(SeedEffects { weights: Some(_), .. }) => {
                "; another seed changes its initial weights and its order of examples".to_string()
            }
            Some(_) => "; another seed changes its order of examples".to_string(),
            None => String::new(),
        };
        match found.difference {
            None => print(&format!("{path}: {what}{how}: bitwise identical{seed}\n"))?,
            Some(difference) => differ.push(format!("{path}: {difference}")),
        }
    }
    match differ.is_empty() {
        true => Ok(()),
        false => Err(Fault::failed("repeated, and not the same")
            .found_each(differ)
            .expected("the same bits, with the same data and machine")
            .into()),
    }
}

fn verify_run(
    args: &VerifyArgs,
    run: &Path,
    device: &Device,
    stop: &AtomicBool,
) -> Result<Verification> {
    let (experiment, id) = find_run(run)?;
    let (read, spec) = recorded_spec(&experiment, device)?;
    let scratch = Scratch::new(&experiment)?;
    let again = scratch.experiment();
    let plan = planned(read, &again, &args.hub.open(&spec, false)?, &spec)?;
    let scope = if args.full { VerifyScope::Full } else { VerifyScope::Steps(args.steps) };
    let (plan, experiment, scratch) = (&plan, &experiment, &again);
    verified(Repetition { plan, id: &id, experiment, scratch, scope }, device, stop)
}
