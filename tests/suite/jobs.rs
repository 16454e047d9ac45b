//! Several runs at once: the same results, in their order, whatever happens to one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use candle_core::Device;
use vlora::error::{Error, Fault};
use vlora::hub::Hub;
use vlora::results::{ExperimentFolder, Provenance, RunFolder, RunResult, RunState};
use vlora::runner::{Observer, Outcome, Plan, PlannedRun, PlannedVariant, WorkerOptions, execute};
use vlora::train::Step;

use crate::common::program::{folder_with, vlora};
use crate::common::results::{json, run_folders};
use crate::common::spec::{Spec, TINY, parsed};
use crate::common::workers::{ALONE, at_once};

fn plan(dir: &Path, text: &str, overrides: &[&str]) -> Plan {
    let experiment = parsed(text, overrides).unwrap();
    Plan::new(experiment, &ExperimentFolder::new(dir), &Hub::default()).unwrap()
}

/// Which runs were under way at once, and how they ended.
#[derive(Default)]
struct Watch {
    under_way: BTreeSet<String>,
    most: usize,
    ended: Vec<String>,
    steps: BTreeMap<String, u64>,
}

impl Observer for Watch {
    fn run_started(&mut self, _: &PlannedVariant, run: &PlannedRun, _: u64) {
        assert!(self.under_way.insert(run.id.clone()), "a run was started twice");
        self.most = self.most.max(self.under_way.len());
    }

    fn step(&mut self, run: &PlannedRun, step: &Step) {
        assert!(self.under_way.contains(&run.id));
        let before = self.steps.insert(run.id.clone(), step.record.step);
        // The first that is seen of a resumed run is not its first.
        assert!(before.is_none_or(|n| n + 1 == step.record.step), "a step of another run");
    }

    fn run_ended(&mut self, variant: &PlannedVariant, run: &PlannedRun, _: &Outcome) {
        self.under_way.remove(&run.id);
        self.ended.push(variant.variant.label.clone());
    }
}

fn run(
    dir: &Path,
    text: &str,
    set: &[&str],
    workers: WorkerOptions,
) -> (Plan, Vec<Outcome>, Watch) {
    let (plan, folder) = (plan(dir, text, set), ExperimentFolder::new(dir));
    let mut watch = Watch::default();
    let outcomes = execute(&plan, &folder, workers, &AtomicBool::new(false), &mut watch).unwrap();
    (plan, outcomes, watch)
}

/// The hashes of the models in the order of outcomes.
fn hashes(outcomes: &[Outcome]) -> Vec<String> {
    let hash = |outcome: &Outcome| match outcome {
        Outcome::Finished(result) => result.model_sha256.clone(),
        other => panic!("{other:?}"),
    };
    outcomes.iter().map(hash).collect()
}

