//! The operations as compositions of candle's, which work on every device and type. They are the oracle
//! of the fused operations.
//!
//! candle's own fused `LayerNorm`, `softmax_last_dim` and `rope` have no backward pass and silently cut
//! the graph, so they are not used here.

use candle_core::{D, DType, Result, Tensor};

use super::cpu;
use super::descriptors::{AttentionSizes, Dropout, Epilogue, Gelu, Linear, Mask};

/// Layer normalisation (arXiv 1607.06450) over the last axis, biased variance:
/// `(x − mean) / √(var + eps) · weight + bias`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if x.dtype() == DType::BF16 {
        return layer_norm(&x.to_dtype(DType::F32)?, weight, bias, eps)?.to_dtype(DType::BF16);
    }
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normal = centred.broadcast_div(&(variance + eps)?.sqrt()?)?;
    normal.broadcast_mul(weight)?.broadcast_add(bias)
}

/// Softmax over the last axis. The subtracted maximum cancels, so it can be a constant.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

/// Logarithm of [`softmax`], over the last axis.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    let shifted = x.broadcast_sub(&x.detach().max_keepdim(D::Minus1)?)?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// GELU in one of its forms. candle's own `gelu_erf` has a derivative with six-digit constants.
pub fn gelu(x: &Tensor, form: Gelu) -> Result<Tensor> {
    let odd = match form {
        Gelu::Exact => (x / 2f64.sqrt())?.erf()?,
        Gelu::Tanh => {
            let cubic = ((x.sqr()? * 0.044715)? + 1.0)?;
            ((x * cubic)? * (2.0 / std::f64::consts::PI).sqrt())?.tanh()?
        }
    };
    x * ((odd + 1.0)? * 0.5)?
}

/// A linear layer on its inputs, which are ordered as in [`Linear`].
pub fn linear(layer: &Linear, t: &[Tensor]) -> Result<Tensor> {
    let mut w = t[1].clone();
    for (pair, scale) in t[layer.factors()..].chunks_exact(2).zip(&layer.scales) {
        w = (w + (pair[1].t()?.matmul(&pair[0])? * *scale)?)?;
    }
    let x = t[0].reshape(((), layer.size.input))?;
    let mut y = x.matmul(&w.t()?)?;
    if layer.bias {
        y = y.broadcast_add(&t[2])?;
    }
    let y = y.reshape(layer.dims.as_slice())?;
    match layer.epilogue {
        Epilogue::None => Ok(y),
        Epilogue::Gelu(form) => gelu(&y, form),
        Epilogue::Add(()) => y + &t[layer.added()],
    }
}

/// images \[batch, c, s, s\] → \[batch · (s/p)², c·p·p\]. Each row is a patch, in reading order. Its
/// values are in the order of a convolution kernel \[c, p, p\].
pub fn patches(images: &Tensor, p: usize) -> Result<Tensor> {
    let (batch, c, h, w) = images.dims4()?;
    images
        .reshape(&[batch, c, h / p, p, w / p, p][..])?
        .permute(vec![0, 2, 4, 1, 3, 5])?
        .reshape((batch * (h / p) * (w / p), c * p * p))
}

/// Self-attention of the first `queries` tokens: qkv \[batch, tokens, 3·heads·d\], packed as by timm (q, k,
/// v) → \[batch, queries, heads·d\]. `dropped` is the dropout mask of [`weights_mask`].
pub fn self_attention(
    qkv: &Tensor,
    heads: usize,
    queries: usize,
    mask: &Mask,
    dropped: Option<&Tensor>,
) -> Result<Tensor> {
    let (.., width) = qkv.dims3()?;
    let width = width / 3;
    let part = |i: usize| qkv.narrow(2, i * width, width);
    attention(&part(0)?.narrow(1, 0, queries)?, &part(1)?, &part(2)?, heads, mask, dropped)
}

