//! This project's own format: a safetensors file with exactly the model's parameters by our names. An
//! increment is stored as its factors. The metadata has one key, `vlora`, with the model's shape as
//! JSON: `{"format": 2, "model": …, "vlora": …, "lora": …, "labels": …}`. `labels` is the
//! [`Metadata`]; format 1 does not have it.
//!
//! There is only one key because the order of several would differ from run to run.

use std::collections::{BTreeMap, HashMap};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::checkpoint::Checkpoint;
use super::fault::json_fault;
use super::file::TensorFile;
use super::metadata::Metadata;
use super::shapes::Renamed;
use crate::error::{Error, Fault, Result};
use crate::spec::{
    Architecture, DecoderSpec, EncoderDecoderSpec, EncoderSpec, LoraSpec, ModelSpec, RunSpec,
    VitSpec, VloraSpec, left_out_at,
};

/// The metadata's key.
const KEY: &str = "vlora";
const FORMAT: u32 = 2;
const OLDEST: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head<M> {
    format: u32,
    model: M,
    vlora: Option<VloraSpec>,
    lora: Option<LoraSpec>,
    #[serde(default, rename = "labels", skip_serializing_if = "Metadata::is_empty")]
    metadata: Metadata,
}

impl<M: Into<ModelSpec>> Head<M> {
    fn general(self) -> Head<ModelSpec> {
        let Head { format, model, vlora, lora, metadata } = self;
        Head { format, model: model.into(), vlora, lora, metadata }
    }
}

/// The architecture alone. It decides which fields `model` has.
#[derive(Deserialize)]
struct Tag {
    model: Tagged,
}

#[derive(Deserialize)]
struct Tagged {
    architecture: Architecture,
}

/// The version alone. It is checked before all other fields.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// The content of the file of a run's model with these values.
pub fn to_bytes(
    run: &RunSpec,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &Metadata,
) -> Result<Vec<u8>> {
    serialise(&run.model, run.vlora.as_ref(), run.lora.as_ref(), metadata, tensors)
}

impl TensorFile {
    /// Whether the file is in this project's own format.
    pub fn is_compact(&self) -> bool {
        self.metadata.contains_key(KEY)
    }
}

impl Checkpoint {
    /// The content of the file in compact format.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let (vlora, lora) = (self.vlora.as_ref(), self.lora.as_ref());
        serialise(&self.model, vlora, lora, &self.metadata, &self.tensors)
    }
}

