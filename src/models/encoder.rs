//! Transformer encoder for texts, like BERT (arXiv 1810.04805). Parameters have the names of Hugging
//! Face's `BertForSequenceClassification` without the prefix `bert.`.
//!
//! token ids → embeddings of tokens, positions and token types, summed → norm → post-norm layers → pooling
//! → classifier. Pooling takes the first token through a linear layer and tanh (`pooler`), the first token
//! itself, or the mean over tokens.

use candle_core::{Result, Tensor, bail};

use super::operations::{Linear as LinearOperation, Operation};
pub use super::transformer::Tokens;
use super::transformer::{PostNormLayer, PostNormSizes, Sizes, TokenEmbeddings};
use crate::nn::ops::{self, Epilogue};
use crate::nn::{Init, Kind, Mode, ParameterBuilder, Part, Role, Variable};
use crate::spec::{EncoderSpec, LoraSpec, RunSpec, TextPool, VloraSpec};
use crate::vlora::{Linear, StackBuilder};

/// transformers' `initializer_range`, for linear weights and tables.
const WEIGHT_INIT: Init = Init::Normal { std: 0.02 };

/// An encoder for texts with a classifier; the module says how it computes.
#[derive(Debug)]
pub struct Encoder {
    embeddings: TokenEmbeddings,
    layers: Vec<PostNormLayer>,
    pool: TextPool,
    pooler: Option<Linear>,
    head: Linear,
    dropout: f64,
    dim: usize,
}

impl Encoder {
    /// The model of a run, on `parameters`.
    pub fn of(run: &RunSpec, parameters: &mut dyn ParameterBuilder) -> Result<Encoder> {
        let Some(model) = run.model.as_encoder() else { bail!("the model is no text encoder") };
        Encoder::new(model, run.vlora.as_ref(), run.lora.as_ref(), parameters)
    }

    /// Builds the model on `parameters`. `vlora` is None for a dense model, `lora` is None for a model
    /// without LoRA.
    pub fn new(
        spec: &EncoderSpec,
        vlora: Option<&VloraSpec>,
        lora: Option<&LoraSpec>,
        parameters: &mut dyn ParameterBuilder,
    ) -> Result<Encoder> {
        let dim = spec.dim;
        let embeddings = TokenEmbeddings::of_encoder(spec, parameters, WEIGHT_INIT)?;
        let [stack] = &spec.stacks()[..] else { bail!("an encoder has one stack") };
        let mut stack = StackBuilder::new(stack, vlora, lora);
        let sizes = PostNormSizes {
            dim,
            heads: spec.heads,
            norm_eps: spec.norm_eps,
            activation: spec.activation.into(),
            dropout: spec.dropout,
            attention_dropout: spec.attention_dropout,
        };
        let layers = (0..stack.depth())
            .map(|i| PostNormLayer::new(&mut stack, parameters, i, sizes, WEIGHT_INIT))
            .collect::<Result<_>>()?;
        let mut linear = |name: &str, output: usize, part: Part| -> Result<Linear> {
            let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
            let matrix = Role::new(part, Kind::Matrix);
            let weight = parameters.tensor(&weight, &[output, dim], WEIGHT_INIT, matrix)?;
            let role = Role::new(part, Kind::Bias);
            let bias = parameters.tensor(&bias, &[output], Init::Zeros, role)?;
            Ok(Linear::dense(weight, Some(bias)))
        };
        let pooler = match spec.pool {
            TextPool::Pooler => Some(linear("pooler.dense", dim, Part::Pooling)?),
            TextPool::ClassToken | TextPool::Mean => None,
        };
        let head = linear("classifier", spec.classes, Part::Head)?;
        let (pool, dropout) = (spec.pool, spec.dropout);
        Ok(Encoder { embeddings, layers, pool, pooler, head, dropout, dim })
    }

    /// Texts → logits \[batch, classes\].
    pub fn forward(&self, texts: &Tokens, mode: Mode) -> Result<Variable> {
        self.classify(&self.encode(texts, mode)?, texts, mode)
    }

