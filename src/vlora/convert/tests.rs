use candle_core::{Device, Result};
use proptest::prelude::*;

use super::*;
use crate::models::vit::Vit;
use crate::nn::{Mode, ParameterBuilder, ParameterStore, Role};
use crate::random::{Purpose, Stream};
use crate::spec::{
    Architecture, IncrementOn, ModelSpec, Pool, Rank, Sharing, TargetSpec, VitSpec, VitVariant,
};
use crate::vlora::singular_values;

/// The matrices of a layer.
const MATRICES: [&str; 4] = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"];

fn model(depth: usize) -> VitSpec {
    VitSpec {
        architecture: Architecture::Vit,
        image_size: 6,
        patch_size: 3,
        channels: 1,
        classes: 3,
        dim: 8,
        depth,
        heads: 2,
        mlp_ratio: 1.5,
        pool: Pool::ClassToken,
        norm_eps: 1e-6,
        variant: VitVariant::Timm,
        dropout: 0.0,
        attention_dropout: 0.0,
        stochastic_depth: 0.0,
    }
}

fn spec(compound_size: usize, rank: Rank, reference: Reference, alpha: f64) -> VloraSpec {
    let targets = MATRICES.map(TargetSpec::plain).to_vec();
    VloraSpec { alpha, reference, targets, ..VloraSpec::new(compound_size, rank) }
}

fn normal(shape: &[usize], name: &str, seed: u64) -> Tensor {
    let mut stream = Stream::new(seed, Purpose::Init, name);
    let values = Init::Normal { std: 0.3 }.values(shape.iter().product(), &mut stream);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Random values for every parameter. Biases and norms are random too, so that a test notices a
/// parameter in the wrong place.
struct Random(u64, BTreeMap<String, Tensor>);

impl ParameterBuilder for Random {
    fn tensor(&mut self, name: &str, shape: &[usize], _: Init, _: Role) -> Result<Variable> {
        let tensor = normal(shape, name, self.0);
        self.1.insert(name.into(), tensor.clone());
        Ok(Variable::constant(tensor))
    }
}

/// Hands out given parameters and counts how many are taken.
struct Given<'a>(Constants<'a>, usize);

impl ParameterBuilder for Given<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize], init: Init, role: Role) -> Result<Variable> {
        self.1 += 1;
        self.0.tensor(name, shape, init, role)
    }
}

fn dense(depth: usize, seed: u64) -> BTreeMap<String, Tensor> {
    let mut source = Random(seed, BTreeMap::new());
    Vit::new(&model(depth), None, None, &mut source).unwrap();
    source.1
}

fn logits(
    depth: usize,
    vlora: Option<&VloraSpec>,
    parameters: &BTreeMap<String, Tensor>,
) -> Tensor {
    let mut source = Given(Constants(parameters), 0);
    let vit = Vit::new(&model(depth), vlora, None, &mut source).unwrap();
    assert_eq!(source.1, parameters.len(), "a parameter that the model does not ask for");
    vit.forward(&normal(&[4, 1, 6, 6], "images", 0), Mode::Evaluation).unwrap().tensor().clone()
}

/// ‖a − b‖ / ‖b‖.
fn apart(a: &Tensor, b: &Tensor) -> f64 {
    norm(&(a - b).unwrap()).unwrap() / norm(b).unwrap()
}

/// The matrices of one target in a model with compounds, merged.
fn merged_matrices(
    depth: usize,
    vlora: &VloraSpec,
    parameters: &BTreeMap<String, Tensor>,
    target: &str,
) -> Vec<Tensor> {
    let [stack] = &model(depth).stacks()[..] else { panic!("one stack") };
    let dense = merge(parameters, stack, Some(vlora), None).unwrap();
    (0..depth).map(|layer| dense[&format!("blocks.{layer}.{target}.weight")].clone()).collect()
}

/// A depth of 2 to 6 and a compound size of 2 or more that divides it.
fn compounds() -> impl Strategy<Value = (usize, usize)> {
    (2..=6usize).prop_flat_map(|depth| {
        let sizes: Vec<usize> = (2..=depth).filter(|size| depth % size == 0).collect();
        (Just(depth), proptest::sample::select(sizes))
    })
}

