//! Compares every operation and its gradients with a composition of candle's operations in float64.
//! It tests the fused float32 path and the path for other types.

mod examples;
mod pytorch;

use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;

use super::*;
use crate::nn::{AttentionSizes, Init, LowRank, StepKey, Variable, composed};
use crate::random::{Purpose, Stream};

fn random(shape: &[usize], name: &str) -> Tensor {
    let mut stream = Stream::new(11, Purpose::Init, name);
    let values = Init::Normal { std: 1.0 }.values(shape.iter().product(), &mut stream);
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn leaf(shape: &[usize], name: &str) -> Variable {
    Variable::leaf(random(shape, name))
}

fn numbers_of(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The value of y, and the gradients of Σ y · probe, computed by our graph.
fn ours(inputs: &[Tensor], f: &dyn Fn(&[Variable]) -> Result<Variable>) -> Vec<Tensor> {
    let leaves: Vec<Variable> = inputs.iter().map(|t| Variable::leaf(t.clone())).collect();
    let y = f(&leaves).unwrap();
    let probe = Variable::constant(probe(y.tensor()));
    let out = y.tensor().clone();
    let total = Variable::composed(&[&y, &probe], |t| (&t[0] * &t[1])?.sum_all()).unwrap();
    let mut gradients = total.backward(1.0).unwrap();
    let of = |leaf: &Variable| gradients.remove(leaf).expect("a gradient for every input");
    [out].into_iter().chain(leaves.iter().map(of)).collect()
}

fn probe(like: &Tensor) -> Tensor {
    random(like.dims(), "probe").to_dtype(like.dtype()).unwrap()
}

/// The same, computed by candle's graph.
fn candles(inputs: &[Tensor], f: &dyn Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Tensor> {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = f(&tensors).unwrap();
    let grads = (&y * probe(&y)).unwrap().sum_all().unwrap().backward().unwrap();
    let of = |v: &Tensor| grads.get(v).expect("a gradient for every input").clone();
    [y.clone()].into_iter().chain(tensors.iter().map(of)).collect()
}

fn agree(
    shapes: &[&[usize]],
    f: impl Fn(&[Variable]) -> Result<Variable>,
    oracle: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let single: Vec<Tensor> =
        shapes.iter().enumerate().map(|(i, s)| random(s, &format!("{i}"))).collect();
    let double: Vec<Tensor> = single.iter().map(|t| t.to_dtype(DType::F64).unwrap()).collect();
    let want = candles(&double, &oracle);
    // A gradient is a sum of at most n terms, one per value of the result. If the terms cancel, rounding
    // errors of the partial sums remain. Partial sums are of order √n.
    let terms = want[0].elem_count() as f64;
    let of_sums = 0.4 * terms.sqrt();
    // Float32 needs a larger tolerance, as sums of hundreds of terms are rounded.
    for (inputs, tolerance) in [(&single, 1e-5), (&double, 1e-12)] {
        for (i, (got, want)) in ours(inputs, &f).iter().zip(&want).enumerate() {
            assert_eq!(got.dims(), want.dims(), "{shapes:?}, output {i}");
            let (got, want) = (numbers_of(got), numbers_of(want));
            let least = if i == 0 { 0.1 } else { of_sums };
            let size = want.iter().fold(least, |m, v| m.max(v.abs()));
            for (g, w) in got.iter().zip(&want) {
                let close = (g - w).abs() < tolerance * size;
                assert!(close, "{shapes:?}, output {i}: {g} for {w} (largest {size})");
            }
        }
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Sizes around those of blocks and lanes, one, and primes.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), 2..9usize, Just(16), Just(37), Just(97)]
}

/// A mask by `padded`: 0 no padding, 1 padded keys, 2 padded keys and queries, 3 also empty sequences.
fn mask(causal: bool, padded: usize, batch: usize, tokens: usize) -> Mask {
    let least = usize::from(padded < 3);
    let length = |b: usize| least + (b * 5 + padded) % (tokens + 1 - least);
    let lengths = (padded > 0).then(|| (0..batch).map(length).collect());
    Mask { causal, lengths, skip_padded_queries: padded > 1, ..Mask::default() }
}

fn rows() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), 2..9usize, Just(64), Just(131), Just(300), Just(777)]
}

