//! What operations compute, apart from how: sizes, masks and choices that the backends share.
//!
//! These stand below the backends. An operation makes its descriptor and hands it to the backend
//! that runs it.

mod adamw;
mod attention;
mod dropout;
mod linear;

pub use adamw::Update;
pub use attention::{AttentionSizes, Mask};
pub use dropout::Dropout;
pub use linear::{Epilogue, Linear, Size, Weights};
