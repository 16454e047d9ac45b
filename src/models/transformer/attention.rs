//! Multi-head attention with its projections (arXiv 1706.03762).

use candle_core::{Result, Tensor, bail};

use super::residual::ResidualLinear;
use crate::models::operations::{
    Attention as AttentionOperation, Linear as LinearOperation, Operation,
};
use crate::nn::ops::{self, Epilogue, Mask};
use crate::nn::{Mode, Variable};
use crate::vlora::Linear;

/// Self-attention whose queries, keys and values come from one matrix, as in timm and GPT-2.
#[derive(Debug)]
pub struct PackedSelfAttention {
    pub heads: usize,
    /// \[dim\] → \[3 · dim\]: queries, keys, values.
    pub qkv: Linear,
    /// The projection after the heads, \[dim\] → \[dim\].
    pub proj: ResidualLinear,
    /// Whether a token attends only to itself and to those before it.
    pub causal: bool,
    /// Dropout rate of the attention weights (timm's `attn_drop`).
    pub dropout: f64,
    /// The layer's name, which seeds its dropout masks.
    pub name: String,
}

impl PackedSelfAttention {
    /// The heads' result for the first `queries` tokens, before `proj`:
    /// x \[batch, tokens, dim\] → \[batch, queries, dim\]. With lengths, tokens beyond their sequence's are
    /// padding: no token attends to them, and their results are zeros.
    pub fn heads(
        &self,
        x: &Variable,
        queries: usize,
        lengths: Option<&[usize]>,
        mode: Mode,
    ) -> Result<Variable> {
        let qkv = self.qkv.forward(x, Epilogue::None, mode)?;
        let padded = lengths.map(Mask::padded).unwrap_or_default();
        let mask = Mask { causal: self.causal, ..padded };
        let dropout = mode.dropout(self.dropout, &self.name);
        ops::self_attention(&qkv, self.heads, queries, &mask, dropout.as_ref())
    }

    /// The heads' result for new tokens at the end of sequences, in evaluation: x \[batch, new, dim\] →
    /// \[batch, new, dim\]. They also attend to the tokens that `cache` holds, which takes the new ones.
    pub fn next(&self, x: &Variable, cache: &mut KvCache) -> Result<Variable> {
        let qkv = self.qkv.forward(x, Epilogue::None, Mode::Evaluation)?;
        let width = qkv.tensor().dim(2)? / 3;
        let part = |i: usize| qkv.tensor().narrow(2, i * width, width)?.contiguous();
        let past = cache.tokens()?;
        let [k, v] = cache.append([part(1)?, part(2)?])?.map(Variable::constant);
        let mask = Mask { causal: self.causal, past, ..Mask::default() };
        ops::attention([&Variable::constant(part(0)?), &k, &v], self.heads, &mask, None)
    }

    /// The operations of [`heads`](Self::heads) for sequences of these sizes.
    pub fn operations(&self, sizes: Sizes) -> Result<[Operation; 2]> {
        let Sizes { batch, tokens, queries } = sizes;
        let qkv = LinearOperation::of(&self.qkv, batch * tokens)?;
        let head_size = qkv.usage.sides.0 / (3 * self.heads.max(1));
        let heads = AttentionOperation {
            batch,
            tokens,
            queries,
            heads: self.heads,
            head_size,
            packed: true,
            causal: self.causal,
            dropped: self.dropout > 0.0,
        };
        Ok([Operation::Linear(qkv), Operation::Attention(heads)])
    }
}

/// The keys and values of a layer's tokens so far, \[sequences, tokens, dim\] each. It begins empty.
#[derive(Debug, Default)]
pub struct KvCache {
    keys_and_values: Option<[Tensor; 2]>,
    /// The sequences that [`select`](Self::select) took since the last token, \[rows\] u32. They are copied
    /// together with the next token.
    pending_selection: Option<Tensor>,
}

impl KvCache {
    /// Number of tokens of each sequence.
    fn tokens(&self) -> Result<usize> {
        self.keys_and_values.as_ref().map_or(Ok(0), |[keys, _]| keys.dim(1))
    }

    /// Takes the sequences with these numbers, \[rows\] u32, in this order; one may be taken several times.
    pub fn select(&mut self, sequences: &Tensor) -> Result<()> {
        self.pending_selection = Some(match &self.pending_selection {
            Some(earlier) => earlier.index_select(sequences, 0)?,
            None => sequences.clone(),
        });
        Ok(())
    }

