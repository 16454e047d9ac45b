//! `vlora runs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use indicatif::HumanBytes;

use super::{FormatArgs, FormatName, eprint_line, print_as, several, states};
use crate::error::{Error, Fault, Result};
use crate::report::{Align, Cell, Table, count};
use crate::results::{
    CheckLevel, Deletion, ExperimentFolder, ExperimentRecord, RunFolder, RunResult, RunState,
    SpecRecord, Weights,
};
use crate::runner::rfc3339;
use crate::terminal::confirm;

#[derive(Debug, Args)]
pub struct RunsArgs {
    /// The folder of all results, or of one experiment
    #[arg(default_value = "results")]
    folder: PathBuf,
    /// Remove the folders of stale runs, after showing them and asking
    ///
    /// A run is stale where no experiment.json of the results names it any more, since the spec was
    /// edited. Runs that a process works on, and folders with other files in them, are kept.
    #[arg(long)]
    remove_stale: bool,
    /// With --remove-stale, do not ask
    #[arg(long, requires = "remove_stale")]
    yes: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// A run of an experiment.
struct Run {
    id: String,
    experiment: String,
    folder: RunFolder,
    /// The labels of the arms with this run; empty if the experiment does not name it.
    arms: Vec<String>,
    seed: Option<u64>,
    state: RunState,
    /// Known for finished runs.
    weights: Option<Weights>,
    /// Why the run is damaged.
    damage: Option<Error>,
    result: Option<RunResult>,
    modified: Option<SystemTime>,
    bytes: u64,
    /// No experiment names the run.
    stale: bool,
}

pub fn runs(args: &RunsArgs) -> Result<()> {
    let (shown, tree) = experiments(&args.folder)?;
    let named = Named::by(&tree);
    for damaged in &named.damaged {
        eprint_line(&format!("note: {damaged}"));
    }
    let (mut runs, mut without) = (Vec::new(), Vec::new());
    for folder in &shown {
        match record(folder) {
            Record::Read(record) => runs.extend(runs_of(folder, &record, &named)),
            // Without the record, none of its runs counts as stale.
            Record::Missing | Record::Damaged(_) => {
                runs.extend(folder.run_ids().into_iter().map(|id| run(folder, id, None, false)));
                without.push(name(folder));
            }
        }
    }
    if args.remove_stale {
        return remove(&runs, args, named.damaged.is_empty());
    }
    let mut text = table(&runs).render(args.format.format.into());
    if let FormatName::Table = args.format.format {
        text += &notes(&runs, &without);
    }
    print_as(args.format.format, &text)
}

/// The experiments to show, and all experiments whose records decide which runs are stale.
pub fn experiments(folder: &Path) -> Result<(Vec<ExperimentFolder>, Vec<ExperimentFolder>)> {
    let one = ExperimentFolder::new(folder);
    let (shown, tree) = match one.is_experiment() {
        true => {
            let root = folder.canonicalize().map_err(|e| Error::io("reading", folder, e))?;
            let siblings = root.parent().map(ExperimentFolder::all).unwrap_or_default();
            (vec![one], siblings)
        }
        false => (ExperimentFolder::all(folder), ExperimentFolder::all(folder)),
    };
    match shown.is_empty() {
        false => Ok((shown, tree)),
        true => Err(Fault::new("there are no results here")
            .source(folder.display())
            .found("no folder with an experiment.json or runs/")
            .expected("what `vlora run` fills, results/ unless --out names another")
            .into()),
    }
}

/// The state of an experiment's record.
enum Record {
    Read(Box<ExperimentRecord>),
    Missing,
    /// With the reason.
    Damaged(Error),
}

fn record(folder: &ExperimentFolder) -> Record {
    match folder.read_record() {
        Ok(record) => Record::Read(Box::new(record)),
        Err(_) if !folder.file("experiment.json").exists() => Record::Missing,
        Err(damaged) => Record::Damaged(damaged),
    }
}

/// The runs named by the records of a results tree.
struct Named {
    ids: BTreeSet<String>,
    /// The errors of unreadable records. Such a record may name any run.
    damaged: Vec<Error>,
}

impl Named {
    fn by(tree: &[ExperimentFolder]) -> Named {
        let mut named = Named { ids: BTreeSet::new(), damaged: Vec::new() };
        for folder in tree {
            match record(folder) {
                Record::Read(record) => {
                    named.ids.extend(record.run_ids().into_iter().map(String::from));
                }
                Record::Missing => {}
                Record::Damaged(reason) => named.damaged.push(reason),
            }
        }
        named
    }