    /// Texts → logits \[batch, classes\] as pooling and classifier would give them after the embedding and
    /// after each layer. The last are those of [`forward`](Self::forward) in evaluation.
    pub fn logit_lens(&self, texts: &Tokens) -> Result<Vec<Variable>> {
        let tokens = texts.ids.dim(1)?;
        let mut x = self.embed(texts, Mode::Evaluation)?;
        let mut all = vec![self.classify(&x, texts, Mode::Evaluation)?];
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, &texts.lengths, self.needed(i, tokens), Mode::Evaluation)?;
            all.push(self.classify(&x, texts, Mode::Evaluation)?);
        }
        Ok(all)
    }

    fn embed(&self, texts: &Tokens, mode: Mode) -> Result<Variable> {
        self.embeddings.forward(&texts.ids, texts.types.as_ref(), mode)
    }

    /// Tokens after a layer → logits. Unless pooling is the mean, only the first token is used.
    fn classify(&self, x: &Variable, texts: &Tokens, mode: Mode) -> Result<Variable> {
        let pooled = match self.pool {
            TextPool::Mean => ops::mean_valid_tokens(x, &texts.lengths)?,
            TextPool::Pooler | TextPool::ClassToken => {
                let (batch, _, dim) = x.tensor().dims3()?;
                ops::first_tokens(x, 1)?.reshape(&[batch, dim])?
            }
        };
        let pooled = match &self.pooler {
            Some(pooler) => ops::tanh(&pooler.forward(&pooled, Epilogue::None, mode)?)?,
            None => pooled,
        };
        let pooled = match mode.dropout(self.dropout, "classifier") {
            Some(dropout) => ops::dropout(&pooled, &dropout)?,
            None => pooled,
        };
        self.head.forward(&pooled, Epilogue::None, mode)
    }

    /// Texts → the last layer's tokens that pooling needs: all of them, or the first.
    fn encode(&self, texts: &Tokens, mode: Mode) -> Result<Variable> {
        let tokens = texts.ids.dim(1)?;
        let mut x = self.embed(texts, mode)?;
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(&x, &texts.lengths, self.needed(i, tokens), mode)?;
        }
        Ok(x)
    }

    /// Texts → the results of the embedding and of each layer in evaluation, \[batch, tokens, dim\]
    /// each. Tokens beyond a text's length have no meaning.
    pub fn hidden_states(&self, texts: &Tokens) -> Result<Vec<Tensor>> {
        let tokens = texts.ids.dim(1)?;
        let mut x = self.embed(texts, Mode::Evaluation)?;
        let mut all = vec![x.tensor().clone()];
        for layer in &self.layers {
            x = layer.forward(&x, &texts.lengths, tokens, Mode::Evaluation)?;
            all.push(x.tensor().clone());
        }
        Ok(all)
    }

    /// How many of a layer's `tokens` are needed after it. After the last layer only the first token is
    /// needed, unless pooling is the mean: the other tokens serve as its keys and values.
    fn needed(&self, layer: usize, tokens: usize) -> usize {
        let last = layer + 1 == self.layers.len();
        if last && self.pool != TextPool::Mean { 1 } else { tokens }
    }

    /// The operations of [`forward`](Self::forward) in training on `batch` texts of `tokens` tokens: of
    /// the embedding, of each layer, and of the rest with the loss.
    pub fn operations(&self, batch: usize, tokens: usize) -> Result<Vec<Vec<Operation>>> {
        let mut layers = vec![self.embeddings.operations(batch, tokens)];
        for (i, layer) in self.layers.iter().enumerate() {
            let sizes = Sizes { batch, tokens, queries: self.needed(i, tokens) };
            layers.push(layer.operations(sizes, self.dim)?);
        }
        let mut rest = Vec::new();
        if self.pool == TextPool::Mean {
            rest.push(Operation::MeanTokens { batch, tokens, width: self.dim });
        }
        if let Some(pooler) = &self.pooler {
            rest.push(Operation::Linear(LinearOperation::of(pooler, batch)?));
            rest.push(Operation::Activation { rows: batch, width: self.dim });
        }
        if self.dropout > 0.0 {
            rest.push(Operation::Dropout { rows: batch, width: self.dim });
        }
        let head = LinearOperation::of(&self.head, batch)?;
        let classes = head.usage.sides.0;
        rest.push(Operation::Linear(head));
        rest.push(Operation::CrossEntropy { rows: batch, classes });
        layers.push(rest);
        Ok(layers)
    }
}
