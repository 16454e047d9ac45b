//! Launchers: another program begins the runs of a plan, each by a command of its own.

mod bundles;
mod job;
pub mod slurm;

use std::collections::BTreeMap;

pub use bundles::{Bundle, stages};
pub use job::Job;

use crate::results::ExperimentFolder;

/// The jobs of an experiment's runs that wait or run at the moment, by run id. Empty where no launcher was
/// used, or none is on this machine.
pub fn jobs(folder: &ExperimentFolder) -> BTreeMap<String, Job> {
    slurm::jobs(folder)
}
