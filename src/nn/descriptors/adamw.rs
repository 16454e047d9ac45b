//! One update of AdamW (arXiv 1711.05101).

/// The coefficients of one update:
/// `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
/// `p ← keep · p − rate · m / (√(v · correct2) + ε)`, where g is the gradient times `scale`.
#[derive(Clone, Copy, Debug)]
pub struct AdamWUpdate {
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// The factor that clips the gradient.
    pub scale: f32,
    /// 1 − rate · weight decay.
    pub keep: f32,
    /// rate / (1 − β₁ᵗ).
    pub rate: f32,
    /// 1 / (1 − β₂ᵗ).
    pub correct2: f32,
    /// `keep` and `rate` of increments, which may decay and move otherwise.
    pub increment_keep: f32,
    pub increment_rate: f32,
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
    /// `keep` and `rate` of a parameter.
    pub fn of(self, group: UpdateGroup) -> AdamWUpdate {
        match group {
            UpdateGroup::Plain => AdamWUpdate { keep: 1.0, ..self },
            UpdateGroup::Decayed => self,
            UpdateGroup::Increment => {
                AdamWUpdate { keep: self.increment_keep, rate: self.increment_rate, ..self }
            }
        }
    }
}
