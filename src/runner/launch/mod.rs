//! Launchers: another program begins the runs of a plan, each by a command of its own.

mod bundles;
mod job;
pub mod slurm;

use std::collections::BTreeMap;

pub use bundles::{Bundle, Stage, stages};
pub use job::Job;

use crate::error::Result;
use crate::results::ExperimentFolder;

/// The jobs of the experiments' runs that wait or run at the moment, by run id, for each experiment. Errors if
/// a launcher that was used does not answer.
pub fn jobs(experiments: &[ExperimentFolder]) -> Result<Vec<BTreeMap<String, Job>>> {
    slurm::jobs(experiments)
}
