//! Slurm: the runs of a plan as arrays of jobs.
//!
//! Each array has a script, kept in the experiment's folder `slurm/` with the logs and a record of which
//! task trains which runs. Slurm's warning before the time ends makes the program leave a checkpoint; the
//! script then asks for another turn. A node that fails gives no warning: Slurm begins the task again
//! elsewhere, and its runs go on from their newest checkpoints.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::bundles::Bundle;
use super::job::Job;
use crate::atomic::write_atomic;
use crate::error::{Error, Fault, Result};
use crate::results::{ExperimentFolder, SCHEMA_VERSION, write_json};
use crate::runner::origin::shell_word;
use crate::spec::SlurmSpec;

/// Arrays of a Slurm that does not say how long they may be; its own default.
const MOST_TASKS: usize = 1001;

/// An array of jobs to submit.
pub struct Array<'a> {
    /// The experiment's name.
    pub name: &'a str,
    pub resources: &'a SlurmSpec,
    /// Seconds before the end of a task's time at which Slurm warns it.
    pub warning: u32,
    /// Where the command runs.
    pub directory: &'a Path,
    /// The folder of scripts, logs and records, as an absolute path.
    pub folder: &'a Path,
    /// The command that trains runs, without their ids.
    pub command: &'a [OsString],
    /// The runs of each task.
    pub tasks: &'a [Bundle],
}

/// `slurm/<job>.json`: an array that was submitted.
#[derive(Debug, Serialize, Deserialize)]
struct ArrayRecord {
    schema: u32,
    job: u64,
    /// The ids of the runs of each task, by its number.
    tasks: Vec<Bundle>,
}

/// The folder of an experiment's scripts, logs and records.
pub fn folder(experiment: &ExperimentFolder) -> PathBuf {
    experiment.file("slurm")
}

impl Array<'_> {
    /// The script of all its tasks.
    pub fn script(&self) -> String {
        let SlurmSpec { partition, account, qos, time, mem, gpus, cpus, at_once, options, .. } =
            self.resources;
        let last = self.tasks.len().saturating_sub(1);
        let most = at_once.map_or(String::new(), |n| format!("%{n}"));
        let mut set = vec![
            format!("--job-name=vlora-{}", self.name),
            format!("--array=0-{last}{most}"),
            format!("--chdir={}", quoted(&self.directory.display().to_string())),
            format!("--output={}", quoted(&format!("{}/%A_%a.log", self.folder.display()))),
            // A task that is begun again goes on in its log, and may be begun on another node.
            "--open-mode=append".into(),
            "--requeue".into(),
            format!("--signal=B:USR1@{}", self.warning),
        ];
        let named = [("partition", partition), ("account", account), ("qos", qos), ("time", time)];
        let named = named.into_iter().chain([("mem", mem)]);
        set.extend(named.filter_map(|(name, value)| Some(format!("--{name}={}", value.as_ref()?))));
        let counts = [("gpus", gpus), ("cpus-per-task", cpus)];
        set.extend(counts.iter().filter_map(|(name, n)| Some(format!("--{name}={}", n.as_ref()?))));
        set.extend(options.iter().cloned());
        let mut text = String::from("#!/bin/sh\n");
        for option in set {
            let _ = writeln!(text, "#SBATCH {option}");
        }
        text += "# Made by `vlora launch slurm`.\n\n# Each task trains these runs.\n";
        text += "case \"$SLURM_ARRAY_TASK_ID\" in\n";
        for (task, runs) in self.tasks.iter().enumerate() {
            let _ = writeln!(text, "{task}) runs={} ;;", runs.join(","));
        }
        let command: Vec<String> =
            self.command.iter().map(|word| shell_word(&word.to_string_lossy())).collect();
        let _ = write!(text, "{}", TAIL.replace("COMMAND", &command.join(" ")));
        text
    }

    /// Submits the array, to begin when the jobs `after` have ended. Returns its number.
    pub fn submit(&self, after: &[u64]) -> Result<u64> {
        std::fs::create_dir_all(self.folder)
            .map_err(|e| Error::io("making the folder", self.folder, e))?;
        let script = self.script();
        let mut command = Command::new("sbatch");
        command.arg("--parsable");
        if !after.is_empty() {
            let jobs: Vec<String> = after.iter().map(u64::to_string).collect();
            command.arg(format!("--dependency=afterany:{}", jobs.join(":")));
        }
        // sbatch's own variables would change what the script asks for.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SBATCH_") {
                command.env_remove(name);
            }
        }
        let said = said_by(command, &script)?;
        // `job`, or `job;cluster`.
        let number = said.trim().split(';').next().and_then(|job| job.parse().ok());
        let Some(job) = number else {
            return Err(Fault::failed("sbatch did not say which job it made").found(said).into());
        };
        let file = |ending: &str| self.folder.join(format!("{job}.{ending}"));
        write_atomic(&file("sh"), script.as_bytes())?;
        let record = ArrayRecord { schema: SCHEMA_VERSION, job, tasks: self.tasks.to_vec() };
        write_json(&file("json"), &record)?;
        Ok(job)
    }
}

/// The rest of a script, behind the list of runs. `wait` ends with each signal that is trapped, so it is
/// repeated until the program has ended.
const TAIL: &str = r#"esac

# As many threads as the job has processors.
export RAYON_NUM_THREADS="${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-0}}"

