//! Sizes, operations and memory of many models, pinned: what `plan` prints and what decides whether a
//! run fits its device must not move when the code that counts it does.

use std::fmt::Write;

use vlora::models::cost;
use vlora::models::training_memory::{memory_on, traffic};
use vlora::nn::packing::{Cache, Processor, Tile};
use vlora::spec::{DeviceKind, RunSpec};

use crate::common::spec::{Spec, parsed};

/// What each line changes of the model that [`run`] has.
const CASES: [(&str, &[&str]); 24] = [
    ("dense", &[]),
    ("dense, mean", &["model.pool=mean"]),
    ("dense, large patches, narrow MLP", &["model.patch_size=14", "model.mlp_ratio=0.5"]),
    ("dense, one layer", &["model.depth=1"]),
    ("dense, batch 1", &["training.batch_size=1"]),
    ("dense, accumulated", &["training.batch_size=8", "training.accumulation=4"]),
    ("dense, wide", &["model.dim=384", "model.heads=6", "training.batch_size=4"]),
    ("vlora", &["method=vlora"]),
    ("vlora, mean", &["method=vlora", "model.pool=mean"]),
    ("vlora, batch 1", &["method=vlora", "training.batch_size=1"]),
    ("vlora, previous", &["method=vlora", "vlora.reference=previous"]),
    (
        "vlora, previous, undetached",
        &["method=vlora", "vlora.reference=previous", "vlora.detach=false"],
    ),
    ("vlora, undetached", &["method=vlora", "vlora.detach=false"]),
    ("vlora, shared", &["method=vlora", "vlora.rank=0"]),
    ("vlora, shared, undetached", &["method=vlora", "vlora.rank=0", "vlora.detach=false"]),
    ("vlora, full", &["method=vlora", "vlora.rank=full"]),
    (
        "vlora, full, previous, undetached",
        &["method=vlora", "vlora.rank=full", "vlora.reference=previous", "vlora.detach=false"],
    ),
    ("vlora, rank 24", &["method=vlora", "vlora.rank=24"]),
    (
        "vlora, targets",
        &[
            "method=vlora",
            "vlora.targets=[attn.qkv, {target: mlp.fc1, rank: full}, {target: mlp.fc2, rank: 0}]",
        ],
    ),
    ("vlora, one compound", &["method=vlora", "vlora.compound_size=6"]),
    ("lora", &["start={checkpoint: a}", "lora={rank: 4}"]),
    (
        "lora, dropout, head",
        &[
            "start={checkpoint: a}",
            "lora={rank: 4, dropout: 0.1, targets: [attn.qkv, mlp.fc2], also_train: [head]}",
        ],
    ),
    (
        "lora, norms and biases",
        &[
            "start={checkpoint: a}",
            "lora={rank: 3, also_train: [head, norms, biases]}",
            "model.pool=mean",
        ],
    ),
    (
        "lora on vlora",
        &[
            "method=vlora",
            "vlora.reference=previous",
            "start={checkpoint: a}",
            "lora={rank: 2, also_train: [norms]}",
        ],
    ),
];

const PROCESSOR: Processor = Processor {
    threads: 2,
    tile: Tile::FMA,
    caches: [
        Cache { bytes: 32 << 10, ways: 8, line_bytes: 64 },
        Cache { bytes: 512 << 10, ways: 8, line_bytes: 64 },
        Cache { bytes: 32 << 20, ways: 16, line_bytes: 64 },
    ],
};

fn run(set: &[&str]) -> RunSpec {
    let base = Spec::images()
        .set("model.dim=48")
        .set("model.depth=6")
        .set("model.heads=3")
        .set("vlora={compound_size: 3, rank: 2}");
    resolved(&base, set)
}

/// What the spec's one variant is with these fields set.
fn resolved(spec: &Spec, set: &[&str]) -> RunSpec {
    parsed(&spec.text(), set).unwrap_or_else(|e| panic!("{e}")).variants.remove(0).spec
}

