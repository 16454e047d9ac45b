//! `vlora launch`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::hub::LockedHubArgs;
use super::numbers::{at_least_one, whole};
use super::run::{Keep, check_change, keep_lock, minutes};
use super::{DevicesArgs, OutArgs, SpecArgs, clean, planned, print, several, states, tell_notes};
use crate::error::{Error, Fault, Result};
use crate::results::{ExperimentFolder, RunLock, RunState};
use crate::runner::launch::slurm::{self, Array};
use crate::runner::launch::{Bundle, Job, Stage, jobs, stages, submitted};
use crate::runner::{Invocation, Plan, PlannedRun, device_list, planned_kind};
use crate::spec::{SlurmSpec, TimeLimit, option_fault, time_fault, value_fault};
use crate::terminal::print_data;

#[derive(Debug, Args)]
pub struct LaunchArgs {
    #[command(subcommand)]
    launcher: Launcher,
}

#[derive(Debug, Subcommand)]
enum Launcher {
    /// Submit the runs as arrays of Slurm jobs
    ///
    /// Logs, scripts and a record of each array are kept in the experiment's folder, in slurm/. `vlora
    /// status` shows what Slurm says of each run. What a job asks for can be given here, or once in the
    /// spec, in `slurm`.
    Slurm(SlurmArgs),
}

#[derive(Debug, Args)]
struct SlurmArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Print the scripts, and submit nothing
    #[arg(long)]
    dry_run: bool,
    /// The partition of the jobs
    #[arg(long, value_name = "NAME", value_parser = value)]
    partition: Option<String>,
    /// The account to charge
    #[arg(long, value_name = "NAME", value_parser = value)]
    account: Option<String>,
    /// The quality of service
    #[arg(long, value_name = "NAME", value_parser = value)]
    qos: Option<String>,
    /// Time limit of a job, as in 4:00:00; a run that needs more is requeued, and resumes
    #[arg(long, value_name = "TIME", value_parser = time)]
    time: Option<String>,
    /// Memory of a job, as in 16G
    #[arg(long, value_name = "SIZE", value_parser = value)]
    mem: Option<String>,
    /// GPUs of a job; a run uses one. With --device auto, jobs compute on GPUs if they ask for any
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    gpus: Option<usize>,
    /// Processors of a job
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    cpus: Option<usize>,
    /// Another option of sbatch, as in --option=--constraint=a100; may be given several times
    #[arg(long = "option", value_name = "OPTION", value_parser = option, allow_hyphen_values = true)]
    options: Vec<String>,
    /// Runs in a job, one after another; worth it where runs are short
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    runs_per_job: Option<usize>,
    /// The most jobs of an array that run at once
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    at_once: Option<usize>,
    /// Warn jobs this many seconds before their time limit, for a last checkpoint
    #[arg(long, value_name = "SECONDS", default_value_t = 120,
        value_parser = clap::value_parser!(u32).range(1..=65_535))]
    warning: u32,
    /// The longest time between two checkpoints, in minutes, as for `vlora run`
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    checkpoint_minutes: Option<f64>,
    /// Which weights of finished runs to keep, as for `vlora run`
    #[arg(long, value_enum, default_value_t)]
    keep: Keep,
    /// Let --set drop runs from the experiment's table, as for `vlora run`
    #[arg(long)]
    replace: bool,
    /// Let jobs use the network for the Hub. Without it they read its cache, which this command fills
    #[arg(long)]
    online: bool,
    #[command(flatten)]
    hub: LockedHubArgs,
    #[command(flatten)]
    out: OutArgs,
    #[command(flatten)]
    devices: DevicesArgs,
}

fn value(text: &str) -> std::result::Result<String, String> {
    expect(text, value_fault(text))
}

fn time(text: &str) -> std::result::Result<String, String> {
    expect(text, time_fault(text))
}

fn option(text: &str) -> std::result::Result<String, String> {
    expect(text, option_fault(text))
}

fn expect(text: &str, fault: Option<&str>) -> std::result::Result<String, String> {
    match fault {
        None => Ok(text.to_string()),
        Some(expected) => Err(format!("expected {expected}")),
    }
}

pub fn launch(args: &LaunchArgs) -> Result<()> {
    match &args.launcher {
        Launcher::Slurm(args) => launch_slurm(args),
    }
}

