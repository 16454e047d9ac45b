//! Linear layers, dense or with low-rank products on their matrix.

use candle_core::{Result, Tensor, bail};

use super::expect;
use crate::nn::cuda::CudaBackend;
use crate::nn::graph::Sink;
use crate::nn::{LowRank, Variable, composed, cpu};

/// What follows x Wᵀ + b in a linear layer.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    None,
    Gelu,
    /// A value of the result's shape is added: the residual stream.
    Add(&'a Variable),
}

/// The weight of a linear layer: a matrix \[out, in\] and low-rank products on it.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    pub matrix: &'a Variable,
    pub products: &'a [LowRank],
    /// Factors' gradients come from the dense gradient, projected onto them, instead of from thin
    /// products with the input and the output's gradient.
    pub project: bool,
}

impl<'a> Weights<'a> {
    pub fn dense(matrix: &'a Variable) -> Weights<'a> {
        Weights { matrix, products: &[], project: false }
    }
}

/// `epilogue(x Wᵀ + b)` over the last axis, W = matrix + Σ products: x \[…, in\], b \[out\] →
/// \[…, out\].
///
/// The products are folded into the matrix for the length of the call, which is cheap beside the
/// product with x wherever x has many more rows than the products have ranks. Of a matrix that is not
/// tracked no dense gradient is computed, unless `project` asks for it.
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
        input,
        output,
        dims,
        bias: bias.is_some(),
        epilogue: match epilogue {
            Epilogue::None => Kind::Nothing,
            Epilogue::Gelu => Kind::Gelu,
            Epilogue::Add(_) => Kind::Add,
        },
        scales: w.products.iter().map(|p| p.scale).collect(),
        project: w.project,
    };
    let tensors: Vec<&Tensor> = inputs.iter().map(|v| v.tensor()).collect();
    if let Some(backend) = CudaBackend::of(&tensors) {
        return layer.on_gpu(backend, &inputs);
    }
    match cpu::takes(&tensors) {
        true => layer.on_cpu(&inputs),
        false => Variable::composed(&inputs, move |t| layer.composed(t)),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::nn) enum Kind {
    Nothing,
    Gelu,
    Add,
}

/// A linear layer as its inputs come: x, matrix, \[bias,\] \[what is added,\] a, b, a, b, ….
pub(in crate::nn) struct Linear {
    pub input: usize,
    pub output: usize,
    /// Of the result.
    pub dims: Vec<usize>,
    pub bias: bool,
    pub epilogue: Kind,
    pub scales: Vec<f64>,
    project: bool,
}

impl Linear {
    fn size(&self) -> cpu::linear::Size {
        cpu::linear::Size { input: self.input, output: self.output }
    }

    /// Where what is added stands among the inputs.
    pub fn added(&self) -> usize {
        2 + usize::from(self.bias)
    }

    /// Where the factors start.
    pub fn factors(&self) -> usize {
        self.added() + usize::from(self.epilogue == Kind::Add)
    }

    fn composed(&self, t: &[Tensor]) -> Result<Tensor> {
        let mut w = t[1].clone();
        for (pair, scale) in t[self.factors()..].chunks_exact(2).zip(&self.scales) {
            w = (w + (pair[1].t()?.matmul(&pair[0])? * *scale)?)?;
        }
        let x = t[0].reshape(((), self.input))?;
        let mut y = x.matmul(&w.t()?)?;
        if self.bias {
            y = y.broadcast_add(&t[2])?;
        }
        let y = y.reshape(self.dims.as_slice())?;
        match self.epilogue {
            Kind::Nothing => Ok(y),
            Kind::Gelu => composed::gelu(&y),
            Kind::Add => y + &t[self.added()],
        }
    }