#[test]
fn runs_at_once_end_in_the_bits_of_runs_alone() {
    let sweep = Spec::tiny().set("sweep={vlora.rank: [1, 2, 3]}").text();
    let (alone, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let set = ["seeds=[0, 1]"];
    let (plan, want, watch) = run(alone.path(), &sweep, &set, ALONE);
    assert_eq!((want.len(), watch.most), (8, 1));
    let (_, got, watch) = run(beside.path(), &sweep, &set, at_once(3));
    assert_eq!(hashes(&got), hashes(&want));
    assert_eq!(watch.most, 3, "no three runs were under way at once");
    for run in plan.variants.iter().flat_map(|v| &v.runs) {
        for file in [RunFolder::STEPS, RunFolder::EPOCHS, RunFolder::TEST] {
            let read =
                |dir: &Path| fs::read(ExperimentFolder::new(dir).run(&run.id).file(file)).unwrap();
            assert!(read(alone.path()) == read(beside.path()), "{file} differs");
        }
        let beside: Provenance = ExperimentFolder::new(beside.path())
            .run(&run.id)
            .read_json(RunFolder::PROVENANCE)
            .unwrap();
        assert_eq!(beside.sessions.iter().map(|s| s.jobs).collect::<Vec<_>>(), [3]);
    }
}

/// What waits for another run comes behind it, also where it was written before it.
#[test]
fn a_run_waits_for_the_one_it_starts_from() {
    let spec = Spec::tiny().arms(
        "
        tuned: {method: vlora, start: {arm: vlora}, lora: {rank: 2}}
        twice: {start: {arm: tuned}}
        baseline: {method: dense}
        vlora: {method: vlora}
        compressed: {method: vlora, start: {arm: baseline}}",
    );
    let text = spec.text();
    let (alone, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, want, _) = run(alone.path(), &text, &[], ALONE);
    let (_, got, watch) = run(beside.path(), &text, &[], at_once(4));
    assert_eq!(hashes(&got), hashes(&want));
    let place = |label: &str| watch.ended.iter().position(|l| l == label).unwrap();
    for (before, behind) in [("vlora", "tuned"), ("tuned", "twice"), ("baseline", "compressed")] {
        assert!(place(before) < place(behind), "{:?}", watch.ended);
    }
}

#[test]
fn a_run_that_fails_leaves_those_beside_it_alone() {
    let spec = Spec::tiny().arms(
        "
        baseline: {method: dense}
        wild: {training: {learning_rate: 1.0e+30, warmup_ratio: 0}}
        on-wild: {start: {arm: wild}, lora: {rank: 2}}
        vlora: {method: vlora}",
    );
    let dir = tempfile::tempdir().unwrap();
    let (_, outcomes, _) = run(dir.path(), &spec.text(), &[], at_once(3));
    let [Outcome::Finished(_), Outcome::Failed(wild), Outcome::Failed(on), Outcome::Finished(_)] =
        outcomes.as_slice()
    else {
        panic!("{outcomes:?}")
    };
    assert!(wild.contains("stopped being finite"), "{wild}");
    assert_eq!(on, "it starts from `wild`, whose run with seed 0 has failed");
}

/// Two arms that come to the same run: the second finds it finished.
#[test]
fn equal_runs_take_turns() {
    let spec = Spec::tiny().arms(
        "
        baseline: {method: dense}
        shallow: {match: {arm: vlora, by: depth}}
        again: {match: {arm: vlora, by: depth}}
        vlora: {method: vlora}",
    );
    let dir = tempfile::tempdir().unwrap();
    let (plan, outcomes, _) = run(dir.path(), &spec.text(), &[], at_once(3));
    assert_eq!(plan.variants[1].runs[0].id, plan.variants[2].runs[0].id);
    let [
        Outcome::Finished(_),
        Outcome::Finished(a),
        Outcome::AlreadyFinished(b),
        Outcome::Finished(_),
    ] = outcomes.as_slice()
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!(a, b);
}

/// Raises the flag.
struct StopAt<'a> {
    /// Once so many runs have taken so many steps each.
    runs: usize,
    steps: usize,
    taken: BTreeMap<String, usize>,
    stop: &'a AtomicBool,
    after: BTreeMap<String, usize>,
}

