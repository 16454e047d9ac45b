//! Trainable building blocks: random streams, initialisers, the parameter store, and the
//! differentiable operations the models are made of.

mod composed;
mod cpu;
mod init;
pub mod ops;
mod random;
mod store;

pub use init::Init;
pub use random::{Purpose, Stream};
pub use store::{Frozen, Parameter, ParameterStore, Source};
