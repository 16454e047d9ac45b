//! What training and evaluation cost: the time of optimiser steps by what it goes into, of passes of
//! evaluation, and memory. Steps are those of the real [`Trainer`](crate::train::Trainer); nothing is
//! kept of them.

mod examples;
mod measure;
mod measured;
mod quartiles;
mod rate;
mod timing;

pub use examples::Examples;
pub use measure::measure;
pub use measured::Measured;
pub use quartiles::Quartiles;
pub use rate::{Rate, largest_product};
pub use timing::Amount;
