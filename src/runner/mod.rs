//! The life of a run: plan, claim, train, evaluate, record.

mod base_model;
mod checkpoints;
mod device;
mod execute;
mod memory;
mod plan;
mod provenance;
mod start;

pub use base_model::{as_named, model_path, needed as base_model_files};
pub use device::select_device;
pub use execute::{Observer, Outcome, execute};
pub use memory::Counting;
pub use plan::{Plan, PlannedRun, PlannedVariant};