    fn on_cpu(self, inputs: &[&Variable]) -> Result<Variable> {
        let tensors: Vec<Tensor> =
            inputs.iter().map(|v| v.tensor().contiguous()).collect::<Result<_>>()?;
        let all: Vec<&Tensor> = tensors.iter().collect();
        let tracked = inputs.iter().any(|v| v.is_tracked());
        let (y, derivative) = cpu::with_all(&all, |t| {
            let w = self.whole(t);
            let end = match self.epilogue {
                Kind::Nothing => cpu::linear::End::Nothing,
                Kind::Gelu => cpu::linear::End::Gelu { derivative: tracked },
                Kind::Add => cpu::linear::End::Add(t[self.added()]),
            };
            let bias = self.bias.then(|| t[2]);
            Ok(cpu::linear::forward(t[0], w.as_deref().unwrap_or(t[1]), bias, end, self.size()))
        })?;
        let y = cpu::tensor(y, self.dims.as_slice(), inputs[0].tensor())?;
        Ok(Variable::computed(y, inputs, move |g, sink| {
            self.way_back(tensors, derivative, g, sink)
        }))
    }

    /// The folded weight; None where there is nothing to fold.
    fn whole(&self, t: &[&[f32]]) -> Option<Vec<f32>> {
        let pairs: Vec<_> = (0..self.scales.len()).map(|i| self.pair(t, i)).collect();
        (!pairs.is_empty()).then(|| cpu::linear::fold(t[1], &pairs, self.size()))
    }

    fn pair<'a>(&self, t: &[&'a [f32]], i: usize) -> cpu::linear::Pair<'a> {
        let at = self.factors() + 2 * i;
        let (a, b) = (t[at], t[at + 1]);
        cpu::linear::Pair { a, b, rank: a.len() / self.input, scale: self.scales[i] as f32 }
    }

    fn way_back(
        self,
        tensors: Vec<Tensor>,
        derivative: Option<Vec<f32>>,
        g: &Tensor,
        sink: &mut Sink,
    ) -> Result<()> {
        if self.epilogue == Kind::Add {
            sink.add(self.added(), g.clone())?;
        }
        let factors = self.factors();
        let wanted: Vec<usize> = (0..self.scales.len())
            .filter(|i| sink.wants(factors + 2 * i) || sink.wants(factors + 2 * i + 1))
            .collect();
        let project = !wanted.is_empty() && (self.project || sink.wants(1));
        let like = &tensors[0];
        let so_far = sink.so_far(0);
        let all: Vec<&Tensor> = tensors.iter().chain([g]).chain(&so_far).collect();
        let gradients = cpu::with_all(&all, |t| {
            let (t, after) = t.split_at(tensors.len());
            let pairs: Vec<_> = wanted.iter().map(|i| self.pair(t, *i)).collect();
            let asked = cpu::linear::Asked {
                x: sink.wants(0),
                matrix: sink.wants(1) || project,
                bias: self.bias && sink.wants(2),
                pairs: if project { &[] } else { &pairs },
            };
            // The weight serves x's gradient alone.
            let w = if asked.x { self.whole(t) } else { None };
            let w = w.as_deref().unwrap_or(t[1]);
            let g = cpu::linear::Gradient { values: after[0], derivative };
            let sum = after.get(1).copied();
            let mut back = cpu::linear::backward(t[0], w, g, sum, asked, self.size());
            if let (true, Some(dense)) = (project, &back.matrix) {
                let projected = |p| cpu::linear::projected(dense, p, self.size());
                back.pairs = pairs.iter().map(projected).collect();
            }
            Ok(back)
        })?;
        if let Some(dx) = gradients.x {
            sink.put(0, cpu::tensor(dx, like.shape(), like)?);
        }
        if let Some(dw) = gradients.matrix.filter(|_| sink.wants(1)) {
            sink.add(1, cpu::tensor(dw, (self.output, self.input), like)?)?;
        }
        if let Some(db) = gradients.bias {
            sink.add(2, cpu::tensor(db, self.output, like)?)?;
        }
        for (i, (da, db)) in wanted.iter().zip(gradients.pairs) {
            let rank = da.len() / self.input;
            sink.add(factors + 2 * i, cpu::tensor(da, (rank, self.input), like)?)?;
            sink.add(factors + 2 * i + 1, cpu::tensor(db, (rank, self.output), like)?)?;
        }
        Ok(())
    }
}
