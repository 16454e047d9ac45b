//! `model`: the architecture and its sizes.

use serde::{Deserialize, Serialize};

use super::{
    Architecture, DecoderSpec, EncoderDecoderSpec, EncoderSpec, LayerWeight, Stack, Target,
    TextPool, distinct_weights,
};

/// A model: one variant an architecture.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ModelSpec {
    Vit(VitSpec),
    Encoder(EncoderSpec),
    Decoder(DecoderSpec),
    EncoderDecoder(EncoderDecoderSpec),
}

impl From<EncoderSpec> for ModelSpec {
    fn from(model: EncoderSpec) -> ModelSpec {
        ModelSpec::Encoder(model)
    }
}

impl From<DecoderSpec> for ModelSpec {
    fn from(model: DecoderSpec) -> ModelSpec {
        ModelSpec::Decoder(model)
    }
}

impl From<EncoderDecoderSpec> for ModelSpec {
    fn from(model: EncoderDecoderSpec) -> ModelSpec {
        ModelSpec::EncoderDecoder(model)
    }
}

impl From<VitSpec> for ModelSpec {
    fn from(model: VitSpec) -> ModelSpec {
        ModelSpec::Vit(model)
    }
}

impl ModelSpec {
    /// Number of Transformer layers, of the first stack if there are several.
    pub fn depth(&self) -> usize {
        match self {
            ModelSpec::Vit(model) => model.depth,
            ModelSpec::Encoder(model) => model.depth,
            ModelSpec::Decoder(model) => model.depth,
            ModelSpec::EncoderDecoder(model) => model.depth,
        }
    }

    pub fn heads(&self) -> usize {
        match self {
            ModelSpec::Vit(model) => model.heads,
            ModelSpec::Encoder(model) => model.heads,
            ModelSpec::Decoder(model) => model.heads,
            ModelSpec::EncoderDecoder(model) => model.heads,
        }
    }

    pub fn set_depth(&mut self, depth: usize) {
        match self {
            ModelSpec::Vit(model) => model.depth = depth,
            ModelSpec::Encoder(model) => model.depth = depth,
            ModelSpec::Decoder(model) => model.depth = depth,
            ModelSpec::EncoderDecoder(model) => model.depth = depth,
        }
    }

    /// Sets all rates of dropout and of stochastic depth to 0.
    pub fn disable_dropout(&mut self) {
        match self {
            ModelSpec::Vit(model) => {
                (model.dropout, model.attention_dropout) = (0.0, 0.0);
                model.stochastic_depth = 0.0;
            }
            ModelSpec::Encoder(model) => (model.dropout, model.attention_dropout) = (0.0, 0.0),
            ModelSpec::Decoder(model) => (model.dropout, model.attention_dropout) = (0.0, 0.0),
            ModelSpec::EncoderDecoder(model) => {
                (model.dropout, model.attention_dropout) = (0.0, 0.0);
                model.activation_dropout = 0.0;
            }
        }
    }

    /// Sets the width; the MLP's ratio to it stays.
    pub fn set_dim(&mut self, dim: usize) {
        match self {
            ModelSpec::Vit(model) => model.dim = dim,
            ModelSpec::Encoder(model) => model.dim = dim,
            ModelSpec::Decoder(model) => model.dim = dim,
            ModelSpec::EncoderDecoder(model) => model.dim = dim,
        }
    }

    /// Whether the MLP's hidden width is a whole number.
    pub fn hidden_is_whole(&self) -> bool {
        match self {
            ModelSpec::Vit(model) => whole_hidden(model.mlp_ratio, model.dim).is_some(),
            ModelSpec::Encoder(model) => whole_hidden(model.mlp_ratio, model.dim).is_some(),
            ModelSpec::Decoder(model) => whole_hidden(model.mlp_ratio, model.dim).is_some(),
            ModelSpec::EncoderDecoder(model) => whole_hidden(model.mlp_ratio, model.dim).is_some(),
        }
    }

    pub fn architecture(&self) -> Architecture {
        match self {
            ModelSpec::Vit(_) => Architecture::Vit,
            ModelSpec::Encoder(_) => Architecture::Encoder,
            ModelSpec::Decoder(_) => Architecture::Decoder,
            ModelSpec::EncoderDecoder(_) => Architecture::EncoderDecoder,
        }
    }

