//! Reads a finished run's model layer by layer: what its head would answer after each of them.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::initial_weights::tested_weights;
use super::plan::Plan;
use super::precision::check_precision;
use crate::error::{Error, Fault, Result, plain};
use crate::nn::configure;
use crate::results::{ExperimentFolder, LayerScores, LogitLens, RunFolder, SCHEMA_VERSION};
use crate::spec::Precision;
use crate::tasks::{Blueprint, Run, Split, Task, TaskVisitor};
use crate::train::evaluate_logit_lens;

/// A finished run whose layers are read.
#[derive(Clone, Copy)]
pub struct Probe<'a> {
    pub plan: &'a Plan,
    pub id: &'a str,
    /// The experiment of the run.
    pub experiment: &'a ExperimentFolder,
    pub split: Split,
}

/// Reads the run's layers on a device, and stores what came of it in the run's folder.
///
/// Errors if the run is not finished, its weights are missing, or it is not in the plan: then the spec or
/// the data are others by now.
pub fn probe(probe: Probe, device: &Device) -> Result<LogitLens> {
    let Probe { plan, id, experiment, split } = probe;
    let folder = experiment.run(id);
    let loaded = tested_weights(&folder)?;
    let (variant, _) = plan.run(id).map_err(|e| e.map_fault(|f| f.file(folder.path())))?;
    check_precision(std::iter::once(&variant.variant), device)?;
    let (spec, data) = (&variant.variant.spec, plan.data(&variant.variant));
    data.expect_examples(split).map_err(|e| e.map_fault(|f| f.file(folder.path())))?;
    configure(device, spec.precision == Precision::Tf32)?;
    let run = Run { spec, seed: 0, device };
    let work = ReadLayers { weights: &loaded.checkpoint.tensors, split, device };
    let layers = data.visit(run, work).map_err(|e| Error::from(Fault::failed(plain(&e))))?;
    if layers.iter().any(|layer| !layer.loss.is_finite()) {
        return Err(Fault::failed("the loss after a layer is not finite")
            .source(folder.path().display())
            .into());
    }
    let logit_lens = LogitLens {
        schema: SCHEMA_VERSION,
        model_sha256: loaded.sha256.clone(),
        program: format!("vlora {}", env!("CARGO_PKG_VERSION")),
        split: split.name().into(),
        examples: data.len(split),
        layers,
    };
    let name = match split {
        Split::Test => RunFolder::TEST_LOGIT_LENS,
        Split::Train | Split::Validation => RunFolder::LOGIT_LENS,
    };
    folder.write_json(name, &logit_lens)?;
    Ok(logit_lens)
}

/// Reads the layers, generic over the task.
struct ReadLayers<'a> {
    weights: &'a BTreeMap<String, Tensor>,
    split: Split,
    device: &'a Device,
}

impl TaskVisitor for ReadLayers<'_> {
    type Output = candle_core::Result<Vec<LayerScores>>;

    fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> Self::Output {
        let (store, model) = blueprint.evaluate(self.device)?;
        store.load(self.weights)?;
        drop(model);
        let layers = evaluate_logit_lens(task, &blueprint.frozen(&store)?, self.split)?;
        let names = task.metrics().iter().map(|metric| metric.name.to_string());
        let scores = layers.into_iter().map(|scores| LayerScores {
            loss: scores.loss,
            metrics: names.clone().zip(scores.metrics).collect(),
        });
        Ok(scores.collect())
    }
}
