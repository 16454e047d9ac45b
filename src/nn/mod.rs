//! Trainable building blocks: initialisers, the parameter store, and the differentiable operations
//! that models are made of.
//!
//! From the bottom up: loops over slices (`slices`), the graph (`graph`), descriptors of operations
//! (`descriptors`), the backends that compute them (`cpu`, `cuda`, `composed`), the choice of a backend
//! (`backend`), and the operations with their gradients (`ops`).

mod backend;
mod composed;
mod cpu;
mod cuda;
mod descriptors;
mod device;
mod graph;
mod init;
pub mod logits;
mod low_rank;
mod mode;
pub mod ops;
mod optimizer;
mod role;
mod slices;
mod store;

pub use cpu::linear::BackwardProducts;
pub use cpu::{packing, product_rate, thin_cost_in_tenths};
#[cfg(test)]
pub use cuda::emulated;
pub use cuda::{Counters, KernelTime};
pub use descriptors::{AdamWUpdate, AttentionSizes, Size, UpdateGroup};
pub use device::{
    DeviceRates, Reading, configure, counters, device_free_bytes, device_peak_bytes, device_rates,
    kernel_times, reset_device_peak, time_kernels,
};
pub use graph::{Gradients, Sink, Variable};
pub use init::Init;
pub use low_rank::LowRank;
pub use mode::{Mode, StepKey};
pub use optimizer::{AdamWSlot, MultiTensorAdamW, adamw_update, sum_of_squares};
pub use role::{Kind, Part, Role};
pub use store::{Constants, Frozen, Parameter, ParameterBuilder, ParameterStore, Trained};