fn serialise(
    model: &ModelSpec,
    vlora: Option<&VloraSpec>,
    lora: Option<&LoraSpec>,
    metadata: &Metadata,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<Vec<u8>> {
    let (model, metadata) = (model.clone(), metadata.clone());
    let (vlora, lora) = (vlora.cloned(), lora.cloned());
    let failed =
        |e: String| Error::from(Fault::failed(format!("the model's shape cannot be written: {e}")));
    let architecture = model.architecture();
    // serde_yaml's mappings keep the order of fields.
    let head = Head { format: FORMAT, model, vlora, lora, metadata };
    let mut head = serde_yaml::to_value(&head).map_err(|e| failed(e.to_string()))?;
    // Runs are compared by their files' hashes, so files of earlier runs must stay the same.
    for (field, value) in left_out_at(architecture) {
        let Some((section, name)) = field.split_once('.') else { continue };
        let Some(section) = head.get_mut(section).and_then(|fields| fields.as_mapping_mut()) else {
            continue;
        };
        let json = section.get(name).and_then(|found| serde_json::to_string(found).ok());
        if json.as_deref() == Some(value) {
            section.shift_remove(name);
        }
    }
    let head = serde_json::to_string(&head).map_err(|e| failed(e.to_string()))?;
    file_bytes(tensors, KEY, head)
}

/// A safetensors file with one key of metadata.
pub fn file_bytes(tensors: &BTreeMap<String, Tensor>, key: &str, value: String) -> Result<Vec<u8>> {
    let metadata = HashMap::from([(key.to_string(), value)]);
    safetensors::serialize(tensors, Some(metadata))
        .map_err(|e| Error::from(Fault::failed(format!("the weights cannot be written: {e}"))))
}

pub fn import(file: &TensorFile) -> Result<Checkpoint> {
    let fault = || Fault::of_file(&file.path, format!("the metadata `{KEY}` cannot be read"));
    let Some(text) = file.metadata.get(KEY) else {
        return Err(Fault::of_file(&file.path, "the file is not in compact format")
            .found(format!("no metadata `{KEY}`"))
            .expected("a file that `vlora run` or `vlora import` wrote")
            .into());
    };
    let unreadable = |e: serde_json::Error| Error::from(fault().found(json_fault(text, &e)));
    let Version { format } = serde_json::from_str(text).map_err(unreadable)?;
    if !(OLDEST..=FORMAT).contains(&format) {
        return Err(fault()
            .found(format!("format {format}"))
            .expected(format!("format {OLDEST} to {FORMAT}"))
            .help("another version of vlora wrote the file: read it with that one")
            .into());
    }
    let architecture = match serde_json::from_str::<Tag>(text) {
        Ok(Tag { model: Tagged { architecture } }) => architecture,
        // The error then names the fields that most files have.
        Err(_) => Architecture::Vit,
    };
    let head = match architecture {
        Architecture::Vit => serde_json::from_str::<Head<VitSpec>>(text).map(Head::general),
        Architecture::Encoder => serde_json::from_str::<Head<EncoderSpec>>(text).map(Head::general),
        Architecture::Decoder => serde_json::from_str::<Head<DecoderSpec>>(text).map(Head::general),
        Architecture::EncoderDecoder => {
            serde_json::from_str::<Head<EncoderDecoderSpec>>(text).map(Head::general)
        }
    };
    let Head { model, vlora, lora, metadata, .. } = head.map_err(unreadable)?;
    file.only_floats(|_| false)?;
    if let Some((found, expected)) = metadata.contradiction(&model) {
        return Err(fault().found(format!("labels with {found}")).expected(expected).into());
    }
    let theirs = |name: &str| name.to_string();
    let renamed = Renamed { path: &file.path, tensors: file.tensors.clone(), theirs: &theirs };
    Ok(Checkpoint { metadata, ..renamed.checkpoint(model, vlora, lora)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Rank;

    #[test]
    fn later_fields_are_written_away_from_their_defaults_only() {
        let header = |vit: &VitSpec, vlora: &VloraSpec| {
            let model = ModelSpec::from(vit.clone());
            let bytes =
                serialise(&model, Some(vlora), None, &Metadata::default(), &BTreeMap::new());
            let bytes = bytes.unwrap();
            let file = safetensors::SafeTensors::read_metadata(&bytes).unwrap().1;
            file.metadata().as_ref().unwrap()[KEY].clone()
        };
        let vit = "{architecture: vit, image_size: 4, patch_size: 2, classes: 2, dim: 4, depth: 2, heads: 1}";
        let mut vit: VitSpec = serde_yaml::from_str(vit).unwrap();
        let mut vlora = VloraSpec::new(2, Rank::Of(1));
        let written = header(&vit, &vlora);
        assert_eq!(
            written,
            r#"{"format":2,"model":{"architecture":"vit","image_size":4,"patch_size":2,"channels":3,"#.to_string()
                + r#""classes":2,"dim":4,"depth":2,"heads":1,"mlp_ratio":4.0,"pool":"class-token","norm_eps":1e-6},"#
                + r#""vlora":{"compound_size":2,"rank":1,"alpha":1.0,"reference":"base","detach":true,"#
                + r#""init":"authors","targets":[]},"lora":null}"#
        );
        vit.stochastic_depth = 0.5;
        vlora.keep_first = 1;
        let written = header(&vit, &vlora);
        assert!(written.contains(r#""norm_eps":1e-6,"stochastic_depth":0.5}"#), "{written}");
        assert!(
            written.contains(r#""vlora":{"compound_size":2,"keep_first":1,"rank":1,"#),
            "{written}"
        );
    }
}
