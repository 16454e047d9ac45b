//! The differentiable operations that models are made of.
//!
//! Each takes the fused path where there is one for its input and the composed path elsewhere.

use candle_core::{D, Result, Tensor};

pub use super::composed::cross_entropy;
use super::{Place, composed, cpu};
use crate::random::{Purpose, Stream};

/// `x Wᵀ + b` over the last axis: x \[…, in\], w \[out, in\], b \[out\] → \[…, out\].
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let output = w.dim(0)?;
    let b = match b {
        Some(b) => b.clone(),
        None => Tensor::zeros(output, x.dtype(), x.device())?,
    };
    over_rows(x, output, |x| match cpu::takes(x) {
        true => x.contiguous()?.apply_op3(w, &b, cpu::Linear),
        false => composed::linear(x, w, &b),
    })
}

/// `y + scale · (low b)` over the last axis: y \[…, out\], low \[…, rank\], b \[rank, out\].
pub fn add_product(y: &Tensor, low: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
    let (rank, output) = b.dims2()?;
    over_rows(y, output, |y| {
        if low.dim(D::Minus1)? != rank {
            candle_core::bail!(
                "add-product: {:?} and {:?} do not belong together",
                low.dims(),
                b.dims()
            );
        }
        let low = low.reshape(((), rank))?;
        match cpu::takes(y) {
            true => y.contiguous()?.apply_op3(&low.contiguous()?, b, cpu::AddProduct { scale }),
            false => composed::add_product(y, &low, b, scale),
        }
    })
}

/// Layer normalisation over the last axis (arXiv 1607.06450), biased variance:
/// `(x − mean) / √(var + eps) · weight + bias`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    over_rows(x, x.dim(D::Minus1)?, |x| match cpu::takes(x) {
        true => x.contiguous()?.apply_op3(weight, bias, cpu::LayerNorm { eps }),
        false => composed::layer_norm(x, weight, bias, eps),
    })
}

/// The exact GELU, `x Φ(x)` (arXiv 1606.08415).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    match cpu::takes(x) {
        true => x.contiguous()?.apply_op1(cpu::Gelu),
        false => x.gelu_erf(),
    }
}

/// Multi-head self-attention without mask: `softmax(q kᵀ / √d) v` a head.
/// qkv \[batch, tokens, 3·heads·d\] in timm's order → \[batch, tokens, heads·d\].
pub fn self_attention(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    match cpu::takes(qkv) {
        true => qkv.contiguous()?.apply_op1(cpu::Attention::new(heads, qkv.track_op())),
        false => composed::self_attention(qkv, heads),
    }
}

/// Dropout (arXiv 1207.0580), scaled so that the mean stays: each value is set to zero with
/// probability `rate`, in \[0, 1), and divided by `1 − rate` otherwise. The mask is drawn from the
/// stream of `place` and `layer`.
pub fn dropout(x: &Tensor, rate: f64, place: Place, layer: &str) -> Result<Tensor> {
    let name = format!("{layer} {} {}", place.step, place.part);
    let mut stream = Stream::new(place.seed, Purpose::Dropout, &name);
    let drop_below = (rate * (u64::from(u32::MAX) + 1) as f64) as u32;
    let kept = 1.0 / (1.0 - rate) as f32;
    let mask: Vec<f32> = (0..x.elem_count())
        .map(|_| if stream.next_u32() < drop_below { 0.0 } else { kept })
        .collect();
    x * Tensor::from_vec(mask, x.dims(), x.device())?.to_dtype(x.dtype())?
}

