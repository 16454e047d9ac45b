//! `slurm`: what the jobs of an experiment ask Slurm for. It affects no result.

use serde::{Deserialize, Serialize};

use super::de::from_node;
use super::error::SpecError;
use super::node::{Node, Value};

/// What each job asks for. Values are passed to sbatch as they are; what is left out is left to Slurm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlurmSpec {
    pub partition: Option<String>,
    pub account: Option<String>,
    pub qos: Option<String>,
    /// The time of a job, such as `4:00:00` or `1-00:00:00`. A run that needs more is requeued, and resumes.
    pub time: Option<String>,
    /// Memory of a node, such as `16G`.
    pub mem: Option<String>,
    pub gpus: Option<usize>,
    /// Processors.
    pub cpus: Option<usize>,
    /// Runs that a job trains, one after another. 1 if None.
    pub runs_per_job: Option<usize>,
    /// The most jobs of an array that run at once.
    pub at_once: Option<usize>,
    /// Further options of `sbatch`, such as `--constraint=a100`.
    pub options: Vec<String>,
}

/// Options that a launch sets itself, or that would keep it from knowing its jobs.
const OWN: [&str; 16] = [
    "--array",
    "--chdir",
    "--clusters",
    "--dependency",
    "--error",
    "--hold",
    "--job-name",
    "--no-requeue",
    "--open-mode",
    "--output",
    "--parsable",
    "--requeue",
    "--signal",
    "--test-only",
    "--wait",
    "--wrap",
];

/// What is wrong with an option of `sbatch`, if anything.
pub fn option_fault(option: &str) -> Option<&'static str> {
    let name = option.split('=').next().unwrap_or_default();
    // sbatch takes the beginning of a name for the name.
    let is_reserved = OWN.iter().any(|reserved| reserved.starts_with(name));
    if !option.starts_with("--") || name.len() < 4 {
        Some("a long option of sbatch, as in `--constraint=a100`")
    } else if let Some(expected) = value_fault(option) {
        Some(expected)
    } else if is_reserved {
        Some("an option that the launch does not set itself")
    } else {
        None
    }
}

/// What is wrong with a value that Slurm gets as it is, if anything.
pub fn value_fault(value: &str) -> Option<&'static str> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"'\\#".contains(c);
    match !value.is_empty() && value.chars().all(is_plain) {
        true => None,
        false => Some("text without spaces, quotes, `#` and backslashes"),
    }
}

/// What is wrong with a time limit, if anything.
pub fn time_fault(time: &str) -> Option<&'static str> {
    // [days-]hours[:minutes[:seconds]], or minutes[:seconds].
    let (days, rest) = match time.split_once('-') {
        Some((days, rest)) => (Some(days), rest),
        None => (None, time),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = rest.split(':').collect();
    let is_time =
        days.is_none_or(is_number) && parts.len() <= 3 && parts.into_iter().all(is_number);
    let is_word = ["unlimited", "infinite"].iter().any(|word| word.eq_ignore_ascii_case(time));
    let expected =
        "minutes or hours:minutes:seconds, with days before a `-`, as in `4:00:00` or `1-00:00:00`";
    (!is_time && !is_word).then_some(expected)
}

/// Reads the section; None where it is not given.
pub fn slurm(node: Option<Node>) -> Result<SlurmSpec, SpecError> {
    let Some(node) = node.filter(|node| node.value != Value::Null) else {
        return Ok(SlurmSpec::default());
    };
    let spec: SlurmSpec = from_node(&node)?;
    let at = |field: &str| node.nearest(field).0.origin.clone();
    let SlurmSpec { partition, account, qos, time, mem, .. } = &spec;
    type Check = fn(&str) -> Option<&'static str>;
    let values: [(&str, &Option<String>, Check); 5] = [
        ("partition", partition, value_fault),
        ("account", account, value_fault),
        ("qos", qos, value_fault),
        ("time", time, time_fault),
        ("mem", mem, value_fault),
    ];
    for (field, value, check) in values {
        let fault = value.as_ref().and_then(|value| Some((value, check(value)?)));
        if let Some((value, expected)) = fault {
            return Err(SpecError::new("not a valid value for Slurm")
                .found(format!("`{value}`"))
                .expected(expected)
                .at(at(field)));
        }
    }
    let counts =
        [("runs_per_job", spec.runs_per_job), ("at_once", spec.at_once), ("cpus", spec.cpus)];
    if let Some((field, _)) = counts.iter().find(|(_, n)| *n == Some(0)) {
        return Err(SpecError::new("must be at least 1")
            .found("0")
            .expected("a whole number of at least 1")
            .at(at(field)));
    }
    for (i, option) in spec.options.iter().enumerate() {
        if let Some(expected) = option_fault(option) {
            let list = node.nearest("options").0;
            let origin = list.items().get(i).unwrap_or(list).origin.clone();
            return Err(SpecError::new("not a valid option of sbatch")
                .found(format!("`{option}`"))
                .expected(expected)
                .at(origin));
        }
    }
    Ok(spec)
}