    /// Whether no experiment names a run. False if some record is damaged.
    fn is_stale(&self, id: &str) -> bool {
        self.damaged.is_empty() && !self.ids.contains(id)
    }
}

/// The name of an experiment: its folder's.
pub fn name(folder: &ExperimentFolder) -> String {
    let path = folder.path();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The runs that the record names, in its order, then all other runs with a folder.
fn runs_of(folder: &ExperimentFolder, record: &ExperimentRecord, named: &Named) -> Vec<Run> {
    let mut known: Vec<Run> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for variant in &record.variants {
        for (seed, id) in record.seeds.iter().zip(&variant.runs) {
            let place = *places.entry(id.clone()).or_insert_with(|| {
                known.push(run(folder, id.clone(), Some(*seed), false));
                known.len() - 1
            });
            known[place].arms.push(variant.label.clone());
        }
    }
    let others = folder.run_ids().into_iter().filter(|id| !places.contains_key(id));
    let others = others.map(|id| {
        let stale = named.is_stale(&id);
        run(folder, id, None, stale)
    });
    known.into_iter().chain(others.collect::<Vec<_>>()).collect()
}

fn run(experiment: &ExperimentFolder, id: String, seed: Option<u64>, stale: bool) -> Run {
    let folder = experiment.run(&id);
    let spec = || folder.read_json::<SpecRecord>(RunFolder::SPEC).ok().map(|spec| spec.seed);
    let (modified, bytes) = folder.extent();
    let state = folder.state();
    let whole = match state {
        RunState::Finished | RunState::Damaged => Some(folder.verify(CheckLevel::Quick)),
        _ => None,
    };
    let (weights, damage) = match whole {
        None => (None, None),
        Some(Ok(whole)) => (Some(whole.weights), None),
        Some(Err(damage)) => (None, Some(damage)),
    };
    Run {
        seed: seed.or_else(spec),
        state,
        weights,
        damage,
        // A damaged result is only left out here; the report refuses it.
        result: folder.read_json(RunFolder::RESULT).ok(),
        experiment: name(experiment),
        arms: Vec::new(),
        id,
        folder,
        modified,
        bytes,
        stale,
    }
}

fn table(runs: &[Run]) -> Table {
    let mut table = Table::new()
        .column("run", "run", Align::Left)
        .column("experiment", "experiment", Align::Left)
        .column("arm", "arm", Align::Left)
        .column("seed", "seed", Align::Right)
        .column("state", "state", Align::Left)
        .column("metric", "metric", Align::Left)
        .column("test_metric", "test", Align::Right)
        .column("modified", "age", Align::Right)
        .column("bytes", "size", Align::Right)
        .hidden("weights")
        .hidden("stale");
    let now = SystemTime::now();
    for run in runs {
        let state = run.state.name();
        let (instant, age) = match run.modified {
            Some(at) => {
                (rfc3339(seconds_since(SystemTime::UNIX_EPOCH, at)), age(seconds_since(at, now)))
            }
            None => (String::new(), String::new()),
        };
        table.row(vec![
            Cell::text(&run.id),
            Cell::text(&run.experiment),
            if run.arms.is_empty() { Cell::none() } else { Cell::text(run.arms.join(", ")) },
            run.seed.map_or(Cell::none(), |seed| Cell::number(seed, seed.to_string())),
            Cell::number(state, state_text(run)),
            run.result.as_ref().map_or(Cell::none(), |r| Cell::text(&r.metric_name)),
            run.result.as_ref().map_or(Cell::none(), |r| {
                Cell::number(r.test_metric, format!("{:.4}", r.test_metric))
            }),
            if run.modified.is_some() { Cell::number(instant, age) } else { Cell::none() },
            Cell::number(run.bytes, bytes(run.bytes)),
            match run.weights {
                Some(Weights::Present) => Cell::text("whole"),
                Some(Weights::Missing) => Cell::text("missing"),
                None => Cell::none(),
            },
            Cell::number(run.stale, ""),
        ]);
    }
    table
}

/// The state, with remarks on missing weights and staleness.
fn state_text(run: &Run) -> String {
    let mut text = run.state.name().to_string();
    if run.weights == Some(Weights::Missing) {
        text += ", no weights";
    }
    if run.stale {
        text += ", stale";
    }
    text
}

fn seconds_since(before: SystemTime, now: SystemTime) -> u64 {
    now.duration_since(before).map_or(0, |d| d.as_secs())
}

/// `5 min`, `3 h`, `12 d`.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn notes(runs: &[Run], without: &[String]) -> String {
    let total: u64 = runs.iter().map(|run| run.bytes).sum();
    let mut text = format!(
        "\n· {}, {}: {}\n",
        several(runs.len(), "run"),
        bytes(total),
        states(runs.iter().map(|r| r.state))
    );
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.state != RunState::Planned) {
        places.entry(&run.id).or_default().push(&run.experiment);
    }
    for (id, experiments) in places.iter().filter(|(_, experiments)| experiments.len() > 1) {
        text += &format!("· {id} is the same run in {}\n", experiments.join(" and "));
    }
    for experiment in without {
        text += &format!(
            "· {experiment} has no experiment.json that can be read: which of its runs are stale is \
             not known\n"
        );
    }
    for run in runs {
        if let Some(damage) = &run.damage {
            text += &format!("· {} is damaged: {damage}\n", run.id);
        }
    }
    let bare = runs.iter().filter(|run| run.weights == Some(Weights::Missing)).count();
    if bare > 0 {
        text += &format!(
            "· {} without weights (no {}): their results count; `evaluate`, and arms that start \
             from them, need the weights\n",
            several(bare, "finished run"),
            RunFolder::MODEL
        );
    }
    let stale: Vec<&Run> = runs.iter().filter(|run| run.stale).collect();
    if !stale.is_empty() {
        let size = stale.iter().map(|run| run.bytes).sum();
        text += &format!(
            "· {} stale: no experiment.json names them any more; --remove-stale frees {}\n",
            match stale.len() {
                1 => "1 run is".to_string(),
                n => format!("{} runs are", count(n as u64)),
            },
            bytes(size)
        );
    }
    text
}

