//! A weight matrix as a sum: a dense matrix and the increments added to it.

use candle_core::{Result, Tensor, bail};

use super::work::{Terms, cheapest};
use crate::nn::ops::{self, Epilogue, Weights};
use crate::nn::{LowRank, Variable};

/// What a layer adds to its reference weight.
#[derive(Clone, Debug)]
pub enum Delta {
    LowRank(LowRank),
    /// A matrix \[out, in\].
    Full(Variable),
}

/// A weight matrix \[out, in\]. A dense layer has one matrix and no products.
#[derive(Clone, Debug)]
pub struct Weight {
    /// The dense matrix, then the full increments. Never empty.
    matrices: Vec<Variable>,
    products: Vec<LowRank>,
}

impl Weight {
    pub fn dense(matrix: Variable) -> Weight {
        Weight { matrices: vec![matrix], products: Vec::new() }
    }

    /// The same weight. With `detach`, gradients of the result do not reach it.
    pub fn reference(&self, detach: bool) -> Weight {
        if !detach {
            return self.clone();
        }
        Weight {
            matrices: self.matrices.iter().map(Variable::detach).collect(),
            products: self.products.iter().map(LowRank::detach).collect(),
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

    /// `epilogue(x Wᵀ + bias)`, without `bias` if there is none: x \[…, in\] → \[…, out\]. The factors'
    /// gradients are computed in the way that [`cheapest`] expects to take less time.
    pub fn apply(
        &self,
        x: &Variable,
        bias: Option<&Variable>,
        epilogue: Epilogue,
    ) -> Result<Variable> {
        let (_, input) = self.sides()?;
        let rows = x.tensor().elem_count() / input.max(1);
        self.apply_as(self.projects(rows)?, x, bias, epilogue)
    }

    /// The same, but the caller chooses how the factors' gradients are computed.
    fn apply_as(
        &self,
        project: bool,
        x: &Variable,
        bias: Option<&Variable>,
        epilogue: Epilogue,
    ) -> Result<Variable> {
        let matrix = self.matrix()?;
        let w = Weights { matrix: &matrix, products: &self.products, project };
        ops::linear(x, w, bias, epilogue)
    }

    /// Whether the factors' gradients are projected from the whole matrix's gradient, for `rows` rows
    /// of input.
    fn projects(&self, rows: usize) -> Result<bool> {
        Ok(cheapest(rows, self.sides()?, self.terms()?).0)
    }

    /// (output, input).
    pub(super) fn sides(&self) -> Result<(usize, usize)> {
        match self.matrices.first() {
            Some(matrix) => matrix.tensor().dims2(),
            None => bail!("a weight without a matrix"),
        }
    }

    /// Which of the weight's parts get a gradient.
    pub(super) fn terms(&self) -> Result<Terms> {
        let rank = |tracked: bool| -> Result<usize> {
            let products = self.products.iter().filter(|p| p.requires_grad() == tracked);
            products.map(LowRank::rank).sum()
        };
        Ok(Terms {
            matrix_trained: self.matrices.iter().any(Variable::requires_grad),
            constant_rank: rank(false)?,
            trained_rank: rank(true)?,
        })
    }

    /// Whether the matrix is a sum, which is computed anew in each pass.
    pub(super) fn is_sum(&self) -> bool {
        self.matrices.len() > 1
    }

    /// Number of low-rank products on the matrix.
    pub(super) fn products(&self) -> usize {
        self.products.len()
    }

    /// The parameters of the weight.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Variable> {
        self.matrices.iter().chain(self.products.iter().flat_map(|pair| [&pair.a, &pair.b]))
    }

    /// The sum of the dense matrix and the full increments.
    fn matrix(&self) -> Result<Variable> {
        match self.matrices.as_slice() {
            [] => bail!("a weight without a matrix"),
            [only] => Ok(only.clone()),
            all => ops::sum(&all.iter().collect::<Vec<_>>()),
        }
    }

    /// The whole weight as one constant matrix \[out, in\].
    pub fn merged_matrix(&self) -> Result<Tensor> {
        let matrix = self.matrix()?.tensor().clone();
        self.products.iter().try_fold(matrix, |matrix, p| matrix + p.product()?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::nn::Init;
    use crate::random::{Purpose, Stream};

    fn leaf(shape: [usize; 2], name: &str) -> Variable {
        let values = Init::Normal { std: 1.0 }
            .values(shape[0] * shape[1], &mut Stream::new(1, Purpose::Init, name));
        Variable::leaf(Tensor::from_vec(values, &shape, &Device::Cpu).unwrap())
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
        dense: Variable,
        full: Option<Variable>,
        pairs: Vec<(Variable, Variable)>,
    }

    impl Case {
        fn new(output: usize, input: usize, ranks: &[usize], full: bool) -> Case {
            let pair = |(i, r): (usize, &usize)| {
                (leaf([*r, input], &format!("a{i}")), leaf([*r, output], &format!("b{i}")))
            };
            Case {
                dense: leaf([output, input], "w"),
                full: full.then(|| leaf([output, input], "full")),
                pairs: ranks.iter().enumerate().map(pair).collect(),
            }
        }

        fn leaves(&self) -> Vec<&Variable> {
            let pairs = self.pairs.iter().flat_map(|(a, b)| [a, b]);
            [&self.dense].into_iter().chain(&self.full).chain(pairs).collect()
        }

        /// Each delta is added to the sum of those before it, as with `reference: previous`.
        fn weight(&self, detach: bool) -> Weight {
            let mut weight = Weight::dense(self.dense.clone());
            if let Some(full) = &self.full {
                weight = weight.reference(detach).plus(Delta::Full(full.clone()));
            }
            for (i, (a, b)) in self.pairs.iter().enumerate() {
                let (a, b) = (a.clone(), b.clone());
                let scale = 0.7 + i as f64;
                weight = weight.reference(detach).plus(Delta::LowRank(LowRank { a, b, scale }));
            }
            weight
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        /// Thin and projected gradients agree, and the value is that of the sum written out.
        #[test]
        fn thin_and_projected_gradients_agree(
            (output, input, n) in (1..9usize, 1..9usize, 1..7usize),
            ranks in proptest::collection::vec(1..5usize, 0..4),
            full in any::<bool>(),
            detach in any::<bool>(),
        ) {
            let case = Case::new(output, input, &ranks, full);
            let x = leaf([n, input], "x");
            let weight = case.weight(detach);
            let bias = Tensor::ones(output, DType::F32, &Device::Cpu).unwrap();

            let mut sum = case.dense.tensor().clone();
            if let Some(full) = &case.full {
                sum = (sum + full.tensor()).unwrap();
            }
            for (i, (a, b)) in case.pairs.iter().enumerate() {
                let product = b.tensor().t().unwrap().matmul(a.tensor()).unwrap();
                sum = (sum + (product * (0.7 + i as f64)).unwrap()).unwrap();
            }
            close(&weight.merged_matrix().unwrap(), &sum);

            let constant = Variable::constant(bias.clone());
            let outcomes = [false, true].map(|project| {
                let y = weight.apply_as(project, &x, Some(&constant), Epilogue::None).unwrap();
                // GELU makes the gradient differ from row to row.
                let loss = ops::mean(&ops::gelu(&y, ops::Gelu::Exact).unwrap()).unwrap();
                (y, loss.backward((n * output) as f64).unwrap())
            });
            let [(want, want_grads), (y, grads)] = &outcomes;
            let whole = x.tensor().matmul(&sum.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
            close(want.tensor(), &whole);
            close(y.tensor(), &whole);
            for v in case.leaves().into_iter().chain([&x]) {
                match (grads.get(v), want_grads.get(v)) {
                    (Some(a), Some(b)) => close(a, b),
                    (None, None) => {}
                    _ => panic!("only one of the two has a gradient"),
                }
            }
            // With `detach` only the last delta gets a gradient, or the dense matrix if there is no delta.
            let reached = |v: &Variable| want_grads.get(v).is_some();
            let leaves = case.leaves();
            let deltas = ranks.len() + usize::from(full);
            prop_assert_eq!(reached(leaves[0]), !detach || deltas == 0);
            if let Some((a, b)) = case.pairs.last() {
                prop_assert!(reached(a) && reached(b));
            }
            if let [.., (a, _), _] = case.pairs.as_slice() {
                prop_assert_eq!(reached(a), !detach);
            }
        }
    }
}
