//! The cost of a weight that is the sum of a matrix and low-rank products.
//!
//! Take x \[n, in\] and W = W₀ + Σ sᵢ BᵢᵀAᵢ. Each pass folds the products into the matrix, which
//! takes rank · in · out multiply–adds. That is little beside n · in · out if n is a batch of tokens.
//!
//! The factors' gradients are computed in one of two ways:
//!
//! - thin: dA = s (g Bᵀ)ᵀ x and dB = s (x Aᵀ)ᵀ g, which take 2 n · rank · (in + out);
//! - projected from the gradient of the whole matrix: n · in · out for that gradient and
//!   2 rank · in · out for the projection. If the matrix is trained too, its gradient is computed
//!   anyway.
//!
//! The cheaper way is the one that is expected to take less time. A multiply–add of a thin product usually
//! takes longer than one of a large product.

use crate::nn::thin_cost_in_tenths;

/// Which parts of a weight get a gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The matrix gets one.
    pub matrix_trained: bool,
    /// Sum of the ranks of the products that get none.
    pub constant_rank: usize,
    /// Sum of the ranks of the products that get one.
    pub trained_rank: usize,
}

/// Multiply–adds of matrix products. 128 bits, so that no valid model overflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MultiplyAdds {
    pub forward: u128,
    pub backward: u128,
}

impl std::ops::AddAssign for MultiplyAdds {
    fn add_assign(&mut self, other: MultiplyAdds) {
        self.forward += other.forward;
        self.backward += other.backward;
    }
}

/// Whether to project the factors' gradients for `rows` rows of input, and the work of the cheaper
/// way. The work includes the gradient of x.
pub fn cheapest(
    rows: usize,
    (output, input): (usize, usize),
    terms: Terms,
) -> (bool, MultiplyAdds) {
    let size = (output as u128, input as u128);
    let [thin, projected] =
        [false, true].map(|project| parameter_gradients(project, rows as u128, size, terms));
    let cost = thin_cost_in_tenths(terms.trained_rank);
    let project = terms.matrix_trained || 10 * projected < cost * thin;
    (project, work(if project { projected } else { thin }, rows as u128, size, terms))
}

/// The multiply–adds of the factors' gradients and of the whole matrix's gradient, if that is computed.
fn parameter_gradients(
    project: bool,
    n: u128,
    (output, input): (u128, u128),
    terms: Terms,
) -> u128 {
    let (full, thin) = (output * input, output + input);
    let rank = terms.trained_rank as u128;
    match terms.matrix_trained || (project && rank > 0) {
        true => n * full + 2 * rank * full,
        false => 2 * n * rank * thin,
    }
}

fn work(gradients: u128, n: u128, (output, input): (u128, u128), terms: Terms) -> MultiplyAdds {
    let full = output * input;
    let fold = (terms.constant_rank + terms.trained_rank) as u128 * full;
    MultiplyAdds { forward: fold + n * full, backward: fold + n * full + gradients }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layers of a ViT that trains on 64 images of 65 tokens.
    #[test]
    fn small_ranks_take_thin_products_and_large_ranks_project() {
        let projects = |rows, shape, matrix_trained, constant_rank, trained_rank| {
            cheapest(rows, shape, Terms { matrix_trained, constant_rank, trained_rank }).0
        };
        assert!(!projects(4160, (768, 192), false, 0, 8));
        assert!(!projects(4160, (768, 192), false, 0, 64));
        // By operations alone, rank 76 would be thin: 2 · 76 · (768 + 192) < (1 + 2 · 76 / 4160) · 768 · 192.
        assert!(projects(4160, (768, 192), false, 0, 76));
        assert!(projects(4160, (192, 192), false, 0, 64));
        // 1.4 · 2 · 12 · (64 + 64) > 64 · 64 > 1.1 · 2 · 12 · (64 + 64).
        assert!(projects(100_000, (64, 64), false, 0, 12));
        assert!(projects(4160, (768, 192), true, 0, 8));
        assert!(!projects(4160, (768, 192), false, 16, 8));
        assert!(!projects(4160, (768, 192), false, 8, 0));
    }

    /// Dense: three products of n · out · in. Detached: two such, four thin ones, and folding twice.
    #[test]
    fn work_in_closed_form() {
        let (n, shape) = (10, (6, 4));
        let dense = Terms { matrix_trained: true, ..Terms::default() };
        assert_eq!(cheapest(n, shape, dense).1, MultiplyAdds { forward: 240, backward: 480 });
        let detached = Terms { trained_rank: 1, ..Terms::default() };
        let want = MultiplyAdds { forward: 240 + 24, backward: 240 + 24 + 200 };
        assert_eq!(cheapest(n, shape, detached), (false, want));
        let constant = Terms { constant_rank: 3, ..Terms::default() };
        let want = MultiplyAdds { forward: 240 + 72, backward: 240 + 72 };
        assert_eq!(cheapest(n, shape, constant), (false, want));
    }
}
