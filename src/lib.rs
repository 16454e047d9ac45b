//! Reproduces *Vertical LoRA* (arXiv 2406.09315): reads YAML experiment specs, and trains,
//! evaluates and compares baseline and VLoRA models.
//!
//! The path of data through the program: [`hub`] → [`data`] → [`tasks`] → [`models`] → [`train`] →
//! [`results`] → [`report`]. [`runner`] controls it, [`cli`] is the command line.

mod atomic;
pub mod checkpoints;
pub mod cli;
#[cfg(feature = "cuda")]
mod cuda_loader;
pub mod data;
pub mod error;
#[cfg(test)]
mod gpu_tests;
pub mod hub;
mod lock;
pub mod models;
pub mod nn;
pub mod random;
pub mod report;
pub mod results;
pub mod runner;
pub mod singular_values;
mod size;
pub mod spec;
pub mod tasks;
mod terminal;
pub mod train;
pub mod vlora;
