//! Evaluates a checkpoint on a spec's data, without training.
//!
//! Everything that affects a test result is as in a run of the spec: data, normalisation, batch
//! size, precision. So the checkpoint of a run reproduces the outcomes in its `test.jsonl` bitwise.

use std::path::Path;

use candle_core::Device;

use super::precision::check_precision;
use crate::checkpoints::{Checkpoint, Hints, LoadedCheckpoint, check_model};
use crate::error::{Fault, Result};
use crate::hub::Hub;
use crate::nn::configure;
use crate::results::{Metric, RunFolder, lines};
use crate::spec::{
    Experiment, Method, Precision, RunSpec, StartHead, StartSpec, Variant, flatten,
    identifying_fields, nearest,
};
use crate::tasks::{Base, Blueprint, Opened, Run, Settled, Split, Task, TaskVisitor, definition};
use crate::train;

/// The results of a checkpoint on a split.
pub struct Evaluated {
    /// The task's metrics with their values, the primary one first.
    pub metrics: Vec<(&'static Metric, f64)>,
    pub loss: f64,
    pub examples: usize,
    /// The outcomes in the order of the split, in the format of `test.jsonl`.
    pub outcomes: Vec<u8>,
    pub parameters: u64,
    /// Changes made to the data and the checkpoint, one clause each.
    pub notes: Vec<String>,
}

/// The variants whose arm or label is `arm`; all variants for None.
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

/// Hints for model settings that a file may lack, as far as all `variants` agree on them.
pub fn hints(variants: &[&Variant], heads: Option<usize>, alpha: Option<f64>) -> Hints {
    let common = variants.first().map(|v| v.spec.model.heads());
    let common = common.filter(|heads| variants.iter().all(|v| v.spec.model.heads() == *heads));
    let model = variants.first().and_then(|v| v.spec.model.needed_to_read_state_dicts());
    let model = model.filter(|model| variants.iter().all(|v| v.spec.model == **model)).cloned();
    Hints { heads: heads.or(common), alpha, model, ..Hints::default() }
}

/// Chooses the variant that gives data and settings for evaluating the checkpoint. All variants
/// that the model fits must agree on these. If the weights belong to a run, whose spec is
/// `run_spec`, the run's own arm is chosen, unless `named` says that the user chose an arm.
pub fn chosen<'a>(
    loaded: &LoadedCheckpoint,
    variants: &[&'a Variant],
    run_spec: Option<&RunSpec>,
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
    if let Some(run_spec) = run_spec.filter(|_| !named) {
        fitting = own_arms(fitting, run_spec)?;
    }
    let Some((first, others)) = fitting.split_first() else {
        return Err(Fault::new("the spec has no arms").into());
    };
    let read = |variant: &Variant| flatten(&evaluation_part(&variant.spec));
    let values = read(first);
    for other in others {
        let theirs = read(other);
        let fields = values.keys().chain(theirs.keys());
        let Some(field) = fields.into_iter().find(|field| values.get(*field) != theirs.get(*field))
        else {
            continue;
        };
        let shown = |of: Option<&String>| of.map_or("not given", String::as_str).to_string();
        return Err(Fault::new("the spec's arms differ in what evaluation reads")
            .within("--arm")
            .found(format!(
                "{field}: {} in `{}`, {} in `{}`",
                shown(values.get(field)),
                first.label,
                shown(theirs.get(field)),
                other.label
            ))
            .expected("--arm with the arm to take data and model from")
            .into());
    }
    Ok(first)
}

/// The variant whose run has the spec `run_spec`, or else those that are trained in the same way.
fn own_arms<'a>(variants: Vec<&'a Variant>, run_spec: &RunSpec) -> Result<Vec<&'a Variant>> {
    let start = |spec: &RunSpec| {
        let start = spec.start.as_ref();
        start.map(|start| (start.arm.clone(), start.checkpoint_name()))
    };
    let is_same = |v: &&&Variant| identifying_fields(&v.spec) == identifying_fields(run_spec);
    let same: Vec<&Variant> = variants.iter().filter(is_same).copied().collect();
    // Arms may differ only in the arm or checkpoint that they start from.
    let same_start = same.iter().find(|v| start(&v.spec) == start(run_spec));
    if let Some(variant) = same_start.or(same.first()) {
        return Ok(vec![variant]);
    }
    let labels: Vec<&str> = variants.iter().map(|v| v.label.as_str()).collect();
    let run = match run_spec.method {
        Method::Dense => "a dense run",
        Method::Vlora => "a run with increments",
    };
    let none = Fault::new("none of the spec's arms is the one that this is a run of")
        .found(format!("{run}; arms {}", labels.join(", ")))
        .expected("an arm with the run's method, increments, LoRA, start and training")
        .help("--arm chooses the arm whose data, model and precision are taken");
    let alike = |v: &&Variant| trained_alike(&v.spec, run_spec);
    let alike: Vec<&Variant> = variants.into_iter().filter(alike).collect();
    if alike.is_empty() { Err(none.into()) } else { Ok(alike) }
}

