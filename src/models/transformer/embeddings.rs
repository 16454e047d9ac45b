//! Embeddings of token ids.

use candle_core::{Result, Tensor};

use super::norm::Norm;
use crate::models::operations::Operation;
use crate::nn::ops;
use crate::nn::{Init, Kind, Mode, ParameterBuilder, Part, Role, Variable};
use crate::spec::EncoderSpec;
use crate::vlora::Vector;

/// A batch of texts as the model takes it.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// \[batch, tokens\], u32. Ids beyond a text's length are ignored, but must be valid.
    pub ids: Tensor,
    /// The segment of each token, \[batch, tokens\], u32; None if all tokens belong to the first.
    pub types: Option<Tensor>,
    /// Number of tokens of each text, at least 1.
    pub lengths: Vec<usize>,
}

/// `dropout(norm(words + positions + token types))`.
#[derive(Debug)]
pub struct TokenEmbeddings {
    /// \[vocabulary, dim\].
    words: Variable,
    /// \[positions, dim\].
    positions: Variable,
    /// \[token types, dim\]; None if the model has no token types.
    types: Option<Variable>,
    norm: Norm,
    dropout: f64,
    dim: usize,
}

impl TokenEmbeddings {
    /// Builds the embeddings with the names of Hugging Face's BERT. Tables start as `init`.
    pub fn new(
        spec: &EncoderSpec,
        parameters: &mut dyn ParameterBuilder,
        init: Init,
    ) -> Result<TokenEmbeddings> {
        let dim = spec.dim;
        let mut table = |name: &str, rows: usize| {
            let role = Role::new(Part::Embedding, Kind::Table);
            parameters.tensor(&format!("embeddings.{name}.weight"), &[rows, dim], init, role)
        };
        let words = table("word_embeddings", spec.vocabulary)?;
        let positions = table("position_embeddings", spec.positions)?;
        let types = match spec.token_types {
            0 => None,
            rows => Some(table("token_type_embeddings", rows)?),
        };
        let mut norm = |part: &str, init| {
            let (name, role) =
                (format!("embeddings.LayerNorm.{part}"), Role::new(Part::Embedding, Kind::Norm));
            parameters.tensor(&name, &[dim], init, role).map(Vector::plain)
        };
        let (scale, shift) = (norm("weight", Init::Ones)?, norm("bias", Init::Zeros)?);
        let norm = Norm::new(scale, shift, dim, spec.norm_eps);
        Ok(TokenEmbeddings { words, positions, types, norm, dropout: spec.dropout, dim })
    }

    /// Texts → \[batch, tokens, dim\].
    pub fn forward(&self, texts: &Tokens, mode: Mode) -> Result<Variable> {
        // Without given types, all tokens have the first type.
        let ids = match (&self.types, &texts.types) {
            (None, _) => None,
            (Some(_), Some(ids)) => Some(ids.clone()),
            (Some(_), None) => Some(texts.ids.zeros_like()?),
        };
        let types = self.types.as_ref().zip(ids.as_ref());
        let x = ops::embed_tokens(&texts.ids, &self.words, Some(&self.positions), types)?;
        let x = self.norm.forward(&x)?;
        match mode.dropout(self.dropout, "embeddings") {
            Some(dropout) => ops::dropout(&x, &dropout),
            None => Ok(x),
        }
    }

    /// The operations of [`forward`](Self::forward) in training.
    pub fn operations(&self, batch: usize, tokens: usize) -> Vec<Operation> {
        let (rows, width) = (batch * tokens, self.dim);
        let leaves = |table: &Variable| Vector::plain(table.clone()).leaves();
        let tables = [&self.words].into_iter().chain(&self.types);
        let mut operations: Vec<Operation> =
            tables.map(|table| Operation::Lookup { rows, width, leaves: leaves(table) }).collect();
        operations.push(Operation::AddPositions { rows, width, leaves: leaves(&self.positions) });
        operations.push(self.norm.operation(rows));
        if self.dropout > 0.0 {
            operations.push(Operation::Dropout { rows, width });
        }
        operations
    }
}
