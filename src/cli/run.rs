//! `vlora run`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::hub::LockedHubArgs;
use super::numbers::whole;
use super::progress::Progress;
use super::report::{damage, write_and_show};
use super::signals::stop_on_signal;
use super::{DevicesArgs, FormatArgs, OutArgs, SpecArgs, eprint_line, planned, tell_notes};
use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};
use crate::hub::Lockfile;
use crate::report::{Summary, write_report};
use crate::results::{ExperimentFolder, RunState};
use crate::runner::{CheckpointInterval, Invocation, Outcome, Plan, WorkerOptions, execute};
use crate::spec::{Experiment, HUB_PREFIX, nearest};
use crate::tasks::evidence;

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    hub: LockedHubArgs,
    #[command(flatten)]
    out: OutArgs,
    /// Train N runs at once on each device; the results are the same
    ///
    /// Worth it where one run leaves the device idle: small models on a GPU. A run that starts from
    /// another's weights waits for it. Times of such runs do not compare with those of runs alone,
    /// and their memory is not counted.
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = whole::<usize>)]
    jobs: usize,
    /// The longest time between two checkpoints of a run, in minutes
    ///
    /// It is the most training that a crash can lose. A signal that stops the program loses none. At the
    /// end of an epoch a checkpoint is written more often where that takes at most 2 % of the time.
    #[arg(long, value_name = "MINUTES", default_value_t = 5.0, value_parser = minutes)]
    checkpoint_minutes: f64,
    /// Write a checkpoint every N optimiser steps, too
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_steps: Option<u64>,
    /// Train the runs with these ids alone, as `vlora plan --format json` lists them
    ///
    /// So any scheduler can run a sweep, with one command for each run. The command that finishes the last
    /// run makes the table; `vlora report` makes one of those that are finished.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Stop after this time, as in 25m or 1h30m; what is trained so far is kept
    #[arg(long, value_name = "TIME", value_parser = duration)]
    time_budget: Option<Duration>,
    /// Stop when a run fails
    #[arg(long, conflicts_with = "retries")]
    fail_fast: bool,
    /// Retry failed runs up to N times, after the others
    ///
    /// For what may be gone by then: a full disk, memory that other programs hold. A try resumes from the
    /// checkpoint of the one before.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=100))]
    retries: u32,
    /// Which weights of finished runs to keep
    #[arg(long, value_enum, default_value_t)]
    keep: Keep,
    /// Wait for runs that other processes train, instead of leaving them out
    ///
    /// A run whose process dies is taken over.
    #[arg(long)]
    wait: bool,
    /// Fail a run that is started for the fourth time without having kept a step since the first
    ///
    /// For schedulers that start a killed job again: a run that leaves no checkpoint would be started for
    /// ever.
    #[arg(long)]
    require_progress: bool,
    /// Let --set drop runs from the experiment's table
    ///
    /// Without it, that is refused: a quick try with other settings would replace the table. No run is
    /// removed: all stay in runs/, and are in the table again once the settings are.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    devices: DevicesArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// Seconds between lines of progress, where it goes to a file
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = whole::<u32>)]
    log_every: u32,
    /// Show no progress, only the table
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Keep {
    /// Those that were tested
    #[default]
    Tested,
    /// None: they are removed once no run of the spec is left that starts from them, those of earlier runs too
    None,
}

impl Keep {
    pub fn is_default(self) -> bool {
        self == Keep::default()
    }
}

impl RunArgs {
    fn interval(&self) -> CheckpointInterval {
        let time = Duration::from_secs_f64(60.0 * self.checkpoint_minutes);
        CheckpointInterval { time, steps: self.checkpoint_steps }
    }

    fn log_every(&self) -> Duration {
        Duration::from_secs(self.log_every.into())
    }
}

/// Saves the spec's lock with the results, so that `vlora verify` reads what the runs read.
pub fn keep_lock(spec: &Path, is_unlocked: bool, folder: &ExperimentFolder) -> Result<()> {
    let kept = Lockfile::path(&folder.file("experiment.yaml"));
    match std::fs::read(Lockfile::path(spec)) {
        Ok(lock) if !is_unlocked => write_atomic(&kept, &lock),
        _ if kept.exists() => {
            std::fs::remove_file(&kept).map_err(|e| Error::io("removing", &kept, e))
        }
        _ => Ok(()),
    }
}

fn is_all_finished(plan: &Plan, folder: &ExperimentFolder) -> bool {
    let mut runs = plan.variants.iter().flat_map(|variant| &variant.runs);
    runs.all(|run| folder.run(&run.id).state() == RunState::Finished)
}

/// Writes the table of the finished runs, if there are any.
fn write_finished(plan: &Plan, folder: &ExperimentFolder) -> Result<()> {
    let record = plan.record();
    if !folder.has_ended_run(&record) {
        return Ok(());
    }
    write_report(&Summary::of(record, folder, evidence)?, folder).map(drop)
}

