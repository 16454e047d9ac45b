//! Time of single operations, forward and with backward, at the shapes of a ViT of width 192 on
//! 32 × 32 images (65 tokens, batch 64). Run: `just bench`.

#![allow(clippy::expect_used)]

use candle_core::{Device, Result, Tensor, Var};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vlora::data::{Augmenter, ImageData};
use vlora::nn::{Init, ops};
use vlora::random::{Purpose, Stream};
use vlora::spec::Augment;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;
const TOKENS: usize = 65;
const DIM: usize = 192;

fn var(shape: &[usize]) -> Var {
    let mut stream = Stream::new(0, Purpose::Init, "bench");
    let values = Init::Normal { std: 1.0 }.values(shape.iter().product(), &mut stream);
    Var::from_vec(values, shape, &Device::Cpu).expect("a tensor of the benchmark's shape")
}

fn measure(
    c: &mut Criterion,
    name: &str,
    shapes: &[&[usize]],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let vars: Vec<Var> = shapes.iter().map(|s| var(s)).collect();
    let tracked: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let plain: Vec<Tensor> = vars.iter().map(Var::as_detached_tensor).collect();
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements((BATCH * TOKENS) as u64));
    group.bench_function("forward", |b| b.iter(|| f(&plain)));
    group.bench_function("backward", |b| {
        b.iter_batched(|| f(&tracked), |y| y.and_then(|y| y.backward()), BatchSize::PerIteration)
    });
    group.finish();
}

fn operations(c: &mut Criterion) {
    let rows = BATCH * TOKENS;
    measure(c, "linear 192 to 768", &[&[rows, DIM], &[4 * DIM, DIM], &[4 * DIM]], |t| {
        ops::linear(&t[0], &t[1], Some(&t[2]))
    });
    measure(c, "increment of rank 8", &[&[rows, 4 * DIM], &[rows, 8], &[8, 4 * DIM]], |t| {
        ops::add_product(&t[0], &t[1], &t[2], 0.125)
    });
    measure(c, "layer norm", &[&[rows, DIM], &[DIM], &[DIM]], |t| {
        ops::layer_norm(&t[0], &t[1], &t[2], 1e-6)
    });
    measure(c, "gelu", &[&[rows, 4 * DIM]], |t| ops::gelu(&t[0]));
    measure(c, "self-attention, 3 heads", &[&[BATCH, TOKENS, 3 * DIM]], |t| {
        ops::self_attention(&t[0], 3)
    });
}

/// What one thread makes beside training: a batch, cropped, mirrored and normalised.
fn batches(c: &mut Criterion) {
    let fields = r#"{"architecture": "vit", "image_size": 32, "patch_size": 4, "classes": 10,
        "dim": 192, "depth": 12, "heads": 3}"#;
    let model = serde_json::from_str(fields).expect("a model's fields");
    let data = ImageData::noise(&model, BATCH, BATCH);
    let augment = Augment { crop_padding: 4, horizontal_flip: true };
    let augmenter = Augmenter::new(&augment, 0, 0);
    let examples: Vec<usize> = (0..BATCH).collect();
    let mut group = c.benchmark_group("batch of 64 images of 32 × 32");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("augmented", |b| {
        b.iter(|| data.batch(&data.train, &examples, Some(&augmenter), &Device::Cpu))
    });
    group.finish();
}

criterion_group!(benches, operations, batches);
criterion_main!(benches);
