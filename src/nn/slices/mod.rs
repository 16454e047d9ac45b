//! Loops over slices of float32 values, and tensors as slices. They know of no operation and no graph.

pub mod arithmetic;
pub mod blocks;
pub mod elementwise;
pub mod memory;
pub mod sequences;

pub use memory::{takes, tensor, with_all, with_values, with_values_mut};
