//! The life of a run: plan, claim, train, evaluate, record.

mod base_model;
mod bench;
mod checkpoints;
mod datasets;
pub mod device;
mod execute;
mod memory;
mod plan;
mod provenance;
mod start;

pub use base_model::{as_named, model_path, needed as base_model_files};
pub use bench::{Amount, Examples, Measured, Quartiles, largest_product, measure};
pub use device::select_device;
pub use execute::{Observer, Outcome, execute};
pub use memory::{Counting, keep_freed_memory};
pub use plan::{Plan, PlannedRun, PlannedVariant};
