//! Whole trainings on a GPU against the same on the CPU: emulated in every test run, and on a GPU by
//! `cargo test --release --features cuda --lib -- --ignored on_the_gpu`.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::data::ImageData;
use crate::nn::{counters, emulated};
use crate::spec::{self, RunSpec};
use crate::tasks::{Evaluation, ImageClassification, Split};
use crate::train::{Step, Trainer};

/// What a training left.
struct Trained {
    steps: Vec<Step>,
    weights: BTreeMap<String, Tensor>,
    evaluation: Evaluation,
    /// Weights and both moments, by name.
    checkpoint: BTreeMap<String, Vec<u32>>,
}

fn bits(checkpoint: &[u8]) -> BTreeMap<String, Vec<u32>> {
    let all = candle_core::safetensors::load_buffer(checkpoint, &Device::Cpu).unwrap();
    let bits = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    all.into_iter()
        .map(|(name, t)| (name, bits(t).into_iter().map(f32::to_bits).collect()))
        .collect()
}

fn run(overrides: &[&str]) -> RunSpec {
    let text = "task: image-classification\ndata: {embedded: fashion-mnist-mini, augment: \
        {crop_padding: 2, horizontal_flip: true}}\nmodel: {architecture: vit, image_size: 8, \
        patch_size: 4, channels: 3, classes: 5, dim: 32, depth: 4, heads: 2}\n\
        vlora: {compound_size: 2, rank: 2}\ntraining: {batch_size: 6, epochs: 1, \
        learning_rate: 0.003, warmup_ratio: 0.0, clip_norm: 1.0, label_smoothing: 0.1}\n\
        arms: {baseline: {}}\nseeds: [0]\n";
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    let spec = spec::parse(text.as_bytes(), "t.yaml", "t", &overrides, &|_| 0);
    spec.unwrap().variants.remove(0).spec
}

/// Five steps, of which the last is smaller, an evaluation, a checkpoint that is taken up again.
fn train(spec: &RunSpec, device: &Device) -> Trained {
    let data = ImageData::noise(spec.vit(), 4 * spec.training.batch_size + 2, 10);
    let task = ImageClassification::new(&data, spec, 1, device.clone());
    let mut trainer = Trainer::new(&task, &spec.training, 1, device, None).unwrap();
    let mut steps = Vec::new();
    trainer
        .train_epoch(|step| {
            steps.push(step.clone());
            true
        })
        .unwrap();
    let evaluation = trainer.evaluate(Split::Test).unwrap();
    let checkpoint = trainer.checkpoint().unwrap();
    trainer.resume(&checkpoint).unwrap();
    assert_eq!(trainer.evaluate(Split::Test).unwrap(), evaluation);
    let weights = trainer.store().snapshot().unwrap();
    Trained { steps, weights, evaluation, checkpoint: bits(&checkpoint) }
}

/// The readings, LoRA with dropout on frozen weights, micro-batches, the mean over tokens.
const SPECS: [&[&str]; 6] = [
    &[],
    &["method=vlora"],
    &["method=vlora", "vlora.reference=previous", "vlora.detach=false"],
    &["method=vlora", "vlora.rank=full", "model.pool=mean"],
    &["start={checkpoint: a}", "lora={rank: 2, dropout: 0.2}"],
    &["method=vlora", "training.batch_size=3", "training.accumulation=2"],
];

fn close(got: f64, want: f64, tolerance: f64, what: &str) {
    assert!((got - want).abs() <= tolerance * want.abs().max(0.1), "{what}: {got} for {want}");
}

/// How far weights ended from where others did, beside how far those had come.
fn apart(got: &Trained, want: &Trained, start: &BTreeMap<String, Tensor>) -> f64 {
    let square = |a: &Tensor, b: &Tensor| {
        let d = (a - b).unwrap().to_dtype(DType::F64).unwrap();
        d.sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
    };
    let (mut off, mut way) = (0.0, 0.0);
    for (name, want) in &want.weights {
        off += square(&got.weights[name], want);
        way += square(&start[name], want);
    }
    (off / way).sqrt()
}

