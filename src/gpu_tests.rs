//! Compares whole trainings on a GPU with the same on the CPU. The GPU is emulated in every test run. To
//! run on a real one: `cargo test --release --features cuda --lib -- --ignored on_the_gpu`.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use crate::nn::{counters, emulated};
use crate::spec::{self, RunSpec};
use crate::tasks::{Blueprint, DataSet, Opened, Run, Split, Task, TaskVisitor};
use crate::train::{Checkpoint, Flow, Step, Trainer};

/// The results of a training.
struct Trained {
    steps: Vec<Step>,
    weights: BTreeMap<String, Tensor>,
    /// The loss of the evaluation.
    loss: f64,
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

const IMAGES: &str = "task: image-classification
data: {embedded: fashion-mnist-mini, augment: {crop_padding: 2, horizontal_flip: true}}
model: {architecture: vit, image_size: 8, patch_size: 4, channels: 3, classes: 5, dim: 32, depth: 4, heads: 2}
";
/// With both kinds of dropout.
const TEXT: &str = "task: language-modelling
data: {embedded: shakespeare, validation: null, test: {fraction: 0.05}, tokenizer: characters}
model: {architecture: decoder, vocabulary: 65, positions: 20, dim: 32, depth: 4, heads: 2, bias: false,
  dropout: 0.1, attention_dropout: 0.2}
";

/// With embeddings of their own and sinusoidal positions, the defaults.
const PAIRS: &str = "task: translation
data: {path: x, source_column: de, target_column: en, max_tokens: 12, tokenizer: {train: words, minimum_count: 1}}
model: {architecture: encoder-decoder, source_vocabulary: 40, target_vocabulary: 50, positions: 16, dim: 32, depth: 2,
  heads: 2, dropout: 0.1, attention_dropout: 0.2, activation_dropout: 0.1}
";

/// Texts with classes.
const SENTENCES: &str = "task: text-classification
data: {path: x, text_column: text, label_column: label, max_tokens: 12, tokenizer: {train: word-piece, vocabulary: 300}}
model: {architecture: encoder, vocabulary: 300, positions: 16, classes: 3, dim: 32, depth: 2, heads: 2}
";

fn run(of_task: &str, overrides: &[&str]) -> RunSpec {
    let text = format!(
        "{of_task}vlora: {{compound_size: 2, rank: 2}}\ntraining: {{batch_size: 6, epochs: 1, \
         learning_rate: 0.003, warmup_ratio: 0.0, clip_norm: 1.0, label_smoothing: 0.1}}\n\
         arms: {{baseline: {{}}}}\nseeds: [0]\n"
    );
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    let spec = spec::parse(text.as_bytes(), "t.yaml", "t", &overrides, &|_| 0);
    spec.unwrap().variants.remove(0).spec
}

/// Visits a run's task with seed 1, on data of noise.
fn on_noise<V: TaskVisitor>(
    spec: &RunSpec,
    train: usize,
    device: &Device,
    visitor: V,
) -> V::Output {
    let run = Run { spec, seed: 1, device };
    Opened::synthetic(spec, train, 10).unwrap().visit(run, visitor)
}

/// Trains on a device.
struct Training<'a> {
    spec: &'a RunSpec,
    device: &'a Device,
}

impl Training<'_> {
    fn trainer<'b, T: Task>(
        &'b self,
        task: &'b T,
        blueprint: &'b Blueprint<'b, T::Model>,
    ) -> Trainer<'b, T> {
        Trainer::new(task, blueprint, &self.spec.training, 1, self.device, None).unwrap()
    }
}

/// Trains an epoch, evaluates, and checks that resuming from the checkpoint gives the same evaluation.
impl TaskVisitor for Training<'_> {
    type Output = Trained;

    fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> Trained {
        let mut trainer = self.trainer(task, blueprint);
        let mut steps = Vec::new();
        trainer
            .train_epoch(|step| {
                steps.push(step.clone());
                Flow::Continue
            })
            .unwrap();
        trainer.end_epoch();
        let evaluation = trainer.evaluate(Split::Test, &|| false).unwrap().unwrap();
        let checkpoint = trainer.checkpoint().unwrap();
        trainer.resume(Checkpoint::from_bytes(&checkpoint).unwrap()).unwrap();
        assert_eq!(trainer.evaluate(Split::Test, &|| false).unwrap(), Some(evaluation.clone()));
        let weights = trainer.store().snapshot().unwrap();
        Trained { steps, weights, loss: evaluation.scores.loss, checkpoint: bits(&checkpoint) }
    }
}

