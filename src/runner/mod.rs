//! The life of a run: plan, lock, train, evaluate, record.

mod allocator;
mod base_model;
mod bench;
mod checkpoint_interval;
mod checkpoints;
mod datasets;
mod device;
mod estimate;
mod evaluate;
mod execute;
mod generate;
mod initial_weights;
mod invocation;
pub mod launch;
mod load;
mod observer;
mod out_of_memory;
mod peak_memory;
mod plan;
mod precision;
mod probe;
mod provenance;
mod queue;
mod resume;
mod run_error;
mod run_executor;
mod seed_effects;
mod threads;
mod training_checks;
mod verify;
mod worker_context;
mod worker_options;

pub use allocator::{Counting, keep_freed_memory};
pub use base_model::{as_named, model_path, needed as base_model_files};
pub use bench::{Amount, Examples, Measured, Quartiles, Rate, Timings, largest_product};
pub use checkpoint_interval::CheckpointInterval;
pub use device::{device_list, device_name, planned_kind, select_device, unused_gpu};
pub use estimate::{Basis, Estimate, History};
pub use evaluate::{
    Evaluated, chosen as chosen_variant, evaluate, hints as evaluation_hints,
    named as named_variants,
};
pub use execute::execute;
pub use generate::{Request as GenerationRequest, generate, translate};
pub use invocation::Invocation;
pub use observer::{Observer, Outcome};
pub use plan::{Plan, PlannedRun, PlannedVariant};
pub use precision::device_kind;
pub use probe::{Probe, probe};
pub use provenance::rfc3339;
pub use threads::start_thread_pool;
pub use verify::{Repetition, VerifyScope, verify};
pub use worker_options::WorkerOptions;
