//! The plan of an experiment: its runs with their sizes, steps, FLOPs and states.

use std::collections::BTreeMap;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::checkpoints::{self, Checkpoints};
use super::datasets::Datasets;
use super::invocation::Invocation;
use super::training_checks::{check_training, check_tuning};
use crate::checkpoints::check_conversion;
use crate::error::{Error, Fault, Result};
use crate::hub::Hub;
use crate::models::Cost;
use crate::results::{
    CheckLevel, ExperimentFolder, ExperimentRecord, PrimaryContrast, RunState, SCHEMA_VERSION,
    Started, TaskFields, VariantRecord, Weights,
};
use crate::spec::{Duplicates, Experiment, SpecIdentity, Variant, hex};
use crate::tasks::{Base, Opened, definition};
use crate::train::TrainingLength;

/// An experiment with its data and its runs.
pub struct Plan {
    pub experiment: Experiment,
    pub variants: Vec<PlannedVariant>,
    /// The comparison that is tested alone, as it was named.
    pub primary_contrast: Option<PrimaryContrast>,
    /// Recorded in the provenance of its runs.
    pub invocation: Invocation,
    data: Datasets,
    /// The checkpoints that arms start from.
    pub(super) checkpoints: Checkpoints,
}

/// A variant with its costs and one run per seed.
pub struct PlannedVariant {
    /// Open fields are filled in from the start weights.
    pub variant: Variant,
    /// Extra fields for the provenance of its runs, after those of the data.
    pub fields: TaskFields,
    /// A note on data that are preprocessed like the training data of the start weights.
    pub note: Option<String>,
    /// Further sentences on its data, for the provenance of its runs.
    pub data_notes: Vec<String>,
    /// How the start weights will be changed; None without start weights.
    pub started: Option<Started>,
    pub cost: Cost,
    pub length: TrainingLength,
    /// Units of work of one run's training.
    pub units: f64,
    /// Matrix-product FLOPs of one run's training.
    pub flops: f64,
    pub runs: Vec<PlannedRun>,
}

pub struct PlannedRun {
    pub id: String,
    pub seed: u64,
    pub state: RunState,
    /// Whether the run will be taken over from a sibling experiment, which has finished it.
    pub in_sibling: bool,
}

/// Refuses two arms with the same runs, which a table would count twice. Arms that are matched in size may
/// end up equal, since that is a finding.
fn check_distinct(variants: &[PlannedVariant]) -> Result<()> {
    let mut arms: BTreeMap<&str, &Variant> = BTreeMap::new();
    for PlannedVariant { variant, runs, .. } in variants {
        let Some(first) = runs.first() else { continue };
        let other = arms.entry(&first.id).or_insert(variant);
        let is_matched = !variant.matched.is_empty() || !other.matched.is_empty();
        if other.label != variant.label && !is_matched {
            return Err(Fault::new("two arms are the same")
                .within(format!("arm {}", variant.arm))
                .found(format!(
                    "`{}` and `{}`, which have the same runs, such as {}",
                    other.label, variant.label, first.id
                ))
                .expected("arms that differ in what their runs do")
                .into());
        }
    }
    Ok(())
}

/// Looks up what has become of every run, on all threads: there may be thousands.
fn read_states(variants: &mut [PlannedVariant], folder: &ExperimentFolder) {
    let siblings = folder.siblings();
    // A run is taken over with its weights.
    let has_finished = |e: &ExperimentFolder, id: &str| {
        let run = e.run(id).verify(CheckLevel::Quick);
        run.is_ok_and(|run| run.weights == Weights::Present)
    };
    let runs: Vec<&mut PlannedRun> = variants.iter_mut().flat_map(|v| &mut v.runs).collect();
    runs.into_par_iter().for_each(|run| {
        run.state = folder.run(&run.id).state();
        run.in_sibling =
            !run.state.has_result() && siblings.iter().any(|e| has_finished(e, &run.id));
    });
}

/// The primary contrast of the spec. If the folder's record has the same one, over the same runs, that
/// stays: it was named then. Any change of it, further seeds included, is another one.
fn primary_contrast(
    experiment: &Experiment,
    variants: &[PlannedVariant],
    folder: &ExperimentFolder,
) -> Option<PrimaryContrast> {
    let label = experiment.primary_contrast.clone()?;
    // All trials of an arm, where fields are tuned.
    let planned = |label: &str| {
        let label = label.to_string();
        variants.iter().filter(move |v| v.variant.compared_label() == label)
    };
    let arm = planned(&label).next()?;
    let baseline = experiment.baseline_of(&arm.variant)?.compared_label();
    let runs: Vec<String> = planned(&label)
        .chain(planned(baseline))
        .flat_map(|v| &v.runs)
        .map(|run| run.id.clone())
        .collect();
    let before = folder.read_record().ok().and_then(|record| record.primary_contrast);
    let is_same = |before: &PrimaryContrast| before.label == label && before.runs == runs;
    if let Some(before) = before.filter(is_same) {
        return Some(before);
    }
    let in_folder = folder.run_ids().into_iter().filter(|id| folder.run(id).state().has_result());
    let in_siblings = variants.iter().flat_map(|v| &v.runs).filter(|run| run.in_sibling);
    Some(PrimaryContrast {
        label,
        runs,
        spec_sha256: hex(&Sha256::digest(experiment.source.as_bytes())),
        finished_before: in_folder.count() + in_siblings.count(),
    })
}

