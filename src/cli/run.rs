//! `vlora run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;

use super::progress::Progress;
use super::report::shown;
use super::{FormatArgs, OutArgs, SpecArgs, print};
use crate::error::{Error, Result};
use crate::report::write_report;
use crate::runner::{Outcome, Plan, execute, select_device};

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    out: OutArgs,
    /// What to compute on: auto or cpu
    #[arg(long, default_value = "auto")]
    device: String,
    #[command(flatten)]
    format: FormatArgs,
    /// Show no progress, only the table
    #[arg(long, short)]
    quiet: bool,
}

pub fn run(args: &RunArgs) -> Result<()> {
    let device = select_device(&args.device)?;
    let experiment = args.spec.load()?;
    let folder = args.out.folder(&experiment);
    let plan = Plan::new(experiment, &folder)?;
    let mut progress = Progress::new(&plan, args.quiet);
    let stop = stop_on_signal()?;
    let outcomes = execute(&plan, &folder, &device, &stop, &mut progress)?;
    progress.finish();

    let (summary, files) = write_report(&folder)?;
    print(&shown(&summary, &files, &folder, args.format.format))?;
    let failed = outcomes.iter().filter(|o| matches!(o, Outcome::Failed(_))).count();
    let elsewhere = outcomes.iter().filter(|o| matches!(o, Outcome::Elsewhere)).count();
    let mut problems = Vec::new();
    if failed > 0 {
        problems.push(format!("{failed} of {} runs failed; see the notes above", outcomes.len()));
    }
    if elsewhere > 0 {
        problems.push(format!(
            "{elsewhere} of {} runs are being trained by another process; run `vlora report {}` \
             when it is done",
            outcomes.len(),
            folder.path().display()
        ));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::Failed(problems.join("\n"))),
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
