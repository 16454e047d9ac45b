//! Normalised batches of images. Training images are also augmented.

use std::sync::OnceLock;

use candle_core::{DType, Device, Error, Result, Tensor};

use super::data::section;
use super::held_images::HeldImages;
use crate::data::{Augmenter, ImageData, ImageSplit, Mixer};
use crate::spec::RunSpec;
use crate::tasks::blueprint::activations;
use crate::tasks::data_set::{BatchPlan, DataSet, Split, batches_of, epoch_order};

/// Bytes of a split that a device holds at most. Larger splits are transferred batch by batch.
const MAX_HELD: usize = 4 << 30;

/// Whether a device holds a split of this many bytes.
pub fn is_held(bytes: usize) -> bool {
    bytes <= MAX_HELD
}

/// A batch of images.
pub struct ImageBatch {
    /// Normalised, \[batch, channels, side, side\].
    pub images: Tensor,
    /// Their labels \[batch\].
    pub labels: Tensor,
    /// Where images are mixed with others: the labels of those, and the share of the own ones.
    pub others: Option<(Tensor, f64)>,
}

/// The images of a run in batches.
pub struct ImageBatches<'a> {
    data: &'a ImageData,
    spec: &'a RunSpec,
    seed: u64,
    device: Device,
    /// The images of training, validation and test on the device. They are transferred at first
    /// use.
    held: [OnceLock<std::result::Result<Option<HeldImages>, String>>; 3],
}

impl<'a> ImageBatches<'a> {
    pub fn new(data: &'a ImageData, spec: &'a RunSpec, seed: u64, device: Device) -> Self {
        ImageBatches { data, spec, seed, device, held: Default::default() }
    }

    /// The labels of a split's examples.
    pub fn labels(&self, split: Split) -> &[u32] {
        &self.split(split).labels
    }

    fn split(&self, split: Split) -> &ImageSplit {
        match split {
            Split::Train => &self.data.train,
            Split::Validation => &self.data.validation,
            Split::Test => &self.data.test,
        }
    }

    /// The images of a split, if the device holds them.
    fn held(&self, split: Split) -> Result<Option<&HeldImages>> {
        let images = self.split(split);
        let (n, side, _, channels) = images.dims();
        if !is_held(n * side * side * channels) {
            return Ok(None);
        }
        let held = self.held[split as usize].get_or_init(|| {
            let of = &self.data.statistics;
            let dims = images.dims();
            HeldImages::new(|| images.bytes(), dims, &of.mean, &of.std, &self.device)
                .map_err(|e| e.to_string())
        });
        held.as_ref().map(Option::as_ref).map_err(|e| Error::Msg(e.clone()))
    }

    /// Images in `dtype`, and their labels.
    fn batch(
        &self,
        split: Split,
        examples: &[usize],
        augmenter: Option<&Augmenter>,
        dtype: DType,
    ) -> Result<ImageBatch> {
        let images = self.split(split);
        // The device can crop the squares that it holds. All else is done to images on the CPU.
        let on_cpu = augmenter.is_some_and(Augmenter::needs_cpu);
        let held = if on_cpu { None } else { self.held(split)? };
        let (images, labels) = match held {
            None => {
                let (images, labels) =
                    self.data.batch(images, examples, augmenter, &self.device)?;
                (images.to_dtype(dtype)?, labels)
            }
            Some(held) => {
                let pick = |&example: &usize| {
                    let change = augmenter.map_or((0, 0, false), |a| a.draw(example));
                    let (right, down, mirrored) = change;
                    [example as i32, right as i32, down as i32, i32::from(mirrored)]
                };
                let picks: Vec<[i32; 4]> = examples.iter().map(pick).collect();
                let labels: Vec<u32> = examples.iter().map(|&e| images.labels[e]).collect();
                let labels = Tensor::from_vec(labels, examples.len(), &self.device)?;
                (held.batch(&picks, dtype)?, labels)
            }
        };
        Ok(ImageBatch { images, labels, others: None })
    }

    /// A batch of training whose images are mixed with one another.
    fn mixed(&self, epoch: usize, plan: &BatchPlan, augmenter: &Augmenter) -> Result<ImageBatch> {
        let examples = &plan.examples;
        let draw = || {
            let mixer = Mixer::new(section(self.spec).augment.mix?, self.seed, epoch);
            let (_, side, ..) = self.split(Split::Train).dims();
            mixer.draw(*examples.first()?, side)
        };
        let Some(mixed) = draw() else {
            return self.batch(Split::Train, examples, Some(augmenter), self.activations());
        };
        let batch = self.batch(Split::Train, examples, Some(augmenter), DType::F32)?;
        let of = &self.split(Split::Train).labels;
        let others: Vec<u32> = examples.iter().rev().map(|&e| of[e]).collect();
        let others = Tensor::from_vec(others, examples.len(), &self.device)?;
        Ok(ImageBatch {
            images: mixed.apply(&batch.images)?.to_dtype(self.activations())?,
            others: Some((others, mixed.own)),
            ..batch
        })
    }

    fn activations(&self) -> DType {
        activations(self.spec.precision)
    }
}

impl DataSet for ImageBatches<'_> {
    type Batch = ImageBatch;

    fn len(&self, split: Split) -> usize {
        self.split(split).len()
    }

    fn epoch(&self, epoch: usize) -> Vec<BatchPlan> {
        let order = epoch_order(self.seed, epoch, self.len(Split::Train));
        batches_of(&order, self.spec.training.batch_size)
    }

    fn batches_per_epoch(&self) -> usize {
        self.len(Split::Train).div_ceil(self.spec.training.batch_size)
    }

    fn evaluation(&self, split: Split) -> Vec<BatchPlan> {
        let all: Vec<usize> = (0..self.len(split)).collect();
        batches_of(&all, self.spec.training.batch_size)
    }

    fn train_batch(&self, epoch: usize, plan: &BatchPlan) -> Result<ImageBatch> {
        let augmenter = Augmenter::new(section(self.spec), self.seed, epoch);
        self.mixed(epoch, plan, &augmenter)
    }

    fn evaluation_batch(&self, split: Split, plan: &BatchPlan) -> Result<ImageBatch> {
        self.batch(split, &plan.examples, None, self.activations())
    }

    fn held_bytes(&self) -> u64 {
        let held = self.held.iter().filter_map(|held| held.get()?.as_ref().ok()?.as_ref());
        held.map(HeldImages::size).sum()
    }
}
