//! The weights a run starts from: a checkpoint's, or those of another run of the experiment.

use super::checkpoints::{key, said_alpha};
use super::plan::{Plan, PlannedRun, PlannedVariant};
use crate::checkpoints::{
    Fitted, Form, Hints, Loaded, conversion, fit, match_classes, read_checkpoint, resampled,
};
use crate::data::ImageData;
use crate::error::{Error, Result};
use crate::results::{
    ClassMatch, ExperimentFolder, KeptRecord, PixelSource, RunFolder, RunResult, RunState,
    StartRecord, Started,
};
use crate::spec::{
    DataSpec, ModelSpec, Normalize, PositionEmbedding, RunSpec, StartHead, VitSpec, VloraSpec,
};
use crate::train::Start;
use crate::vlora::is_lora;

/// What is known of weights to start from before a run starts.
pub struct Base<'a> {
    model: &'a VitSpec,
    vlora: Option<&'a VloraSpec>,
    has_lora: bool,
    class_names: &'a [String],
    /// What the images that trained them were normalised with.
    normalize: Option<Normalize>,
    /// How the program whose weights they are resamples position embeddings.
    positions: PositionEmbedding,
    alpha: Option<f64>,
}

impl Base<'_> {
    pub fn of_checkpoint(loaded: &Loaded) -> Base<'_> {
        let theirs = &loaded.checkpoint;
        Base {
            model: &theirs.model,
            vlora: theirs.vlora.as_ref(),
            has_lora: theirs.lora.is_some(),
            class_names: &theirs.labels.class_names,
            normalize: theirs.labels.normalize.clone(),
            positions: match loaded.form {
                Form::HuggingFace => PositionEmbedding::HuggingFace,
                Form::Compact | Form::Authors | Form::Timm => PositionEmbedding::Timm,
            },
            alpha: said_alpha(loaded),
        }
    }

    /// The weights that a run of `spec` on `data` will leave.
    pub fn of_arm<'a>(spec: &'a RunSpec, data: &'a ImageData) -> Base<'a> {
        let (mean, std) = (data.statistics.mean.clone(), data.statistics.std.clone());
        Base {
            model: spec.vit(),
            vlora: spec.vlora.as_ref(),
            has_lora: spec.lora.is_some(),
            class_names: &data.class_names,
            normalize: Some(Normalize { mean, std }),
            positions: PositionEmbedding::Timm,
            alpha: None,
        }
    }
}

/// A run's spec once the weights that it starts from are known.
pub struct Settled {
    pub spec: RunSpec,
    pub pixels: PixelSource,
    pub started: Option<Started>,
    /// What the run's id has to hold of its start besides the weights.
    pub identity: String,
}

/// Fills in what the spec leaves to the weights that the run starts from, and refuses a head whose
/// classes are not the data's. `data` are the run's, with the normalisation that they have without
/// those weights.
pub fn settle(spec: &RunSpec, data: &ImageData, base: Option<Base>) -> Result<Settled> {
    let mut spec = spec.clone();
    let mut pixels = match spec.images().normalize {
        Some(_) => PixelSource::Spec,
        None => PixelSource::Measured,
    };
    let (Some(base), Some(start)) = (base, &mut spec.start) else {
        return Ok(Settled { spec, pixels, started: None, identity: String::new() });
    };
    let measured = &data.statistics;
    let differs = |n: &Normalize| !close(&n.mean, &measured.mean) || !close(&n.std, &measured.std);
    if let (PixelSource::Measured, Some(normalize)) = (pixels, base.normalize)
        && differs(&normalize)
    {
        let DataSpec::Images(data) = &mut spec.data;
        data.normalize = Some(normalize);
        pixels = PixelSource::Start;
    }
    let how = match start.position_embedding {
        PositionEmbedding::Auto => base.positions,
        said => said,
    };
    let ModelSpec::Vit(model) = &spec.model;
    let positions = resampled(base.model, model, how);
    // One way to say it for one way to do it, and none where nothing is done.
    start.position_embedding = positions.map_or(PositionEmbedding::Auto, |done| done.method);
    let classes = match start.head {
        StartHead::New => None,
        StartHead::Keep => Some(match_classes(base.class_names, &data.class_names)?),
    };
    let identity = match &classes {
        Some(ClassMatch::Permuted(rows)) => format!(" classes={rows:?}"),
        _ => String::new(),
    };
    let conversion = conversion(base.vlora, base.has_lora, &spec);
    let started = Some(Started { alpha: base.alpha, conversion, classes, positions });
    Ok(Settled { spec, pixels, started, identity })
}

