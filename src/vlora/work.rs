//! What a weight costs that is a matrix and low-rank products on it.
//!
//! For x \[n, in\] and W = W₀ + Σ sᵢ BᵢᵀAᵢ the products are folded into the matrix for the length
//! of a pass, rank · in · out multiply–adds: little beside n · in · out where n is a batch of
//! tokens, and no less than applying them factored where n is a few rows. The factors'
//! gradients either come from thin products, dA = s (g Bᵀ)ᵀ x and dB = s (x Aᵀ)ᵀ g, which take
//! 2 n · rank · (in + out), or are projected from the gradient of the whole matrix, n · in · out
//! and 2 rank · in · out. Where the matrix is trained too, its gradient is there in any case.

/// What of a weight gets a gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The matrix does.
    pub matrix_trained: bool,
    /// Ranks, added up, of the products that get none, and of those that do.
    pub constant_rank: usize,
    pub trained_rank: usize,
}

/// Multiply–adds of matrix products. Wide, so that no valid model overflows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    pub forward: u128,
    pub backward: u128,
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.forward += other.forward;
        self.backward += other.backward;
    }
}

/// Whether projecting is cheaper for `rows` rows of input, with the work of the cheaper way. The
/// gradient of x is taken to be asked for.
pub fn cheapest(rows: usize, (output, input): (usize, usize), terms: Terms) -> (bool, Work) {
    let work = |project| work(project, rows as u128, (output as u128, input as u128), terms);
    let (thin, projected) = (work(false), work(true));
    match terms.matrix_trained || projected.backward < thin.backward {
        true => (true, projected),
        false => (false, thin),
    }
}

fn work(project: bool, n: u128, (output, input): (u128, u128), terms: Terms) -> Work {
    let (full, thin) = (output * input, output + input);
    let (constant, trained) = (terms.constant_rank as u128, terms.trained_rank as u128);
    let fold = (constant + trained) * full;
    let dense = terms.matrix_trained || (project && trained > 0);
    let factors = if dense { 2 * trained * full } else { 2 * n * trained * thin };
    Work {
        forward: fold + n * full,
        backward: fold + n * full + u128::from(dense) * n * full + factors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layers of a ViT in training, 64 images of 65 tokens: small ranks take the thin way, and
    /// at which ranks that changes.
    #[test]
    fn the_cheapest_way_of_known_cases() {
        let projects = |rows, shape, matrix_trained, constant_rank, trained_rank| {
            cheapest(rows, shape, Terms { matrix_trained, constant_rank, trained_rank }).0
        };
        assert!(!projects(4160, (768, 192), false, 0, 8));
        assert!(!projects(4160, (768, 192), false, 0, 64));
        // 2 · 96 · (768 + 192) > 768 · 192.
        assert!(projects(4160, (768, 192), false, 0, 96));
        assert!(projects(4160, (192, 192), false, 0, 64));
        assert!(projects(4160, (768, 192), true, 0, 8));
        assert!(!projects(4160, (768, 192), false, 16, 8));
        assert!(!projects(4160, (768, 192), false, 8, 0));
    }

    /// Dense: three products of n · out · in. Detached: two, four thin ones, and folding twice.
    #[test]
    fn work_in_closed_form() {
        let (n, shape) = (10, (6, 4));
        let dense = Terms { matrix_trained: true, ..Terms::default() };
        assert_eq!(cheapest(n, shape, dense).1, Work { forward: 240, backward: 480 });
        let detached = Terms { trained_rank: 1, ..Terms::default() };
        let want = Work { forward: 240 + 24, backward: 240 + 24 + 200 };
        assert_eq!(cheapest(n, shape, detached), (false, want));
        let constant = Terms { constant_rank: 3, ..Terms::default() };
        let want = Work { forward: 240 + 72, backward: 240 + 72 };
        assert_eq!(cheapest(n, shape, constant), (false, want));
    }
}
