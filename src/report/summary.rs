//! The evidence of an experiment, summarised by arm and by run.

use std::collections::{BTreeMap, BTreeSet};

pub use super::arm_summary::{ArmSummary, DamagedRun, FinishedRun};
use super::comparison::{Comparison, Examples, Pair, Planned, adjust, bootstrap};
use super::statistics::Spread;
use super::table::reduction;
use super::trials::{Trials, choose};
use crate::error::{Fault, Result};
use crate::results::{
    Better, CheckLevel, EpochRecord, Evidence, EvidenceOf, ExperimentFolder, ExperimentRecord,
    Failure, IntactRun, Metric, Provenance, RunFolder, RunResult, RunState, SCHEMA_VERSION,
    StartRecord, VariantRecord, WorkUnit,
};
use crate::spec::{RunSpec, TrainingSpec, identifying_fields};

/// The metric of an experiment without arms.
const NO_METRIC: Metric = Metric {
    name: "metric",
    unit: "",
    difference_unit: "",
    scale: 1.0,
    decimals: 1,
    better: Better::Higher,
};

/// Everything the tables and charts show.
#[derive(Clone, Debug)]
pub struct Summary {
    pub record: ExperimentRecord,
    /// In the order of the record's variants.
    pub arms: Vec<ArmSummary>,
    /// The trials of each arm; empty where nothing is tuned. `record` and `arms` have the chosen ones.
    pub trials: Vec<Trials>,
    /// Finds how a run's evidence is read, which depends on its task.
    evidence: EvidenceOf,
}

/// Mark of an arm with a run that did not learn.
pub const NOT_LEARNED: &str = "†";
/// Mark of a mean over fewer seeds than those of other arms.
pub const FEWER_SEEDS: &str = "‡";

impl Summary {
    /// Reads every run that the experiment's record on disk names.
    pub fn read(folder: &ExperimentFolder, evidence: EvidenceOf) -> Result<Summary> {
        Summary::of(folder.read_record()?, folder, evidence)
    }

    /// Reads every run that `record` names, and checks that its evidence agrees with itself. A run
    /// whose evidence does not is left out and named.
    pub fn of(
        mut record: ExperimentRecord,
        folder: &ExperimentFolder,
        evidence: EvidenceOf,
    ) -> Result<Summary> {
        if record.schema != SCHEMA_VERSION {
            return Err(Fault::new("the results were written by another version")
                .source(folder.path().display())
                .found(format!("schema {}", record.schema))
                .expected(format!("schema {SCHEMA_VERSION}"))
                .into());
        }
        // A spec has one task, but the record may have been edited by hand.
        let task = |variant: &VariantRecord| variant.spec.task;
        let first = record.variants.first();
        let other = record.variants.iter().find(|v| first.is_some_and(|f| task(f) != task(v)));
        if let (Some(first), Some(other)) = (first, other) {
            return Err(Fault::new("arms of different tasks do not compare")
                .source(folder.file("experiment.json").display())
                .found(format!("`{}` in `{}`", task(other).name(), other.label))
                .expected(format!("`{}`, as in `{}`", task(first).name(), first.label))
                .into());
        }
        let mut arms = Vec::new();
        for variant in &record.variants {
            if variant.runs.len() != record.seeds.len() {
                return Err(Fault::new("the record is damaged")
                    .source(folder.file("experiment.json").display())
                    .found(format!("{} runs of {}", variant.runs.len(), variant.label))
                    .expected(format!("one a seed, {}", record.seeds.len()))
                    .into());
            }
            let mut arm = ArmSummary {
                variant: variant.clone(),
                runs: Vec::new(),
                failures: Vec::new(),
                damaged: Vec::new(),
                unfinished: 0,
                test: None,
                validation: None,
                comparison: None,
                reduction: None,
            };
            for (seed, id) in record.seeds.iter().zip(&variant.runs) {
                let run = folder.run(id);
                match run.state() {
                    RunState::Finished | RunState::Damaged => {
                        let read = evidence(&variant.spec);
                        match finished(read, &run, id, *seed, variant) {
                            Ok(run) => arm.runs.push(run),
                            Err(error) => arm.damaged.push(DamagedRun {
                                id: id.clone(),
                                seed: *seed,
                                reason: error.to_string(),
                            }),
                        }
                    }
                    RunState::Failed => {
                        let failure: Result<Failure> = run.read_json(RunFolder::FAILURE);
                        let reason = failure.map_or_else(|e| e.to_string(), |f| f.reason);
                        arm.failures.push((*seed, reason));
                    }
                    RunState::Planned | RunState::Running | RunState::Interrupted => {
                        arm.unfinished += 1;
                    }
                }
            }
            arms.push(arm);
        }
        leave_out_other_starts(&mut arms, folder);
        for arm in &mut arms {
            let validation: Option<Vec<f64>> = arm.runs.iter().map(|r| r.validation).collect();
            arm.validation = validation.and_then(|metrics| Spread::of(&metrics));
        }
        let has_ended =
            |a: &ArmSummary| !a.runs.is_empty() || !a.failures.is_empty() || !a.damaged.is_empty();
        if !arms.iter().any(has_ended) {
            return Err(Fault::new("no run has ended yet")
                .source(folder.path().display())
                .found("no finished run in runs/")
                .expected("at least one, as `vlora run` leaves it")
                .help("`vlora run` with the spec trains them")
                .into());
        }
        let mut trials = Vec::new();
        if let Some(first) = record.variants.first().filter(|_| !record.tuned.is_empty()) {
            let metric = evidence(&first.spec).primary();
            (arms, trials) = choose(&mut record, arms, metric);
        }
        for arm in &mut arms {
            let metrics: Vec<f64> = arm.runs.iter().map(|r| r.result.test_metric).collect();
            arm.test = Spread::of(&metrics);
        }
        compare(&mut arms, &record);
        for arm in &mut arms {
            let baseline = record.baseline_of(&arm.variant);
            arm.reduction = baseline.map(|b| reduction(arm.variant.parameters, b.parameters));
        }
        Ok(Summary { record, arms, trials, evidence })
    }

