//! The images of a run.

use crate::data::{ImageData, ImageSplit};
use crate::spec::{ImageDataSpec, Normalize, RunSpec};
use crate::tasks::data_set::Split;

/// The data section of a run of this task. Reading a spec ensures that there is no other.
pub fn section(spec: &RunSpec) -> &ImageDataSpec {
    match spec.data.as_images() {
        Some(data) => data,
        None => unreachable!("the data section is read by its task"),
    }
}

/// Decoded images by split.
#[derive(Clone)]
pub struct Data(pub ImageData);

impl Data {
    pub fn split(&self, split: Split) -> &ImageSplit {
        match split {
            Split::Train => &self.0.train,
            Split::Validation => &self.0.validation,
            Split::Test => &self.0.test,
        }
    }

    /// Mean and deviation that the images are normalised with.
    pub fn normalize(&self) -> Normalize {
        let statistics = &self.0.statistics;
        Normalize { mean: statistics.mean.clone(), std: statistics.std.clone() }
    }

    /// Names of the classes; empty if they have none.
    pub fn class_names(&self) -> &[String] {
        &self.0.class_names
    }
}
