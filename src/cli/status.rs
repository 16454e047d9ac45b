//! `vlora status`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use indicatif::HumanDuration;

use super::runs::{experiments, name};
use super::{FormatArgs, FormatName, clean, eprint_line, print_as, states};
use crate::error::{Error, Result};
use crate::report::{Align, Cell, Table, count, percent};
use crate::results::{
    CheckLevel, ExperimentFolder, Failure, LockRecord, Progress, RunFolder, RunState,
};
use crate::runner::launch::{Job, jobs, submitted};
use crate::terminal::redraw;

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The folder of all results, or of one experiment
    #[arg(default_value = "results")]
    folder: PathBuf,
    /// Show it again every N seconds, as in --watch=5, until no run is left to train
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..))]
    watch: Option<u32>,
    #[command(flatten)]
    format: FormatArgs,
}

/// A run that an experiment compares.
struct Run {
    experiment: String,
    id: String,
    arm: String,
    seed: u64,
    state: RunState,
    lock: Option<LockRecord>,
    /// What a scheduler says of it, if it was given to one.
    job: Option<Job>,
    /// Why it failed.
    reason: Option<String>,
}

/// The most runs that are not running in a text table.
const MAX_OTHERS: usize = 20;

pub fn status(args: &StatusArgs) -> Result<()> {
    loop {
        let (shown, _) = experiments(&args.folder)?;
        // Of experiments whose records of jobs are damaged, the others' are still shown.
        let noted = |error: Error| {
            eprint_line(&format!("note: {error}"));
            Vec::new()
        };
        let submitted: Vec<_> =
            shown.iter().map(|folder| submitted(folder).unwrap_or_else(noted)).collect();
        let jobs = jobs(&submitted).unwrap_or_else(|reason| {
            eprint_line(&format!(
                "note: what the scheduler says of the runs is not known: {reason}"
            ));
            vec![BTreeMap::new(); shown.len()]
        });
        let runs: Vec<Run> =
            shown.iter().zip(&jobs).flat_map(|(folder, jobs)| runs_of(folder, jobs)).collect();
        let text = match args.format.format {
            FormatName::Table => text(&runs),
            other => table(&runs.iter().collect::<Vec<_>>()).render(other.into()),
        };
        let is_left = |run: &Run| {
            matches!(run.state, RunState::Planned | RunState::Running | RunState::Interrupted)
        };
        let is_over = !runs.iter().any(is_left);
        match args.watch {
            Some(seconds) if !is_over => {
                redraw(&text)?;
                sleep(Duration::from_secs(seconds.into()));
            }
            Some(_) => return redraw(&text),
            None => return print_as(args.format.format, &text),
        }
    }
}

/// The runs that the experiment compares, each once.
fn runs_of(folder: &ExperimentFolder, jobs: &BTreeMap<String, Job>) -> Vec<Run> {
    let record = match folder.read_record() {
        Ok(record) => record,
        Err(damaged) => {
            eprint_line(&format!("note: {damaged}"));
            return Vec::new();
        }
    };
    let experiment = name(folder);
    let mut seen = BTreeSet::new();
    let mut runs = Vec::new();
    for variant in &record.variants {
        for (seed, id) in record.seeds.iter().zip(&variant.runs) {
            if !seen.insert(id.clone()) {
                continue;
            }
            let run = folder.run(id);
            let (state, lock) = run.state_and_lock();
            let reason = match state {
                RunState::Failed => run.read_json(RunFolder::FAILURE).ok().map(reason_of),
                RunState::Damaged => run.verify(CheckLevel::Quick).err().map(|damage| {
                    damage.to_string().lines().next().unwrap_or_default().to_string()
                }),
                _ => None,
            };
            runs.push(Run {
                experiment: experiment.clone(),
                id: id.clone(),
                arm: variant.label.clone(),
                seed: *seed,
                state,
                lock,
                job: jobs.get(id).filter(|_| state != RunState::Finished).cloned(),
                reason,
            });
        }
    }
    runs
}

/// Why a run failed, and how often, in one line.
fn reason_of(Failure { reason, tries, .. }: Failure) -> String {
    let first = reason.lines().next().unwrap_or_default();
    match tries {
        0 | 1 => first.to_string(),
        tries => format!("{first} ({tries} tries)"),
    }
}