fn trains_as_the_cpu_does(on_gpu: impl Fn(&RunSpec) -> Trained) {
    for overrides in SPECS {
        let spec = run(overrides);
        let want = train(&spec, &Device::Cpu);
        let start = {
            let data = ImageData::noise(spec.vit(), 8, 8);
            let task = ImageClassification::new(&data, &spec, 1, Device::Cpu);
            let trainer = Trainer::new(&task, &spec.training, 1, &Device::Cpu, None).unwrap();
            trainer.store().snapshot().unwrap()
        };
        let types = [("float32", 2e-4, 0.02), ("bf16", 2e-2, 0.25)];
        for (precision, tolerance, way) in types {
            let all: Vec<&str> = overrides
                .iter()
                .copied()
                .chain([match precision {
                    "bf16" => "precision=bf16",
                    _ => "precision=float32",
                }])
                .collect();
            let typed = run(&all);
            let got = on_gpu(&typed);
            let what = format!("{all:?}");
            assert_eq!(got.steps.len(), want.steps.len(), "{what}");
            for (got, want) in got.steps.iter().zip(&want.steps) {
                let what = format!("{what}, step {}", want.step);
                assert_eq!((got.step, got.examples), (want.step, want.examples), "{what}");
                close(got.loss, want.loss, tolerance, &what);
                close(got.gradient_norm, want.gradient_norm, 5.0 * tolerance, &what);
            }
            close(got.evaluation.loss, want.evaluation.loss, 2.0 * tolerance, &what);
            let apart = apart(&got, &want, &start);
            assert!(apart < way, "{what}: weights are {apart} of their way apart");
            // The same again: the same bits.
            let again = on_gpu(&typed);
            assert!(again.checkpoint == got.checkpoint, "{what}: other bits the second time");
        }
    }
}

/// What a block asks of a GPU in a step: forward 4 products and 4 kernels, backward 8 products and 14
/// kernels. More would be gaps between launches.
#[test]
fn a_block_asks_for_few_launches() {
    let asked = |depth: &str, vlora: bool| {
        let depth = format!("model.depth={depth}");
        let mut overrides = vec![depth.as_str(), "precision=bf16"];
        overrides.extend(vlora.then_some("method=vlora"));
        let spec = run(&overrides);
        emulated(|| {
            let data = ImageData::noise(spec.vit(), 6, 6);
            let task = ImageClassification::new(&data, &spec, 1, Device::Cpu);
            let mut trainer = Trainer::new(&task, &spec.training, 1, &Device::Cpu, None).unwrap();
            let before = counters(&Device::Cpu).unwrap();
            trainer.train_epoch(|_| true).unwrap();
            let after = counters(&Device::Cpu).unwrap();
            [after.launches - before.launches, after.products - before.products]
        })
    };
    let of_two = |vlora| {
        let (four, six) = (asked("4", vlora), asked("6", vlora));
        [0, 1].map(|i| six[i] - four[i])
    };
    // Layer norms 2 · (1 + 2), attention 1 + 2, GELU 1, four sums of columns of 2 each; four products
    // forward, eight backward.
    assert_eq!(of_two(false), [2 * 18, 2 * 12]);
    // Of two blocks one is increments: their sums with the references, and a product for each factor.
    assert_eq!(of_two(true), [2 * 18 + 4, 2 * 12 + 8]);
}

#[test]
fn emulated_trainings_are_the_cpus() {
    trains_as_the_cpu_does(|spec| emulated(|| train(spec, &Device::Cpu)));
}

/// Two epochs, and the same with another trainer that takes up the first's checkpoint: moments, copies
/// and the step's number, or the weights would end elsewhere.
fn goes_on_to_the_same_bits(device: &Device) {
    let spec = run(&["method=vlora", "precision=bf16", "training.epochs=2"]);
    let data = ImageData::noise(spec.vit(), 12, 6);
    let task = ImageClassification::new(&data, &spec, 1, device.clone());
    let trainer = || Trainer::new(&task, &spec.training, 1, device, None).unwrap();
    let mut whole = trainer();
    whole.train_epoch(|_| true).unwrap();
    let checkpoint = whole.checkpoint().unwrap();
    whole.train_epoch(|_| true).unwrap();
    let mut parts = trainer();
    parts.resume(&checkpoint).unwrap();
    parts.train_epoch(|_| true).unwrap();
    let of = |trainer: &Trainer<_>| bits(&trainer.checkpoint().unwrap());
    assert!(of(&parts) == of(&whole));
}

#[test]
fn emulated_trainings_go_on_to_the_same_bits() {
    emulated(|| goes_on_to_the_same_bits(&Device::Cpu));
}

#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a GPU"]
fn trainings_go_on_to_the_same_bits_on_the_gpu() {
    goes_on_to_the_same_bits(&super::select_device("cuda").unwrap());
}

#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a GPU"]
fn trainings_on_the_gpu_are_the_cpus() {
    let device = super::select_device("cuda").unwrap();
    trains_as_the_cpu_does(|spec| train(spec, &device));
}
