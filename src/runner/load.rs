//! Measures the share of processor time that other programs use while a run is trained. Times of a
//! run on a busy machine must not be compared with those on a free one. Only Linux reports this.
//!
//! /proc/stat (proc(5)) has the busy ticks of each processor; this program's own ticks, from
//! /proc/self/stat, are subtracted. Only processors that this program may use count. A control
//! group (cgroups(7), version 2; for example of a container) may limit the processor time of its
//! processes. Then the other processes of the group also count against that limit, and the larger
//! of the two shares is used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::train::Load;

/// Ticks since the start of the machine or of the process.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sample {
    /// All ticks of the processors that this program may use, including idle ones.
    all: u64,
    /// Non-idle ticks among them.
    busy: u64,
    /// Ticks of this process.
    this_process: u64,
    /// Ticks of each other process of this program, by process id.
    siblings: BTreeMap<u32, u64>,
    /// The control groups of this program that have a limit.
    groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Group {
    /// Processor seconds used so far.
    used: f64,
    /// The number of processors that the group may use.
    limit: f64,
}

/// Ticks per second. Linux always reports in this unit.
const TICKS: f64 = 100.0;

/// Adds up processor use between samples.
pub struct Meter {
    last: Option<Sample>,
    last_time: Instant,
}

impl Meter {
    /// A sample takes about a millisecond, so very short intervals are merged.
    const SHORTEST: Duration = Duration::from_secs(1);

    pub fn start() -> Meter {
        Meter { last: sample(), last_time: Instant::now() }
    }

    /// Adds the use since the last sample to `load`. Does nothing if that was too recent, unless
    /// this is the `last` call.
    pub fn update(&mut self, load: &mut Load, last: bool) {
        if !last && self.last_time.elapsed() < Meter::SHORTEST {
            return;
        }
        let now = sample();
        if let (Some(before), Some(now)) = (&self.last, &now) {
            add(load, before, now, self.last_time.elapsed().as_secs_f64());
        }
        (self.last, self.last_time) = (now, Instant::now());
    }
}

fn add(load: &mut Load, before: &Sample, now: &Sample, seconds: f64) {
    // Counters may jump back after the machine was suspended.
    let since = |f: fn(&Sample) -> u64| f(now).saturating_sub(f(before));
    let (all, busy) = (since(|s| s.all), since(|s| s.busy));
    let this_process = since(|s| s.this_process);
    load.processor_ticks += all;
    let groups = before.groups.iter().zip(&now.groups).map(|(before, now)| {
        let others = now.used - before.used - this_process as f64 / TICKS;
        others / (now.limit * seconds.max(1e-9))
    });
    let in_groups = groups.fold(0.0, f64::max).min(1.0) * all as f64;
    load.other_ticks += busy.saturating_sub(this_process).max(in_groups as u64).min(all);
    let siblings = now.siblings.iter().map(|(process, ticks)| {
        // All ticks of a new process are from this interval.
        ticks.saturating_sub(before.siblings.get(process).copied().unwrap_or(0))
    });
    load.sibling_ticks += siblings.sum::<u64>();
}

/// None if the system does not report it.
fn sample() -> Option<Sample> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let (all, busy) = processors(&fs::read_to_string("/proc/stat").ok()?, &numbers(list)?)?;
    let (name, this_process) = process(&fs::read_to_string("/proc/self/stat").ok()?)?;
    Some(Sample { all, busy, this_process, siblings: siblings(&name), groups: groups() })
}

/// This program's control group and its ancestors, as far as they have a limit.
fn groups() -> Vec<Group> {
    let Ok(text) = fs::read_to_string("/proc/self/cgroup") else { return Vec::new() };
    // In a container the path may point outside the visible tree.
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let path = path.filter(|path| !path.contains(".."));
    let root = Path::new("/sys/fs/cgroup");
    let group = |folder: &Path| {
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        Some(Group { limit: limit(&read("cpu.max")?)?, used: used(&read("cpu.stat")?)? })
    };
    let inside = |folder: &&Path| folder.starts_with(root);
    root.join(path.unwrap_or("")).ancestors().take_while(inside).filter_map(group).collect()
}

