//! The decoded data of runs, each once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Index;

use crate::data::ImageData;
use crate::error::Result;
use crate::hub::Hub;
use crate::spec::{RunSpec, flatten};

/// Decoded data of every distinct data section.
#[derive(Default)]
pub struct Datasets(BTreeMap<String, ImageData>);

impl Datasets {
    /// The data of a run, read unless they are there.
    pub fn load(&mut self, spec: &RunSpec, hub: &Hub) -> Result<&ImageData> {
        Ok(match self.0.entry(key(spec)) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => free.insert(ImageData::load(spec.images(), spec.vit(), hub)?),
        })
    }

    /// Adds the data of `spec` to those of `loaded`, which differs from it in the pixels'
    /// normalisation alone.
    pub fn add_normalised(&mut self, spec: &RunSpec, loaded: &RunSpec) {
        let key = key(spec);
        if let (Some(normalize), false) = (&spec.images().normalize, self.0.contains_key(&key)) {
            let data = self[loaded].normalised(normalize);
            self.0.insert(key, data);
        }
    }
}

/// The data of a run that were loaded.
impl Index<&RunSpec> for Datasets {
    type Output = ImageData;

    fn index(&self, spec: &RunSpec) -> &ImageData {
        &self.0[&key(spec)]
    }
}

/// What decides the decoded data: its section, and the model fields that it is checked against.
fn key(spec: &RunSpec) -> String {
    let m = spec.vit();
    let fields = flatten(spec.images());
    format!("{fields:?} {} {} {}", m.image_size, m.channels, m.classes)
}