#[test]
fn costs_of_many_models_stay() {
    let mut text = String::new();
    for (name, overrides) in CASES {
        let run = run(overrides);
        let c = cost(&run);
        let mut line = |args: std::fmt::Arguments| writeln!(text, "{args}").unwrap();
        line(format_args!("{name}"));
        line(format_args!(
            "  parameters {} = {} weights + {} embedding + {} biases, norms + {} head + {} lora; \
             trained {}",
            c.parameters, c.weights, c.embedding, c.biases_norms, c.head, c.lora, c.trained
        ));
        // The last digits are those of the order in which sums are taken.
        line(format_args!("  FLOPs {:.9e} forward, {:.9e}", c.forward_flops, c.training_flops));
        for (device, precision) in [
            (DeviceKind::Cpu, "float32"),
            (DeviceKind::Cuda, "float32"),
            (DeviceKind::Cuda, "bf16"),
        ] {
            let precise = format!("precision={precision}");
            let run = self::run(&[overrides, &[precise.as_str()]].concat());
            let m = memory_on(&run, device, PROCESSOR);
            let kept: Vec<String> = m.activations.iter().map(u64::to_string).collect();
            let (micro, update) = traffic(&run, device);
            line(format_args!(
                "  {device:?} {precision}: peak {}, weights {}, gradients {}, batches {}, traffic \
                 {micro} + {update}, kept {}",
                m.peak,
                m.weights,
                m.gradients,
                m.batches,
                kept.join(" ")
            ));
        }
    }
    insta::assert_snapshot!(text);
}

/// BERT-base with a classifier of two classes.
fn texts(set: &[&str]) -> RunSpec {
    let base = Spec::texts()
        .set("data.max_tokens=128")
        .set("model.vocabulary=30522")
        .set("model.dim=768")
        .set("model.depth=12")
        .set("model.heads=12")
        .set("vlora.compound_size=3");
    resolved(&base, set)
}

/// In closed form and as transformers counts it.
#[test]
fn an_encoder_is_counted_in_closed_form() {
    let (d, h, layers, tokens) = (768f64, 3072f64, 12f64, 128f64);
    assert_eq!(cost(&texts(&[])).parameters, 109_483_778);
    // Without token types and a pooler, as DistilBERT, and with the mean all tokens are needed to the end.
    let mean = cost(&texts(&["model.pool=mean", "model.token_types=0"]));
    assert_eq!(mean.parameters, 109_483_778 - 2 * 768 - (768 * 768 + 768));
    let matrices = 4.0 * d * d + 2.0 * d * h;
    assert_eq!(mean.weights as f64, layers * matrices);
    let layer = 2.0 * tokens * matrices + 4.0 * tokens * tokens * d;
    assert_eq!(mean.forward_flops, layers * layer + 2.0 * d * 2.0);
    // An increment has rank · (sides) values a matrix, in two of each three layers.
    let vlora = cost(&texts(&["method=vlora", "model.pool=mean", "model.token_types=0"]));
    let increments = 8.0 * (4.0 * 2.0 * d + 2.0 * (d + h));
    assert_eq!(vlora.weights as f64, 4.0 * matrices + 8.0 * increments);
    let lora = ["start={checkpoint: a}", "lora={rank: 4, also_train: [head]}"];
    let lora = cost(&texts(&lora));
    assert_eq!(lora.trained as f64, 12.0 * 4.0 * (4.0 * 2.0 * d + 2.0 * (d + h)) + 2.0 * d + 2.0);
}

/// Memory is that of the longest texts of the data, not of the longest that the model could take.
#[test]
fn memory_of_texts_follows_their_length() {
    let of = |tokens: usize| {
        let run = texts(&[&format!("data.max_tokens={tokens}"), "model.pool=mean"]);
        memory_on(&run, DeviceKind::Cpu, PROCESSOR)
    };
    let (short, long) = (of(64), of(512));
    assert_eq!(8 * short.batches, long.batches);
    let layer = |memory: &vlora::models::training_memory::TrainingMemory| memory.activations[3];
    // Attention keeps no weights on a processor, so a layer keeps as much a token at any length.
    assert!((7 * layer(&short)..=8 * layer(&short)).contains(&layer(&long)));
    assert_eq!(short.weights, long.weights);
}
