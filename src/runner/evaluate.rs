//! A checkpoint's metrics on a spec's data, without training.
//!
//! Everything that decides a test result is as in the run that a spec stands for: the data and their
//! normalisation, the size of batches, the precision. So a run's own checkpoint has the outcomes of
//! its `test.jsonl`, to the bit.

use std::path::Path;

use candle_core::Device;

use super::precision::check_precision;
use crate::checkpoints::{Checkpoint, Hints, Loaded, check_model};
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::nn::configure;
use crate::results::{Metric, RunFolder, lines};
use crate::spec::{
    Experiment, Method, Precision, RunSpec, StartHead, StartSpec, Variant, flatten, nearest,
};
use crate::tasks::{Base, Blueprint, Opened, Run, Settled, Split, Task, Work, definition};
use crate::train;

/// What a checkpoint does on a split.
pub struct Evaluated {
    /// The metrics of its task with their values, the primary one first.
    pub metrics: Vec<(&'static Metric, f64)>,
    pub loss: f64,
    pub examples: usize,
    /// The outcomes in the split's order, in the form of `test.jsonl`.
    pub outcomes: Vec<u8>,
    pub parameters: u64,
    /// What was done to the data and to the checkpoint, a clause each.
    pub notes: Vec<String>,
}

/// The variants of an experiment that `arm` names, by the arm's name or by a variant's label; all
/// of them where it is None.
pub fn named<'a>(experiment: &'a Experiment, arm: Option<&str>) -> Result<Vec<&'a Variant>> {
    let Some(name) = arm else { return Ok(experiment.variants.iter().collect()) };
    let is_named = |v: &&Variant| v.arm == name || v.label == name;
    let found: Vec<&Variant> = experiment.variants.iter().filter(is_named).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let labels: Vec<&str> = experiment.variants.iter().map(|v| v.label.as_str()).collect();
    let help = match nearest(name, labels.iter().copied()) {
        Some(near) => format!("\n  help:     did you mean `{near}`?"),
        None => String::new(),
    };
    Err(Error::Input(format!(
        "--arm: there is no such arm\n  found:    `{name}`\n  expected: one of {}{help}",
        labels.join(", ")
    )))
}

/// What a file may not say of its model, where all `variants` agree on it.
pub fn hints(variants: &[&Variant], heads: Option<usize>, alpha: Option<f64>) -> Hints {
    let common = variants.first().map(|v| v.spec.model.heads());
    let common = common.filter(|heads| variants.iter().all(|v| v.spec.model.heads() == *heads));
    Hints { heads: heads.or(common), alpha, ..Hints::default() }
}

/// The one of `variants` on whose data and in whose way the checkpoint is to be evaluated: those
/// that its model fits must agree on that.
pub fn chosen<'a>(loaded: &Loaded, variants: &[&'a Variant]) -> Result<&'a Variant> {
    let mut fitting = Vec::new();
    let mut refusal = None;
    for variant in variants {
        match check_model(&loaded.checkpoint, &evaluated_spec(&loaded.checkpoint, &variant.spec)) {
            Ok(()) => fitting.push(*variant),
            Err(e) => drop(refusal.get_or_insert(e)),
        }
    }
    let Some((first, others)) = fitting.split_first() else {
        return Err(refusal.unwrap_or_else(|| Error::Input("the spec has no arms".into())));
    };
    let read = |variant: &Variant| flatten(&read_of(&variant.spec));
    let own = read(first);
    for other in others {
        let theirs = read(other);
        let fields = own.keys().chain(theirs.keys());
        let Some(field) = fields.into_iter().find(|field| own.get(*field) != theirs.get(*field))
        else {
            continue;
        };
        let shown = |of: Option<&String>| of.map_or("not given", String::as_str).to_string();
        return Err(Error::Input(format!(
            "--arm: the spec's arms differ in what evaluation reads\n  found:    {field}: {} in \
             `{}`, {} in `{}`\n  expected: --arm with the arm to take data and model from",
            shown(own.get(field)),
            first.label,
            shown(theirs.get(field)),
            other.label
        )));
    }
    Ok(first)
}

