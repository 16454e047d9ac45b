//! The data of runs, each read once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Index;

use crate::error::Result;
use crate::hub::Hub;
use crate::spec::RunSpec;
use crate::tasks::{Opened, definition};

/// The data of every distinct data section.
#[derive(Default)]
pub struct Datasets(BTreeMap<String, Opened>);

impl Datasets {
    /// The data of a run, read unless they are there.
    pub fn load(&mut self, spec: &RunSpec, hub: &Hub) -> Result<&Opened> {
        Ok(match self.0.entry(key(spec)) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => free.insert(Opened::new(spec, hub)?),
        })
    }

    /// Adds the data of `settled`, a spec that was made of `loaded` by what the run starts from.
    pub fn add_settled(&mut self, settled: &RunSpec, loaded: &RunSpec) {
        let key = key(settled);
        if !self.0.contains_key(&key) {
            let data = self[loaded].settled(settled);
            self.0.insert(key, data);
        }
    }
}

/// The data of a run that were loaded.
impl Index<&RunSpec> for Datasets {
    type Output = Opened;

    fn index(&self, spec: &RunSpec) -> &Opened {
        &self.0[&key(spec)]
    }
}

/// What decides the data of a run.
fn key(spec: &RunSpec) -> String {
    format!("{} {}", spec.task.name(), definition(spec.task).data_key(spec))
}
