//! Training: the loop, AdamW, the learning-rate schedule, prefetching, evaluation, checkpoints and
//! the gradient audit.

mod adamw;
mod audit;
mod average;
mod checkpoint;
mod error;
mod evaluate;
mod length;
mod moving_average;
mod plateau;
mod prefetch;
mod schedule;
mod step;
mod trainer;

pub use adamw::AdamW;
pub use audit::{AuditFault, audit};
pub use checkpoint::{Checkpoint, EpochProgress, Journals, Load};
pub use error::TrainError;
pub use evaluate::{evaluate, evaluate_logit_lens};
pub use length::TrainingLength;
pub use prefetch::{Prefetched, prefetch};
pub use schedule::Schedule;
pub use step::{Step, StepTimes};
pub use trainer::{Flow, Start, Trainer};
