//! Descriptors say what operations compute, not how: sizes, masks and options that all backends share.
//!
//! An operation makes its descriptor and passes it to the backend that runs it.

mod adamw;
mod attention;
mod dropout;
mod linear;

pub use adamw::{AdamWUpdate, UpdateGroup};
pub use attention::{AttentionSizes, Mask};
pub use dropout::Dropout;
pub use linear::{Epilogue, Gelu, Linear, Size, Weights};
