//! Which layers are dense and which are increments, and on what.

use std::collections::BTreeMap;

use candle_core::Result;

use super::linear::{Linear, Lora, Vector};
use super::weight::{Delta, Weight};
use crate::nn::{Init, LowRank, ParameterBuilder, Variable};
use crate::spec::{Increment, IncrementInit, LoraSpec, Reference, Target, VloraSpec};

/// Hands out a Transformer's weights, block by block: dense, or increments in compounds, with
/// LoRA on top where it is asked for.
///
/// Names are timm's (`blocks.3.attn.qkv.weight`, `.bias`). An increment's factors are
/// `blocks.3.attn.qkv.weight.A` and `.B`, a full increment `….weight.delta`, a vector's
/// increment `….bias.A`; LoRA's factors are `….weight.lora_A` and `.lora_B`.
pub struct Compounds<'a> {
    /// None builds every layer dense.
    vlora: Option<&'a VloraSpec>,
    lora: Option<&'a LoraSpec>,
    /// What the next increment on a target adds to. LoRA is no part of it: it adapts its own
    /// layer alone.
    matrices: BTreeMap<Target, Weight>,
    vectors: BTreeMap<Target, Vector>,
}

impl<'a> Compounds<'a> {
    pub fn new(vlora: Option<&'a VloraSpec>, lora: Option<&'a LoraSpec>) -> Compounds<'a> {
        Compounds { vlora, lora, matrices: BTreeMap::new(), vectors: BTreeMap::new() }
    }

    /// The linear layer `target` of block `block`, of shape (out, in). Blocks are asked for in
    /// ascending order. A dense weight starts as `init`; biases start at zero.
    pub fn linear(
        &mut self,
        source: &mut dyn ParameterBuilder,
        block: usize,
        target: Target,
        shape: (usize, usize),
        init: Init,
    ) -> Result<Linear> {
        let layer = format!("blocks.{block}.{}", target.name());
        let weight = self.weight(source, block, target, shape, init)?;
        let bias = match target.bias() {
            Some(bias) => self.vector(source, block, bias, shape.0, Init::Zeros)?,
            None => candle_core::bail!("{layer} is no linear layer"),
        };
        let lora = match self.lora.filter(|l| l.targets.contains(&target)) {
            None => None,
            Some(lora) => {
                let name = format!("{layer}.weight.lora_");
                let scale = lora.alpha / lora.rank as f64;
                let pair = pair(source, &name, shape, lora.rank, Init::Zeros, scale)?;
                Some(Lora { pair, dropout: lora.dropout, name: layer })
            }
        };
        Ok(Linear { weight, bias, lora })
    }

    fn weight(
        &mut self,
        source: &mut dyn ParameterBuilder,
        block: usize,
        target: Target,
        (output, input): (usize, usize),
        init: Init,
    ) -> Result<Weight> {
        let name = format!("blocks.{block}.{}", target.parameter());
        let weight = match self.increment(block, target, &self.matrices)? {
            None => Weight::dense(source.tensor(&name, &[output, input], init, true)?),
            Some((vlora, increment, reference)) => {
                let reference = reference.reference(vlora.detach);
                match increment {
                    Increment::LowRank { rank, scale } => {
                        let b_init = match vlora.init {
                            IncrementInit::Authors => Init::KaimingUniform { fan_in: output },
                            IncrementInit::Lora => Init::Zeros,
                        };
                        let name = format!("{name}.");
                        let pair = pair(source, &name, (output, input), rank, b_init, scale)?;
                        reference.plus(Delta::LowRank(pair))
                    }
                    Increment::Full => {
                        let name = format!("{name}.delta");
                        let delta = source.tensor(&name, &[output, input], Init::Zeros, true)?;
                        reference.plus(Delta::Full(delta))
                    }
                    Increment::Shared | Increment::Vector => reference,
                }
            }
        };
        if self.is_reference(block, target) {
            self.matrices.insert(target, weight.clone());
        }
        Ok(weight)
    }

    /// The vector `target` of block `block`.
    pub fn vector(
        &mut self,
        source: &mut dyn ParameterBuilder,
        block: usize,
        target: Target,
        size: usize,
        init: Init,
    ) -> Result<Vector> {
        let name = format!("blocks.{block}.{}", target.parameter());
        let vector = match self.increment(block, target, &self.vectors)? {
            None => Vector::plain(source.tensor(&name, &[size], init, false)?),
            Some((vlora, Increment::Shared, reference)) => reference.reference(vlora.detach),
            Some((vlora, _, reference)) => {
                let increment = source.tensor(&format!("{name}.A"), &[size], Init::Zeros, false)?;
                reference.reference(vlora.detach).plus(increment)
            }
        };
        if self.is_reference(block, target) {
            self.vectors.insert(target, vector.clone());
        }
        Ok(vector)
    }

    /// The increment that block `block` has on `target`, with what it adds to; None where the
    /// block's own weight is dense.
    fn increment<'r, R>(
        &self,
        block: usize,
        target: Target,
        references: &'r BTreeMap<Target, R>,
    ) -> Result<Option<(&'a VloraSpec, Increment, &'r R)>> {
        let own = self.vlora.and_then(|vlora| Some((vlora, vlora.increment(block, target)?)));
        let Some((vlora, increment)) = own else { return Ok(None) };
        match references.get(&target) {
            Some(reference) => Ok(Some((vlora, increment, reference))),
            None => candle_core::bail!(
                "block {block} was asked for before the one that its {} adds to",
                target.name()
            ),
        }
    }

    /// Whether later layers add to this one's weight.
    fn is_reference(&self, block: usize, target: Target) -> bool {
        self.vlora.is_some_and(|v| {
            v.increment(block, target).is_none() || v.reference == Reference::Previous
        })
    }
}

