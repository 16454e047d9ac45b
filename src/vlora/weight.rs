//! A weight matrix as a sum: a dense matrix, increments on it, increments on those.

use candle_core::{Result, Tensor};

use super::form::{Form, Terms, cheapest};
use crate::nn::ops;

/// `scale · bᵀ a` with a \[rank, in\] and b \[rank, out\].
#[derive(Clone, Debug)]
pub struct LowRank {
    pub a: Tensor,
    pub b: Tensor,
    pub scale: f64,
}

impl LowRank {
    /// Either factor gets a gradient.
    fn trained(&self) -> bool {
        self.a.track_op() || self.b.track_op()
    }

    fn rank(&self) -> Result<usize> {
        self.a.dim(0)
    }

    /// Several products as one: the factors on top of each other, the scales within B.
    fn joined(pairs: &[&LowRank]) -> Result<Option<LowRank>> {
        match pairs {
            [] => Ok(None),
            [only] => Ok(Some((*only).clone())),
            _ => {
                let a: Vec<&Tensor> = pairs.iter().map(|p| &p.a).collect();
                let b = pairs.iter().map(|p| &p.b * p.scale).collect::<Result<Vec<_>>>()?;
                Ok(Some(LowRank { a: Tensor::cat(&a, 0)?, b: Tensor::cat(&b, 0)?, scale: 1.0 }))
            }
        }
    }

    /// The matrix, \[out, in\].
    pub fn product(&self) -> Result<Tensor> {
        (&self.b * self.scale)?.t()?.matmul(&self.a)
    }
}

/// What a layer adds to its reference weight.
#[derive(Clone, Debug)]
pub enum Delta {
    LowRank(LowRank),
    /// A matrix \[out, in\].
    Full(Tensor),
}

/// A weight matrix \[out, in\]. A dense layer's is one matrix and no products.
#[derive(Clone, Debug)]
pub struct Weight {
    /// The dense matrix first, then full increments; never empty.
    matrices: Vec<Tensor>,
    products: Vec<LowRank>,
}

impl Weight {
    pub fn dense(matrix: Tensor) -> Weight {
        Weight { matrices: vec![matrix], products: Vec::new() }
    }

    /// The same weight; with `detach` no gradient reaches it from here on.
    pub fn reference(&self, detach: bool) -> Weight {
        if !detach {
            return self.clone();
        }
        let products = self.products.iter();
        let stopped = |p: &LowRank| LowRank { a: p.a.detach(), b: p.b.detach(), scale: p.scale };
        Weight {
            matrices: self.matrices.iter().map(Tensor::detach).collect(),
            products: products.map(stopped).collect(),
        }
    }

    /// This weight plus `delta`.
    pub fn plus(mut self, delta: Delta) -> Weight {
        match delta {
            Delta::LowRank(product) => self.products.push(product),
            Delta::Full(matrix) => self.matrices.push(matrix),
        }
        self
    }

    /// `x Wᵀ + bias` in the form that is cheapest by FLOPs. x \[…, in\] → \[…, out\].
    pub fn apply(&self, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (_, input) = self.matrices[0].dims2()?;
        let rows = x.elem_count() / input.max(1);
        self.apply_as(self.form(rows)?, x, bias)
    }

    /// The same in a form of the caller's choice.
    pub fn apply_as(&self, form: Form, x: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let folds = |p: &&LowRank| match form {
            Form::Factored => false,
            Form::Folded => !p.trained(),
            Form::Materialised => true,
        };
        let (folded, factored): (Vec<_>, Vec<_>) = self.products.iter().partition(folds);
        let y = ops::linear(x, &self.sum(&folded)?, Some(bias))?;
        joined_by_gradient(&factored)?
            .into_iter()
            .try_fold(y, |y, p| ops::add_product(&y, &ops::linear(x, &p.a, None)?, &p.b, p.scale))
    }

    /// The form that is cheapest for `rows` rows of input.
    pub fn form(&self, rows: usize) -> Result<Form> {
        let rank = |trained: bool| -> Result<usize> {
            let products = self.products.iter().filter(|p| p.trained() == trained);
            products.map(LowRank::rank).sum()
        };
        let terms = Terms {
            matrix_trained: self.matrices.iter().any(Tensor::track_op),
            constant_rank: rank(false)?,
            trained_rank: rank(true)?,
        };
        Ok(cheapest(rows, self.matrices[0].dims2()?, terms).0)
    }

    /// The matrix itself, \[out, in\].
    pub fn materialise(&self) -> Result<Tensor> {
        self.sum(&self.products.iter().collect::<Vec<_>>())
    }

