//! The evidence on disk: what a run leaves, and how it is written and read.
//!
//! ```text
//! results/<experiment>/
//!   experiment.json          what is compared: variants, seeds, the run of each
//!   experiment.yaml          the spec file as written; `--set` changes are in the command line of
//!                            each run's provenance
//!   runs/<id>/
//!     spec.json              resolved spec and seed
//!     provenance.json        program, device, command line, hashes of the files read
//!     start.json             where a run starts from other weights: which, and what was kept
//!     steps.jsonl            one line per optimiser step
//!     epochs.jsonl           one line per epoch
//!     checkpoint.safetensors while the run is not finished
//!     checkpoint-previous.safetensors   the one before
//!     model.safetensors      the tested weights
//!     test.jsonl             one line per test example
//!     result.json            written last: the run is finished
//!     failure.json           instead: the run failed, and why
//!     verified.json          once it was repeated: whether every bit was the same
//!     layers.json            once its layers were read: scores after each
//!     .claim                 while a process works on the run: which
//!   table.md table.csv samples.md runs.parquet *.svg *.png   made from the above by `vlora report`
//! ```
//!
//! Files of lines that are large are compressed when their run ends: `steps.jsonl.zst` instead of
//! `steps.jsonl`.
//!
//! The state of a run follows from which of these files exist, and from whether a finished run's
//! files are unchanged ([`RunFolder::verify`]). No field stores it, so none can be wrong.

mod compressed;
mod confusion;
mod digest;
mod evidence;
mod example_statistics;
mod flags;
mod folder;
mod integrity;
mod journal;
mod json;
mod logit_lens;
mod metric;
mod record;
mod reuse;
mod run_lock;
mod samples;
mod scratch;
mod spectrum_record;
mod state;
mod task_fields;

pub use confusion::Confusion;
pub use evidence::{Assessment, Evidence, EvidenceOf, Scores, Setting, TrivialBaseline};
pub use example_statistics::ExampleStatistics;
pub use flags::Flags;
pub use folder::{Deletion, ExperimentFolder, RunFolder, TRAIN_AGAIN};
pub use integrity::{CheckLevel, IntactRun, Weights, evidence_files};
pub use journal::{Journal, JournalWriter};
pub use json::{lines, read_json, write_json};
pub use logit_lens::{LayerScores, LogitLens};
pub use metric::{Better, LOSS_NAME, Metric, WorkUnit};
pub use record::*;
pub use reuse::take_over;
pub use run_lock::{Holder, LockRecord, Progress, RunLock};
pub use samples::{Sample, Samples, evenly_spaced};
pub use scratch::Scratch;
pub use spectrum_record::SpectrumRecord;
pub use state::RunState;
pub use task_fields::TaskFields;

pub use crate::singular_values::LayerSpectrum;
pub use crate::spec::{ClassMatch, Conversion, Kept, Resampled, Unnamed};
