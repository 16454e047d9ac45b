//! Transformer decoder for language models, as GPT-2. Parameters have the names of Hugging Face's
//! `GPT2LMHeadModel` without the prefix `transformer.`.
//!
//! token ids → token embeddings + positions → causal pre-norm layers → norm (`ln_f`) → logits of the next
//! token. The output layer has no bias. If it is tied, its matrix is the token embedding.

use candle_core::{Result, Tensor, bail};

use super::operations::{Linear as LinearOperation, Operation};
use super::transformer::{
    BlockNames, BlockSizes, KvCache, Norm, PreNormBlock, Sizes, TokenEmbeddings,
};
use crate::nn::ops::Epilogue;
use crate::nn::{Init, Kind, Mode, ParameterBuilder, Part, Role, Variable};
use crate::spec::{DecoderSpec, LoraSpec, RunSpec, VloraSpec};
use crate::vlora::{Linear, StackBuilder, Vector};

/// transformers' `initializer_range`, for linear weights and tables.
const STD: f64 = 0.02;

/// A decoder for language modelling with its output layer; the module says how it computes.
#[derive(Debug)]
pub struct Decoder {
    embeddings: TokenEmbeddings,
    layers: Vec<PreNormBlock>,
    norm: Norm,
    head: Linear,
    dim: usize,
    /// The most tokens of a sequence.
    positions: usize,
}

impl Decoder {
    /// The model of a run, on `parameters`.
    pub fn of(run: &RunSpec, parameters: &mut dyn ParameterBuilder) -> Result<Decoder> {
        let Some(model) = run.model.as_decoder() else { bail!("the model is no decoder") };
        Decoder::new(model, run.vlora.as_ref(), run.lora.as_ref(), parameters)
    }

    /// Builds the model on `parameters`. `vlora` is None for a dense model, `lora` is None for a model
    /// without LoRA.
    pub fn new(
        spec: &DecoderSpec,
        vlora: Option<&VloraSpec>,
        lora: Option<&LoraSpec>,
        parameters: &mut dyn ParameterBuilder,
    ) -> Result<Decoder> {
        let (dim, init) = (spec.dim, Init::Normal { std: STD });
        let embeddings = TokenEmbeddings::of_decoder(spec, parameters, init)?;
        let [stack] = &spec.stacks()[..] else { bail!("a decoder has one stack") };
        let mut stack = StackBuilder::new(stack, vlora, lora);
        let sizes = BlockSizes {
            dim,
            heads: spec.heads,
            norm_eps: spec.norm_eps,
            activation: spec.activation.into(),
            causal: true,
            dropout: spec.dropout,
            attention_dropout: spec.attention_dropout,
            activation_dropout: 0.0,
            drop_path_rate: 0.0,
            norm_in_stream: false,
            init,
            // The residual stream is a sum over two branches of each layer (GPT-2, section 2.3).
            residual_init: Init::Normal { std: STD / (2.0 * spec.depth as f64).sqrt() },
        };
        let layers = (0..stack.depth())
            .map(|i| PreNormBlock::new(&mut stack, parameters, i, &BlockNames::GPT2, sizes))
            .collect::<Result<_>>()?;
        let mut vector = |name: &str, init| -> Result<Vector> {
            let role = Role::new(Part::Pooling, Kind::Norm);
            Ok(Vector::plain(parameters.tensor(name, &[dim], init, role)?))
        };
        let scale = vector("ln_f.weight", Init::Ones)?;
        let shift = spec.bias.then(|| vector("ln_f.bias", Init::Zeros)).transpose()?;
        let norm = Norm::new(scale, shift, dim, spec.norm_eps);
        let matrix = match spec.tied {
            true => embeddings.tokens().clone(),
            false => {
                let role = Role::new(Part::Head, Kind::Matrix);
                parameters.tensor("lm_head.weight", &[spec.vocabulary, dim], init, role)?
            }
        };
        let head = Linear::dense(matrix, None);
        Ok(Decoder { embeddings, layers, norm, head, dim, positions: spec.positions })
    }

