//! Padded batches of sentence pairs.

use candle_core::{Device, Result, Tensor};

use super::data::{Data, section};
use crate::data::text::batches as of_texts;
use crate::data::translation::{PAD, PairSplit, batches};
use crate::models::encoder_decoder::Tokens;
use crate::spec::RunSpec;
use crate::tasks::data_set::{BatchPlan, DataSet, Split};

/// The sentence pairs of a run in batches.
pub struct PairBatches<'a> {
    data: &'a Data,
    batch_size: usize,
    /// The most tokens of a language in a training batch, in place of `batch_size`.
    batch_tokens: Option<usize>,
    is_grouped: bool,
    seed: u64,
    device: Device,
}

/// The model's input for a batch, and the tokens to predict.
pub struct PairBatch {
    pub split: Split,
    pub source: Tokens,
    /// Translations without their last token.
    pub target: Tokens,
    /// The token after each token of the translations, without padding: \[sum of the target's lengths\] u32.
    pub labels: Tensor,
}

impl<'a> PairBatches<'a> {
    pub fn new(data: &'a Data, spec: &RunSpec, seed: u64, device: Device) -> PairBatches<'a> {
        let (data_spec, batch_size) = (section(spec), spec.training.batch_size);
        let (batch_tokens, is_grouped) = (data_spec.batch_tokens, data_spec.group_by_length);
        PairBatches { data, batch_size, batch_tokens, is_grouped, seed, device }
    }

    pub fn split(&self, split: Split) -> &PairSplit {
        self.data.split(split)
    }

    fn lengths(&self, split: Split) -> Vec<(usize, usize)> {
        let pairs = self.split(split);
        (0..pairs.len()).map(|pair| pairs.lengths(pair)).collect()
    }

    /// Units and weight count predicted tokens.
    fn plan(&self, split: Split, examples: Vec<usize>) -> BatchPlan {
        let pairs = self.split(split);
        let units: u64 = examples.iter().map(|pair| pairs.lengths(*pair).1 as u64).sum();
        BatchPlan { examples, units, weight: units as f64 }
    }

    fn batch(&self, split: Split, examples: &[usize]) -> Result<PairBatch> {
        let pairs = self.split(split);
        let source: Vec<&[u32]> = examples.iter().map(|pair| pairs.source(*pair)).collect();
        let target: Vec<&[u32]> = examples.iter().map(|pair| pairs.target(*pair)).collect();
        let inputs: Vec<&[u32]> =
            target.iter().map(|ids| &ids[..ids.len().saturating_sub(1)]).collect();
        let labels: Vec<u32> = target.iter().flat_map(|ids| ids.iter().skip(1)).copied().collect();
        let count = labels.len();
        Ok(PairBatch {
            split,
            source: padded(&source, &self.device)?,
            target: padded(&inputs, &self.device)?,
            labels: Tensor::from_vec(labels, count, &self.device)?,
        })
    }
}

/// Sentences as one tensor.
pub fn padded(sentences: &[&[u32]], device: &Device) -> Result<Tokens> {
    let lengths: Vec<usize> = sentences.iter().map(|ids| ids.len()).collect();
    let tokens = lengths.iter().copied().max().unwrap_or(0);
    let mut ids = Vec::with_capacity(sentences.len() * tokens);
    for (row, sentence) in sentences.iter().enumerate() {
        ids.extend_from_slice(sentence);
        ids.resize((row + 1) * tokens, PAD);
    }
    let ids = Tensor::from_vec(ids, (sentences.len(), tokens), device)?;
    Ok(Tokens { ids, types: None, lengths })
}

/// The order of pairs by length, the source's first.
fn key((source, target): (usize, usize)) -> usize {
    // Sentences have fewer tokens than this.
    (source << 20) + target
}

impl DataSet for PairBatches<'_> {
    type Batch = PairBatch;

    fn len(&self, split: Split) -> usize {
        self.split(split).len()
    }

    fn epoch(&self, epoch: usize) -> Vec<BatchPlan> {
        let lengths = self.lengths(Split::Train);
        let all = match self.batch_tokens {
            Some(most) => batches(self.seed, epoch, &lengths, most),
            None => {
                let keys: Vec<usize> = lengths.into_iter().map(key).collect();
                of_texts(self.seed, epoch, &keys, self.batch_size, self.is_grouped)
            }
        };
        all.into_iter().map(|examples| self.plan(Split::Train, examples)).collect()
    }

    fn batches_per_epoch(&self) -> usize {
        batches_per_epoch(self.data, self.batch_size, self.batch_tokens)
    }

    /// Pairs are sorted by length, so that batches have almost no padding.
    fn evaluation(&self, split: Split) -> Vec<BatchPlan> {
        let lengths = self.lengths(split);
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|pair| key(lengths[*pair]));
        order.chunks(self.batch_size).map(|part| self.plan(split, part.to_vec())).collect()
    }

    fn train_batch(&self, _: usize, plan: &BatchPlan) -> Result<PairBatch> {
        self.batch(Split::Train, &plan.examples)
    }

    fn evaluation_batch(&self, split: Split, plan: &BatchPlan) -> Result<PairBatch> {
        self.batch(split, &plan.examples)
    }
}

/// Number of batches in an epoch of training.
pub fn batches_per_epoch(data: &Data, batch_size: usize, batch_tokens: Option<usize>) -> usize {
    let train = data.split(Split::Train);
    match batch_tokens {
        None => train.len().div_ceil(batch_size.max(1)),
        Some(most) => {
            let lengths: Vec<_> = (0..train.len()).map(|pair| train.lengths(pair)).collect();
            batches(0, 0, &lengths, most).len()
        }
    }
}
