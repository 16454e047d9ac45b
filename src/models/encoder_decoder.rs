//! Transformer with an encoder and a decoder (arXiv 1706.03762), as `torch.nn.Transformer` with
//! embeddings, positions and an output layer around it. Layers have PyTorch's names, but that the packed
//! `in_proj_weight` of self-attention is `in_proj.weight`, and that of cross-attention is three matrices:
//! `query.weight`, `key.weight` and `value.weight`.
//!
//! source ids → token embeddings · √dim + positions → encoder layers → norm → memory;
//! target ids → token embeddings · √dim + positions → decoder layers, which attend to the memory → norm →
//! logits of the next token. Scaling and norms are options. The output layer's matrix may be the target's
//! embedding.

use std::sync::OnceLock;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::operations::{Linear as LinearOperation, Operation};
pub use super::transformer::Tokens;
use super::transformer::{DecoderLayer, EncoderLayer, KvCache, LayerSizes, Norm};
use crate::nn::ops::{self, Epilogue};
use crate::nn::{Init, Kind, Mode, ParameterBuilder, Part, Role, Variable};
use crate::spec::{
    AttentionInit, EmbeddingInit, EncoderDecoderSpec, FinalNorm, LoraSpec, PositionKind, RunSpec,
    VloraSpec,
};
use crate::vlora::{Linear, StackBuilder, Vector};

/// A Transformer for translation; the module says how it computes.
#[derive(Debug)]
pub struct EncoderDecoder {
    source: Embedding,
    target: Embedding,
    encoder: Vec<EncoderLayer>,
    encoder_norm: Option<Norm>,
    decoder: Vec<DecoderLayer>,
    decoder_norm: Option<Norm>,
    output: Linear,
    dim: usize,
    /// The most tokens of a sentence.
    positions: usize,
}

impl EncoderDecoder {
    /// The model of a run, on `parameters`.
    pub fn of(run: &RunSpec, parameters: &mut dyn ParameterBuilder) -> Result<EncoderDecoder> {
        let Some(model) = run.model.as_encoder_decoder() else {
            bail!("the model is no encoder-decoder")
        };
        EncoderDecoder::new(model, run.vlora.as_ref(), run.lora.as_ref(), parameters)
    }

    /// Builds the model on `parameters`. `vlora` is None for a dense model, `lora` is None for a model
    /// without LoRA.
    pub fn new(
        spec: &EncoderDecoderSpec,
        vlora: Option<&VloraSpec>,
        lora: Option<&LoraSpec>,
        parameters: &mut dyn ParameterBuilder,
    ) -> Result<EncoderDecoder> {
        let dim = spec.dim;
        let (source, target) = Embedding::of_both(spec, parameters)?;
        let stacks = spec.stacks();
        let [encoder, decoder] = &stacks[..] else { bail!("an encoder-decoder has two stacks") };
        let sizes = LayerSizes {
            dim,
            hidden: spec.hidden(),
            heads: spec.heads,
            norm: spec.norm,
            norm_eps: spec.norm_eps,
            activation: spec.activation.into(),
            dropout: spec.dropout,
            attention_dropout: spec.attention_dropout,
            activation_dropout: spec.activation_dropout,
            attention_init: Init::XavierUniform {
                fan_in: dim,
                fan_out: match spec.attention_init {
                    AttentionInit::Packed => 3 * dim,
                    AttentionInit::Separate => dim,
                },
            },
        };
        let mut stack = StackBuilder::new(encoder, vlora, lora);
        let encoder = (0..stack.depth())
            .map(|i| EncoderLayer::new(&mut stack, parameters, i, sizes))
            .collect::<Result<_>>()?;
        let of_encoder = spec.final_norm == FinalNorm::Both;
        let encoder_norm = final_norm(spec, "encoder.norm", of_encoder, parameters)?;
        let mut stack = StackBuilder::new(decoder, vlora, lora);
        let decoder = (0..stack.depth())
            .map(|i| DecoderLayer::new(&mut stack, parameters, i, sizes))
            .collect::<Result<_>>()?;
        let of_decoder = spec.final_norm != FinalNorm::None;
        let decoder_norm = final_norm(spec, "decoder.norm", of_decoder, parameters)?;
        let rows = spec.target_vocabulary;
        let matrix = match spec.tied {
            true => target.tokens.clone(),
            false => {
                let init = Init::XavierUniform { fan_in: dim, fan_out: rows };
                let role = Role::new(Part::Head, Kind::Matrix);
                parameters.tensor("output.weight", &[rows, dim], init, role)?
            }
        };
        let bias = match spec.output_bias {
            true => {
                let role = Role::new(Part::Head, Kind::Bias);
                Some(parameters.tensor("output.bias", &[rows], Init::Zeros, role)?)
            }
            false => None,
        };
        let output = Linear::dense(matrix, bias);
        let positions = spec.positions;
        Ok(EncoderDecoder {
            source,
            target,
            encoder,
            encoder_norm,
            decoder,
            decoder_norm,
            output,
            dim,
            positions,
        })
    }

