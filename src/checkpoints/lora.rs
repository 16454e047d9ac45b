//! Drops LoRA's pairs from a checkpoint, merges them into its weights, or takes them out again.

use super::checkpoint::Checkpoint;
use crate::error::{Fault, Result};
use crate::nn::{Constants, Init};
use crate::vlora::{StackBuilder, is_lora};

impl Checkpoint {
    /// The model without LoRA: the pairs are dropped, all other tensors are unchanged.
    pub fn without_lora(&self) -> Checkpoint {
        let mut below = Checkpoint { lora: None, ..self.clone() };
        below.tensors.retain(|name, _| !is_lora(name));
        below
    }

    /// Subtracts the pairs of `adapted` from this dense model. It must be the result of
    /// [`merged`](Checkpoint::merged) on `adapted`.
    pub fn unmerge_lora(&self, adapted: &Checkpoint) -> Result<Checkpoint> {
        if adapted.lora.is_none() {
            return Err(Fault::new("the checkpoint has no LoRA").into());
        }
        if self.vlora.is_some() || self.lora.is_some() || self.model != adapted.model {
            let differs = "LoRA can be taken out only of the dense model it was merged into";
            return Err(Fault::new(differs).into());
        }
        let mut apart = self.clone();
        let (vlora, lora) = (adapted.vlora.as_ref(), adapted.lora.as_ref());
        for stack in adapted.model.stacks() {
            let mut parameters = Constants(&adapted.tensors);
            let mut builder = StackBuilder::new(&stack, vlora, lora);
            for (layer, weight) in
                (0..stack.depth).flat_map(|layer| stack.matrices().map(move |w| (layer, w)))
            {
                let name = weight.target.name();
                let linear = builder.linear(&mut parameters, layer, name, Init::Zeros)?;
                let merged = apart.tensors.get_mut(&stack.parameter(layer, weight));
                if let (Some(lora), Some(merged)) = (&linear.lora, merged) {
                    *merged = (&*merged - lora.pair.product()?)?;
                }
            }
        }
        Ok(apart)
    }
}