/// A linear layer with all options. `t` is \[x, w, bias, added, a, b, a, b\].
fn whole(t: &[Variable], scales: &[f64], epilogue: u8, project: bool) -> Result<Variable> {
    let pairs = t[4..].chunks_exact(2).zip(scales);
    let products: Vec<LowRank> =
        pairs.map(|(p, s)| LowRank { a: p[0].clone(), b: p[1].clone(), scale: *s }).collect();
    let w = Weights { matrix: &t[1], products: &products, project };
    match epilogue {
        // The added term is used too, so that every input has a gradient.
        0 => sum(&[&linear(&t[0], w, Some(&t[2]), Epilogue::None)?, &t[3]]),
        1 => sum(&[&linear(&t[0], w, Some(&t[2]), Epilogue::Gelu(Gelu::Exact))?, &t[3]]),
        2 => sum(&[&linear(&t[0], w, Some(&t[2]), Epilogue::Gelu(Gelu::Tanh))?, &t[3]]),
        _ => linear(&t[0], w, Some(&t[2]), Epilogue::Add(&t[3])),
    }
}

fn whole_by_candle(t: &[Tensor], scales: &[f64], epilogue: u8) -> Result<Tensor> {
    let mut w = t[1].clone();
    for (p, s) in t[4..].chunks_exact(2).zip(scales) {
        w = (w + (p[1].t()?.matmul(&p[0])? * *s)?)?;
    }
    let y = t[0].matmul(&w.t()?)?.broadcast_add(&t[2])?;
    match epilogue {
        1 => composed::gelu(&y, Gelu::Exact)? + &t[3],
        2 => composed::gelu(&y, Gelu::Tanh)? + &t[3],
        _ => y + &t[3],
    }
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn linear_agrees(
        n in rows(), input in size(), output in size(),
        ranks in proptest::collection::vec(1..5usize, 0..3), epilogue in 0..4u8,
    ) {
        let (x, w, b, y) = ([n, input], [output, input], [output], [n, output]);
        let factors: Vec<[[usize; 2]; 2]> =
            ranks.iter().map(|r| [[*r, input], [*r, output]]).collect();
        let mut shapes: Vec<&[usize]> = vec![&x, &w, &b, &y];
        shapes.extend(factors.iter().flatten().map(|s| s.as_slice()));
        agree(
            &shapes,
            |t| whole(t, &[0.7, 1.3], epilogue, false),
            |t| whole_by_candle(t, &[0.7, 1.3], epilogue),
        );
    }

    /// A constant matrix gets no gradient, and its factors get the same gradients in both ways.
    #[test]
    fn thin_and_projected_gradients_are_the_same(
        n in rows(), input in size(), output in size(), rank in 1..5usize, epilogue in 0..4u8,
    ) {
        let shapes = [
            vec![n, input], vec![output, input], vec![output], vec![n, output],
            vec![rank, input], vec![rank, output],
        ];
        let leaves: Vec<Variable> =
            shapes.iter().enumerate().map(|(i, s)| leaf(s, &format!("{i}"))).collect();
        let gradients = |project| {
            let mut t = leaves.clone();
            t[1] = t[1].detach();
            let y = whole(&t, &[0.7], epilogue, project).unwrap();
            let probe = Variable::constant(probe(y.tensor()));
            let y = Variable::composed(&[&y, &probe], |t| (&t[0] * &t[1])?.sum_all()).unwrap();
            y.backward(1.0).unwrap()
        };
        let (thin, projected) = (gradients(false), gradients(true));
        for (i, leaf) in leaves.iter().enumerate() {
            prop_assert_eq!(thin.get(leaf).is_some(), i != 1);
            let (Some(a), Some(b)) = (thin.get(leaf), projected.get(leaf)) else { continue };
            let (a, b) = (numbers_of(a), numbers_of(b));
            let size = a.iter().fold(0.1f64, |m, v| m.max(v.abs()));
            prop_assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-5 * size));
        }
    }

    #[test]
    fn layer_norm_agrees(n in rows(), width in prop_oneof![Just(3usize), 5..9usize, Just(37), Just(96)]) {
        // Rows of one or two values normalise to the same result for all values, so their gradient
        // is only rounding errors.
        agree(
            &[&[n, width], &[width], &[width]],
            |t| layer_norm(&t[0], &t[1], &t[2], 1e-6),
            |t| composed::layer_norm(&t[0], &t[1], &t[2], 1e-6),
        );
    }

    #[test]
    fn attention_agrees(
        batch in 1..4usize, tokens in prop_oneof![Just(1usize), 2..9usize, Just(65), Just(150)],
        heads in 1..4usize, d in prop_oneof![Just(1usize), Just(7), Just(16)],
        read in 0.0..1.0f64, causal in any::<bool>(), padded in 0..4usize, drops in any::<bool>(),
    ) {
        let queries = 1 + (read * (tokens - 1) as f64).round() as usize;
        let mask = mask(causal, padded, batch, tokens);
        let dropout = Dropout::new(0.3, StepKey { seed: 2, step: 5, part: 0 }, "layer");
        let dropout = drops.then_some(&dropout);
        let sizes = AttentionSizes { queries, keys: tokens, heads, d };
        agree(
            &[&[batch, tokens, 3 * heads * d]],
            |t| self_attention(&t[0], heads, queries, &mask, dropout),
            |t| {
                let dropped = dropout.map(|d| composed::weights_mask(d, batch, sizes, &t[0]));
                let dropped = dropped.transpose()?;
                composed::self_attention(&t[0], heads, queries, &mask, dropped.as_ref())
            },
        );
    }

    #[test]
    fn attention_of_parts_agrees(
        batch in 1..4usize, queries in prop_oneof![Just(1usize), 2..9usize, Just(150)],
        keys in prop_oneof![Just(1usize), 2..9usize, Just(65)], heads in 1..4usize,
        d in prop_oneof![Just(1usize), Just(7), Just(16)], causal in any::<bool>(),
        padded in 0..4usize, cross in any::<bool>(), drops in any::<bool>(), past in 0..9usize,
    ) {
        let queries = if cross { queries } else { keys };
        let mask = mask(causal, padded, batch, keys);
        let mask = Mask { skip_padded_queries: mask.skip_padded_queries && !cross, past, ..mask };
        let dropout = Dropout::new(0.3, StepKey { seed: 2, step: 5, part: 0 }, "layer");
        let dropout = drops.then_some(&dropout);
        let sizes = AttentionSizes { queries, keys, heads, d };
        let (of_queries, of_keys) = ([batch, queries, heads * d], [batch, keys, heads * d]);
        agree(
            &[&of_queries, &of_keys, &of_keys],
            |t| attention([&t[0], &t[1], &t[2]], heads, &mask, dropout),
            |t| {
                let dropped = dropout.map(|d| composed::weights_mask(d, batch, sizes, &t[0]));
                let dropped = dropped.transpose()?;
                composed::attention(&t[0], &t[1], &t[2], heads, &mask, dropped.as_ref())
            },
        );
    }

    #[test]
    fn means_of_valid_tokens_agree(
        batch in 1..4usize, tokens in 1..9usize, dim in size(), seed in any::<usize>(),
    ) {
        let lengths: Vec<usize> = (0..batch).map(|b| (seed / (b + 1)) % (tokens + 1)).collect();
        agree(
            &[&[batch, tokens, dim]],
            |t| mean_valid_tokens(&t[0], &lengths),
            |t| {
                let rows = lengths.iter().enumerate().map(|(b, length)| match length {
                    // Zeros whose gradient is zeros.
                    0 => t[0].narrow(0, b, 1)?.sum(1)? - t[0].narrow(0, b, 1)?.sum(1)?,
                    _ => t[0].narrow(0, b, 1)?.narrow(1, 0, *length)?.mean(1),
                });
                Tensor::cat(&rows.collect::<Result<Vec<_>>>()?, 0)
            },
        );
    }

    #[test]
    fn embedded_tokens_agree(
        batch in 1..4usize, tokens in 1..9usize, dim in size(), vocabulary in size(),
        positioned in any::<bool>(), typed in any::<bool>(),
    ) {
        let numbers = |end: usize, step: usize| {
            let ids = (0..batch * tokens).map(|i| (i * step % end) as u32).collect();
            Tensor::from_vec(ids, (batch, tokens), &Device::Cpu).unwrap()
        };
        let (ids, type_ids) = (numbers(vocabulary, 5), numbers(2, 3));
        let mut shapes: Vec<&[usize]> = vec![];
        let (words, types, positions) = ([vocabulary, dim], [2, dim], [tokens + 3, dim]);
        shapes.push(&words);
        shapes.extend(positioned.then_some(&positions[..]));
        shapes.extend(typed.then_some(&types[..]));
        let last = shapes.len() - 1;
        agree(
            &shapes,
            |t| {
                let types = typed.then(|| (&t[last], &type_ids));
                embed_tokens(&ids, &t[0], positioned.then(|| &t[1]), types)
            },
            |t| {
                let rows = |table: &Tensor, ids: &Tensor| {
                    table.index_select(&ids.flatten_all()?, 0)?.reshape((batch, tokens, dim))
                };
                let mut x = rows(&t[0], &ids)?;
                if typed {
                    x = (x + rows(&t[last], &type_ids)?)?;
                }
                match positioned {
                    true => x.broadcast_add(&t[1].narrow(0, 0, tokens)?),
                    false => Ok(x),
                }
            },
        );
    }

    #[test]
    fn cross_entropy_agrees(
        n in rows(), classes in size(), smoothing in prop_oneof![Just(0.0), Just(0.1)],
    ) {
        let labels: Vec<u32> = (0..n).map(|i| (i * 7 % classes) as u32).collect();
        let labels = Tensor::from_vec(labels, n, &Device::Cpu).unwrap();
        agree(
            &[&[n, classes]],
            |t| cross_entropy(&t[0], &labels, smoothing),
            |t| composed::cross_entropy(&t[0], &labels, smoothing),
        );
    }

    #[test]
    fn embedding_agrees(rows_of in size(), width in size(), ids in proptest::collection::vec(any::<u32>(), 1..200)) {
        let ids: Vec<u32> = ids.into_iter().map(|id| id % rows_of as u32).collect();
        let n = ids.len();
        let ids = Tensor::from_vec(ids, n, &Device::Cpu).unwrap();
        agree(
            &[&[rows_of, width]],
            |t| embedding(&t[0], &ids),
            |t| t[0].index_select(&ids, 0),
        );
    }

    #[test]
    fn patches_with_positions_agree(
        batch in 1..4usize, channels in 1..4usize, side in 1..4usize, across in 1..4usize,
        dim in size(), classed in any::<bool>(),
    ) {
        let images = random(&[batch, channels, side * across, side * across], "images");
        let tokens = across * across + usize::from(classed);
        let shapes: [&[usize]; 4] = [
            &[dim, channels, side, side], &[dim], &[1, tokens, dim], &[1, 1, dim],
        ];
        let class = usize::from(classed);
        agree(
            &shapes[..3 + class],
            |t| {
                let images = images.to_dtype(t[0].tensor().dtype())?;
                embed_patches(&images, &t[0], &t[1], t.get(3), &t[2])
            },
            |t| {
                let images = images.to_dtype(t[0].dtype())?;
                let x = images.conv2d(&t[0], 0, side, 1, 1)?.flatten_from(2)?.transpose(1, 2)?;
                let x = x.broadcast_add(&t[1])?;
                let x = match t.get(3) {
                    Some(class) => Tensor::cat(&[&class.broadcast_as((batch, 1, dim))?, &x], 1)?,
                    None => x,
                };
                x.broadcast_add(&t[2])
            },
        );
    }
}

