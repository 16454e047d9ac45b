//! Compares every operation and its gradients, in float32 and bf16, with compositions of candle's
//! operations in float64 on the CPU. The emulation runs everywhere. To run on a GPU:
//! `cargo test --release --features cuda --lib -- --ignored on_the_gpu`.

use candle_core::{DType, Device, Result, Tensor, Var};

use super::backend::CudaBackend;
use super::emulation::{self, Order};
use super::optimizer::{AdamWSlot, MultiTensorAdamW};
use super::product::{ByColumns, Matrix, Product, bias_launch, product_launch};
use crate::nn::ops::{self, Dropout, Epilogue, Gelu, Mask, Weights};
use crate::nn::{
    AdamWUpdate, AttentionSizes, Init, LowRank, StepKey, UpdateGroup, Variable, composed,
};
use crate::random::{Purpose, Stream};

/// Where a test computes.
#[derive(Clone, Debug)]
enum On {
    Emulation,
    #[cfg(feature = "cuda")]
    Gpu(Device),
}

impl On {
    fn device(&self) -> Device {
        match self {
            On::Emulation => Device::Cpu,
            #[cfg(feature = "cuda")]
            On::Gpu(device) => device.clone(),
        }
    }

    /// Whether to test sizes that are too large for the emulation. Even on a GPU the oracle, which runs
    /// on the CPU, takes most of a minute for some, so they need VLORA_LARGE_TESTS.
    fn takes_large(&self) -> bool {
        !matches!(self, On::Emulation) && std::env::var_os("VLORA_LARGE_TESTS").is_some()
    }

    fn backend(&self) -> CudaBackend {
        let one = Tensor::ones(1, DType::F32, &self.device()).unwrap();
        self.run(|| CudaBackend::of(&[&one])).expect("a backend")
    }

    fn run<R>(&self, work: impl FnOnce() -> R) -> R {
        match self {
            On::Emulation => emulation::emulated(work),
            #[cfg(feature = "cuda")]
            On::Gpu(_) => work(),
        }
    }

    /// Runs `work` twice, in the emulation with two orders of threads, and asserts the same bits.
    fn twice(&self, work: impl Fn() -> Vec<Tensor>) -> Vec<Tensor> {
        let (one, two) = match self {
            On::Emulation => (
                emulation::with_order(Order::Ascending, || self.run(&work)),
                emulation::with_order(Order::Permuted(5), || self.run(&work)),
            ),
            #[cfg(feature = "cuda")]
            On::Gpu(_) => (work(), work()),
        };
        for (i, (one, two)) in one.iter().zip(&two).enumerate() {
            let same = numbers(one)
                .iter()
                .map(|v| v.to_bits())
                .eq(numbers(two).iter().map(|v| v.to_bits()));
            assert!(same, "output {i} differs between two runs");
        }
        one
    }
}