/// Trains five steps. The last one is smaller.
fn train(spec: &RunSpec, device: &Device) -> Trained {
    on_noise(spec, 4 * spec.training.batch_size + 2, device, Training { spec, device })
}

/// Returns the weights that a training starts from.
struct Start<'a>(Training<'a>);

impl TaskVisitor for Start<'_> {
    type Output = BTreeMap<String, Tensor>;

    fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> Self::Output {
        self.0.trainer(task, blueprint).store().snapshot().unwrap()
    }
}

/// Dense and VLoRA with all kinds of reference and increment, LoRA with dropout on frozen weights,
/// micro-batches, and pooling by the mean; ViT-Lite with stochastic depth and averaged weights; mixed images
/// with RandAugment; a decoder with dropout; an encoder and decoder; an encoder with a classifier.
const SPECS: [(&str, &[&str]); 14] = [
    (IMAGES, &[]),
    (IMAGES, &["method=vlora"]),
    (IMAGES, &["method=vlora", "vlora.reference=previous", "vlora.detach=false"]),
    (IMAGES, &["method=vlora", "vlora.rank=full", "model.pool=mean"]),
    (IMAGES, &["start={checkpoint: a}", "lora={rank: 2, dropout: 0.2}"]),
    (IMAGES, &["method=vlora", "training.batch_size=3", "training.accumulation=2"]),
    (
        IMAGES,
        &[
            "model.variant=compact-transformers",
            "model.stochastic_depth=0.3",
            "training.ema_decay=0.9",
        ],
    ),
    (IMAGES, &["data.augment.mix={mixup: 0.8, cutmix: 1}", "data.augment.rand_augment={}"]),
    (TEXT, &[]),
    (TEXT, &["method=vlora", "vlora.sharing=cycle", "vlora.detach=false", "vlora.init=lora"]),
    (PAIRS, &[]),
    (PAIRS, &["method=vlora", "model.position_embedding=learned", "model.norm=pre"]),
    (SENTENCES, &[]),
    (SENTENCES, &["method=vlora"]),
];

fn close(got: f64, want: f64, tolerance: f64, what: &str) {
    assert!((got - want).abs() <= tolerance * want.abs().max(0.1), "{what}: {got} for {want}");
}

/// The distance between the final weights of two trainings, relative to the distance that training moved
/// them.
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

fn training_matches_the_cpu(on_gpu: impl Fn(&RunSpec) -> Trained) {
    for (of_task, overrides) in SPECS {
        let spec = run(of_task, overrides);
        let want = train(&spec, &Device::Cpu);
        let device = &Device::Cpu;
        let start = on_noise(&spec, 8, device, Start(Training { spec: &spec, device }));
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
            let typed = run(of_task, &all);
            let got = on_gpu(&typed);
            let task = spec.task.name();
            let what = format!("{task} {all:?}");
            assert_eq!(got.steps.len(), want.steps.len(), "{what}");
            for (got, want) in got.steps.iter().zip(&want.steps) {
                let what = format!("{what}, step {}", want.record.step);
                assert_eq!(
                    (got.record.step, got.examples),
                    (want.record.step, want.examples),
                    "{what}"
                );
                let (got, want) = (&got.record, &want.record);
                close(got.loss, want.loss, tolerance, &what);
                close(got.gradient_norm, want.gradient_norm, 5.0 * tolerance, &what);
            }
            close(got.loss, want.loss, 2.0 * tolerance, &what);
            let apart = apart(&got, &want, &start);
            assert!(apart < way, "{what}: weights are {apart} of their way apart");
            // A second training gives the same bits.
            let again = on_gpu(&typed);
            assert!(again.checkpoint == got.checkpoint, "{what}: other bits the second time");
        }
    }
}