/// The number of processors from cpu.max. `200000 100000` is the quota and the period in
/// microseconds; `max 100000` is no limit.
fn limit(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

/// Processor seconds from cpu.stat.
fn used(text: &str) -> Option<f64> {
    let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    Some(micros.trim().parse::<f64>().ok()? / 1e6)
}

/// Parses a list such as `0-3,8`.
fn numbers(list: &str) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

/// All ticks and busy ticks of the processors `which`, from /proc/stat. Its lines are `cpu3 user
/// nice system idle iowait irq softirq steal guest guest_nice`; user already includes guest.
fn processors(stat: &str, which: &BTreeSet<u32>) -> Option<(u64, u64)> {
    let (mut all, mut busy) = (0, 0);
    for line in stat.lines() {
        let Some((number, ticks)) = line.strip_prefix("cpu").and_then(|l| l.split_once(' ')) else {
            continue;
        };
        // The first line sums all processors and has no number.
        if !number.parse().is_ok_and(|number| which.contains(&number)) {
            continue;
        }
        let ticks: Vec<u64> = ticks.split(' ').take(8).map_while(|t| t.parse().ok()).collect();
        let idle: u64 = ticks.get(3..5)?.iter().sum();
        let sum: u64 = ticks.iter().sum();
        all += sum;
        busy += sum - idle;
    }
    (all > 0).then_some((all, busy))
}

/// Name and ticks of a process from its `stat` file: `number (name) state …`, with user and system
/// ticks in fields 14 and 15. The name may contain any characters.
fn process(stat: &str) -> Option<(String, u64)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let name = before.split_once(" (")?.1.to_string();
    let fields: Vec<&str> = after.split(' ').collect();
    let ticks = |i: usize| fields.get(i)?.parse::<u64>().ok();
    Some((name, ticks(11)? + ticks(12)?))
}

/// Ticks of the other processes with this program's name.
fn siblings(name: &str) -> BTreeMap<u32, u64> {
    let this_process = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let numbers = entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let ticks = |number: u32| {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        let (other, ticks) = process(&stat)?;
        (other == name).then_some((number, ticks))
    };
    numbers.filter(|number| *number != this_process).filter_map(ticks).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  300 0 100 600 0 0 0 0 0 0\n\
        cpu0 100 1 50 300 10 2 3 4 99 99\ncpu1 200 0 50 300 0 0 0 0 0 0\nintr 7 8\n";

    #[test]
    fn proc_files_are_parsed() {
        assert_eq!(numbers(" 0-2,5,7-8\n"), Some([0, 1, 2, 5, 7, 8].into()));
        assert_eq!(numbers("all"), None);
        assert_eq!(processors(STAT, &[0].into()), Some((470, 160)));
        assert_eq!(processors(STAT, &[0, 1, 2].into()), Some((1020, 410)));
        assert_eq!(processors(STAT, &[9].into()), None);
        let line = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15\n";
        assert_eq!(process(line), Some(("a) b (c".into(), 11 + 12)));
    }

    #[test]
    fn shares_are_of_the_time_between_samples() {
        let sample = |all, busy, this_process, siblings: &[(u32, u64)]| Sample {
            all,
            busy,
            this_process,
            siblings: siblings.iter().copied().collect(),
            groups: Vec::new(),
        };
        let mut load = Load::default();
        assert_eq!(load.others(), None);
        add(
            &mut load,
            &sample(1000, 500, 100, &[(5, 90)]),
            &sample(1200, 660, 200, &[(5, 90)]),
            1.0,
        );
        assert_eq!((load.others(), load.siblings()), (Some(0.3), Some(0.0)));
        // The next sample has a new process, and a counter that jumped back.
        add(&mut load, &sample(1200, 660, 200, &[]), &sample(1400, 660, 250, &[(6, 40)]), 1.0);
        assert_eq!((load.others(), load.siblings()), (Some(60.0 / 400.0), Some(0.1)));
    }

    #[test]
    fn a_smaller_limit_of_a_control_group_counts() {
        assert_eq!(limit("150000 100000\n"), Some(1.5));
        assert_eq!(limit("max 100000\n"), None);
        assert_eq!(used("usage_usec 2500000\nuser_usec 1\n"), Some(2.5));
        // Ten seconds on 64 processors. The group may use two: this program used one, another half
        // a one.
        let sample = |all, busy, this_process, used| Sample {
            all,
            busy,
            this_process,
            groups: vec![Group { used, limit: 2.0 }],
            ..Sample::default()
        };
        let mut load = Load::default();
        add(&mut load, &sample(0, 0, 0, 7.0), &sample(64_000, 1500, 1000, 22.0), 10.0);
        assert_eq!(load.others(), Some(0.25));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_is_measured() {
        // Some sandboxes do not report processor times.
        if sample().is_none() {
            return;
        }
        let (mut meter, mut load) = (Meter::start(), Load::default());
        // Wait until a tick has passed.
        while load.processor_ticks == 0 {
            meter.update(&mut load, true);
        }
        let others = load.others().unwrap();
        assert!((0.0..=1.0).contains(&others), "{others}");
    }
}