impl SlurmArgs {
    /// What the jobs ask for: these arguments before the spec's section.
    fn resources(&self, spec: &SlurmSpec) -> SlurmSpec {
        let text = |given: &Option<String>, other: &Option<String>| given.clone().or(other.clone());
        SlurmSpec {
            partition: text(&self.partition, &spec.partition),
            account: text(&self.account, &spec.account),
            qos: text(&self.qos, &spec.qos),
            time: text(&self.time, &spec.time),
            mem: text(&self.mem, &spec.mem),
            gpus: self.gpus.or(spec.gpus),
            cpus: self.cpus.or(spec.cpus),
            runs_per_job: self.runs_per_job.or(spec.runs_per_job),
            at_once: self.at_once.or(spec.at_once),
            options: spec.options.iter().chain(&self.options).cloned().collect(),
        }
    }

    /// The device of the jobs. `auto` is what they ask for, since this machine may have another: the ids of
    /// runs depend on it.
    fn device_of_jobs(&self, resources: &SlurmSpec) -> Result<&str> {
        match self.devices.name() {
            "auto" if resources.asks_for_gpus() => Ok("cuda"),
            "auto" => Ok("cpu"),
            named => {
                device_list(named)?;
                Ok(named)
            }
        }
    }

    /// The command of every job, without the ids of its runs.
    fn command(&self, device: &str) -> Result<Vec<OsString>> {
        let program = std::env::current_exe()
            .map_err(|e| Error::from(Fault::failed(format!("this program is not found: {e}"))))?;
        let mut command: Vec<OsString> = vec![program.into(), "run".into()];
        command.push(self.spec.spec.clone().into());
        for set in &self.spec.set {
            command.extend(["--set".into(), set.into()]);
        }
        command.extend(["--out".into(), self.out.out.clone().into()]);
        command.extend(["--device".into(), device.into()]);
        if let Some(minutes) = self.checkpoint_minutes {
            command.extend(["--checkpoint-minutes".into(), minutes.to_string().into()]);
        }
        if !self.keep.is_default() {
            command.extend(["--keep".into(), "none".into()]);
        }
        if self.hub.is_unlocked() {
            command.push("--unlocked".into());
        }
        if self.replace {
            command.push("--replace".into());
        }
        if !self.online {
            command.push("--offline".into());
        }
        // A run's last process may be on a node that has failed, which others see two minutes later.
        command.push("--wait".into());
        Ok(command)
    }
}

fn launch_slurm(args: &SlurmArgs) -> Result<()> {
    // The section is needed to know the device, on which the rest of the spec depends.
    let resources = args.resources(&args.spec.load()?.slurm);
    let device = args.device_of_jobs(&resources)?;
    check_time(&resources, args.warning)?;
    let experiment = args.spec.load_for_kind(planned_kind(device)?)?;
    tell_notes(&experiment);
    let folder = args.out.folder(&experiment);
    let mut plan =
        planned(experiment, &folder, &args.hub.open(&args.spec.spec, false)?, &args.spec.spec)?;
    plan.invocation = Invocation::of_process(&args.out.out, &args.spec.set);
    let directory = std::env::current_dir()
        .map_err(|e| Error::from(Fault::failed(format!("the working folder is not known: {e}"))))?;
    let records = directory.join(slurm::folder(&folder));
    for path in [&directory, &records] {
        check_path(path)?;
    }
    // Two launches at once would submit the same runs.
    let _lock = match args.dry_run {
        true => None,
        false => Some(RunLock::new(&records)?.ok_or_else(|| {
            Error::from(
                Fault::failed("another launch of this experiment is under way")
                    .source(shown(folder.path()))
                    .help("wait for its end"),
            )
        })?),
    };
    let submitted = submitted(&folder)?;
    let mut queued = match jobs(&[submitted]) {
        // Where nothing is submitted, there need be no Slurm.
        Err(_) if args.dry_run => BTreeMap::new(),
        asked => asked?.remove(0),
    };
    queued.retain(|_, job| !job.has_ended);
    let is_left = |run: &PlannedRun| {
        let state = folder.run(&run.id).state();
        !state.has_result() && state != RunState::Running && !queued.contains_key(&run.id)
    };
    let stages = stages(&plan, is_left, resources.runs_per_job.unwrap_or(1));
    if stages.is_empty() {
        return print(&format!(
            "{}: nothing to submit; {}\n",
            clean(&plan.experiment.name),
            waiting(&plan, &folder, &queued)
        ));
    }
    let command = args.command(device)?;
    let most = match args.dry_run {
        true => slurm::most_tasks_if_known(),
        false => slurm::most_tasks()?,
    };
    let array = |tasks| Array {
        name: &plan.experiment.name,
        resources: &resources,
        warning: args.warning,
        directory: &directory,
        folder: &records,
        command: &command,
        tasks,
    };
    if args.dry_run {
        return dry_run(&stages, most, array);
    }
    check_change(&plan, &folder, args.replace)?;
    plan.write_to(&folder)?;
    keep_lock(&args.spec.spec, args.hub.is_unlocked(), &folder)?;
    submit(&stages, most, array, &queued, &folder)?;
    print(&format!(
        "logs: {}\nprogress: vlora status {}\n",
        shown(&slurm::folder(&folder)),
        shown(folder.path())
    ))
}

