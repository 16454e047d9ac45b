//! Parameters and multiply–adds in closed form, without building a model.

use crate::spec::{ModelSpec, Target, VloraSpec};

/// What a block, or a sum of blocks, holds and costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Trained values.
    pub parameters: u64,
    /// Multiply–adds of matrix products in a forward pass, one token. Wide, so that no valid
    /// model overflows it.
    pub forward: u128,
    /// The same in a backward pass. A detached reference weight needs no gradient of its own,
    /// so an increment layer saves a third of a dense one's three products.
    pub backward: u128,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.parameters += other.parameters;
        self.forward += other.forward;
        self.backward += other.backward;
    }
}

/// The part of a layer that the method decides, and the part it leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerCount {
    pub weights: Count,
    /// Biases and norms.
    pub rest: u64,
}

/// Block number `block` of a pre-norm Transformer with the four target matrices.
pub fn transformer_layer(model: &ModelSpec, vlora: Option<&VloraSpec>, block: usize) -> LayerCount {
    let mut weights = Count::default();
    let mut biases = 0;
    for target in Target::ALL {
        let (output, input) = model.target_shape(target);
        weights += matrix(output as u64, input as u64, vlora, target, block);
        biases += output as u64;
    }
    let norms = 4 * model.dim as u64;
    LayerCount { weights, rest: biases + norms }
}

fn matrix(
    output: u64,
    input: u64,
    vlora: Option<&VloraSpec>,
    target: Target,
    block: usize,
) -> Count {
    let full = output * input;
    let wide = u128::from;
    let increment =
        vlora.filter(|v| v.targets.contains(&target) && !block.is_multiple_of(v.compound_size));
    let Some(v) = increment else {
        return Count { parameters: full, forward: wide(full), backward: 2 * wide(full) };
    };
    let parameters = v.rank as u64 * (output + input);
    let pair = wide(parameters);
    // `previous` adds every earlier increment of the compound to its reference weight.
    let earlier = match v.reference {
        crate::spec::Reference::Base => 0,
        crate::spec::Reference::Previous => (block % v.compound_size - 1) as u128 * pair,
    };
    let through_reference = wide(full) + earlier;
    Count {
        parameters,
        forward: through_reference + pair,
        backward: 2 * pair + if v.detach { 1 } else { 2 } * through_reference,
    }
}
