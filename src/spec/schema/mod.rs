//! The fields of a run: what a spec can say, with its defaults.
//!
//! `experiments/reference.yaml` is the same list with a comment for each field; a test checks that
//! both agree. Units are given in the comment of a field.

mod architecture;
mod augment;
mod data;
mod decoder;
mod encoder;
mod encoder_decoder;
mod language;
mod lora;
mod model;
mod run;
mod sharing;
mod stack;
mod start;
mod target;
mod text;
mod training;
mod translation;
mod vlora;

pub use architecture::*;
pub use augment::*;
pub use data::*;
pub use decoder::*;
pub use encoder::*;
pub use encoder_decoder::*;
pub use language::*;
pub use lora::*;
pub use model::*;
pub use run::*;
pub use sharing::*;
pub use stack::*;
pub use start::*;
pub use target::*;
pub use text::*;
pub use training::*;
pub use translation::*;
pub use vlora::*;
