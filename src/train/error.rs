//! Why training or evaluation ended early.

use super::audit::AuditFault;
use crate::error::plain;

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("{0}")]
    Audit(AuditFault),
    #[error(
        "the {what} stopped being finite at step {step} (learning rate {rate:e}): {value}\n  \
         help: a lower training.learning_rate, a longer training.warmup_ratio or \
         training.clip_norm may keep it finite"
    )]
    NotFinite { what: &'static str, value: f64, step: u64, rate: f64 },
    #[error("the checkpoint is damaged or belongs to another run: {}", plain(.0))]
    Checkpoint(candle_core::Error),
    #[error("the weights to start from do not fit the model: {}", plain(.0))]
    Start(candle_core::Error),
    #[error("tensor operation failed: {}", plain(.0))]
    Tensor(#[from] candle_core::Error),
}

impl TrainError {
    /// The tensor library's error, if there is one.
    pub fn of_tensors(&self) -> Option<&candle_core::Error> {
        match self {
            TrainError::Checkpoint(e) | TrainError::Start(e) | TrainError::Tensor(e) => Some(e),
            TrainError::Audit(_) | TrainError::NotFinite { .. } => None,
        }
    }
}
