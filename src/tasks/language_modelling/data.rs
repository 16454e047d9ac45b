//! The text of a run, and how it is cut into windows.

use std::sync::Arc;

use crate::data::language::{
    LanguageData, Tokens, Window, contiguous_count, covering, random_windows, train_count,
};
use crate::spec::{DecoderSpec, LanguageDataSpec, RunSpec, Windows};
use crate::tasks::data_set::Split;

/// The data section of a run of this task. Reading a spec ensures that there is no other.
pub fn section(spec: &RunSpec) -> &LanguageDataSpec {
    match spec.data.as_language() {
        Some(data) => data,
        None => unreachable!("the data section is read by its task"),
    }
}

/// The sizes of the model of a run of this task. Reading a spec ensures that there is no other.
pub fn model(spec: &RunSpec) -> &DecoderSpec {
    match spec.model.as_decoder() {
        Some(model) => model,
        None => unreachable!("the model's section is read by its architecture"),
    }
}

/// How texts are cut into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windowing {
    /// Tokens of a window.
    pub window: usize,
    /// How windows of training are chosen.
    pub windows: Windows,
    /// Windows of a batch of training.
    pub batch: usize,
    /// How many windows an epoch draws at random; None for as many as the text holds.
    pub epoch_windows: Option<usize>,
    /// By how many tokens windows of an evaluation advance.
    pub stride: usize,
    /// The number of windows of an evaluation that are chosen at random; None covers the whole split.
    pub random: Option<usize>,
}

impl Windowing {
    pub fn of(spec: &RunSpec) -> Windowing {
        let (data, positions) = (section(spec), model(spec).positions);
        let batch = spec.training.batch_size;
        Windowing {
            window: data.window(positions),
            windows: data.windows,
            batch,
            epoch_windows: data.epoch_windows,
            stride: data.stride(positions),
            random: data
                .evaluation
                .map(|evaluation| evaluation.random_batches.saturating_mul(batch)),
        }
    }

    /// Windows that an epoch of training draws, but for the rounding to whole batches.
    fn train_windows(&self, tokens: usize) -> usize {
        match self.windows {
            Windows::Random => match self.epoch_windows {
                Some(windows) => windows,
                None => train_count(tokens, self.window),
            },
            Windows::Contiguous => contiguous_count(tokens, self.window),
        }
    }

    /// Windows of an epoch of training.
    pub fn epoch_of(&self, tokens: usize) -> usize {
        match self.windows {
            Windows::Random => self.batches_per_epoch(tokens, self.batch) * self.batch,
            Windows::Contiguous => self.train_windows(tokens),
        }
    }

    /// Batches of an epoch of training. Random windows fill all of them.
    pub fn batches_per_epoch(&self, tokens: usize, size: usize) -> usize {
        let windows = self.train_windows(tokens);
        match self.windows {
            Windows::Random => (windows / size.max(1)).max(usize::from(windows > 0)),
            Windows::Contiguous => windows.div_ceil(size.max(1)),
        }
    }
}

/// The tokens of a run's texts. Clones share them.
#[derive(Clone)]
pub struct Data {
    pub text: Arc<LanguageData>,
    pub windowing: Windowing,
    /// The most windows of an evaluation of validation; None for all.
    pub most: Option<usize>,
}

impl Data {
    pub fn new(text: LanguageData, spec: &RunSpec) -> Data {
        Data { text: Arc::new(text), windowing: Windowing::of(spec), most: None }
    }

    pub fn tokens(&self, split: Split) -> &Tokens {
        match split {
            Split::Train => &self.text.train,
            Split::Validation => &self.text.validation,
            Split::Test => &self.text.test,
        }
    }

    /// The windows of an evaluation.
    pub fn windows(&self, split: Split) -> Vec<Window> {
        let (tokens, Windowing { window, stride, random, .. }) =
            (self.tokens(split).len(), self.windowing);
        let mut windows = match random {
            Some(count) if tokens > window => random_windows(tokens, window, count, split.name()),
            // A text that is shorter than a window is one.
            _ => covering(tokens, window, stride),
        };
        if let (Split::Validation, Some(most)) = (split, self.most) {
            windows.truncate(most);
        }
        windows
    }

    /// Number of windows.
    pub fn count(&self, split: Split) -> usize {
        match split {
            Split::Train => self.windowing.epoch_of(self.text.train.len()),
            Split::Validation | Split::Test => self.windows(split).len(),
        }
    }
}
