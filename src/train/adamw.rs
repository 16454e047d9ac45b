//! AdamW (arXiv 1711.05101), computed as in PyTorch. Its whole state can be saved and restored.
//!
//! `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
//! `p ← (1 − η λ) p − η/(1 − β₁ᵗ) · m / (√(v / (1 − β₂ᵗ)) + ε)`,
//! with λ = 0 for parameters without weight decay.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use crate::nn::{
    AdamWSlot, AdamWUpdate, Kind, MultiTensorAdamW, ParameterStore, Reading, Role, UpdateGroup,
    adamw_update, sum_of_squares,
};
use crate::spec::TrainingSpec;

/// First and second moment by parameter.
pub type Moments = BTreeMap<String, (Tensor, Tensor)>;

/// AdamW (arXiv 1711.05101) over the trained parameters of a store. Increments may have a learning rate and
/// a weight decay of their own.
#[derive(Clone)]
pub struct AdamW {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    /// Weight decay of increments, and their rate over that of all others.
    increment_decay: f64,
    increment_rate: f64,
    step: u64,
    /// For each trained parameter; zero before step one.
    moments: Moments,
    /// All trained parameters in the store's order, if a GPU updates them at once. None on the CPU.
    multi_tensor: Option<MultiTensorAdamW>,
}

/// A number that is known already, or that a device may still be computing.
#[derive(Debug)]
pub enum Scalar {
    Known(f64),
    Computed(Reading),
}

impl Scalar {
    /// A float32 scalar. On the CPU it is read at once, which waits for nothing, unless `later`.
    pub fn of(tensor: &Tensor, later: bool) -> Result<Scalar> {
        match tensor.device().is_cpu() && !later {
            true => Ok(Scalar::Known(f64::from(tensor.to_scalar::<f32>()?))),
            false => Ok(Scalar::Computed(Reading::of(tensor)?)),
        }
    }

    /// The number. Waits for it, but not for later steps.
    pub fn value(&self) -> Result<f64> {
        match self {
            Scalar::Known(value) => Ok(*value),
            Scalar::Computed(reading) => Ok(f64::from(reading.value()?)),
        }
    }
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
        let mut adamw = AdamW {
            beta1: spec.beta1,
            beta2: spec.beta2,
            epsilon: spec.epsilon,
            weight_decay: spec.weight_decay,
            increment_decay: spec.increment_weight_decay.unwrap_or(spec.weight_decay),
            increment_rate: match spec.increment_learning_rate {
                Some(rate) => rate / spec.learning_rate,
                None => 1.0,
            },
            step: 0,
            moments,
            multi_tensor: None,
        };
        adamw.multi_tensor = adamw.multi_tensor(store)?;
        Ok(adamw)
    }

    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Continues after `step` updates with their moments. There must be a pair for each of the store's
    /// trained parameters.
    pub fn resume(&mut self, store: &ParameterStore, step: u64, moments: Moments) -> Result<()> {
        self.step = step;
        self.moments = moments;
        self.multi_tensor = self.multi_tensor(store)?;
        Ok(())
    }

    fn multi_tensor(&self, store: &ParameterStore) -> Result<Option<MultiTensorAdamW>> {
        let updated = store.trained().map(|p| {
            let Some((first, second)) = self.moments.get(&p.name) else {
                candle_core::bail!("{} has no moments", p.name)
            };
            let (value, copy, group) = (p.var.as_tensor(), p.copy.as_ref(), group(p.role));
            Ok(AdamWSlot { value, first, second, copy, group })
        });
        MultiTensorAdamW::of(&updated.collect::<Result<Vec<_>>>()?)
    }

    /// Updates every parameter that has a gradient, at learning rate `rate`. Values and moments change
    /// in place. Gradients are first scaled so that their joint Euclidean norm is at most `limit`, as in
    /// PyTorch's `clip_grad_norm_`.
    ///
    /// Returns the norm before clipping. If it is not finite, nothing is updated on the CPU; on a GPU the
    /// update is queued already, so the caller must check the norm and stop.
    pub fn update(
        &mut self,
        store: &ParameterStore,
        gradients: &BTreeMap<String, Tensor>,
        rate: f64,
        limit: Option<f64>,
    ) -> Result<Scalar> {
        let t = (self.step + 1) as f64;
        let increment_rate = rate * self.increment_rate;
        let update = AdamWUpdate {
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            epsilon: self.epsilon as f32,
            grad_scale: 1.0,
            decay_factor: (1.0 - rate * self.weight_decay) as f32,
            step_size: (rate / (1.0 - self.beta1.powf(t))) as f32,
            inverse_bias_correction2: (1.0 / (1.0 - self.beta2.powf(t))) as f32,
            increment_decay_factor: (1.0 - increment_rate * self.increment_decay) as f32,
            increment_step_size: (increment_rate / (1.0 - self.beta1.powf(t))) as f32,
        };
        if let Some(all_at_once) = &self.multi_tensor {
            let all: Vec<Option<Tensor>> =
                store.trained().map(|p| gradients.get(&p.name).cloned()).collect();
            self.step += 1;
            return Scalar::of(&all_at_once.update(update, &all, limit)?, true);
        }
        let norm = global_norm(gradients)?;
        if !norm.is_finite() {
            return Ok(Scalar::Known(norm));
        }
        self.step += 1;
        let scale = clip_scale(norm, limit) as f32;
        for p in store.trained() {
            let (Some(g), Some((m, v))) = (gradients.get(&p.name), self.moments.get(&p.name))
            else {
                continue;
            };
            let update = AdamWUpdate { grad_scale: scale, ..update.of(group(p.role)) };
            adamw_update(update, p.var.as_tensor(), m, v, g)?;
        }
        Ok(Scalar::Known(norm))
    }
}

