//! Multi-head self-attention (arXiv 1706.03762).

use candle_core::{Result, Tensor, bail};

use crate::nn::cuda::{self, CudaBackend};
use crate::nn::{Variable, composed, cpu};

/// What a token may attend to; by default every token of its sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Itself and those before it alone.
    pub causal: bool,
    /// Tokens of each sequence from the first on that are not padding, at least 1 each.
    pub lengths: Option<Vec<usize>>,
}

/// `softmax(q kᵀ / √d) v` a head, for the first `queries` tokens:
/// qkv \[batch, tokens, 3·heads·d\] in timm's order → \[batch, queries, heads·d\].
pub fn self_attention(
    qkv: &Variable,
    heads: usize,
    queries: usize,
    mask: &Mask,
) -> Result<Variable> {
    let (batch, tokens, width) = qkv.tensor().dims3()?;
    let parts = 3 * heads;
    if parts == 0 || width == 0 || width % parts != 0 || batch == 0 {
        bail!("self-attention: {:?} are not q, k and v of {heads} heads", qkv.dims());
    }
    if !(1..=tokens).contains(&queries) {
        bail!("self-attention: {queries} queries of {tokens} tokens");
    }
    let sound = |l: &Vec<usize>| l.len() == batch && l.iter().all(|l| (1..=tokens).contains(l));
    if !mask.lengths.as_ref().is_none_or(sound) {
        bail!("self-attention: {batch} lengths in 1..={tokens} expected, not {:?}", mask.lengths);
    }
    if let Some(backend) = CudaBackend::of(&[qkv.tensor()])
        && let Some(out) = cuda::self_attention(backend, qkv, heads, queries, mask)?
    {
        return Ok(out);
    }
    let mask = mask.clone();
    if !cpu::takes(&[qkv.tensor()]) {
        return Variable::composed(&[qkv], move |t| {
            composed::self_attention(&t[0], heads, queries, &mask)
        });
    }
    let d = width / parts;
    let Mask { causal, lengths } = mask;
    let attention = cpu::attention::Attention { tokens, heads, d, queries, causal, lengths };
    let (out, kept) = cpu::with_values([qkv.tensor()], |[values]| {
        Ok(attention.forward(values, qkv.is_tracked()))
    })?;
    let input: Tensor = qkv.tensor().clone();
    let out = cpu::tensor(out, (batch, queries, heads * d), &input)?;
    Ok(Variable::computed(out, &[qkv], move |g, sink| {
        let Some(kept) = &kept else { bail!("self-attention kept nothing for its backward pass") };
        let d_qkv =
            cpu::with_values([&input, g], |[values, g]| Ok(attention.backward(values, kept, g)))?;
        sink.add(0, cpu::tensor(d_qkv, input.shape(), &input)?)
    }))
}
