//! Image classification: cross-entropy to train, accuracy to compare.

use std::sync::OnceLock;

use candle_core::{D, DType, Device, Error, Result, Tensor};

use super::{Evaluation, Outcome, Split, Task, ahead};
use crate::data::{Augmenter, ImageData, ImageSplit};
use crate::models::vit::Vit;
use crate::nn::{HeldImages, Mode, ParameterBuilder, StepKey, Trained, Variable, ops};
use crate::spec::{Precision, RunSpec};

pub struct ImageClassification<'a> {
    data: &'a ImageData,
    spec: &'a RunSpec,
    seed: u64,
    device: Device,
    /// The splits' images on the device, from their first use on: training, validation, test.
    held: [OnceLock<std::result::Result<Option<HeldImages>, String>>; 3],
}

/// The type of activations in this precision.
pub fn activations(precision: Precision) -> DType {
    match precision {
        Precision::Float32 | Precision::Tf32 => DType::F32,
        Precision::Bf16 => DType::BF16,
    }
}

/// Bytes of the splits that a GPU will hold.
pub fn held_bytes(data: &ImageData) -> u64 {
    let splits = [&data.train, &data.validation, &data.test].into_iter();
    let sizes = splits.filter(|split| split.is_square()).map(|split| {
        let (n, side, _, channels) = split.dims();
        n * side * side * channels
    });
    sizes.filter(|size| *size <= MOST_HELD).map(|size| size as u64).sum()
}

/// The largest split that a device holds. Larger ones come to it batch by batch.
const MOST_HELD: usize = 4 << 30;

impl<'a> ImageClassification<'a> {
    /// What [`Evaluation::metric`] is called: the share of examples whose label was predicted.
    pub const METRIC: &'static str = "accuracy";

    pub fn new(data: &'a ImageData, spec: &'a RunSpec, seed: u64, device: Device) -> Self {
        ImageClassification { data, spec, seed, device, held: Default::default() }
    }

    /// Bytes of the images that the device holds by now: a split's from its first use on.
    pub fn held_bytes(&self) -> u64 {
        let held = self.held.iter().filter_map(|held| held.get()?.as_ref().ok()?.as_ref());
        held.map(HeldImages::size).sum()
    }

    /// The images of a split where the device holds them.
    fn held(&self, which: usize, split: &ImageSplit) -> Result<Option<&HeldImages>> {
        let (n, side, _, channels) = split.dims();
        if n * side * side * channels > MOST_HELD {
            return Ok(None);
        }
        let held = self.held[which].get_or_init(|| {
            let of = &self.data.statistics;
            let dims = split.dims();
            HeldImages::new(|| split.bytes(), dims, &of.mean, &of.std, &self.device)
                .map_err(|e| e.to_string())
        });
        held.as_ref().map(Option::as_ref).map_err(|e| Error::Msg(e.clone()))
    }

    fn batch(
        &self,
        which: usize,
        examples: &[usize],
        augmenter: Option<&Augmenter>,
    ) -> Result<(Tensor, Tensor)> {
        let split = [&self.data.train, &self.data.validation, &self.data.test][which];
        // The device crops squares that it holds; parts are resized on the way to it.
        let resizes = augmenter.is_some_and(Augmenter::resizes);
        let held = if resizes { None } else { self.held(which, split)? };
        let Some(held) = held else {
            let (images, labels) = self.data.batch(split, examples, augmenter, &self.device)?;
            return Ok((images.to_dtype(self.activations())?, labels));
        };
        let pick = |&example: &usize| {
            let change = augmenter.map_or((0, 0, false), |augmenter| augmenter.draw(example));
            let (right, down, mirrored) = change;
            [example as i32, right as i32, down as i32, i32::from(mirrored)]
        };
        let picks: Vec<[i32; 4]> = examples.iter().map(pick).collect();
        let labels: Vec<u32> = examples.iter().map(|&e| split.labels[e]).collect();
        let labels = Tensor::from_vec(labels, examples.len(), &self.device)?;
        Ok((held.batch(&picks, self.activations())?, labels))
    }
}

impl Task for ImageClassification<'_> {
    type Model = Vit;
    /// Normalised images and their labels.
    type Batch = (Tensor, Tensor);

    fn model(&self, source: &mut dyn ParameterBuilder) -> Result<Vit> {
        Vit::of(self.spec, source)
    }

    fn trained(&self) -> Trained {
        crate::vlora::trained(self.spec.lora.as_ref())
    }

    fn activations(&self) -> DType {
        activations(self.spec.precision)
    }

    fn train_len(&self) -> usize {
        self.data.train.len()
    }

    fn has_validation(&self) -> bool {
        !self.data.validation.is_empty()
    }

    fn train_batch(&self, epoch: usize, examples: &[usize]) -> Result<(Tensor, Tensor)> {
        let augmenter = Augmenter::new(self.spec.images(), self.seed, epoch);
        self.batch(0, examples, Some(&augmenter))
    }

    fn loss(&self, model: &Vit, key: StepKey, batch: &(Tensor, Tensor)) -> Result<Variable> {
        let (images, labels) = batch;
        let smoothing = self.spec.training.label_smoothing;
        let logits = model.forward(images, Mode::Training(key))?;
        ops::mean(&ops::cross_entropy(&logits, labels, smoothing)?)
    }

    fn evaluate(&self, model: &Vit, split: Split) -> Result<Evaluation> {
        let (which, split) = match split {
            Split::Validation => (1, &self.data.validation),
            Split::Test => (2, &self.data.test),
        };
        let all: Vec<usize> = (0..split.len()).collect();
        let parts = all.chunks(self.spec.training.batch_size);
        let make = |examples: &[usize]| self.batch(which, examples, None);
        // Read when all are asked for, so that a device is waited for once.
        let (mut losses, mut predictions) = (Vec::new(), Vec::new());
        ahead(parts.clone(), make, |batches| {
            for _ in parts {
                let (images, labels) = batches.take()?;
                let logits = model.forward(&images, Mode::Evaluation)?;
                losses.push(ops::cross_entropy(&logits, &labels, 0.0)?.tensor().clone());
                let logits = logits.tensor().to_dtype(DType::F32)?;
                predictions.push(logits.argmax(D::Minus1)?);
            }
            Ok::<(), Error>(())
        })?;
        let losses = Tensor::cat(&losses, 0)?.to_vec1::<f32>()?;
        let predictions = Tensor::cat(&predictions, 0)?.to_vec1::<u32>()?;
        let outcomes: Vec<Outcome> = (split.labels.iter().zip(predictions).zip(losses))
            .map(|((label, prediction), loss)| Outcome { label: *label, prediction, loss })
            .collect();
        let n = outcomes.len() as f64;
        let correct = outcomes.iter().filter(|o| o.label == o.prediction).count();
        let loss = outcomes.iter().map(|o| f64::from(o.loss)).sum::<f64>() / n;
        Ok(Evaluation { loss, metric: correct as f64 / n, outcomes })
    }
}