/// Refuses a path that Slurm does not take in a script.
fn check_path(path: &Path) -> Result<()> {
    let is_odd = |c: char| c == '\\' || c.is_control();
    match path.to_str().is_none_or(|text| text.contains(is_odd)) {
        false => Ok(()),
        true => Err(Fault::new("Slurm takes no such path")
            .source(path.display())
            .expected("a path without backslashes and control characters")
            .into()),
    }
}

/// Refuses a time at whose end a job could not keep anything.
fn check_time(resources: &SlurmSpec, warning: u32) -> Result<()> {
    // Slurm may warn a minute too early.
    let least = u64::from(warning) + 120;
    let given = resources.time.as_ref();
    let given = given.and_then(|time| match TimeLimit::parse(time)? {
        TimeLimit::Seconds(seconds) => Some((time, seconds)),
        TimeLimit::Unlimited => None,
    });
    match given.filter(|(_, seconds)| *seconds < least) {
        None => Ok(()),
        Some((time, _)) => Err(Fault::new("a job has no time before it is warned")
            .within("--time")
            .found(format!(
                "{time}, and a warning {warning} s before its end, which Slurm may give a minute early"
            ))
            .expected(format!("at least {} minutes", least.div_ceil(60)))
            .help("a smaller --warning leaves more time")
            .into()),
    }
}

/// Prints the scripts of all arrays.
fn dry_run<'a>(
    stages: &'a [Stage],
    most: usize,
    array: impl Fn(&'a [Bundle]) -> Array<'a>,
) -> Result<()> {
    let mut scripts = Vec::new();
    for (i, stage) in stages.iter().enumerate() {
        for tasks in stage.bundles.chunks(most) {
            let script = array(tasks).script();
            scripts.push(match i {
                0 => script,
                _ => format!("# The next array begins when those before it have ended.\n{script}"),
            });
        }
    }
    print_data(&scripts.join("\n"))
}

/// Submits every stage. The arrays of a stage begin when those of the stage before have ended, and the jobs of
/// an earlier launch that train what their runs start from.
fn submit<'a>(
    stages: &'a [Stage],
    most: usize,
    array: impl Fn(&'a [Bundle]) -> Array<'a>,
    queued: &BTreeMap<String, Job>,
    folder: &ExperimentFolder,
) -> Result<()> {
    let mut before: BTreeSet<u64> = BTreeSet::new();
    let mut submitted = 0;
    for stage in stages {
        let earlier = stage.starts.iter().filter_map(|run| queued.get(run)).map(|job| job.number);
        let after: Vec<u64> =
            before.iter().copied().chain(earlier).collect::<BTreeSet<_>>().into_iter().collect();
        before.clear();
        for tasks in stage.bundles.chunks(most) {
            let runs: usize = tasks.iter().map(Vec::len).sum();
            let job = array(tasks).submit(&after).map_err(|e| {
                e.map_fault(|fault| match submitted {
                    0 => fault,
                    n => fault.help(format!(
                        "{} submitted before; the same command submits the others, when there is room \
                         for them ({})",
                        were(n),
                        shown(folder.path())
                    )),
                })
            })?;
            submitted += runs;
            before.insert(job);
            let wait = match after.is_empty() {
                true => String::new(),
                false => ", after those whose weights they start from".to_string(),
            };
            print(&format!(
                "job {job}: {} in {}{wait}\n",
                several(runs, "run"),
                several(tasks.len(), "task")
            ))?;
        }
    }
    Ok(())
}

/// Why no run is left.
fn waiting(plan: &Plan, folder: &ExperimentFolder, queued: &BTreeMap<String, Job>) -> String {
    let ids: BTreeSet<&str> =
        plan.variants.iter().flat_map(|v| &v.runs).map(|run| run.id.as_str()).collect();
    let (in_slurm, others): (Vec<&str>, Vec<&str>) =
        ids.into_iter().partition(|id| queued.contains_key(*id));
    let mut parts = vec![states(others.iter().map(|id| folder.run(id).state()))];
    if !in_slurm.is_empty() {
        parts.push(format!("{} queued or running in Slurm", in_slurm.len()));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn were(runs: usize) -> String {
    format!("{} {}", several(runs, "run"), if runs == 1 { "was" } else { "were" })
}

fn shown(path: &Path) -> String {
    clean(&PathBuf::from(path).display().to_string())
}
