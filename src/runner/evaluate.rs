//! A checkpoint's metrics on a spec's data, without training.
//!
//! Everything that decides a test result is as in the run that a spec stands for: the data and their
//! normalisation, the size of batches, the precision. So a run's own checkpoint has the outcomes of
//! its `test.jsonl`, to the bit.

use std::path::Path;

use candle_core::Device;

use super::precision::check_precision;
use crate::checkpoints::{Checkpoint, Hints, Loaded, check_model};
use crate::error::{Fault, Result};
use crate::hub::Hub;
use crate::nn::configure;
use crate::results::{Metric, RunFolder, lines};
use crate::spec::{
    Experiment, Method, Precision, RunSpec, StartHead, StartSpec, Variant, flatten,
    identifying_fields, nearest,
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
    Err(Fault::new("there is no such arm")
        .within("--arm")
        .found(format!("`{name}`"))
        .expected(format!("one of {}", labels.join(", ")))
        .did_you_mean(nearest(name, labels.iter().copied()))
        .into())
}

/// What a file may not say of its model, where all `variants` agree on it.
pub fn hints(variants: &[&Variant], heads: Option<usize>, alpha: Option<f64>) -> Hints {
    let common = variants.first().map(|v| v.spec.model.heads());
    let common = common.filter(|heads| variants.iter().all(|v| v.spec.model.heads() == *heads));
    Hints { heads: heads.or(common), alpha, ..Hints::default() }
}

/// The one of `variants` on whose data and in whose way the checkpoint is to be evaluated: those
/// that its model fits must agree on that. The weights of a run, whose spec `own` is, are evaluated as
/// the arm that it is a run of, unless `named` says that an arm was chosen.
pub fn chosen<'a>(
    loaded: &Loaded,
    variants: &[&'a Variant],
    own: Option<&RunSpec>,
    named: bool,
) -> Result<&'a Variant> {
    let mut fitting = Vec::new();
    let mut refusal = None;
    for variant in variants {
        match check_model(&loaded.checkpoint, &evaluated_spec(&loaded.checkpoint, &variant.spec)) {
            Ok(()) => fitting.push(*variant),
            Err(e) => drop(refusal.get_or_insert(e)),
        }
    }
    if fitting.is_empty() {
        let none = || Fault::new("the spec has no arms").into();
        return Err(refusal.unwrap_or_else(none));
    }
    if let Some(own) = own.filter(|_| !named) {
        fitting = own_arms(fitting, own)?;
    }
    let Some((first, others)) = fitting.split_first() else {
        return Err(Fault::new("the spec has no arms").into());
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
        return Err(Fault::new("the spec's arms differ in what evaluation reads")
            .within("--arm")
            .found(format!(
                "{field}: {} in `{}`, {} in `{}`",
                shown(own.get(field)),
                first.label,
                shown(theirs.get(field)),
                other.label
            ))
            .expected("--arm with the arm to take data and model from")
            .into());
    }
    Ok(first)
}

/// Of these variants the one whose run has the spec `own`, or else those that train as it did.
fn own_arms<'a>(variants: Vec<&'a Variant>, own: &RunSpec) -> Result<Vec<&'a Variant>> {
    let start = |spec: &RunSpec| {
        let start = spec.start.as_ref();
        start.map(|start| (start.arm.clone(), start.checkpoint_name()))
    };
    let is_same = |v: &&&Variant| identifying_fields(&v.spec) == identifying_fields(own);
    let same: Vec<&Variant> = variants.iter().filter(is_same).copied().collect();
    // Arms that start from others of the same form differ in nothing else.
    let same_start = same.iter().find(|v| start(&v.spec) == start(own));
    if let Some(variant) = same_start.or(same.first()) {
        return Ok(vec![variant]);
    }
    let labels: Vec<&str> = variants.iter().map(|v| v.label.as_str()).collect();
    let run = match own.method {
        Method::Dense => "a dense run",
        Method::Vlora => "a run with increments",
    };
    let none = Fault::new("none of the spec's arms is the one that this is a run of")
        .found(format!("{run}; arms {}", labels.join(", ")))
        .expected("an arm with the run's method, increments, LoRA, start and training")
        .help("--arm chooses the arm whose data, model and precision are taken");
    let alike = |v: &&Variant| trained_alike(&v.spec, own);
    let alike: Vec<&Variant> = variants.into_iter().filter(alike).collect();
    if alike.is_empty() { Err(none.into()) } else { Ok(alike) }
}

/// Whether runs of two specs come to their weights in the same way, whatever data evaluation then
/// reads, and in which batches.
fn trained_alike(a: &RunSpec, b: &RunSpec) -> bool {
    // The last is settled by the weights that a run starts from.
    const READ: [&str; 3] = ["training.batch_size", "precision", "start.position_embedding"];
    let way = |spec: &RunSpec| {
        let read = flatten(&read_of(spec));
        let mut fields = identifying_fields(spec);
        // What evaluation leaves out of the data is what training does to them.
        fields.retain(|field, value| {
            let of_data = field.starts_with("data.") && read.get(field) == Some(value);
            !of_data && !READ.contains(&field.as_str())
        });
        fields
    };
    way(a) == way(b)
}

/// A run's spec with what evaluation does not read set to the same in every spec.
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
    let mut spec = evaluated_spec(&loaded.checkpoint, &variant.spec);
    // What the data take from beside the weights is taken from beside these.
    let start = StartSpec {
        checkpoint: Some(loaded.path.display().to_string()),
        ..start_of(variant.spec.start.as_ref())
    };
    spec.start = Some(start);
    let data = Opened::new(&spec, hub)?;
    let settled = data.settle(&spec, Some(Base::Checkpoint(loaded)))?;
    let data = data.settled(&settled.spec);
    let Settled { spec, fields, .. } = settled;
    let (checkpoint, adapted) = data.adapt(&loaded.checkpoint, &spec)?;
    configure(device, spec.precision == Precision::Tf32)?;
    if data.is_empty(split) {
        return Err(Fault::new("there is nothing to validate on")
            .within("--split")
            .found("data.validation: null")
            .expected("--split test, or a spec with validation examples")
            .into());
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
            return Err(Fault::failed("the loss is not finite")
                .found(scores.loss)
                .expected("a number; are the weights of a training that diverged?")
                .into());
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
