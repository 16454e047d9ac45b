//! `training`: the recipe, from the batch size to whose weights are tested.

use serde::{Deserialize, Serialize};

/// The recipe of a training: AdamW, the schedule of its rate, batches, and whose weights are tested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingSpec {
    pub epochs: usize,
    /// Number of optimiser steps, at most that of all epochs; training may end within an epoch, and the
    /// schedule spans these steps. None: the epochs decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Early stopping: the number of epochs without a better validation metric, or with `select: best-loss`
    /// without a lower validation loss, after which training ends. None: it does not end early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Examples in a forward pass (micro-batch).
    pub batch_size: usize,
    /// Forward passes for an optimiser step (gradient accumulation), at most as many as an epoch has batches.
    /// The effective batch is `batch_size × accumulation`.
    pub accumulation: usize,
    /// Peak learning rate, reached after warm-up.
    pub learning_rate: f64,
    /// The schedule of the learning rate after warm-up.
    pub schedule: ScheduleKind,
    /// `plateau` multiplies the rate by this; None is 0.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plateau_factor: Option<f64>,
    /// `plateau` tolerates this number of validations without improvement; None is 10. Validations that do
    /// not measure what is compared do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plateau_patience: Option<usize>,
    /// The rate does not fall below this share of the peak.
    pub min_learning_rate_ratio: f64,
    /// Share of all optimiser steps over which the rate rises linearly.
    pub warmup_ratio: f64,
    /// The number of warm-up steps, in place of `warmup_ratio`, which is 0 then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<usize>,
    /// With `select: last`: the mean of the weights after each of the last N epochs is tested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_last: Option<usize>,
    /// Decay of an exponential moving average of the weights, which is updated after each step, and validated
    /// and tested in their place (timm's `model_ema_decay`). None: there is no average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema_decay: Option<f64>,
    /// Decoupled weight decay; not applied to biases, norms, positions and the class token.
    pub weight_decay: f64,
    /// Peak learning rate of the factors and matrices of increments; None is `learning_rate`. It follows
    /// the same schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub increment_learning_rate: Option<f64>,
    /// Weight decay of these; None is `weight_decay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub increment_weight_decay: Option<f64>,
    /// β1 of AdamW.
    pub beta1: f64,
    /// β2 of AdamW.
    pub beta2: f64,
    /// ε of AdamW.
    pub epsilon: f64,
    /// Global gradient norm above which gradients are scaled down; null is off.
    pub clip_norm: Option<f64>,
    pub label_smoothing: f64,
    pub select: Select,
}

impl Default for TrainingSpec {
    fn default() -> Self {
        TrainingSpec {
            epochs: 10,
            steps: None,
            patience: None,
            batch_size: 64,
            accumulation: 1,
            learning_rate: 1e-3,
            schedule: ScheduleKind::Cosine,
            plateau_factor: None,
            plateau_patience: None,
            min_learning_rate_ratio: 0.0,
            warmup_ratio: 0.05,
            warmup_steps: None,
            average_last: None,
            ema_decay: None,
            weight_decay: 0.05,
            increment_learning_rate: None,
            increment_weight_decay: None,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip_norm: Some(1.0),
            label_smoothing: 0.0,
            select: Select::Last,
        }
    }
}

/// The schedule of the learning rate after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Falls on half a cosine to `min_learning_rate_ratio` of the peak.
    #[default]
    Cosine,
    /// Falls on a straight line to `min_learning_rate_ratio` of the peak.
    Linear,
    /// Stays at the peak. Its runs have the ids of a cosine that ends at the peak, which is the same.
    Constant,
    /// Falls with the inverse square root of the step.
    InverseSqrt,
    /// Falls when validation is no better for a while.
    Plateau,
}

impl TrainingSpec {
    /// What `plateau` multiplies the rate by. The defaults are those of PyTorch's `ReduceLROnPlateau`.
    pub fn plateau_factor(&self) -> f64 {
        self.plateau_factor.unwrap_or(0.1)
    }

    /// For how many validations that are no better `plateau` waits.
    pub fn plateau_patience(&self) -> usize {
        self.plateau_patience.unwrap_or(10)
    }

    /// Whether there is any training. `training: none`, which has no epochs, tests the weights of `start`.
    pub fn trains(&self) -> bool {
        self.epochs > 0
    }

    /// Brings values that mean the same to the same.
    pub fn normalise(&mut self) {
        if !self.trains() {
            // Examples are evaluated in batches of this size.
            let batch_size = self.batch_size;
            *self = TrainingSpec { epochs: 0, batch_size, ..TrainingSpec::default() };
        }
        match self.schedule {
            ScheduleKind::Constant => self.min_learning_rate_ratio = 1.0,
            ScheduleKind::Plateau => {
                self.plateau_factor = Some(self.plateau_factor());
                self.plateau_patience = Some(self.plateau_patience());
            }
            ScheduleKind::Cosine | ScheduleKind::Linear | ScheduleKind::InverseSqrt => {}
        }
        if self.warmup_steps.is_some() {
            self.warmup_ratio = 0.0;
        }
    }
}

/// Whose weights are tested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// Those after the last epoch.
    #[default]
    Last,
    /// Those of the epoch with the best validation metric, the earliest of equals.
    Best,
    /// Those of the epoch with the lowest validation loss, the earliest of equals.
    BestLoss,
}

impl Select {
    /// Whether validation chooses an epoch.
    pub fn is_by_validation(self) -> bool {
        matches!(self, Select::Best | Select::BestLoss)
    }
}
