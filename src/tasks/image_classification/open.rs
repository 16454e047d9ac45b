//! Opens the images of a run.

use super::batches::is_held;
use super::data::{Data, section};
use super::notes::evaluation_notes;
use super::start::{Adjusted, fit, settle};
use super::task::ImageClassification;
use crate::checkpoints::{Aligned, Checkpoint, Metadata, align};
use crate::data::images::Size;
use crate::data::{ImageData, UsedExamples};
use crate::error::{Error, Fault, Result};
use crate::hub::Hub;
use crate::results::TaskFields;
use crate::spec::RunSpec;
use crate::tasks::classification::CLASS_NAMES;
use crate::tasks::data_set::Split;
use crate::tasks::definition::{DataRecord, OpenTask, TaskData};
use crate::tasks::start::{Base, Fitted, Settled};
use crate::tasks::task::{Run, TaskVisitor};

/// The model's image size and number of classes.
fn of_model(spec: &RunSpec) -> Result<(Size, usize)> {
    // Validation of the spec refuses other architectures before.
    let none = || {
        Error::from(Fault::new("images are for a Vision Transformer").within("model.architecture"))
    };
    let model = spec.model.as_vit().ok_or_else(none)?;
    Ok((Size { side: model.image_size, channels: model.channels }, model.classes))
}

impl TaskData for Data {
    fn len(&self, split: Split) -> usize {
        self.split(split).len()
    }

    fn train_units(&self) -> u64 {
        self.len(Split::Train) as u64
    }

    fn batches_per_epoch(&self, spec: &RunSpec) -> usize {
        self.len(Split::Train).div_ceil(spec.training.batch_size)
    }

    fn sha256(&self) -> String {
        self.0.sha256()
    }

    fn used(&self) -> &UsedExamples {
        &self.0.used
    }

    fn record(&self) -> DataRecord {
        let files = self.0.files.iter().map(|(_, name, sha256)| (name.clone(), sha256.clone()));
        let task = TaskFields::default()
            .with(CLASS_NAMES, &self.0.class_names)
            .with("pixel_mean", &self.0.statistics.mean)
            .with("pixel_std", &self.0.statistics.std);
        DataRecord { files: files.collect(), task, notes: self.0.treated.notes() }
    }

    fn held_bytes(&self) -> u64 {
        let splits = [&self.0.train, &self.0.validation, &self.0.test].into_iter();
        let sizes = splits.filter(|split| split.is_square()).map(|split| {
            let (n, side, _, channels) = split.dims();
            n * side * side * channels
        });
        sizes.filter(|size| is_held(*size)).map(|size| size as u64).sum()
    }

    fn fit(&self, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<Fitted> {
        fit(self, checkpoint, spec)
    }

    fn adapt(&self, checkpoint: &Checkpoint, spec: &RunSpec) -> Result<(Checkpoint, TaskFields)> {
        let Aligned { checkpoint, classes, positions } =
            align(checkpoint, spec, self.class_names())?;
        Ok((checkpoint, Adjusted { classes, positions }.fields()))
    }

    fn evaluation_notes(&self, fields: &TaskFields) -> Vec<String> {
        evaluation_notes(&self.normalize(), fields)
    }

    fn metadata(&self) -> Metadata {
        let class_names = self.0.class_names.clone();
        Metadata { class_names, normalize: Some(self.normalize()) }
    }
}

impl OpenTask for Data {
    fn open(spec: &RunSpec, hub: &Hub) -> Result<Data> {
        let (size, classes) = of_model(spec)?;
        ImageData::load(section(spec), size, classes, hub).map(Data)
    }

    fn synthetic(spec: &RunSpec, train: usize, validation: usize) -> Result<Data> {
        let (size, classes) = of_model(spec)?;
        Ok(Data(ImageData::noise(size, classes, train, validation)))
    }

    fn for_timing(&self, validation: usize) -> Data {
        let mut data = self.0.clone();
        // Without validation examples, training examples give the same times.
        let timed = if data.validation.is_empty() { &data.train } else { &data.validation };
        data.validation = timed.first(validation);
        Data(data)
    }

    fn settle(&self, spec: &RunSpec, base: Option<Base<Data>>) -> Result<Settled> {
        settle(self, spec, base)
    }

    fn settled(&self, spec: &RunSpec) -> Data {
        match &section(spec).normalize {
            Some(normalize) => Data(self.0.normalised(normalize)),
            None => self.clone(),
        }
    }

    fn visit<W: TaskVisitor>(&self, run: Run, visitor: W) -> W::Output {
        let Run { spec, seed, device } = run;
        let task = ImageClassification::new(&self.0, spec, seed, device.clone());
        visitor.visit(&task, &ImageClassification::blueprint(spec))
    }
}
