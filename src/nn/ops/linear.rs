//! Linear layers, dense or with low-rank products on their matrix.

use candle_core::{Result, Tensor, bail};

use super::checks::expect;
use crate::nn::backend::Backend;
use crate::nn::cpu::linear::{Gradient, Pair, Wanted};
use crate::nn::descriptors::{Epilogue, Linear, Size, Weights};
use crate::nn::graph::{Sink, Variable};
use crate::nn::{composed, cpu, cuda};

/// `epilogue(x Wᵀ + b)` over the last axis, W = matrix + Σ products: x \[…, in\], b \[out\] →
/// \[…, out\].
///
/// Each call folds the products into the matrix. That is cheap compared with the product with x, if x
/// has many more rows than the products have ranks. On the CPU the gradient of an untracked matrix is only
/// computed with `project`. A GPU chooses by itself which way is faster.
pub fn linear(
    x: &Variable,
    w: Weights,
    bias: Option<&Variable>,
    epilogue: Epilogue,
) -> Result<Variable> {
    let (output, input) = w.matrix.tensor().dims2()?;
    let mut dims = x.dims().to_vec();
    let Some(last) = dims.last_mut() else { bail!("linear: the input has no axis") };
    let fits = *last == input
        && x.tensor().elem_count() > 0
        && output > 0
        && bias.is_none_or(|b| b.dims() == [output])
        && w.products.iter().all(|p| match (p.a.dims(), p.b.dims()) {
            ([r, i], [s, o]) => r == s && *r > 0 && (*i, *o) == (input, output),
            _ => false,
        });
    *last = output;
    let fits = fits && !matches!(epilogue, Epilogue::Add(v) if v.dims() != dims);
    expect("linear", fits, &[x, w.matrix])?;
    let mut inputs = vec![x, w.matrix];
    inputs.extend(bias);
    if let Epilogue::Add(value) = epilogue {
        inputs.push(value);
    }
    inputs.extend(w.products.iter().flat_map(|p| [&p.a, &p.b]));
    let layer = Linear {
        size: Size { input, output },
        dims,
        bias: bias.is_some(),
        epilogue: epilogue.kind(),
        scales: w.products.iter().map(|p| p.scale).collect(),
        project: w.project,
    };
    let tensors: Vec<&Tensor> = inputs.iter().map(|v| v.tensor()).collect();
    match Backend::of(&tensors) {
        Backend::Cuda(backend) => cuda::linear(backend, layer, &inputs),
        Backend::Cpu => on_cpu(layer, &inputs),
        Backend::Composed => Variable::composed(&inputs, move |t| composed::linear(&layer, t)),
    }
}

fn on_cpu(layer: Linear, inputs: &[&Variable]) -> Result<Variable> {
    let tensors: Vec<Tensor> =
        inputs.iter().map(|v| v.tensor().contiguous()).collect::<Result<_>>()?;
    let all: Vec<&Tensor> = tensors.iter().collect();
    let tracked = inputs.iter().any(|v| v.requires_grad());
    let (y, derivative) = cpu::with_all(&all, |t| {
        let w = folded_weight(&layer, t);
        let epilogue = match layer.epilogue {
            Epilogue::None => Epilogue::None,
            Epilogue::Gelu(form) => Epilogue::Gelu(form),
            Epilogue::Add(()) => Epilogue::Add(t[layer.added()]),
        };
        let (w, bias) = (w.as_deref().unwrap_or(t[1]), layer.bias.then(|| t[2]));
        Ok(cpu::linear::forward(t[0], w, bias, epilogue, tracked, layer.size))
    })?;
    let y = cpu::tensor(y, layer.dims.as_slice(), inputs[0].tensor())?;
    Ok(Variable::computed(y, inputs, move |g, sink| backward(&layer, tensors, derivative, g, sink)))
}

/// The matrix plus its low-rank products; None if there are no products.
fn folded_weight(layer: &Linear, t: &[&[f32]]) -> Option<Vec<f32>> {
    let pairs: Vec<_> = (0..layer.scales.len()).map(|i| pair(layer, t, i)).collect();
    (!pairs.is_empty()).then(|| cpu::linear::fold(t[1], &pairs, layer.size))
}

fn pair<'a>(layer: &Linear, t: &[&'a [f32]], i: usize) -> Pair<'a> {
    let at = layer.factors() + 2 * i;
    let (a, b) = (t[at], t[at + 1]);
    Pair { a, b, rank: a.len() / layer.size.input, scale: layer.scales[i] as f32 }
}

fn backward(
    layer: &Linear,
    tensors: Vec<Tensor>,
    derivative: Option<Vec<f32>>,
    g: &Tensor,
    sink: &mut Sink,
) -> Result<()> {
    let Size { input, output } = layer.size;
    if layer.adds() {
        sink.add(layer.added(), g.clone())?;
    }
    let factors = layer.factors();
    let tracked: Vec<usize> = (0..layer.scales.len())
        .filter(|i| {
            sink.needs_input_grad(factors + 2 * i) || sink.needs_input_grad(factors + 2 * i + 1)
        })
        .collect();
    let project = !tracked.is_empty() && (layer.project || sink.needs_input_grad(1));
    let like = &tensors[0];
    let so_far = sink.take(0);
    let all: Vec<&Tensor> = tensors.iter().chain([g]).chain(&so_far).collect();
    let gradients = cpu::with_all(&all, |t| {
        let (t, after) = t.split_at(tensors.len());
        let pairs: Vec<_> = tracked.iter().map(|i| pair(layer, t, *i)).collect();
        let wanted = Wanted {
            x: sink.needs_input_grad(0),
            matrix: sink.needs_input_grad(1) || project,
            bias: layer.bias && sink.needs_input_grad(2),
            pairs: if project { &[] } else { &pairs },
        };
        // Only the gradient of x needs the weight.
        let w = if wanted.x { folded_weight(layer, t) } else { None };
        let w = w.as_deref().unwrap_or(t[1]);
        let g = Gradient { values: after[0], derivative };
        let sum = after.get(1).copied();
        let mut gradients = cpu::linear::backward(t[0], w, g, sum, wanted, layer.size);
        if let (true, Some(dense)) = (project, &gradients.matrix) {
            let projected = |p| cpu::linear::projected(dense, p, layer.size);
            gradients.pairs = pairs.iter().map(projected).collect();
        }
        Ok(gradients)
    })?;
    if let Some(dx) = gradients.x {
        sink.set(0, cpu::tensor(dx, like.shape(), like)?);
    }
    if let Some(dw) = gradients.matrix.filter(|_| sink.needs_input_grad(1)) {
        sink.add(1, cpu::tensor(dw, (output, input), like)?)?;
    }
    if let Some(db) = gradients.bias {
        sink.add(2, cpu::tensor(db, output, like)?)?;
    }
    for (i, (da, db)) in tracked.iter().zip(gradients.pairs) {
        let rank = da.len() / input;
        sink.add(factors + 2 * i, cpu::tensor(da, (rank, input), like)?)?;
        sink.add(factors + 2 * i + 1, cpu::tensor(db, (rank, output), like)?)?;
    }
    Ok(())
}