    /// The most tokens of a sentence.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Sentences and the beginnings of their translations → the logits of the token after each token of
    /// the translations that is no padding, one sentence after another: \[sum of the target's lengths,
    /// target vocabulary\].
    pub fn forward(&self, source: &Tokens, target: &Tokens, mode: Mode) -> Result<Variable> {
        let memory = self.encode(source, mode)?;
        let mut x = self.target.forward(&target.ids, mode)?;
        for layer in &self.decoder {
            x = layer.forward(&x, &target.lengths, &memory, &source.lengths, mode)?;
        }
        self.predict(&ops::valid_tokens(&x, &target.lengths)?, mode)
    }

    /// The logits as [`forward`](Self::forward) gives them in evaluation, as norm and output layer would
    /// give them after the target's embedding and after each layer of the decoder, and what `read` makes
    /// of each. The last are those of `forward`.
    pub fn logit_lens<T>(
        &self,
        source: &Tokens,
        target: &Tokens,
        mut read: impl FnMut(&Variable) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mode = Mode::Evaluation;
        let memory = self.encode(source, mode)?;
        let mut x = self.target.forward(&target.ids, mode)?;
        let mut of =
            |x: &Variable| read(&self.predict(&ops::valid_tokens(x, &target.lengths)?, mode)?);
        let mut all = vec![of(&x)?];
        for layer in &self.decoder {
            x = layer.forward(&x, &target.lengths, &memory, &source.lengths, mode)?;
            all.push(of(&x)?);
        }
        Ok(all)
    }

    /// Sentences → the encoder's result, \[batch, tokens, dim\].
    fn encode(&self, source: &Tokens, mode: Mode) -> Result<Variable> {
        let mut x = self.source.forward(&source.ids, mode)?;
        for layer in &self.encoder {
            x = layer.forward(&x, &source.lengths, mode)?;
        }
        match &self.encoder_norm {
            Some(norm) => norm.forward(&x),
            None => Ok(x),
        }
    }

    /// \[rows, dim\] → logits \[rows, target vocabulary\].
    fn predict(&self, x: &Variable, mode: Mode) -> Result<Variable> {
        let x = match &self.decoder_norm {
            Some(norm) => norm.forward(x)?,
            None => x.clone(),
        };
        self.output.forward(&x, Epilogue::None, mode)
    }

    /// What the decoder needs of sentences, to translate them token by token.
    pub fn memory(&self, source: &Tokens) -> Result<Memory> {
        let encoded = self.encode(source, Mode::Evaluation)?;
        let layers = self.decoder.iter().map(|layer| layer.keys_and_values(&encoded));
        Ok(Memory { layers: layers.collect::<Result<_>>()?, lengths: source.lengths.clone() })
    }

