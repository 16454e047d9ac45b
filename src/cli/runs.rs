//! `vlora runs`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use indicatif::HumanBytes;

use super::{FormatArgs, FormatName, print_as, several, states, tell};
use crate::error::{Error, Result};
use crate::report::{Align, Cell, Table, count};
use crate::results::{
    Deletion, ExperimentFolder, ExperimentRecord, RunFolder, RunResult, RunState, SpecRecord,
};
use crate::runner::rfc3339;
use crate::terminal::ask;

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
    /// The arms that it is a run of; none where the experiment does not name it.
    arms: Vec<String>,
    seed: Option<u64>,
    state: RunState,
    result: Option<RunResult>,
    modified: Option<SystemTime>,
    bytes: u64,
    /// No experiment names it.
    stale: bool,
}

pub fn runs(args: &RunsArgs) -> Result<()> {
    let (shown, tree) = experiments(&args.folder)?;
    let records = |folders: &[ExperimentFolder]| -> Result<Vec<Option<ExperimentRecord>>> {
        folders.iter().map(record).collect()
    };
    let all = records(&tree)?;
    let named: BTreeSet<&str> = all.iter().flatten().flat_map(|r| r.run_ids()).collect();
    let (mut runs, mut without) = (Vec::new(), Vec::new());
    for (folder, record) in shown.iter().zip(records(&shown)?) {
        match record {
            Some(record) => runs.extend(runs_of(folder, &record, &named)),
            // What it compared is lost: nothing of it counts as stale.
            None => {
                runs.extend(folder.run_ids().into_iter().map(|id| run(folder, id, None, false)));
                without.push(name(folder));
            }
        }
    }
    if args.remove_stale {
        return remove(&runs, args);
    }
    let mut text = table(&runs).render(args.format.format.into());
    if let FormatName::Table = args.format.format {
        text += &notes(&runs, &without);
    }
    print_as(args.format.format, &text)
}

/// The experiments to show, and all those whose records decide what is stale.
fn experiments(folder: &Path) -> Result<(Vec<ExperimentFolder>, Vec<ExperimentFolder>)> {
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
        true => Err(Error::Input(format!(
            "{}: there are no results here\n  found:    no folder with an experiment.json or runs/\n  \
             expected: what `vlora run` fills, results/ unless --out names another",
            folder.display()
        ))),
    }
}

/// None where there is no record; one that is damaged is an error.
fn record(folder: &ExperimentFolder) -> Result<Option<ExperimentRecord>> {
    match folder.file("experiment.json").exists() {
        true => folder.read_record().map(Some),
        false => Ok(None),
    }
}

fn name(folder: &ExperimentFolder) -> String {
    let path = folder.path();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// Those that the record names, in its order, then what else has a folder.
fn runs_of(
    folder: &ExperimentFolder,
    record: &ExperimentRecord,
    named: &BTreeSet<&str>,
) -> Vec<Run> {
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
        let stale = !named.contains(id.as_str());
        run(folder, id, None, stale)
    });
    known.into_iter().chain(others.collect::<Vec<_>>()).collect()
}

fn run(experiment: &ExperimentFolder, id: String, seed: Option<u64>, stale: bool) -> Run {
    let folder = experiment.run(&id);
    let spec = || folder.read_json::<SpecRecord>(RunFolder::SPEC).ok().map(|spec| spec.seed);
    let (modified, bytes) = folder.extent();
    Run {
        seed: seed.or_else(spec),
        state: folder.state(),
        // A damaged one is the report's to refuse; here it only has no value.
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
            Cell::number(state, if run.stale { format!("{state}, stale") } else { state.into() }),
            run.result.as_ref().map_or(Cell::none(), |r| Cell::text(&r.metric_name)),
            run.result.as_ref().map_or(Cell::none(), |r| {
                Cell::number(r.test_metric, format!("{:.4}", r.test_metric))
            }),
            if run.modified.is_some() { Cell::number(instant, age) } else { Cell::none() },
            Cell::number(run.bytes, bytes(run.bytes)),
            Cell::number(run.stale, ""),
        ]);
    }
    table
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
            "· {experiment} has no experiment.json: which of its runs are stale is not known\n"
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

fn remove(runs: &[Run], args: &RunsArgs) -> Result<()> {
    let stale: Vec<&Run> = runs.iter().filter(|run| run.stale).collect();
    if stale.is_empty() {
        tell("no run is stale");
        return Ok(());
    }
    for run in &stale {
        let path = run.folder.path().display();
        tell(&format!("{path}  {}  {}", run.state.name(), bytes(run.bytes)));
    }
    let size = bytes(stale.iter().map(|run| run.bytes).sum());
    let question = format!("Remove {} ({size})? [y/N] ", several(stale.len(), "folder"));
    if !args.yes && !ask(&question)? {
        tell("nothing was removed; --yes removes without a question");
        return Ok(());
    }
    // A run may have been asked for again while the question waited.
    let tree = experiments(&args.folder)?.1;
    let records = tree.iter().map(record).collect::<Result<Vec<_>>>()?;
    let named: BTreeSet<&str> = records.iter().flatten().flat_map(|r| r.run_ids()).collect();
    let (mut removed, mut freed) = (0, 0);
    for run in stale {
        let path = run.folder.path().display();
        if named.contains(run.id.as_str()) {
            tell(&format!("{path}: kept, an experiment names it again"));
            continue;
        }
        match run.folder.delete()? {
            Deletion::Done => {
                removed += 1;
                freed += run.bytes;
            }
            Deletion::Running => tell(&format!("{path}: kept, a process works on it")),
            Deletion::Foreign(file) => {
                tell(&format!("{path}: kept, it holds `{file}`, which is not this program's"));
            }
        }
    }
    tell(&format!("removed {}, {}", several(removed, "folder"), bytes(freed)));
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
