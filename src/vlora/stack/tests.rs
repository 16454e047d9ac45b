use candle_core::{Device, Tensor};

use super::*;
use crate::nn::ops::{self, Epilogue};
use crate::nn::{Mode, ParameterStore};
use crate::spec::{Rank, Reference, TargetSpec};

const SHAPE: (usize, usize) = (5, 4);

/// Layers with two matrices of the same shape and a norm.
fn stack(depth: usize) -> Stack {
    let (output, input) = SHAPE;
    let names = ["mlp.fc1", "mlp.fc2"];
    let matrices = names.map(|name| LayerWeight::matrix(name, output, input, true));
    let biases = names.map(|name| LayerWeight::bias(name, output));
    let norm = LayerWeight::norm("norm1", 2, true);
    let weights = matrices.into_iter().chain(biases).chain(norm).collect();
    Stack { name: "blocks", prefix: "blocks", depth, weights }
}

fn spec(reference: Reference, detach: bool, init: IncrementInit) -> VloraSpec {
    let targets = vec![TargetSpec::plain("mlp.fc1")];
    let rank = Rank::Of(2);
    VloraSpec { alpha: 1.5, reference, detach, init, targets, ..VloraSpec::new(3, rank) }
}

/// The linear layer `name` of each of six layers, in a new store.
fn layers(spec: &VloraSpec, name: &str) -> (ParameterStore, Vec<Linear>) {
    let mut store = ParameterStore::new(4, Device::Cpu);
    let stack = stack(6);
    let mut builder = StackBuilder::new(&stack, Some(spec), None);
    let normal = Init::Normal { std: 1.0 };
    let layers =
        (0..6).map(|layer| builder.linear(&mut store, layer, name, normal).unwrap()).collect();
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
fn increments_add_to_their_reference() {
    for detach in [true, false] {
        for (reference, increments) in
            [(Reference::Base, &[5][..]), (Reference::Previous, &[4, 5][..])]
        {
            let (store, layers) =
                layers(&spec(reference, detach, IncrementInit::Authors), "mlp.fc1");
            let mut want = value(&store, 3, "");
            for block in increments {
                let (a, b) = (value(&store, *block, ".A"), value(&store, *block, ".B"));
                want =
                    (want + (b.t().unwrap().matmul(&a).unwrap() * (1.5 / 2.0)).unwrap()).unwrap();
            }
            close(&layers[5].weight.merged_matrix().unwrap(), &want);
        }
    }
}

/// The last layer's loss always reaches its own pair. Without `detach` it also reaches the base, and
/// with `previous` the pair before.
#[test]
fn gradients_reach_the_reference_unless_detached() {
    let x = Tensor::ones((3, SHAPE.1), candle_core::DType::F32, &Device::Cpu).unwrap();
    let x = Variable::constant(x);
    for (reference, detach, base, before) in [
        (Reference::Base, true, false, false),
        (Reference::Base, false, true, false),
        (Reference::Previous, true, false, false),
        (Reference::Previous, false, true, true),
    ] {
        let (store, layers) = layers(&spec(reference, detach, IncrementInit::Authors), "mlp.fc1");
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
fn init_lora_starts_at_the_reference_and_init_authors_does_not() {
    let start = |init| {
        let (store, layers) = layers(&spec(Reference::Base, true, init), "mlp.fc1");
        let apart = (layers[1].weight.merged_matrix().unwrap() - value(&store, 0, "")).unwrap();
        apart.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    };
    assert_eq!(start(IncrementInit::Lora), 0.0);
    assert!(start(IncrementInit::Authors) > 1e-3);
}

/// `torch.nn.init.xavier_uniform_` of A \[rank, in\] and of B \[rank, out\].
#[test]
fn init_xavier_uniform_has_its_bounds() {
    let (store, _) = layers(&spec(Reference::Base, true, IncrementInit::XavierUniform), "mlp.fc1");
    for end in [".A", ".B"] {
        let factor = value(&store, 1, end);
        let (rank, side) = factor.dims2().unwrap();
        let largest = factor.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        // Some value is beyond what Kaiming-uniform ones reach.
        let (bound, kaiming) = ((6.0 / (rank + side) as f32).sqrt(), (side as f32).powf(-0.5));
        assert!(largest <= bound && largest > kaiming, "{end}: {largest} of {bound}");
    }
}

#[test]
fn matrices_that_are_not_targets_stay_dense() {
    let spec = spec(Reference::Base, true, IncrementInit::Authors);
    let (store, _) = layers(&spec, "mlp.fc2");
    assert_eq!(store.count(), 6 * (SHAPE.0 * SHAPE.1 + SHAPE.0));
}

/// Rank 0 shares the reference. A full increment starts at the reference and has the matrix's shape.
/// A target's own rank overrides the common one.
#[test]
fn rank_zero_full_rank_and_a_targets_own_rank() {
    let with = |rank, target_rank: Option<Rank>| {
        let spec = spec(Reference::Base, true, IncrementInit::Authors);
        let targets = vec![TargetSpec { rank: target_rank, ..TargetSpec::plain("mlp.fc1") }];
        layers(&VloraSpec { rank, targets, ..spec }, "mlp.fc1")
    };
    let (dense, biases) = (SHAPE.0 * SHAPE.1, 6 * SHAPE.0);
    for (rank, target_rank, each) in [
        (Rank::Of(0), None, 0),
        (Rank::Full, None, dense),
        (Rank::Of(2), Some(Rank::Of(3)), 3 * (SHAPE.0 + SHAPE.1)),
        (Rank::Full, Some(Rank::Of(0)), 0),
    ] {
        let (store, layers) = with(rank, target_rank);
        assert_eq!(store.count(), 2 * dense + 4 * each + biases, "{rank:?} {target_rank:?}");
        let apart = (layers[4].weight.merged_matrix().unwrap() - value(&store, 3, "")).unwrap();
        let apart = apart.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(apart == 0.0, target_rank.is_none() || target_rank == Some(Rank::Of(0)));
    }
}

/// A vector's increment is additive, starts at zero, and is added to the reference weight.
#[test]
fn vectors_add_to_their_reference() {
    for (reference, want) in [(Reference::Base, 1.0 + 4.0), (Reference::Previous, 1.0 + 2.0 + 4.0)]
    {
        let targets = vec![TargetSpec::plain("norm1.weight")];
        let spec = VloraSpec { targets, ..spec(reference, true, IncrementInit::Authors) };
        let mut store = ParameterStore::new(4, Device::Cpu);
        let stack = stack(3);
        let mut builder = StackBuilder::new(&stack, Some(&spec), None);
        let norms: Vec<Vector> = (0..3)
            .map(|layer| builder.vector(&mut store, layer, "norm1.weight", Init::Ones).unwrap())
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

#[test]
fn unknown_names_and_wrong_build_order_are_refused() {
    let spec = spec(Reference::Base, true, IncrementInit::Authors);
    let stack = stack(6);
    let mut store = ParameterStore::new(4, Device::Cpu);
    let mut builder = StackBuilder::new(&stack, Some(&spec), None);
    let mut error = |layer: usize, name: &str| {
        builder.linear(&mut store, layer, name, Init::Zeros).unwrap_err().to_string()
    };
    assert!(error(0, "mlp.fc3").contains("mlp.fc3 is not a weight of blocks"));
    assert!(error(0, "norm1.weight").contains("norm1.weight is not a matrix of blocks"));
    assert!(error(1, "mlp.fc1").contains("built before layer 0, whose mlp.fc1"));
}