/// Attention, `dropout(softmax(q kᵀ / √d)) v` per head: queries \[batch, queries, heads·d\], keys and
/// values \[batch, keys, heads·d\] → \[batch, queries, heads·d\]. `dropped` is the dropout mask of
/// [`weights_mask`].
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    mask: &Mask,
    dropped: Option<&Tensor>,
) -> Result<Tensor> {
    if q.dtype() == DType::BF16 {
        // Other backends also compute long sums in float32.
        let [q, k, v] = [q, k, v].map(|t| t.to_dtype(DType::F32));
        let dropped = dropped.map(|d| d.to_dtype(DType::F32)).transpose()?;
        let out = attention(&q?, &k?, &v?, heads, mask, dropped.as_ref())?;
        return out.to_dtype(DType::BF16);
    }
    let ((batch, queries, width), (_, keys, _)) = (q.dims3()?, k.dims3()?);
    let d = width / heads;
    let split_heads = |t: &Tensor, tokens: usize| {
        t.reshape((batch, tokens, heads, d))?.transpose(1, 2)?.contiguous()
    };
    let (q, k, v) = (split_heads(q, queries)?, split_heads(k, keys)?, split_heads(v, keys)?);
    let scores = (q * (d as f64).powf(-0.5))?.matmul(&k.transpose(2, 3)?)?;
    let bias = mask_bias(batch, queries, keys, mask);
    let bias = Tensor::from_vec(bias, (batch, 1, queries, keys), scores.device())?;
    let scores = scores.broadcast_add(&bias.to_dtype(scores.dtype())?)?;
    let mut p = softmax(&scores)?;
    if let Some(dropped) = dropped {
        p = (p * dropped)?;
    }
    let mixed = p.matmul(&v)?.transpose(1, 2)?.reshape((batch, queries, width))?;
    match &mask.lengths {
        Some(_) if mask.has_empty() || mask.skip_padded_queries => {
            let computed: Vec<usize> = (0..batch)
                .map(|s| match mask.seen(s, queries, keys) {
                    0 => 0,
                    _ => mask.computed(s, queries),
                })
                .collect();
            mixed.broadcast_mul(&valid_tokens(&computed, queries, &mixed)?)
        }
        _ => Ok(mixed),
    }
}

/// The bias that masks the scores: 0, or −∞ if a query does not see a token. A query that sees no token
/// gets only zeros, so that its softmax is finite. Its result is multiplied by 0 later.
fn mask_bias(batch: usize, queries: usize, keys: usize, mask: &Mask) -> Vec<f32> {
    let mut all = Vec::with_capacity(batch * queries * keys);
    for sequence in 0..batch {
        for query in 0..queries {
            let seen = match mask.seen(sequence, query, keys) {
                0 => keys,
                seen => seen,
            };
            all.extend((0..keys).map(|t| if t < seen { 0.0 } else { f32::NEG_INFINITY }));
        }
    }
    all
}

/// 1 for each sequence's tokens up to its length, 0 after them: \[batch, tokens, 1\], with the type and
/// device of `like`.
pub fn valid_tokens(lengths: &[usize], tokens: usize, like: &Tensor) -> Result<Tensor> {
    let valid = |length: &usize| {
        let length = *length;
        (0..tokens).map(move |t| if t < length { 1f32 } else { 0.0 })
    };
    let values: Vec<f32> = lengths.iter().flat_map(valid).collect();
    Tensor::from_vec(values, (lengths.len(), tokens, 1), like.device())?.to_dtype(like.dtype())
}

/// The factors that dropout multiplies the values of `like` by.
pub fn dropout_mask(dropout: &Dropout, like: &Tensor) -> Result<Tensor> {
    let mut mask = vec![0f32; like.elem_count()];
    cpu::dropout::mask(dropout, 0, &mut mask);
    Tensor::from_vec(mask, like.dims(), like.device())?.to_dtype(like.dtype())
}

/// The mean over the first `lengths` tokens of each sequence, zeros for a length of 0:
/// x \[batch, tokens, dim\] → \[batch, dim\].
pub fn mean_valid_tokens(x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    if x.dtype() == DType::BF16 {
        return mean_valid_tokens(&x.to_dtype(DType::F32)?, lengths)?.to_dtype(DType::BF16);
    }
    let valid = valid_tokens(lengths, x.dim(1)?, x)?;
    let counts: Vec<f32> = lengths.iter().map(|l| (*l).max(1) as f32).collect();
    let counts = Tensor::from_vec(counts, (lengths.len(), 1), x.device())?.to_dtype(x.dtype())?;
    x.broadcast_mul(&valid)?.sum(1)?.broadcast_div(&counts)
}

