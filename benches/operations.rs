//! Times single operations, forward and backward, at the shapes of a ViT of width 192 on 32 × 32 images
//! (65 tokens, batch 64). Run: `just bench`.

#![allow(clippy::expect_used)]

use candle_core::{DType, Device, Result, Tensor};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vlora::data::images::Size;
use vlora::data::{Augmenter, ImageData};
use vlora::nn::ops::{self, Dropout, Epilogue, Gelu, Mask, Weights};
use vlora::nn::{AdamWUpdate, Init, LowRank, StepKey, Variable, adamw_update};
use vlora::random::{Purpose, Stream};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: usize = 64;
const TOKENS: usize = 65;
const DIM: usize = 192;

fn tensor(shape: &[usize]) -> Tensor {
    let mut stream = Stream::new(0, Purpose::Init, "bench");
    let values = Init::Normal { std: 1.0 }.values(shape.iter().product(), &mut stream);
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor of the benchmark's shape")
}

/// Measures the forward pass of `f` without a graph, and the backward pass from the mean of its result.
/// The inputs with indices in `constant` get no gradient.
fn measure(
    c: &mut Criterion,
    name: &str,
    shapes: &[&[usize]],
    constant: &[usize],
    f: impl Fn(&[Variable]) -> Result<Variable>,
) {
    let plain: Vec<Variable> = shapes.iter().map(|s| Variable::constant(tensor(s))).collect();
    let leaf = |(i, v): (usize, &Variable)| match constant.contains(&i) {
        true => v.clone(),
        false => Variable::leaf(v.tensor().clone()),
    };
    let tracked: Vec<Variable> = plain.iter().enumerate().map(leaf).collect();
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements((BATCH * TOKENS) as u64));
    group.bench_function("forward", |b| b.iter(|| f(&plain)));
    group.bench_function("backward", |b| {
        let forward = || f(&tracked).and_then(|y| ops::mean(&y));
        b.iter_batched(forward, |y| y.and_then(|y| y.backward(1.0)), BatchSize::PerIteration)
    });
    group.finish();
}

fn operations(c: &mut Criterion) {
    vlora::runner::keep_freed_memory();
    let rows = BATCH * TOKENS;
    let wide = 4 * DIM;
    let dense: [&[usize]; 3] = [&[rows, DIM], &[wide, DIM], &[wide]];
    let increment: [&[usize]; 5] = [&[rows, DIM], &[wide, DIM], &[wide], &[8, DIM], &[8, wide]];
    let linear = |t: &[Variable], then| {
        let pairs = t[3..].chunks_exact(2);
        let low = |p: &[Variable]| LowRank { a: p[0].clone(), b: p[1].clone(), scale: 0.125 };
        let products: Vec<LowRank> = pairs.map(low).collect();
        let w = Weights { matrix: &t[1], products: &products, project: false };
        ops::linear(&t[0], w, Some(&t[2]), then)
    };
    measure(c, "linear 192 to 768", &dense, &[], |t| linear(t, Epilogue::None));
    measure(c, "linear 192 to 768, gelu", &dense, &[], |t| linear(t, Epilogue::Gelu(Gelu::Exact)));
    measure(c, "increment of rank 8, 192 to 768", &increment, &[1], |t| linear(t, Epilogue::None));
    measure(c, "layer norm", &[&[rows, DIM], &[DIM], &[DIM]], &[], |t| {
        ops::layer_norm(&t[0], &t[1], &t[2], 1e-6)
    });
    measure(c, "gelu", &[&[rows, wide]], &[], |t| ops::gelu(&t[0], Gelu::Exact));
    measure(c, "self-attention, 3 heads", &[&[BATCH, TOKENS, 3 * DIM]], &[], |t| {
        ops::self_attention(&t[0], 3, TOKENS, &Mask::default(), None)
    });
    let kernel: [&[usize]; 4] = [&[DIM, 3, 4, 4], &[DIM], &[1, 1, DIM], &[1, TOKENS, DIM]];
    let images = tensor(&[BATCH, 3, 32, 32]);
    measure(c, "patch embedding", &kernel, &[], |t| {
        ops::embed_patches(&images, &t[0], &t[1], Some(&t[2]), &t[3])
    });
    let labels = Tensor::zeros(BATCH, DType::U32, &Device::Cpu).expect("labels");
    measure(c, "cross-entropy, 1000 classes", &[&[BATCH, 1000]], &[], |t| {
        ops::cross_entropy(&t[0], &labels, 0.1)
    });
    let ids: Vec<u32> = (0..rows as u32).map(|i| i * 7 % 1000).collect();
    let ids = Tensor::from_vec(ids, rows, &Device::Cpu).expect("ids");
    measure(c, "embedding", &[&[1000, DIM]], &[], |t| ops::embedding(&t[0], &ids));
    let key = StepKey { seed: 0, step: 1, part: 0 };
    let dropout = Dropout::new(0.1, key, "layer");
    measure(c, "dropout", &[&[rows, wide]], &[], |t| ops::dropout(&t[0], &dropout));
    // MiniLM's heads, sentences of 10 to 60 tokens.
    let lengths: Vec<usize> = (0..32).map(|i| 10 + i * 50 / 31).collect();
    let mask = Mask::padded(&lengths);
    let sentences: [&[usize]; 3] = [&[32, 60, 384]; 3];
    measure(c, "attention with lengths, 12 heads", &sentences, &[], |t| {
        ops::attention([&t[0], &t[1], &t[2]], 12, &mask, None)
    });
    measure(c, "attention with lengths and dropout, 12 heads", &sentences, &[], |t| {
        ops::attention([&t[0], &t[1], &t[2]], 12, &mask, Some(&dropout))
    });
    let [p, m, v, g] = [(); 4].map(|()| tensor(&[wide, DIM]));
    let v = v.sqr().expect("positive second moments");
    let update = AdamWUpdate {
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        grad_scale: 1.0,
        decay_factor: 1.0,
        step_size: 0.0,
        inverse_bias_correction2: 1.0,
        increment_decay_factor: 1.0,
        increment_step_size: 1e-3,
    };
    c.bench_function("adamw, 192 x 768", |b| b.iter(|| adamw_update(update, &p, &m, &v, &g)));
}

/// Measures the prefetcher's work: a batch that is cropped, mirrored and normalised.
fn batches(c: &mut Criterion) {
    let data = ImageData::noise(Size { side: 32, channels: 3 }, 10, BATCH, BATCH);
    let data_spec = r#"{"augment": {"crop_padding": 4, "horizontal_flip": true}}"#;
    let data_spec = serde_json::from_str(data_spec).expect("a data section");
    let augmenter = Augmenter::new(&data_spec, 0, 0);
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