/// Whether two specs train their weights in the same way. They may differ in settings of
/// evaluation.
fn trained_alike(a: &RunSpec, b: &RunSpec) -> bool {
    // The last field is filled in from the start weights.
    const READ: [&str; 3] = ["training.batch_size", "precision", "start.position_embedding"];
    let way = |spec: &RunSpec| {
        let read = flatten(&evaluation_part(spec));
        let mut fields = identifying_fields(spec);
        // Data fields that evaluation ignores belong to training, such as augmentation.
        fields.retain(|field, value| {
            let of_data = field.starts_with("data.") && read.get(field) == Some(value);
            !of_data && !READ.contains(&field.as_str())
        });
        fields
    };
    way(a) == way(b)
}

/// The spec with all fields that evaluation does not read set to fixed values.
fn evaluation_part(spec: &RunSpec) -> RunSpec {
    let mut read = spec.clone();
    (read.method, read.vlora, read.lora) = (Method::Dense, None, None);
    read.training = Default::default();
    read.training.batch_size = spec.training.batch_size;
    read.data = definition(spec.task).evaluated_data(&spec.data);
    read.start = Some(evaluation_start(spec.start.as_ref()));
    read.model.disable_dropout();
    read
}

/// The start section for evaluation: the checkpoint with its own head.
fn evaluation_start(start: Option<&StartSpec>) -> StartSpec {
    StartSpec {
        arm: None,
        checkpoint: Some("checkpoint".into()),
        hub: None,
        alpha: None,
        head: StartHead::Keep,
        position_embedding: start.map(|start| start.position_embedding).unwrap_or_default(),
        base_init: Default::default(),
        increments: Default::default(),
    }
}

/// The spec of a run that starts from the unchanged checkpoint and is not trained.
fn evaluated_spec(checkpoint: &Checkpoint, spec: &RunSpec) -> RunSpec {
    let mut evaluated = spec.clone();
    evaluated.vlora = checkpoint.vlora.clone();
    evaluated.lora = checkpoint.lora.clone();
    evaluated.method = if evaluated.vlora.is_some() { Method::Vlora } else { Method::Dense };
    evaluated.start = Some(evaluation_start(spec.start.as_ref()));
    evaluated
}

/// Evaluates the checkpoint on a split of the variant's data.
pub fn evaluate(
    loaded: &LoadedCheckpoint,
    variant: &Variant,
    split: Split,
    hub: &Hub,
    device: &Device,
) -> Result<Evaluated> {
    check_precision(std::iter::once(variant), device)?;
    let mut spec = evaluated_spec(&loaded.checkpoint, &variant.spec);
    // Files that the data need from beside the weights, such as a tokenizer, come from beside
    // these.
    let start = StartSpec {
        checkpoint: Some(loaded.path.display().to_string()),
        ..evaluation_start(variant.spec.start.as_ref())
    };
    spec.start = Some(start);
    let data = Opened::new(&spec, hub)?;
    let settled = data.settle(&spec, Some(Base::Checkpoint(loaded)))?;
    let data = data.settled(&settled.spec);
    let Settled { spec, fields, .. } = settled;
    let (checkpoint, adapted) = data.adapt(&loaded.checkpoint, &spec)?;
    configure(device, spec.precision == Precision::Tf32)?;
    data.expect_examples(split)?;
    let run = Run { spec: &spec, seed: 0, device };
    let evaluated =
        data.visit(run, EvaluateCheckpoint { checkpoint: &checkpoint, split, device })?;
    let notes = data.evaluation_notes(&fields.and(adapted));
    Ok(Evaluated { notes, ..evaluated })
}

/// Evaluates a checkpoint, generic over the task.
struct EvaluateCheckpoint<'a> {
    checkpoint: &'a Checkpoint,
    split: Split,
    device: &'a Device,
}

impl TaskVisitor for EvaluateCheckpoint<'_> {
    type Output = Result<Evaluated>;

    fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> Result<Evaluated> {
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
