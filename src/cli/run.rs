//! `vlora run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::hub::LockedHubArgs;
use super::progress::Progress;
use super::report::shown;
use super::{FormatArgs, OutArgs, SpecArgs, print, tell, tell_unused_gpu};
use crate::error::{Error, Result};
use crate::hub::Lockfile;
use crate::report::{Summary, write_report};
use crate::results::ExperimentFolder;
use crate::runner::{Outcome, Plan, execute, select_device};
use crate::spec::{Experiment, HUB_PREFIX};

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    hub: LockedHubArgs,
    #[command(flatten)]
    out: OutArgs,
    /// What to compute on: auto, cpu, cuda (the first NVIDIA GPU) or cuda:N
    ///
    /// auto is the first GPU where this program is built for GPUs and there is one, else the CPU.
    #[arg(long, default_value = "auto")]
    device: String,
    #[command(flatten)]
    format: FormatArgs,
    /// Show no progress, only the table
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &RunArgs) -> Result<()> {
    tell_unused_gpu(&args.device);
    let device = select_device(&args.device)?;
    let experiment = args.spec.load()?;
    let folder = args.out.folder(&experiment);
    let plan = Plan::new(experiment, &folder, &args.hub.open(&args.spec.spec, args.quiet)?)?;
    if !args.quiet && reads_the_hub(&plan.experiment) && !Lockfile::path(&args.spec.spec).exists() {
        tell(&format!(
            "note: what is read of the Hub may change from run to run; `vlora fetch {}` pins it",
            args.spec.spec.display()
        ));
    }
    announce_change(&plan, &folder, args.quiet);
    let mut progress = Progress::new(&plan, args.quiet);
    let stop = stop_on_signal()?;
    let executed = execute(&plan, &folder, &device, &stop, &mut progress);
    progress.finish();
    let outcomes = match executed {
        Err(Error::Interrupted) => {
            // What has finished gets its table; with nothing finished there is none.
            if let Ok(summary) = Summary::of(plan.record(), &folder) {
                write_report(&summary, &folder)?;
            }
            return Err(Error::Interrupted);
        }
        other => other?,
    };

    let failed = outcomes.iter().filter(|o| matches!(o, Outcome::Failed(_))).count();
    let elsewhere = outcomes.iter().filter(|o| matches!(o, Outcome::Elsewhere)).count();
    if elsewhere < outcomes.len() {
        let summary = Summary::of(plan.record(), &folder)?;
        let files = write_report(&summary, &folder)?;
        print(&shown(&summary, &files, &folder, args.format.format))?;
    }
    let mut problems = Vec::new();
    if failed > 0 {
        problems.push(format!("{failed} of {} runs failed; see the notes above", outcomes.len()));
    }
    if elsewhere > 0 {
        problems.push(format!(
            "{elsewhere} of {} runs are being trained by another process; run the same command \
             again when it is done",
            outcomes.len()
        ));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::Failed(problems.join("\n"))),
    }
}

fn reads_the_hub(experiment: &Experiment) -> bool {
    experiment.variants.iter().any(|v| {
        let start = v.spec.start.as_ref().and_then(|start| start.checkpoint_name());
        v.spec.data.hub.is_some() || start.is_some_and(|name| name.starts_with(HUB_PREFIX))
    })
}

/// Says so where the folder's table compared something else before.
fn announce_change(plan: &Plan, folder: &ExperimentFolder, quiet: bool) {
    let Ok(before) = folder.read_record() else { return };
    if before != plan.record() && !quiet {
        tell(&format!(
            "note: {} compared other arms, settings or seeds before; its table and charts will \
             show this spec's, and the runs of before stay in runs/",
            folder.path().display()
        ));
    }
}

/// A flag that the first Ctrl-C (or SIGTERM) raises; a second one ends the program at once,
/// which loses nothing but the current epoch.
fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(Error::Interrupted.exit_code()));
        }
    })
    .map_err(|e| Error::Failed(format!("signals cannot be handled: {e}")))?;
    Ok(stop)
}
