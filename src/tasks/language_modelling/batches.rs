//! Batches of windows.

use std::sync::OnceLock;

use candle_core::{Device, Result, Tensor};

use super::data::Data;
use crate::data::language::{Window, contiguous_starts, random_starts};
use crate::spec::{RunSpec, Windows};
use crate::tasks::data_set::{BatchPlan, DataSet, Split};

/// The windows of a run in batches.
pub struct WindowBatches<'a> {
    data: &'a Data,
    batch_size: usize,
    seed: u64,
    device: Device,
    /// Of training, validation and test, made when they are needed first.
    windows: [OnceLock<Vec<Window>>; 3],
}

/// The model's input for a batch, and the token after each of its tokens.
pub struct WindowBatch {
    /// \[batch, tokens\] u32.
    pub ids: Tensor,
    /// \[batch · tokens\] u32.
    pub targets: Tensor,
}

impl<'a> WindowBatches<'a> {
    pub fn new(data: &'a Data, spec: &RunSpec, seed: u64, device: Device) -> WindowBatches<'a> {
        WindowBatches {
            data,
            batch_size: spec.training.batch_size,
            seed,
            device,
            windows: Default::default(),
        }
    }

    /// The tokens of a split's text.
    pub fn ids(&self, split: Split) -> &[u32] {
        &self.data.tokens(split).ids
    }

    /// How many bytes each token stands for.
    pub fn bytes(&self, split: Split) -> &[u32] {
        &self.data.tokens(split).bytes
    }

    /// The windows of an evaluation.
    pub fn windows(&self, split: Split) -> &[Window] {
        let [train, validation, test] = &self.windows;
        let windows = match split {
            Split::Train => train,
            Split::Validation => validation,
            Split::Test => test,
        };
        windows.get_or_init(|| self.data.windows(split))
    }

    fn batch(
        &self,
        split: Split,
        begins: impl Iterator<Item = usize>,
        tokens: usize,
    ) -> Result<WindowBatch> {
        let all = self.ids(split);
        let (mut ids, mut targets, mut rows) = (Vec::new(), Vec::new(), 0);
        for begin in begins {
            ids.extend_from_slice(&all[begin..begin + tokens]);
            targets.extend_from_slice(&all[begin + 1..begin + tokens + 1]);
            rows += 1;
        }
        Ok(WindowBatch {
            ids: Tensor::from_vec(ids, (rows, tokens), &self.device)?,
            targets: Tensor::from_vec(targets, rows * tokens, &self.device)?,
        })
    }
}

impl DataSet for WindowBatches<'_> {
    type Batch = WindowBatch;

    fn len(&self, split: Split) -> usize {
        self.data.count(split)
    }

    /// The examples of a training batch are the tokens that its windows begin with.
    fn epoch(&self, epoch: usize) -> Vec<BatchPlan> {
        let tokens = self.ids(Split::Train).len();
        let (window, size) = (self.data.windowing.window, self.batch_size);
        let starts = match self.data.windowing.windows {
            Windows::Random => {
                let count = self.batches_per_epoch() * size;
                random_starts(self.seed, epoch, tokens, window, count)
            }
            Windows::Contiguous => contiguous_starts(self.seed, epoch, tokens, window),
        };
        let plan = |starts: &[usize]| {
            let units = (starts.len() * window) as u64;
            BatchPlan { examples: starts.to_vec(), units, weight: units as f64 }
        };
        starts.chunks(size).map(plan).collect()
    }

    fn batches_per_epoch(&self) -> usize {
        self.data.windowing.batches_per_epoch(self.ids(Split::Train).len(), self.batch_size)
    }

    /// The examples are windows. Those of a batch are equally long.
    fn evaluation(&self, split: Split) -> Vec<BatchPlan> {
        let windows = self.windows(split);
        let all: Vec<usize> = (0..windows.len()).collect();
        let alike = all.chunk_by(|a, b| windows[*a].tokens() == windows[*b].tokens());
        let plan = |examples: &[usize]| {
            let sum = |of: fn(&Window) -> usize| -> usize {
                examples.iter().map(|window| of(&windows[*window])).sum()
            };
            let (units, weight) = (sum(Window::tokens) as u64, sum(|window| window.scored) as f64);
            BatchPlan { examples: examples.to_vec(), units, weight }
        };
        alike.flat_map(|part| part.chunks(self.batch_size)).map(plan).collect()
    }

    fn train_batch(&self, _: usize, plan: &BatchPlan) -> Result<WindowBatch> {
        self.batch(Split::Train, plan.examples.iter().copied(), self.data.windowing.window)
    }

    fn evaluation_batch(&self, split: Split, plan: &BatchPlan) -> Result<WindowBatch> {
        let windows = self.windows(split);
        let tokens = plan.examples.first().map_or(0, |window| windows[*window].tokens());
        self.batch(split, plan.examples.iter().map(|window| windows[*window].begin), tokens)
    }
}