    /// Continues translations by a token each: \[translations, 1\] u32 → the logits of the token after it,
    /// \[translations, target vocabulary\]. Each sentence of `memory` has equally many translations, which
    /// follow one another. `cache` holds what the layers computed for the tokens before; it takes the new
    /// ones, too.
    ///
    /// # Errors
    ///
    /// If the model has no further position, if the number of translations is no multiple of that of
    /// sentences, or if `cache` holds another number of translations.
    pub fn next(&self, ids: &Tensor, memory: &Memory, cache: &mut Cache) -> Result<Tensor> {
        let (batch, new) = ids.dims2()?;
        let past = cache.tokens;
        if new != 1 || past >= self.positions {
            bail!("{past} tokens and {new} new ones, of at most {}", self.positions);
        }
        if memory.lengths.is_empty() || batch % memory.lengths.len() != 0 {
            bail!("{batch} translations of {} sentences", memory.lengths.len());
        }
        if past > 0 && cache.translations != batch {
            bail!("{batch} translations after {}", cache.translations);
        }
        cache.layers.resize_with(self.decoder.len(), KvCache::default);
        let mut x = self.target.after(ids, past)?;
        let layers = self.decoder.iter().zip(&mut cache.layers).zip(&memory.layers);
        for ((layer, cache), [keys, values]) in layers {
            x = layer.next(&x, cache, [keys, values], &memory.lengths)?;
        }
        (cache.translations, cache.tokens) = (batch, past + 1);
        let x = x.reshape(&[batch, self.dim])?;
        Ok(self.predict(&x, Mode::Evaluation)?.tensor().clone())
    }

    /// The operations of [`forward`](Self::forward) in training on `batch` pairs of sentences of `tokens`
    /// tokens each: of the embeddings, of each layer, and of the rest with the loss.
    pub fn operations(&self, batch: usize, tokens: usize) -> Result<Vec<Vec<Operation>>> {
        let rows = batch * tokens;
        let norm = |norm: &Option<Norm>| norm.iter().map(|n| n.operation(rows)).collect::<Vec<_>>();
        let mut layers = vec![self.source.operations(rows)];
        for layer in &self.encoder {
            layers.push(layer.operations(batch, tokens)?);
        }
        if let Some(last) = layers.last_mut() {
            last.extend(norm(&self.encoder_norm));
        }
        let mut embedding = self.target.operations(rows);
        for layer in &self.decoder {
            embedding.extend(layer.operations(batch, tokens, tokens)?);
            layers.push(std::mem::take(&mut embedding));
        }
        let output = LinearOperation::of(&self.output, rows)?;
        let classes = output.usage.sides.0;
        let mut rest = norm(&self.decoder_norm);
        rest.push(Operation::Linear(output));
        rest.push(Operation::CrossEntropy { rows, classes });
        layers.push(rest);
        Ok(layers)
    }
}

fn final_norm(
    spec: &EncoderDecoderSpec,
    name: &str,
    is_there: bool,
    parameters: &mut dyn ParameterBuilder,
) -> Result<Option<Norm>> {
    if !is_there {
        return Ok(None);
    }
    let mut vector = |part: &str, init| {
        let role = Role::new(Part::Pooling, Kind::Norm);
        let vector = parameters.tensor(&format!("{name}.{part}"), &[spec.dim], init, role)?;
        Ok::<_, candle_core::Error>(Vector::plain(vector))
    };
    let (scale, shift) = (vector("weight", Init::Ones)?, vector("bias", Init::Zeros)?);
    Ok(Some(Norm::new(scale, Some(shift), spec.dim, spec.norm_eps)))
}

/// The cache of cross-attention: for each layer the keys and values of the sources, \[sentences, tokens,
/// dim\] each.
#[derive(Clone, Debug)]
pub struct Memory {
    layers: Vec<[Tensor; 2]>,
    lengths: Vec<usize>,
}