# A task that was begun before must have kept a step since, or it would be begun for ever.
again=
[ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && again=--require-progress

COMMAND --only "$runs" $again &
program=$!

# Before the time ends, Slurm warns: the program leaves a checkpoint, and the task gets another turn.
warned=
trap 'warned=yes; kill -USR1 "$program" 2>/dev/null' USR1
trap 'kill -TERM "$program" 2>/dev/null' TERM
while :; do
    wait "$program"
    code=$?
    kill -0 "$program" 2>/dev/null || break
done

# 130 and more: ended by the signal.
if [ -n "$warned" ] && [ "$code" -ge 128 ]; then
    scontrol requeue "$SLURM_JOB_ID" && exec sleep 60
fi
exit "$code"
"#;

/// How many tasks an array may have.
pub fn most_tasks() -> Result<usize> {
    let mut command = Command::new("scontrol");
    command.args(["show", "config"]);
    let said = said_by(command, "")?;
    let line = said.lines().find_map(|line| line.trim().strip_prefix("MaxArraySize"));
    let most = line.and_then(|line| line.trim_start().strip_prefix('=')?.trim().parse().ok());
    Ok(most.unwrap_or(MOST_TASKS).max(1))
}

/// The same where no Slurm need be.
pub fn most_tasks_if_known() -> usize {
    most_tasks().unwrap_or(MOST_TASKS)
}

/// The jobs of an experiment's runs that Slurm has at the moment, by run id.
pub fn jobs(experiment: &ExperimentFolder) -> BTreeMap<String, Job> {
    let records = records(&folder(experiment));
    if records.is_empty() {
        return BTreeMap::new();
    }
    let mut command = Command::new("squeue");
    // One line for each task: the array, the task's number, state, reason.
    command.args(["--me", "--noheader", "--array", "--format=%F|%K|%T|%r"]);
    let Ok(said) = said_by(command, "") else { return BTreeMap::new() };
    queued(&records, &said)
}

fn queued(records: &BTreeMap<u64, Vec<Bundle>>, said: &str) -> BTreeMap<String, Job> {
    let mut jobs = BTreeMap::new();
    for line in said.lines() {
        let fields: Vec<&str> = line.trim().splitn(4, '|').collect();
        let [array, task, state, reason] = fields[..] else { continue };
        let (Ok(job), Ok(number)) = (array.parse::<u64>(), task.parse::<usize>()) else { continue };
        let Some(runs) = records.get(&job).and_then(|tasks| tasks.get(number)) else { continue };
        let reason = if reason == "None" { "" } else { reason };
        let known =
            Job { name: format!("{job}_{number}"), state: state.into(), reason: reason.into() };
        jobs.extend(runs.iter().map(|run| (run.clone(), known.clone())));
    }
    jobs
}

/// The tasks of every array that was submitted, by its number.
fn records(folder: &Path) -> BTreeMap<u64, Vec<Bundle>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return BTreeMap::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let of_json = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let record = |path: PathBuf| -> Option<ArrayRecord> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    };
    of_json.filter_map(record).map(|record| (record.job, record.tasks)).collect()
}

/// What a command of Slurm prints, with `input` as its input.
fn said_by(mut command: Command, input: &str) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |what: &str| Fault::failed(format!("{name}: {what}"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::from(
            Fault::failed("there is no Slurm on this machine")
                .found(format!("no program `{name}`"))
                .help("run this where jobs are submitted; --dry-run prints the script anywhere"),
        ),
        _ => failed("the program cannot be started").found(e).into(),
    })?;
    if let Some(mut pipe) = child.stdin.take() {
        // One that does not read its input has failed, and says why.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output();
    let output = output.map_err(|e| Error::from(failed("no answer").found(e)))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(failed("refused by Slurm").found(text(&output.stderr)).into()),
    }
}

/// The value of an option in a script's head, where Slurm reads quotes and backslashes.
fn quoted(value: &str) -> String {
    match value.contains(|c: char| c.is_whitespace() || "\"'\\#".contains(c)) {
        true => format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"")),
        false => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(tasks: &[&[&str]]) -> Vec<Bundle> {
        tasks.iter().map(|task| task.iter().map(|id| id.to_string()).collect()).collect()
    }

    #[test]
    fn a_script_asks_for_what_the_spec_says_and_quotes_what_it_must() {
        let resources = SlurmSpec {
            partition: Some("gpu".into()),
            time: Some("1-00:00:00".into()),
            gpus: Some(1),
            at_once: Some(4),
            options: vec!["--constraint=a100|h100".into()],
            ..SlurmSpec::default()
        };
        let command = ["/a b/vlora", "run", "it's.yaml", "--set", "seeds=[0, 1]"];
        let array = Array {
            name: "tiny",
            resources: &resources,
            warning: 60,
            directory: Path::new("/home/a b"),
            folder: Path::new("/home/a b/results/tiny/slurm"),
            command: &command.map(OsString::from),
            tasks: &ids(&[&["aa", "bb"], &["cc"]]),
        };
        insta::assert_snapshot!(array.script());
    }

    #[test]
    fn the_queue_is_read_by_task() {
        let records = BTreeMap::from([(7, ids(&[&["aa", "bb"], &["cc"]])), (9, ids(&[&["dd"]]))]);
        let said = "7|0|RUNNING|None\n7|1|PENDING|Resources\n8|0|RUNNING|None\n9|N/A|PENDING|x\n7|5|RUNNING|None\nnonsense";
        let jobs = queued(&records, said);
        let job = |name: &str, state: &str, reason: &str| Job {
            name: name.into(),
            state: state.into(),
            reason: reason.into(),
        };
        let want = [
            ("aa", job("7_0", "RUNNING", "")),
            ("bb", job("7_0", "RUNNING", "")),
            ("cc", job("7_1", "PENDING", "Resources")),
        ];
        assert_eq!(jobs, want.map(|(id, job)| (id.to_string(), job)).into());
    }
}
