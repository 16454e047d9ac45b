//! Builds a stack's weights layer by layer: dense, or an increment on another layer's weight, and
//! LoRA on top if the run uses it.

use std::collections::BTreeMap;

use candle_core::{Result, bail};

use super::layer_map::{Increment, LayerMap};
use super::linear::{Linear, Lora, Vector};
use super::weight::{Delta, Weight};
use crate::nn::{Init, Kind, LowRank, ParameterBuilder, Role, Variable};
use crate::spec::{
    IncrementInit, LayerWeight, LoraSpec, Reference, Stack, Target, VloraSpec, WeightShape,
};

/// Builds the weights of a stack's layers, which must be built in ascending order.
///
/// Parameter names: an increment's factors are `blocks.3.attn.qkv.weight.A` and `.B`, a full
/// increment is `….weight.delta`, a vector's increment is `….bias.A`, and LoRA's factors are
/// `….weight.lora_A` and `.lora_B`.
pub struct StackBuilder<'a> {
    stack: &'a Stack,
    map: LayerMap,
    /// None builds every layer dense.
    vlora: Option<&'a VloraSpec>,
    lora: Option<&'a LoraSpec>,
    /// The weights that later layers add to. They exclude LoRA, which adapts its own layer alone.
    matrices: References<Weight>,
    vectors: References<Vector>,
}

/// By layer and target.
type References<W> = BTreeMap<(usize, Target), W>;

