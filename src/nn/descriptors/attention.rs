//! Sizes and masks of attention.

/// Which keys a query may attend to; by default all of its sequence.
///
/// A query that sees no key gives zeros, and gets and passes no gradient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Query i sees the keys 0..=i alone.
    pub causal: bool,
    /// Of each sequence: how many keys, from the first on, are not padding.
    pub lengths: Option<Vec<usize>>,
    /// In self-attention, tokens beyond their sequence's length are padding as queries, too. Their
    /// results are then zeros, and cost nothing. Without this they attend to the keys that are not
    /// padding, as in PyTorch. It needs lengths.
    pub skip_padded_queries: bool,
}

impl Mask {
    /// Of sequences with padding, for self-attention: neither keys nor queries are computed for it.
    pub fn padded(lengths: &[usize]) -> Mask {
        let lengths = Some(lengths.to_vec());
        Mask { causal: false, lengths, skip_padded_queries: true }
    }

    /// How many of `keys` keys, from the first on, a query sees.
    pub fn seen(&self, sequence: usize, query: usize, keys: usize) -> usize {
        let length = self.lengths.as_ref().map_or(keys, |l| l[sequence].min(keys));
        if self.causal { length.min(query + 1) } else { length }
    }

    /// How many of `queries` queries, from the first on, have a result that is computed.
    pub fn computed(&self, sequence: usize, queries: usize) -> usize {
        match &self.lengths {
            Some(lengths) if self.skip_padded_queries => lengths[sequence].min(queries),
            _ => queries,
        }
    }

    /// Some sequence has no key at all.
    pub fn has_empty(&self) -> bool {
        self.lengths.as_ref().is_some_and(|l| l.contains(&0))
    }
}

/// The sizes of multi-head attention in one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionSizes {
    pub queries: usize,
    pub keys: usize,
    pub heads: usize,
    /// Values of a head.
    pub d: usize,
}

impl AttentionSizes {
    /// Values of all heads of a token.
    pub fn width(self) -> usize {
        self.heads * self.d
    }
}
