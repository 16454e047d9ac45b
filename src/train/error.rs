//! Why training or evaluation ended early.

use std::fmt::{self, Display};

use super::audit::AuditFault;
use crate::error::{Fault, plain};

#[derive(Debug)]
pub enum TrainError {
    Audit(AuditFault),
    NotFinite {
        what: &'static str,
        value: f64,
        step: u64,
        rate: f64,
    },
    /// The checkpoint is damaged or belongs to another run.
    Checkpoint(candle_core::Error),
    /// The weights to start from do not fit the model.
    Start(candle_core::Error),
    Tensor(candle_core::Error),
}

impl TrainError {
    /// The message.
    pub fn fault(&self) -> Fault {
        let of_tensors = |what: &str, e| Fault::failed(format!("{what}: {}", plain(e)));
        match self {
            TrainError::Audit(fault) => fault.fault(),
            TrainError::NotFinite { what, value, step, rate } => Fault::failed(format!(
                "the {what} stopped being finite at step {step} (learning rate {rate:e}): {value}"
            ))
            .help(
                "a lower training.learning_rate, a longer training.warmup_ratio or \
                 training.clip_norm may keep it finite",
            ),
            TrainError::Checkpoint(e) => {
                of_tensors("the checkpoint is damaged or belongs to another run", e)
            }
            TrainError::Start(e) => of_tensors("the weights to start from do not fit the model", e),
            TrainError::Tensor(e) => of_tensors("tensor operation failed", e),
        }
    }

    /// The tensor library's error, if there is one.
    pub fn of_tensors(&self) -> Option<&candle_core::Error> {
        match self {
            TrainError::Checkpoint(e) | TrainError::Start(e) | TrainError::Tensor(e) => Some(e),
            TrainError::Audit(_) | TrainError::NotFinite { .. } => None,
        }
    }
}

impl Display for TrainError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.fault().fmt(f)
    }
}

impl std::error::Error for TrainError {}

impl From<candle_core::Error> for TrainError {
    fn from(error: candle_core::Error) -> TrainError {
        TrainError::Tensor(error)
    }
}
