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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::nn::ParameterStore;

    const SHAPE: (usize, usize) = (5, 4);

    fn spec(reference: Reference, detach: bool, init: IncrementInit) -> VloraSpec {
        let targets = vec![Target::MlpFc1];
        VloraSpec { compound_size: 3, rank: 2, alpha: 1.5, reference, detach, init, targets }
    }

    /// Six blocks' layers of one target on a new store.
    fn layers(spec: &VloraSpec, target: Target) -> (ParameterStore, Vec<Linear>) {
        let mut store = ParameterStore::new(4, Device::Cpu);
        let mut compounds = Compounds::new(Some(spec));
        let normal = Init::Normal { std: 1.0 };
        let layers = (0..6)
            .map(|block| compounds.linear(&mut store, block, target, SHAPE, normal).unwrap())
            .collect();
        (store, layers)
    }

    fn value(store: &ParameterStore, block: usize, part: &str) -> Tensor {
        let name = format!("blocks.{block}.mlp.fc1.weight{part}");
        store.get(&name).unwrap().var.as_tensor().clone()
    }

    fn close(a: &Tensor, b: &Tensor) {
        let apart = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(apart < 1e-5, "{apart}");
    }

    /// W_2 of a compound is W_0 + ΔW_2 for `base` and W_0 + ΔW_1 + ΔW_2 for `previous`.
    #[test]
    fn each_reading_adds_to_its_reference() {
        for detach in [true, false] {
            for (reference, increments) in
                [(Reference::Base, &[5][..]), (Reference::Previous, &[4, 5][..])]
            {
                let (store, layers) =
                    layers(&spec(reference, detach, IncrementInit::Authors), Target::MlpFc1);
                let mut want = value(&store, 3, "");
                for block in increments {
                    let (a, b) = (value(&store, *block, ".A"), value(&store, *block, ".B"));
                    want = (want + (b.t().unwrap().matmul(&a).unwrap() * (1.5 / 2.0)).unwrap())
                        .unwrap();
                }
                close(&layers[5].weight.materialise().unwrap(), &want);
            }
        }
    }

    /// Which parameters the last layer's loss reaches: its own pair always; without `detach`
    /// also the base, and for `previous` the pair before.
    #[test]
    fn the_gradient_goes_where_the_reading_says() {
        let x = Tensor::ones((3, SHAPE.1), candle_core::DType::F32, &Device::Cpu).unwrap();
        for (reference, detach, base, before) in [
            (Reference::Base, true, false, false),
            (Reference::Base, false, true, false),
            (Reference::Previous, true, false, false),
            (Reference::Previous, false, true, true),
        ] {
            let (store, layers) =
                layers(&spec(reference, detach, IncrementInit::Authors), Target::MlpFc1);
            let loss = layers[5].forward(&x).unwrap().sqr().unwrap().sum_all().unwrap();
            let grads = loss.backward().unwrap();
            let reached = |block, part| grads.get(&value(&store, block, part)).is_some();
            assert!(reached(5, ".A") && reached(5, ".B"));
            assert_eq!(reached(3, ""), base, "{reference:?}, detach {detach}");
            assert_eq!(reached(4, ".A"), before, "{reference:?}, detach {detach}");
            assert!(!reached(0, ""), "compounds share nothing");
        }
    }

    #[test]
    fn lora_starts_at_the_reference_and_authors_do_not() {
        let start = |init| {
            let (store, layers) = layers(&spec(Reference::Base, true, init), Target::MlpFc1);
            let apart = (layers[1].weight.materialise().unwrap() - value(&store, 0, "")).unwrap();
            apart.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
        };
        assert_eq!(start(IncrementInit::Lora), 0.0);
        assert!(start(IncrementInit::Authors) > 1e-3);
    }

    #[test]
    fn matrices_that_are_no_target_stay_dense() {
        let spec = spec(Reference::Base, true, IncrementInit::Authors);
        let (store, _) = layers(&spec, Target::MlpFc2);
        assert_eq!(store.count(), 6 * (SHAPE.0 * SHAPE.1 + SHAPE.0));
    }
}
