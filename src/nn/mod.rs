//! Trainable building blocks: initialisers, the parameter store, and the
//! differentiable operations the models are made of.

mod composed;
mod cpu;
mod init;
pub mod ops;
mod pass;
mod store;

pub use cpu::product_rate;
pub use init::Init;
pub use pass::{Pass, Place};
pub use store::{Frozen, Parameter, ParameterStore, Source, Trained};
