//! Adapts a run to start weights that were trained on other images: normalisation, classes and
//! position embeddings.

use serde::{Deserialize, Serialize};

use super::data::{Data, section};
use crate::checkpoints::{self, Checkpoint, CheckpointFormat, match_classes, resampled};
use crate::error::Result;
use crate::models::names_from_seed;
use crate::results::{ClassMatch, Resampled, TaskFields};
use crate::spec::{DataSpec, Normalize, PositionEmbedding, RunSpec, StartHead, VitSpec};
use crate::tasks::start::{Base, Fitted, Settled};

/// The source of the mean and deviation that normalise pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PixelSource {
    /// `data.normalize`.
    Spec,
    /// The checkpoint or arm that the run starts from.
    Start,
    /// Measured on the training split.
    Measured,
}

impl PixelSource {
    const FIELD: &str = "pixel_source";

    /// The field for a run's provenance.
    pub fn fields(self) -> TaskFields {
        TaskFields::default().with(PixelSource::FIELD, &self)
    }

    /// Reads the field; None for records of earlier versions.
    pub fn of(fields: &TaskFields) -> Option<PixelSource> {
        fields.get(PixelSource::FIELD)
    }
}

/// The changes to the start weights for these data, as stored in `start.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Adjusted {
    /// How the rows of a kept classifier were matched to the data's classes. None for a new
    /// classifier and for records of earlier versions.
    pub classes: Option<ClassMatch>,
    /// How position embeddings of another image size were resampled.
    pub positions: Option<Resampled>,
}

impl Adjusted {
    pub fn fields(&self) -> TaskFields {
        let fields = TaskFields::default();
        fields
            .with_some("classes", self.classes.as_ref())
            .with_some("positions", self.positions.as_ref())
    }

    pub fn of(fields: &TaskFields) -> Adjusted {
        Adjusted { classes: fields.get("classes"), positions: fields.get("positions") }
    }
}

/// Facts about the images that the start weights were trained on.
struct Trained<'a> {
    model: Option<&'a VitSpec>,
    class_names: &'a [String],
    normalize: Option<Normalize>,
    /// The resampling method of the program that the weights come from.
    positions: PositionEmbedding,
}

impl<'a> Trained<'a> {
    fn of(base: &'a Base<Data>) -> Trained<'a> {
        match base {
            Base::Checkpoint(loaded) => {
                let theirs = &loaded.checkpoint;
                Trained {
                    model: theirs.model.as_vit(),
                    class_names: &theirs.metadata.class_names,
                    normalize: theirs.metadata.normalize.clone(),
                    positions: match loaded.format {
                        CheckpointFormat::HuggingFace => PositionEmbedding::HuggingFace,
                        CheckpointFormat::Compact
                        | CheckpointFormat::Authors
                        | CheckpointFormat::Timm
                        | CheckpointFormat::Bert
                        | CheckpointFormat::Gpt2
                        | CheckpointFormat::Marian
                        | CheckpointFormat::Pytorch => PositionEmbedding::Timm,
                    },
                }
            }
            Base::Arm { spec, data } => Trained {
                model: spec.model.as_vit(),
                class_names: data.class_names(),
                normalize: Some(data.normalize()),
                positions: PositionEmbedding::Timm,
            },
        }
    }
}

/// Fills in the fields of the spec that depend on the start weights. Errors if the classes of a
/// kept head are not the data's. `data` are the run's data, with their normalisation before the
/// weights are considered.
pub fn settle(data: &Data, spec: &RunSpec, base: Option<Base<Data>>) -> Result<Settled> {
    let mut spec = spec.clone();
    let mut pixels = match section(&spec).normalize {
        Some(_) => PixelSource::Spec,
        None => PixelSource::Measured,
    };
    let (Some(base), Some(start)) = (base, spec.start.clone()) else {
        return Ok(Settled::from_seed(spec, pixels.fields()));
    };
    let theirs = Trained::of(&base);
    let mut note = None;
    if let (PixelSource::Measured, Some(normalize)) = (pixels, theirs.normalize)
        && differs(&normalize, &data.normalize())
    {
        let Normalize { mean, std } = &normalize;
        note = Some(format!(
            "Its images are normalised like those that trained the weights, with mean {mean:?} \
             and deviation {std:?}."
        ));
        if let DataSpec::Images(images) = &mut spec.data {
            images.normalize = Some(normalize);
        }
        pixels = PixelSource::Start;
    }
    let how = match start.position_embedding {
        PositionEmbedding::Auto => theirs.positions,
        said => said,
    };
    let sizes = theirs.model.zip(spec.model.as_vit());
    let positions = sizes.and_then(|(theirs, own)| resampled(theirs, own, how));
    if let Some(start) = &mut spec.start {
        // The same resampling always gives the same field, and `auto` if nothing is resampled.
        // Otherwise equal runs could get different ids.
        start.position_embedding = positions.map_or(PositionEmbedding::Auto, |done| done.method);
    }
    let classes = match start.head {
        StartHead::New => None,
        StartHead::Keep => Some(match_classes(theirs.class_names, data.class_names())?),
    };
    let identity = match &classes {
        Some(ClassMatch::Permuted(rows)) => format!(" classes={rows:?}"),
        _ => String::new(),
    };
    let started = base.started(&spec, Adjusted { classes, positions }.fields());
    Ok(Settled { spec, fields: pixels.fields(), started: Some(started), note, identity })
}

/// Whether two normalisations differ by more than rounding errors.
fn differs(theirs: &Normalize, own: &Normalize) -> bool {
    let close = |a: &[f64], b: &[f64]| {
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * b.abs().max(1.0);
        a.len() == b.len() && a.iter().zip(b).all(close)
    };
    !close(&theirs.mean, &own.mean) || !close(&theirs.std, &own.std)
}

/// A checkpoint's weights, fitted to a run on these data.
pub fn fit(data: &Data, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<Fitted> {
    let adapted = checkpoints::adapt(checkpoint, spec, data.class_names())?;
    let checkpoints::AdaptedWeights { values, kept, conversion, classes, positions } = adapted;
    let from_seed = names_from_seed(spec)?;
    let from_seed = move |name: &str| from_seed.contains(name);
    let task = Adjusted { classes, positions }.fields();
    Ok(Fitted { values, conversion, kept, task, from_seed: Box::new(from_seed) })
}
