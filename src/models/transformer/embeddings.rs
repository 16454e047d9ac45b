//! Embeddings of token ids.

use candle_core::{Result, Tensor, bail};

use super::norm::Norm;
use crate::models::operations::Operation;
use crate::nn::ops;
use crate::nn::{Init, Kind, Mode, ParameterBuilder, Part, Role, Variable};
use crate::spec::{DecoderSpec, EncoderSpec};
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

/// `dropout(norm(tokens + positions + token types))`. Types and norm may be missing.
#[derive(Debug)]
pub struct TokenEmbeddings {
    /// \[vocabulary, dim\].
    tokens: Variable,
    /// \[positions, dim\].
    positions: Variable,
    /// \[token types, dim\]; None if the model has no token types.
    types: Option<Variable>,
    norm: Option<Norm>,
    dropout: f64,
    dim: usize,
}

impl TokenEmbeddings {
    /// Builds the embeddings with the names of Hugging Face's BERT. Tables start as `init`.
    pub fn of_encoder(
        spec: &EncoderSpec,
        parameters: &mut dyn ParameterBuilder,
        init: Init,
    ) -> Result<TokenEmbeddings> {
        let dim = spec.dim;
        let mut table = |name: &str, rows: usize| {
            let role = Role::new(Part::Embedding, Kind::Table);
            parameters.tensor(&format!("embeddings.{name}.weight"), &[rows, dim], init, role)
        };
        let tokens = table("word_embeddings", spec.vocabulary)?;
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
        let norm = Some(Norm::new(scale, Some(shift), dim, spec.norm_eps));
        Ok(TokenEmbeddings { tokens, positions, types, norm, dropout: spec.dropout, dim })
    }

    /// Builds the embeddings with the names of GPT-2. Tables start as `init`.
    pub fn of_decoder(
        spec: &DecoderSpec,
        parameters: &mut dyn ParameterBuilder,
        init: Init,
    ) -> Result<TokenEmbeddings> {
        let (dim, role) = (spec.dim, Role::new(Part::Embedding, Kind::Table));
        let tokens = parameters.tensor("wte.weight", &[spec.vocabulary, dim], init, role)?;
        let positions = parameters.tensor("wpe.weight", &[spec.positions, dim], init, role)?;
        let dropout = spec.dropout;
        Ok(TokenEmbeddings { tokens, positions, types: None, norm: None, dropout, dim })
    }

    /// The token embedding, \[vocabulary, dim\].
    pub fn tokens(&self) -> &Variable {
        &self.tokens
    }

    /// Token ids and their types, \[batch, tokens\] u32 each → \[batch, tokens, dim\].
    pub fn forward(&self, ids: &Tensor, types: Option<&Tensor>, mode: Mode) -> Result<Variable> {
        // Without given types, all tokens have the first type.
        let type_ids = match (&self.types, types) {
            (None, None) => None,
            (None, Some(_)) => bail!("token types for a model without embeddings of them"),
            (Some(_), Some(types)) => Some(types.clone()),
            (Some(_), None) => Some(ids.zeros_like()?),
        };
        let types = self.types.as_ref().zip(type_ids.as_ref());
        let x = ops::embed_tokens(ids, &self.tokens, Some(&self.positions), types)?;
        let x = match &self.norm {
            Some(norm) => norm.forward(&x)?,
            None => x,
        };
        match mode.dropout(self.dropout, "embeddings") {
            Some(dropout) => ops::dropout(&x, &dropout),
            None => Ok(x),
        }
    }

    /// Token ids that follow `past` others, \[batch, tokens\] u32 → \[batch, tokens, dim\] in evaluation.
    /// For a model without token types.
    pub fn after(&self, ids: &Tensor, past: usize) -> Result<Variable> {
        let (None, None) = (&self.types, &self.norm) else {
            bail!("embeddings with token types or a norm cannot be decoded token by token")
        };
        let (batch, tokens) = ids.dims2()?;
        let positions: Vec<u32> = (past..past + tokens).map(|at| at as u32).collect();
        let positions = Tensor::new(positions, ids.device())?.expand((batch, tokens))?;
        let positions = ops::embedding(&self.positions, &positions.contiguous()?)?;
        ops::sum(&[&ops::embedding(&self.tokens, ids)?, &positions])
    }

    /// The operations of [`forward`](Self::forward) in training.
    pub fn operations(&self, batch: usize, tokens: usize) -> Vec<Operation> {
        let (rows, width) = (batch * tokens, self.dim);
        let leaves = |table: &Variable| Vector::plain(table.clone()).leaves();
        let tables = [&self.tokens].into_iter().chain(&self.types);
        let mut operations: Vec<Operation> =
            tables.map(|table| Operation::Lookup { rows, width, leaves: leaves(table) }).collect();
        operations.push(Operation::AddPositions { rows, width, leaves: leaves(&self.positions) });
        operations.extend(self.norm.as_ref().map(|norm| norm.operation(rows)));
        if self.dropout > 0.0 {
            operations.push(Operation::Dropout { rows, width });
        }
        operations
    }
}
