//! Measures of singular values: of one matrix, and of the difference between two layers.
//!
//! The energy of a matrix is ‖·‖² = Σ s_k². Its first r singular values keep the share
//! Σ_{k < r} s_k² / Σ s_k² of it.

use serde::{Deserialize, Serialize};

/// Ranks for which the kept energy is reported.
pub const RANKS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Shares of the energy for which the smallest sufficient rank is reported.
pub const SHARES: [f64; 3] = [0.5, 0.9, 0.99];

/// The spectra of a weight W that adds to a reference, and of the difference D = W − W_ref.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerSpectrum {
    pub layer: usize,
    pub reference_layer: usize,
    pub target: String,
    /// \[out, in\].
    pub shape: (usize, usize),
    /// Singular values, descending, of D and of W.
    pub difference: Vec<f64>,
    pub weight: Vec<f64>,
    /// ‖W_ref‖.
    pub reference_norm: f64,
}

impl LayerSpectrum {
    /// Whether there are singular values, and all of them can be some.
    pub fn is_sound(&self) -> bool {
        let sound = |values: &[f64]| values.iter().all(|v| v.is_finite() && *v >= 0.0);
        !self.difference.is_empty() && sound(&self.difference) && sound(&self.weight)
    }

    /// ‖D‖ / ‖W‖; 0 where both are zero.
    pub fn relative_norm(&self) -> f64 {
        ratio(norm(&self.difference), norm(&self.weight))
    }

    /// ‖D‖ / ‖W‖ if W and W_ref were orthogonal: √(‖W‖² + ‖W_ref‖²) / ‖W‖. Unrelated matrices are
    /// nearly orthogonal.
    pub fn unrelated_norm(&self) -> f64 {
        let weight_norm = norm(&self.weight);
        ratio(weight_norm.hypot(self.reference_norm), weight_norm)
    }

    /// ‖W − Ŵ‖ / ‖W‖ where Ŵ is W_ref plus the best increment of this rank.
    pub fn error_with_increment(&self, rank: usize) -> f64 {
        self.relative_norm() * (1.0 - energy_kept(&self.difference, rank)).sqrt()
    }

    /// ‖W − Ŵ‖ / ‖W‖ where Ŵ is the best matrix of this rank, without a reference.
    pub fn error_alone(&self, rank: usize) -> f64 {
        (1.0 - energy_kept(&self.weight, rank)).sqrt()
    }
}

/// Measures of the singular values of one matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measures {
    /// ‖·‖² / ‖·‖₂², at least 1; 0 for a matrix of zeros.
    pub stable_rank: f64,
    /// For each of [`SHARES`], the smallest rank that keeps this share of the energy.
    pub ranks: [usize; SHARES.len()],
    /// The share of the energy kept at each of [`RANKS`].
    pub kept: [f64; RANKS.len()],
}

impl Measures {
    /// `values` are singular values in descending order.
    pub fn of(values: &[f64]) -> Measures {
        let stable_rank = match values.first() {
            Some(largest) if *largest > 0.0 => (norm(values) / largest).powi(2),
            _ => 0.0,
        };
        let least = |share: f64| {
            // The sum of n terms has a rounding error of up to n ε.
            let enough = share * (1.0 - values.len() as f64 * f64::EPSILON);
            (0..=values.len()).find(|rank| energy_kept(values, *rank) >= enough)
        };
        Measures {
            stable_rank,
            ranks: SHARES.map(|share| least(share).unwrap_or(values.len())),
            kept: RANKS.map(|rank| energy_kept(values, rank)),
        }
    }
}

/// Σ_{k < rank} s_k² / Σ s_k², in \[0, 1\]; 1 if all values are zero.
pub fn energy_kept(values: &[f64], rank: usize) -> f64 {
    let sum = |values: &[f64]| values.iter().map(|s| s * s).sum::<f64>();
    match sum(values) {
        0.0 => 1.0,
        all => (sum(&values[..rank.min(values.len())]) / all).min(1.0),
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { part / whole }
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|s| s * s).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_in_closed_form() {
        // Energies 9, 4, 4, 1 of 18.
        let m = Measures::of(&[3., 2., 2., 1.]);
        assert!((m.stable_rank - 2.0).abs() < 1e-12);
        assert_eq!(m.ranks, [1, 3, 4]);
        let want = [9. / 18., 13. / 18., 1., 1., 1., 1., 1.];
        assert!(m.kept.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-12), "{m:?}");
        // n equal values: every rank is needed.
        let flat = Measures::of(&[2.; 100]);
        assert!((flat.stable_rank - 100.0).abs() < 1e-9);
        assert_eq!(flat.ranks, [50, 90, 99]);
        // One value, and none.
        assert_eq!(Measures::of(&[5., 0., 0.]).ranks, [1, 1, 1]);
        let zeros = Measures::of(&[0., 0.]);
        assert_eq!((zeros.stable_rank, zeros.ranks, zeros.kept), (0.0, [0; 3], [1.0; 7]));
    }

    #[test]
    fn norms_and_errors_in_closed_form() {
        let layer = LayerSpectrum {
            layer: 1,
            reference_layer: 0,
            target: "mlp.fc1".into(),
            shape: (2, 2),
            difference: vec![4., 3.],
            weight: vec![8., 6.],
            reference_norm: 10.0,
        };
        assert!((layer.relative_norm() - 0.5).abs() < 1e-12);
        assert!((layer.unrelated_norm() - 2f64.sqrt()).abs() < 1e-12);
        assert!((layer.error_with_increment(1) - 0.3).abs() < 1e-12);
        assert!((layer.error_alone(1) - 0.6).abs() < 1e-12);
        assert_eq!(layer.error_with_increment(2), 0.0);
    }
}
