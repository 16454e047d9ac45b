//! Parameters and FLOPs of a Vision Transformer in closed form: the oracle for the counts that are
//! read from the built model.

use super::{Cost, cost};
use crate::spec::{
    Architecture, DataSpec, LayerWeight, LoraSpec, Method, ModelSpec, ParameterGroup, Pool,
    Precision, Rank, Reference, RunSpec, TargetSpec, Task, TrainingSpec, VitSpec, VitVariant,
    VloraSpec,
};
use crate::vlora::{Increment, MultiplyAdds, Terms, cheapest};

/// Parameter counts and work of all layers.
#[derive(Default)]
struct Layers {
    matrices: u64,
    biases: u64,
    norms: u64,
    lora: u64,
    work: MultiplyAdds,
}

/// The increment of a weight in a layer; None where the layer owns the weight.
fn increment(run: &RunSpec, layer: usize, weight: &LayerWeight) -> Option<Increment> {
    let vlora = run.vlora.as_ref()?;
    if layer.is_multiple_of(vlora.compound_size?) { None } else { Increment::of(weight, vlora) }
}

/// Adds a layer with `rows` tokens, `needed` of which are needed after it.
fn add_layer(all: &mut Layers, run: &RunSpec, layer: usize, rows: usize, needed: usize) {
    for weight in run.model.weights() {
        let (output, input) = weight.sides();
        let (full, thin) = ((output * input) as u64, (output + input) as u64);
        let increment_kind = increment(run, layer, &weight);
        if weight.is_vector() {
            let values = if increment_kind == Some(Increment::Shared) { 0 } else { output as u64 };
            match weight.target.name().starts_with("norm") {
                true => all.norms += values,
                false => all.biases += values,
            }
            continue;
        }
        all.matrices += match increment_kind {
            None | Some(Increment::Full) => full,
            Some(Increment::LowRank { rank, .. }) => rank as u64 * thin,
            Some(Increment::Shared | Increment::Vector) => 0,
        };
        let adapted = run.lora.as_ref().filter(|lora| lora.targets.contains(&weight.target));
        all.lora += adapted.map_or(0, |lora| lora.rank as u64 * thin);
        let rows = if weight.target.name() == "attn.qkv" { rows } else { needed };
        all.work += work(run, layer, &weight, rows);
    }
}

/// The work of a layer's weight: the dense matrix and the chain of increments added to it.
fn work(run: &RunSpec, layer: usize, weight: &LayerWeight, rows: usize) -> MultiplyAdds {
    let frozen = run.lora.is_some();
    let chain: Vec<usize> = match (&run.vlora, increment(run, layer, weight)) {
        (Some(v), Some(_)) => {
            let first = layer - layer % v.compound_size.unwrap();
            match v.reference {
                Reference::Base => vec![first, layer],
                Reference::Previous => (first..=layer).collect(),
            }
        }
        _ => vec![layer],
    };
    let mut terms = Terms::default();
    for other in chain {
        // Without `detach`, the gradient also reaches the weights that the layer's own increment adds to.
        let stops = run.vlora.as_ref().is_some_and(|v| v.detach) && other != layer;
        let trained = !frozen && !stops;
        match increment(run, other, weight) {
            None | Some(Increment::Full) => terms.matrix_trained |= trained,
            Some(Increment::LowRank { rank, .. }) if trained => terms.trained_rank += rank,
            Some(Increment::LowRank { rank, .. }) => terms.constant_rank += rank,
            Some(Increment::Shared | Increment::Vector) => {}
        }
    }
    let (output, input) = weight.sides();
    let lora = run.lora.as_ref().filter(|lora| lora.targets.contains(&weight.target));
    let apart = lora.filter(|lora| lora.dropout > 0.0);
    if let (Some(lora), None) = (lora, apart) {
        terms.trained_rank += lora.rank;
    }
    let mut work = cheapest(rows, (output, input), terms).1;
    if let Some(lora) = apart {
        let pair = (rows * lora.rank * (output + input)) as u128;
        work += MultiplyAdds { forward: pair, backward: 2 * pair };
    }
    work
}

