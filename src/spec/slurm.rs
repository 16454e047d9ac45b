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

/// A time limit of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeLimit {
    Unlimited,
    Seconds(u64),
}

impl TimeLimit {
    /// Reads a limit as Slurm does; None for another text. Zero is no limit.
    ///
    /// Source: the manual of sbatch, `--time`: minutes, minutes:seconds, hours:minutes:seconds, days-hours,
    /// days-hours:minutes and days-hours:minutes:seconds.
    pub fn parse(text: &str) -> Option<TimeLimit> {
        if ["unlimited", "infinite"].iter().any(|word| word.eq_ignore_ascii_case(text)) {
            return Some(TimeLimit::Unlimited);
        }
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse::<u64>().ok()).flatten()
        };
        let (days, rest) = match text.split_once('-') {
            Some((days, rest)) => (Some(number(days)?), rest),
            None => (None, text),
        };
        let parts: Vec<u64> = rest.split(':').map(number).collect::<Option<_>>()?;
        let units: &[u64] = match (days, parts.len()) {
            (None, 1) => &[60],
            (None, 2) => &[60, 1],
            (None | Some(_), 3) => &[3600, 60, 1],
            (Some(_), 1) => &[3600],
            (Some(_), 2) => &[3600, 60],
            _ => return None,
        };
        let add = |sum: u64, (part, unit): (&u64, &u64)| sum.checked_add(part.checked_mul(*unit)?);
        let days = days.unwrap_or(0).checked_mul(86_400)?;
        Some(match parts.iter().zip(units).try_fold(days, add)? {
            0 => TimeLimit::Unlimited,
            seconds => TimeLimit::Seconds(seconds),
        })
    }
}

/// What is wrong with a time limit, if anything.
pub fn time_fault(time: &str) -> Option<&'static str> {
    let expected =
        "minutes or hours:minutes:seconds, with days before a `-`, as in `4:00:00` or `1-00:00:00`";
    TimeLimit::parse(time).is_none().then_some(expected)
}

impl SlurmSpec {
    /// Whether jobs ask for a GPU, by `gpus` or by one of the options.
    pub fn asks_for_gpus(&self) -> bool {
        self.gpus.is_some_and(|gpus| gpus > 0)
            || self.options.iter().any(|option| option_asks_for_gpus(option))
    }
}

/// Whether an option of `sbatch` asks for GPUs, as `--gpus=a100:2`, `--gres=gpu:1` and
/// `--tres-per-task=gres/gpu=1` do.
fn option_asks_for_gpus(option: &str) -> bool {
    let Some((name, value)) = option.split_once('=') else { return false };
    // A resource's last part is its number, where there is one.
    let is_any = |resource: &str| resource.rsplit([':', '=']).next() != Some("0");
    let is_gpu = |resource: &&str| {
        let name = resource.strip_prefix("gres/").unwrap_or(resource);
        name.split([':', '=']).next() == Some("gpu")
    };
    // sbatch takes the beginning of a name for the name.
    let begins = |full: &str| full.starts_with(name);
    if name.starts_with("--gpus") {
        return is_any(value);
    }
    let lists_resources = name.len() >= "--gre".len() && begins("--gres")
        || ["--tres-per-node", "--tres-per-socket", "--tres-per-task"].into_iter().any(begins);
    lists_resources && value.split(',').filter(is_gpu).any(is_any)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_limits_are_read_as_slurm_does() {
        for (text, seconds) in [
            ("30", Some(1800)),
            ("5:30", Some(330)),
            ("4:00:00", Some(14_400)),
            ("1-0", Some(86_400)),
            ("1-12:30", Some(131_400)),
            ("1-00:00:01", Some(86_401)),
            ("2-", None),
            ("1:2:3:4", None),
            ("1-1:2:3:4", None),
            ("an hour", None),
            ("-5", None),
            ("+5", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(TimeLimit::parse(text), seconds.map(TimeLimit::Seconds), "{text}");
        }
        for text in ["0", "0:00", "0-0", "UNLIMITED", "infinite"] {
            assert_eq!(TimeLimit::parse(text), Some(TimeLimit::Unlimited), "{text}");
        }
    }

    #[test]
    fn only_options_that_ask_for_gpus_count() {
        for option in [
            "--gpus=1",
            "--gpus=a100:2",
            "--gpus-per-node=1",
            "--gres=gpu",
            "--gres=license:1,gpu:a100:2",
            "--tres-per-task=gres/gpu=1",
            "--tres-per-node=gres/gpu:1",
            "--gre=gpu:1",
            "--gpus-per-n=1",
            "--tres-per-t=gres/gpu=1",
        ] {
            assert!(option_asks_for_gpus(option), "{option}");
        }
        for option in [
            "--gpus=0",
            "--gres=gpu:0",
            "--gres=gpumem:4",
            "--gpu-bind=none",
            "--constraint=nogpu",
            "--exclude=gpu07",
            "--mail-user=me@gpu.org",
        ] {
            assert!(!option_asks_for_gpus(option), "{option}");
        }
    }
}
