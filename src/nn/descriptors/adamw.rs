//! One update of AdamW (arXiv 1711.05101).

/// The coefficients of one update. With the gradient g times `grad_scale`, it is
///
/// - `m ← β₁ m + (1 − β₁) g` and `v ← β₂ v + (1 − β₂) g²`,
/// - `p ← decay_factor · p − step_size · m / (√(v · inverse_bias_correction2) + ε)`.
#[derive(Clone, Copy, Debug)]
pub struct AdamWUpdate {
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// The factor that clips the gradient.
    pub grad_scale: f32,
    /// 1 − learning rate · weight decay.
    pub decay_factor: f32,
    /// learning rate / (1 − β₁ᵗ).
    pub step_size: f32,
    /// 1 / (1 − β₂ᵗ).
    pub inverse_bias_correction2: f32,
    /// `decay_factor` and `step_size` of increments, which may decay and move otherwise.
    pub increment_decay_factor: f32,
    pub increment_step_size: f32,
}

/// Which of the coefficients apply to a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateGroup {
    /// No weight decay.
    Plain = 0,
    /// With weight decay.
    Decayed = 1,
    /// Those of increments.
    Increment = 2,
}

impl AdamWUpdate {
    /// `decay_factor` and `step_size` of a parameter.
    pub fn of(self, group: UpdateGroup) -> AdamWUpdate {
        match group {
            UpdateGroup::Plain => AdamWUpdate { decay_factor: 1.0, ..self },
            UpdateGroup::Decayed => self,
            UpdateGroup::Increment => AdamWUpdate {
                decay_factor: self.increment_decay_factor,
                step_size: self.increment_step_size,
                ..self
            },
        }
    }
}