fn bytes(n: u64) -> String {
    HumanBytes(n).to_string()
}

fn remove(runs: &[Run], args: &RunsArgs, all_known: bool) -> Result<()> {
    let stale: Vec<&Run> = runs.iter().filter(|run| run.stale).collect();
    if stale.is_empty() {
        eprint_line(match all_known {
            true => "no run is stale",
            false => "no run is removed: a damaged experiment.json may name any of them",
        });
        return Ok(());
    }
    for run in &stale {
        let path = run.folder.path().display();
        eprint_line(&format!("{path}  {}  {}", run.state.name(), bytes(run.bytes)));
    }
    let size = bytes(stale.iter().map(|run| run.bytes).sum());
    let question = format!("Remove {} ({size})? [y/N] ", several(stale.len(), "folder"));
    if !args.yes && !confirm(&question)? {
        eprint_line("nothing was removed; --yes removes without a question");
        return Ok(());
    }
    // An experiment may name a run again by the time the question is answered.
    let named = Named::by(&experiments(&args.folder)?.1);
    let (mut removed, mut freed) = (0, 0);
    for run in stale {
        let path = run.folder.path().display();
        if !named.is_stale(&run.id) {
            eprint_line(&format!("{path}: kept, an experiment names it again"));
            continue;
        }
        match run.folder.delete()? {
            Deletion::Done => {
                removed += 1;
                freed += run.bytes;
            }
            Deletion::Running => eprint_line(&format!("{path}: kept, a process works on it")),
            Deletion::Foreign(file) => {
                eprint_line(&format!(
                    "{path}: kept, it holds `{file}`, which is not this program's"
                ));
            }
        }
    }
    eprint_line(&format!("removed {}, {}", several(removed, "folder"), bytes(freed)));
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn ages_are_short() {
        let ages = [5, 61, 7300, 90_000, 86_400 * 40].map(super::age);
        assert_eq!(ages, ["5 s", "1 min", "2 h", "1 d", "40 d"]);
    }
}