/// What of a run's spec evaluation reads, the rest as in every other.
fn read_of(spec: &RunSpec) -> RunSpec {
    let mut read = spec.clone();
    (read.method, read.vlora, read.lora) = (Method::Dense, None, None);
    read.training = Default::default();
    read.training.batch_size = spec.training.batch_size;
    read.data = definition(spec.task).evaluated_data(&spec.data);
    read.start = Some(start_of(spec.start.as_ref()));
    read
}

/// The head is the checkpoint's own, whatever an arm does with it.
fn start_of(start: Option<&StartSpec>) -> StartSpec {
    StartSpec {
        arm: None,
        checkpoint: Some("checkpoint".into()),
        hub: None,
        alpha: None,
        head: StartHead::Keep,
        position_embedding: start.map(|start| start.position_embedding).unwrap_or_default(),
    }
}

/// The spec of a run that would start from the checkpoint as it is and not be trained.
fn evaluated_spec(checkpoint: &Checkpoint, spec: &RunSpec) -> RunSpec {
    let mut own = spec.clone();
    own.vlora = checkpoint.vlora.clone();
    own.lora = checkpoint.lora.clone();
    own.method = if own.vlora.is_some() { Method::Vlora } else { Method::Dense };
    own.start = Some(start_of(spec.start.as_ref()));
    own
}

/// The checkpoint's outcomes on a split of the variant's data.
pub fn evaluate(
    loaded: &Loaded,
    variant: &Variant,
    split: Split,
    hub: &Hub,
    device: &Device,
) -> Result<Evaluated> {
    check_precision(std::iter::once(variant), device)?;
    let spec = evaluated_spec(&loaded.checkpoint, &variant.spec);
    let data = Opened::new(&spec, hub)?;
    let settled = data.settle(&spec, Some(Base::Checkpoint(loaded)))?;
    let data = data.settled(&settled.spec);
    let Settled { spec, fields, .. } = settled;
    let (checkpoint, adapted) = data.adapt(&loaded.checkpoint, &spec)?;
    configure(device, spec.precision == Precision::Tf32)?;
    if data.is_empty(split) {
        return Err(Error::Input(
            "--split: there is nothing to validate on\n  found:    data.validation: null\n  \
             expected: --split test, or a spec with validation examples"
                .into(),
        ));
    }
    let run = Run { spec: &spec, seed: 0, device };
    let evaluated =
        data.work(run, EvaluateCheckpoint { checkpoint: &checkpoint, split, device })?;
    let notes = data.evaluation_notes(&fields.and(adapted));
    Ok(Evaluated { notes, ..evaluated })
}

/// Evaluates a checkpoint on whichever task it is.
struct EvaluateCheckpoint<'a> {
    checkpoint: &'a Checkpoint,
    split: Split,
    device: &'a Device,
}

impl Work for EvaluateCheckpoint<'_> {
    type Output = Result<Evaluated>;

    fn on<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> Result<Evaluated> {
        let EvaluateCheckpoint { checkpoint, split, device } = self;
        let (store, model) = blueprint.evaluate(device)?;
        store.load(&checkpoint.tensors)?;
        drop(model);
        let evaluation = train::evaluate(task, &blueprint.frozen(&store)?, split)?;
        let scores = &evaluation.scores;
        if !scores.loss.is_finite() {
            return Err(Error::Failed(format!(
                "the loss is not finite\n  found:    {}\n  expected: a number; are the weights of a \
                 training that diverged?",
                scores.loss
            )));
        }
        Ok(Evaluated {
            metrics: task.metrics().iter().zip(scores.metrics.iter().copied()).collect(),
            loss: scores.loss,
            examples: evaluation.outcomes.len(),
            outcomes: lines(Path::new(RunFolder::TEST), &evaluation.outcomes)?,
            parameters: store.count() as u64,
            notes: Vec::new(),
        })
    }
}