fn closed_form(run: &RunSpec) -> Cost {
    let (m, batch) = (run.model.as_vit().unwrap(), run.training.batch_size);
    let class_token = usize::from(m.pool == Pool::ClassToken);
    let patches = (m.image_size / m.patch_size).pow(2);
    let (dim, classes, n) = (m.dim as u64, m.classes as u64, patches + class_token);
    let patch_inputs = (m.channels * m.patch_size * m.patch_size) as u64;
    let mut layers = Layers::default();
    // q kᵀ and weights · v: queries · n · dim multiply–adds each, twice that backward.
    let mut attention = 0;
    for layer in 0..m.depth {
        let needed = if layer + 1 == m.depth && class_token == 1 { 1 } else { n };
        add_layer(&mut layers, run, layer, batch * n, batch * needed);
        attention += 2 * needed as u64 * n as u64 * dim;
    }
    let embedding = dim * patch_inputs + dim + class_token as u64 * dim + n as u64 * dim;
    let (last_norm, classifier) = (2 * dim, classes * dim + classes);
    let biases_norms = layers.biases + layers.norms;
    let head = last_norm + classifier;
    let parameters = layers.matrices + biases_norms + embedding + head + layers.lora;
    let trained = match &run.lora {
        None => parameters,
        Some(lora) => {
            let group = |group: &ParameterGroup| match group {
                ParameterGroup::Head => classifier,
                ParameterGroup::Norms => layers.norms + last_norm,
                // Also the patch embedding's bias.
                ParameterGroup::Biases => layers.biases + dim,
                ParameterGroup::Embeddings => embedding - dim,
            };
            layers.lora + lora.also_train.iter().map(group).sum::<u64>()
        }
    };
    let (first, last) = (patches as u64 * patch_inputs * dim, classes * dim);
    let per_image = |work: u128| work as f64 / batch as f64;
    let forward = per_image(layers.work.forward) + (attention + first + last) as f64;
    // Images need no gradient: the patch embedding's backward pass computes only its weight's.
    let trains = |group| run.lora.as_ref().is_none_or(|lora| lora.also_train.contains(&group));
    let edges = match trains(ParameterGroup::Head) {
        true => 2 * last,
        false => last,
    } + if trains(ParameterGroup::Embeddings) { first } else { 0 };
    let backward = per_image(layers.work.backward) + (2 * attention + edges) as f64;
    Cost {
        parameters,
        trained,
        weights: layers.matrices,
        embedding,
        biases_norms,
        head,
        lora: layers.lora,
        forward_flops: 2.0 * forward,
        training_flops: 2.0 * (forward + backward),
    }
}

/// Asserts that both counts are equal. FLOPs may differ in rounding, as they are summed in another
/// order.
fn agree(run: &RunSpec) {
    let (counted, want) = (cost(run), closed_form(run));
    let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-12;
    assert!(near(counted.forward_flops, want.forward_flops), "{counted:?} {want:?} {run:?}");
    assert!(near(counted.training_flops, want.training_flops), "{counted:?} {want:?} {run:?}");
    let (forward_flops, training_flops) = (want.forward_flops, want.training_flops);
    assert_eq!(Cost { forward_flops, training_flops, ..counted }, want, "{run:?}");
}

fn vit_b16() -> VitSpec {
    VitSpec {
        architecture: Architecture::Vit,
        image_size: 224,
        patch_size: 16,
        channels: 3,
        classes: 1000,
        dim: 768,
        depth: 12,
        heads: 12,
        mlp_ratio: 4.0,
        pool: Pool::ClassToken,
        norm_eps: 1e-6,
        variant: VitVariant::Timm,
        dropout: 0.0,
        attention_dropout: 0.0,
        stochastic_depth: 0.0,
    }
}