/// Counts the kernels and products that an epoch queues on a GPU.
struct Launches<'a>(Training<'a>);

impl TaskVisitor for Launches<'_> {
    type Output = [u64; 2];

    fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) -> [u64; 2] {
        let mut trainer = self.0.trainer(task, blueprint);
        let before = counters(self.0.device).unwrap();
        trainer.train_epoch(|_| Flow::Continue).unwrap();
        let after = counters(self.0.device).unwrap();
        [after.launches - before.launches, after.products - before.products]
    }
}

/// The launches of a block per step: forward 4 products and 4 kernels, backward 8 products and 14
/// kernels. More launches would leave gaps between them.
#[test]
fn a_block_takes_few_launches() {
    let launches = |depth: &str, vlora: bool| {
        let depth = format!("model.depth={depth}");
        let mut overrides = vec![depth.as_str(), "precision=bf16"];
        overrides.extend(vlora.then_some("method=vlora"));
        let spec = run(IMAGES, &overrides);
        let training = Training { spec: &spec, device: &Device::Cpu };
        emulated(|| on_noise(&spec, 6, &Device::Cpu, Launches(training)))
    };
    let of_two = |vlora| {
        let (four, six) = (launches("4", vlora), launches("6", vlora));
        [0, 1].map(|i| six[i] - four[i])
    };
    // Kernels: layer norms 2 · (1 + 2), attention 1 + 2, GELU 1, and four column sums of 2 each. Products:
    // four forward, eight backward.
    assert_eq!(of_two(false), [2 * 18, 2 * 12]);
    // One of two blocks has increments. It also adds each to its reference, and projects the gradient of each
    // weight on its factors.
    assert_eq!(of_two(true), [2 * 18 + 8, 2 * 12]);
}

#[test]
fn emulated_trainings_match_the_cpu() {
    training_matches_the_cpu(|spec| emulated(|| train(spec, &Device::Cpu)));
}

/// Trains two epochs, and again with another trainer that resumes from the checkpoint of the first epoch.
/// The end must have the same bits, so the checkpoint must have moments, copies and the step's number.
struct Resuming<'a>(Training<'a>);

impl TaskVisitor for Resuming<'_> {
    type Output = ();

    fn visit<T: Task>(self, task: &T, blueprint: &Blueprint<T::Model>) {
        assert_eq!(task.data().len(Split::Train), 12);
        let mut whole = self.0.trainer(task, blueprint);
        whole.train_epoch(|_| Flow::Continue).unwrap();
        whole.end_epoch();
        let checkpoint = whole.checkpoint().unwrap();
        whole.train_epoch(|_| Flow::Continue).unwrap();
        let mut parts = self.0.trainer(task, blueprint);
        parts.resume(Checkpoint::from_bytes(&checkpoint).unwrap()).unwrap();
        parts.train_epoch(|_| Flow::Continue).unwrap();
        assert!(bits(&parts.checkpoint().unwrap()) == bits(&whole.checkpoint().unwrap()));
    }
}

fn resumed_training_ends_bitwise_equal(device: &Device) {
    let overrides = ["method=vlora", "precision=bf16", "training.epochs=2"];
    let spec = run(IMAGES, &overrides);
    on_noise(&spec, 12, device, Resuming(Training { spec: &spec, device }));
}

#[test]
fn resumed_emulated_trainings_end_bitwise_equal() {
    emulated(|| resumed_training_ends_bitwise_equal(&Device::Cpu));
}

#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a GPU"]
fn resumed_trainings_end_bitwise_equal_on_the_gpu() {
    resumed_training_ends_bitwise_equal(&crate::runner::select_device("cuda").unwrap());
}

#[cfg(feature = "cuda")]
#[test]
#[ignore = "needs a GPU"]
fn trainings_on_the_gpu_match_the_cpu() {
    let device = crate::runner::select_device("cuda").unwrap();
    training_matches_the_cpu(|spec| train(spec, &device));
}