    /// Width of the residual stream.
    pub fn dim(&self) -> usize {
        match self {
            ModelSpec::Vit(model) => model.dim,
            ModelSpec::Encoder(model) => model.dim,
            ModelSpec::Decoder(model) => model.dim,
            ModelSpec::EncoderDecoder(model) => model.dim,
        }
    }

    /// Number of classes; of a model that writes text, the tokens that it chooses from.
    pub fn classes(&self) -> usize {
        match self {
            ModelSpec::Vit(model) => model.classes,
            ModelSpec::Encoder(model) => model.classes,
            ModelSpec::Decoder(model) => model.vocabulary,
            ModelSpec::EncoderDecoder(model) => model.target_vocabulary,
        }
    }

    /// The sizes of a Vision Transformer; None for another architecture.
    pub fn as_vit(&self) -> Option<&VitSpec> {
        match self {
            ModelSpec::Vit(model) => Some(model),
            _ => None,
        }
    }

    /// What the classifier of a text encoder takes; None for another architecture.
    pub fn text_pool(&self) -> Option<TextPool> {
        self.as_encoder().map(|model| model.pool)
    }

    /// The sizes of a text encoder; None for another architecture.
    pub fn as_encoder(&self) -> Option<&EncoderSpec> {
        match self {
            ModelSpec::Encoder(model) => Some(model),
            _ => None,
        }
    }

    /// The sizes of a language model's decoder; None for another architecture.
    pub fn as_decoder(&self) -> Option<&DecoderSpec> {
        match self {
            ModelSpec::Decoder(model) => Some(model),
            _ => None,
        }
    }

    /// The sizes of an encoder-decoder; None for another architecture.
    pub fn as_encoder_decoder(&self) -> Option<&EncoderDecoderSpec> {
        match self {
            ModelSpec::EncoderDecoder(model) => Some(model),
            _ => None,
        }
    }

    /// The model itself, if a state dict alone does not say how it computes, as PyTorch's of an
    /// encoder-decoder; else None.
    pub fn needed_to_read_state_dicts(&self) -> Option<&ModelSpec> {
        match self {
            ModelSpec::Vit(_) | ModelSpec::Encoder(_) | ModelSpec::Decoder(_) => None,
            ModelSpec::EncoderDecoder(_) => Some(self),
        }
    }

    /// Brings values that mean the same to the same: one ratio for one hidden width, however it was
    /// rounded.
    pub fn normalise(&mut self) {
        match self {
            ModelSpec::Vit(model) => model.mlp_ratio = model.hidden() as f64 / model.dim as f64,
            ModelSpec::Encoder(model) => {
                model.mlp_ratio = model.hidden() as f64 / model.dim as f64;
            }
            ModelSpec::Decoder(model) => {
                model.mlp_ratio = model.hidden() as f64 / model.dim as f64;
            }
            ModelSpec::EncoderDecoder(model) => {
                model.mlp_ratio = model.hidden() as f64 / model.dim as f64;
                model.decoder_depth = model.decoder_depth.filter(|depth| *depth != model.depth);
            }
        }
    }

    /// The model's layers and the weights that each has.
    pub fn stacks(&self) -> Vec<Stack> {
        match self {
            ModelSpec::Vit(model) => model.stacks(),
            ModelSpec::Encoder(model) => model.stacks(),
            ModelSpec::Decoder(model) => model.stacks(),
            ModelSpec::EncoderDecoder(model) => model.stacks(),
        }
    }
}

/// Vision Transformer (arXiv 2010.11929) for square images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitSpec {
    /// Always [`Architecture::Vit`]; reading a run sees to it.
    pub architecture: Architecture,
    /// Side of the square input image, pixels.
    pub image_size: usize,
    /// Side of a square patch, pixels.
    pub patch_size: usize,
    #[serde(default = "three")]
    pub channels: usize,
    pub classes: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Number of Transformer layers.
    pub depth: usize,
    pub heads: usize,
    /// MLP hidden width over `dim`.
    #[serde(default = "four")]
    pub mlp_ratio: f64,
    #[serde(default)]
    pub pool: Pool,
    /// ε of the layer norms: 1e-6 in timm, `layer_norm_eps` in Hugging Face's configs.
    #[serde(default = "norm_eps")]
    pub norm_eps: f64,
    #[serde(default)]
    pub variant: VitVariant,
    /// Dropout rate after attention's projection and both layers of the MLP: timm's `proj_drop_rate`.
    #[serde(default)]
    pub dropout: f64,
    /// Dropout rate of the attention weights: timm's `attn_drop_rate`.
    #[serde(default)]
    pub attention_dropout: f64,
    /// Stochastic depth (arXiv 1603.09382), timm's `drop_path_rate`: the probability that training leaves
    /// out the last layer's attention, and its MLP, for an example. It rises linearly from 0 in the first
    /// layer.
    #[serde(default)]
    pub stochastic_depth: f64,
}

