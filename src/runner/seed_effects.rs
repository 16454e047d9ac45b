//! Whether the seed of a run does anything: another seed must give other initial weights and another order
//! of the training examples. Else means over seeds are means over copies.

use std::collections::BTreeMap;

use candle_core::Device;

use super::plan::{Plan, PlannedRun, PlannedVariant};
use crate::error::{Error, Fault, Result, plain};
use crate::results::SeedEffects;
use crate::tasks::{Blueprint, DataSet, Run, Task, TaskVisitor};

/// Compares how a run begins with how one with another seed would.
pub fn seed_effects(
    plan: &Plan,
    variant: &PlannedVariant,
    run: &PlannedRun,
    device: &Device,
) -> Result<SeedEffects> {
    let spec = &variant.variant.spec;
    let begin = |seed: u64| {
        let work = Begin { seed, device };
        let begun = plan.data(&variant.variant).visit(Run { spec, seed, device }, work);
        begun.map_err(|e| Error::from(Fault::failed(plain(&e))))
    };
    let (beginning, other) = (begin(run.seed)?, begin(run.seed ^ 1)?);
    // Weights that are loaded do not depend on the seed.
    let weights = spec.start.is_none().then(|| beginning.weights != other.weights);
    Ok(SeedEffects { weights, order: beginning.order != other.order })
}

/// How a run begins.
struct Beginning {
    weights: BTreeMap<String, Vec<f32>>,
    /// The examples of each batch of the first epoch.
    order: Vec<Vec<usize>>,
}

struct Begin<'a> {
    seed: u64,
    device: &'a Device,
}

impl TaskVisitor for Begin<'_> {
    type Output = candle_core::Result<Beginning>;

    fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> Self::Output {
        let (store, _) = blueprint.train(self.seed, self.device)?;
        let values = store.snapshot()?.into_iter();
        let weights = values.map(|(name, value)| Ok((name, value.flatten_all()?.to_vec1()?)));
        let order = task.data().epoch(0).into_iter().map(|batch| batch.examples);
        Ok(Beginning {
            weights: weights.collect::<candle_core::Result<_>>()?,
            order: order.collect(),
        })
    }
}