/// Applies `f` to x \[…, in\] as a matrix of rows and gives the leading axes back.
fn over_rows(
    x: &Tensor,
    output: usize,
    f: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    let y = f(&x.reshape(((), x.dim(D::Minus1)?))?)?;
    if let Some(last) = dims.last_mut() {
        *last = output;
    }
    y.reshape(dims)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::super::Init;
    use super::*;

    fn random(shape: &[usize], name: &str) -> Var {
        let mut stream = Stream::new(11, Purpose::Init, name);
        let values = Init::Normal { std: 1.0 }.values(shape.iter().product(), &mut stream);
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Holds a fused float32 operation to its composition in float64: value and every gradient.
    fn agree(shapes: &[&[usize]], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
        let single: Vec<Var> =
            shapes.iter().enumerate().map(|(i, s)| random(s, &format!("{i}"))).collect();
        let double: Vec<Var> = single
            .iter()
            .map(|v| {
                Var::from_tensor(&v.as_detached_tensor().to_dtype(DType::F64).unwrap()).unwrap()
            })
            .collect();
        let run = |vars: &[Var]| {
            let inputs: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
            let y = f(&inputs).unwrap();
            let probe = random(y.dims(), "probe").as_detached_tensor().to_dtype(y.dtype()).unwrap();
            let grads = (&y * probe).unwrap().sum_all().unwrap().backward().unwrap();
            let mut out = vec![y];
            out.extend(vars.iter().map(|v| grads.get(v.as_tensor()).unwrap().clone()));
            out
        };
        for (i, (got, want)) in run(&single).iter().zip(run(&double)).enumerate() {
            assert_eq!(got.dims(), want.dims());
            let values = |t: &Tensor| {
                t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap()
            };
            let (got, want) = (values(got), values(&want));
            let size = want.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
            for (g, w) in got.iter().zip(&want) {
                assert!((g - w).abs() < 3e-6 * size, "{shapes:?}, output {i}: {g} for {w}");
            }
        }
    }

    /// Awkward sizes too: one, primes, more rows than a block of sums.
    const ROWS: [usize; 5] = [1, 2, 7, 131, 300];
    const WIDTHS: [usize; 5] = [1, 3, 16, 37, 96];

    #[test]
    fn fused_linear_agrees() {
        for (n, input) in ROWS.into_iter().zip(WIDTHS) {
            for output in [1, 5, 32] {
                agree(&[&[n, input], &[output, input], &[output]], |t| {
                    linear(&t[0], &t[1], Some(&t[2]))
                });
                agree(&[&[2, n, input], &[output, input]], |t| linear(&t[0], &t[1], None));
            }
        }
    }

    #[test]
    fn fused_add_product_agrees() {
        for (n, output) in ROWS.into_iter().zip(WIDTHS) {
            for rank in [1, 4, 7] {
                agree(&[&[n, output], &[n, rank], &[rank, output]], |t| {
                    add_product(&t[0], &t[1], &t[2], 0.3)
                });
            }
        }
    }

    #[test]
    fn fused_layer_norm_agrees() {
        // A row of one or two values normalises to the same whatever they are: its gradient is
        // nothing but cancellation.
        for (n, width) in ROWS.into_iter().zip([5, 3, 16, 37, 96]) {
            agree(&[&[n, width], &[width], &[width]], |t| layer_norm(&t[0], &t[1], &t[2], 1e-6));
        }
    }

    #[test]
    fn fused_gelu_agrees() {
        // candle's own derivative has six-digit constants, so the oracle is written out.
        let exact = |x: &Tensor| {
            let phi = ((x / 2f64.sqrt())?.erf()? + 1.0)?;
            x * (phi * 0.5)?
        };
        for n in [1, 17, 20_000] {
            agree(&[&[n]], |t| match t[0].dtype() {
                DType::F32 => gelu(&t[0]),
                _ => exact(&t[0]),
            });
        }
    }

    #[test]
    fn fused_attention_agrees() {
        for (batch, tokens, heads, d) in [(1, 1, 1, 1), (2, 5, 3, 4), (3, 17, 4, 16), (1, 65, 2, 7)]
        {
            agree(&[&[batch, tokens, 3 * heads * d]], |t| self_attention(&t[0], heads));
        }
    }

    #[test]
    fn shapes_that_do_not_belong_together_are_refused() {
        let t = |shape: &[usize]| random(shape, "t").as_detached_tensor();
        let refused = |y: Result<Tensor>| {
            let error = y.unwrap_err().to_string();
            assert!(error.contains("belong together") || error.contains("are not q"), "{error}");
        };
        refused(linear(&t(&[4, 3]), &t(&[2, 5]), None));
        refused(linear(&t(&[4, 3]), &t(&[2, 3]), Some(&t(&[3]))));
        refused(add_product(&t(&[4, 6]), &t(&[4, 3]), &t(&[2, 6]), 1.0));
        refused(add_product(&t(&[4, 6]), &t(&[5, 2]), &t(&[2, 6]), 1.0));
        refused(add_product(&t(&[4, 6]), &t(&[4, 2]), &t(&[2, 5]), 1.0));
        refused(layer_norm(&t(&[4, 6]), &t(&[5]), &t(&[6]), 0.0));
        refused(self_attention(&t(&[1, 2, 10]), 2));
        refused(self_attention(&t(&[1, 2, 12]), 0));
    }

    #[test]
    fn a_detached_weight_gets_no_gradient() {
        let (x, w, b) = (random(&[4, 3], "x"), random(&[2, 3], "w"), random(&[2], "b"));
        let y = linear(x.as_tensor(), &w.as_detached_tensor(), Some(b.as_tensor())).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        assert!(grads.get(w.as_tensor()).is_none() && grads.get(x.as_tensor()).is_some());
    }
}
