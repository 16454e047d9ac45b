//! Vision Transformer (arXiv 2010.11929) with timm's layout, names and initialisation.
//!
//! image → patches → linear embedding → \[class token +\] learned positions → pre-norm blocks
//! `x + attn(norm1(x))`, `x + mlp(norm2(x))` → norm → head. GELU is the exact one (erf). With
//! `pool: mean` there is no class token and the mean over patches goes through `fc_norm` instead of
//! `norm` (timm's `global_pool="avg", class_token=False`). ViT-Lite of Compact Transformers (arXiv
//! 2104.05704) has `x ← norm2(x)`, `x ← x + mlp(x)` in place of the second half of a block, its own
//! initialisation, and timm's names.

use candle_core::{Result, Tensor, bail};

use super::operations::{Linear as LinearOperation, Operation};
use super::transformer::{Activation, BlockNames, BlockSizes, Norm, PreNormBlock, Sizes};
use crate::nn::ops::{self, Epilogue, Gelu};
use crate::nn::{Init, Kind, Mode, ParameterBuilder, Part, Role, Variable};
use crate::spec::{LoraSpec, Pool, RunSpec, VitSpec, VloraSpec};
use crate::vlora::{Linear, StackBuilder, Vector};

/// timm's `trunc_normal_(std=.02)` for linear weights and positions.
const WEIGHT_INIT: Init = Init::Normal { std: 0.02 };

/// A Vision Transformer; the module says how it computes.
#[derive(Debug)]
pub struct Vit {
    /// The patch embedding's kernel \[dim, channels, p, p\] and bias \[dim\], as in a convolution.
    patches: (Variable, Variable),
    class_token: Option<Variable>,
    /// \[1, tokens, dim\].
    positions: Variable,
    pub blocks: Vec<PreNormBlock>,
    norm: Norm,
    pool: Pool,
    head: Linear,
}

impl Vit {
    /// The model of a run, on `parameters`.
    pub fn of(run: &RunSpec, parameters: &mut dyn ParameterBuilder) -> Result<Vit> {
        let Some(model) = run.model.as_vit() else { bail!("the model is no Vision Transformer") };
        Vit::new(model, run.vlora.as_ref(), run.lora.as_ref(), parameters)
    }

    /// Builds the model on `parameters`. `vlora` is None for a dense model, `lora` is None for a model
    /// without LoRA.
    pub fn new(
        spec: &VitSpec,
        vlora: Option<&VloraSpec>,
        lora: Option<&LoraSpec>,
        parameters: &mut dyn ParameterBuilder,
    ) -> Result<Vit> {
        let dim = spec.dim;
        let role = |kind| Role::new(Part::Embedding, kind);
        let patch_inputs = spec.channels * spec.patch_size * spec.patch_size;
        // The patch embedding is a convolution in timm and keeps PyTorch's default initialisation.
        let conv = Init::KaimingUniform { fan_in: patch_inputs };
        let is_timm = spec.variant.is_timm();
        // Compact Transformers' inits.
        let kernel_init = match is_timm {
            true => conv,
            false => Init::Normal { std: (2.0 / patch_inputs as f64).sqrt() },
        };
        let (token_init, position_init) = match is_timm {
            true => (Init::Normal { std: 1e-6 }, WEIGHT_INIT),
            false => (Init::Zeros, Init::Normal { std: 0.2 }),
        };
        let patch_shape = [dim, spec.channels, spec.patch_size, spec.patch_size];
        let class_token = match spec.pool {
            Pool::ClassToken => {
                let (shape, role) = ([1, 1, dim], role(Kind::Token));
                Some(parameters.tensor("cls_token", &shape, token_init, role)?)
            }
            Pool::Mean => None,
        };
        let shape = [1, tokens(spec), dim];
        let positions = parameters.tensor("pos_embed", &shape, position_init, role(Kind::Token))?;
        let (kernel, bias) = ("patch_embed.proj.weight", "patch_embed.proj.bias");
        let patches = (
            parameters.tensor(kernel, &patch_shape, kernel_init, role(Kind::Matrix))?,
            parameters.tensor(bias, &[dim], conv, role(Kind::Bias))?,
        );
        let [stack] = &spec.stacks()[..] else { bail!("a Vision Transformer has one stack") };
        let mut stack = StackBuilder::new(stack, vlora, lora);
        let sizes = |layer: usize| BlockSizes {
            dim,
            heads: spec.heads,
            norm_eps: spec.norm_eps,
            activation: Activation::Gelu(Gelu::Exact),
            causal: false,
            dropout: spec.dropout,
            attention_dropout: spec.attention_dropout,
            activation_dropout: spec.dropout,
            drop_path_rate: spec.drop_path_rate(layer),
            norm_in_stream: !is_timm,
            init: WEIGHT_INIT,
            residual_init: WEIGHT_INIT,
        };
        let blocks = (0..stack.depth())
            .map(|i| PreNormBlock::new(&mut stack, parameters, i, &BlockNames::TIMM, sizes(i)))
            .collect::<Result<_>>()?;
        let norm = match spec.pool {
            Pool::ClassToken => "norm",
            Pool::Mean => "fc_norm",
        };
        let mut norm_part = |part: &str, init| {
            let role = Role::new(Part::Pooling, Kind::Norm);
            parameters.tensor(&format!("{norm}.{part}"), &[dim], init, role).map(Vector::plain)
        };
        let (scale, shift) = (norm_part("weight", Init::Ones)?, norm_part("bias", Init::Zeros)?);
        let norm = Norm::new(scale, Some(shift), dim, spec.norm_eps);
        let role = |kind| Role::new(Part::Head, kind);
        let shape = [spec.classes, dim];
        let head = Linear::dense(
            parameters.tensor("head.weight", &shape, WEIGHT_INIT, role(Kind::Matrix))?,
            Some(parameters.tensor("head.bias", &[spec.classes], Init::Zeros, role(Kind::Bias))?),
        );
        Ok(Vit { patches, class_token, positions, blocks, norm, pool: spec.pool, head })
    }

