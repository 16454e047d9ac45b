//! Which layers are dense and which are increments, and on what.

use std::collections::BTreeMap;

use candle_core::Result;

use super::linear::{Linear, Weight};
use crate::nn::{Init, Source};
use crate::spec::{IncrementInit, Reference, Target, VloraSpec};

/// Hands out a Transformer's linear layers, block by block: dense, or increments in compounds.
/// Names are timm's (`blocks.3.attn.qkv.weight`, `.bias`); an increment's factors are
/// `blocks.3.attn.qkv.weight.A` and `.B`.
pub struct Compounds<'a> {
    /// None builds every layer dense.
    vlora: Option<&'a VloraSpec>,
    /// The weight that the next increment on a target adds to.
    references: BTreeMap<Target, Weight>,
}

impl<'a> Compounds<'a> {
    pub fn new(vlora: Option<&'a VloraSpec>) -> Compounds<'a> {
        Compounds { vlora, references: BTreeMap::new() }
    }

    /// The linear layer `target` of block `block`, of shape (out, in). Blocks are asked for in
    /// ascending order. A dense weight starts as `init`; biases start at zero.
    pub fn linear(
        &mut self,
        source: &mut dyn Source,
        block: usize,
        target: Target,
        (output, input): (usize, usize),
        init: Init,
    ) -> Result<Linear> {
        let name = format!("blocks.{block}.{}", target.name());
        let weight_name = format!("{name}.weight");
        let increment = self
            .vlora
            .filter(|v| !block.is_multiple_of(v.compound_size) && v.targets.contains(&target))
            .and_then(|v| Some((v, self.references.get(&target)?)));
        let weight = match increment {
            None => Weight::dense(source.tensor(&weight_name, &[output, input], init, true)?),
            Some((vlora, reference)) => {
                let kaiming = |fan_in| Init::KaimingUniform { fan_in };
                let b_init = match vlora.init {
                    IncrementInit::Authors => kaiming(output),
                    IncrementInit::Lora => Init::Zeros,
                };
                let a_name = format!("{weight_name}.A");
                let a = source.tensor(&a_name, &[vlora.rank, input], kaiming(input), true)?;
                let b_name = format!("{weight_name}.B");
                let b = source.tensor(&b_name, &[vlora.rank, output], b_init, true)?;
                reference.plus(a, b, vlora.alpha / vlora.rank as f64, vlora.detach)
            }
        };
        let is_reference =
            increment.is_none() || self.vlora.is_some_and(|v| v.reference == Reference::Previous);
        if is_reference {
            self.references.insert(target, weight.clone());
        }
        let bias = source.tensor(&format!("{name}.bias"), &[output], Init::Zeros, false)?;
        Ok(Linear { weight, bias })
    }
}