impl Memory {
    /// The sentences with these numbers, in this order; one may be taken several times.
    ///
    /// # Errors
    ///
    /// If there is no such sentence.
    pub fn select(&self, sentences: &[u32]) -> Result<Memory> {
        let Some([keys, _]) = self.layers.first() else { return Ok(self.clone()) };
        let count = self.lengths.len();
        if let Some(other) = sentences.iter().find(|number| **number as usize >= count) {
            bail!("there are {count} sentences, and none has the number {other}");
        }
        let rows = Tensor::new(sentences, keys.device())?;
        let of = |[keys, values]: &[Tensor; 2]| {
            Ok([ops::select_sequences(keys, &rows)?, ops::select_sequences(values, &rows)?])
        };
        let layers = self.layers.iter().map(of).collect::<Result<_>>()?;
        let lengths = sentences.iter().map(|number| self.lengths[*number as usize]).collect();
        Ok(Memory { layers, lengths })
    }
}

/// The keys and values of translations so far, in all layers. It begins empty.
#[derive(Debug, Default)]
pub struct Cache {
    layers: Vec<KvCache>,
    translations: usize,
    tokens: usize,
}

impl Cache {
    /// Takes the translations with these numbers, in this order; one may be taken several times.
    ///
    /// # Errors
    ///
    /// If there is no such translation.
    pub fn select(&mut self, translations: &[u32], device: &Device) -> Result<()> {
        if let Some(other) =
            translations.iter().find(|number| **number as usize >= self.translations)
        {
            bail!("there are {} translations, and none has the number {other}", self.translations);
        }
        self.translations = translations.len();
        let rows = Tensor::new(translations, device)?;
        self.layers.iter_mut().try_for_each(|layer| layer.select(&rows))
    }
}

/// `dropout(tokens · scale + positions)`.
#[derive(Debug)]
struct Embedding {
    /// \[vocabulary, dim\].
    tokens: Variable,
    scale: Option<f64>,
    positions: Positions,
    dropout: f64,
    /// The name that seeds its dropout masks.
    name: &'static str,
}

#[derive(Debug)]
enum Positions {
    /// \[positions, dim\].
    Learned(Variable),
    /// The table, made when it is first needed.
    Sinusoidal { positions: usize, dim: usize, in_halves: bool, table: OnceLock<Tensor> },
}

impl Embedding {
    /// Those of the source and of the target.
    fn of_both(
        spec: &EncoderDecoderSpec,
        parameters: &mut dyn ParameterBuilder,
    ) -> Result<(Embedding, Embedding)> {
        let (dim, role) = (spec.dim, Role::new(Part::Embedding, Kind::Table));
        let mut table = |name: &str, rows: usize| {
            let init = match spec.embedding_init {
                EmbeddingInit::Normal => Init::Normal { std: (dim as f64).powf(-0.5) },
                EmbeddingInit::XavierUniform => Init::XavierUniform { fan_in: dim, fan_out: rows },
            };
            parameters.tensor(name, &[rows, dim], init, role)
        };
        let (source, target) = match spec.shared_embedding {
            true => {
                let both = table("embedding.weight", spec.source_vocabulary)?;
                (both.clone(), both)
            }
            false => (
                table("source_embedding.weight", spec.source_vocabulary)?,
                table("target_embedding.weight", spec.target_vocabulary)?,
            ),
        };
        let mut positions = |name: &str| {
            Ok::<_, candle_core::Error>(match spec.position_embedding {
                PositionKind::Learned => Positions::Learned(table(name, spec.positions)?),
                PositionKind::Sinusoidal | PositionKind::SinusoidalHalves => {
                    let in_halves = spec.position_embedding == PositionKind::SinusoidalHalves;
                    let (positions, table) = (spec.positions, OnceLock::new());
                    Positions::Sinusoidal { positions, dim, in_halves, table }
                }
            })
        };
        let source_positions = positions("source_positions.weight")?;
        let target_positions = positions("target_positions.weight")?;
        let scale = spec.scale_embedding.then(|| (dim as f64).sqrt());
        let embedding = |tokens, positions, name| Embedding {
            tokens,
            scale,
            positions,
            dropout: spec.dropout,
            name,
        };
        Ok((
            embedding(source, source_positions, "source_embedding"),
            embedding(target, target_positions, "target_embedding"),
        ))
    }

