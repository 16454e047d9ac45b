//! Dense-equivalent sizes: the arms with increments placed on a ladder of dense arms of growing size.

use std::collections::{BTreeMap, BTreeSet};

use super::statistics::{Estimate, FEWEST_RUNGS, Interval, Ladder, Place};
use super::summary::{ArmSummary, FinishedRun, Summary, is_same_test};
use crate::results::VariantRecord;
use crate::spec::{Method, Rank, RunSpec, flatten, last_field};

/// Dense arms that differ from a baseline only in the size of the model, with the baseline.
pub struct DenseLadder<'a> {
    /// What the arms differ in, the last part of each field.
    pub fields: Vec<String>,
    /// By growing size, the baseline included.
    pub rungs: Vec<&'a ArmSummary>,
    pub baseline: &'a ArmSummary,
}

/// An arm with increments on a ladder.
pub struct Placed<'a> {
    pub arm: &'a ArmSummary,
    pub ladder: usize,
    /// The seeds that the arm and all rungs have finished.
    pub seeds: usize,
    pub place: Place,
    pub interval: Option<Interval>,
    /// Parameters of the ladder that one parameter of the increments is worth, over the same layers
    /// without increments.
    pub rate: Option<Estimate>,
}

/// The fields that say how large a model is.
const SIZES: [&str; 4] = ["model.dim", "model.depth", "model.heads", "model.mlp_ratio"];