/// A line for each experiment, then the runs that are running or queued and those that need attention.
fn text(runs: &[Run]) -> String {
    let mut text = String::new();
    for group in runs.chunk_by(|a, b| a.experiment == b.experiment) {
        let done = group.iter().filter(|run| run.state == RunState::Finished).count();
        text += &format!(
            "{}: {} of {} finished ({}); {}\n",
            clean(&group[0].experiment),
            count(done as u64),
            count(group.len() as u64),
            percent(done as f64 / group.len() as f64),
            states(group.iter().map(|run| run.state))
        );
    }
    let is_quiet = |run: &&Run| {
        run.state == RunState::Finished || (run.state == RunState::Planned && run.job.is_none())
    };
    let (running, others): (Vec<&Run>, Vec<&Run>) =
        runs.iter().filter(|run| !is_quiet(run)).partition(|run| run.state == RunState::Running);
    let hidden = others.len().saturating_sub(MAX_OTHERS);
    let shown: Vec<&Run> = running.into_iter().chain(others.into_iter().take(MAX_OTHERS)).collect();
    if !shown.is_empty() {
        text += "\n";
        text += &table(&shown).render(crate::report::Format::Table);
    }
    if hidden > 0 {
        text += &format!("… {} more\n", count(hidden as u64));
    }
    text
}

fn table(runs: &[&Run]) -> Table {
    let queued = runs.iter().any(|run| run.job.is_some());
    let mut table = Table::new()
        .column("experiment", "experiment", Align::Left)
        .column("run", "run", Align::Left)
        .column("arm", "arm", Align::Left)
        .column("seed", "seed", Align::Right)
        .column("state", "state", Align::Left)
        .column("step", "steps", Align::Right)
        .hidden("steps")
        .column("steps_per_second", "steps/s", Align::Right)
        .column("seconds_left", "left", Align::Right)
        .column("host", "host", Align::Left)
        .column("process", "process", Align::Right)
        .column_if(queued, "job", "job", Align::Left)
        .column_if(queued, "job_state", "queue", Align::Left)
        .hidden("job_reason")
        .column("reason", "reason", Align::Left);
    for run in runs {
        let progress = run.lock.as_ref().map(|lock| lock.progress).filter(|p| p.steps > 0);
        let rate = progress.and_then(rate);
        let left = progress.zip(rate).map(|(p, rate)| p.steps.saturating_sub(p.step) as f64 / rate);
        let holder = run.lock.as_ref().map(|lock| &lock.holder);
        table.row(vec![
            Cell::text(clean(&run.experiment)),
            Cell::text(&run.id),
            Cell::text(clean(&run.arm)),
            Cell::number(run.seed, run.seed.to_string()),
            Cell::text(run.state.name()),
            progress.map_or(Cell::none(), |p| {
                Cell::number(p.step, format!("{} of {}", count(p.step), count(p.steps)))
            }),
            progress.map_or(Cell::none(), |p| Cell::number(p.steps, "")),
            rate.map_or(Cell::none(), |rate| Cell::number(rate, format!("{rate:.1}"))),
            left.map_or(Cell::none(), |left| {
                let text = HumanDuration(Duration::from_secs_f64(left.min(1e9))).to_string();
                Cell::number(left, text)
            }),
            holder.map_or(Cell::none(), |holder| Cell::text(clean(&holder.host))),
            holder.map_or(Cell::none(), |holder| {
                Cell::number(holder.process, holder.process.to_string())
            }),
            run.job.as_ref().map_or(Cell::none(), |job| Cell::text(clean(&job.name))),
            run.job.as_ref().map_or(Cell::none(), |job| {
                let text = match job.reason.is_empty() {
                    true => job.state.clone(),
                    false => format!("{} ({})", job.state, job.reason),
                };
                Cell::number(job.state.clone(), clean(&text))
            }),
            run.job.as_ref().map_or(Cell::none(), |job| Cell::text(clean(&job.reason))),
            run.reason
                .as_ref()
                .map_or(Cell::none(), |reason| Cell::number(reason.clone(), clean(reason))),
        ]);
    }
    table
}

/// Steps a second of the process that trains the run.
fn rate(progress: Progress) -> Option<f64> {
    (progress.own_steps > 0 && progress.seconds > 0.0)
        .then(|| progress.own_steps as f64 / progress.seconds)
}
