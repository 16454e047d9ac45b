//! Trainable building blocks: initialisers, the parameter store, and the
//! differentiable operations the models are made of.

mod composed;
mod cpu;
mod cuda;
mod graph;
mod init;
mod low_rank;
pub mod ops;
mod optimizer;
mod pass;
mod store;

pub use cpu::product_rate;
pub use graph::{Gradients, Sink, Value};
pub use init::Init;
pub use low_rank::LowRank;
pub use optimizer::{Update, adamw_update, square_sum};
pub use pass::{Pass, Place};
pub use store::{Frozen, Parameter, ParameterStore, Source, Trained};