/// Cases that the random ones do not reach: a matrix larger than the caches, the most rows per block, an
/// input without a gradient.
#[test]
fn linear_agrees_in_blocks_of_every_kind() {
    for (n, input, output, rank) in [(700, 640, 832, 3), (2100, 24, 40, 3), (4200, 8, 24, 2)] {
        let x = random(&[n, input], "x");
        let shapes: [&[usize]; 5] =
            [&[output], &[n, output], &[rank, input], &[rank, output], &[output, input]];
        for (constant, tracked_x) in [(true, false), (false, false), (true, true)] {
            let matrix = (random(&[output, input], "w") * (input as f64).powf(-0.5)).unwrap();
            let typed = |t: &Tensor, like: &Tensor| t.to_dtype(like.dtype()).unwrap();
            // The last of the shapes is x or the matrix, whichever is tracked.
            let mut shapes = shapes.to_vec();
            let x_shape = [n, input];
            match (constant, tracked_x) {
                (true, false) => drop(shapes.pop()),
                (true, true) => shapes[4] = &x_shape,
                (false, _) => {}
            }
            let operands = |t: &[Variable]| {
                let like = t[0].tensor();
                let (x, w) = (typed(&x, like), typed(&matrix, like));
                match (constant, tracked_x) {
                    (true, false) => (Variable::constant(x), Variable::constant(w)),
                    (true, true) => (t[4].clone(), Variable::constant(w)),
                    (false, _) => (Variable::constant(x), t[4].clone()),
                }
            };
            let f = |t: &[Variable]| {
                let (x, w) = operands(t);
                let products = [LowRank { a: t[2].clone(), b: t[3].clone(), scale: 0.1 }];
                let w = Weights { matrix: &w, products: &products, project: false };
                linear(&x, w, Some(&t[0]), Epilogue::Add(&t[1]))
            };
            let oracle = |t: &[Tensor]| {
                let values: Vec<Variable> =
                    t.iter().map(|t| Variable::constant(t.clone())).collect();
                let (x, w) = operands(&values);
                let (mut x, mut w) = (x.tensor().clone(), w.tensor().clone());
                match (constant, tracked_x) {
                    (true, true) => x = t[4].clone(),
                    (false, _) => w = t[4].clone(),
                    _ => {}
                }
                let w = (w + (t[3].t()?.matmul(&t[2])? * 0.1)?)?;
                x.matmul(&w.t()?)?.broadcast_add(&t[0])? + &t[1]
            };
            agree(&shapes, f, oracle);
        }
    }
}