/// The factors `<name>A` \[rank, in\] and `<name>B` \[rank, out\].
fn pair(
    source: &mut dyn ParameterBuilder,
    name: &str,
    (output, input): (usize, usize),
    rank: usize,
    b_init: Init,
    scale: f64,
) -> Result<LowRank> {
    let mut factor = |which: &str, width: usize, init: Init| -> Result<Variable> {
        source.tensor(&format!("{name}{which}"), &[rank, width], init, true)
    };
    let a = factor("A", input, Init::KaimingUniform { fan_in: input })?;
    let b = factor("B", output, b_init)?;
    Ok(LowRank { a, b, scale })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::nn::ops::{self, Epilogue};
    use crate::nn::{Mode, ParameterStore};
    use crate::spec::{Rank, TargetSpec};

    const SHAPE: (usize, usize) = (5, 4);

    fn spec(reference: Reference, detach: bool, init: IncrementInit) -> VloraSpec {
        let targets = vec![TargetSpec::plain(Target::MlpFc1)];
        let rank = Rank::Of(2);
        VloraSpec { compound_size: 3, rank, alpha: 1.5, reference, detach, init, targets }
    }

    /// Six blocks' layers of one target on a new store.
    fn layers(spec: &VloraSpec, target: Target) -> (ParameterStore, Vec<Linear>) {
        let mut store = ParameterStore::new(4, Device::Cpu);
        let mut compounds = Compounds::new(Some(spec), None);
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
        let x = Variable::constant(x);
        for (reference, detach, base, before) in [
            (Reference::Base, true, false, false),
            (Reference::Base, false, true, false),
            (Reference::Previous, true, false, false),
            (Reference::Previous, false, true, true),
        ] {
            let (store, layers) =
                layers(&spec(reference, detach, IncrementInit::Authors), Target::MlpFc1);
            let y = layers[5].forward(&x, Epilogue::None, Mode::Evaluation).unwrap();
            let grads = ops::mean(&y).unwrap().backward(1.0).unwrap();
            let reached = |block: usize, part: &str| {
                let name = format!("blocks.{block}.mlp.fc1.weight{part}");
                grads.get(&store.get(&name).unwrap().value).is_some()
            };
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

    /// Rank 0 shares the reference; a full increment starts at it and has the matrix's shape;
    /// an own rank goes before the common one.
    #[test]
    fn the_ends_of_the_rank_and_ranks_of_targets_own() {
        let with = |rank, own: Option<Rank>| {
            let spec = spec(Reference::Base, true, IncrementInit::Authors);
            let targets = vec![TargetSpec { target: Target::MlpFc1, rank: own, alpha: None }];
            layers(&VloraSpec { rank, targets, ..spec }, Target::MlpFc1)
        };
        let (dense, biases) = (SHAPE.0 * SHAPE.1, 6 * SHAPE.0);
        for (rank, own, each) in [
            (Rank::Of(0), None, 0),
            (Rank::Full, None, dense),
            (Rank::Of(2), Some(Rank::Of(3)), 3 * (SHAPE.0 + SHAPE.1)),
            (Rank::Full, Some(Rank::Of(0)), 0),
        ] {
            let (store, layers) = with(rank, own);
            assert_eq!(store.count(), 2 * dense + 4 * each + biases, "{rank:?} {own:?}");
            let apart = (layers[4].weight.materialise().unwrap() - value(&store, 3, "")).unwrap();
            let apart = apart.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
            assert_eq!(apart == 0.0, own.is_none() || own == Some(Rank::Of(0)));
        }
    }

    /// Vectors' increments: additive, zero at the start, on the reference that the reading says.
    #[test]
    fn vectors_add_to_their_reference() {
        for (reference, want) in
            [(Reference::Base, 1.0 + 4.0), (Reference::Previous, 1.0 + 2.0 + 4.0)]
        {
            let targets = vec![TargetSpec::plain(Target::Norm1Weight)];
            let spec = VloraSpec { targets, ..spec(reference, true, IncrementInit::Authors) };
            let mut store = ParameterStore::new(4, Device::Cpu);
            let mut compounds = Compounds::new(Some(&spec), None);
            let norms: Vec<Vector> = (0..3)
                .map(|block| {
                    let target = Target::Norm1Weight;
                    compounds.vector(&mut store, block, target, 2, Init::Ones).unwrap()
                })
                .collect();
            assert_eq!(norms[2].value().unwrap().tensor().to_vec1::<f32>().unwrap(), [1.0, 1.0]);
            for (block, value) in [(1, 2.0f32), (2, 4.0)] {
                let p = store.get(&format!("blocks.{block}.norm1.weight.A")).unwrap();
                p.var.set(&Tensor::new(&[value, value], &Device::Cpu).unwrap()).unwrap();
            }
            assert_eq!(norms[2].value().unwrap().tensor().to_vec1::<f32>().unwrap(), [want, want]);
            let grads = ops::mean(&norms[2].value().unwrap()).unwrap().backward(1.0).unwrap();
            let reached = |name: &str| grads.get(&store.get(name).unwrap().value).is_some();
            assert!(reached("blocks.2.norm1.weight.A"));
            assert!(!reached("blocks.1.norm1.weight.A") && !reached("blocks.0.norm1.weight"));
        }
    }
}