    /// images \[batch, channels, side, side\] → logits \[batch, classes\].
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Result<Variable> {
        let mut x = self.embed(images)?;
        let tokens = x.tensor().dim(1)?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, self.needed(i, tokens), mode)?;
        }
        self.classify(&x)
    }

    /// images → logits \[batch, classes\] as the head would give them after the embedding and after each
    /// block. The last are those of [`forward`](Self::forward) in evaluation.
    pub fn logit_lens(&self, images: &Tensor) -> Result<Vec<Variable>> {
        let mut x = self.embed(images)?;
        let tokens = x.tensor().dim(1)?;
        let mut all = vec![self.classify(&x)?];
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, self.needed(i, tokens), Mode::Evaluation)?;
            all.push(self.classify(&x)?);
        }
        Ok(all)
    }

    /// images → tokens \[batch, tokens, dim\] before the first block.
    pub fn embed(&self, images: &Tensor) -> Result<Variable> {
        let (kernel, bias) = &self.patches;
        ops::embed_patches(images, kernel, bias, self.class_token.as_ref(), &self.positions)
    }

    /// How many of a block's `tokens` are needed after it. After the last block only the class token is
    /// needed: the other tokens serve as its keys and values and have no result.
    fn needed(&self, block: usize, tokens: usize) -> usize {
        let last = block + 1 == self.blocks.len();
        if last && self.pool == Pool::ClassToken { 1 } else { tokens }
    }

    /// Tokens after the last block → logits. With a class token, only the first token is used.
    pub fn classify(&self, x: &Variable) -> Result<Variable> {
        // Normalising the class token alone gives timm's `norm(x)[:, 0]`.
        let pooled = match self.pool {
            Pool::ClassToken => {
                let (batch, _, dim) = x.tensor().dims3()?;
                ops::first_tokens(x, 1)?.reshape(&[batch, dim])?
            }
            Pool::Mean => ops::mean_tokens(x)?,
        };
        self.head.forward(&self.norm.forward(&pooled)?, Epilogue::None, Mode::Evaluation)
    }

    /// The operations of [`forward`](Self::forward) on `batch` images: of the embedding, of each block,
    /// and of the rest with the loss.
    pub fn operations(&self, batch: usize) -> Result<Vec<Vec<Operation>>> {
        let (_, tokens, dim) = self.positions.tensor().dims3()?;
        let (kernel, bias) = &self.patches;
        let patches = tokens - usize::from(self.class_token.is_some());
        let kernel = kernel.reshape(&[dim, kernel.tensor().elem_count() / dim.max(1)])?;
        let embedding =
            LinearOperation::of(&Linear::dense(kernel, Some(bias.clone())), batch * patches)?;
        let constants = [&self.positions].into_iter().chain(&self.class_token).cloned();
        let leaves = constants.flat_map(|token| Vector::plain(token).leaves()).collect();
        let mut layers = vec![vec![
            Operation::Linear(LinearOperation { input_is_data: true, ..embedding }),
            Operation::AddPositions { rows: batch * patches, width: dim, leaves },
        ]];
        for (i, block) in self.blocks.iter().enumerate() {
            let sizes = Sizes { batch, tokens, queries: self.needed(i, tokens) };
            layers.push(block.operations(sizes, dim)?);
        }
        let head = LinearOperation::of(&self.head, batch)?;
        let classes = head.usage.sides.0;
        let pooled = match self.pool {
            Pool::ClassToken => None,
            Pool::Mean => Some(Operation::MeanTokens { batch, tokens, width: dim }),
        };
        let rest = [
            self.norm.operation(batch),
            Operation::Linear(head),
            Operation::CrossEntropy { rows: batch, classes },
        ];
        layers.push(pooled.into_iter().chain(rest).collect());
        Ok(layers)
    }
}

/// Tokens per sequence, including the class token.
pub fn tokens(spec: &VitSpec) -> usize {
    let patches = (spec.image_size / spec.patch_size).pow(2);
    patches + usize::from(spec.pool == Pool::ClassToken)
}