impl Summary {
    /// The ladders of at least [`FEWEST_RUNGS`] sizes. Arms that differ from the baseline in one field
    /// in common belong to one ladder.
    pub fn ladders(&self) -> Vec<DenseLadder<'_>> {
        let is_finished = |arm: &&ArmSummary| !arm.runs.is_empty();
        let baselines = self.arms.iter().filter(|a| a.variant.arm == self.record.baseline);
        baselines.filter(is_finished).flat_map(|baseline| self.ladders_of(baseline)).collect()
    }

    fn ladders_of<'a>(&'a self, baseline: &'a ArmSummary) -> Vec<DenseLadder<'a>> {
        if baseline.variant.spec.method != Method::Dense {
            return Vec::new();
        }
        let baseline_fields = self.untuned(&baseline.variant.spec);
        let mut groups: Vec<(BTreeSet<String>, Vec<&ArmSummary>)> = Vec::new();
        for arm in self.compared_with(baseline).filter(|arm| !arm.runs.is_empty()) {
            let fields = differing(&baseline_fields, &self.untuned(&arm.variant.spec));
            if fields.is_empty() || !fields.iter().all(|field| SIZES.contains(&field.as_str())) {
                continue;
            }
            // All groups with a field in common become one.
            let (mut fields, mut arms) = (fields, vec![arm]);
            groups.retain(|(other, members)| {
                let is_apart = other.is_disjoint(&fields);
                if !is_apart {
                    fields.extend(other.iter().cloned());
                    arms.extend(members);
                }
                is_apart
            });
            groups.push((fields, arms));
        }
        let ladders = groups.into_iter().filter_map(|(fields, mut rungs)| {
            rungs.push(baseline);
            rungs.sort_by_key(|arm| arm.variant.parameters);
            let sizes: BTreeSet<u64> = rungs.iter().map(|arm| arm.variant.parameters).collect();
            let fields = fields.iter().map(|field| last_field(field).to_string()).collect();
            (sizes.len() >= FEWEST_RUNGS).then_some(DenseLadder { fields, rungs, baseline })
        });
        ladders.collect()
    }

    /// The arms that are compared with this baseline.
    fn compared_with<'a>(
        &'a self,
        baseline: &'a ArmSummary,
    ) -> impl Iterator<Item = &'a ArmSummary> {
        self.compared_arms().filter(|arm| {
            let of_arm = self.record.baseline_of(&arm.variant);
            of_arm.is_some_and(|of_arm| of_arm.label == baseline.variant.label)
        })
    }

    /// Every arm with increments on every ladder of its baseline.
    pub fn placed<'a>(&'a self, ladders: &[DenseLadder<'a>]) -> Vec<Placed<'a>> {
        let mut placed = Vec::new();
        for (number, ladder) in ladders.iter().enumerate() {
            for arm in self.compared_with(ladder.baseline) {
                if arm.variant.spec.method == Method::Vlora {
                    placed.extend(self.place(ladder, number, arm));
                }
            }
        }
        placed
    }

    fn place<'a>(
        &'a self,
        ladder: &DenseLadder,
        number: usize,
        arm: &'a ArmSummary,
    ) -> Option<Placed<'a>> {
        let (rungs, [values]) = self.aligned(ladder, [arm])?;
        let on = Ladder::new(rungs)?;
        let (place, interval) = on.equivalent(&values);
        let (seeds, rate) = (values.len(), self.rate(ladder, arm));
        Some(Placed { arm, ladder: number, seeds, place, interval, rate })
    }

    /// The fields of a spec without those that were tuned.
    fn untuned(&self, spec: &RunSpec) -> BTreeMap<String, String> {
        let mut fields = flatten(spec);
        fields.retain(|field, _| !self.record.tuned.contains(field));
        fields
    }

    /// What is left of an arm's spec without its increments: which layers share weights, and the rest.
    fn bare(&self, variant: &VariantRecord) -> BTreeMap<String, String> {
        let mut spec = variant.spec.clone();
        spec.training.increment_learning_rate = None;
        spec.training.increment_weight_decay = None;
        if let Some(vlora) = &mut spec.vlora {
            vlora.rank = Rank::Of(0);
            vlora.alpha = 1.0;
            vlora.init = Default::default();
            vlora.increment_on = Default::default();
            for target_spec in &mut vlora.targets {
                (target_spec.rank, target_spec.alpha) = (None, None);
            }
        }
        self.untuned(&spec)
    }

    /// The exchange rate of an arm's increments, if there is an arm with the same layers shared.
    fn rate(&self, ladder: &DenseLadder, arm: &ArmSummary) -> Option<Estimate> {
        let shared = self.compared_with(ladder.baseline).find(|other| {
            is_shared(&other.variant)
                && !is_shared(&arm.variant)
                && self.bare(&other.variant) == self.bare(&arm.variant)
        })?;
        let (rungs, [values, without]) = self.aligned(ladder, [arm, shared])?;
        let more = arm.variant.parameters.checked_sub(shared.variant.parameters);
        let more = more.filter(|more| *more > 0)?;
        Ladder::new(rungs)?.exchange_rate(&values, &without, more as f64)
    }

    /// The metric of every rung and of some arms, of the seeds that all of them have finished on the
    /// same data; higher is better.
    #[allow(clippy::type_complexity)]
    fn aligned<const N: usize>(
        &self,
        ladder: &DenseLadder,
        arms: [&ArmSummary; N],
    ) -> Option<(Vec<(u64, Vec<f64>)>, [Vec<f64>; N])> {
        let sign = self.metric().better.sign();
        let all: Vec<&ArmSummary> = ladder.rungs.iter().copied().chain(arms).collect();
        let first = all.first()?;
        let mut columns: Vec<Vec<f64>> = vec![Vec::new(); all.len()];
        for run in &first.runs {
            let same = |arm: &&ArmSummary| {
                arm.runs.iter().find(|other| is_same_test(run, other)).map(metric_of)
            };
            let Some(values) = all.iter().map(same).collect::<Option<Vec<f64>>>() else { continue };
            columns.iter_mut().zip(values).for_each(|(column, value)| column.push(sign * value));
        }
        let of_arms = columns.split_off(ladder.rungs.len()).try_into().ok()?;
        let sizes = ladder.rungs.iter().map(|arm| arm.variant.parameters);
        Some((sizes.zip(columns).collect(), of_arms))
    }

    /// Points (parameters, metric) of the curve through a ladder's means.
    pub fn ladder_points(&self, ladder: &DenseLadder) -> Vec<(f64, f64)> {
        const BETWEEN: usize = 12;
        let Some((rungs, [])) = self.aligned(ladder, []) else { return Vec::new() };
        let sign = self.metric().better.sign();
        let points = Ladder::new(rungs).map(|on| on.points(BETWEEN)).unwrap_or_default();
        points.into_iter().map(|(size, value)| (size, sign * value)).collect()
    }
}

fn metric_of(run: &FinishedRun) -> f64 {
    run.result.test_metric
}

/// The fields in which two specs differ.
fn differing(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> BTreeSet<String> {
    let fields = a.keys().chain(b.keys());
    fields.filter(|field| a.get(*field) != b.get(*field)).cloned().collect()
}

/// Whether its layers are shared without any increment.
fn is_shared(variant: &VariantRecord) -> bool {
    variant.spec.vlora.as_ref().is_some_and(|vlora| !vlora.has_increments())
}
