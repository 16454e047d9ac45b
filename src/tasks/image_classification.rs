//! Image classification: cross-entropy to train, accuracy to compare.

use candle_core::{D, Device, Result, Tensor};

use super::{Evaluation, Outcome, Split, Task, ahead};
use crate::data::{Augmenter, ImageData};
use crate::models::vit::Vit;
use crate::nn::{Pass, Place, Source, Trained, Value, ops};
use crate::spec::RunSpec;

pub struct ImageClassification<'a> {
    data: &'a ImageData,
    spec: &'a RunSpec,
    seed: u64,
    device: Device,
}

impl<'a> ImageClassification<'a> {
    pub fn new(data: &'a ImageData, spec: &'a RunSpec, seed: u64, device: Device) -> Self {
        ImageClassification { data, spec, seed, device }
    }
}

impl Task for ImageClassification<'_> {
    type Model = Vit;
    /// Normalised images and their labels.
    type Batch = (Tensor, Tensor);

    fn model(&self, source: &mut dyn Source) -> Result<Vit> {
        Vit::of(self.spec, source)
    }

    fn trained(&self) -> Trained {
        crate::vlora::trained(self.spec.lora.as_ref())
    }

    fn train_len(&self) -> usize {
        self.data.train.len()
    }

    fn train_batch(&self, epoch: usize, examples: &[usize]) -> Result<(Tensor, Tensor)> {
        let augmenter = Augmenter::new(&self.spec.data.augment, self.seed, epoch);
        self.data.batch(&self.data.train, examples, Some(&augmenter), &self.device)
    }

    fn loss(&self, model: &Vit, place: Place, batch: &(Tensor, Tensor)) -> Result<Value> {
        let (images, labels) = batch;
        let smoothing = self.spec.training.label_smoothing;
        let logits = model.forward(images, Pass::Training(place))?;
        ops::mean(&ops::cross_entropy(&logits, labels, smoothing)?)
    }

    fn evaluate(&self, model: &Vit, split: Split) -> Result<Evaluation> {
        let split = match split {
            Split::Validation => &self.data.validation,
            Split::Test => &self.data.test,
        };
        let mut outcomes = Vec::with_capacity(split.len());
        let all: Vec<usize> = (0..split.len()).collect();
        let parts = all.chunks(self.spec.training.batch_size);
        let make = |examples: &[usize]| self.data.batch(split, examples, None, &self.device);
        ahead(parts.clone(), make, |batches| {
            for examples in parts {
                let (images, labels) = batches.take()?;
                let logits = model.forward(&images, Pass::Evaluation)?;
                let losses =
                    ops::cross_entropy(&logits, &labels, 0.0)?.tensor().to_vec1::<f32>()?;
                let predictions = logits.tensor().argmax(D::Minus1)?.to_vec1::<u32>()?;
                for ((example, prediction), loss) in examples.iter().zip(predictions).zip(losses) {
                    outcomes.push(Outcome { label: split.labels[*example], prediction, loss });
                }
            }
            Ok::<(), candle_core::Error>(())
        })?;
        let n = outcomes.len() as f64;
        let correct = outcomes.iter().filter(|o| o.label == o.prediction).count();
        let loss = outcomes.iter().map(|o| f64::from(o.loss)).sum::<f64>() / n;
        Ok(Evaluation { loss, metric: correct as f64 / n, outcomes })
    }
}
