//! Sizes and masks of attention.

/// Which keys a query may attend to. By default all keys of its sequence.
///
/// The result of a query that sees no key is zeros, and it has no gradient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Query i sees only the keys 0..=past + i.
    pub causal: bool,
    /// How many keys come before that of the first query. Only a causal mask reads it.
    pub past: usize,
    /// For each sequence, how many keys from the first on are not padding.
    pub lengths: Option<Vec<usize>>,
    /// For self-attention: queries beyond their sequence's length are padding, too. Their results are
    /// zeros and cost nothing. Without this they attend to the keys that are not padding, as in
    /// PyTorch. Needs `lengths`.
    pub skip_padded_queries: bool,
}

impl Mask {
    /// The mask for self-attention in padded sequences. Padded keys and queries are both skipped.
    pub fn padded(lengths: &[usize]) -> Mask {
        let lengths = Some(lengths.to_vec());
        Mask { lengths, skip_padded_queries: true, ..Mask::default() }
    }

    /// How many of the `keys` keys a query sees. They are the first ones.
    pub fn seen(&self, sequence: usize, query: usize, keys: usize) -> usize {
        let length = self.lengths.as_ref().map_or(keys, |l| l[sequence].min(keys));
        if self.causal { length.min(self.past + query + 1) } else { length }
    }

    /// How many of the `queries` queries are computed. They are the first ones.
    pub fn computed(&self, sequence: usize, queries: usize) -> usize {
        match &self.lengths {
            Some(lengths) if self.skip_padded_queries => lengths[sequence].min(queries),
            _ => queries,
        }
    }

    /// Whether a sequence has no key at all.
    pub fn has_empty(&self) -> bool {
        self.lengths.as_ref().is_some_and(|l| l.contains(&0))
    }
}

/// The sizes of multi-head attention per sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionSizes {
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    /// Values per head.
    pub d: usize,
}

impl AttentionSizes {
    /// Values per token over all heads.
    pub fn width(self) -> usize {
        self.heads * self.d
    }
}
