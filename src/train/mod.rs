//! Training: the loop, AdamW, the learning-rate schedule, checkpoints and the gradient audit.

mod adamw;
mod audit;
mod checkpoint;
mod schedule;
mod trainer;

pub use adamw::AdamW;
pub use audit::{AuditFault, audit};
pub use checkpoint::Load;
pub use schedule::Schedule;
pub use trainer::{
    EpochSummary, Start, Step, StepTimes, TrainError, Trainer, epoch_order, steps_per_epoch,
};
