//! The cheapest way to apply a weight that is a sum of a matrix and low-rank products.
//!
//! For x \[n, in\] and W = W₀ + Σ sᵢ BᵢᵀAᵢ, a product either stays factored, `(x Aᵢᵀ) Bᵢ`, which
//! costs n · rank · (in + out) multiply–adds, or is folded into the matrix first, which costs
//! rank · in · out whatever n is. Folding a trained product asks backward for the gradient of the
//! whole matrix, n · in · out, to project it onto the factors; a product that gets no gradient
//! asks for nothing.

/// Which products are folded into the matrix before it meets the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// None: `x W₀ᵀ + (x Aᵀ) B`.
    Factored,
    /// Those that get no gradient.
    Folded,
    /// All: `x Wᵀ`.
    Materialised,
}

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

/// The form that takes the fewest multiply–adds for `rows` rows of input, forward and backward
/// together, with what it takes; of equals the first of [`Form`].
pub fn cheapest(rows: usize, (output, input): (usize, usize), terms: Terms) -> (Form, Work) {
    let all = [Form::Factored, Form::Folded, Form::Materialised].map(|form| {
        let work = work(form, rows as u128, (output as u128, input as u128), terms);
        (form, work)
    });
    let [first, rest @ ..] = all;
    rest.into_iter().fold(first, |best, next| {
        let total = |(_, w): (Form, Work)| w.forward + w.backward;
        if total(next) < total(best) { next } else { best }
    })
}

fn work(form: Form, n: u128, (output, input): (u128, u128), terms: Terms) -> Work {
    let (full, thin) = (output * input, output + input);
    let (constant, trained) = (terms.constant_rank as u128, terms.trained_rank as u128);
    let (folded, factored) = match form {
        Form::Factored => (0, constant + trained),
        Form::Folded => (constant, trained),
        Form::Materialised => (constant + trained, 0),
    };
    let forward = folded * full + n * (full + factored * thin);
    // The gradient of x goes back through everything that x went through.
    let mut backward = n * (full + factored * thin);
    if form == Form::Materialised {
        let projected = trained > 0;
        backward += u128::from(terms.matrix_trained || projected) * n * full;
        backward += 2 * trained * full;
    } else {
        backward += u128::from(terms.matrix_trained) * n * full + n * trained * thin;
    }
    Work { forward, backward }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The forms that a ViT's layers get in training, 64 images of 65 tokens, and at which sizes
    /// they change.
    #[test]
    fn the_cheapest_form_of_known_cases() {
        let form = |rows, shape, matrix_trained, constant_rank, trained_rank| {
            cheapest(rows, shape, Terms { matrix_trained, constant_rank, trained_rank }).0
        };
        // Detached: small ranks stay factored, a rank near the width does not.
        assert_eq!(form(4160, (768, 192), false, 0, 8), Form::Factored);
        assert_eq!(form(4160, (768, 192), false, 0, 192), Form::Materialised);
        // The matrix's gradient is needed anyway: projecting it is nearly free.
        assert_eq!(form(4160, (768, 192), true, 0, 8), Form::Materialised);
        assert_eq!(form(16, (768, 192), true, 0, 8), Form::Factored);
        // A detached layer before: its own increments are folded.
        assert_eq!(form(4160, (768, 192), false, 16, 8), Form::Folded);
        // Without gradients everything is folded, unless the batch is tiny.
        assert_eq!(form(4160, (768, 192), false, 8, 0), Form::Folded);
        assert_eq!(form(8, (768, 192), false, 8, 0), Form::Factored);
        assert_eq!(form(4160, (768, 192), true, 0, 0), Form::Factored);
    }

    /// Dense: three products of n · out · in. Detached and factored: two, and five thin ones more
    /// for the pair.
    #[test]
    fn work_in_closed_form() {
        let (n, shape) = (10, (6, 4));
        let dense = Terms { matrix_trained: true, ..Terms::default() };
        assert_eq!(cheapest(n, shape, dense).1, Work { forward: 240, backward: 480 });
        let detached = Terms { trained_rank: 1, ..Terms::default() };
        let (form, work) = cheapest(n, shape, detached);
        assert_eq!((form, work), (Form::Factored, Work { forward: 340, backward: 440 }));
    }
}
