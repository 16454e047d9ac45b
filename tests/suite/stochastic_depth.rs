//! Stochastic depth and dropout of a Vision Transformer.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use vlora::models::vit::Vit;
use vlora::nn::{Mode, ParameterStore, StepKey, Variable};
use vlora::spec::RunSpec;
use vlora::tasks::ImageClassification;

use crate::common::spec::parsed;

const BATCH: usize = 400;
const KEY: StepKey = StepKey { seed: 5, step: 9, part: 1 };

fn run(model: &str) -> RunSpec {
    let text = format!(
        "task: image-classification\ndata: {{embedded: fashion-mnist-mini}}\n\
         model: {{architecture: vit, image_size: 8, patch_size: 4, channels: 1, classes: 5, dim: 12, \
         depth: 3, heads: 3, mlp_ratio: 2, {model}}}\n\
         training: {{epochs: 1}}\narms: {{baseline: {{}}}}\nseeds: [0]\n"
    );
    parsed(&text, &[]).unwrap().variants.remove(0).spec
}

/// The model, with the weights of `silenced` linear layers, which then add nothing, set to zero.
fn model(run: &RunSpec, silenced: &str) -> (ParameterStore, Vit) {
    let (store, model) = ImageClassification::blueprint(run).train(3, &Device::Cpu).unwrap();
    let mut values: BTreeMap<String, Tensor> = store.snapshot().unwrap();
    for (name, value) in &mut values {
        // Far from the small initial values.
        *value = (&*value * 4.0).unwrap();
        if !silenced.is_empty() && name.contains(silenced) {
            *value = value.zeros_like().unwrap();
        }
    }
    store.load(&values).unwrap();
    (store, model)
}

/// What layer `layer` adds to the tokens of each example.
fn added(model: &Vit, layer: usize, mode: Mode) -> Vec<Vec<f32>> {
    let values: Vec<f32> = (0..BATCH * 64).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
    let images = Tensor::from_vec(values, (BATCH, 1, 8, 8), &Device::Cpu).unwrap();
    let x = model.embed(&images).unwrap();
    let tokens = x.tensor().dim(1).unwrap();
    let y: Variable = model.blocks[layer].forward(&x, tokens, mode).unwrap();
    let added = (y.tensor() - x.tensor()).unwrap();
    added.flatten_from(1).unwrap().to_vec2().unwrap()
}

/// The factors by which training scales what a layer adds for each example.
fn factors(part: &str, layer: usize) -> Vec<f32> {
    let (_store, model) = model(&run("stochastic_depth: 0.4"), part);
    let whole = added(&model, layer, Mode::Evaluation);
    let part = added(&model, layer, Mode::Training(KEY));
    let largest =
        |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].abs().total_cmp(&row[*b].abs()));
    let factor = |(part, whole): (&Vec<f32>, &Vec<f32>)| {
        let at = largest(whole).unwrap();
        let factor = part[at] / whole[at];
        // The same for all of an example's values.
        for (part, whole) in part.iter().zip(whole) {
            assert!((part - factor * whole).abs() < 1e-4, "{part} {factor} {whole}");
        }
        factor
    };
    part.iter().zip(&whole).map(factor).collect()
}

/// Each branch of the last layer is left out for 40 % of the examples, of the middle one for 20 %, of the
/// first for none; others are scaled so that the mean stays.
#[test]
fn branches_are_left_out_example_by_example() {
    for (silenced, layer, rate) in
        [("mlp.fc2", 2, 0.4f32), ("attn.proj", 2, 0.4), ("mlp.fc2", 1, 0.2), ("attn.proj", 0, 0.0)]
    {
        let factors = factors(silenced, layer);
        let out = factors.iter().filter(|factor| factor.abs() < 1e-4).count() as f32;
        let share = out / BATCH as f32;
        let error = 4.0 * (rate * (1.0 - rate) / BATCH as f32).sqrt();
        assert!((share - rate).abs() <= error, "{silenced} {layer}: {share}");
        let kept = factors.iter().filter(|factor| factor.abs() >= 1e-4);
        assert!(kept.clone().all(|factor| (factor - 1.0 / (1.0 - rate)).abs() < 1e-3));
    }
    // Attention and MLP are drawn each by itself.
    assert_ne!(
        factors("mlp.fc2", 2).iter().map(|f| *f > 0.5).collect::<Vec<_>>(),
        factors("attn.proj", 2).iter().map(|f| *f > 0.5).collect::<Vec<_>>()
    );
}

/// Evaluation drops nothing; training draws the same again by the same step, and otherwise by another.
#[test]
fn what_is_dropped_follows_the_step() {
    for dropped in ["stochastic_depth: 0.3", "dropout: 0.2", "attention_dropout: 0.2"] {
        let (_plain, plain) = model(&run("dropout: 0"), "");
        let (_store, model) = model(&run(dropped), "");
        assert_eq!(added(&model, 2, Mode::Evaluation), added(&plain, 2, Mode::Evaluation));
        let first = added(&model, 2, Mode::Training(KEY));
        assert_ne!(first, added(&plain, 2, Mode::Training(KEY)), "{dropped}");
        assert_eq!(first, added(&model, 2, Mode::Training(KEY)), "{dropped}");
        let other = StepKey { step: 10, ..KEY };
        assert_ne!(first, added(&model, 2, Mode::Training(other)), "{dropped}");
    }
}

/// timm drops hidden values of the MLP, too.
#[test]
fn hidden_values_are_dropped_as_in_timm() {
    let (_store, model) = model(&run("dropout: 0.5"), "attn.proj");
    let whole = added(&model, 1, Mode::Evaluation);
    let part = added(&model, 1, Mode::Training(KEY));
    // The last dropout alone would leave each value out or double it.
    let others = part
        .iter()
        .flatten()
        .zip(whole.iter().flatten())
        .filter(|(part, whole)| part.abs() > 1e-6 && (*part - 2.0 * *whole).abs() > 1e-3);
    assert!(others.count() > BATCH);
}
