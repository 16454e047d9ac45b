//! A linear layer whose weight is dense or an increment.

use candle_core::{Result, Tensor};

use crate::nn::ops;

/// A low-rank factor pair, `scale · bᵀ a` with a \[rank, in\] and b \[rank, out\].
#[derive(Clone, Debug)]
struct Factors {
    a: Tensor,
    b: Tensor,
    scale: f64,
}

/// A weight matrix \[out, in\]: a dense matrix plus any number of low-rank factor pairs.
/// A dense layer's weight has none.
#[derive(Clone, Debug)]
pub struct Weight {
    dense: Tensor,
    factors: Vec<Factors>,
}

impl Weight {
    pub fn dense(matrix: Tensor) -> Weight {
        Weight { dense: matrix, factors: Vec::new() }
    }

    /// This weight plus `scale · bᵀ a`. With `detach` no gradient reaches this weight through
    /// the sum.
    pub fn plus(&self, a: Tensor, b: Tensor, scale: f64, detach: bool) -> Weight {
        let stop = |t: &Tensor| if detach { t.detach() } else { t.clone() };
        let mut factors: Vec<Factors> = self
            .factors
            .iter()
            .map(|f| Factors { a: stop(&f.a), b: stop(&f.b), scale: f.scale })
            .collect();
        factors.push(Factors { a, b, scale });
        Weight { dense: stop(&self.dense), factors }
    }

    /// `x Wᵀ + bias`, factored: `x W₀ᵀ + bias + Σ scale · (x aᵀ) b`. x \[…, in\] → \[…, out\].
    pub fn apply(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let mut y = ops::linear(x, &self.dense, Some(bias))?;
        for f in &self.factors {
            y = ops::add_product(&y, &ops::linear(x, &f.a, None)?, &f.b, f.scale)?;
        }
        Ok(y)
    }

    /// The matrix itself, \[out, in\].
    pub fn materialise(&self) -> Result<Tensor> {
        self.factors
            .iter()
            .try_fold(self.dense.clone(), |w, f| w + (f.b.t()?.matmul(&f.a)? * f.scale)?)
    }
}

/// `x Wᵀ + bias`.
#[derive(Clone, Debug)]
pub struct Linear {
    pub weight: Weight,
    pub bias: Tensor,
}

impl Linear {
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.weight.apply(x, &self.bias)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::nn::Init;
    use crate::random::{Purpose, Stream};

    fn var(shape: [usize; 2], name: &str) -> Var {
        let values = Init::Normal { std: 1.0 }
            .values(shape[0] * shape[1], &mut Stream::new(1, Purpose::Init, name));
        Var::from_vec(values, &shape, &Device::Cpu).unwrap()
    }

    fn close(a: &Tensor, b: &Tensor) {
        let a = a.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let b = b.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let size = b.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
        for (x, y) in a.iter().zip(&b) {
            assert!((x - y).abs() <= 1e-5 * size, "{x} and {y}");
        }
    }

    struct Case {
        w: Var,
        pairs: Vec<(Var, Var)>,
    }

    fn case(output: usize, input: usize, ranks: &[usize]) -> Case {
        let pair = |(i, r): (usize, &usize)| {
            (var([*r, input], &format!("a{i}")), var([*r, output], &format!("b{i}")))
        };
        Case { w: var([output, input], "w"), pairs: ranks.iter().enumerate().map(pair).collect() }
    }

    fn build(case: &Case, detach: bool) -> Weight {
        case.pairs.iter().fold(Weight::dense(case.w.as_tensor().clone()), |w, (a, b)| {
            w.plus(a.as_tensor().clone(), b.as_tensor().clone(), 0.7, detach)
        })
    }

    /// Factored and materialised application agree in value and in every gradient.
    #[test]
    fn factored_equals_materialised() {
        for (output, input, ranks) in [
            (5, 7, vec![2]),
            (7, 5, vec![1, 3]),
            (4, 4, vec![4, 1, 2]),
            (1, 1, vec![1]),
            (3, 2, vec![]),
        ] {
            for detach in [true, false] {
                let case = case(output, input, &ranks);
                let x = var([6, input], "x");
                let weight = build(&case, detach);
                let bias = Tensor::ones(output, x.dtype(), x.device()).unwrap();
                let factored = weight.apply(x.as_tensor(), &bias).unwrap();
                let whole = ops::linear(x.as_tensor(), &weight.materialise().unwrap(), Some(&bias))
                    .unwrap();
                close(&factored, &whole);
                let (f, m) = (
                    factored.sqr().unwrap().sum_all().unwrap(),
                    whole.sqr().unwrap().sum_all().unwrap(),
                );
                let (f, m) = (f.backward().unwrap(), m.backward().unwrap());
                let leaves = case.pairs.iter().flat_map(|(a, b)| [a, b]).chain([&case.w, &x]);
                for leaf in leaves {
                    match (f.get(leaf.as_tensor()), m.get(leaf.as_tensor())) {
                        (Some(a), Some(b)) => close(a, b),
                        (a, b) => assert_eq!(a.is_some(), b.is_some()),
                    }
                }
            }
        }
    }

    /// A detached chain reaches its last pair only; an open one reaches every part.
    #[test]
    fn detach_stops_the_gradient_at_the_reference() {
        let case = case(4, 3, &[2, 2]);
        let x = var([5, 3], "x");
        for detach in [true, false] {
            let bias = Tensor::zeros(4, x.dtype(), x.device()).unwrap();
            let loss = build(&case, detach).apply(x.as_tensor(), &bias).unwrap().sqr().unwrap();
            let grads = loss.sum_all().unwrap().backward().unwrap();
            let reached = |v: &Var| grads.get(v.as_tensor()).is_some();
            assert_eq!(reached(&case.w), !detach);
            assert_eq!(reached(&case.pairs[0].0), !detach);
            assert_eq!(reached(&case.pairs[0].1), !detach);
            assert!(reached(&case.pairs[1].0) && reached(&case.pairs[1].1) && reached(&x));
        }
    }
}