fn reference() -> impl Strategy<Value = Reference> {
    prop_oneof![Just(Reference::Base), Just(Reference::Previous)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// At full rank the converted model has the dense model's weights and logits, for any reference,
    /// alpha and kind of increment.
    #[test]
    fn full_rank_is_the_dense_model(
        (depth, size) in compounds(),
        reference in reference(),
        rank in prop_oneof![Just(Rank::Of(8)), Just(Rank::Of(11)), Just(Rank::Full)],
        alpha in prop_oneof![0.1..30f64, -30.0..-0.1],
        vectors in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let dense = dense(depth, seed);
        let mut vlora = spec(size, rank, reference, alpha);
        if vectors {
            let weights = ModelSpec::Vit(model(depth)).weights();
            vlora.targets = weights.into_iter().map(|w| TargetSpec::plain(w.target)).collect();
        }
        let (converted, kept) = compress(&dense, &model(depth).stacks(), &vlora, Compression::default()).unwrap();
        prop_assert_eq!(kept.len(), vlora.targets.len() * (depth - depth / size));
        for k in &kept {
            prop_assert!(k.energy_kept > 1.0 - 1e-9 && k.relative_error < 1e-4, "{:?}", k);
        }
        for target in MATRICES {
            let all = merged_matrices(depth, &vlora, &converted, target);
            for (layer, weight) in all.iter().enumerate() {
                let want = &dense[&format!("blocks.{layer}.{target}.weight")];
                prop_assert!(apart(weight, want) < 1e-4, "layer {layer}");
            }
        }
        let want = logits(depth, None, &dense);
        prop_assert!(apart(&logits(depth, Some(&vlora), &converted), &want) < 1e-4);
    }

    /// The error of rank r is given by the singular values beyond the r-th. A higher rank has no larger
    /// error, and alpha does not matter.
    #[test]
    fn the_error_is_that_of_the_truncated_singular_values(
        (depth, size) in compounds(),
        alpha in 0.1..30f64,
        seed in any::<u64>(),
    ) {
        let dense = dense(depth, seed);
        let mut before: Option<Vec<Kept>> = None;
        for rank in 0..=8 {
            let vlora = spec(size, Rank::Of(rank), Reference::Base, alpha);
            let (converted, kept) = compress(&dense, &model(depth).stacks(), &vlora, Compression::default()).unwrap();
            for (i, k) in kept.iter().enumerate() {
                prop_assert!((0.0..=1.0).contains(&k.energy_kept));
                if let Some(before) = &before {
                    prop_assert!(k.energy_kept >= before[i].energy_kept - 1e-12);
                    prop_assert!(k.relative_error <= before[i].relative_error + 1e-6);
                }
                let get = |l: usize| &dense[&format!("blocks.{l}.{}.weight", k.target.name())];
                let (w, base) = (get(k.layer), get(k.layer - k.layer % size));
                let s = singular_values(&(w - base).unwrap()).unwrap();
                let lost = s[rank..].iter().map(|s| s * s).sum::<f64>().sqrt();
                let whole = norm(w).unwrap();
                prop_assert!((k.relative_error - lost / whole).abs() < 1e-5);
                let now = &merged_matrices(depth, &vlora, &converted, k.target.name())[k.layer];
                prop_assert!((apart(now, w) - lost / whole).abs() < 1e-5);
                // Random factors of this rank are not closer.
                let [a, b] = [(k.target.name(), w.dims()[1]), ("b", w.dims()[0])]
                    .map(|(name, width)| normal(&[rank.max(1), width], name, seed))
                    .map(Variable::constant);
                let random = (base + LowRank { a, b, scale: 1.0 }.product().unwrap()).unwrap();
                prop_assert!(rank == 0 || apart(&random, w) >= k.relative_error - 1e-6);
            }
            before = Some(kept);
        }
    }

    /// With rank 0 all layers of a compound use its first layer's weight.
    #[test]
    fn rank_zero_shares_the_base(
        (depth, size) in compounds(),
        reference in reference(),
        seed in any::<u64>(),
    ) {
        let dense = dense(depth, seed);
        let vlora = spec(size, Rank::Of(0), reference, 1.0);
        let (converted, kept) = compress(&dense, &model(depth).stacks(), &vlora, Compression::default()).unwrap();
        prop_assert!(kept.iter().all(|k| k.energy_kept == 0.0 && k.rank == Rank::Of(0)));
        let mut shared = dense.clone();
        for (layer, target) in (0..depth).flat_map(|l| MATRICES.map(|t| (l, t))) {
            let name = |layer: usize| format!("blocks.{layer}.{target}.weight");
            shared.insert(name(layer), dense[&name(layer - layer % size)].clone());
        }
        let (got, want) = (logits(depth, Some(&vlora), &converted), logits(depth, None, &shared));
        prop_assert!(apart(&got, &want) < 1e-6);
    }

    /// With the same factors, twice the alpha gives twice the increment.
    #[test]
    fn the_increment_is_proportional_to_alpha(
        (depth, size) in compounds(),
        reference in reference(),
        alpha in 0.1..10f64,
        factor in -5.0..5f64,
        seed in any::<u64>(),
    ) {
        let steps = |alpha: f64| -> Vec<Tensor> {
            let vlora = spec(size, Rank::Of(2), reference, alpha);
            let mut source = Random(seed, BTreeMap::new());
            let [stack] = &model(depth).stacks()[..] else { panic!("one stack") };
            let mut builder = StackBuilder::new(stack, Some(&vlora), None);
            let mut all: Vec<Tensor> = Vec::new();
            for layer in 0..depth {
                let linear = builder.linear(&mut source, layer, "mlp.fc1", Init::Zeros);
                all.push(linear.unwrap().weight.merged_matrix().unwrap());
            }
            let map = LayerMap::of(stack, Some(&vlora));
            (0..depth)
                .filter_map(|l| Some((&all[l] - &all[map.reference(l)?]).unwrap()))
                .collect()
        };
        for (one, other) in steps(alpha).iter().zip(&steps(alpha * factor)) {
            let error = norm(&((one * factor).unwrap() - other).unwrap()).unwrap();
            prop_assert!(error < 1e-4 * (1.0 + factor.abs()) * (1.0 + norm(one).unwrap()));
        }
    }
}

/// `previous` adds to the layer before as converted, so errors do not accumulate: layers
/// W_l = W_0 + l · u vᵀ are exact at rank 1.
#[test]
fn a_chain_of_rank_one_steps_is_exact_at_rank_one() {
    let (depth, step) = (4, normal(&[1, 8], "step", 1));
    let mut dense = dense(depth, 3);
    let base = dense["blocks.0.attn.proj.weight"].clone();
    let rank_one = step.t().unwrap().matmul(&step).unwrap();
    for layer in 1..depth {
        let weight = (&base + (&rank_one * layer as f64).unwrap()).unwrap();
        dense.insert(format!("blocks.{layer}.attn.proj.weight"), weight);
    }
    for reference in [Reference::Base, Reference::Previous] {
        let mut vlora = spec(depth, Rank::Of(1), reference, 2.0);
        vlora.targets = vec![TargetSpec::plain("attn.proj")];
        let (_, kept) =
            compress(&dense, &model(depth).stacks(), &vlora, Compression::default()).unwrap();
        assert_eq!(kept.len(), 3);
        for k in kept {
            assert!(k.energy_kept > 1.0 - 1e-9 && k.relative_error < 1e-5, "{k:?}");
        }
    }
}

#[test]
fn equal_layers_are_exact_at_any_rank() {
    let mut dense = dense(2, 3);
    dense.insert("blocks.1.mlp.fc1.weight".into(), dense["blocks.0.mlp.fc1.weight"].clone());
    for rank in [Rank::Of(0), Rank::Of(2), Rank::Full] {
        let (now, kept) = compress(
            &dense,
            &model(2).stacks(),
            &spec(2, rank, Reference::Base, 1.0),
            Compression::default(),
        )
        .unwrap();
        let fc1 = kept.iter().find(|k| k.target.name() == "mlp.fc1").unwrap();
        assert_eq!((fc1.energy_kept, fc1.relative_error), (1.0, 0.0));
        if let Rank::Of(2) = rank {
            // If both were zero, neither would ever get a gradient.
            let size = |part: &str| norm(&now[&format!("blocks.1.mlp.fc1.weight.{part}")]).unwrap();
            assert!((size("A") - 2f64.sqrt()).abs() < 1e-5 && size("B") == 0.0);
        }
    }
}

#[test]
fn a_parameter_store_loads_the_converted_weights() {
    let dense = dense(4, 1);
    let mut vlora = spec(2, Rank::Of(2), Reference::Previous, 1.0);
    vlora.targets.push(TargetSpec::plain("norm1.bias"));
    let (converted, _) =
        compress(&dense, &model(4).stacks(), &vlora, Compression::default()).unwrap();
    let mut store = ParameterStore::new(0, Device::Cpu);
    Vit::new(&model(4), Some(&vlora), None, &mut store).unwrap();
    store.load(&converted).unwrap();
}

#[test]
fn weights_that_cannot_be_converted_are_refused_by_name() {
    let message = |change: &dyn Fn(&mut BTreeMap<String, Tensor>), vlora: &VloraSpec| {
        let mut dense = dense(2, 1);
        change(&mut dense);
        compress(&dense, &model(2).stacks(), vlora, Compression::default()).unwrap_err().to_string()
    };
    let plain = spec(2, Rank::Of(2), Reference::Base, 1.0);
    let name = "blocks.1.mlp.fc1.weight";
    let missing = message(&|d| drop(d.remove(name)), &plain);
    assert!(missing.contains(name) && missing.contains("lack this parameter"), "{missing}");
    let shape = message(&|d| drop(d.insert(name.into(), normal(&[2, 2], "", 0))), &plain);
    assert!(shape.contains("shape [2, 2]") && shape.contains("[12, 8]"), "{shape}");
    let nan = |d: &mut BTreeMap<String, Tensor>| {
        let bad = (&d[name] * f64::NAN).unwrap();
        d.insert(name.into(), bad);
    };
    let nan = message(&nan, &plain);
    assert!(nan.contains(&format!("tensor:   {name}")) && nan.contains("NaN"), "{nan}");
    let increment = |d: &mut BTreeMap<String, Tensor>| {
        d.insert(format!("{name}.A"), normal(&[2, 2], "", 0));
    };
    assert!(message(&increment, &plain).contains("hold an increment"));
    let zero = message(&|_| (), &VloraSpec { alpha: 0.0, ..plain.clone() });
    assert!(zero.contains("scaled by 0"), "{zero}");
    let none = message(&|_| (), &VloraSpec { compound_size: Some(0), ..plain });
    assert!(none.contains("at least one layer"), "{none}");
}

/// Any way of sharing six layers.
fn maps() -> impl Strategy<Value = VloraSpec> {
    let sharing =
        prop::sample::select(vec![Sharing::Sequence, Sharing::Cycle, Sharing::CycleReversed]);
    let on = prop::sample::select(vec![IncrementOn::Others, IncrementOn::All]);
    (1..=6usize, sharing, on, reference(), 0..2usize, 0..2usize).prop_map(
        |(size, sharing, increment_on, reference, keep_first, keep_last)| VloraSpec {
            sharing,
            increment_on,
            keep_first,
            keep_last,
            ..spec(size, Rank::Of(8), reference, 2.0)
        },
    )
}

fn bases() -> impl Strategy<Value = BaseInit> {
    use BaseInit::*;
    prop::sample::select(vec![First, Average, Stepwise, Lower])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the shared weights are, decomposed increments of full rank make up for them. Only owners
    /// without an increment of their own become another layer's weight.
    #[test]
    fn increments_of_full_rank_make_up_for_any_base(
        vlora in maps(),
        base in bases(),
        seed in any::<u64>(),
    ) {
        let depth = 6;
        let dense = dense(depth, seed);
        let how = Compression { base, increments: StartIncrements::Svd };
        let (converted, _) = compress(&dense, &model(depth).stacks(), &vlora, how).unwrap();
        let [stack] = &model(depth).stacks()[..] else { panic!("one stack") };
        let map = LayerMap::of(stack, Some(&vlora));
        for target in MATRICES {
            let all = merged_matrices(depth, &vlora, &converted, target);
            for (layer, weight) in all.iter().enumerate() {
                let want = &dense[&format!("blocks.{layer}.{target}.weight")];
                let is_exact = map.has_increment(layer) || !map.is_reference(layer) || base == BaseInit::First;
                prop_assert!(!is_exact || apart(weight, want) < 1e-4, "{target} of layer {layer}");
            }
        }
        if base == BaseInit::First || vlora.increment_on == IncrementOn::All {
            let want = logits(depth, None, &dense);
            prop_assert!(apart(&logits(depth, Some(&vlora), &converted), &want) < 1e-4);
        }
    }

    /// Of all shared weights, the mean has the smallest summed squared distance to the layers'.
    #[test]
    fn the_mean_is_the_nearest_shared_weight(vlora in maps(), seed in any::<u64>()) {
        let depth = 6;
        let dense = dense(depth, seed);
        let vlora = VloraSpec { rank: Rank::Of(0), ..vlora };
        let distance = |base: BaseInit| -> f64 {
            let how = Compression { base, increments: StartIncrements::Svd };
            let (converted, _) = compress(&dense, &model(depth).stacks(), &vlora, how).unwrap();
            let of = |target: &str| -> f64 {
                let all = merged_matrices(depth, &vlora, &converted, target);
                let squares = all.iter().enumerate().map(|(layer, weight)| {
                    let want = &dense[&format!("blocks.{layer}.{target}.weight")];
                    norm(&(weight - want).unwrap()).unwrap().powi(2)
                });
                squares.sum()
            };
            MATRICES.iter().map(|target| of(target)).sum()
        };
        let least = distance(BaseInit::Average);
        for other in [BaseInit::First, BaseInit::Stepwise, BaseInit::Lower] {
            prop_assert!(least <= distance(other) * (1.0 + 1e-6), "{other:?}");
        }
    }
}

#[test]
fn shared_weights_are_those_of_the_chosen_layers() {
    let depth = 6;
    let dense = dense(depth, 1);
    let chosen = |vlora: &VloraSpec, base: BaseInit| -> Vec<usize> {
        let how = Compression { base, increments: StartIncrements::Lora };
        let (converted, kept) = compress(&dense, &model(depth).stacks(), vlora, how).unwrap();
        assert!(kept.is_empty() && !converted.keys().any(|name| is_increment(name)));
        let name = |layer: usize| format!("blocks.{layer}.mlp.fc1.weight");
        let owners = (0..depth).filter(|layer| converted.contains_key(&name(*layer)));
        let of = |owner: usize| {
            let value = &converted[&name(owner)];
            (0..depth).find(|layer| apart(&dense[&name(*layer)], value) == 0.0).unwrap()
        };
        owners.map(of).collect()
    };
    let sequence = spec(2, Rank::Of(2), Reference::Base, 1.0);
    let cycle = VloraSpec { sharing: Sharing::Cycle, ..sequence.clone() };
    let ends = VloraSpec { keep_first: 1, keep_last: 1, ..cycle.clone() };
    for (vlora, base, want) in [
        (&sequence, BaseInit::First, [0, 2, 4].as_slice()),
        (&sequence, BaseInit::Lower, &[0, 1, 2]),
        (&sequence, BaseInit::Stepwise, &[0, 3, 5]),
        (&cycle, BaseInit::First, &[0, 1, 2]),
        (&cycle, BaseInit::Lower, &[0, 1, 2]),
        (&cycle, BaseInit::Stepwise, &[0, 3, 5]),
        // The ends stay as they are.
        (&ends, BaseInit::Stepwise, &[0, 1, 4, 5]),
        (&ends, BaseInit::Lower, &[0, 1, 2, 5]),
        (&spec(6, Rank::Of(2), Reference::Base, 1.0), BaseInit::Stepwise, &[0]),
    ] {
        assert_eq!(chosen(vlora, base), want, "{base:?} {:?}", vlora.weights(depth));
    }
}
