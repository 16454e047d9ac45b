//! Vision Transformer (arXiv 2010.11929) with timm's layout, names and initialisation.
//!
//! image → patches → linear embedding → \[class token +\] learned positions → pre-norm blocks
//! `x + attn(norm1(x))`, `x + mlp(norm2(x))` → norm → head. GELU is the exact one (erf), norms
//! have ε = 1e-6. With `pool: mean` there is no class token and the mean over patches goes
//! through `fc_norm` instead of `norm` (timm's `global_pool="avg", class_token=False`).

use candle_core::{Result, Tensor};

use crate::nn::{Init, Source, ops};
use crate::spec::{ModelSpec, Pool, Target, VloraSpec};
use crate::vlora::{Compounds, Count, Linear, transformer_layer};

const NORM_EPS: f64 = 1e-6;
/// timm's `trunc_normal_(std=.02)` for linear weights and positions.
const WEIGHT_INIT: Init = Init::Normal { std: 0.02 };

#[derive(Debug)]
pub struct Vit {
    patch_size: usize,
    patches: Linear,
    class_token: Option<Tensor>,
    positions: Tensor,
    pub blocks: Vec<Block>,
    norm: Norm,
    pool: Pool,
    head: Linear,
}

impl Vit {
    /// Builds the model on `source`; `vlora` is None for a dense one.
    pub fn new(
        spec: &ModelSpec,
        vlora: Option<&VloraSpec>,
        source: &mut dyn Source,
    ) -> Result<Vit> {
        let dim = spec.dim;
        let patch_inputs = spec.channels * spec.patch_size * spec.patch_size;
        // The patch embedding is a convolution in timm and keeps PyTorch's default start.
        let conv = Init::KaimingUniform { fan_in: patch_inputs };
        let patch_shape = [dim, spec.channels, spec.patch_size, spec.patch_size];
        let class_token = match spec.pool {
            Pool::ClassToken => {
                Some(source.tensor("cls_token", &[1, 1, dim], Init::Normal { std: 1e-6 }, false)?)
            }
            Pool::Mean => None,
        };
        let positions = source.tensor("pos_embed", &[1, tokens(spec), dim], WEIGHT_INIT, false)?;
        let kernel = source.tensor("patch_embed.proj.weight", &patch_shape, conv, true)?;
        let patches = Linear {
            weight: crate::vlora::Weight::dense(kernel.reshape((dim, patch_inputs))?),
            bias: source.tensor("patch_embed.proj.bias", &[dim], conv, false)?,
        };
        let mut compounds = Compounds::new(vlora);
        let blocks = (0..spec.depth)
            .map(|i| Block::new(spec, i, &mut compounds, source))
            .collect::<Result<_>>()?;
        let norm = match spec.pool {
            Pool::ClassToken => Norm::new("norm", dim, source)?,
            Pool::Mean => Norm::new("fc_norm", dim, source)?,
        };
        let head = source.tensor("head.weight", &[spec.classes, dim], WEIGHT_INIT, true)?;
        let head = Linear {
            weight: crate::vlora::Weight::dense(head),
            bias: source.tensor("head.bias", &[spec.classes], Init::Zeros, false)?,
        };
        Ok(Vit {
            patch_size: spec.patch_size,
            patches,
            class_token,
            positions,
            blocks,
            norm,
            pool: spec.pool,
            head,
        })
    }

    /// images \[batch, channels, side, side\] → logits \[batch, classes\].
    pub fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let mut x = self.embed(images)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        self.classify(&x)
    }

    /// images → tokens \[batch, tokens, dim\] before the first block.
    pub fn embed(&self, images: &Tensor) -> Result<Tensor> {
        let x = self.patches.forward(&patchify(images, self.patch_size)?)?;
        let x = match &self.class_token {
            Some(token) => {
                let (batch, _, dim) = x.dims3()?;
                Tensor::cat(&[&token.broadcast_as((batch, 1, dim))?, &x], 1)?
            }
            None => x,
        };
        x.broadcast_add(&self.positions)
    }

    /// Tokens after the last block → logits.
    pub fn classify(&self, x: &Tensor) -> Result<Tensor> {
        // Normalising the class token alone gives what timm reads of `norm(x)[:, 0]`.
        let pooled = match self.pool {
            Pool::ClassToken => x.narrow(1, 0, 1)?.squeeze(1)?,
            Pool::Mean => x.mean(1)?,
        };
        self.head.forward(&self.norm.forward(&pooled)?)
    }
}

