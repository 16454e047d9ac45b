//! Multi-head attention (arXiv 1706.03762).

use candle_core::{Result, Tensor, bail};

use crate::nn::backend::Backend;
use crate::nn::descriptors::{AttentionSizes, Mask};
use crate::nn::graph::Variable;
use crate::nn::{composed, cpu, cuda};

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
    let d = width / parts;
    let mask = mask.clone();
    match Backend::of(&[qkv.tensor()]) {
        Backend::Cuda(backend) if cuda::takes_heads(d, qkv.tensor()) => {
            cuda::self_attention(backend, qkv, heads, queries, &mask)
        }
        Backend::Cpu => {
            let Mask { causal, lengths } = mask;
            on_cpu(qkv, AttentionSizes { tokens, heads, d, queries, causal, lengths })
        }
        Backend::Cuda(_) | Backend::Composed => Variable::composed(&[qkv], move |t| {
            composed::self_attention(&t[0], heads, queries, &mask)
        }),
    }
}

fn on_cpu(qkv: &Variable, attention: AttentionSizes) -> Result<Variable> {
    let input: Tensor = qkv.tensor().clone();
    let (batch, ..) = input.dims3()?;
    let (out, kept) =
        cpu::with_values([&input], |[values]| Ok(attention.forward(values, qkv.is_tracked())))?;
    let out = cpu::tensor(out, (batch, attention.queries, attention.heads * attention.d), &input)?;
    Ok(Variable::computed(out, &[qkv], move |g, sink| {
        let Some(kept) = &kept else { bail!("self-attention kept nothing for its backward pass") };
        let d_qkv =
            cpu::with_values([&input, g], |[values, g]| Ok(attention.backward(values, kept, g)))?;
        sink.add(0, cpu::tensor(d_qkv, input.shape(), &input)?)
    }))
}