/// The layers of a Vision Transformer, and how weights start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VitVariant {
    /// timm's `vit_*`.
    #[default]
    Timm,
    /// ViT-Lite of Compact Transformers (arXiv 2104.05704): `x ← x + attn(norm1(x))`, `x ← norm2(x)`,
    /// `x ← x + mlp(x)`, and queries, keys and values have no bias. Its norms' ε is 1e-5, and its `dropout`
    /// also drops values of the embedding, which this program's does not.
    CompactTransformers,
}

impl VitVariant {
    pub fn is_timm(&self) -> bool {
        *self == VitVariant::Timm
    }
}

fn three() -> usize {
    3
}
fn four() -> f64 {
    4.0
}
fn norm_eps() -> f64 {
    1e-6
}

/// The hidden width of an MLP. None where `ratio · dim` is no whole number but for the rounding of a
/// ratio that was itself a quotient.
pub fn whole_hidden(ratio: f64, dim: usize) -> Option<usize> {
    let hidden = ratio * dim as f64;
    let whole = hidden.round() >= 1.0 && (hidden - hidden.round()).abs() <= 1e-9 * hidden;
    whole.then(|| hidden.round() as usize)
}

/// What the classifier reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pool {
    /// A learned token in front of the patches, normalised by `norm`.
    #[default]
    ClassToken,
    /// The mean over patches, then `fc_norm`; no class token.
    Mean,
}

impl VitSpec {
    /// MLP hidden width; a whole number, since validation asks for one.
    pub fn hidden(&self) -> usize {
        (self.mlp_ratio * self.dim as f64).round() as usize
    }

    /// The model's layers, by timm's names.
    pub fn stacks(&self) -> Vec<Stack> {
        let weights = VitSpec::layer_weights(self.dim, self.hidden(), self.variant);
        vec![Stack { name: "blocks", prefix: "blocks", depth: self.depth, weights }]
    }

    /// The weights of a layer of this width, with an MLP of this hidden width.
    pub fn layer_weights(dim: usize, hidden: usize, variant: VitVariant) -> Vec<LayerWeight> {
        let linears = [
            ("attn.qkv", 3 * dim, dim),
            ("attn.proj", dim, dim),
            ("mlp.fc1", hidden, dim),
            ("mlp.fc2", dim, hidden),
        ];
        let norms = ["norm1", "norm2"].map(|name| LayerWeight::norm(name, dim, true));
        let norms = norms.into_iter().flatten();
        let has_bias = |name: &str| name != "attn.qkv" || variant.is_timm();
        let matrix = |&(name, out, input): &(&str, usize, usize)| {
            LayerWeight::matrix(name, out, input, has_bias(name))
        };
        let biased = linears.iter().filter(|(name, ..)| has_bias(name));
        let biases = biased.map(|(name, out, _)| LayerWeight::bias(name, *out));
        linears.iter().map(matrix).chain(biases).chain(norms).collect()
    }

    /// The rate of stochastic depth in layer `layer`, from 0.
    pub fn drop_path_rate(&self, layer: usize) -> f64 {
        self.stochastic_depth * layer as f64 / self.depth.saturating_sub(1).max(1) as f64
    }
}

impl ModelSpec {
    /// The weights that `vlora.targets` and `lora.targets` may name, each once: all stacks' in their
    /// order.
    pub fn weights(&self) -> Vec<LayerWeight> {
        distinct_weights(self.stacks())
    }

    /// The weight of this name, of the first stack that has it.
    pub fn weight(&self, target: &Target) -> Option<LayerWeight> {
        self.weights().into_iter().find(|weight| weight.target == *target)
    }

    /// Whether a target is a vector, which has neither rank nor alpha.
    pub fn is_vector(&self, target: &Target) -> bool {
        self.weight(target).is_some_and(|weight| weight.is_vector())
    }

    /// What targets are where a spec names none: every matrix.
    pub fn matrices(&self) -> Vec<Target> {
        let matrices = self.weights().into_iter().filter(|weight| !weight.is_vector());
        matrices.map(|weight| weight.target).collect()
    }
}