    /// All matrices and these products, added up.
    fn sum(&self, products: &[&LowRank]) -> Result<Tensor> {
        let [first, rest @ ..] = self.matrices.as_slice() else {
            candle_core::bail!("a weight without a matrix");
        };
        let matrix = rest.iter().try_fold(first.clone(), |sum, matrix| sum + matrix)?;
        let joined = joined_by_gradient(products)?;
        joined.into_iter().try_fold(matrix, |matrix, p| matrix + p.product()?)
    }
}

/// Products as at most two: those without a gradient and those with one. Joined together, the
/// former would get gradients that nobody asks for.
fn joined_by_gradient(products: &[&LowRank]) -> Result<Vec<LowRank>> {
    let (trained, constant): (Vec<&LowRank>, Vec<&LowRank>) =
        products.iter().copied().partition(|p| p.trained());
    let joined = [LowRank::joined(&constant)?, LowRank::joined(&trained)?];
    Ok(joined.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};
    use proptest::prelude::*;

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
        dense: Var,
        full: Option<Var>,
        pairs: Vec<(Var, Var)>,
    }

    impl Case {
        fn new(output: usize, input: usize, ranks: &[usize], full: bool) -> Case {
            let pair = |(i, r): (usize, &usize)| {
                (var([*r, input], &format!("a{i}")), var([*r, output], &format!("b{i}")))
            };
            Case {
                dense: var([output, input], "w"),
                full: full.then(|| var([output, input], "full")),
                pairs: ranks.iter().enumerate().map(pair).collect(),
            }
        }

        fn vars(&self) -> Vec<&Var> {
            let pairs = self.pairs.iter().flat_map(|(a, b)| [a, b]);
            [&self.dense].into_iter().chain(&self.full).chain(pairs).collect()
        }

        /// Every delta added to the sum of those before, as `previous` has it.
        fn weight(&self, detach: bool) -> Weight {
            let mut weight = Weight::dense(self.dense.as_tensor().clone());
            if let Some(full) = &self.full {
                weight = weight.reference(detach).plus(Delta::Full(full.as_tensor().clone()));
            }
            for (i, (a, b)) in self.pairs.iter().enumerate() {
                let (a, b) = (a.as_tensor().clone(), b.as_tensor().clone());
                let scale = 0.7 + i as f64;
                weight = weight.reference(detach).plus(Delta::LowRank(LowRank { a, b, scale }));
            }
            weight
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        /// All forms agree in value and in every gradient, and the matrix is the written-out sum.
        #[test]
        fn every_form_computes_the_same(
            (output, input, n) in (1..9usize, 1..9usize, 1..7usize),
            ranks in proptest::collection::vec(1..5usize, 0..4),
            full in any::<bool>(),
            detach in any::<bool>(),
        ) {
            let case = Case::new(output, input, &ranks, full);
            let x = var([n, input], "x");
            let weight = case.weight(detach);
            let bias = Tensor::ones(output, DType::F32, &Device::Cpu).unwrap();

            let mut sum = case.dense.as_tensor().clone();
            if let Some(full) = &case.full {
                sum = (sum + full.as_tensor()).unwrap();
            }
            for (i, (a, b)) in case.pairs.iter().enumerate() {
                let product = b.t().unwrap().matmul(a.as_tensor()).unwrap();
                sum = (sum + (product * (0.7 + i as f64)).unwrap()).unwrap();
            }
            close(&weight.materialise().unwrap(), &sum);

            let forms = [Form::Factored, Form::Folded, Form::Materialised];
            let outcomes = forms.map(|form| {
                let y = weight.apply_as(form, x.as_tensor(), &bias).unwrap();
                let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                (y, grads)
            });
            let [(want, want_grads), rest @ ..] = &outcomes;
            let whole = x.matmul(&sum.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
            close(want, &whole);
            for (y, grads) in rest {
                close(y, want);
                for v in case.vars().into_iter().chain([&x]) {
                    match (grads.get(v.as_tensor()), want_grads.get(v.as_tensor())) {
                        (Some(a), Some(b)) => close(a, b),
                        (None, None) => {}
                        _ => panic!("a gradient in one form only"),
                    }
                }
            }
            // With `detach` only the last delta is reached, and the dense matrix if it is alone.
            let reached = |v: &Var| want_grads.get(v.as_tensor()).is_some();
            let vars = case.vars();
            let deltas = ranks.len() + usize::from(full);
            prop_assert_eq!(reached(vars[0]), !detach || deltas == 0);
            if let Some((a, b)) = case.pairs.last() {
                prop_assert!(reached(a) && reached(b));
            }
            if let [.., (a, _), _] = case.pairs.as_slice() {
                prop_assert_eq!(reached(a), !detach);
            }
        }
    }
}
