//! One update of AdamW (arXiv 1711.05101).

/// The numbers of one update, the same for all values of a parameter:
/// `m ← β₁ m + (1 − β₁) g`, `v ← β₂ v + (1 − β₂) g²`,
/// `p ← keep · p − rate · m / (√(v · correct2) + ε)`, with g the gradient times `scale`.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub beta1: f32,
    pub beta2: f32,
    pub epsilon: f32,
    /// The gradient is multiplied by this first.
    pub scale: f32,
    /// 1 − rate · weight decay.
    pub keep: f32,
    /// rate / (1 − β₁ᵗ).
    pub rate: f32,
    /// 1 / (1 − β₂ᵗ).
    pub correct2: f32,
}
