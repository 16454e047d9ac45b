//! Multi-head attention (arXiv 1706.03762).

use candle_core::{Result, Tensor, bail};

use crate::nn::backend::Backend;
use crate::nn::cpu::attention::{Attention, Rows};
use crate::nn::descriptors::{AttentionSizes, Dropout, Mask};
use crate::nn::graph::Variable;
use crate::nn::{composed, cpu, cuda};

/// Self-attention of the first `queries` tokens, `dropout(softmax(q kᵀ / √d)) v` per head: qkv \[batch,
/// tokens, 3·heads·d\], for each token all of q, then of k, then of v, each \[heads, d\], as timm packs
/// them → \[batch, queries, heads·d\].
pub fn self_attention(
    qkv: &Variable,
    heads: usize,
    queries: usize,
    mask: &Mask,
    dropout: Option<&Dropout>,
) -> Result<Variable> {
    let (batch, tokens, width) = qkv.tensor().dims3()?;
    let parts = 3 * heads;
    if parts == 0 || width == 0 || width % parts != 0 || batch == 0 {
        bail!("self-attention: {:?} are not q, k and v of {heads} heads", qkv.dims());
    }
    if !(1..=tokens).contains(&queries) {
        bail!("self-attention: {queries} queries of {tokens} tokens");
    }
    check_lengths("self-attention", mask, batch, tokens)?;
    let sizes = AttentionSizes { queries, keys: tokens, heads, d: width / parts };
    let (mask, dropout) = (mask.clone(), dropout.cloned());
    match Backend::of(&[qkv.tensor()]) {
        Backend::Cuda(backend) if cuda_takes(sizes, &mask, qkv.tensor()) => {
            let out = cuda::self_attention(backend, qkv, heads, queries, &mask, dropout)?;
            without_padded_queries(&out, &mask)
        }
        Backend::Cpu => packed_on_cpu(qkv, Attention { batch, sizes, mask, dropout }),
        Backend::Cuda(_) | Backend::Composed => {
            let dropped = dropout.map(|d| composed::weights_mask(&d, batch, sizes, qkv.tensor()));
            let dropped = dropped.transpose()?;
            Variable::composed(&[qkv], move |t| {
                composed::self_attention(&t[0], heads, queries, &mask, dropped.as_ref())
            })
        }
    }
}

/// Attention, `dropout(softmax(q kᵀ / √d)) v` per head: queries \[batch, queries, heads·d\], keys and
/// values \[batch, keys, heads·d\] → \[batch, queries, heads·d\]. The mask's lengths are those of the
/// keys. Masks have the same meaning as in PyTorch's `scaled_dot_product_attention`.
///
/// The CPU has a kernel. On a GPU, self-attention copies queries, keys and values into one tensor and uses
/// the kernel for that. Everything else is composed there.
pub fn attention(
    [q, k, v]: [&Variable; 3],
    heads: usize,
    mask: &Mask,
    dropout: Option<&Dropout>,
) -> Result<Variable> {
    let ((batch, queries, width), (_, keys, _)) = (q.tensor().dims3()?, k.tensor().dims3()?);
    let fits = heads > 0
        && width > 0
        && width % heads == 0
        && batch * queries * keys > 0
        && k.dims() == [batch, keys, width]
        && v.dims() == k.dims();
    if !fits {
        let [q, k, v] = [q, k, v].map(Variable::dims);
        bail!("attention: {q:?}, {k:?} and {v:?} are not q, k and v of {heads} heads");
    }
    check_lengths("attention", mask, batch, keys)?;
    if mask.skip_padded_queries && queries != keys {
        bail!("attention: {queries} queries of {keys} keys are not those of self-attention");
    }
    let sizes = AttentionSizes { queries, keys, heads, d: width / heads };
    let (mask, dropout) = (mask.clone(), dropout.cloned());
    match Backend::of(&[q, k, v].map(Variable::tensor)) {
        Backend::Cuda(backend) if queries == keys && cuda_takes(sizes, &mask, q.tensor()) => {
            let qkv = packed([q, k, v])?;
            let out = cuda::self_attention(backend, &qkv, heads, queries, &mask, dropout)?;
            without_padded_queries(&out, &mask)
        }
        Backend::Cpu => on_cpu([q, k, v], Attention { batch, sizes, mask, dropout }),
        Backend::Cuda(_) | Backend::Composed => {
            let dropped = dropout.map(|d| composed::weights_mask(&d, batch, sizes, q.tensor()));
            let dropped = dropped.transpose()?;
            Variable::composed(&[q, k, v], move |t| {
                composed::attention(&t[0], &t[1], &t[2], heads, &mask, dropped.as_ref())
            })
        }
    }
}