    /// The arms that are compared with a baseline, with results or without.
    pub fn compared_arms(&self) -> impl Iterator<Item = &ArmSummary> {
        self.arms.iter().filter(|arm| self.record.baseline_of(&arm.variant).is_some())
    }

    /// As [`pairs`].
    pub fn pairs(&self, arm: &ArmSummary, other: &ArmSummary) -> Vec<Pair> {
        pairs(arm, other)
    }

    pub fn damaged(&self) -> impl Iterator<Item = &DamagedRun> {
        let of_others = self.trials.iter().flat_map(|trials| &trials.damaged);
        self.arms.iter().flat_map(|a| &a.damaged).chain(of_others)
    }

    pub fn runs(&self) -> impl Iterator<Item = &FinishedRun> {
        self.arms.iter().flat_map(|a| &a.runs)
    }

    /// The number of runs that are compared once all have finished.
    pub fn planned_runs(&self) -> usize {
        self.arms.iter().map(|arm| arm.variant.runs.len()).sum()
    }

    /// For each arm, whether it is the baseline.
    pub fn baselines(&self) -> Vec<bool> {
        self.arms.iter().map(|a| a.variant.arm == self.record.baseline).collect()
    }

    /// Whether arms have finished different seeds.
    pub fn seeds_differ(&self) -> bool {
        self.arms.iter().any(|arm| self.has_fewer_seeds(arm))
    }

    /// Whether another arm has finished a seed that this arm has not.
    pub fn has_fewer_seeds(&self, arm: &ArmSummary) -> bool {
        let seeds = arm.seeds();
        !arm.runs.is_empty() && self.runs().any(|run| !seeds.contains(&run.seed))
    }

    /// Whether any arm has frozen parameters.
    pub fn some_frozen(&self) -> bool {
        self.arms.iter().any(|a| a.variant.trained != a.variant.parameters)
    }

    /// Whether arms were computed in different precisions.
    pub fn precisions_differ(&self) -> bool {
        let precision = |a: &ArmSummary| a.variant.spec.precision;
        self.arms.windows(2).any(|pair| precision(&pair[0]) != precision(&pair[1]))
    }

    /// The metrics of the arms' task, the primary one first.
    fn metrics(&self) -> &'static [Metric] {
        self.arms.first().map_or(&[], |arm| self.evidence_of(arm).metrics())
    }

    /// The metric that arms are compared by.
    pub fn metric(&self) -> &'static Metric {
        self.metrics().first().unwrap_or(&NO_METRIC)
    }

    /// The task's metrics except the primary one.
    pub fn other_metrics(&self) -> &'static [Metric] {
        self.metrics().get(1..).unwrap_or_default()
    }

    /// The unit in which training work is counted.
    pub fn work_unit(&self) -> WorkUnit {
        let none = WorkUnit { singular: "example", plural: "examples" };
        self.arms.first().map_or(none, |arm| self.evidence_of(arm).work_unit())
    }

    /// How the evidence of an arm's runs is read.
    pub fn evidence_of(&self, arm: &ArmSummary) -> &'static dyn Evidence {
        (self.evidence)(&arm.variant.spec)
    }
}