/// Looks for test examples that a variant's earlier ones, from which it starts one after another, have seen in
/// training or validation. Errors if there are any, unless the spec keeps duplicates: then the sentence says
/// how many. It names no arms, since a run may be taken over into an experiment that calls them otherwise.
fn seen_by_earlier_runs(
    variant: &Variant,
    planned: &BTreeMap<usize, PlannedVariant>,
    data: &Datasets,
) -> Result<Option<String>> {
    let mut earlier = Vec::new();
    let mut start = variant.start.as_ref();
    while let Some(before) =
        start.and_then(|label| planned.values().find(|v| v.variant.label == *label))
    {
        // `training: none` sees nothing.
        if before.variant.spec.training.trains() {
            earlier.push(&before.variant);
        }
        start = before.variant.start.as_ref();
    }
    let used = data[&variant.spec].used();
    let used_by = |before: &&Variant| data[&before.spec].used();
    let seen = used.tested_after(&earlier.iter().map(used_by).collect::<Vec<_>>());
    if seen == 0 {
        return Ok(None);
    }
    let tests = used.tests();
    if variant.spec.data.files().duplicates == Duplicates::Keep {
        return Ok(Some(format!(
            "Some runs start from others that saw {seen} of these runs' {tests} test examples in training \
             or validation (`duplicates: keep`)."
        )));
    }
    let has_seen = |before: &&&Variant| used.tested_after(&[used_by(before)]) > 0;
    let names = earlier.iter().filter(has_seen).map(|v| format!("`{}`", v.label));
    let names = names.collect::<Vec<_>>().join(" and ");
    Err(Fault::new("the test has examples that were seen before the start")
        .within("start")
        .within(format!("arm {}", variant.arm))
        .found(format!(
            "{seen} of {tests} examples, whole or in part, in the training or validation of {names}"
        ))
        .expected("a test that no arm before it was trained or validated on")
        .help("give all arms of the chain the same parts of the data; `data.duplicates: keep` only counts such examples")
        .into())
}

impl PlannedVariant {
    /// Optimiser steps of one run, if it does not end early.
    pub fn steps(&self) -> u64 {
        self.length.steps as u64
    }

    pub fn record(&self) -> VariantRecord {
        VariantRecord {
            label: self.variant.label.clone(),
            arm: self.variant.arm.clone(),
            point: self.variant.point.clone(),
            parameters: self.cost.parameters,
            trained: self.cost.trained,
            start: self.variant.start.clone(),
            matched: self.variant.matched.clone(),
            trial_of: self.variant.trial_of.clone(),
            spec: self.variant.spec.clone(),
            runs: self.runs.iter().map(|r| r.id.clone()).collect(),
        }
    }
}