fn check_lengths(operation: &str, mask: &Mask, batch: usize, keys: usize) -> Result<()> {
    match &mask.lengths {
        Some(lengths) if lengths.len() != batch || lengths.iter().any(|l| *l > keys) => {
            bail!("{operation}: {batch} lengths up to {keys} expected, not {lengths:?}")
        }
        None if mask.skip_padded_queries => {
            bail!("{operation}: padded queries are skipped by lengths, and there are none")
        }
        _ => Ok(()),
    }
}

/// The GPU's kernel divides by the sum of the weights, so each query needs at least one key.
fn cuda_takes(sizes: AttentionSizes, mask: &Mask, tensor: &Tensor) -> bool {
    cuda::takes_heads(sizes.d, tensor) && !mask.has_empty() && mask.past == 0
}

fn packed_on_cpu(qkv: &Variable, attention: Attention) -> Result<Variable> {
    let input: Tensor = qkv.tensor().clone();
    let AttentionSizes { queries, keys, .. } = attention.sizes;
    let width = attention.sizes.width();
    let (out, saved) = cpu::with_values([&input], |[qkv_values]| {
        Ok(attention.forward(Rows::packed(qkv_values, keys, width), qkv.requires_grad()))
    })?;
    let out = cpu::tensor(out, (attention.batch, queries, width), &input)?;
    Ok(Variable::computed(out, &[qkv], move |g, sink| {
        let Some(saved) = &saved else {
            bail!("self-attention saved nothing for its backward pass")
        };
        let d_qkv = cpu::with_values([&input, g], |[qkv, g]| {
            Ok(attention.packed_gradient(Rows::packed(qkv, keys, width), saved, g))
        })?;
        sink.add(0, cpu::tensor(d_qkv, input.shape(), &input)?)
    }))
}

fn on_cpu(qkv: [&Variable; 3], attention: Attention) -> Result<Variable> {
    let dims = (attention.batch, attention.sizes.queries, attention.sizes.width());
    let inputs: [Tensor; 3] = qkv.map(|v| v.tensor().clone());
    let [q, k, v] = &inputs;
    let tracked = qkv.iter().any(|v| v.requires_grad());
    let (out, saved) = cpu::with_values([q, k, v], |[q, k, v]| {
        Ok(attention.forward(separate_rows(&attention, [q, k, v]), tracked))
    })?;
    let out = cpu::tensor(out, dims, q)?;
    Ok(Variable::computed(out, &qkv, move |g, sink| {
        let Some(saved) = &saved else { bail!("attention saved nothing for its backward pass") };
        let [q, k, v] = &inputs;
        let gradients = cpu::with_values([q, k, v, g], |[q, k, v, g]| {
            Ok(attention.gradients(separate_rows(&attention, [q, k, v]), saved, g))
        })?;
        for (i, (gradient, input)) in gradients.into_iter().zip(&inputs).enumerate() {
            sink.add(i, cpu::tensor(gradient, input.shape(), input)?)?;
        }
        Ok(())
    }))
}

fn separate_rows<'a>(attention: &Attention, [q, k, v]: [&'a [f32]; 3]) -> [Rows<'a>; 3] {
    let AttentionSizes { queries, keys, .. } = attention.sizes;
    let width = attention.sizes.width();
    [
        Rows::separate(q, queries, width),
        Rows::separate(k, keys, width),
        Rows::separate(v, keys, width),
    ]
}

/// Concatenates queries, keys and values: three tensors \[batch, tokens, width\] → \[batch, tokens,
/// 3·width\].
fn packed(qkv: [&Variable; 3]) -> Result<Variable> {
    let width = qkv[0].tensor().dim(2)?;
    let all = Tensor::cat(&qkv.map(Variable::tensor), 2)?;
    Ok(Variable::computed(all, &qkv, move |g, sink| {
        (0..3).try_for_each(|i| sink.add(i, g.narrow(2, i * width, width)?.contiguous()?))
    }))
}

/// Sets the results of padded queries to zero, if the mask skips them.
fn without_padded_queries(out: &Variable, mask: &Mask) -> Result<Variable> {
    let (Some(lengths), true) = (&mask.lengths, mask.skip_padded_queries) else {
        return Ok(out.clone());
    };
    let (_, queries, _) = out.tensor().dims3()?;
    let valid = composed::valid_tokens(lengths, queries, out.tensor())?;
    let zeroed = out.tensor().broadcast_mul(&valid)?;
    Ok(Variable::computed(zeroed, &[out], move |g, sink| sink.add(0, g.broadcast_mul(&valid)?)))
}