/// The factors that dropout multiplies attention's weights by: \[batch, heads, queries, keys\], with the
/// type and device of `like`.
pub fn weights_mask(
    dropout: &Dropout,
    batch: usize,
    sizes: AttentionSizes,
    like: &Tensor,
) -> Result<Tensor> {
    let AttentionSizes { queries, keys, heads, .. } = sizes;
    let mut mask = vec![0f32; batch * heads * queries * keys];
    for (row, mask) in mask.chunks_exact_mut(keys).enumerate() {
        cpu::dropout::row_mask(dropout, (row / queries) as u32, row % queries, mask);
    }
    Tensor::from_vec(mask, (batch, heads, queries, keys), like.device())?.to_dtype(like.dtype())
}

/// Cross-entropy of each row, with label smoothing as PyTorch defines it:
/// `(1 − s)·(−log p_label) + s·mean_c(−log p_c)`.
/// logits \[batch, classes\], labels \[batch\] u32 → \[batch\].
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<Tensor> {
    let log_p = log_softmax(logits)?;
    let hit = log_p.gather(&labels.unsqueeze(1)?, 1)?.squeeze(1)?;
    if smoothing == 0.0 {
        return hit.neg();
    }
    let even = log_p.mean(1)?;
    (hit * (smoothing - 1.0))? - (even * smoothing)?
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::random::{Purpose, Stream};

    fn random(shape: &[usize], name: &str) -> Var {
        let mut stream = Stream::new(3, Purpose::Init, name);
        let count = shape.iter().product();
        // In float64, central differences have about ten digits.
        let values: Vec<f64> = (0..count).map(|_| stream.normal()).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Compares every derivative of `Σ f(inputs)·probe` with a central difference.
    fn check_gradient(inputs: &[&Var], f: impl Fn() -> Result<Tensor>) {
        let shape = f().unwrap().dims().to_vec();
        let probe = random(&shape, "probe").as_detached_tensor();
        let value = || (f().unwrap() * &probe).unwrap().sum_all().unwrap();
        let grads = value().backward().unwrap();
        let h = 1e-5;
        for (i, var) in inputs.iter().enumerate() {
            let got: Vec<f64> =
                grads.get(var.as_tensor()).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let start: Vec<f64> =
                var.as_detached_tensor().copy().unwrap().flatten_all().unwrap().to_vec1().unwrap();
            for (j, got) in got.iter().enumerate() {
                let at = |delta: f64| {
                    let mut moved = start.clone();
                    moved[j] += delta;
                    var.set(&Tensor::from_vec(moved, var.dims(), &Device::Cpu).unwrap()).unwrap();
                    value().to_scalar::<f64>().unwrap()
                };
                let want = (at(h) - at(-h)) / (2.0 * h);
                at(0.0);
                let error = (got - want).abs() / (1.0 + want.abs());
                assert!(error < 1e-7, "input {i}, element {j}: {got}, difference gives {want}");
            }
        }
    }

    #[test]
    fn layer_norm_value_and_gradient() {
        let (x, w, b) = (random(&[3, 7], "x"), random(&[7], "w"), random(&[7], "b"));
        check_gradient(&[&x, &w, &b], || layer_norm(&x, &w, &b, 1e-6));
        let one = Tensor::ones(7, x.dtype(), &Device::Cpu).unwrap();
        let y = layer_norm(&x, &one, &one.zeros_like().unwrap(), 0.0).unwrap();
        let square: Vec<f64> = y.sqr().unwrap().mean(1).unwrap().to_vec1().unwrap();
        assert!(square.iter().all(|v| (v - 1.0).abs() < 1e-9), "{square:?}");
    }

    #[test]
    fn self_attention_value_and_gradient() {
        let qkv = random(&[2, 3, 12], "qkv");
        check_gradient(&[&qkv], || self_attention(&qkv, 2, 3, &Mask::default(), None));

        // Compare with the definition, one head at a time.
        let got =
            self_attention(&qkv, 2, 3, &Mask::default(), None).unwrap().to_vec3::<f64>().unwrap();
        let v = qkv.to_vec3::<f64>().unwrap();
        for (b, row, head) in [(0, 0, 0), (1, 2, 1), (0, 1, 1)] {
            let slice = |t: usize, part: usize| &v[b][t][part * 4 + head * 2..][..2];
            let dot = |a: &[f64], c: &[f64]| a[0] * c[0] + a[1] * c[1];
            let e: Vec<f64> =
                (0..3).map(|t| (dot(slice(row, 0), slice(t, 1)) / 2f64.sqrt()).exp()).collect();
            let total: f64 = e.iter().sum();
            for i in 0..2 {
                let want: f64 = (0..3).map(|t| e[t] / total * slice(t, 2)[i]).sum();
                assert!((got[b][row][head * 2 + i] - want).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn softmax_of_large_inputs_is_finite() {
        let x = Tensor::new(&[[1e4f32, 0., -1e4]], &Device::Cpu).unwrap();
        assert_eq!(softmax(&x).unwrap().to_vec2::<f32>().unwrap(), [[1., 0., 0.]]);
        assert_eq!(log_softmax(&x).unwrap().to_vec2::<f32>().unwrap(), [[0., -1e4, -2e4]]);
    }

    #[test]
    fn cross_entropy_closed_forms_and_gradient() {
        let labels = Tensor::new(&[2u32, 0], &Device::Cpu).unwrap();
        // For equal logits the loss is log(classes), with any smoothing.
        let even = Tensor::zeros((2, 5), DType::F64, &Device::Cpu).unwrap();
        for smoothing in [0.0, 0.1] {
            let loss = cross_entropy(&even, &labels, smoothing).unwrap().to_vec1::<f64>().unwrap();
            assert!(loss.iter().all(|l| (l - 5f64.ln()).abs() < 1e-12));
        }
        let logits = random(&[2, 5], "logits");
        check_gradient(&[&logits], || cross_entropy(&logits, &labels, 0.1));
        check_gradient(&[&logits], || cross_entropy(&logits, &labels, 0.0));
    }

    #[test]
    fn gelu_value_and_gradient() {
        let x = random(&[16], "x");
        for form in [Gelu::Exact, Gelu::Tanh] {
            check_gradient(&[&x], || gelu(&x, form));
            let ends = Tensor::new(&[-40f64, 0., 40.], &Device::Cpu).unwrap();
            assert_eq!(gelu(&ends, form).unwrap().to_vec1::<f64>().unwrap(), [0., 0., 40.]);
        }
    }

    /// A query's result is the same as if only the tokens that it sees existed.
    #[test]
    fn masked_tokens_have_no_influence() {
        let qkv = random(&[2, 4, 6], "qkv");
        let mask = Mask { causal: true, lengths: Some(vec![4, 2]), ..Mask::default() };
        check_gradient(&[&qkv], || self_attention(&qkv, 1, 4, &mask, None));
        let masked = self_attention(&qkv, 1, 4, &mask, None).unwrap().to_vec3::<f64>().unwrap();
        for (sequence, query, seen) in [(0, 0, 1), (0, 3, 4), (1, 1, 2), (1, 3, 2)] {
            // Only the tokens that are seen, with the query's q at the first position.
            let tokens = qkv.narrow(0, sequence, 1).unwrap();
            let (q, kv) = (tokens.narrow(1, query, 1).unwrap(), tokens.narrow(1, 0, seen).unwrap());
            let q = q.narrow(2, 0, 2).unwrap().broadcast_as((1, seen, 2)).unwrap();
            let alone = Tensor::cat(&[&q, &kv.narrow(2, 2, 4).unwrap()], 2).unwrap();
            let want = self_attention(&alone, 1, 1, &Mask::default(), None).unwrap();
            let want = want.to_vec3::<f64>().unwrap();
            for (got, want) in masked[sequence][query].iter().zip(&want[0][0]) {
                assert!((got - want).abs() < 1e-12, "{sequence} {query}");
            }
        }
    }

    #[test]
    fn patches_order_patches_and_pixels_as_a_convolution() {
        // Pixel value = 100·channel + 10·row + column.
        let pixels: Vec<f32> = (0..2)
            .flat_map(|c| {
                (0..4).flat_map(move |y| (0..4).map(move |x| (100 * c + 10 * y + x) as f32))
            })
            .collect();
        let images = Tensor::from_vec(pixels, (1, 2, 4, 4), &Device::Cpu).unwrap();
        let patches = patches(&images, 2).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(patches[1], [2., 3., 12., 13., 102., 103., 112., 113.]);
        assert_eq!(patches[2], [20., 21., 30., 31., 120., 121., 130., 131.]);
    }
}