fn run(model: VitSpec, vlora: Option<VloraSpec>, lora: Option<LoraSpec>) -> RunSpec {
    let data = serde_json::from_str(r#"{"embedded": "fashion-mnist-mini"}"#).unwrap();
    let (data, model) = (DataSpec::Images(data), ModelSpec::Vit(model));
    let method = if vlora.is_some() { Method::Vlora } else { Method::Dense };
    let training = TrainingSpec::default();
    let task = Task::ImageClassification;
    let precision = Precision::Float32;
    RunSpec { task, data, model, method, vlora, start: None, lora, training, precision }
}

/// The matrices of a layer.
const MATRICES: [&str; 4] = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"];

fn vlora(compound_size: usize, rank: usize) -> VloraSpec {
    let targets = MATRICES.map(TargetSpec::plain).to_vec();
    VloraSpec { targets, ..VloraSpec::new(compound_size, Rank::Of(rank)) }
}

/// Counted by the authors' package (`vlora` 0.1.2 with timm).
#[test]
fn vit_b16_counts_match_the_authors_package() {
    let compounds = |count: usize, size: usize, rank| {
        assert_eq!(count * size, 12);
        Some(vlora(size, rank))
    };
    let cases = [
        (None, 86_567_656),
        (compounds(3, 4, 8), 23_751_400),
        (compounds(3, 4, 1), 22_977_256),
        (compounds(3, 4, 2), 23_087_848),
        (compounds(3, 4, 4), 23_309_032),
        (compounds(3, 4, 16), 24_636_136),
        (compounds(3, 4, 32), 26_405_608),
        (compounds(3, 4, 64), 29_944_552),
        (compounds(1, 12, 8), 9_792_232),
        (compounds(2, 6, 8), 16_771_816),
        (compounds(4, 3, 8), 30_730_984),
        (compounds(6, 2, 8), 44_690_152),
    ];
    for (vlora, want) in cases {
        let run = run(vit_b16(), vlora, None);
        let cost = cost(&run);
        assert_eq!((cost.parameters, cost.trained), (want, want), "{:?}", run.vlora);
        assert_eq!(cost.weights + cost.embedding + cost.biases_norms + cost.head, want);
        agree(&run);
    }
}

#[test]
fn the_built_model_equals_the_closed_form_for_other_shapes() {
    let lora = |also_train: &[ParameterGroup]| LoraSpec {
        rank: 3,
        alpha: 8.0,
        dropout: 0.0,
        targets: ["attn.qkv", "mlp.fc2"].map(Into::into).to_vec(),
        also_train: also_train.to_vec(),
    };
    let mixed = vec![
        TargetSpec { rank: Some(Rank::Full), ..TargetSpec::plain("attn.qkv") },
        TargetSpec { rank: Some(Rank::Of(1)), ..TargetSpec::plain("mlp.fc1") },
        TargetSpec::plain("mlp.fc2"),
        TargetSpec::plain("attn.qkv.bias"),
        TargetSpec::plain("norm2.weight"),
    ];
    let all = [
        ParameterGroup::Head,
        ParameterGroup::Norms,
        ParameterGroup::Biases,
        ParameterGroup::Embeddings,
    ];
    for pool in [Pool::ClassToken, Pool::Mean] {
        for (channels, mlp_ratio, targets) in [
            (1, 2.0, MATRICES.map(TargetSpec::plain).to_vec()),
            (3, 0.5, vec![TargetSpec::plain("mlp.fc1")]),
            (3, 1.0, mixed.clone()),
        ] {
            let model = VitSpec {
                image_size: 12,
                patch_size: 3,
                channels,
                classes: 7,
                dim: 8,
                depth: 6,
                heads: 2,
                mlp_ratio,
                pool,
                ..vit_b16()
            };
            for reference in [Reference::Base, Reference::Previous] {
                for rank in [Rank::Of(0), Rank::Of(2), Rank::Full] {
                    let loras = [None, Some(lora(&[])), Some(lora(&all)), Some(lora(&all[..1]))];
                    let dropping = loras[1].clone().map(|l| LoraSpec { dropout: 0.1, ..l });
                    for lora in loras.into_iter().chain([dropping]) {
                        for detach in [true, false] {
                            let targets = targets.clone();
                            let v = VloraSpec { reference, rank, detach, targets, ..vlora(3, 2) };
                            agree(&run(model.clone(), Some(v), lora.clone()));
                        }
                    }
                }
            }
        }
    }
}

/// A step on 64 images takes 133 GFLOP for the baseline and 100 GFLOP for a detached 3 × 4. Those
/// counts include every token after the last block. They exclude the products inside attention and,
/// for VLoRA, those of the increments.
#[test]
fn flops_of_a_known_size() {
    let model = VitSpec {
        image_size: 32,
        patch_size: 4,
        classes: 10,
        dim: 192,
        heads: 3,
        pool: Pool::Mean,
        ..vit_b16()
    };
    let step = |model: &VitSpec, v: Option<VloraSpec>| {
        let mut run = run(model.clone(), v, None);
        run.training.batch_size = 64;
        64.0 * cost(&run).training_flops / 1e9
    };
    // Pooling by the mean has no class token, so 64 tokens. The counts above are for 65.
    let (with_class, n) = (65.0 / 64.0, 64.0 * 64.0);
    let attention = 12.0 * 2.0 * n * 64.0 * 192.0 * 2.0 * 3.0 / 1e9;
    let dense = (step(&model, None) - attention) * with_class;
    assert!((dense - 133.0).abs() < 1.0, "{dense}");
    // Rank 8 in 9 layers: four thin products per target, and folding the product twice.
    let thin = 9.0 * 8.0 * f64::from(768 + 384 + 960 + 960) * n * 4.0 / 1e9;
    let folded = 9.0 * 8.0 * 12.0 * 192.0 * 192.0 * 4.0 / 1e9;
    let vlora_step = |v| (step(&model, Some(v)) - attention - thin - folded) * with_class;
    let detached = vlora_step(vlora(4, 8));
    assert!((detached - 100.0).abs() < 1.0, "{detached}");

    // With a class token, nine of twelve parts of the last block's work are for one token only.
    let whole = step(&VitSpec { pool: Pool::ClassToken, ..model.clone() }, None);
    let rows = |tokens: f64| 64.0 * tokens * 192.0 * 192.0 * 2.0 * 3.0 / 1e9;
    let saved = 9.0 * rows(64.0) + 2.0 * 64.0 * 64.0 * 65.0 * 192.0 * 2.0 * 3.0 / 1e9;
    let all = (step(&model, None) - attention) * with_class
        + 12.0 * 2.0 * 64.0 * 65.0 * 65.0 * 192.0 * 2.0 * 3.0 / 1e9;
    assert!((all - saved - whole).abs() < 0.2, "{all} - {saved} is not {whole}");
}
