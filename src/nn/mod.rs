//! Trainable building blocks: initialisers, the parameter store, and the
//! differentiable operations the models are made of.

mod composed;
mod cpu;
mod cuda;
mod device;
mod graph;
mod init;
mod low_rank;
mod mode;
pub mod ops;
mod optimizer;
mod store;

pub use cpu::attention::Attention as AttentionSizes;
pub use cpu::linear::{Multiplied, Size};
pub use cpu::{packing, product_rate};
#[cfg(test)]
pub use cuda::emulated;
pub use device::{
    Counters, DeviceRates, HeldImages, KernelTime, Reading, configure, counters, device_free_bytes,
    device_peak_bytes, device_rates, kernel_times, reset_device_peak, time_kernels,
};
pub use graph::{Gradients, Sink, Variable};
pub use init::Init;
pub use low_rank::LowRank;
pub use mode::{Mode, StepKey};
pub use optimizer::{AdamWSlot, MultiTensorAdamW, Update, adamw_update, square_sum};
pub use store::{Frozen, Parameter, ParameterBuilder, ParameterStore, Trained};
