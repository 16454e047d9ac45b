//! A model with its weights, independent of the format that it was read from.

use std::collections::BTreeMap;

use candle_core::{Tensor, bail};

use super::metadata::Metadata;
use crate::error::{Fault, Result};
use crate::models::vit::Vit;
use crate::nn::Constants;
use crate::spec::{LayerWeight, LoraSpec, ModelSpec, Stack, VloraSpec};
use crate::vlora::merge;

/// A model with its weights, float32, on the CPU.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    pub model: ModelSpec,
    /// None if every layer is dense.
    pub vlora: Option<VloraSpec>,
    pub lora: Option<LoraSpec>,
    /// Empty if the file's format cannot hold it.
    pub metadata: Metadata,
    pub tensors: BTreeMap<String, Tensor>,
}

/// Values of a dense model at most, 8 GiB. A small file must not make the program allocate more.
const MAX_VALUES: u64 = 1 << 31;

impl Checkpoint {
    /// The Vision Transformer on these tensors, as constants.
    pub fn vit(&self) -> candle_core::Result<Vit> {
        let Some(model) = self.model.as_vit() else { bail!("the model is no Vision Transformer") };
        let mut parameters = Constants(&self.tensors);
        Vit::new(model, self.vlora.as_ref(), self.lora.as_ref(), &mut parameters)
    }

    /// Number of values over all tensors.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(|t| t.elem_count() as u64).sum()
    }

    /// The dense model that computes the same: increments and LoRA are added to the weights.
    pub fn merged(&self) -> Result<Checkpoint> {
        let stacks = self.model.stacks();
        let values = stacks.iter().map(dense_values).fold(0, u64::saturating_add);
        if values > MAX_VALUES && (self.vlora.is_some() || self.lora.is_some()) {
            return Err(Fault::new("the merged model is too large")
                .found(format!("{values} values"))
                .expected(format!("at most {MAX_VALUES}"))
                .into());
        }
        let outside = |(name, _): &(&String, &Tensor)| {
            stacks.iter().all(|stack| stack.layer_of(name).is_none())
        };
        let cloned = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.clone());
        let mut tensors: BTreeMap<String, Tensor> =
            self.tensors.iter().filter(outside).map(cloned).collect();
        for stack in &stacks {
            let (vlora, lora) = (self.vlora.as_ref(), self.lora.as_ref());
            tensors.extend(merge(&self.tensors, stack, vlora, lora)?);
        }
        let (model, metadata) = (self.model.clone(), self.metadata.clone());
        Ok(Checkpoint { model, vlora: None, lora: None, metadata, tensors })
    }
}

/// Number of values of a stack's layers if all are dense.
fn dense_values(stack: &Stack) -> u64 {
    let layer = stack.weights.iter().map(LayerWeight::sides).map(|(o, i)| (o * i) as u64);
    layer.sum::<u64>().saturating_mul(stack.depth as u64)
}