/// Reads a finished run and checks its result against the evidence.
fn finished(
    evidence: &dyn Evidence,
    run: &RunFolder,
    id: &str,
    seed: u64,
    variant: &VariantRecord,
) -> Result<FinishedRun> {
    let IntactRun { spec, result, weights } = run.verify(CheckLevel::Thorough)?;
    let epochs: Vec<EpochRecord> = run.read_lines(RunFolder::EPOCHS)?;
    let assessment = evidence.assess(run)?;
    let provenance: Provenance = run.read_json(RunFolder::PROVENANCE)?;
    let start: Option<StartRecord> = match variant.spec.start {
        Some(_) => Some(run.read_json(RunFolder::START)?),
        None => None,
    };
    let verification = run.verification()?;
    // Validation goes first: that of the test split is for whoever asks for it alone.
    // One that cannot be read counts as none: `vlora probe` makes it again.
    let logit_lens = |of_test| run.logit_lens(&result, of_test).ok().flatten();
    let logit_lens = logit_lens(false).or_else(|| logit_lens(true));
    let (metric, scores) = (evidence.primary(), &assessment.scores);
    let mut others = evidence.metrics().iter().zip(&scores.metrics).skip(1);
    let agrees = result.metric_name == metric.name
        && result.test_metric == scores.primary()
        && result.test_loss == scores.loss
        && others.clone().count() == result.test_metrics.len()
        && others.all(|(other, value)| result.test_metrics.get(other.name) == Some(value));
    let checks = [
        (
            RunFolder::SPEC,
            spec.id == id && spec.seed == seed && same_run(&spec.spec, &variant.spec),
        ),
        (RunFolder::EPOCHS, has_all_epochs(&epochs, &result, &variant.spec.training)),
        (RunFolder::EPOCHS, epochs.last().map_or(0, |last| last.step) == result.steps),
        (RunFolder::TEST, assessment.examples == provenance.test_examples),
        (RunFolder::TEST, agrees),
        (RunFolder::RESULT, result.parameters == variant.parameters),
        (RunFolder::RESULT, result.trained == variant.trained),
    ];
    match checks.iter().find(|(_, holds)| !holds) {
        None => {
            let selected = result.tested_epoch(&epochs);
            Ok(FinishedRun {
                id: id.to_string(),
                seed,
                validation: selected.and_then(|epoch| epoch.validation_metric),
                learned: !assessment
                    .trivial()
                    .is_some_and(|trivial| trivial.is_reached_by(metric, result.test_metric)),
                assessment,
                result,
                weights,
                epochs,
                provenance,
                start,
                verification,
                logit_lens,
            })
        }
        Some((file, _)) => Err(Fault::of_file(
            &run.file(file),
            "the run's evidence does not agree with its other files",
        )
        .expected("what `vlora run` writes")
        .help("remove the run's folder, and `vlora run` trains it again")
        .into()),
    }
}

/// Leaves out runs whose start weights differ from those that their source run now has, and runs that
/// start from a run left out so.
fn leave_out_other_starts(arms: &mut [ArmSummary], folder: &ExperimentFolder) {
    let mut tested: BTreeMap<(String, u64), String> = BTreeMap::new();
    for arm in arms.iter() {
        for run in &arm.runs {
            let weights = run.result.model_sha256.clone();
            tested.insert((arm.variant.label.clone(), run.seed), weights);
        }
    }
    let mut left_out: BTreeSet<(String, u64)> = BTreeSet::new();
    let mut before = usize::MAX;
    // Again until nothing is added, since a source may itself start from a run that is left out.
    while before != left_out.len() {
        before = left_out.len();
        for arm in arms.iter_mut() {
            let Some(label) = arm.variant.start.clone() else { continue };
            let is_other = |run: &FinishedRun| {
                let source = (label.clone(), run.seed);
                let started = run.start.as_ref().map(|start| &start.sha256);
                let now = tested.get(&source);
                now.is_some_and(|now| started != Some(now)) || left_out.contains(&source)
            };
            let (others, kept): (Vec<FinishedRun>, Vec<FinishedRun>) =
                std::mem::take(&mut arm.runs).into_iter().partition(is_other);
            arm.runs = kept;
            for run in others {
                let summary = match left_out.contains(&(label.clone(), run.seed)) {
                    true => format!("the run of `{label}` that it started from is left out itself"),
                    false => format!("the run started from other weights than `{label}` now has"),
                };
                let fault = Fault::new(summary)
                    .source(folder.run(&run.id).path().display())
                    .help("remove the run's folder to train it again");
                left_out.insert((arm.variant.label.clone(), run.seed));
                arm.damaged.push(DamagedRun {
                    id: run.id,
                    seed: run.seed,
                    reason: fault.to_string(),
                });
            }
        }
    }
}