impl<'a> StackBuilder<'a> {
    pub fn new(
        stack: &'a Stack,
        vlora: Option<&'a VloraSpec>,
        lora: Option<&'a LoraSpec>,
    ) -> StackBuilder<'a> {
        let map = LayerMap::of(stack, vlora);
        let (matrices, vectors) = (BTreeMap::new(), BTreeMap::new());
        StackBuilder { stack, map, vlora, lora, matrices, vectors }
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.map.depth()
    }

    /// The prefix of the names of a layer's parameters: `blocks.3`.
    pub fn layer_name(&self, layer: usize) -> String {
        format!("{}.{layer}", self.stack.prefix)
    }

    /// Whether the layers have a weight with this target name.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Builds a linear layer of layer `layer`; `name` is its target's. A dense weight starts as
    /// `init`, biases start at zero.
    pub fn linear(
        &mut self,
        parameters: &mut dyn ParameterBuilder,
        layer: usize,
        name: &str,
        init: Init,
    ) -> Result<Linear> {
        let layer_weight = self.find(name)?;
        let WeightShape::Matrix { output, input, bias } = &layer_weight.shape else {
            bail!("{name} is not a matrix of {}", self.stack.name)
        };
        let weight = self.matrix(parameters, layer, layer_weight, init)?;
        let bias = match bias {
            Some(bias) => Some(self.vector(parameters, layer, bias.name(), Init::Zeros)?),
            None => None,
        };
        let lora = match self.lora.filter(|lora| lora.targets.contains(&layer_weight.target)) {
            None => None,
            Some(lora) => {
                let layer = format!("{}.{name}", self.layer_name(layer));
                let factors = Factors {
                    name: &format!("{layer}.weight.lora_"),
                    sides: (*output, *input),
                    rank: lora.rank,
                    scale: lora.alpha / lora.rank as f64,
                    init: [kaiming(*input), Init::Zeros],
                    kind: Kind::Lora,
                };
                let pair = factors.build(parameters)?;
                Some(Lora { pair, dropout: lora.dropout, name: layer })
            }
        };
        Ok(Linear { weight, bias, lora })
    }

    /// The stack's weight with this target name.
    fn find(&self, name: &str) -> Result<&'a LayerWeight> {
        match self.stack.weights.iter().find(|weight| weight.target.name() == name) {
            Some(weight) => Ok(weight),
            None => bail!("{name} is not a weight of {}", self.stack.name),
        }
    }

    /// Builds the matrix of a target, without LoRA.
    fn matrix(
        &mut self,
        parameters: &mut dyn ParameterBuilder,
        layer: usize,
        layer_weight: &LayerWeight,
        init: Init,
    ) -> Result<Weight> {
        let name = self.stack.parameter(layer, layer_weight);
        let (output, input) = layer_weight.sides();
        let role = Role::layer(Kind::Matrix);
        let base = match self.reference(layer, layer_weight, &self.matrices)? {
            Some((vlora, reference)) => reference.reference(vlora.detach),
            None => Weight::dense(parameters.tensor(&name, &[output, input], init, role)?),
        };
        let weight = match self.increment(layer, layer_weight) {
            Some((vlora, Increment::LowRank { rank, scale })) => {
                let factors = Factors {
                    name: &format!("{name}."),
                    sides: (output, input),
                    rank,
                    scale,
                    init: match vlora.init {
                        IncrementInit::Authors => [kaiming(input), kaiming(output)],
                        IncrementInit::Lora => [kaiming(input), Init::Zeros],
                        IncrementInit::XavierUniform => [input, output]
                            .map(|fan_in| Init::XavierUniform { fan_in, fan_out: rank }),
                    },
                    kind: Kind::Increment,
                };
                base.clone().plus(Delta::LowRank(factors.build(parameters)?))
            }
            Some((_, Increment::Full)) => {
                let (name, role) = (format!("{name}.delta"), Role::layer(Kind::Increment));
                let delta = parameters.tensor(&name, &[output, input], Init::Zeros, role)?;
                base.clone().plus(Delta::Full(delta))
            }
            Some((_, Increment::Shared | Increment::Vector)) | None => base.clone(),
        };
        if self.map.is_reference(layer) {
            let added_to = if self.adds_to_base(layer) { base } else { weight.clone() };
            self.matrices.insert((layer, layer_weight.target.clone()), added_to);
        }
        Ok(weight)
    }

    /// Builds a vector of layer `layer`: a bias, or a norm's scale or shift. `name` is its target's.
    pub fn vector(
        &mut self,
        parameters: &mut dyn ParameterBuilder,
        layer: usize,
        name: &str,
        init: Init,
    ) -> Result<Vector> {
        let layer_weight = self.find(name)?;
        let (size, kind) = match layer_weight.shape {
            WeightShape::Bias { size } => (size, Kind::Bias),
            WeightShape::Norm { size } => (size, Kind::Norm),
            WeightShape::Matrix { .. } => bail!("{name} is not a vector of {}", self.stack.name),
        };
        let (name, role) = (self.stack.parameter(layer, layer_weight), Role::layer(kind));
        let base = match self.reference(layer, layer_weight, &self.vectors)? {
            Some((vlora, reference)) => reference.reference(vlora.detach),
            None => Vector::plain(parameters.tensor(&name, &[size], init, role)?),
        };
        let vector = match self.increment(layer, layer_weight) {
            Some((_, Increment::Shared)) | None => base.clone(),
            Some(_) => {
                let name = format!("{name}.A");
                base.clone().plus(parameters.tensor(&name, &[size], Init::Zeros, role)?)
            }
        };
        if self.map.is_reference(layer) {
            let added_to = if self.adds_to_base(layer) { base } else { vector.clone() };
            self.vectors.insert((layer, layer_weight.target.clone()), added_to);
        }
        Ok(vector)
    }

    /// Whether what others add to is this layer's weight without its own increment.
    fn adds_to_base(&self, layer: usize) -> bool {
        let is_base = self.vlora.is_some_and(|vlora| vlora.reference == Reference::Base);
        is_base && self.map.reference(layer).is_none()
    }

    /// A layer's own increment on a weight; None where it has none, and where every layer owns the weight.
    fn increment(
        &self,
        layer: usize,
        layer_weight: &LayerWeight,
    ) -> Option<(&'a VloraSpec, Increment)> {
        let vlora = self.vlora.filter(|_| self.map.has_increment(layer))?;
        Some((vlora, Increment::of(layer_weight, vlora)?))
    }

    /// The weight that a layer adds to; None where the layer owns the weight.
    fn reference<'r, W>(
        &self,
        layer: usize,
        layer_weight: &LayerWeight,
        references: &'r References<W>,
    ) -> Result<Option<(&'a VloraSpec, &'r W)>> {
        let (Some(vlora), Some(reference)) = (self.vlora, self.map.reference(layer)) else {
            return Ok(None);
        };
        if Increment::of(layer_weight, vlora).is_none() {
            return Ok(None);
        }
        match references.get(&(reference, layer_weight.target.clone())) {
            Some(weight) => Ok(Some((vlora, weight))),
            None => bail!(
                "layer {layer} of {} was built before layer {reference}, whose {} it adds to",
                self.stack.name,
                layer_weight.target
            ),
        }
    }
}

/// Kaiming-uniform, as PyTorch's linear layers start.
fn kaiming(fan_in: usize) -> Init {
    Init::KaimingUniform { fan_in }
}

/// How to build the factors `<name>A` \[rank, in\] and `<name>B` \[rank, out\] of a matrix.
struct Factors<'a> {
    name: &'a str,
    /// \[out, in\].
    sides: (usize, usize),
    rank: usize,
    scale: f64,
    /// Of A and of B.
    init: [Init; 2],
    kind: Kind,
}

impl Factors<'_> {
    fn build(&self, parameters: &mut dyn ParameterBuilder) -> Result<LowRank> {
        let (output, input) = self.sides;
        let mut factor = |which: &str, width: usize, init: Init| -> Result<Variable> {
            let name = format!("{}{which}", self.name);
            parameters.tensor(&name, &[self.rank, width], init, Role::layer(self.kind))
        };
        let [a_init, b_init] = self.init;
        let a = factor("A", input, a_init)?;
        let b = factor("B", output, b_init)?;
        Ok(LowRank { a, b, scale: self.scale })
    }
}

#[cfg(test)]
mod tests;
