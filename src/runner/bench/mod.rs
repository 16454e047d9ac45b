//! The costs of training and evaluation: the time of optimiser steps and their parts, the time of
//! evaluation passes, and memory. Steps are those of the real [`Trainer`](crate::train::Trainer);
//! their results are discarded.

mod examples;
mod measure;
mod measured;
mod quartiles;
mod rate;
mod timing;

pub use examples::Examples;
pub use measure::Timings;
pub use measured::Measured;
pub use quartiles::Quartiles;
pub use rate::{Rate, largest_product};
pub use timing::Amount;
