//! The list of tasks, and the choice of one by `spec.task`.
//!
//! A new task is added in three places: as a variant of [`Opened`], and in each of the two macros.

use std::ops::Deref;

use super::definition::{Definition, OpenTask, TaskData};
use super::image_classification;
use super::language_modelling;
use super::start::{Base, Settled};
use super::task::{Run, TaskVisitor};
use super::text_classification;
use super::translation;
use crate::error::{Fault, Result};
use crate::hub::Hub;
use crate::results::Evidence;
use crate::spec::{self, RunSpec};

/// The data of a run, read and checked. Each task has a variant.
#[derive(Clone)]
// The size does not matter, since only a few values exist at a time.
#[allow(clippy::large_enum_variant)]
pub enum Opened {
    ImageClassification(image_classification::Data),
    TextClassification(text_classification::Data),
    LanguageModelling(language_modelling::Data),
    Translation(translation::Data),
}

/// Evaluates `$make` with the variant of [`Opened`] and the module of a task.
macro_rules! by_task {
    ($task:expr, |$variant:ident, $folder:ident| $make:expr) => {
        match $task {
            spec::Task::ImageClassification => {
                #[allow(unused_imports)]
                use Opened::ImageClassification as $variant;
                use image_classification as $folder;
                $make
            }
            spec::Task::TextClassification => {
                #[allow(unused_imports)]
                use Opened::TextClassification as $variant;
                use text_classification as $folder;
                $make
            }
            spec::Task::LanguageModelling => {
                #[allow(unused_imports)]
                use Opened::LanguageModelling as $variant;
                use language_modelling as $folder;
                $make
            }
            spec::Task::Translation => {
                #[allow(unused_imports)]
                use Opened::Translation as $variant;
                use translation as $folder;
                $make
            }
        }
    };
}

/// Evaluates `$with` with the variant of [`Opened`] and its data.
macro_rules! by_data {
    ($opened:expr, |$variant:ident, $data:ident| $with:expr) => {
        match $opened {
            Opened::ImageClassification($data) => {
                #[allow(unused_imports)]
                use Opened::ImageClassification as $variant;
                $with
            }
            Opened::TextClassification($data) => {
                #[allow(unused_imports)]
                use Opened::TextClassification as $variant;
                $with
            }
            Opened::LanguageModelling($data) => {
                #[allow(unused_imports)]
                use Opened::LanguageModelling as $variant;
                $with
            }
            Opened::Translation($data) => {
                #[allow(unused_imports)]
                use Opened::Translation as $variant;
                $with
            }
        }
    };
}

/// The definition of a task.
pub fn definition(task: spec::Task) -> &'static dyn Definition {
    by_task!(task, |_variant, folder| &folder::DEFINITION)
}

/// The reader of a run's evidence.
pub fn evidence(spec: &RunSpec) -> &'static dyn Evidence {
    definition(spec.task)
}

impl Opened {
    /// Reads and checks the data of a run.
    pub fn new(spec: &RunSpec, hub: &Hub) -> Result<Opened> {
        by_task!(spec.task, |variant, folder| Ok(variant(folder::Data::open(spec, hub)?)))
    }

    /// See [`OpenTask::synthetic`].
    pub fn synthetic(spec: &RunSpec, train: usize, validation: usize) -> Result<Opened> {
        by_task!(spec.task, |variant, folder| {
            Ok(variant(folder::Data::synthetic(spec, train, validation)?))
        })
    }

    /// See [`OpenTask::for_timing`].
    pub fn for_timing(&self, validation: usize) -> Opened {
        by_data!(self, |variant, data| variant(data.for_timing(validation)))
    }

    /// See [`OpenTask::settle`].
    pub fn settle(&self, spec: &RunSpec, base: Option<Base<Opened>>) -> Result<Settled> {
        by_data!(self, |variant, data| {
            let base = match base {
                None => None,
                Some(Base::Checkpoint(loaded)) => Some(Base::Checkpoint(loaded)),
                Some(Base::Arm { spec, data: variant(data) }) => Some(Base::Arm { spec, data }),
                #[allow(unreachable_patterns)]
                Some(Base::Arm { .. }) => {
                    return Err(Fault::new("the arm it starts from has another task").into());
                }
            };
            data.settle(spec, base)
        })
    }

    /// See [`OpenTask::settled`].
    pub fn settled(&self, spec: &RunSpec) -> Opened {
        by_data!(self, |variant, data| variant(data.settled(spec)))
    }

    /// Calls the visitor with a run's task and the blueprint of its model.
    pub fn visit<W: TaskVisitor>(&self, run: Run, visitor: W) -> W::Output {
        by_data!(self, |_variant, data| data.visit(run, visitor))
    }
}

/// Gives access to the methods that all tasks share.
impl Deref for Opened {
    type Target = dyn TaskData;

    fn deref(&self) -> &(dyn TaskData + 'static) {
        by_data!(self, |_variant, data| data)
    }
}
