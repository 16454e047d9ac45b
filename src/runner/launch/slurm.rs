//! Slurm: the runs of a plan as arrays of jobs.
//!
//! Each array has a script, kept in the experiment's folder `slurm/` with the logs and a record of which
//! task trains which runs. Slurm's warning before the time ends makes the program leave a checkpoint; the
//! script then asks for another turn. A node that fails gives no warning: Slurm begins the task again
//! elsewhere, and its runs go on from their newest checkpoints.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::results::{ExperimentFolder, SCHEMA_VERSION, read_json, write_json};
use crate::runner::invocation::shell_word;
use crate::spec::SlurmSpec;

/// Used where Slurm does not report MaxArraySize; this is its default.
const MAX_TASKS: usize = 1001;

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
pub struct ArrayRecord {
    schema: u32,
    job: u64,
    /// The name of its jobs.
    name: String,
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
            format!("--job-name={}", self.job_name()),
            format!("--array=0-{last}{most}"),
            format!("--chdir={}", quoted(&self.directory.display().to_string())),
            format!("--output={}", quoted(&format!("{}/%A_%a.log", escaped(self.folder)))),
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
        let said = said_by(command, &script)?;
        // `job`, or `job;cluster`.
        let number = said.trim().split(';').next().and_then(|job| job.parse().ok());
        let Some(job) = number else {
            return Err(Fault::failed("sbatch did not say which job it made").found(said).into());
        };
        self.record(job, &script).inspect_err(|_| {
            // Else it would be submitted again.
            let mut cancel = Command::new("scancel");
            cancel.arg(job.to_string());
            let _ = said_by(cancel, "");
        })?;
        Ok(job)
    }

    fn record(&self, job: u64, script: &str) -> Result<()> {
        let file = |ending: &str| self.folder.join(format!("{job}.{ending}"));
        write_atomic(&file("sh"), script.as_bytes())?;
        let record = ArrayRecord {
            schema: SCHEMA_VERSION,
            job,
            name: self.job_name(),
            tasks: self.tasks.to_vec(),
        };
        write_json(&file("json"), &record)
    }

    fn job_name(&self) -> String {
        format!("vlora-{}", self.name)
    }
}

/// The rest of a script, behind the list of runs. `wait` ends with each signal that is trapped, so it is
/// repeated until the program has ended. A task is named by its array and number: the job number of an
/// array's last task is that of the whole array.
const TAIL: &str = r#"esac

# As many threads as the job has processors.
export RAYON_NUM_THREADS="${SLURM_CPUS_PER_TASK:-${SLURM_CPUS_ON_NODE:-0}}"

# A task that is started again and again, and keeps no step, must come to an end.
again=
[ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && again=--require-progress

# Before the time ends, Slurm warns: the program leaves a checkpoint, and the task gets another turn.
# SIGTERM comes when the job is cancelled; or preempted, and then Slurm starts it again by itself.
program=
warned=
trap 'warned=yes; [ -n "$program" ] && kill -USR1 "$program" 2>/dev/null' USR1
trap 'warned=; [ -n "$program" ] && kill -TERM "$program" 2>/dev/null' TERM

COMMAND --only "$runs" $again &
program=$!
while :; do
    wait "$program"
    code=$?
    kill -0 "$program" 2>/dev/null || break
done

# 128 and more: ended by a signal; 130 is how vlora says that it was interrupted.
if [ -n "$warned" ] && [ "$code" -ge 128 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" && exec sleep 60
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
    Ok(most.unwrap_or(MAX_TASKS).max(1))
}

/// The same where no Slurm need be.
pub fn most_tasks_if_known() -> usize {
    most_tasks().unwrap_or(MAX_TASKS)
}

/// The jobs of the experiments' runs that Slurm has at the moment, by run id. `records`: the arrays of each
/// experiment. Asks Slurm once, and not at all where no array was submitted.
pub fn jobs(records: &[Vec<ArrayRecord>]) -> Result<Vec<BTreeMap<String, Job>>> {
    let names: BTreeSet<&str> =
        records.iter().flatten().map(|record| record.name.as_str()).collect();
    if names.is_empty() {
        return Ok(vec![BTreeMap::new(); records.len()]);
    }
    let names: Vec<&str> = names.into_iter().collect();
    let mut command = Command::new("squeue");
    // One line for each task: the array, the task's number, state, reason. By name, since another user of
    // the same results may have submitted it.
    command.args(["--noheader", "--array", "--format=%F|%K|%T|%r"]);
    command.arg(format!("--name={}", names.join(",")));
    let said = said_by(command, "")?;
    Ok(records.iter().map(|records| of_runs(records, &said)).collect())
}

/// `said`: the lines of the queue. A task that is not among them has ended.
fn of_runs(records: &[ArrayRecord], said: &str) -> BTreeMap<String, Job> {
    let mut queue: BTreeMap<(u64, usize), (&str, &str)> = BTreeMap::new();
    for line in said.lines() {
        let fields: Vec<&str> = line.trim().splitn(4, '|').collect();
        let [array, task, state, reason] = fields[..] else { continue };
        let (Ok(array), Ok(task)) = (array.parse(), task.parse()) else { continue };
        queue.insert((array, task), (state, if reason == "None" { "" } else { reason }));
    }
    let mut jobs: BTreeMap<String, Job> = BTreeMap::new();
    // Of several arrays with one run, the last one counts.
    for record in records {
        for (task, runs) in record.tasks.iter().enumerate() {
            let name = format!("{}_{task}", record.job);
            let job = match queue.get(&(record.job, task)) {
                Some((state, reason)) => Job {
                    name,
                    number: record.job,
                    state: state.to_string(),
                    reason: reason.to_string(),
                    has_ended: false,
                },
                None => Job {
                    reason: format!("see slurm/{name}.log"),
                    name,
                    number: record.job,
                    state: "ENDED".into(),
                    has_ended: true,
                },
            };
            jobs.extend(runs.iter().map(|run| (run.clone(), job.clone())));
        }
    }
    jobs
}

/// Every array that was submitted, in order. Errors if a record cannot be read: its runs would be submitted
/// again.
pub(super) fn records(folder: &Path) -> Result<Vec<ArrayRecord>> {
    let failed = |e| Error::io("reading", folder, e);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut records = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            records.push(record(&path)?);
        }
    }
    records.sort_by_key(|record: &ArrayRecord| record.job);
    Ok(records)
}