#[test]
fn gelu_agrees() {
    for n in [1, 17, 20_000] {
        for form in [Gelu::Exact, Gelu::Tanh] {
            agree(&[&[n]], |t| gelu(&t[0], form), |t| composed::gelu(&t[0], form));
        }
    }
}

#[test]
fn tanh_relu_and_silu_agree() {
    for n in [1, 17, 20_000] {
        agree(&[&[n]], |t| tanh(&t[0]), |t| t[0].tanh());
        agree(&[&[n]], |t| relu(&t[0]), |t| t[0].relu());
        agree(&[&[n]], |t| silu(&t[0]), |t| t[0].silu());
    }
}

/// A variable that is used several times gets the sum of its gradients.
#[test]
fn scale_and_sum_agree() {
    for n in [1, 17, 20_000] {
        agree(&[&[n]], |t| scale(&t[0], 0.3), |t| &t[0] * 0.3);
        let twice = |t: &[Variable]| sum(&[&t[0], &t[1], &scale(&t[0], -2.0)?]);
        agree(&[&[n], &[n]], twice, |t| (&t[0] + &t[1])? - (&t[0] * 2.0)?);
    }
}

/// A gradient need not be contiguous.
#[test]
fn strided_gradients_add_up() {
    let x = leaf(&[3, 5], "x");
    let turned = Variable::composed(&[&x], |t| t[0].t()).unwrap();
    let y = mean(&sum(&[&turned, &turned]).unwrap()).unwrap();
    let grads = y.backward(1.0).unwrap();
    let all = numbers_of(grads.get(&x).unwrap());
    assert!(all.iter().all(|g| (g - 2.0 / 15.0).abs() < 1e-7), "{all:?}");
}

