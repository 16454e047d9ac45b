//! Everything a run needs to resume, as one safetensors file.
//!
//! Tensors are `model.<name>`, `adam_m.<name>`, `adam_v.<name>`, once there is a best epoch
//! `best.<name>`, once an epoch is averaged `sum.<name>`, and with a moving average `ema.<name>`. The
//! header's metadata has the counters as JSON under `state` and a digest of everything under `sha256`.
//! No generator state is stored: random streams are addressed by name.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Result, Tensor, bail};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::plateau::Plateau;
use crate::results::Journal;
use crate::spec::hex;

/// The content of a checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    pub state: State,
    pub model: BTreeMap<String, Tensor>,
    pub adam_m: BTreeMap<String, Tensor>,
    pub adam_v: BTreeMap<String, Tensor>,
    pub best: BTreeMap<String, Tensor>,
    /// The sum of the weights that are averaged.
    pub sum: BTreeMap<String, Tensor>,
    /// The exponential moving average of the weights; empty if there is none.
    pub ema: BTreeMap<String, Tensor>,
}

/// How far a run is, stored as JSON in the checkpoint's header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Epochs done: trained and validated.
    pub epoch: usize,
    /// Optimiser steps done.
    pub step: u64,
    /// The part of the current epoch that is done.
    #[serde(default)]
    pub progress: EpochProgress,
    /// The records of steps and epochs that the run's files held. None in checkpoints of earlier
    /// versions.
    #[serde(default)]
    pub journals: Option<Journals>,
    /// (epoch, metric) of the best validation so far; None unless the run selects the best epoch.
    pub best: Option<(usize, f64)>,
    /// How many epochs' weights are summed so far, for their mean.
    #[serde(default)]
    pub averaged: usize,
    #[serde(default)]
    pub plateau: Plateau,
    pub training_seconds: f64,
    pub evaluation_seconds: f64,
    /// The load during the epochs done.
    #[serde(default)]
    pub load: Load,
}

/// The files of records at a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journals {
    pub steps: Journal,
    pub epochs: Journal,
}

/// The optimiser steps done of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochProgress {
    pub steps: usize,
    /// The sum of their losses, each by its weight.
    pub loss: f64,
    /// The sum of their weights.
    pub weight: f64,
}

/// Who used the processors while a run was trained, in ticks of the system clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// All ticks of all processors; 0 if the system does not report them.
    pub processor_ticks: u64,
    /// Ticks that other programs used.
    pub other_ticks: u64,
    /// Ticks that other processes of this program used.
    pub sibling_ticks: u64,
}

impl Load {
    /// The share of the processors' time that other programs used, in \[0, 1\]. None if it was not
    /// measured.
    pub fn others(&self) -> Option<f64> {
        self.share(self.other_ticks)
    }

    /// The same for other processes of this program.
    pub fn siblings(&self) -> Option<f64> {
        self.share(self.sibling_ticks)
    }

    fn share(&self, ticks: u64) -> Option<f64> {
        let all = self.processor_ticks;
        (all > 0).then(|| (ticks as f64 / all as f64).min(1.0))
    }
}

impl Checkpoint {
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let tensors = self.groups().into_iter().flat_map(|(group, tensors)| {
            tensors.iter().map(move |(name, tensor)| (format!("{group}.{name}"), tensor))
        });
        let state = serde_json::to_string(&self.state).map_err(candle_core::Error::wrap)?;
        let sha256 = self.digest(&state)?;
        let metadata =
            HashMap::from([("state".to_string(), state), ("sha256".to_string(), sha256)]);
        safetensors::serialize(tensors, Some(metadata)).map_err(candle_core::Error::wrap)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(candle_core::Error::wrap)?;
        let entry = |key: &str| header.metadata().as_ref().and_then(|m| m.get(key)).cloned();
        let (Some(text), Some(sha256)) = (entry("state"), entry("sha256")) else {
            bail!("the file has no training state")
        };
        let state = serde_json::from_str(&text).map_err(candle_core::Error::wrap)?;
        let mut groups: [BTreeMap<String, Tensor>; 6] = Default::default();
        for (key, tensor) in candle_core::safetensors::load_buffer(bytes, &Device::Cpu)? {
            let place = match key.split_once('.') {
                Some(("model", name)) => (0, name),
                Some(("adam_m", name)) => (1, name),
                Some(("adam_v", name)) => (2, name),
                Some(("best", name)) => (3, name),
                Some(("sum", name)) => (4, name),
                Some(("ema", name)) => (5, name),
                _ => bail!("unknown tensor {key}"),
            };
            groups[place.0].insert(place.1.to_string(), tensor);
        }
        let [model, adam_m, adam_v, best, sum, ema] = groups;
        let checkpoint = Checkpoint { state, model, adam_m, adam_v, best, sum, ema };
        match checkpoint.digest(&text)? == sha256 {
            true => Ok(checkpoint),
            false => bail!("its content does not have the SHA-256 it was written with"),
        }
    }

    fn groups(&self) -> [(&'static str, &BTreeMap<String, Tensor>); 6] {
        [
            ("model", &self.model),
            ("adam_m", &self.adam_m),
            ("adam_v", &self.adam_v),
            ("best", &self.best),
            ("sum", &self.sum),
            ("ema", &self.ema),
        ]
    }

    /// SHA-256 over the state and every tensor's name, shape and values.
    fn digest(&self, state: &str) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(state);
        for (group, tensors) in self.groups() {
            for (name, tensor) in tensors {
                hash.update(format!("\n{group}.{name}{:?}\n", tensor.dims()));
                let values = tensor.flatten_all()?.to_vec1::<f32>()?;
                let mut bytes = [0; 4 * 4096];
                for values in values.chunks(4096) {
                    let bytes = &mut bytes[..4 * values.len()];
                    for (value, bytes) in values.iter().zip(bytes.chunks_exact_mut(4)) {
                        bytes.copy_from_slice(&value.to_le_bytes());
                    }
                    hash.update(bytes);
                }
            }
        }
        Ok(hex(&hash.finalize()))
    }
}