fn record(path: &Path) -> Result<ArrayRecord> {
    const HELP: &str = "once none of its jobs are left, remove the file";
    let record: ArrayRecord = read_json(path).map_err(|e| e.map_fault(|f| f.help(HELP)))?;
    match record.schema {
        SCHEMA_VERSION => Ok(record),
        other => Err(Fault::of_file(path, "the record of jobs is of another version")
            .found(format!("schema {other}"))
            .expected(format!("schema {SCHEMA_VERSION}"))
            .help(HELP)
            .into()),
    }
}

/// What a command of Slurm prints, with `input` as its input.
fn said_by(mut command: Command, input: &str) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |what: &str| Fault::failed(format!("{name}: {what}"));
    // Variables of Slurm change what its commands do, and those of a job that this program runs in would
    // reach the jobs that it submits.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_of_slurm =
            ["SBATCH_", "SQUEUE_", "SLURM_"].iter().any(|prefix| text.starts_with(prefix));
        if is_of_slurm && text != "SLURM_CONF" {
            command.env_remove(&name);
        }
    }
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
        false => {
            let said = text(&output.stderr);
            let fault = failed("Slurm refuses it, or does not answer");
            Err(fault.found_each(said.lines()).help("--dry-run prints the script anywhere").into())
        }
    }
}

/// A folder in the name of a log, where `%` begins a placeholder.
fn escaped(folder: &Path) -> String {
    folder.display().to_string().replace('%', "%%")
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
    fn the_queue_is_read_by_task() {
        let record = |job, tasks| ArrayRecord { schema: 2, job, name: "vlora-x".into(), tasks };
        let records = [record(7, ids(&[&["aa", "bb"], &["cc"]])), record(9, ids(&[&["dd"]]))];
        let said = "7|0|RUNNING|None\n7|1|PENDING|Resources\n8|0|RUNNING|None\n9|N/A|PENDING|x\n\
                    7|5|RUNNING|None\nnonsense";
        let jobs = of_runs(&records, said);
        let job = |name: &str, state: &str, reason: &str| Job {
            name: name.into(),
            number: name.split('_').next().unwrap().parse().unwrap(),
            state: state.into(),
            reason: reason.into(),
            has_ended: state == "ENDED",
        };
        let want = [
            ("aa", job("7_0", "RUNNING", "")),
            ("bb", job("7_0", "RUNNING", "")),
            ("cc", job("7_1", "PENDING", "Resources")),
            ("dd", job("9_0", "ENDED", "see slurm/9_0.log")),
        ];
        assert_eq!(jobs, want.map(|(id, job)| (id.to_string(), job)).into());
    }

    /// Without them, their runs would be submitted a second time.
    #[test]
    fn damaged_records_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(records(&dir.path().join("none")).unwrap().is_empty());
        let write = |text: &str| std::fs::write(dir.path().join("7.json"), text).unwrap();
        let record = |schema: u32| {
            format!(r#"{{"schema": {schema}, "job": 7, "name": "vlora-x", "tasks": [["aa"]]}}"#)
        };
        write(&record(SCHEMA_VERSION));
        assert_eq!(records(dir.path()).unwrap().len(), 1);
        for text in ["", "{", &record(SCHEMA_VERSION + 1)] {
            write(text);
            let error = records(dir.path()).unwrap_err().to_string();
            assert!(error.contains("7.json"), "{error}");
            assert!(error.contains("remove the file"), "{error}");
        }
    }
}
