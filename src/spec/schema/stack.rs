//! What an architecture's layers are made of: stacks, and the weights that each layer of one has.

use super::Target;

/// A sequence of layers of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// `blocks`, `encoder`, `decoder`.
    pub name: &'static str,
    /// The part of parameter names before the layer number: `blocks`, `encoder.layer`.
    pub prefix: &'static str,
    /// Number of layers.
    pub depth: usize,
    /// The weights of a layer: the matrices first, then the vectors, each in the order of the
    /// layer. Specs list their targets in this order once they are resolved.
    pub weights: Vec<LayerWeight>,
}

/// A weight that every layer of a stack has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerWeight {
    pub target: Target,
    pub shape: WeightShape,
}

/// What a weight is, with its sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightShape {
    /// Of a linear layer, \[output, input\]. Its bias, if it has one, is a weight of the layer, too.
    Matrix { output: usize, input: usize, bias: Option<Target> },
    /// Of a linear layer, \[size\].
    Bias { size: usize },
    /// The scale or the shift of a norm, \[size\].
    Norm { size: usize },
}

impl LayerWeight {
    pub fn matrix(name: &str, output: usize, input: usize, biased: bool) -> LayerWeight {
        let bias = biased.then(|| Target::new(format!("{name}.bias")));
        LayerWeight { target: name.into(), shape: WeightShape::Matrix { output, input, bias } }
    }

    /// The matrices of linear layers (name, output, input), and then their biases if they have any.
    pub fn linears(layers: &[(&str, usize, usize)], biased: bool) -> Vec<LayerWeight> {
        let matrices =
            layers.iter().map(|(name, out, input)| LayerWeight::matrix(name, *out, *input, biased));
        let biased = if biased { layers } else { &[] };
        let biases = biased.iter().map(|(name, out, _)| LayerWeight::bias(name, *out));
        matrices.chain(biases).collect()
    }

    /// The bias of the linear layer `name`.
    pub fn bias(name: &str, size: usize) -> LayerWeight {
        let target = Target::new(format!("{name}.bias"));
        LayerWeight { target, shape: WeightShape::Bias { size } }
    }

    /// The scale of the norm `name`, and its shift if it has one.
    pub fn norm(name: &str, size: usize, shifted: bool) -> Vec<LayerWeight> {
        let parts: &[&str] = if shifted { &["weight", "bias"] } else { &["weight"] };
        let of = |part: &&str| LayerWeight {
            target: Target::new(format!("{name}.{part}")),
            shape: WeightShape::Norm { size },
        };
        parts.iter().map(of).collect()
    }

    pub fn is_vector(&self) -> bool {
        !matches!(self.shape, WeightShape::Matrix { .. })
    }

    /// The parameter's name within its layer: `attn.qkv.weight`, `norm1.bias`.
    pub fn parameter(&self) -> String {
        match self.shape {
            WeightShape::Matrix { .. } => format!("{}.weight", self.target),
            WeightShape::Bias { .. } | WeightShape::Norm { .. } => self.target.name().to_string(),
        }
    }

    /// \[output, input\]; \[size, 1\] of a vector.
    pub fn sides(&self) -> (usize, usize) {
        match self.shape {
            WeightShape::Matrix { output, input, .. } => (output, input),
            WeightShape::Bias { size } | WeightShape::Norm { size } => (size, 1),
        }
    }
}

impl Stack {
    pub fn weight(&self, target: &Target) -> Option<&LayerWeight> {
        self.weights.iter().find(|weight| weight.target == *target)
    }

    pub fn matrices(&self) -> impl Iterator<Item = &LayerWeight> {
        self.weights.iter().filter(|weight| !weight.is_vector())
    }

    /// The name of a weight's parameter in a layer: `blocks.3.attn.qkv.weight`.
    pub fn parameter(&self, layer: usize, weight: &LayerWeight) -> String {
        format!("{}.{layer}.{}", self.prefix, weight.parameter())
    }

    /// The layer that a parameter's name stands in; None for one outside of this stack.
    pub fn layer_of(&self, parameter: &str) -> Option<usize> {
        let rest = parameter.strip_prefix(self.prefix)?.strip_prefix('.')?;
        rest.split_once('.')?.0.parse().ok()
    }
}

/// The weights of some stacks, each name once.
pub fn distinct_weights(stacks: Vec<Stack>) -> Vec<LayerWeight> {
    let mut all: Vec<LayerWeight> = Vec::new();
    for weight in stacks.into_iter().flat_map(|stack| stack.weights) {
        if all.iter().all(|other| other.target != weight.target) {
            all.push(weight);
        }
    }
    all
}
