//! AdamW (arXiv 1711.05101), as PyTorch computes it, with its whole state in reach.
//!
//! `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
//! `p ← (1 − η λ) p − η/(1 − β₁ᵗ) · m / (√(v / (1 − β₂ᵗ)) + ε)`,
//! with λ = 0 for parameters that do not decay.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use crate::nn::{ParameterStore, Update, adamw_update, square_sum};
use crate::spec::TrainingSpec;

#[derive(Clone, Debug)]
pub struct AdamW {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    /// Updates done so far.
    pub step: u64,
    /// First and second moment of each trained parameter by name; zero before step one.
    pub moments: BTreeMap<String, (Tensor, Tensor)>,
}

impl AdamW {
    pub fn new(spec: &TrainingSpec, store: &ParameterStore) -> Result<AdamW> {
        let moments = store
            .trained()
            .map(|p| {
                let zeros = || p.var.as_detached_tensor().zeros_like();
                Ok((p.name.clone(), (zeros()?, zeros()?)))
            })
            .collect::<Result<_>>()?;
        Ok(AdamW {
            beta1: spec.beta1,
            beta2: spec.beta2,
            epsilon: spec.epsilon,
            weight_decay: spec.weight_decay,
            step: 0,
            moments,
        })
    }

    /// Updates every parameter that has a gradient, at this learning rate, with
    /// gradients multiplied by `scale` first. Values and moments change in place.
    pub fn update(
        &mut self,
        store: &ParameterStore,
        gradients: &BTreeMap<String, Tensor>,
        rate: f64,
        scale: f64,
    ) -> Result<()> {
        self.step += 1;
        let t = self.step as f64;
        for p in store.trained() {
            let (Some(g), Some((m, v))) = (gradients.get(&p.name), self.moments.get(&p.name))
            else {
                continue;
            };
            let decay = if p.decay { rate * self.weight_decay } else { 0.0 };
            let update = Update {
                beta1: self.beta1 as f32,
                beta2: self.beta2 as f32,
                epsilon: self.epsilon as f32,
                scale: scale as f32,
                keep: (1.0 - decay) as f32,
                rate: (rate / (1.0 - self.beta1.powf(t))) as f32,
                correct2: (1.0 / (1.0 - self.beta2.powf(t))) as f32,
            };
            adamw_update(update, p.var.as_tensor(), m, v, g)?;
        }
        Ok(())
    }
}

/// The Euclidean norm of all gradients together.
pub fn global_norm(gradients: &BTreeMap<String, Tensor>) -> Result<f64> {
    let squares = gradients.values().map(square_sum);
    Ok(squares.sum::<Result<f64>>()?.sqrt())
}

/// What to multiply gradients by so that their norm is at most `limit`, as PyTorch's
/// `clip_grad_norm_` has it.
pub fn clip_scale(norm: f64, limit: Option<f64>) -> f64 {
    limit.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::nn::{Init, Source};

    fn store(values: &[f32], decay: bool) -> ParameterStore {
        let mut store = ParameterStore::new(0, Device::Cpu);
        store.tensor("p", &[values.len()], Init::Zeros, decay).unwrap();
        store.parameters()[0].var.set(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
        store
    }

    fn gradient(values: &[f32]) -> BTreeMap<String, Tensor> {
        BTreeMap::from([("p".to_string(), Tensor::new(values, &Device::Cpu).unwrap())])
    }

    fn value(store: &ParameterStore) -> Vec<f32> {
        store.parameters()[0].var.to_vec1().unwrap()
    }

    /// The first update of Adam is `rate · sign(g)`, whatever the gradient's size.
    #[test]
    fn the_first_update_has_the_size_of_the_rate() {
        let spec = TrainingSpec { weight_decay: 0.0, ..TrainingSpec::default() };
        let store = store(&[1.0, 1.0, 1.0], true);
        let mut adam = AdamW::new(&spec, &store).unwrap();
        adam.update(&store, &gradient(&[3.0, -0.01, 0.0]), 0.1, 1.0).unwrap();
        let got = value(&store);
        for (got, want) in got.iter().zip([0.9, 1.1, 1.0]) {
            assert!((got - want).abs() < 1e-5, "{got}");
        }
    }

    /// Several updates against the recurrence in float64.
    #[test]
    fn follows_the_recurrence() {
        let spec = TrainingSpec { weight_decay: 0.1, ..TrainingSpec::default() };
        for decays in [true, false] {
            let store = store(&[0.5], decays);
            let mut adam = AdamW::new(&spec, &store).unwrap();
            let (mut p, mut m, mut v) = (0.5f64, 0.0f64, 0.0f64);
            for t in 1..=20 {
                let g = f64::from(t).sin();
                adam.update(&store, &gradient(&[g as f32]), 0.01, 0.5).unwrap();
                let g = 0.5 * g;
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                let (mh, vh) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
                let decay = if decays { 0.01 * 0.1 } else { 0.0 };
                p = p * (1.0 - decay) - 0.01 * mh / (vh.sqrt() + 1e-8);
            }
            assert!((f64::from(value(&store)[0]) - p).abs() < 1e-5, "{:?} {p}", value(&store));
        }
    }

    #[test]
    fn clipping_scales_to_the_limit_and_leaves_small_gradients() {
        let norm = global_norm(&gradient(&[3.0, 4.0])).unwrap();
        assert!((norm - 5.0).abs() < 1e-6);
        assert!((clip_scale(norm, Some(1.0)) * norm - 1.0).abs() < 1e-6);
        assert_eq!(clip_scale(norm, Some(10.0)), 1.0);
        assert_eq!(clip_scale(norm, None), 1.0);
    }
}