impl Observer for StopAt<'_> {
    fn step(&mut self, run: &PlannedRun, _: &Step) {
        if self.stop.load(Ordering::Relaxed) {
            *self.after.entry(run.id.clone()).or_default() += 1;
        }
        *self.taken.entry(run.id.clone()).or_default() += 1;
        if self.taken.values().filter(|taken| **taken >= self.steps).count() >= self.runs {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn an_interrupt_stops_all_and_the_same_command_goes_on() {
    let set = ["training.epochs=3", "seeds=[0, 1]"];
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_, want, _) = run(whole.path(), TINY, &set, ALONE);

    let (interrupted, folder) =
        (plan(parts.path(), TINY, &set), ExperimentFolder::new(parts.path()));
    let stop = AtomicBool::new(false);
    // Sixty steps an epoch, two runs at once.
    let (taken, after) = (BTreeMap::new(), BTreeMap::new());
    let mut observer = StopAt { runs: 2, steps: 65, taken, stop: &stop, after };
    let stopped = execute(&interrupted, &folder, at_once(2), &stop, &mut observer);
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(observer.after.values().all(|steps| *steps <= 1), "{:?}", observer.after);
    let states: Vec<RunState> = interrupted
        .variants
        .iter()
        .flat_map(|v| &v.runs)
        .map(|r| folder.run(&r.id).state())
        .collect();
    let count = |state| states.iter().filter(|s| **s == state).count();
    assert_eq!((count(RunState::Interrupted), count(RunState::Planned)), (2, 2), "{states:?}");

    let (_, got, _) = run(parts.path(), TINY, &set, at_once(2));
    assert_eq!(hashes(&got), hashes(&want));
}

/// Every worker has a device of its own; one that cannot be had ends the command, not its runs.
#[test]
fn every_worker_makes_its_device() {
    let dir = tempfile::tempdir().unwrap();
    let made = AtomicUsize::new(0);
    let numbers = Mutex::new(Vec::new());
    let device = |worker: usize| {
        made.fetch_add(1, Ordering::Relaxed);
        numbers.lock().unwrap().push(worker);
        Ok(Device::Cpu)
    };
    let text = Spec::tiny().set("sweep={vlora.rank: [1, 2]}").text();
    run(dir.path(), &text, &[], WorkerOptions::new(2, &device));
    assert_eq!(made.load(Ordering::Relaxed), 2);
    let mut of_two = std::mem::take(&mut *numbers.lock().unwrap());
    of_two.sort();
    assert_eq!(of_two, [0, 1]);
    // No more than there are runs.
    run(dir.path(), &text, &[], WorkerOptions::new(9, &device));
    assert_eq!(made.load(Ordering::Relaxed), 2 + 3);

    let dir = tempfile::tempdir().unwrap();
    let device = |_| match made.fetch_add(1, Ordering::Relaxed) {
        6 => Err(Fault::failed("the second device is gone").into()),
        _ => Ok(Device::Cpu),
    };
    let (plan, folder) = (plan(dir.path(), TINY, &[]), ExperimentFolder::new(dir.path()));
    let workers = WorkerOptions::new(2, &device);
    let told = execute(&plan, &folder, workers, &AtomicBool::new(false), &mut Watch::default());
    let told = told.unwrap_err().to_string();
    assert_eq!(told, "the second device is gone");
    let failed = |id: &str| folder.run(id).state() == RunState::Failed;
    assert!(!plan.variants.iter().flat_map(|v| &v.runs).any(|r| failed(&r.id)));
}

#[test]
fn lines_name_the_run_and_the_table_says_what_was_not_measured() {
    let dir = folder_with(TINY);
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "--jobs", "2", "--set", "seeds=[0, 1]"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let lines: Vec<&str> = ran.err.lines().collect();
    assert_eq!(lines.len(), 12, "{}", ran.err);
    for name in ["baseline seed 0", "baseline seed 1", "vlora seed 0", "vlora seed 1"] {
        let of_run: Vec<&&str> = lines.iter().filter(|l| l.contains(&format!("{name}:"))).collect();
        assert_eq!(of_run.len(), 3, "{name}: {}", ran.err);
        assert!(of_run[1].starts_with(&format!("      {name}: epoch 1/1: training loss")));
    }
    for part in ["[1/4] ", "[2/4] ", "[4/4] "] {
        assert!(ran.err.contains(part), "{part} is missing in {}", ran.err);
    }
    assert!(ran.out.contains("2 runs at once"), "{}", ran.out);
    assert!(ran.out.contains("their peak memory was not counted"), "{}", ran.out);
    for run in run_folders(&dir.path().join("results/tiny")) {
        let result = json(&run.join(RunFolder::RESULT));
        let result: RunResult = serde_json::from_value(result).unwrap();
        assert_eq!(result.peak_bytes, None);
    }
    for jobs in ["0", "257"] {
        let ran = vlora(dir.path(), &["run", "tiny.yaml", "--jobs", jobs]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains("--jobs: not a number of runs at once"), "{}", ran.err);
        assert!(ran.err.contains("a whole number from 1 to 256"), "{}", ran.err);
    }
    // A negative number is a value, too, and no option.
    let ran = vlora(dir.path(), &["run", "tiny.yaml", "--jobs", "-1"]);
    let told = "invalid value '-1' for '--jobs <N>': expected a whole number";
    assert!(ran.code == 2 && ran.err.contains(told), "{}", ran.err);
}