/// Equal but for the rounding of sums that were taken in another order.
fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12 * b.abs().max(1.0))
}

/// What a run can do about its start.
pub enum Ready {
    /// Starts from its seed.
    FromSeed,
    From(Box<Start>, StartRecord),
    /// The run it starts from is in another process's hands.
    Elsewhere,
    /// The run it starts from has failed, or does not fit.
    Failed(String),
}

/// Finds the weights that `run` of `variant` starts from.
pub fn ready(
    plan: &Plan,
    folder: &ExperimentFolder,
    variant: &PlannedVariant,
    run: &PlannedRun,
) -> Result<Ready> {
    let spec = &variant.variant.spec;
    let Some(start) = &spec.start else { return Ok(Ready::FromSeed) };
    let from_run;
    let (loaded, from) = match (key(spec), plan.started_from(variant, run)) {
        (Some(key), _) => match plan.checkpoints.get(&key) {
            Some(loaded) => (loaded, start.checkpoint_name().unwrap_or_default()),
            None => return Ok(Ready::Failed(format!("{key} has not been read"))),
        },
        (None, Some((other, before))) => {
            let source = folder.run(&before.id);
            match source.state() {
                RunState::Finished => {}
                RunState::Failed => {
                    return Ok(Ready::Failed(format!(
                        "it starts from `{}`, whose run with seed {} has failed",
                        other.variant.label, before.seed
                    )));
                }
                // This process would have finished it, so another one has it or had it.
                RunState::Running | RunState::Planned | RunState::Interrupted => {
                    return Ok(Ready::Elsewhere);
                }
            }
            match tested_weights(&source) {
                Ok(loaded) => from_run = loaded,
                Err(e) => return Ok(Ready::Failed(e.to_string())),
            }
            (&from_run, format!("run {}", before.id))
        }
        (None, None) => return Ok(Ready::Failed("the arm it starts from is not planned".into())),
    };
    let class_names = &plan.data(&variant.variant).class_names;
    let fitted = fit(&loaded.checkpoint, spec, class_names);
    let Fitted { values, kept, conversion, classes, positions } = match fitted {
        Ok(fitted) => fitted,
        Err(e) => return Ok(Ready::Failed(format!("the weights of {from} do not fit: {e}"))),
    };
    let kept = kept.into_iter().map(|k| KeptRecord {
        layer: k.layer,
        target: k.target,
        rank: k.rank,
        energy_kept: k.energy_kept,
        relative_error: k.relative_error,
    });
    let (sha256, alpha) = (loaded.sha256.clone(), said_alpha(loaded));
    let kept = kept.collect();
    let record = StartRecord { from, sha256, alpha, conversion, kept, classes, positions };
    let new_head = start.head == StartHead::New;
    let from_seed = move |name: &str| is_lora(name) || new_head && name.starts_with("head.");
    Ok(Ready::From(Box::new(Start { values, from_seed: Box::new(from_seed) }), record))
}

/// The model that a finished run left, as it left it.
fn tested_weights(run: &RunFolder) -> Result<Loaded> {
    let result: RunResult = run.read_json(RunFolder::RESULT)?;
    let loaded = read_checkpoint(&run.file(RunFolder::MODEL), &Hints::default()).map_err(|e| {
        Error::Input(format!("{e}\n  help:     remove that run's folder to train it again"))
    })?;
    match loaded.sha256 == result.model_sha256 {
        true => Ok(loaded),
        false => Err(Error::Input(format!(
            "{}: not the weights that were tested\n  found:    SHA-256 {}\n  expected: {}, as \
             result.json has it; remove the run's folder to train it again",
            run.file(RunFolder::MODEL).display(),
            loaded.sha256,
            result.model_sha256
        ))),
    }
}