    /// Appends those of new tokens, and returns all.
    fn append(&mut self, new: [Tensor; 2]) -> Result<[Tensor; 2]> {
        let selection = self.pending_selection.as_ref();
        let all = match &self.keys_and_values {
            None => new,
            Some([keys, values]) => [
                ops::append_tokens(keys, selection, &new[0])?,
                ops::append_tokens(values, selection, &new[1])?,
            ],
        };
        self.pending_selection = None;
        Ok(self.keys_and_values.insert(all).clone())
    }
}

/// Attention whose queries, keys and values come from separate matrices.
#[derive(Debug)]
pub struct Attention {
    pub heads: usize,
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    /// The projection after the heads.
    pub output: ResidualLinear,
    /// Dropout rate of the attention weights (timm's `attn_drop`).
    pub dropout: f64,
    /// The layer's name, which seeds its dropout masks.
    pub name: String,
}

impl Attention {
    /// The heads' result before `output`: queries from x \[batch, queries, dim\], keys and values from
    /// `context` \[batch, keys, dim\] → \[batch, queries, dim\]. It is self-attention if x and `context`
    /// hold the same sequence, else cross-attention.
    pub fn heads(
        &self,
        x: &Variable,
        context: &Variable,
        mask: &Mask,
        mode: Mode,
    ) -> Result<Variable> {
        let q = self.query.forward(x, Epilogue::None, mode)?;
        let k = self.key.forward(context, Epilogue::None, mode)?;
        let v = self.value.forward(context, Epilogue::None, mode)?;
        let dropout = mode.dropout(self.dropout, &self.name);
        ops::attention([&q, &k, &v], self.heads, mask, dropout.as_ref())
    }

    /// The keys and values of `context` \[batch, keys, dim\] in evaluation, for [`attend`](Self::attend).
    pub fn keys_and_values(&self, context: &Variable) -> Result<[Tensor; 2]> {
        let of = |linear: &Linear| linear.forward(context, Epilogue::None, Mode::Evaluation);
        Ok([of(&self.key)?.tensor().clone(), of(&self.value)?.tensor().clone()])
    }

    /// [`heads`](Self::heads) in evaluation, with the keys and values of the contexts \[contexts, keys, dim\].
    /// Each context has equally many of the sequences x \[sequences, queries, dim\], which follow one another.
    pub fn attend(
        &self,
        x: &Variable,
        [keys, values]: [&Tensor; 2],
        mask: &Mask,
    ) -> Result<Variable> {
        let q = self.query.forward(x, Epilogue::None, Mode::Evaluation)?;
        let (sequences, queries, width) = q.tensor().dims3()?;
        let contexts = keys.dim(0)?;
        if contexts == 0 || sequences % contexts != 0 {
            bail!("attention: {sequences} sequences are not equally many of {contexts} contexts");
        }
        // All sequences of a context are queries of the same keys, so that no key is copied.
        let q = q.reshape(&[contexts, sequences * queries / contexts, width])?;
        let [k, v] = [keys, values].map(|t| Variable::constant(t.clone()));
        let mixed = ops::attention([&q, &k, &v], self.heads, mask, None)?;
        mixed.reshape(&[sequences, queries, width])
    }

    /// The operations of [`heads`](Self::heads) for queries and context of these sizes.
    pub fn operations(&self, sizes: Sizes) -> Result<[Operation; 2]> {
        let Sizes { batch, tokens, queries } = sizes;
        let query = LinearOperation::of(&self.query, batch * queries)?;
        let head_size = query.usage.sides.0 / self.heads.max(1);
        let others = [&self.key, &self.value].map(|l| LinearOperation::of(l, batch * tokens));
        let [key, value] = others;
        let heads = AttentionOperation {
            batch,
            tokens,
            queries,
            heads: self.heads,
            head_size,
            packed: false,
            causal: false,
            dropped: self.dropout > 0.0,
        };
        Ok([Operation::Projections(vec![query, key?, value?]), Operation::Attention(heads)])
    }
}

/// Sizes of a batch of sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Number of sequences.
    pub batch: usize,
    /// Tokens per sequence.
    pub tokens: usize,
    /// How many tokens, from the first on, are needed after the layer.
    pub queries: usize,
}
