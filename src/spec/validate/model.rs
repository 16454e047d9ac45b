//! `model`: sizes that an architecture can have.

use super::check::Check;
use crate::spec::error::SpecError;
use crate::spec::schema::{
    DecoderSpec, EncoderDecoderSpec, EncoderSpec, ModelSpec, Pool, VitSpec, whole_hidden,
};

/// Beyond these a model is taken for a mistake: no machine holds its attention or its weights.
const MAX_PATCHES: usize = 16_384;
const MAX_PARAMETERS: f64 = 2e10;

/// Checks the sizes of a model.
pub fn sizes(model: &ModelSpec, check: &Check) -> Result<(), SpecError> {
    match model {
        ModelSpec::Vit(model) => vit(model, check),
        ModelSpec::Encoder(model) => encoder(model, check),
        ModelSpec::Decoder(model) => decoder(model, check),
        ModelSpec::EncoderDecoder(model) => encoder_decoder(model, check),
    }
}

fn vit(model: &VitSpec, check: &Check) -> Result<(), SpecError> {
    check.between("model.image_size", model.image_size, 1, 4096)?;
    check.between("model.patch_size", model.patch_size, 1, model.image_size)?;
    check.that(
        "model.patch_size",
        model.image_size.is_multiple_of(model.patch_size),
        format!("a divisor of model.image_size, {}", model.image_size),
    )?;
    let patches = (model.image_size / model.patch_size).pow(2);
    check.that(
        "model.patch_size",
        patches <= MAX_PATCHES,
        format!(
            "a patch that makes at most {MAX_PATCHES} patches of an image; this makes {patches}"
        ),
    )?;
    check.that(
        "model.channels",
        model.channels == 1 || model.channels == 3,
        "1 (grey) or 3 (RGB)",
    )?;
    check.between("model.classes", model.classes, 2, 1_000_000)?;
    let VitSpec { dim, depth, heads, mlp_ratio, norm_eps, .. } = *model;
    transformer(
        Sizes { dim, depth, heads, mlp_ratio, norm_eps, rows: model.classes },
        depth,
        check,
    )?;
    dropout(model.dropout, model.attention_dropout, check)?;
    let (rate, is_deep) = (model.stochastic_depth, model.depth > 1);
    let range = "a number from 0 to below 1, and 0 in a model of one layer, the first";
    check.that(
        "model.stochastic_depth",
        (0.0..1.0).contains(&rate) && (is_deep || rate == 0.0),
        range,
    )?;
    check.that(
        "model.pool",
        model.variant.is_timm() || model.pool == Pool::ClassToken,
        "`class-token` with `variant: compact-transformers`",
    )
}

fn encoder(model: &EncoderSpec, check: &Check) -> Result<(), SpecError> {
    check.between("model.vocabulary", model.vocabulary, 1, 1 << 24)?;
    check.between("model.positions", model.positions, 1, 1 << 16)?;
    check.between("model.token_types", model.token_types, 0, 255)?;
    check.between("model.classes", model.classes, 2, 1_000_000)?;
    let EncoderSpec { dim, depth, heads, mlp_ratio, norm_eps, .. } = *model;
    let rows = model.classes + model.vocabulary + model.positions + model.token_types;
    transformer(Sizes { dim, depth, heads, mlp_ratio, norm_eps, rows }, depth, check)?;
    dropout(model.dropout, model.attention_dropout, check)
}

fn decoder(model: &DecoderSpec, check: &Check) -> Result<(), SpecError> {
    check.between("model.vocabulary", model.vocabulary, 2, 1 << 24)?;
    check.between("model.positions", model.positions, 1, 1 << 16)?;
    let DecoderSpec { dim, depth, heads, mlp_ratio, norm_eps, tied, .. } = *model;
    let rows = model.vocabulary * if tied { 1 } else { 2 } + model.positions;
    transformer(Sizes { dim, depth, heads, mlp_ratio, norm_eps, rows }, depth, check)?;
    dropout(model.dropout, model.attention_dropout, check)
}

fn encoder_decoder(model: &EncoderDecoderSpec, check: &Check) -> Result<(), SpecError> {
    // Padding, the unknown word, and the marks of a sentence's beginning and end.
    const SPECIAL: usize = 4;
    for (field, rows) in [
        ("source_vocabulary", model.source_vocabulary),
        ("target_vocabulary", model.target_vocabulary),
    ] {
        check.between(&format!("model.{field}"), rows, SPECIAL + 1, 1 << 24)?;
    }
    check.that(
        "model.target_vocabulary",
        !model.shared_embedding || model.target_vocabulary == model.source_vocabulary,
        "that of model.source_vocabulary, since both languages have one embedding",
    )?;
    check.between("model.positions", model.positions, 3, 1 << 16)?;
    check.between("model.decoder_depth", model.decoder_depth(), 1, 1024)?;
    let EncoderDecoderSpec { dim, heads, mlp_ratio, norm_eps, tied, .. } = *model;
    // A decoder's layer has two attentions, which is less than twice an encoder's layer.
    let layers = model.depth.saturating_add(model.decoder_depth().saturating_mul(2));
    let rows = model.source_vocabulary
        + model.target_vocabulary * if tied { 1 } else { 2 }
        + 2 * model.positions;
    let sizes = Sizes { dim, depth: model.depth, heads, mlp_ratio, norm_eps, rows };
    transformer(sizes, layers, check)?;
    dropout(model.dropout, model.attention_dropout, check)?;
    let share = (0.0..1.0).contains(&model.activation_dropout);
    check.that("model.activation_dropout", share, "a number from 0 to below 1")
}

/// The shares of values and of attention's weights that training drops.
fn dropout(values: f64, weights: f64, check: &Check) -> Result<(), SpecError> {
    for (field, share) in [("model.dropout", values), ("model.attention_dropout", weights)] {
        check.that(field, (0.0..1.0).contains(&share), "a number from 0 to below 1")?;
    }
    Ok(())
}

/// Sizes that every Transformer has.
struct Sizes {
    dim: usize,
    depth: usize,
    heads: usize,
    mlp_ratio: f64,
    norm_eps: f64,
    /// Vectors of width `dim` outside of layers.
    rows: usize,
}

/// `layers`: how many layers of an encoder have at least as many parameters as the model's layers.
fn transformer(sizes: Sizes, layers: usize, check: &Check) -> Result<(), SpecError> {
    let Sizes { dim, depth, heads, mlp_ratio, norm_eps, rows } = sizes;
    check.between("model.dim", dim, 1, 65_536)?;
    check.between("model.depth", depth, 1, 1024)?;
    check.between("model.heads", heads, 1, dim)?;
    check.that(
        "model.heads",
        dim.is_multiple_of(heads),
        format!("a divisor of model.dim, {dim}"),
    )?;
    check.that(
        "model.mlp_ratio",
        mlp_ratio > 0.0 && mlp_ratio <= 64.0 && whole_hidden(mlp_ratio, dim).is_some(),
        format!("a number up to 64 whose product with model.dim, {dim}, is whole"),
    )?;
    // The dense model's matrices, which bound every arm's.
    let (width, rows) = (dim as f64, rows as f64);
    let size = layers as f64 * (4.0 + 2.0 * mlp_ratio) * width * width + rows * width;
    check.that(
        "model.dim",
        size <= MAX_PARAMETERS,
        format!("a model of at most {MAX_PARAMETERS:e} parameters; this has about {size:.1e}"),
    )?;
    check.that("model.norm_eps", norm_eps > 0.0 && norm_eps <= 1.0, "a number above 0, at most 1")
}
