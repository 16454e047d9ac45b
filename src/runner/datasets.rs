//! The datasets of runs, each read once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Index;

use crate::error::Result;
use crate::hub::Hub;
use crate::spec::RunSpec;
use crate::tasks::{Opened, definition};

/// The data of all specs, one entry per distinct data section.
#[derive(Default)]
pub struct Datasets(BTreeMap<String, Opened>);

impl Datasets {
    /// The data of a run. Reads them on first use.
    pub fn load(&mut self, spec: &RunSpec, hub: &Hub) -> Result<&Opened> {
        Ok(match self.0.entry(key(spec)) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => free.insert(Opened::new(spec, hub)?),
        })
    }

    /// Adds the data of `settled`: the spec `loaded` after the start weights filled in its open
    /// fields.
    pub fn add_settled(&mut self, settled: &RunSpec, loaded: &RunSpec) {
        let key = key(settled);
        if !self.0.contains_key(&key) {
            let data = self[loaded].settled(settled);
            self.0.insert(key, data);
        }
    }
}

/// The data of a run whose data are already loaded.
impl Index<&RunSpec> for Datasets {
    type Output = Opened;

    fn index(&self, spec: &RunSpec) -> &Opened {
        &self.0[&key(spec)]
    }
}

/// The spec fields that determine the data of a run.
fn key(spec: &RunSpec) -> String {
    format!("{} {}", spec.task.name(), definition(spec.task).data_key(spec))
}
