//! The integration tests, as one program: each program takes its time to link, since the library is large.
//!
//! A file is a subject. `cargo test --release --test suite -- subject::` tests that one. A test that sets
//! or counts something of the whole process needs a program of its own, as tests/packing.rs is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

mod architecture;
mod bad_checkpoints;
mod bad_data;
mod bad_shards;
mod bad_specs;
mod base_models;
mod bench;
mod checkpoints;
mod claims;
mod cli;
mod compare;
mod confusion;
mod costs;
#[cfg(feature = "cuda")]
mod cuda_loader;
mod data;
mod decoder;
mod dense_ladder;
mod encoder;
mod encoder_decoder;
mod encoder_decoder_formats;
mod ending;
mod evaluate;
mod experiments;
mod fetch;
mod hub;
mod integrity;
mod jobs;
mod language_modelling;
mod layers;
mod layouts;
mod marian;
mod oracle;
mod precision;
mod recipes;
mod report;
mod runs;
mod sharing;
#[cfg(unix)]
mod slurm;
mod specs;
mod spectrum;
mod starts;
mod stochastic_depth;
mod survival;
mod tensorboard;
mod text_classification;
mod tokenizer;
mod translation;
mod tuning;
mod validation;