/// A number of minutes that is more than none and less than a year.
pub fn minutes(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(minutes) if minutes > 0.0 && minutes < 525_600.0 => Ok(minutes),
        _ => Err("expected a number above 0, below 525600 (a year)".into()),
    }
}

pub fn run(args: &RunArgs) -> Result<()> {
    let started = Instant::now();
    let devices = args.devices.open()?;
    check_jobs(args.jobs)?;
    // Before the data are read: a scheduler may warn at any moment.
    let stop = stop_on_signal()?;
    let experiment = args.spec.load_for(&devices[0])?;
    if !args.quiet {
        tell_notes(&experiment);
    }
    let folder = args.out.folder(&experiment);
    let mut plan = planned(
        experiment,
        &folder,
        &args.hub.open(&args.spec.spec, args.quiet)?,
        &args.spec.spec,
    )?;
    plan.invocation = Invocation::of_process(&args.out.out, &args.spec.set);
    if !args.quiet && reads_the_hub(&plan.experiment) && !Lockfile::path(&args.spec.spec).exists() {
        eprint_line(&format!(
            "note: what is read of the Hub may change from run to run; `vlora fetch {}` pins it",
            args.spec.spec.display()
        ));
    }
    let only = only(&args.only, &plan, &folder, args.wait)?;
    check_change(&plan, &folder, args.replace)?;
    keep_lock(&args.spec.spec, args.hub.is_unlocked(), &folder)?;
    let mut progress = Progress::new(
        &plan,
        only.as_ref(),
        args.jobs * devices.len(),
        args.quiet,
        args.log_every(),
    );
    // On a GPU, a device that is opened anew has a stream of its own.
    let device_of = |worker: usize| match worker < devices.len() {
        true => Ok(devices[worker].clone()),
        false => args.devices.another(worker),
    };
    let workers = WorkerOptions {
        interval: args.interval(),
        only: only.as_ref(),
        deadline: args.time_budget.and_then(|budget| started.checked_add(budget)),
        fail_fast: args.fail_fast,
        retries: args.retries,
        keeps_weights: args.keep == Keep::Tested,
        waits: args.wait,
        requires_progress: args.require_progress,
        devices: devices.len(),
        ..WorkerOptions::new(args.jobs, &device_of)
    };
    let executed = execute(&plan, &folder, workers, stop, &mut progress);
    progress.finish();
    let has_trained = progress.has_trained();
    let outcomes = match executed {
        // A scheduler that sees an interruption starts the command again.
        Err(Error::Interrupted) if args.require_progress && !has_trained => {
            return Err(Fault::failed("interrupted before a step was trained")
                .help("give the job more time")
                .into());
        }
        Err(error) => {
            // With --only a scheduler runs it, which kills the job soon after its warning.
            if only.is_none()
                && let Err(unwritten) = write_finished(&plan, &folder)
            {
                eprint_line(&format!("note: {unwritten}"));
            }
            return Err(error);
        }
        Ok(outcomes) => outcomes,
    };

    let mut failed = outcomes.iter().filter(|o| matches!(o, Outcome::Failed(_))).count();
    let held = outcomes.iter().filter(|o| matches!(o, Outcome::HeldElsewhere)).count();
    let (mut written, mut damaged) = (Ok(()), None);
    // Of many commands that train a run each, the one that ends last makes the table.
    let is_last = only.is_none() || is_all_finished(&plan, &folder);
    if held < outcomes.len() && is_last {
        let summary = Summary::of(plan.record(), &folder, evidence)?;
        written = write_and_show(&summary, &folder, args.format.format);
        damaged = damage(&summary);
        // Finished runs that are damaged have failed too; they are named as damaged.
        let is_damaged = |reason: &String| summary.damaged().any(|run| run.reason == *reason);
        let named = outcomes.iter().filter(|o| matches!(o, Outcome::Failed(r) if is_damaged(r)));
        failed -= named.count();
    }
    let mut problems = Vec::new();
    problems.extend(damaged);
    if failed > 0 {
        problems.push(format!("{failed} of {} runs failed; see the notes above", outcomes.len()));
    }
    if held > 0 {
        problems.push(format!(
            "{held} of {} runs are being trained by another process; run the same command \
             again when it is done",
            outcomes.len()
        ));
    }
    if let Err(error) = written {
        problems.push(error.to_string());
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Fault::of_lines(problems.join("\n")).into()),
    }
}