/// images \[batch, c, s, s\] → \[batch, (s/p)², c·p·p\], a row a patch in reading order, its
/// values in the order of a convolution kernel \[c, p, p\].
fn patchify(images: &Tensor, p: usize) -> Result<Tensor> {
    let (batch, c, h, w) = images.dims4()?;
    images.reshape(&[batch, c, h / p, p, w / p, p][..])?.permute(vec![0, 2, 4, 1, 3, 5])?.reshape((
        batch,
        h / p * (w / p),
        c * p * p,
    ))
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(name: &str, dim: usize, source: &mut dyn Source) -> Result<Norm> {
        Ok(Norm {
            weight: source.tensor(&format!("{name}.weight"), &[dim], Init::Ones, false)?,
            bias: source.tensor(&format!("{name}.bias"), &[dim], Init::Zeros, false)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, NORM_EPS)
    }
}

/// A pre-norm Transformer block.
#[derive(Debug)]
pub struct Block {
    heads: usize,
    norm1: Norm,
    qkv: Linear,
    proj: Linear,
    norm2: Norm,
    fc1: Linear,
    fc2: Linear,
}

impl Block {
    fn new(
        spec: &ModelSpec,
        index: usize,
        compounds: &mut Compounds,
        source: &mut dyn Source,
    ) -> Result<Block> {
        let norm = |which: &str| format!("blocks.{index}.{which}");
        let mut linear = |source: &mut dyn Source, target: Target| {
            compounds.linear(source, index, target, spec.target_shape(target), WEIGHT_INIT)
        };
        Ok(Block {
            heads: spec.heads,
            norm1: Norm::new(&norm("norm1"), spec.dim, source)?,
            qkv: linear(source, Target::AttnQkv)?,
            proj: linear(source, Target::AttnProj)?,
            norm2: Norm::new(&norm("norm2"), spec.dim, source)?,
            fc1: linear(source, Target::MlpFc1)?,
            fc2: linear(source, Target::MlpFc2)?,
        })
    }

    /// \[batch, tokens, dim\] → the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let qkv = self.qkv.forward(&self.norm1.forward(x)?)?;
        let x = (x + self.proj.forward(&ops::self_attention(&qkv, self.heads)?)?)?;
        let hidden = ops::gelu(&self.fc1.forward(&self.norm2.forward(&x)?)?)?;
        &x + self.fc2.forward(&hidden)?
    }
}

/// Tokens a sequence, the class token included.
pub fn tokens(spec: &ModelSpec) -> usize {
    let patches = (spec.image_size / spec.patch_size).pow(2);
    patches + usize::from(spec.pool == Pool::ClassToken)
}

/// Size and cost of a whole model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub parameters: u64,
    /// Those of the target matrices and increments.
    pub weights: u64,
    /// Patch embedding, class token and positions.
    pub embedding: u64,
    /// Biases and norms of the blocks.
    pub biases_norms: u64,
    /// Final norm and classifier.
    pub head: u64,
    /// Floating-point operations of matrix products, one image, forward.
    pub forward_flops: f64,
    /// The same, forward and backward.
    pub training_flops: f64,
}

