//! Comparisons of a model with what PyTorch computed for it: gradients, and ten optimiser steps.

use std::collections::BTreeMap;

use candle_core::DType;
use vlora::nn::{Parameter, ParameterStore, Variable};
use vlora::spec::TrainingSpec;
use vlora::train::AdamW;

use super::compare::{largest, relative};
use super::pytorch::Fixture;

/// Every gradient of the fixture's loss is within 1e-4 of the largest value of PyTorch's, or within
/// `least`. Returns the largest difference, as a share of what is allowed, times 1e-4.
pub fn gradients_equal(
    name: &str,
    fixture: &Fixture,
    store: &ParameterStore,
    loss: Variable,
    least: f64,
) -> f64 {
    let gradients = loss.backward(1.0).unwrap();
    let wanted = fixture.group("grad.");
    // How far PyTorch's float32 gradients are from the exact ones: where terms cancel, as in those of
    // the keys' biases, which are zero, that is more than the tolerance.
    let rounding: BTreeMap<String, f64> =
        serde_json::from_str(&fixture.metadata["rounding"]).unwrap();
    let mut in_gradients = 0f64;
    for p in store.parameters() {
        let (got, want) = (gradients.get(&p.value).unwrap(), &wanted[&p.name]);
        let error = largest(&(got - want).unwrap());
        let allowed = (1e-4 * largest(want)).max(4.0 * rounding[&p.name]).max(least);
        in_gradients = in_gradients.max(1e-4 * error / allowed);
        assert!(error < allowed, "{name}: the gradient of {} differs by {error:e}", p.name);
    }
    assert_eq!(store.parameters().len(), wanted.len());
    in_gradients
}

/// The loss before each of the fixture's ten steps and every weight after the last one are within 1e-3.
/// `loss` computes that of a step's forward pass. Returns the largest difference of a weight.
pub fn ten_steps_equal(
    name: &str,
    fixture: &Fixture,
    store: &ParameterStore,
    loss: impl Fn(u64) -> Variable,
) -> f64 {
    let training: TrainingSpec = serde_json::from_str(&fixture.metadata["training"]).unwrap();
    let mut adamw = AdamW::new(&training, store).unwrap();
    let decayed: Vec<String> = serde_json::from_str(&fixture.metadata["decayed"]).unwrap();
    for p in store.parameters() {
        assert_eq!(p.role.decays(), decayed.contains(&p.name), "{name}: {}", p.name);
    }
    let losses = fixture.tensors["losses"].to_dtype(DType::F64).unwrap();
    let losses: Vec<f64> = losses.to_vec1().unwrap();
    assert_eq!(losses.len(), 10);
    for (step, want) in losses.iter().enumerate() {
        let loss = loss(step as u64);
        let error = (f64::from(loss.tensor().to_scalar::<f32>().unwrap()) - want).abs();
        assert!(error < 1e-3, "{name}: the loss before step {step} differs by {error:e}");
        let mut found = loss.backward(1.0).unwrap();
        let of = |p: &Parameter| (p.name.clone(), found.remove(&p.value).unwrap());
        let gradients: BTreeMap<_, _> = store.trained().map(of).collect();
        adamw.update(store, &gradients, training.learning_rate, training.clip_norm).unwrap();
    }
    let wanted = fixture.group("after.");
    assert_eq!(wanted.len(), store.parameters().len());
    let mut in_weights = 0f64;
    for p in store.parameters() {
        let error = relative(p.var.as_tensor(), &wanted[&p.name]);
        in_weights = in_weights.max(error);
        assert!(error < 1e-3, "{name}: after ten steps {} differs by {error:e}", p.name);
    }
    in_weights
}
