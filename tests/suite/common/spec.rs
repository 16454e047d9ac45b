//! A spec small enough to train in a second, on real images.

/// One epoch of a tiny ViT: `baseline`, and `vlora` with two layers in one compound.
pub const TINY: &str = "\
name: tiny
task: image-classification
data:
  embedded: fashion-mnist-mini
  augment: {crop_padding: 1, horizontal_flip: true}
model:
  architecture: vit
  image_size: 28
  patch_size: 14
  channels: 1
  classes: 10
  dim: 16
  depth: 2
  heads: 2
  mlp_ratio: 2
vlora:
  compound_size: 2
  rank: 2
training:
  epochs: 1
  batch_size: 100
  learning_rate: 3.0e-3
arms:
  baseline: {method: dense}
  vlora: {method: vlora}
seeds: [0]
";
