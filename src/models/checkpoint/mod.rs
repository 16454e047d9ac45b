//! Models in files: this project's own form, and those of other programs.

mod fault;
mod file;

pub use fault::Fault;
pub use file::{MODEL, TensorFile, parse, read};