    /// Token ids \[batch, tokens\] u32 → \[batch, tokens, dim\].
    fn forward(&self, ids: &Tensor, mode: Mode) -> Result<Variable> {
        let x = self.scaled(ids)?;
        let x = ops::add_positions(&x, &self.positions.table(x.tensor().device())?)?;
        match mode.dropout(self.dropout, self.name) {
            Some(dropout) => ops::dropout(&x, &dropout),
            None => Ok(x),
        }
    }

    /// The same in evaluation for a token \[batch, 1\] that follows `past` others.
    fn after(&self, ids: &Tensor, past: usize) -> Result<Variable> {
        let x = self.scaled(ids)?;
        let table = self.positions.table(x.tensor().device())?;
        let row = table.tensor().narrow(0, past, 1)?.to_dtype(x.tensor().dtype())?;
        Ok(Variable::constant(x.tensor().broadcast_add(&row)?))
    }

    fn scaled(&self, ids: &Tensor) -> Result<Variable> {
        let x = ops::embedding(&self.tokens, ids)?;
        self.scale.map_or(Ok(x.clone()), |scale| ops::scale(&x, scale))
    }

    /// The operations of [`forward`](Self::forward) on `rows` tokens.
    fn operations(&self, rows: usize) -> Vec<Operation> {
        let leaves = |table: &Variable| Vector::plain(table.clone()).leaves();
        let width = self.tokens.dims().last().copied().unwrap_or_default();
        let positions = match &self.positions {
            Positions::Learned(table) => leaves(table),
            Positions::Sinusoidal { .. } => Vec::new(),
        };
        let mut operations = vec![
            Operation::Lookup { rows, width, leaves: leaves(&self.tokens) },
            Operation::AddPositions { rows, width, leaves: positions },
        ];
        if self.dropout > 0.0 {
            operations.push(Operation::Dropout { rows, width });
        }
        operations
    }
}

impl Positions {
    /// The table \[positions, dim\] in float32, as all parameters are; operations convert it as they add it.
    fn table(&self, device: &Device) -> Result<Variable> {
        match self {
            Positions::Learned(table) => Ok(table.clone()),
            Positions::Sinusoidal { positions, dim, in_halves, table } => {
                if let Some(made) = table.get() {
                    return Ok(Variable::constant(made.clone()));
                }
                let made = sinusoids(*positions, *dim, *in_halves, device)?;
                Ok(Variable::constant(table.get_or_init(|| made).clone()))
            }
        }
    }
}

/// Sines and cosines of position · 10000^(−2i / dim), in turn (arXiv 1706.03762, section 3.5), or all sines in
/// front of all cosines: \[positions, dim\].
pub fn sinusoids(positions: usize, dim: usize, in_halves: bool, device: &Device) -> Result<Tensor> {
    let sines = dim.div_ceil(2);
    let value = |position: usize, column: usize| {
        let (i, is_sine) = match in_halves {
            true => (column % sines, column < sines),
            false => (column / 2, column.is_multiple_of(2)),
        };
        let angle = position as f64 / 10_000f64.powf((2 * i) as f64 / dim as f64);
        (if is_sine { angle.sin() } else { angle.cos() }) as f32
    };
    let row = |position: usize| (0..dim).map(move |i| value(position, i));
    let values: Vec<f32> = (0..positions).flat_map(row).collect();
    Tensor::from_vec(values, (positions, dim), device)?.to_dtype(DType::F32)
}
