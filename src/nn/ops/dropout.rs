//! Dropout.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use crate::nn::backend::Backend;
use crate::nn::cuda;
use crate::nn::graph::Variable;
use crate::nn::mode::StepKey;
use crate::random::{Purpose, Stream};

/// Dropout (arXiv 1207.0580), scaled so that the mean stays: each value is set to zero with
/// probability `rate`, in \[0, 1), and divided by `1 − rate` otherwise.
///
/// Which values are dropped depends on `key`, `layer` and a value's position alone, so the
/// backward pass draws the mask again and nothing keeps it.
pub fn dropout(x: &Variable, rate: f64, key: StepKey, layer: &str) -> Result<Variable> {
    if let Backend::Cuda(backend) = Backend::of(&[x.tensor()]) {
        return cuda::dropout(backend, x, rate, key, layer);
    }
    let name = format!("{layer} {} {}", key.step, key.part);
    let stream = Stream::new(key.seed, Purpose::Dropout, &name);
    let dropped = dropped(x.tensor(), rate, &stream)?;
    Ok(Variable::computed(dropped, &[x], move |g, sink| {
        sink.add(0, self::dropped(g, rate, &stream)?)
    }))
}

/// Values drawn at once.
pub(super) const DRAWN: usize = 1 << 12;

fn dropped(x: &Tensor, rate: f64, stream: &Stream) -> Result<Tensor> {
    let below = (rate * (u64::from(u32::MAX) + 1) as f64) as u32;
    let kept = 1.0 / (1.0 - rate) as f32;
    let mut mask = vec![kept; x.elem_count()];
    mask.par_chunks_mut(DRAWN).enumerate().for_each(|(i, mask)| {
        let mut stream = stream.clone().from_number((i * DRAWN) as u64);
        for m in mask {
            if stream.next_u32() < below {
                *m = 0.0;
            }
        }
    });
    x * Tensor::from_vec(mask, x.dims(), x.device())?.to_dtype(x.dtype())?
}
