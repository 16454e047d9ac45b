//! Launchers: another program begins the runs of a plan, each by a command of its own.

mod bundles;
mod job;
pub mod slurm;

use std::collections::BTreeMap;

pub use bundles::{Bundle, Stage, stages};
pub use job::Job;

use crate::error::Result;
use crate::results::ExperimentFolder;

/// What was given to launchers for the runs of an experiment.
pub type Submitted = Vec<slurm::ArrayRecord>;

/// Reads what was submitted for an experiment, in order. Errors if a record of it cannot be read: its runs would
/// be submitted again.
pub fn submitted(experiment: &ExperimentFolder) -> Result<Submitted> {
    slurm::records(&slurm::folder(experiment))
}

/// The jobs of the experiments' runs that wait or run at the moment, by run id, for each experiment. Errors if
/// a launcher that was used does not answer.
pub fn jobs(submitted: &[Submitted]) -> Result<Vec<BTreeMap<String, Job>>> {
    slurm::jobs(submitted)
}