/// The runs that are trained; None for all. Errors if an id is not in the plan, or if its run is not
/// finished and starts from one that is neither finished nor trained now. With `waits` such a run fails
/// alone.
fn only(
    ids: &[String],
    plan: &Plan,
    folder: &ExperimentFolder,
    waits: bool,
) -> Result<Option<BTreeSet<String>>> {
    if ids.is_empty() {
        return Ok(None);
    }
    let only: BTreeSet<String> = ids.iter().cloned().collect();
    let planned = || plan.variants.iter().flat_map(|v| v.runs.iter().map(move |run| (v, run)));
    let fault = |summary: String| Fault::new(summary).within("--only");
    for id in &only {
        let Some((variant, run)) = planned().find(|(_, run)| run.id == *id) else {
            return Err(fault(format!("the plan has no run {id}"))
                .expected("ids of `vlora plan`, with the same --set")
                .did_you_mean(nearest(id, planned().map(|(_, run)| run.id.as_str())))
                .into());
        };
        let Some((_, before)) = plan.started_from(variant, run) else { continue };
        let is_finished = |id: &str| folder.run(id).state() == RunState::Finished;
        let is_there = is_finished(&before.id) || is_finished(&run.id);
        if !is_there && !waits && !only.contains(&before.id) {
            return Err(fault(format!("the run {id} starts from one that is not finished"))
                .found(format!("{} is {}", before.id, folder.run(&before.id).state().name()))
                .help(format!("train that first, or both: `--only {},{id}`", before.id))
                .into());
        }
    }
    Ok(Some(only))
}

/// A time such as `90s`, `25m`, `1h30m` or `2d`.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || "expected a time such as 90s, 25m, 1h30m or 2d".to_string();
    let (mut seconds, mut number) = (0.0, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' | '.' => {
                number.push(c);
                continue;
            }
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            'd' => 86_400.0,
            _ => return Err(wrong()),
        };
        seconds += number.parse::<f64>().map_err(|_| wrong())? * unit;
        number.clear();
    }
    match number.is_empty() && seconds > 0.0 {
        true => Duration::try_from_secs_f64(seconds).map_err(|_| wrong()),
        false => Err(wrong()),
    }
}

fn check_jobs(jobs: usize) -> Result<()> {
    // Each run has its own model and prefetcher thread.
    const MAX_JOBS: usize = 256;
    match (1..=MAX_JOBS).contains(&jobs) {
        true => Ok(()),
        false => Err(Fault::new("not a number of runs at once")
            .within("--jobs")
            .found(jobs)
            .expected(format!("a whole number from 1 to {MAX_JOBS}"))
            .into()),
    }
}

fn reads_the_hub(experiment: &Experiment) -> bool {
    experiment.variants.iter().any(|v| {
        let start = v.spec.start.as_ref().and_then(|start| start.checkpoint_name());
        v.spec.data.files().hub.is_some() || start.is_some_and(|name| name.starts_with(HUB_PREFIX))
    })
}

/// Checks which runs the folder's table would lose. More arms or seeds lose none. If an edited spec
/// loses runs, a note is printed. If `--set` loses runs that the spec itself keeps, that is refused
/// unless `replace`.
pub fn check_change(plan: &Plan, folder: &ExperimentFolder, replace: bool) -> Result<()> {
    let before = match folder.read_record() {
        Ok(before) => before,
        Err(_) if !folder.file("experiment.json").exists() => return Ok(()),
        Err(_) => {
            eprint_line(&format!(
                "note: {}: experiment.json cannot be read and is written anew; what its table \
                 compared before is not known",
                folder.path().display()
            ));
            return Ok(());
        }
    };
    let now = plan.record();
    let (kept, all) = (now.run_ids(), before.run_ids());
    let is_work = |id: &&str| {
        let state = folder.run(id).state();
        !matches!(state, RunState::Planned | RunState::Failed)
    };
    let lost = all.difference(&kept).copied().filter(is_work).count();
    if lost == 0 {
        return Ok(());
    }
    let runs = |n: usize| format!("{n} {}", if n == 1 { "run" } else { "runs" });
    let path = folder.path().display();
    let overridden = !now.overrides.is_empty() && now.overrides != before.overrides;
    if overridden && !replace {
        let set: Vec<String> = now.overrides.iter().map(|o| format!("--set {o}")).collect();
        return Err(Fault::new(format!("its table would lose {}", runs(lost)))
            .source(path)
            .found(format!(
                "{}, with which the spec has {}; {} of {} in the table are not \
                 among them",
                set.join(" "),
                runs(kept.len()),
                lost,
                runs(all.len())
            ))
            .help(
                "--out FOLDER keeps these results apart; --replace makes the table \
                 one of these (the others stay in runs/)",
            )
            .into());
    }
    eprint_line(&format!(
        "note: {path}: {} no longer in its table: the spec has other settings, arms or seeds \
         now; what was trained stays in runs/, and `vlora runs {path}` lists it",
        match lost {
            1 => "1 run is".to_string(),
            n => format!("{n} runs are"),
        }
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_their_units() {
        for (text, seconds) in
            [("90s", 90.0), ("25m", 1500.0), ("1h30m", 5400.0), ("2d", 172_800.0), ("0.5m", 30.0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for text in ["", "25", "m", "1x", "0s", "-1m", "1..5m", "1e3s", "999999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
