//! Sizes and masks of attention.

/// Which keys a query may attend to; by default all of its sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Query i sees the keys 0..=i alone.
    pub causal: bool,
    /// Of each sequence: how many keys, from the first on, are not padding.
    pub lengths: Option<Vec<usize>>,
}

/// The sizes of multi-head attention, and what each query may see.
#[derive(Clone, Debug)]
pub struct AttentionSizes {
    pub tokens: usize,
    pub heads: usize,
    /// Values of a head.
    pub d: usize,
    /// Tokens from the first on whose result is computed.
    pub queries: usize,
    pub causal: bool,
    /// Of each sequence: the tokens that are not padding. None: all.
    pub lengths: Option<Vec<usize>>,
}