/// Which coefficients apply to a parameter.
fn group(role: Role) -> UpdateGroup {
    match role.kind {
        Kind::Increment => UpdateGroup::Increment,
        _ if role.decays() => UpdateGroup::Decayed,
        _ => UpdateGroup::Plain,
    }
}

/// The Euclidean norm of all gradients together.
fn global_norm(gradients: &BTreeMap<String, Tensor>) -> Result<f64> {
    let squares = gradients.values().map(sum_of_squares);
    Ok(squares.sum::<Result<f64>>()?.sqrt())
}

/// The factor that reduces the gradients' norm to `limit`; 1 if it is small enough.
fn clip_scale(norm: f64, limit: Option<f64>) -> f64 {
    limit.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::nn::{Init, ParameterBuilder};

    fn store(values: &[f32], kind: Kind) -> ParameterStore {
        let mut store = ParameterStore::new(0, Device::Cpu);
        store.tensor("p", &[values.len()], Init::Zeros, Role::layer(kind)).unwrap();
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
        let store = store(&[1.0, 1.0, 1.0], Kind::Matrix);
        let mut adam = AdamW::new(&spec, &store).unwrap();
        adam.update(&store, &gradient(&[3.0, -0.01, 0.0]), 0.1, None).unwrap();
        let got = value(&store);
        for (got, want) in got.iter().zip([0.9, 1.1, 1.0]) {
            assert!((got - want).abs() < 1e-5, "{got}");
        }
    }

    /// Compares several updates with the recurrence in float64.
    #[test]
    fn updates_follow_the_recurrence() {
        let spec = TrainingSpec { weight_decay: 0.1, ..TrainingSpec::default() };
        let increment_spec = TrainingSpec {
            learning_rate: 0.02,
            increment_learning_rate: Some(0.06),
            increment_weight_decay: Some(0.3),
            ..spec.clone()
        };
        for (spec, kind, rate, decay) in [
            (&spec, Kind::Matrix, 0.01, 0.1),
            (&spec, Kind::Bias, 0.01, 0.0),
            (&spec, Kind::Increment, 0.01, 0.1),
            (&increment_spec, Kind::Matrix, 0.01, 0.1),
            (&increment_spec, Kind::Increment, 0.03, 0.3),
        ] {
            let store = store(&[0.5], kind);
            let mut adam = AdamW::new(spec, &store).unwrap();
            let (mut p, mut m, mut v) = (0.5f64, 0.0f64, 0.0f64);
            for t in 1..=20 {
                let g = f64::from(t).sin();
                // Clipping halves the gradient.
                adam.update(&store, &gradient(&[g as f32]), 0.01, Some(0.5 * g.abs())).unwrap();
                let g = 0.5 * g;
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                let (mh, vh) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
                p = p * (1.0 - rate * decay) - rate * mh / (vh.sqrt() + 1e-8);
            }
            assert!((f64::from(value(&store)[0]) - p).abs() < 1e-5, "{:?} {p}", value(&store));
        }
    }

    #[test]
    fn gradients_that_are_not_finite_update_nothing() {
        let store = store(&[1.0], Kind::Matrix);
        let mut adam = AdamW::new(&TrainingSpec::default(), &store).unwrap();
        let norm = adam.update(&store, &gradient(&[f32::NAN]), 0.1, None).unwrap();
        assert!(norm.value().unwrap().is_nan());
        assert_eq!((value(&store), adam.step), (vec![1.0], 0));
    }

    #[test]
    fn clipping_scales_to_the_limit_and_leaves_small_gradients_alone() {
        let norm = global_norm(&gradient(&[3.0, 4.0])).unwrap();
        assert!((norm - 5.0).abs() < 1e-6);
        assert!((clip_scale(norm, Some(1.0)) * norm - 1.0).abs() < 1e-6);
        assert_eq!(clip_scale(norm, Some(10.0)), 1.0);
        assert_eq!(clip_scale(norm, None), 1.0);
    }
}