    /// Token ids \[batch, tokens\] u32 → the logits of the token after each, \[batch · tokens,
    /// vocabulary\].
    pub fn forward(&self, ids: &Tensor, mode: Mode) -> Result<Variable> {
        let (_, tokens) = ids.dims2()?;
        let mut x = self.embeddings.forward(ids, None, mode)?;
        for layer in &self.layers {
            x = layer.forward(&x, tokens, mode)?;
        }
        self.predict(&x, mode)
    }

    /// The logits as [`forward`](Self::forward) gives them in evaluation, as norm and output layer would
    /// give them after the embedding and after each layer, and what `read` makes of each. The last are those
    /// of `forward`. Logits of one layer at a time are held: those of a large vocabulary take gigabytes.
    pub fn logit_lens<T>(
        &self,
        ids: &Tensor,
        mut read: impl FnMut(&Variable) -> Result<T>,
    ) -> Result<Vec<T>> {
        let (_, tokens) = ids.dims2()?;
        let mut x = self.embeddings.forward(ids, None, Mode::Evaluation)?;
        let mut all = vec![read(&self.predict(&x, Mode::Evaluation)?)?];
        for layer in &self.layers {
            x = layer.forward(&x, tokens, Mode::Evaluation)?;
            all.push(read(&self.predict(&x, Mode::Evaluation)?)?);
        }
        Ok(all)
    }

    /// \[batch, tokens, dim\] → logits \[batch · tokens, vocabulary\].
    fn predict(&self, x: &Variable, mode: Mode) -> Result<Variable> {
        let (batch, tokens, dim) = x.tensor().dims3()?;
        let x = self.norm.forward(&x.reshape(&[batch * tokens, dim])?)?;
        self.head.forward(&x, Epilogue::None, mode)
    }

    /// Continues sequences: the new tokens \[batch, new\] u32 → the logits of the token after the last of
    /// them, \[batch, vocabulary\]. `cache` holds what the layers computed for the tokens before; it takes
    /// the new ones, too.
    ///
    /// # Errors
    ///
    /// If there would be more tokens than the model has positions, or if the batch is not that of the
    /// earlier tokens.
    pub fn next(&self, ids: &Tensor, cache: &mut Cache) -> Result<Tensor> {
        let (batch, new) = ids.dims2()?;
        let past = cache.tokens;
        if new == 0 || past + new > self.positions {
            bail!("{past} tokens and {new} new ones, of at least 1 and at most {}", self.positions);
        }
        cache.layers.resize_with(self.layers.len(), KvCache::default);
        let mut x = self.embeddings.after(ids, past)?;
        for (layer, cache) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.next(&x, cache)?;
        }
        cache.tokens += new;
        let last = x.tensor().narrow(1, new - 1, 1)?.contiguous()?;
        let last = Variable::constant(last.reshape((batch, 1, self.dim))?);
        Ok(self.predict(&last, Mode::Evaluation)?.tensor().clone())
    }

    /// The operations of [`forward`](Self::forward) in training on `batch` sequences of `tokens` tokens:
    /// of the embedding, of each layer, and of the rest with the loss.
    pub fn operations(&self, batch: usize, tokens: usize) -> Result<Vec<Vec<Operation>>> {
        let mut layers = vec![self.embeddings.operations(batch, tokens)];
        let sizes = Sizes { batch, tokens, queries: tokens };
        for layer in &self.layers {
            layers.push(layer.operations(sizes, self.dim)?);
        }
        let rows = batch * tokens;
        let head = LinearOperation::of(&self.head, rows)?;
        let classes = head.usage.sides.0;
        layers.push(vec![
            self.norm.operation(rows),
            Operation::Linear(head),
            Operation::CrossEntropy { rows, classes },
        ]);
        Ok(layers)
    }
}

/// The keys and values of sequences so far, in all layers. It begins empty.
#[derive(Debug, Default)]
pub struct Cache {
    layers: Vec<KvCache>,
    tokens: usize,
}

impl Cache {
    /// Tokens of each sequence so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}
