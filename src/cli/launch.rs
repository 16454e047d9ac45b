//! `vlora launch`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::hub::LockedHubArgs;
use super::run::{check_change, keep_lock};
use super::{DeviceArgs, OutArgs, SpecArgs, clean, print, several};
use crate::error::{Error, Fault, Result};
use crate::results::{ExperimentFolder, RunState};
use crate::runner::launch::slurm::{self, Array};
use crate::runner::launch::{jobs, stages};
use crate::runner::{Origin, Plan, PlannedRun};
use crate::spec::{SlurmSpec, option_fault, value_fault};
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
    /// The account that pays
    #[arg(long, value_name = "NAME", value_parser = value)]
    account: Option<String>,
    /// The quality of service
    #[arg(long, value_name = "NAME", value_parser = value)]
    qos: Option<String>,
    /// The time of a job, as in 4:00:00; a run that needs more gets further turns
    #[arg(long, value_name = "TIME", value_parser = value)]
    time: Option<String>,
    /// Memory of a job, as in 16G
    #[arg(long, value_name = "SIZE", value_parser = value)]
    mem: Option<String>,
    /// GPUs of a job; a run uses one
    #[arg(long, value_name = "N")]
    gpus: Option<usize>,
    /// Processors of a job
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    cpus: Option<usize>,
    /// Another option of sbatch, as in --option=--constraint=a100; may be given several times
    #[arg(long = "option", value_name = "OPTION", value_parser = option, allow_hyphen_values = true)]
    options: Vec<String>,
    /// Train so many runs in a job, one after another; worth it where runs are short
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    runs_per_job: Option<usize>,
    /// Run at most so many jobs of an array at once
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    at_once: Option<usize>,
    /// Have jobs warned so many seconds before their time ends; within them they leave a checkpoint
    #[arg(long, value_name = "SECONDS", default_value_t = 120,
        value_parser = clap::value_parser!(u32).range(1..=65_535))]
    warning: u32,
    /// Let --set drop runs from the experiment's table, as for `vlora run`
    #[arg(long)]
    replace: bool,
    /// Let jobs ask the Hub. Without it they read its cache, which this command fills
    #[arg(long)]
    online: bool,
    #[command(flatten)]
    hub: LockedHubArgs,
    #[command(flatten)]
    out: OutArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

fn value(text: &str) -> std::result::Result<String, String> {
    expect(text, value_fault(text))
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

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(n) if n >= 1 => Ok(n),
        _ => Err("expected a whole number of at least 1".into()),
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

    /// The command of every job, without the ids of its runs.
    fn command(&self) -> Result<Vec<OsString>> {
        let program = std::env::current_exe()
            .map_err(|e| Error::from(Fault::failed(format!("this program is not found: {e}"))))?;
        let mut command: Vec<OsString> = vec![program.into(), "run".into()];
        command.push(self.spec.spec.clone().into());
        for set in &self.spec.set {
            command.extend(["--set".into(), set.into()]);
        }
        command.extend(["--out".into(), self.out.out.clone().into()]);
        command.extend(["--device".into(), self.device.name().into()]);
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
    let device = args.device.planned()?;
    let experiment = args.spec.load_for_kind(device)?;
    let folder = args.out.folder(&experiment);
    let mut plan = Plan::new(experiment, &folder, &args.hub.open(&args.spec.spec, false)?)?;
    plan.origin = Origin::of_process(&args.out.out, &args.spec.set);
    let resources = args.resources(&plan.experiment.slurm);
    let queued = jobs(&folder);
    let is_left = |run: &PlannedRun| {
        !matches!(run.state, RunState::Finished | RunState::Damaged | RunState::Running)
            && !queued.contains_key(&run.id)
    };
    let stages = stages(&plan, is_left, resources.runs_per_job.unwrap_or(1));
    let runs: usize = stages.iter().flatten().map(Vec::len).sum();
    if runs == 0 {
        return print(&format!(
            "{}: nothing to submit; {}\n",
            clean(&plan.experiment.name),
            waiting(&plan, queued.len())
        ));
    }
    let directory = std::env::current_dir()
        .map_err(|e| Error::from(Fault::failed(format!("the working folder is not known: {e}"))))?;
    let records = directory.join(slurm::folder(&folder));
    let command = args.command()?;
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
        let scripts = stages.iter().flat_map(|tasks| tasks.chunks(most).map(array));
        let scripts: Vec<String> = scripts.map(|array| array.script()).collect();
        return print_data(&scripts.join("\n"));
    }
    check_change(&plan, &folder, args.replace)?;
    plan.write_to(&folder)?;
    keep_lock(&args.spec.spec, args.hub.is_unlocked(), &folder)?;
    submit(&stages, most, array, &folder)?;
    print(&format!(
        "logs: {}\nprogress: vlora status {}\n",
        shown(&slurm::folder(&folder)),
        shown(folder.path())
    ))
}

/// Submits every stage; the arrays of a later one begin when those of the one before have ended.
fn submit<'a>(
    stages: &'a [Vec<Vec<String>>],
    most: usize,
    array: impl Fn(&'a [Vec<String>]) -> Array<'a>,
    folder: &ExperimentFolder,
) -> Result<()> {
    let mut before: Vec<u64> = Vec::new();
    let mut submitted = 0;
    for tasks in stages {
        let mut of_stage = Vec::new();
        for tasks in tasks.chunks(most) {
            let runs: usize = tasks.iter().map(Vec::len).sum();
            let job = array(tasks).submit(&before).map_err(|e| {
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
            of_stage.push(job);
            let after = match before.is_empty() {
                true => String::new(),
                false => ", after those whose weights they start from".to_string(),
            };
            print(&format!(
                "job {job}: {} in {}{after}\n",
                several(runs, "run"),
                several(tasks.len(), "task")
            ))?;
        }
        before = of_stage;
    }
    Ok(())
}

/// Why no run is left.
fn waiting(plan: &Plan, queued: usize) -> String {
    let runs = || plan.variants.iter().flat_map(|v| &v.runs);
    let count = |state| runs().filter(|run| run.state == state).count();
    let parts = [
        (count(RunState::Finished), "finished"),
        (count(RunState::Damaged), "damaged"),
        (count(RunState::Running), "running"),
        (queued, "queued or running in Slurm"),
    ];
    let parts = parts.into_iter().filter(|(n, _)| *n > 0);
    let parts: Vec<String> = parts.map(|(n, what)| format!("{n} {what}")).collect();
    parts.join(", ")
}

fn were(runs: usize) -> String {
    format!("{} {}", several(runs, "run"), if runs == 1 { "was" } else { "were" })
}

fn shown(path: &Path) -> String {
    clean(&PathBuf::from(path).display().to_string())
}
