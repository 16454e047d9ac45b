//! `vlora probe`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::Device;
use clap::Args;

use super::evaluate::SplitName;
use super::hub::LockedHubArgs;
use super::report::write_and_show;
use super::signals::stop_on_signal;
use super::{
    DeviceArgs, FormatArgs, FormatName, clean, eprint_line, find_run, planned, recorded_spec,
    several,
};
use crate::error::{Error, Fault, Result};
use crate::report::{FinishedRun, Summary};
use crate::results::{CheckLevel, ExperimentFolder, RunFolder, Weights};
use crate::runner::{Plan, Probe, probe as probed};
use crate::tasks::{Split, evidence};

#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// The folders of experiments, as results/quickstart, of finished runs, or ids of runs under results/
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The split to read. A run is tested once, at its end; `test` looks at that split a second time
    #[arg(long, value_enum, default_value = "validation")]
    split: SplitName,
    /// Read runs again whose layers were read before
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    hub: LockedHubArgs,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    format: FormatArgs,
}

pub fn probe(args: &ProbeArgs) -> Result<()> {
    if args.paths.len() > 1 && args.format.format != FormatName::Table {
        return Err(Fault::new("only one experiment is printed in this format")
            .within("--format")
            .found(several(args.paths.len(), "path"))
            .expected("one path, or the format `table`")
            .into());
    }
    let device = args.device.select()?;
    let stop = stop_on_signal()?;
    for path in &args.paths {
        probe_path(args, path, &device, stop)?;
    }
    Ok(())
}

/// Reads the runs that a path names, and reports on their experiment.
fn probe_path(args: &ProbeArgs, path: &Path, device: &Device, stop: &AtomicBool) -> Result<()> {
    let whole = ExperimentFolder::new(path);
    let (experiment, ids) = match whole.file("experiment.json").exists() {
        true => {
            let ids = with_weights(&whole)?;
            (whole, ids)
        }
        false => {
            let (experiment, id) = find_run(path)?;
            (experiment, vec![id])
        }
    };
    let split = Split::from(args.split);
    let is_new = |id: &&String| {
        let run = experiment.run(id);
        let result = run.verify(CheckLevel::Quick).map(|run| run.result);
        let before = result.and_then(|result| run.logit_lens(&result, split == Split::Test));
        args.force || !matches!(before, Ok(Some(_)))
    };
    let new: Vec<&String> = ids.iter().filter(is_new).collect();
    if new.len() < ids.len() {
        let read = several(ids.len() - new.len(), "run");
        eprint_line(&format!(
            "note: the layers of {read} have been read; --force reads them again"
        ));
    }
    if !new.is_empty() {
        let plan = plan(args, &experiment, device)?;
        // An arm that is only tested may have no validation.
        let has_examples = |id: &&String| match plan.run(id) {
            Ok((variant, _)) => !plan.data(&variant.variant).is_empty(split),
            Err(_) => true,
        };
        let readable: Vec<&String> = new.iter().copied().filter(has_examples).collect();
        // If no run of the experiment has examples, the first one says why.
        let new = match new.len() - readable.len() {
            0 => new,
            all if all == ids.len() => new,
            left_out => {
                let runs = several(left_out, "run");
                eprint_line(&format!("note: {runs} without {} examples: left out", split.name()));
                readable
            }
        };
        for (i, id) in new.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            if args.format.format == FormatName::Table {
                eprint_line(&format!("reading run {id} ({} of {})", i + 1, new.len()));
            }
            let (plan, experiment) = (&plan, &experiment);
            probed(Probe { plan, id, experiment, split }, device)?;
        }
    }
    let summary = Summary::read(&experiment, evidence)?;
    let is_shown =
        |run: &FinishedRun| run.logit_lens.as_ref().is_none_or(|r| r.split == split.name());
    if !summary.runs().all(is_shown) {
        eprint_line(&format!(
            "note: the report shows the layers of the validation split; those of the test split are in each \
             run's {}",
            RunFolder::TEST_LOGIT_LENS
        ));
    }
    write_and_show(&summary, &experiment, args.format.format)
}

/// The finished runs of an experiment whose weights are there.
fn with_weights(experiment: &ExperimentFolder) -> Result<Vec<String>> {
    let record = experiment.read_record()?;
    let named: Vec<String> = record.run_ids().into_iter().map(String::from).collect();
    let finished = |id: &String| experiment.run(id).verify(CheckLevel::Quick).ok();
    let finished: Vec<(String, Weights)> =
        named.iter().filter_map(|id| Some((id.clone(), finished(id)?.weights))).collect();
    let all = finished.len();
    let with: Vec<String> =
        finished.into_iter().filter(|(_, w)| *w == Weights::Present).map(|(id, _)| id).collect();
    if with.is_empty() {
        return Err(Fault::new("there are no weights to read")
            .source(clean(&experiment.path().display().to_string()))
            .found(format!("{} of {} finished", several(all, "run"), named.len()))
            .expected("finished runs with their weights, which are not published with evidence")
            .help("to train a run again for its weights, remove its folder")
            .into());
    }
    if with.len() < all {
        let missing = several(all - with.len(), "finished run");
        eprint_line(&format!("note: {missing} without weights: left out"));
    }
    Ok(with)
}

/// The plan of an experiment from its own spec.
fn plan(args: &ProbeArgs, experiment: &ExperimentFolder, device: &Device) -> Result<Plan> {
    let (read, spec) = recorded_spec(experiment, device)?;
    planned(read, experiment, &args.hub.open(&spec, false)?, &spec)
}