/// NaN and infinite values pass, so that a diverged model is seen.
#[test]
fn relu_keeps_what_is_no_number() {
    let x = Tensor::new(&[f32::NAN, f32::INFINITY, -f32::INFINITY, -1.0], &Device::Cpu).unwrap();
    let y = relu(&Variable::constant(x)).unwrap().tensor().to_vec1::<f32>().unwrap();
    assert!(y[0].is_nan() && y[1..] == [f32::INFINITY, 0.0, 0.0], "{y:?}");
}

/// The amount and the values of padding change no bit of results and gradients, and do not change which
/// weights are dropped.
#[test]
fn padding_changes_no_bit() {
    let (lengths, heads, width) = ([3, 1, 6], 2, 14);
    let valid = |t: &Tensor| -> Vec<Vec<u32>> {
        let cut = |(b, l)| bits(&t.narrow(0, b, 1).unwrap().narrow(1, 0, l).unwrap());
        lengths.into_iter().enumerate().map(cut).collect()
    };
    let draws = Dropout::new(0.4, StepKey { seed: 0, step: 1, part: 0 }, "layer");
    let run = |padding: usize, junk: f64, dropout| {
        let tokens = 6 + padding;
        let inputs: Vec<Variable> = (0..3)
            .map(|i| {
                let x = random(&[3, 6, width], &format!("{i}"));
                let rest = (random(&[3, padding.max(1), width], "rest") * junk).unwrap();
                let rest = rest.narrow(1, 0, padding).unwrap();
                Variable::leaf(Tensor::cat(&[x, rest], 1).unwrap().contiguous().unwrap())
            })
            .collect();
        let [q, k, v] = inputs.as_slice() else { panic!() };
        let y = attention([q, k, v], heads, &Mask::padded(&lengths), dropout).unwrap();
        assert_eq!(y.dims(), [3, tokens, width]);
        let pooled = mean_valid_tokens(&y, &lengths).unwrap();
        let out = y.tensor().clone();
        let grads = mean(&pooled).unwrap().backward(1.0).unwrap();
        let all = [out].into_iter().chain(inputs.iter().map(|v| grads.get(v).unwrap().clone()));
        all.map(|t| valid(&t)).collect::<Vec<_>>()
    };
    assert_eq!(run(0, 0.0, None), run(5, 1e3, None));
    let dropped = run(0, 0.0, Some(&draws));
    assert_eq!(dropped, run(5, 1e3, Some(&draws)));
    assert_ne!(dropped, run(0, 0.0, None));
}

