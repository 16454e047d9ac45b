//! One update of AdamW (arXiv 1711.05101).

/// The coefficients of one update:
/// `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
/// `p ← keep · p − rate · m / (√(v · correct2) + ε)`, where g is the gradient times `scale`.
#[derive(Clone, Copy, Debug)]
pub struct Update {
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
}