impl Plan {
    /// Reads the data and plans every run. Trains nothing and writes nothing.
    pub fn new(experiment: Experiment, folder: &ExperimentFolder, hub: &Hub) -> Result<Plan> {
        let mut data = Datasets::default();
        let mut checkpoints = Checkpoints::new();
        let mut variants: BTreeMap<usize, PlannedVariant> = BTreeMap::new();
        // The id of a run depends on the id of the run that it starts from.
        for index in experiment.in_order_of_start() {
            let mut variant = experiment.variants[index].clone();
            let loaded = data.load(&variant.spec, hub)?;
            let (units, sha256) = (loaded.train_units(), loaded.sha256());
            let batches = loaded.batches_per_epoch(&variant.spec);
            let cost = definition(variant.spec.task).cost(&variant.spec);
            let in_arm = |e: Error| {
                e.map_fault(|fault| fault.under("start").under(format!("arm {}", variant.arm)))
            };
            let checkpoint =
                checkpoints::read(&variant.spec, &mut checkpoints, hub).map_err(in_arm)?;
            let before = variant.start.as_ref();
            let before = variants.values().find(|v| Some(&v.variant.label) == before);
            let base = match (checkpoint, before) {
                (Some(loaded), _) => Some(Base::Checkpoint(loaded)),
                (None, Some(v)) => {
                    let spec = &v.variant.spec;
                    Some(Base::Arm { spec, data: &data[spec] })
                }
                (None, None) => None,
            };
            let settled = data[&variant.spec].settle(&variant.spec, base).map_err(in_arm)?;
            let data_notes: Vec<String> =
                seen_by_earlier_runs(&variant, &variants, &data)?.into_iter().collect();
            if let Some(started) = &settled.started {
                check_conversion(started.conversion, &settled.spec).map_err(in_arm)?;
            }
            data.add_settled(&settled.spec, &variant.spec);
            variant.spec = settled.spec;
            let spec = &variant.spec;
            let identity = SpecIdentity::of(spec);
            let runs = experiment
                .seeds
                .iter()
                .enumerate()
                .map(|(i, &seed)| {
                    let start = before.map(|v| v.runs[i].id.clone());
                    let start = start.or(checkpoint.map(|loaded| loaded.sha256.clone()));
                    let start = start.map(|start| start + &settled.identity);
                    let id = identity.run_id(seed, &sha256, start.as_deref());
                    // Its state is filled in below, by `read_states`.
                    PlannedRun { id, seed, state: RunState::Planned, in_sibling: false }
                })
                .collect();
            let length = TrainingLength::new(&spec.training, batches);
            check_training(&variant, &length, batches)?;
            if variant.spec.training.trains() && !experiment.tuned.is_empty() {
                check_tuning(&variant, &data[spec])?;
            }
            let planned = PlannedVariant {
                fields: settled.fields,
                note: settled.note,
                data_notes,
                started: settled.started,
                variant,
                cost,
                length,
                units: units as f64 * length.in_epochs(),
                flops: cost.training_flops * length.in_epochs() * units as f64,
                runs,
            };
            variants.insert(index, planned);
        }
        let mut variants: Vec<PlannedVariant> = variants.into_values().collect();
        check_distinct(&variants)?;
        read_states(&mut variants, folder);
        let primary_contrast = primary_contrast(&experiment, &variants, folder);
        Ok(Plan {
            experiment,
            variants,
            primary_contrast,
            invocation: Invocation::default(),
            data,
            checkpoints,
        })
    }

    /// The run that `run` of `variant` starts from, and its variant.
    pub fn started_from(
        &self,
        variant: &PlannedVariant,
        run: &PlannedRun,
    ) -> Option<(&PlannedVariant, &PlannedRun)> {
        let label = variant.variant.start.as_ref()?;
        let other = self.variants.iter().find(|v| v.variant.label == *label)?;
        Some((other, other.runs.iter().find(|r| r.seed == run.seed)?))
    }

    /// The run of this id, and its variant. Errors if there is none: then the spec or the data are others
    /// than those that the run was trained with.
    pub fn run(&self, id: &str) -> Result<(&PlannedVariant, &PlannedRun)> {
        let mut runs = self.variants.iter().flat_map(|v| v.runs.iter().map(move |run| (v, run)));
        runs.find(|(_, run)| run.id == id).ok_or_else(|| {
            Fault::new("the run is not in the plan")
                .found(format!("{id}; the spec, the data or the numerics version have changed"))
                .expected(
                    "the spec, the data and the numerics version that the run was trained with",
                )
                .into()
        })
    }

    /// Number of runs, including finished ones.
    pub fn run_count(&self) -> usize {
        self.variants.iter().map(|v| v.runs.len()).sum()
    }

    /// Matrix-product FLOPs of training all runs.
    pub fn flops(&self) -> f64 {
        self.variants.iter().map(|v| v.flops * v.runs.len() as f64).sum()
    }

    /// The data of a variant.
    pub fn data(&self, variant: &Variant) -> &Opened {
        // `new` has loaded the data of every variant.
        &self.data[&variant.spec]
    }

    /// Writes what the experiment compares, and its spec, into its folder.
    pub fn write_to(&self, folder: &ExperimentFolder) -> Result<()> {
        folder.write_record(&self.record())?;
        match self.experiment.source.is_empty() {
            true => Ok(()),
            false => folder.write_spec(&self.experiment.source),
        }
    }

    /// The content of `experiment.json`.
    pub fn record(&self) -> ExperimentRecord {
        let e = &self.experiment;
        ExperimentRecord {
            schema: SCHEMA_VERSION,
            name: e.name.clone(),
            description: e.description.clone(),
            baseline: e.baseline.clone(),
            seeds: e.seeds.clone(),
            primary_contrast: self.primary_contrast.clone(),
            tuned: e.tuned.clone(),
            overrides: self.invocation.overrides.clone(),
            variants: self.variants.iter().map(PlannedVariant::record).collect(),
        }
    }
}
