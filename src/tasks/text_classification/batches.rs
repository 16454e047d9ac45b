//! Padded batches of texts.

use candle_core::{Device, Result, Tensor};

use super::data::{Data, model, section};
use crate::data::text::{TextSplit, batches};
use crate::models::encoder::Tokens;
use crate::spec::RunSpec;
use crate::tasks::data_set::{BatchPlan, DataSet, Split};

/// The texts of a run in batches.
pub struct TextBatches<'a> {
    data: &'a Data,
    batch_size: usize,
    is_grouped: bool,
    /// Whether the model has embeddings of token types.
    knows_types: bool,
    seed: u64,
    device: Device,
}

/// The model's input for a batch, and the labels.
pub struct TextBatch {
    pub texts: Tokens,
    /// \[batch\].
    pub labels: Tensor,
}

impl<'a> TextBatches<'a> {
    pub fn new(data: &'a Data, spec: &RunSpec, seed: u64, device: Device) -> TextBatches<'a> {
        TextBatches {
            data,
            batch_size: spec.training.batch_size,
            is_grouped: section(spec).group_by_length,
            knows_types: model(spec).token_types > 0,
            seed,
            device,
        }
    }

    pub fn split(&self, split: Split) -> &TextSplit {
        self.data.split(split)
    }

    fn plan(&self, split: Split, examples: Vec<usize>) -> BatchPlan {
        let texts = self.split(split);
        let units = examples.iter().map(|text| texts.length(*text) as u64).sum();
        let weight = examples.len() as f64;
        BatchPlan { examples, units, weight }
    }

    fn batch(&self, split: Split, examples: &[usize]) -> Result<TextBatch> {
        let texts = self.split(split);
        let lengths: Vec<usize> = examples.iter().map(|text| texts.length(*text)).collect();
        let tokens = lengths.iter().copied().max().unwrap_or(0);
        let padding = self.data.0.padding();
        let (mut ids, mut types) = (Vec::new(), Vec::new());
        for (row, text) in examples.iter().enumerate() {
            let (text_ids, kinds) = texts.get(*text);
            ids.extend_from_slice(text_ids);
            types.extend(kinds.iter().map(|kind| u32::from(*kind)));
            ids.resize((row + 1) * tokens, padding);
            types.resize((row + 1) * tokens, 0);
        }
        let labels: Vec<u32> = examples.iter().map(|text| texts.label(*text)).collect();
        let shape = (examples.len(), tokens);
        let ids = Tensor::from_vec(ids, shape, &self.device)?;
        let types = match self.knows_types {
            true => Some(Tensor::from_vec(types, shape, &self.device)?),
            false => None,
        };
        let labels = Tensor::from_vec(labels, examples.len(), &self.device)?;
        Ok(TextBatch { texts: Tokens { ids, types, lengths }, labels })
    }
}

impl DataSet for TextBatches<'_> {
    type Batch = TextBatch;

    fn len(&self, split: Split) -> usize {
        self.split(split).len()
    }

    fn epoch(&self, epoch: usize) -> Vec<BatchPlan> {
        let lengths = self.split(Split::Train).lengths();
        let all = batches(self.seed, epoch, &lengths, self.batch_size, self.is_grouped);
        all.into_iter().map(|examples| self.plan(Split::Train, examples)).collect()
    }

    fn batches_per_epoch(&self) -> usize {
        self.len(Split::Train).div_ceil(self.batch_size)
    }

    /// Texts are sorted by length, so that batches have almost no padding.
    fn evaluation(&self, split: Split) -> Vec<BatchPlan> {
        let lengths = self.split(split).lengths();
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|text| lengths[*text]);
        order.chunks(self.batch_size).map(|part| self.plan(split, part.to_vec())).collect()
    }

    fn train_batch(&self, _: usize, plan: &BatchPlan) -> Result<TextBatch> {
        self.batch(Split::Train, &plan.examples)
    }

    fn evaluation_batch(&self, split: Split, plan: &BatchPlan) -> Result<TextBatch> {
        self.batch(split, &plan.examples)
    }
}