#[test]
fn sums_means_and_parts_agree() {
    agree(
        &[&[4, 3], &[4, 3], &[4, 3]],
        |t| sum(&[&t[0], &t[1], &t[0], &t[2]]),
        |t| ((&t[0] + &t[1])? + &t[0])? + &t[2],
    );
    agree(&[&[5, 2]], |t| mean(&t[0]), |t| t[0].mean_all());
    agree(&[&[2, 3, 4]], |t| mean_tokens(&t[0]), |t| t[0].mean(1));
    for count in 1..=3 {
        agree(&[&[2, 3, 4]], |t| first_tokens(&t[0], count), |t| t[0].narrow(1, 0, count));
    }
    agree(
        &[&[2, 5, 4], &[2, 5, 3], &[3, 4]],
        |t| add_product(&t[0], &t[1], &t[2], 0.3),
        |t| {
            let low = t[1].reshape((10, 3))?.matmul(&t[2])?;
            &t[0] + (low.reshape((2, 5, 4))? * 0.3)?
        },
    );
}

/// In a block, the norm and the later sum both use the residual stream.
#[test]
fn a_residual_stream_gets_the_sum_of_both_gradients() {
    agree(
        &[&[3, 20, 8], &[8], &[8], &[8, 8], &[8]],
        |t| {
            let branch = layer_norm(&t[0], &t[1], &t[2], 1e-6)?;
            linear(&branch, Weights::dense(&t[3]), Some(&t[4]), Epilogue::Add(&t[0]))
        },
        |t| {
            let x = t[0].reshape((60, 8))?;
            let branch = composed::layer_norm(&x, &t[1], &t[2], 1e-6)?;
            (branch.matmul(&t[3].t()?)?.broadcast_add(&t[4])? + x)?.reshape((3, 20, 8))
        },
    );
    // A linear layer whose input is used twice.
    agree(
        &[&[70, 8], &[8, 8], &[8]],
        |t| linear(&t[0], Weights::dense(&t[1]), Some(&t[2]), Epilogue::Add(&t[0])),
        |t| t[0].matmul(&t[1].t()?)?.broadcast_add(&t[2])? + &t[0],
    );
}

/// Both passes draw the same mask, and the mask uses the stream's numbers in order.
#[test]
fn dropout_draws_the_same_mask_forward_and_backward() {
    let draws = Dropout::new(0.25, StepKey { seed: 3, step: 7, part: 1 }, "layer");
    let n = 3 * (1 << 14) + 5;
    let x = Variable::leaf(Tensor::ones(n, DType::F32, &Device::Cpu).unwrap());
    let y = dropout(&x, &draws).unwrap();
    let kept = numbers_of(y.tensor());
    let grads = mean(&y).unwrap().backward(n as f64).unwrap();
    let back = numbers_of(grads.get(&x).unwrap());
    let mut stream = Stream::new(3, Purpose::Dropout, "layer 7 1");
    for (i, (y, g)) in kept.iter().zip(&back).enumerate() {
        let want = if stream.next_u32() < 1 << 30 { 0.0 } else { f64::from(1.0f32 / 0.75) };
        assert!((y - want).abs() < 1e-7 && (g - want).abs() < 1e-5, "{i}: {y}, {g}");
    }
    let share = kept.iter().filter(|v| **v == 0.0).count() as f64 / n as f64;
    assert!((share - 0.25).abs() < 0.02, "{share}");
}

