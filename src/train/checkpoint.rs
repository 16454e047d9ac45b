//! Everything a run needs to go on, as one safetensors file.
//!
//! Tensors are `model.<name>`, `adam_m.<name>`, `adam_v.<name>` and, once there is a best
//! epoch, `best.<name>`; the header's metadata holds the counters as JSON under `state`.
//! No generator state is stored: streams are addressed by epoch and name.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Result, Tensor, bail};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

/// A paused run.
#[derive(Debug)]
pub struct Checkpoint {
    pub state: State,
    pub model: BTreeMap<String, Tensor>,
    pub adam_m: BTreeMap<String, Tensor>,
    pub adam_v: BTreeMap<String, Tensor>,
    pub best: BTreeMap<String, Tensor>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Epochs done.
    pub epoch: usize,
    /// Optimiser steps done.
    pub step: u64,
    /// (epoch, metric) of the best validation so far, where it is kept.
    pub best: Option<(usize, f64)>,
    pub training_seconds: f64,
    pub evaluation_seconds: f64,
}

impl Checkpoint {
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let groups = [
            ("model", &self.model),
            ("adam_m", &self.adam_m),
            ("adam_v", &self.adam_v),
            ("best", &self.best),
        ];
        let tensors = groups.into_iter().flat_map(|(group, tensors)| {
            tensors.iter().map(move |(name, tensor)| (format!("{group}.{name}"), tensor))
        });
        let state = serde_json::to_string(&self.state).map_err(candle_core::Error::wrap)?;
        let metadata = HashMap::from([("state".to_string(), state)]);
        safetensors::serialize(tensors, Some(metadata)).map_err(candle_core::Error::wrap)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(candle_core::Error::wrap)?;
        let state = header.metadata().as_ref().and_then(|m| m.get("state"));
        let Some(state) = state else { bail!("the file has no training state") };
        let state = serde_json::from_str(state).map_err(candle_core::Error::wrap)?;
        let mut groups: [BTreeMap<String, Tensor>; 4] = Default::default();
        for (key, tensor) in candle_core::safetensors::load_buffer(bytes, &Device::Cpu)? {
            let place = match key.split_once('.') {
                Some(("model", name)) => (0, name),
                Some(("adam_m", name)) => (1, name),
                Some(("adam_v", name)) => (2, name),
                Some(("best", name)) => (3, name),
                _ => bail!("unknown tensor {key}"),
            };
            groups[place.0].insert(place.1.to_string(), tensor);
        }
        let [model, adam_m, adam_v, best] = groups;
        Ok(Checkpoint { state, model, adam_m, adam_v, best })
    }
}
