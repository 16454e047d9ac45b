//! Models, written once for baseline and VLoRA: both are the same layers holding different
//! weights.

pub mod vit;