#[test]
fn shapes_that_do_not_match_are_refused() {
    let t = |shape: &[usize]| Variable::constant(random(shape, "t"));
    let refused = |y: Result<Variable>, what: &str| {
        let error = y.unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let together = "do not match";
    let plain = |x: &[usize], w: &[usize], b: Option<&[usize]>| {
        let (x, w, b) = (t(x), t(w), b.map(t));
        linear(&x, Weights::dense(&w), b.as_ref(), Epilogue::None)
    };
    refused(plain(&[4, 3], &[2, 5], None), together);
    refused(plain(&[4, 3], &[2, 3], Some(&[3])), together);
    refused(plain(&[0, 3], &[2, 3], None), together);
    let with = |a: &[usize], b: &[usize], added: &[usize]| {
        let products = [LowRank { a: t(a), b: t(b), scale: 1.0 }];
        let w = t(&[2, 3]);
        let w = Weights { matrix: &w, products: &products, project: false };
        linear(&t(&[4, 3]), w, None, Epilogue::Add(&t(added)))
    };
    assert!(with(&[2, 3], &[2, 2], &[4, 2]).is_ok());
    refused(with(&[2, 3], &[1, 2], &[4, 2]), together);
    refused(with(&[2, 2], &[2, 2], &[4, 2]), together);
    refused(with(&[2, 3], &[2, 2], &[2, 4]), together);
    refused(add_product(&t(&[4, 6]), &t(&[4, 3]), &t(&[2, 6]), 1.0), together);
    refused(add_product(&t(&[4, 6]), &t(&[5, 2]), &t(&[2, 6]), 1.0), together);
    refused(layer_norm(&t(&[4, 6]), &t(&[5]), &t(&[6]), 0.0), together);
    refused(layer_norm(&t(&[0, 6]), &t(&[6]), &t(&[6]), 0.0), together);
    refused(sum(&[&t(&[2]), &t(&[3])]), together);
    refused(sum(&[]), "no values");
    refused(mean(&t(&[0])), together);
    let attention = |shape: &[usize], heads, queries, lengths: Option<Vec<usize>>| {
        self_attention(&t(shape), heads, queries, &Mask { lengths, ..Mask::default() }, None)
    };
    refused(attention(&[1, 2, 10], 2, 2, None), "are not q");
    refused(attention(&[1, 2, 12], 0, 2, None), "are not q");
    refused(attention(&[0, 2, 12], 2, 2, None), "are not q");
    refused(attention(&[1, 2, 12], 2, 3, None), "3 queries");
    refused(attention(&[1, 2, 12], 2, 0, None), "0 queries");
    refused(attention(&[1, 2, 12], 2, 2, Some(vec![3])), "lengths");
    refused(attention(&[1, 2, 12], 2, 2, Some(vec![2, 2])), "lengths");
    let skipping = Mask { skip_padded_queries: true, ..Mask::default() };
    refused(self_attention(&t(&[1, 2, 12]), 2, 2, &skipping, None), "there are none");
    let cross = |q: &[usize], k: &[usize], v: &[usize], heads, mask: &Mask| {
        super::attention([&t(q), &t(k), &t(v)], heads, mask, None)
    };
    let (one, many) = (Mask::default(), Mask::padded(&[1]));
    assert!(cross(&[1, 2, 4], &[1, 3, 4], &[1, 3, 4], 2, &one).is_ok());
    refused(cross(&[1, 2, 4], &[1, 3, 4], &[1, 3, 4], 3, &one), "q, k and v of 3 heads");
    refused(cross(&[1, 2, 4], &[1, 3, 4], &[1, 2, 4], 2, &one), "q, k and v");
    refused(cross(&[1, 2, 4], &[1, 3, 6], &[1, 3, 6], 2, &one), "q, k and v");
    refused(cross(&[1, 2, 4], &[1, 0, 4], &[1, 0, 4], 2, &one), "q, k and v");
    refused(cross(&[1, 2, 4], &[1, 3, 4], &[1, 3, 4], 2, &many), "self-attention");
    refused(mean_valid_tokens(&t(&[2, 3, 4]), &[1]), "lengths");
    refused(mean_valid_tokens(&t(&[2, 3, 4]), &[1, 4]), "lengths");
    let ids = |v: &[u32]| Tensor::new(v, &Device::Cpu).unwrap();
    refused(cross_entropy(&t(&[2, 3]), &ids(&[0]), 0.0), "labels");
    refused(cross_entropy(&t(&[2, 3]), &ids(&[0, 3]), 0.0), "label 3 is out of range");
    refused(embedding(&t(&[3, 2]), &ids(&[3])), "3 is out of range");
    let two = Tensor::new(&[[0u32, 1]], &Device::Cpu).unwrap();
    let tokens = |positions: &[usize], types: &[usize]| {
        embed_tokens(&two, &t(&[3, 2]), Some(&t(positions)), Some((&t(types), &two)))
    };
    assert!(tokens(&[2, 2], &[2, 2]).is_ok());
    refused(tokens(&[1, 2], &[2, 2]), together);
    refused(tokens(&[2, 3], &[2, 2]), together);
    refused(tokens(&[2, 2], &[2, 3]), together);
    refused(tokens(&[2, 2], &[1, 2]), "1 is out of range");
    assert!(Cropper::of(&Device::Cpu).unwrap().is_none());
    refused(first_tokens(&t(&[1, 2, 3]), 3), together);
    let patches = |images: &[usize], kernel: &[usize], positions: &[usize]| {
        embed_patches(&random(images, "i"), &t(kernel), &t(&[5]), None, &t(positions))
    };
    assert!(patches(&[1, 2, 4, 4], &[5, 2, 2, 2], &[1, 4, 5]).is_ok());
    refused(patches(&[1, 2, 5, 4], &[5, 2, 2, 2], &[1, 4, 5]), together);
    refused(patches(&[1, 2, 4, 4], &[5, 2, 2, 2], &[1, 3, 5]), together);
    refused(patches(&[1, 1, 4, 4], &[5, 2, 2, 2], &[1, 4, 5]), together);
    refused(patches(&[0, 2, 4, 4], &[5, 2, 2, 2], &[1, 4, 5]), together);
    refused(patches(&[1, 0, 4, 4], &[5, 0, 2, 2], &[1, 4, 5]), together);
    refused(patches(&[1, 2, 0, 0], &[5, 2, 2, 2], &[1, 0, 5]), together);
}

/// The operations of a block give the same bits on one thread and on several. Sizes include several
/// blocks of work and a matrix larger than the caches.
#[test]
fn the_number_of_threads_changes_no_bit() {
    let block = |rows: usize, width: usize, wide: usize, rank: usize| {
        let shapes: [&[usize]; 8] = [
            &[rows / 10, 10, width],
            &[width],
            &[width],
            &[3 * width, width],
            &[3 * width],
            &[wide, width],
            &[rank, width],
            &[rank, wide],
        ];
        let leaves: Vec<Variable> =
            shapes.iter().enumerate().map(|(i, s)| leaf(s, &format!("{i}"))).collect();
        let [x, scale, shift, qkv, bias, fc, a, b] = leaves.as_slice() else { panic!() };
        let normal = layer_norm(x, scale, shift, 1e-6).unwrap();
        let qkv = linear(&normal, Weights::dense(qkv), Some(bias), Epilogue::None).unwrap();
        let mixed = self_attention(&qkv, 4, 10, &Mask::default(), None).unwrap();
        let products = [LowRank { a: a.clone(), b: b.clone(), scale: 0.5 }];
        let fixed = fc.detach();
        let w = Weights { matrix: &fixed, products: &products, project: false };
        let y = linear(&mixed, w, None, Epilogue::Gelu(Gelu::Exact)).unwrap();
        let w = Weights { matrix: fc, products: &products, project: false };
        let y = sum(&[&y, &linear(&mixed, w, None, Epilogue::Gelu(Gelu::Exact)).unwrap()]).unwrap();
        let grads = mean(&y).unwrap().backward(1e3).unwrap();
        let all = leaves.iter().filter_map(|l| grads.get(l)).map(bits);
        all.chain([bits(y.tensor())]).collect::<Vec<_>>()
    };
    for (rows, width, wide, rank) in [(2000, 48, 100, 3), (1100, 96, 384, 8), (90, 640, 1280, 2)] {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| block(rows, width, wide, rank))
        };
        let one = with(1);
        assert_eq!(one.len(), 9);
        for threads in [2, 5] {
            assert!(with(threads) == one, "{rows} rows of {width}: {threads} threads differ");
        }
    }
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}
