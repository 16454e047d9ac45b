//! What several files of tests share.

pub mod checkpoints;
pub mod compare;
pub mod data;
pub mod evidence;
pub mod hash;
pub mod hub_server;
pub mod minilm;
pub mod plays;
pub mod program;
pub mod pytorch;
pub mod results;
pub mod spec;
pub mod svg;
pub mod texts;
pub mod told;
pub mod training;
pub mod workers;