/// Parameters and matrix-product FLOPs in closed form (two FLOPs a multiply–add).
pub fn cost(spec: &ModelSpec, vlora: Option<&VloraSpec>) -> Cost {
    let (dim, classes, n) = (spec.dim as u64, spec.classes as u64, tokens(spec) as u64);
    let patch_inputs = (spec.channels * spec.patch_size * spec.patch_size) as u64;
    let patches = (spec.image_size / spec.patch_size).pow(2) as u64;
    let class_token = u64::from(spec.pool == Pool::ClassToken) * dim;
    let mut weights = Count::default();
    let mut rest = 0;
    for block in 0..spec.depth {
        let layer = transformer_layer(spec, vlora, block);
        weights += layer.weights;
        rest += layer.rest;
    }
    let embedding = dim * patch_inputs + dim + class_token + n * dim;
    let head = 2 * dim + classes * dim + classes;
    // q kᵀ and weights · v: n² · dim multiply–adds each, twice that backward.
    let wide = u128::from;
    let attention = spec.depth as u128 * 2 * wide(n) * wide(n) * wide(dim);
    let (first, last) = (wide(patches * patch_inputs * dim), wide(classes * dim));
    let forward = weights.forward * wide(n) + attention + first + last;
    // Images need no gradient: the patch embedding's backward is its weight gradient alone.
    let backward = weights.backward * wide(n) + 2 * attention + first + 2 * last;
    Cost {
        parameters: weights.parameters + rest + embedding + head,
        weights: weights.parameters,
        embedding,
        biases_norms: rest,
        head,
        forward_flops: 2.0 * forward as f64,
        training_flops: 2.0 * (forward + backward) as f64,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::spec::{Architecture, IncrementInit, Reference};

    /// Counts what a model asks for; zeros are mapped lazily, so a ViT-B costs no memory.
    struct Counting(u64);

    impl Source for Counting {
        fn tensor(&mut self, _: &str, shape: &[usize], _: Init, _: bool) -> Result<Tensor> {
            self.0 += shape.iter().product::<usize>() as u64;
            Tensor::zeros(shape, DType::F32, &Device::Cpu)
        }
    }

    fn vit_b16() -> ModelSpec {
        ModelSpec {
            architecture: Architecture::Vit,
            image_size: 224,
            patch_size: 16,
            channels: 3,
            classes: 1000,
            dim: 768,
            depth: 12,
            heads: 12,
            mlp_ratio: 4.0,
            pool: Pool::ClassToken,
        }
    }

    fn vlora(compound_size: usize, rank: usize) -> VloraSpec {
        VloraSpec {
            compound_size,
            rank,
            alpha: 1.0,
            reference: Reference::Base,
            detach: true,
            init: IncrementInit::Authors,
            targets: Target::ALL.to_vec(),
        }
    }

    /// The authors' package (`vlora` 0.1.2 with timm) counts these.
    #[test]
    fn vit_b16_counts_are_those_of_the_authors_package() {
        let compounds = |count: usize, size: usize, rank| {
            assert_eq!(count * size, 12);
            Some(vlora(size, rank))
        };
        let cases = [
            (None, 86_567_656),
            (compounds(3, 4, 8), 23_751_400),
            (compounds(3, 4, 1), 22_977_256),
            (compounds(3, 4, 2), 23_087_848),
            (compounds(3, 4, 4), 23_309_032),
            (compounds(3, 4, 16), 24_636_136),
            (compounds(3, 4, 32), 26_405_608),
            (compounds(3, 4, 64), 29_944_552),
            (compounds(1, 12, 8), 9_792_232),
            (compounds(2, 6, 8), 16_771_816),
            (compounds(4, 3, 8), 30_730_984),
            (compounds(6, 2, 8), 44_690_152),
        ];
        for (vlora, want) in cases {
            let cost = cost(&vit_b16(), vlora.as_ref());
            assert_eq!(cost.parameters, want, "closed form, {vlora:?}");
            assert_eq!(
                cost.weights + cost.embedding + cost.biases_norms + cost.head,
                cost.parameters
            );
            let mut source = Counting(0);
            Vit::new(&vit_b16(), vlora.as_ref(), &mut source).unwrap();
            assert_eq!(source.0, want, "built model, {vlora:?}");
        }
    }

    #[test]
    fn closed_form_equals_the_built_model_for_other_shapes() {
        for pool in [Pool::ClassToken, Pool::Mean] {
            for (channels, mlp_ratio, targets) in
                [(1, 2.0, &Target::ALL[..]), (3, 0.5, &[Target::MlpFc1][..])]
            {
                let spec = ModelSpec {
                    image_size: 12,
                    patch_size: 3,
                    channels,
                    classes: 7,
                    dim: 8,
                    depth: 6,
                    heads: 2,
                    mlp_ratio,
                    pool,
                    ..vit_b16()
                };
                for reference in [Reference::Base, Reference::Previous] {
                    let v = VloraSpec { reference, targets: targets.to_vec(), ..vlora(3, 2) };
                    let mut source = Counting(0);
                    Vit::new(&spec, Some(&v), &mut source).unwrap();
                    assert_eq!(cost(&spec, Some(&v)).parameters, source.0);
                }
            }
        }
    }

    /// 133 GFLOP a step for the baseline and 100 for a detached 3 × 4 were counted for this
    /// size without the products inside attention and, for VLoRA, without the increments' own.
    #[test]
    fn flops_of_a_known_size() {
        let spec = ModelSpec {
            image_size: 32,
            patch_size: 4,
            classes: 10,
            dim: 192,
            heads: 3,
            ..vit_b16()
        };
        let attention = f64::from(12 * 2 * 65 * 65 * 192 * 2 * 3);
        let step = |v: Option<&VloraSpec>| 64.0 * (cost(&spec, v).training_flops - attention) / 1e9;
        assert!((step(None) - 133.0).abs() < 1.0);
        // Rank 8 in 9 layers: three products with A and three with B a target.
        let factors = 9 * 8 * (768 + 384 + 960 + 960) * 65 * 2 * 3;
        let added = 64.0 * f64::from(factors) / 1e9;
        assert!((step(Some(&vlora(4, 8))) - added - 100.0).abs() < 1.0);
    }

    #[test]
    fn patchify_orders_patches_and_pixels_as_a_convolution() {
        // Pixel value = 100·channel + 10·row + column.
        let pixels: Vec<f32> = (0..2)
            .flat_map(|c| {
                (0..4).flat_map(move |y| (0..4).map(move |x| (100 * c + 10 * y + x) as f32))
            })
            .collect();
        let images = Tensor::from_vec(pixels, (1, 2, 4, 4), &Device::Cpu).unwrap();
        let patches = patchify(&images, 2).unwrap().to_vec3::<f32>().unwrap();
        assert_eq!(patches[0][1], [2., 3., 12., 13., 102., 103., 112., 113.]);
        assert_eq!(patches[0][2], [20., 21., 30., 31., 120., 121., 130., 131.]);
    }
}
