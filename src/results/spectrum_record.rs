//! The record of how a model's layers differ from each other, as singular values.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::json::{read_json, write_json};
use super::record::SCHEMA_VERSION;
use crate::error::{Fault, Result};
use crate::singular_values::LayerSpectrum;
use crate::spec::Reference;

/// `spectrum.json`: the layers of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpectrumRecord {
    pub schema: u32,
    /// The model's name under its tables.
    pub title: String,
    /// The weights file's name and hash.
    pub file: String,
    pub sha256: String,
    /// The checkpoint format that the tensor names follow.
    pub layout: String,
    /// The program and version that computed this.
    pub program: String,
    pub depth: usize,
    pub compound_size: usize,
    pub reference: Reference,
    /// Seed of the random matrices.
    pub seed: u64,
    /// Ordered by target, then by layer.
    pub layers: Vec<LayerSpectrum>,
    /// Singular values of a Gaussian matrix of each target's shape.
    pub random: BTreeMap<String, Vec<f64>>,
}

impl SpectrumRecord {
    /// The targets in the order of `layers`, each with the singular values of a random matrix of
    /// its shape.
    pub fn targets(&self) -> Vec<(&str, &[f64])> {
        let mut all: Vec<(&str, &[f64])> = Vec::new();
        for target in self.layers.iter().map(|layer| layer.target.as_str()) {
            if all.iter().all(|(other, _)| *other != target) {
                all.extend(self.random.get(target).map(|values| (target, values.as_slice())));
            }
        }
        all
    }

    const FILE: &str = "spectrum.json";

    /// Whether a folder has such a record.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(Self::FILE).is_file()
    }

    /// Reads the record and checks it, since it may have been edited by hand.
    pub fn read(folder: &Path) -> Result<SpectrumRecord> {
        let path = folder.join(Self::FILE);
        let help = "remove its folder and run the command that made it again";
        let read = read_json(&path);
        let record: SpectrumRecord = read.map_err(|e| e.map_fault(|fault| fault.help(help)))?;
        let sound = record.schema == SCHEMA_VERSION
            && (2..=record.depth).contains(&record.compound_size)
            && record.depth.is_multiple_of(record.compound_size)
            && !record.layers.is_empty()
            && record.layers.iter().all(|l| l.layer < record.depth && l.is_sound())
            && record.layers.iter().all(|l| record.random.contains_key(&l.target));
        match sound {
            true => Ok(record),
            false => Err(Fault::of_file(
                &path,
                "the record is damaged or was written by another version",
            )
            .expected(format!("schema {SCHEMA_VERSION}, as `vlora spectrum` writes it"))
            .help(help)
            .into()),
        }
    }

    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(Self::FILE), self)
    }
}