/// Whether two specs give the same run. The names of their data and weights may differ.
fn same_run(a: &RunSpec, b: &RunSpec) -> bool {
    identifying_fields(a) == identifying_fields(b)
}

/// Compares each arm with the baseline at the same sweep point.
fn compare(arms: &mut [ArmSummary], record: &ExperimentRecord) {
    let baselines: Vec<Option<&str>> =
        arms.iter().map(|arm| Some(record.baseline_of(&arm.variant)?.label.as_str())).collect();
    let comparisons: Vec<Option<Comparison>> = arms
        .iter()
        .zip(&baselines)
        .map(|(arm, label)| {
            let baseline = arms.iter().find(|b| Some(b.variant.label.as_str()) == *label)?;
            let pairs = pairs(arm, baseline);
            Comparison::of(pairs, arm.variant.runs.len())
        })
        .collect();
    // Between weights that no seed changes there is nothing to test over seeds.
    let fixed = |label: &str| {
        record.variants.iter().any(|variant| variant.label == label && variant.spec.is_fixed())
    };
    let mut planned = Vec::new();
    for ((arm, comparison), baseline) in arms.iter_mut().zip(comparisons).zip(baselines) {
        arm.comparison = comparison;
        if baseline.is_some_and(|baseline| !(arm.variant.spec.is_fixed() && fixed(baseline))) {
            let is_primary = record.is_primary(&arm.variant);
            planned.push(Planned { comparison: arm.comparison.as_mut(), is_primary });
        }
    }
    adjust(planned);
}

/// The runs of two arms with the same seed and the same data. Weights that are only tested are the same for
/// several seeds: two such arms have one pair, not one for each seed.
fn pairs(arm: &ArmSummary, baseline: &ArmSummary) -> Vec<Pair> {
    let mut seen = BTreeSet::new();
    let paired = arm.runs.iter().filter_map(|run| {
        let other = baseline.runs.iter().find(|other| is_same_test(run, other))?;
        if !seen.insert([&run.result.model_sha256, &other.result.model_sha256]) {
            return None;
        }
        let (arm_test, baseline_test) = (&run.assessment, &other.assessment);
        Some(Pair {
            seed: run.seed,
            difference: run.result.test_metric - other.result.test_metric,
            examples: Examples::of(arm_test.correct.as_ref(), baseline_test.correct.as_ref()),
            bootstrap_p: bootstrap(arm_test.statistics.as_ref(), baseline_test.statistics.as_ref()),
        })
    });
    paired.collect()
}

/// Whether two runs have the same seed, data and test examples, so that they can be compared.
pub fn is_same_test(run: &FinishedRun, other: &FinishedRun) -> bool {
    other.seed == run.seed && is_same_examples(run, other)
}

/// Whether two runs have the same data and test examples.
pub fn is_same_examples(run: &FinishedRun, other: &FinishedRun) -> bool {
    other.provenance.data_sha256 == run.provenance.data_sha256
        && other.assessment.examples_hash == run.assessment.examples_hash
}

/// Whether there is a record of every epoch that the training should have had.
fn has_all_epochs(epochs: &[EpochRecord], result: &RunResult, training: &TrainingSpec) -> bool {
    let is_in_order = epochs.iter().zip(1..).all(|(record, epoch)| record.epoch == epoch);
    let is_out_of_patience =
        training.patience.is_some_and(|patience| epochs.len() == result.selected_epoch + patience);
    let is_whole = match training.steps {
        Some(steps) => result.steps == steps as u64,
        None => epochs.len() == training.epochs,
    };
    is_in_order && (is_whole || is_out_of_patience)
}