/// Makes two tests of each function: one in the emulation and one on a GPU.
macro_rules! everywhere {
    ($($name:ident)*) => {
        mod emulated {
            $(#[test] fn $name() { super::$name(&super::On::Emulation); })*
        }
        #[cfg(feature = "cuda")]
        mod on_the_gpu {
            $(
                #[test]
                #[ignore = "needs a GPU"]
                fn $name() { super::$name(&super::a_gpu()); }
            )*
        }
    };
}

everywhere! {
    linear_layers_agree
    thin_and_projected_gradients_agree
    layer_norms_agree
    attention_agrees
    gelu_agrees
    cross_entropy_agrees
    embeddings_agree
    patches_with_positions_agree
    small_operations_agree
    sums_of_gradients_agree
    dropout_matches_the_cpu
    adamw_matches_the_cpu
    products_of_every_kind_agree
    image_batches_match_the_definition
    labels_that_are_not_a_class_give_nan
}

/// Measures what it costs the CPU to queue small work:
/// `cargo test --release --features cuda --lib costs_of_queueing -- --ignored --nocapture`.
#[cfg(feature = "cuda")]
#[test]
#[ignore = "a measurement on a GPU"]
fn costs_of_queueing() {
    const TIMES: u32 = 2000;
    let on = a_gpu();
    let backend = on.backend();
    let x = backend.zeros((768, 128), DType::BF16).unwrap();
    let y = backend.zeros((128, 128), DType::BF16).unwrap();
    let dropout = Dropout::new(0.25, StepKey { seed: 3, step: 7, part: 1 }, "layer");
    let variable = Variable::constant(x.clone());
    let memory = || drop(backend.empty((768, 128), DType::BF16).unwrap());
    let kernel = || drop(ops::dropout(&variable, &dropout).unwrap());
    let product = || {
        let product = Product::of(Matrix::rows(&x, 128), Matrix::rows(&y, 128));
        drop(backend.product(product).unwrap());
    };
    let addition = || drop((&x + &x).unwrap());
    let ids = vec![7u32; 768];
    let upload = || drop(backend.tensor(&ids, 768).unwrap());
    let works: [(&str, &dyn Fn()); 5] = [
        ("an allocation", &memory),
        ("a kernel and its allocation", &kernel),
        ("a product and its allocation", &product),
        ("candle's addition", &addition),
        ("an upload of 3 KB", &upload),
    ];
    for (what, work) in works {
        // The first of a kind are slower.
        (0..100).for_each(|_| work());
        // Without waiting, the time is that of queueing, as long as the queue has room. With it, what the GPU
        // does is in it, too.
        for wait in [false, true] {
            on.device().synchronize().unwrap();
            let start = std::time::Instant::now();
            for _ in 0..TIMES {
                work();
            }
            if wait {
                on.device().synchronize().unwrap();
            }
            let time = start.elapsed() / TIMES;
            println!("{what}: {time:?}{}", if wait { ", done" } else { "" });
        }
    }
}

#[cfg(feature = "cuda")]
fn a_gpu() -> On {
    use std::sync::OnceLock;
    static DEVICE: OnceLock<Device> = OnceLock::new();
    On::Gpu(DEVICE.get_or_init(|| crate::runner::select_device("cuda").unwrap()).clone())
}

fn random(shape: &[usize], name: &str) -> Tensor {
    let mut stream = Stream::new(11, Purpose::Init, name);
    let values = Init::Normal { std: 1.0 }.values(shape.iter().product(), &mut stream);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn numbers(t: &Tensor) -> Vec<f64> {
    let t = t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// An activation has the tested type; a parameter is always float32.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Activation,
    Parameter,
}
use Role::{Activation as A, Parameter as P};

const TYPES: [(DType, f64); 2] = [(DType::F32, 1e-5), (DType::BF16, 1e-2)];

/// Compares value and gradients of `f` with those of `oracle`, for both types.
fn agree(
    on: &On,
    inputs: &[(&[usize], Role)],
    f: impl Fn(&[Variable]) -> Result<Variable>,
    oracle: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    for typed in TYPES {
        agree_in(typed, on, inputs, &f, &oracle);
    }
}

/// The same for one type. Inputs are random and rounded to their types for both. Matrices of parameters
/// are scaled so that products keep the order of magnitude.
fn agree_in(
    (dtype, tolerance): (DType, f64),
    on: &On,
    inputs: &[(&[usize], Role)],
    f: impl Fn(&[Variable]) -> Result<Variable>,
    oracle: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let of = |role| if role == A { dtype } else { DType::F32 };
    let given: Vec<Tensor> = inputs
        .iter()
        .enumerate()
        .map(|(i, (shape, role))| {
            let size = match (role, shape) {
                (P, [_, .., last]) => (*last as f64).powf(-0.5),
                _ => 1.0,
            };
            (random(shape, &i.to_string()) * size).unwrap().to_dtype(of(*role)).unwrap()
        })
        .collect();
    let vars: Vec<Var> =
        given.iter().map(|t| Var::from_tensor(&t.to_dtype(DType::F64).unwrap()).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = oracle(&tensors).unwrap();
    let probe = random(y.dims(), "probe").to_dtype(dtype).unwrap();
    let total = (&y * probe.to_dtype(DType::F64).unwrap()).unwrap().sum_all().unwrap();
    let grads = total.backward().unwrap();
    let want: Vec<Tensor> =
        [y].into_iter().chain(tensors.iter().map(|t| grads.get(t).unwrap().clone())).collect();

    let device = on.device();
    let got = on.twice(|| {
        let leaves: Vec<Variable> =
            given.iter().map(|t| Variable::leaf(t.to_device(&device).unwrap())).collect();
        let y = f(&leaves).unwrap();
        let out = y.tensor().clone();
        let probe = probe.to_device(&device).unwrap().to_dtype(out.dtype()).unwrap();
        let probe = Variable::constant(probe);
        let sum = Variable::composed(&[&y, &probe], |t| (&t[0] * &t[1])?.sum_all()).unwrap();
        let grads = sum.backward(1.0).unwrap();
        let of = |leaf: &Variable| grads.get(leaf).expect("a gradient for every input").clone();
        [out].into_iter().chain(leaves.iter().map(of)).collect()
    });
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let shapes: Vec<_> = inputs.iter().map(|(s, _)| s).collect();
        assert_eq!(got.dims(), want.dims(), "{shapes:?} {dtype:?}, output {i}");
        if i > 0 {
            assert_eq!(got.dtype(), of(inputs[i - 1].1), "{shapes:?}, gradient {}", i - 1);
        }
        close(got, want, tolerance, &format!("{shapes:?} {dtype:?}, output {i}"));
    }
}

/// In bf16, the tolerance of one row as a multiple of that of all values.
const OF_A_ROW: f64 = 8.0;

fn close(got: &Tensor, want: &Tensor, tolerance: f64, what: &str) {
    if let Err(difference) = compare(got, want, tolerance) {
        panic!("{what}: {difference}");
    }
}

/// In float32, compares every value relative to the largest one. In bf16, compares the Euclidean norm of
/// the difference relative to that of the expected values, over all values and over each row. Single values
/// are not compared in bf16, since rounding errors stay when large terms cancel. For rows that are expected
/// to be small, the mean size of rows counts.
fn compare(got: &Tensor, want: &Tensor, tolerance: f64) -> std::result::Result<(), String> {
    let exact = tolerance < 1e-3;
    let width = want.dims().last().copied().unwrap_or(1).max(1);
    let (got, want) = (numbers(got), numbers(want));
    if got.len() != want.len() {
        return Err(format!("{} values for {}", got.len(), want.len()));
    }
    let size = want.iter().fold(0.1f64, |m, v| m.max(v.abs()));
    for (i, (g, w)) in got.iter().zip(&want).enumerate() {
        if !g.is_finite() || exact && (g - w).abs() > tolerance * size {
            return Err(format!("value {i}: {g} for {w} (largest {size})"));
        }
    }
    let square = |values: &[f64]| values.iter().map(|v| v.powi(2)).sum::<f64>();
    let off: Vec<f64> = got.iter().zip(&want).map(|(g, w)| g - w).collect();
    let all = square(&want).max(0.01);
    let apart = (square(&off) / all).sqrt();
    if apart > tolerance {
        return Err(format!("{apart} apart"));
    }
    let mean = all / (want.len() / width) as f64;
    for (row, (off, want)) in off.chunks(width).zip(want.chunks(width)).enumerate() {
        let apart = (square(off) / square(want).max(mean)).sqrt();
        if apart > OF_A_ROW * tolerance {
            return Err(format!(
                "row {row}: {apart} apart, with those of all at {tolerance} at most"
            ));
        }
    }
    Ok(())
}

/// One row of 33,280 (the tokens of 512 images) is that of another, or zeros, or half wrong. The norm over
/// all values is within the tolerance of bf16, but the comparison of rows finds it.
#[test]
fn one_wrong_row_of_many_is_found() {
    const ROWS: usize = 33_280;
    const WIDTH: usize = 16;
    let (_, tolerance) = TYPES[1];
    let want = random(&[ROWS, WIDTH], "rows");
    let rounded = want.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
    compare(&rounded, &want, tolerance).unwrap();
    let right: Vec<f32> = rounded.flatten_all().unwrap().to_vec1().unwrap();
    let at = |row: usize| row * WIDTH..(row + 1) * WIDTH;
    for row in [0, 12_345, ROWS - 1] {
        let mut other = right.clone();
        other[at(row)].copy_from_slice(&right[at((row + 1) % ROWS)]);
        let mut zeros = right.clone();
        zeros[at(row)].fill(0.0);
        let mut half = right.clone();
        half[at(row)][WIDTH / 2..].iter_mut().for_each(|v| *v = -*v);
        for wrong in [other, zeros, half] {
            let (mut off, mut all) = (0.0, 0.0);
            for (g, w) in wrong.iter().zip(&right) {
                off += f64::from(g - w).powi(2);
                all += f64::from(*w).powi(2);
            }
            assert!((off / all).sqrt() < tolerance, "all values together show it");
            let wrong = Tensor::from_vec(wrong, (ROWS, WIDTH), &Device::Cpu).unwrap();
            let found = compare(&wrong, &want, tolerance).unwrap_err();
            assert!(found.starts_with(&format!("row {row}: ")), "{found}");
        }
    }
}

/// A linear layer with all options. `t` is \[x, w, bias, added, a, b, a, b\].
fn whole(t: &[Variable], then: u8, constant: bool) -> Result<Variable> {
    let pairs = t[4..].chunks_exact(2).zip([0.7, 1.3]);
    let products: Vec<LowRank> =
        pairs.map(|(p, scale)| LowRank { a: p[0].clone(), b: p[1].clone(), scale }).collect();
    let matrix = if constant { t[1].detach() } else { t[1].clone() };
    let w = Weights { matrix: &matrix, products: &products, project: false };
    match then {
        0 => ops::sum(&[&ops::linear(&t[0], w, Some(&t[2]), Epilogue::None)?, &t[3]]),
        1 => ops::sum(&[&ops::linear(&t[0], w, Some(&t[2]), Epilogue::Gelu(Gelu::Exact))?, &t[3]]),
        2 => ops::sum(&[&ops::linear(&t[0], w, Some(&t[2]), Epilogue::Gelu(Gelu::Tanh))?, &t[3]]),
        _ => ops::linear(&t[0], w, Some(&t[2]), Epilogue::Add(&t[3])),
    }
}

fn whole_by_candle(t: &[Tensor], then: u8) -> Result<Tensor> {
    let mut w = t[1].clone();
    for (p, scale) in t[4..].chunks_exact(2).zip([0.7, 1.3]) {
        w = (w + (p[1].t()?.matmul(&p[0])? * scale)?)?;
    }
    let y = t[0].matmul(&w.t()?)?.broadcast_add(&t[2])?;
    match then {
        1 => composed::gelu(&y, Gelu::Exact)? + &t[3],
        2 => composed::gelu(&y, Gelu::Tanh)? + &t[3],
        _ => y + &t[3],
    }
}

fn linear_layers_agree(on: &On) {
    let mut sizes = vec![
        (1, 1, 1, vec![]),
        (5, 8, 16, vec![1]),
        (70, 24, 40, vec![3, 2]),
        (33, 7, 13, vec![2]),
        (131, 16, 264, vec![]),
        (300, 48, 8, vec![4]),
    ];
    if on.takes_large() {
        sizes.extend([
            (4160, 192, 768, vec![8]),
            (3000, 768, 192, vec![8, 4]),
            (777, 64, 10, vec![]),
        ]);
    }
    for (n, input, output, ranks) in sizes {
        let (x, w, b, y) = ([n, input], [output, input], [output], [n, output]);
        let factors: Vec<[[usize; 2]; 2]> =
            ranks.iter().map(|r| [[*r, input], [*r, output]]).collect();
        let mut inputs: Vec<(&[usize], Role)> = vec![(&x, A), (&w, P), (&b, P), (&y, A)];
        inputs.extend(factors.iter().flatten().map(|s| (s.as_slice(), P)));
        for then in 0..4 {
            agree(on, &inputs, |t| whole(t, then, false), |t| whole_by_candle(t, then));
        }
    }
}

/// With a constant matrix, the increment's gradients are computed by thin products if there are few rows
/// compared with the matrix, and projected if there are many.
fn thin_and_projected_gradients_agree(on: &On) {
    for (n, input, output) in [(40, 8, 8), (40, 64, 96), (9, 512, 520)] {
        let (x, b, y) = ([n, input], [output], [n, output]);
        let (fa, fb, w) = ([3, input], [3, output], [output, input]);
        let scale = (input as f64).powf(-0.5);
        let inputs: [(&[usize], Role); 5] = [(&x, A), (&b, P), (&y, A), (&fa, P), (&fb, P)];
        let matrix = (random(&w, "matrix") * scale).unwrap();
        let device = on.device();
        agree(
            on,
            &inputs,
            |t| {
                let pair = LowRank { a: t[3].clone(), b: t[4].clone(), scale };
                let matrix = Variable::constant(matrix.to_device(&device)?);
                let w = Weights { matrix: &matrix, products: &[pair], project: false };
                ops::linear(&t[0], w, Some(&t[1]), Epilogue::Add(&t[2]))
            },
            |t| {
                let w = (matrix.to_dtype(DType::F64)? + (t[4].t()?.matmul(&t[3])? * scale)?)?;
                t[0].matmul(&w.t()?)?.broadcast_add(&t[1])? + &t[2]
            },
        );
    }
}

fn layer_norms_agree(on: &On) {
    let mut sizes = vec![
        (1, 3),
        (9, 8),
        (70, 37),
        (17, 192),
        (5, 264),
        (5, 400),
        (20, 768),
        (5, 1024),
        (3, 3072),
        (2, 8000),
        (2, 13_000),
    ];
    if on.takes_large() {
        sizes.extend([(33_280, 192), (25_216, 768), (6000, 1024)]);
    }
    for (n, width) in sizes {
        agree(
            on,
            &[(&[n, width], A), (&[width], P), (&[width], P)],
            |t| ops::layer_norm(&t[0], &t[1], &t[2], 1e-6),
            |t| composed::layer_norm(&t[0], &t[1], &t[2], 1e-6),
        );
    }
}

fn attention_agrees(on: &On) {
    let (none, causal) = (Mask::default(), Mask { causal: true, ..Mask::default() });
    let padded = |lengths: &[usize]| Mask { lengths: Some(lengths.to_vec()), ..Mask::default() };
    let mut cases = vec![
        (1, 1, 1, 16, 1, none.clone()),
        (2, 5, 2, 16, 5, none.clone()),
        (2, 17, 1, 32, 17, causal.clone()),
        (1, 65, 2, 64, 65, none.clone()),
        (2, 65, 1, 64, 1, none.clone()),
        (1, 140, 1, 16, 140, none.clone()),
        (1, 150, 1, 32, 150, causal.clone()),
        (3, 20, 2, 16, 20, padded(&[20, 1, 7])),
        (1, 33, 1, 128, 33, none.clone()),
        (1, 18, 2, 48, 18, none.clone()),
        (1, 18, 1, 80, 18, none.clone()),
        (1, 40, 1, 96, 20, none.clone()),
        (2, 140, 1, 16, 70, Mask { causal: true, ..padded(&[140, 66]) }),
        // Several tiles.
        (1, 290, 1, 16, 290, causal.clone()),
        (2, 290, 1, 16, 290, padded(&[290, 130])),
        // There is no kernel for these heads, so the operation is composed.
        (2, 5, 2, 7, 5, none.clone()),
    ];
    if !matches!(on, On::Emulation) {
        // Several warps and blocks with heads of ViT's size, which take the emulation a minute.
        cases.extend([
            (1, 150, 2, 64, 150, none.clone()),
            (2, 197, 1, 64, 197, none.clone()),
            (1, 197, 1, 64, 1, none.clone()),
            (2, 197, 1, 64, 197, padded(&[197, 90])),
        ]);
    }
    if on.takes_large() {
        cases.extend([
            (64, 65, 3, 64, 65, none.clone()),
            (16, 197, 12, 64, 197, none.clone()),
            (4, 512, 12, 32, 512, padded(&[512, 300, 64, 1])),
            (2, 300, 4, 128, 300, causal.clone()),
        ]);
    }
    for (batch, tokens, heads, d, queries, mask) in cases {
        agree(
            on,
            &[(&[batch, tokens, 3 * heads * d], A)],
            |t| ops::self_attention(&t[0], heads, queries, &mask, None),
            |t| composed::self_attention(&t[0], heads, queries, &mask, None),
        );
    }
    // Dropout of weights. The mask is the CPU's.
    let dropout = Dropout::new(0.3, StepKey { seed: 3, step: 7, part: 1 }, "layer");
    let mut cases = vec![
        (2, 17, 2, 16, 17, none.clone()),
        (2, 45, 2, 16, 45, causal.clone()),
        (1, 70, 1, 32, 9, none.clone()),
        (3, 20, 2, 16, 20, padded(&[20, 1, 7])),
        (2, 40, 1, 48, 40, Mask { causal: true, ..padded(&[40, 11]) }),
        (1, 18, 1, 80, 18, none.clone()),
        (1, 18, 1, 96, 18, causal.clone()),
        // Several blocks, and several tiles.
        (1, 130, 1, 16, 130, causal.clone()),
        (1, 290, 1, 16, 290, causal.clone()),
        (2, 5, 2, 7, 5, none.clone()),
    ];
    if !matches!(on, On::Emulation) {
        cases.extend([(2, 290, 2, 64, 290, causal.clone()), (1, 150, 1, 128, 150, none)]);
    }
    for (batch, tokens, heads, d, queries, mask) in cases {
        let sizes = AttentionSizes { queries, keys: tokens, heads, d };
        agree(
            on,
            &[(&[batch, tokens, 3 * heads * d], A)],
            |t| ops::self_attention(&t[0], heads, queries, &mask, Some(&dropout)),
            |t| {
                let dropped = composed::weights_mask(&dropout, batch, sizes, &t[0])?;
                composed::self_attention(&t[0], heads, queries, &mask, Some(&dropped))
            },
        );
    }
    // Separate queries, keys and values, without and with dropout: the kernel and the composition agree.
    for (queries, keys, d, lengths, skip) in [
        (17, 17, 16, Some(vec![17, 5]), false),
        (17, 17, 16, Some(vec![17, 5]), true),
        (17, 17, 16, Some(vec![9, 0]), true),
        (5, 5, 7, None, false),
        (3, 18, 32, Some(vec![18, 2]), false),
    ] {
        let mask = Mask { lengths, skip_padded_queries: skip, ..Mask::default() };
        let (of_queries, of_keys) = ([2, queries, 2 * d], [2, keys, 2 * d]);
        let sizes = AttentionSizes { queries, keys, heads: 2, d };
        for dropout in [None, Some(&dropout)] {
            agree(
                on,
                &[(&of_queries, A), (&of_keys, A), (&of_keys, A)],
                |t| ops::attention([&t[0], &t[1], &t[2]], 2, &mask, dropout),
                |t| {
                    let dropped = dropout.map(|d| composed::weights_mask(d, 2, sizes, &t[0]));
                    let dropped = dropped.transpose()?;
                    composed::attention(&t[0], &t[1], &t[2], 2, &mask, dropped.as_ref())
                },
            );
        }
    }
}

fn gelu_agrees(on: &On) {
    for shape in [&[1usize][..], &[17], &[40, 64], &[3, 5, 7]] {
        for form in [Gelu::Exact, Gelu::Tanh] {
            agree(on, &[(shape, A)], |t| ops::gelu(&t[0], form), |t| composed::gelu(&t[0], form));
        }
    }
}

fn cross_entropy_agrees(on: &On) {
    let mut sizes = vec![(1, 1), (3, 2), (9, 10), (5, 100), (2, 1000)];
    if on.takes_large() {
        sizes.extend([(512, 10), (128, 1000), (1000, 30_522)]);
    }
    for (n, classes) in sizes {
        let labels: Vec<u32> = (0..n).map(|i| (i * 7 % classes) as u32).collect();
        let labels = Tensor::from_vec(labels, n, &Device::Cpu).unwrap();
        let there = labels.to_device(&on.device()).unwrap();
        for smoothing in [0.0, 0.1] {
            agree(
                on,
                &[(&[n, classes], A)],
                |t| ops::cross_entropy(&t[0], &there, smoothing),
                |t| composed::cross_entropy(&t[0], &labels, smoothing),
            );
        }
    }
}

fn embeddings_agree(on: &On) {
    // The gradient of a table of up to 512 rows is summed by parts of 1,024 ids.
    for (rows, width, count) in [
        (1, 1, 1),
        (5, 8, 40),
        (97, 37, 30),
        (65, 20, 2500),
        (512, 9, 1025),
        (513, 9, 1024),
        (600, 300, 1300),
    ] {
        let ids: Vec<u32> = (0..count).map(|i| (i * i % rows) as u32).collect();
        let ids = Tensor::from_vec(ids, count, &Device::Cpu).unwrap();
        let there = ids.to_device(&on.device()).unwrap();
        agree(
            on,
            &[(&[rows, width], P)],
            |t| ops::embedding(&t[0], &there),
            |t| t[0].index_select(&ids, 0),
        );
    }
}

fn patches_with_positions_agree(on: &On) {
    for (batch, channels, side, across, dim, classed) in [
        (1, 1, 1, 1, 1, true),
        (2, 3, 2, 3, 8, true),
        (3, 3, 4, 2, 24, false),
        (2, 1, 3, 2, 5, true),
    ] {
        let images = random(&[batch, channels, side * across, side * across], "images");
        // Rounded, so that both paths get the same values.
        let images = images.to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
        let tokens = across * across + usize::from(classed);
        let (kernel, class) = ([dim, channels, side, side], [1, 1, dim]);
        let inputs: [(&[usize], Role); 4] =
            [(&kernel, P), (&[dim], P), (&[1, tokens, dim], P), (&class, P)];
        let device = on.device();
        for (dtype, tolerance) in TYPES {
            agree_in(
                (dtype, tolerance),
                on,
                &inputs[..3 + usize::from(classed)],
                |t| {
                    let images = images.to_device(&device)?.to_dtype(dtype)?;
                    ops::embed_patches(&images, &t[0], &t[1], t.get(3), &t[2])
                },
                |t| {
                    let images = images.to_dtype(DType::F64)?;
                    let x = images.conv2d(&t[0], 0, side, 1, 1)?;
                    let x = x.flatten_from(2)?.transpose(1, 2)?.broadcast_add(&t[1])?;
                    let x = match t.get(3) {
                        Some(class) => {
                            Tensor::cat(&[&class.broadcast_as((batch, 1, dim))?, &x], 1)?
                        }
                        None => x,
                    };
                    x.broadcast_add(&t[2])
                },
            );
        }
    }
}

fn small_operations_agree(on: &On) {
    agree(
        on,
        &[(&[4, 3], A), (&[4, 3], A)],
        |t| ops::sum(&[&t[0], &t[1], &t[0]]),
        |t| (&t[0] + &t[1])? + &t[0],
    );
    agree(on, &[(&[2, 3, 4], A)], |t| ops::mean_tokens(&t[0]), |t| t[0].mean(1));
    for count in 1..=3 {
        agree(
            on,
            &[(&[2, 3, 4], A)],
            |t| ops::first_tokens(&t[0], count),
            |t| t[0].narrow(1, 0, count),
        );
    }
    agree(
        on,
        &[(&[2, 5, 4], A), (&[2, 5, 3], A), (&[3, 4], P)],
        |t| ops::add_product(&t[0], &t[1], &t[2], 0.3),
        |t| {
            let low = t[1].reshape((10, 3))?.matmul(&t[2])?;
            &t[0] + (low.reshape((2, 5, 4))? * 0.3)?
        },
    );
}

/// A residual stream, and a matrix that two layers share.
fn sums_of_gradients_agree(on: &On) {
    agree(
        on,
        &[(&[3, 20, 8], A), (&[8], P), (&[8], P), (&[8, 8], P), (&[8], P)],
        |t| {
            let branch = ops::layer_norm(&t[0], &t[1], &t[2], 1e-6)?;
            let y = ops::linear(&branch, Weights::dense(&t[3]), Some(&t[4]), Epilogue::Add(&t[0]))?;
            ops::linear(&y, Weights::dense(&t[3]), Some(&t[4]), Epilogue::Add(&t[0]))
        },
        |t| {
            let x = t[0].reshape((60, 8))?;
            let branch = composed::layer_norm(&x, &t[1], &t[2], 1e-6)?;
            let layer = |x: &Tensor| x.matmul(&t[3].t()?)?.broadcast_add(&t[4]);
            let y = (layer(&branch)? + &x)?;
            (layer(&y)? + x)?.reshape((3, 20, 8))
        },
    );
}

fn dropout_matches_the_cpu(on: &On) {
    let dropout = Dropout::new(0.25, StepKey { seed: 3, step: 7, part: 1 }, "layer");
    let cases = [(1, 0), (5, 0), (4099, 0), (4096, 3), (4096, 8)];
    for ((n, skipped), (dtype, _)) in cases.into_iter().flat_map(|c| TYPES.map(|t| (c, t))) {
        // A part of another tensor may begin between two vectors.
        let whole = random(&[n + skipped], "x").to_dtype(dtype).unwrap();
        let part = |t: &Tensor| t.narrow(0, skipped, n).unwrap();
        let x = part(&whole).to_dtype(DType::F32).unwrap();
        let want = ops::dropout(&Variable::constant(x), &dropout).unwrap();
        let want = want.tensor().to_dtype(dtype).unwrap();
        let got = on.twice(|| {
            let x = Variable::leaf(part(&whole.to_device(&on.device()).unwrap()));
            let y = ops::dropout(&x, &dropout).unwrap();
            let out = y.tensor().clone();
            let sum = Variable::composed(&[&y], |t| t[0].sum_all()).unwrap();
            let grads = sum.backward(1.0).unwrap();
            vec![out, grads.get(&x).unwrap().clone()]
        });
        assert_eq!(numbers(&got[0]), numbers(&want), "{n} of {dtype:?} from {skipped} on");
        let scale = Tensor::new(1.0f32 / 0.75, &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let scale = numbers(&scale)[0];
        for (y, g) in numbers(&want).into_iter().zip(numbers(&got[1])) {
            assert_eq!(g, if y == 0.0 { 0.0 } else { scale });
        }
    }
}

/// Three updates of parameters of several parts, with and without weight decay, as increments, with and
/// without clipping, a copy and a gradient.
fn adamw_matches_the_cpu(on: &On) {
    let sizes = [1, 300, 4096, 9000];
    let group = |i: usize| match i {
        2 => UpdateGroup::Plain,
        3 => UpdateGroup::Increment,
        _ => UpdateGroup::Decayed,
    };
    let device = on.device();
    let there = |t: &Tensor| t.to_device(&device).unwrap().copy().unwrap();
    let zeros = |n: usize| Tensor::zeros(n, DType::F32, &device).unwrap();
    for limit in [None, Some(0.5)] {
        let values: Vec<Tensor> = sizes.iter().map(|n| random(&[*n], "value")).collect();
        let got: Vec<[Tensor; 3]> =
            values.iter().zip(sizes).map(|(v, n)| [there(v), zeros(n), zeros(n)]).collect();
        let copies: Vec<Tensor> =
            got.iter().map(|[v, ..]| v.to_dtype(DType::BF16).unwrap()).collect();
        let want: Vec<[Tensor; 3]> = values
            .iter()
            .map(|v| [v.copy().unwrap(), v.zeros_like().unwrap(), v.zeros_like().unwrap()])
            .collect();
        let updated: Vec<AdamWSlot> = (got.iter().zip(&copies).enumerate())
            .map(|(i, ([value, first, second], copy))| AdamWSlot {
                value,
                first,
                second,
                copy: (i != 1).then_some(copy),
                group: group(i),
            })
            .collect();
        let table = on.run(|| MultiTensorAdamW::of(&updated)).unwrap().expect("a backend");
        for step in 1..=3 {
            // The first parameter has no gradient.
            let gradients: Vec<Option<Tensor>> = (0..sizes.len())
                .map(|i| (i > 0).then(|| random(&[sizes[i]], &format!("{step} {i}"))))
                .collect();
            let flat = gradients.iter().flatten().flat_map(numbers);
            let norm = flat.map(|g| g * g).sum::<f64>().sqrt();
            let scale = limit.map_or(1.0, |limit: f64| (limit / (norm + 1e-6)).min(1.0));
            let update = AdamWUpdate {
                beta1: 0.9,
                beta2: 0.99,
                epsilon: 1e-8,
                grad_scale: scale as f32,
                decay_factor: 0.999,
                step_size: 0.02 * step as f32,
                inverse_bias_correction2: 3.0 / step as f32,
                increment_decay_factor: 0.99,
                increment_step_size: 0.3 * step as f32,
            };
            for (i, g) in gradients.iter().enumerate() {
                let Some(g) = g else { continue };
                let [p, m, v] = &want[i];
                crate::nn::adamw_update(update.of(group(i)), p, m, v, g).unwrap();
            }
            let gradients: Vec<_> = gradients.iter().map(|g| g.as_ref().map(there)).collect();
            let got = on.run(|| table.update(update, &gradients, limit)).unwrap();
            let error = (numbers(&got)[0] - norm).abs();
            assert!(error < 1e-5 * norm, "{got} for {norm}");
        }
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            for part in 0..3 {
                close(&got[part], &want[part], 2e-6, &format!("parameter {i}, part {part}"));
            }
            if i > 0 {
                assert_ne!(numbers(&got[0]), numbers(&values[i]), "parameter {i} stayed");
            }
            let rounded = got[0].to_dtype(DType::BF16).unwrap();
            // A copy that is not in the table does not change.
            assert_eq!(numbers(&copies[i]) == numbers(&rounded), i != 1, "copy {i}");
        }
    }
}

/// Every combination of transposed factors, an added term, a bias, and types. Rows are not whole vectors,
/// and slices are not aligned.
fn products_of_every_kind_agree(on: &On) {
    let (backend, device) = (on.backend(), on.device());
    for (dtype, tolerance) in TYPES {
        for (kind, (m, k, n)) in (0..16).flat_map(|kind| {
            [(5, 7, 3), (16, 8, 24), (1, 9, 1), (30, 1, 10), (33, 16, 101)].map(|size| (kind, size))
        }) {
            let [left_t, right_t, added, bias] = [1, 2, 4, 8].map(|bit| kind & bit != 0);
            let made = |shape: &[usize], name: &str, dtype| {
                // A slice that starts at the second value, so it is not aligned.
                let count: usize = shape.iter().product();
                let all = random(&[count + 1], name).to_dtype(dtype).unwrap();
                let all = all.to_device(&device).unwrap();
                all.narrow(0, 1, count).unwrap().reshape(shape).unwrap()
            };
            for result in [dtype, DType::F32] {
                let left = made(&if left_t { [k, m] } else { [m, k] }, "left", dtype);
                let right = made(&if right_t { [n, k] } else { [k, n] }, "right", dtype);
                let (c, b) = (made(&[m, n], "added", result), made(&[n], "bias", result));
                let [double_l, double_r, double_c, double_b] = [&left, &right, &c, &b]
                    .map(|t| t.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap());
                let t = |t: Tensor, on| if on { t.t().unwrap() } else { t };
                let want = t(double_l, left_t).matmul(&t(double_r, right_t)).unwrap();
                let mut want = (want * 0.5).unwrap();
                if added {
                    want = (want + double_c).unwrap();
                }
                if bias {
                    want = want.broadcast_add(&double_b).unwrap();
                }
                let matrix = |tensor, columns: usize, transposed| Matrix {
                    transposed,
                    ..Matrix::rows(tensor, columns)
                };
                let product = Product {
                    added: added.then_some(&c),
                    bias: bias.then_some(&b),
                    result,
                    ..Product::of(
                        matrix(&left, if left_t { m } else { k }, left_t),
                        matrix(&right, if right_t { k } else { n }, right_t),
                    )
                };
                let got = on.run(|| backend.product(product.scaled(0.5))).unwrap();
                let by_us = on.run(|| {
                    let to = backend.empty((m, n), result)?;
                    let by_columns = ByColumns::of(&product.scaled(0.5));
                    let (kernel, grid, args) = product_launch(&by_columns, &to)?;
                    backend.launch(&kernel, grid, &args)?;
                    Ok::<Tensor, candle_core::Error>(to)
                });
                close(&by_us.unwrap(), &want, tolerance, "without cuBLASLt");
                if bias {
                    // The launch for the case that cuBLASLt does not add the bias.
                    let without = Product { bias: None, ..product.scaled(0.5) };
                    let apart = on.run(|| {
                        let to = backend.product(without)?;
                        let (kernel, grid, args) = bias_launch(&b, &to, n)?;
                        backend.launch(&kernel, grid, &args)?;
                        Ok::<Tensor, candle_core::Error>(to)
                    });
                    close(&apart.unwrap(), &want, tolerance, "bias apart");
                }
                assert_eq!((got.dims2().unwrap(), got.dtype()), ((m, n), result));
                let what = format!("{dtype:?} -> {result:?}, kind {kind}, {m} {k} {n}");
                close(&got, &want, tolerance, &what);
            }
        }
    }
}

/// Compares with the definition, pixel by pixel.
fn image_batches_match_the_definition(on: &On) {
    let (n, side, channels) = (5usize, 6usize, 3usize);
    let bytes: Vec<u8> = (0..n * side * side * channels).map(|i| (i * 37 % 256) as u8).collect();
    let picks = [[4, 0, 0, 0], [0, 2, -1, 1], [2, -6, 3, 0], [2, 1, 1, 1]];
    let (mean, deviation) = ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3]);
    let device = on.device();
    let images = Tensor::from_vec(bytes.clone(), (n, side, side, channels), &device).unwrap();
    let float = |values: [f64; 3]| {
        Tensor::new(&values, &Device::Cpu)
            .and_then(|t| t.to_dtype(DType::F32)?.to_device(&device))
            .unwrap()
    };
    let (of_mean, of_deviation) = (float(mean), float(deviation));
    let cropper = on.run(|| ops::Cropper::of(&device)).unwrap().unwrap();
    for (dtype, tolerance) in TYPES {
        let made = || cropper.crops(&images, &picks, &of_mean, &of_deviation, dtype).unwrap();
        let got = on.twice(|| vec![made()]);
        let mut want = Vec::new();
        for [which, right, down, mirrored] in picks {
            for (c, (mean, deviation)) in mean.iter().zip(&deviation).enumerate() {
                for (y, x) in (0..side as i32).flat_map(|y| (0..side as i32).map(move |x| (y, x))) {
                    let from_x = if mirrored == 1 { side as i32 - 1 - x } else { x } + right;
                    let from_y = y + down;
                    let inside = 0..side as i32;
                    let byte = match inside.contains(&from_x) && inside.contains(&from_y) {
                        true => {
                            let pixel = (from_y as usize * side) + from_x as usize;
                            bytes[(which as usize * side * side + pixel) * channels + c]
                        }
                        false => 0,
                    };
                    want.push((f64::from(byte) / 255.0 - mean) / deviation);
                }
            }
        }
        let want = Tensor::from_vec(want, got[0].dims(), &Device::Cpu).unwrap();
        close(&got[0], &want, tolerance, "images");
    }
}

fn labels_that_are_not_a_class_give_nan(on: &On) {
    let device = on.device();
    let logits = Variable::constant(random(&[2, 3], "logits").to_device(&device).unwrap());
    let labels = Tensor::new(&[1u32, 3], &device).unwrap();
    let losses = on.run(|| ops::cross_entropy(&logits, &labels, 0.1)).unwrap();
    let losses = numbers(losses.tensor());
    assert!(losses[0].is_finite() && losses[1].is_nan(), "{losses:?}");
}
