//! The evidence on disk: what a run leaves, how it is written and read.
//!
//! ```text
//! results/<experiment>/
//!   experiment.json          what is compared: variants, seeds, the run of each
//!   experiment.yaml          the spec's file as it was written; what `--set` changed stands in the
//!                            command line that each run's provenance has
//!   runs/<id>/
//!     spec.json              resolved spec and seed
//!     provenance.json        program, device, command line, hashes of the files read
//!     start.json             where a run starts from other weights: which, and what was kept
//!     steps.jsonl            a line an optimiser step
//!     epochs.jsonl           a line an epoch
//!     checkpoint.safetensors while the run is not finished
//!     model.safetensors      the tested weights
//!     test.jsonl             a line a test example
//!     result.json            written last: the run is finished
//!     failure.json           instead: the run failed, and why
//!   table.md table.csv runs.parquet *.svg *.png   made from the above by `vlora report`
//! ```
//!
//! A run's state is which of these files exist, and whether a finished one's are as it left them
//! ([`RunFolder::whole`]); there is no field that could disagree.

mod evidence;
mod folder;
mod integrity;
mod json;
mod metric;
mod record;
mod reuse;
mod spectrum_record;
mod state;
mod task_fields;

pub use evidence::{Assessment, Evidence, EvidenceOf, Scores, Setting, Trivial};
pub use folder::{Deletion, ExperimentFolder, RunFolder, RunLock};
pub use integrity::{Look, Weights, WholeRun, evidence_files};
pub use json::{Lines, lines};
pub use metric::{Better, Metric, WorkUnit};
pub use record::*;
pub use reuse::take_over;
pub use spectrum_record::SpectrumRecord;
pub use state::RunState;
pub use task_fields::TaskFields;

pub use crate::singular_values::LayerSpectrum;
pub use crate::spec::{ClassMatch, Conversion, Kept, Resampled, Unnamed};
