//! Vision Transformer (arXiv 2010.11929) with timm's layout, names and initialisation.
//!
//! image → patches → linear embedding → \[class token +\] learned positions → pre-norm blocks
//! `x + attn(norm1(x))`, `x + mlp(norm2(x))` → norm → head. GELU is the exact one (erf). With
//! `pool: mean` there is no class token and the mean over patches goes through `fc_norm` instead of `norm` (timm's `global_pool="avg", class_token=False`).

use candle_core::{Result, Tensor};

use crate::nn::ops::{self, Epilogue, Mask};
use crate::nn::{Init, Mode, ParameterBuilder, Variable};
use crate::spec::{LoraSpec, ParameterGroup, Pool, RunSpec, Target, VitSpec, VloraSpec};
use crate::vlora::{Compounds, LayerCount, Linear, Vector, transformer_layer};

/// timm's `trunc_normal_(std=.02)` for linear weights and positions.
const WEIGHT_INIT: Init = Init::Normal { std: 0.02 };

#[derive(Debug)]
pub struct Vit {
    /// \[dim, channels, p, p\] and \[dim\], as a convolution has them.
    patches: (Variable, Variable),
    class_token: Option<Variable>,
    positions: Variable,
    pub blocks: Vec<Block>,
    norm: Norm,
    pool: Pool,
    head: Linear,
}

impl Vit {
    /// The model of a run, on `source`.
    pub fn of(run: &RunSpec, source: &mut dyn ParameterBuilder) -> Result<Vit> {
        Vit::new(run.vit(), run.vlora.as_ref(), run.lora.as_ref(), source)
    }

    /// Builds the model on `source`; `vlora` is None for a dense one, `lora` for one without.
    pub fn new(
        spec: &VitSpec,
        vlora: Option<&VloraSpec>,
        lora: Option<&LoraSpec>,
        source: &mut dyn ParameterBuilder,
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
        let patches = (kernel, source.tensor("patch_embed.proj.bias", &[dim], conv, false)?);
        let mut compounds = Compounds::new(vlora, lora);
        let blocks = (0..spec.depth)
            .map(|i| Block::new(spec, i, &mut compounds, source))
            .collect::<Result<_>>()?;
        let norm = match spec.pool {
            Pool::ClassToken => "norm",
            Pool::Mean => "fc_norm",
        };
        let norm_part = |source: &mut dyn ParameterBuilder, part: &str, init| {
            source.tensor(&format!("{norm}.{part}"), &[dim], init, false).map(Vector::plain)
        };
        let norm = Norm {
            weight: norm_part(source, "weight", Init::Ones)?,
            bias: norm_part(source, "bias", Init::Zeros)?,
            eps: spec.norm_eps,
        };
        let head = Linear::dense(
            source.tensor("head.weight", &[spec.classes, dim], WEIGHT_INIT, true)?,
            source.tensor("head.bias", &[spec.classes], Init::Zeros, false)?,
        );
        Ok(Vit { patches, class_token, positions, blocks, norm, pool: spec.pool, head })
    }

    /// images \[batch, channels, side, side\] → logits \[batch, classes\].
    pub fn forward(&self, images: &Tensor, mode: Mode) -> Result<Variable> {
        let mut x = self.embed(images)?;
        let all = x.tensor().dim(1)?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x, read(i, self.blocks.len(), self.pool, all), mode)?;
        }
        self.classify(&x)
    }

    /// images → tokens \[batch, tokens, dim\] before the first block.
    pub fn embed(&self, images: &Tensor) -> Result<Variable> {
        let (kernel, bias) = &self.patches;
        ops::embed_patches(images, kernel, bias, self.class_token.as_ref(), &self.positions)
    }

    /// Tokens after the last block → logits. With a class token, the first alone is read.
    pub fn classify(&self, x: &Variable) -> Result<Variable> {
        // Normalising the class token alone gives what timm reads of `norm(x)[:, 0]`.
        let pooled = match self.pool {
            Pool::ClassToken => {
                let (batch, _, dim) = x.tensor().dims3()?;
                ops::first_tokens(x, 1)?.reshape(&[batch, dim])?
            }
            Pool::Mean => ops::mean_tokens(x)?,
        };
        self.head.forward(&self.norm.forward(&pooled)?, Epilogue::None, Mode::Evaluation)
    }
}

#[derive(Debug)]
struct Norm {
    weight: Vector,
    bias: Vector,
    eps: f64,
}

impl Norm {
    fn forward(&self, x: &Variable) -> Result<Variable> {
        ops::layer_norm(x, &self.weight.value()?, &self.bias.value()?, self.eps)
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
        spec: &VitSpec,
        index: usize,
        compounds: &mut Compounds,
        source: &mut dyn ParameterBuilder,
    ) -> Result<Block> {
        let norm = |compounds: &mut Compounds, source: &mut dyn ParameterBuilder, weight, bias| {
            Ok::<Norm, candle_core::Error>(Norm {
                weight: compounds.vector(source, index, weight, spec.dim, Init::Ones)?,
                bias: compounds.vector(source, index, bias, spec.dim, Init::Zeros)?,
                eps: spec.norm_eps,
            })
        };
        let norm1 = norm(compounds, source, Target::Norm1Weight, Target::Norm1Bias)?;
        let norm2 = norm(compounds, source, Target::Norm2Weight, Target::Norm2Bias)?;
        let mut linear = |target: Target| {
            compounds.linear(source, index, target, spec.target_shape(target), WEIGHT_INIT)
        };
        Ok(Block {
            heads: spec.heads,
            norm1,
            qkv: linear(Target::AttnQkv)?,
            proj: linear(Target::AttnProj)?,
            norm2,
            fc1: linear(Target::MlpFc1)?,
            fc2: linear(Target::MlpFc2)?,
        })
    }

    /// The linear layers by the target that their weight is.
    pub fn linears(&self) -> [(Target, &Linear); 4] {
        [
            (Target::AttnQkv, &self.qkv),
            (Target::AttnProj, &self.proj),
            (Target::MlpFc1, &self.fc1),
            (Target::MlpFc2, &self.fc2),
        ]
    }

    /// The norms' scales and shifts.
    pub fn norms(&self) -> [(Target, &Vector); 4] {
        [
            (Target::Norm1Weight, &self.norm1.weight),
            (Target::Norm1Bias, &self.norm1.bias),
            (Target::Norm2Weight, &self.norm2.weight),
            (Target::Norm2Bias, &self.norm2.bias),
        ]
    }

    /// \[batch, tokens, dim\] → the first `read` tokens, \[batch, read, dim\].
    pub fn forward(&self, x: &Variable, read: usize, mode: Mode) -> Result<Variable> {
        let qkv = self.qkv.forward(&self.norm1.forward(x)?, Epilogue::None, mode)?;
        let mixed = ops::self_attention(&qkv, self.heads, read, &Mask::default())?;
        let x = ops::first_tokens(x, read)?;
        let x = self.proj.forward(&mixed, Epilogue::Add(&x), mode)?;
        let hidden = self.fc1.forward(&self.norm2.forward(&x)?, Epilogue::Gelu, mode)?;
        self.fc2.forward(&hidden, Epilogue::Add(&x), mode)
    }
}

/// How many of a block's `tokens` are read after it. Of the last block's, the class token alone:
/// the others serve as its keys and values and get no result of their own.
pub(super) fn read(block: usize, depth: usize, pool: Pool, tokens: usize) -> usize {
    if block + 1 == depth && pool == Pool::ClassToken { 1 } else { tokens }
}

/// Tokens a sequence, the class token included.
pub fn tokens(spec: &VitSpec) -> usize {
    let patches = (spec.image_size / spec.patch_size).pow(2);
    patches + usize::from(spec.pool == Pool::ClassToken)
}

/// Size and cost of a whole model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub parameters: u64,
    /// Those that get gradients.
    pub trained: u64,
    /// Those of the blocks' matrices, dense or increments.
    pub weights: u64,
    /// Patch embedding, class token and positions.
    pub embedding: u64,
    /// Biases and norms of the blocks.
    pub biases_norms: u64,
    /// Final norm and classifier.
    pub head: u64,
    /// LoRA's factors.
    pub lora: u64,
    /// Floating-point operations of matrix products, one image of a whole batch, forward.
    pub forward_flops: f64,
    /// The same, forward and backward.
    pub training_flops: f64,
}

/// Parameters and matrix-product FLOPs in closed form (two FLOPs a multiply–add). Every block's
/// input is taken to need a gradient; under LoRA the first one's does not.
pub fn cost(run: &RunSpec) -> Cost {
    let (spec, batch) = (run.vit(), run.training.batch_size);
    let (dim, classes, n) = (spec.dim as u64, spec.classes as u64, tokens(spec) as u64);
    let patch_inputs = (spec.channels * spec.patch_size * spec.patch_size) as u64;
    let patches = (spec.image_size / spec.patch_size).pow(2) as u64;
    let class_token = u64::from(spec.pool == Pool::ClassToken) * dim;
    let mut blocks = LayerCount::default();
    let wide = u128::from;
    // q kᵀ and weights · v: queries · n · dim multiply–adds each, twice that backward.
    let mut attention = 0;
    for block in 0..spec.depth {
        let read = read(block, spec.depth, spec.pool, tokens(spec));
        blocks += transformer_layer(run, block, batch * tokens(spec), batch * read);
        attention += 2 * wide(read as u64) * wide(n) * wide(dim);
    }
    let embedding = dim * patch_inputs + dim + class_token + n * dim;
    let (last_norm, classifier) = (2 * dim, classes * dim + classes);
    let biases_norms = blocks.biases + blocks.norms;
    let head = last_norm + classifier;
    let parameters = blocks.matrices + biases_norms + embedding + head + blocks.lora;
    let trained = match &run.lora {
        None => parameters,
        Some(lora) => {
            let group = |group: &ParameterGroup| match group {
                ParameterGroup::Head => classifier,
                ParameterGroup::Norms => blocks.norms + last_norm,
                // The patch embedding's too.
                ParameterGroup::Biases => blocks.biases + dim,
            };
            blocks.lora + lora.also_train.iter().map(group).sum::<u64>()
        }
    };
    let (first, last) = (wide(patches * patch_inputs * dim), wide(classes * dim));
    let per_image = |work: u128| work as f64 / batch as f64;
    let forward = per_image(blocks.work.forward) + (attention + first + last) as f64;
    // Images need no gradient: the patch embedding's backward is its weight gradient alone.
    let edges = match &run.lora {
        None => first + 2 * last,
        Some(lora) if lora.also_train.contains(&ParameterGroup::Head) => 2 * last,
        Some(_) => last,
    };
    let backward = per_image(blocks.work.backward) + (2 * attention + edges) as f64;
    Cost {
        parameters,
        trained,
        weights: blocks.matrices,
        embedding,
        biases_norms,
        head,
        lora: blocks.lora,
        forward_flops: 2.0 * forward,
        training_flops: 2.0 * (forward + backward),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::spec::{
        Architecture, DataSpec, IncrementInit, Method, ModelSpec, Precision, Rank, Reference,
        TargetSpec, Task, TrainingSpec,
    };

    /// Counts what a model asks for; zeros are mapped lazily, so a ViT-B costs no memory.
    struct Counting {
        all: u64,
        trained: u64,
        trains: crate::nn::Trained,
    }

    impl Counting {
        fn of(run: &RunSpec) -> Counting {
            let trains = crate::vlora::trained(run.lora.as_ref());
            let mut source = Counting { all: 0, trained: 0, trains };
            Vit::of(run, &mut source).unwrap();
            source
        }
    }

    impl ParameterBuilder for Counting {
        fn tensor(&mut self, name: &str, shape: &[usize], _: Init, _: bool) -> Result<Variable> {
            let size = shape.iter().product::<usize>() as u64;
            self.all += size;
            self.trained += if (self.trains)(name) { size } else { 0 };
            Ok(Variable::constant(Tensor::zeros(shape, DType::F32, &Device::Cpu)?))
        }
    }

    fn vit_b16() -> VitSpec {
        VitSpec {
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
            norm_eps: 1e-6,
        }
    }

    fn run(model: VitSpec, vlora: Option<VloraSpec>, lora: Option<LoraSpec>) -> RunSpec {
        let data = serde_json::from_str(r#"{"embedded": "fashion-mnist-mini"}"#).unwrap();
        let (data, model) = (DataSpec::Images(data), ModelSpec::Vit(model));
        let method = if vlora.is_some() { Method::Vlora } else { Method::Dense };
        let training = TrainingSpec::default();
        let task = Task::ImageClassification;
        let precision = Precision::Float32;
        RunSpec { task, data, model, method, vlora, start: None, lora, training, precision }
    }

    fn vlora(compound_size: usize, rank: usize) -> VloraSpec {
        VloraSpec {
            compound_size,
            rank: Rank::Of(rank),
            alpha: 1.0,
            reference: Reference::Base,
            detach: true,
            init: IncrementInit::Authors,
            targets: Target::MATRICES.map(TargetSpec::plain).to_vec(),
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
            let run = run(vit_b16(), vlora, None);
            let cost = cost(&run);
            assert_eq!(cost.parameters, want, "closed form, {:?}", run.vlora);
            assert_eq!(cost.trained, want);
            assert_eq!(
                cost.weights + cost.embedding + cost.biases_norms + cost.head,
                cost.parameters
            );
            assert_eq!(Counting::of(&run).all, want, "built model, {:?}", run.vlora);
        }
    }

    #[test]
    fn closed_form_equals_the_built_model_for_other_shapes() {
        let lora = |also_train: &[ParameterGroup]| LoraSpec {
            rank: 3,
            alpha: 8.0,
            dropout: 0.0,
            targets: vec![Target::AttnQkv, Target::MlpFc2],
            also_train: also_train.to_vec(),
        };
        let mixed = vec![
            TargetSpec { rank: Some(Rank::Full), ..TargetSpec::plain(Target::AttnQkv) },
            TargetSpec { rank: Some(Rank::Of(1)), ..TargetSpec::plain(Target::MlpFc1) },
            TargetSpec::plain(Target::MlpFc2),
            TargetSpec::plain(Target::AttnQkvBias),
            TargetSpec::plain(Target::Norm2Weight),
        ];
        let all = [ParameterGroup::Head, ParameterGroup::Norms, ParameterGroup::Biases];
        for pool in [Pool::ClassToken, Pool::Mean] {
            for (channels, mlp_ratio, targets) in [
                (1, 2.0, Target::MATRICES.map(TargetSpec::plain).to_vec()),
                (3, 0.5, vec![TargetSpec::plain(Target::MlpFc1)]),
                (3, 1.0, mixed.clone()),
            ] {
                let model = VitSpec {
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
                    for rank in [Rank::Of(0), Rank::Of(2), Rank::Full] {
                        for lora in [None, Some(lora(&[])), Some(lora(&all)), Some(lora(&all[..1]))]
                        {
                            let targets = targets.clone();
                            let v = VloraSpec { reference, rank, targets, ..vlora(3, 2) };
                            let run = run(model.clone(), Some(v), lora);
                            let (cost, built) = (cost(&run), Counting::of(&run));
                            assert_eq!(cost.parameters, built.all, "{run:?}");
                            assert_eq!(cost.trained, built.trained, "{run:?}");
                        }
                    }
                }
            }
        }
    }

    /// A step on 64 images. 133 GFLOP for the baseline and 100 for a detached 3 × 4 were counted for
    /// this size with every token read after the last block, without the products inside
    /// attention and, for VLoRA, without the increments' own.
    #[test]
    fn flops_of_a_known_size() {
        let model = VitSpec {
            image_size: 32,
            patch_size: 4,
            classes: 10,
            dim: 192,
            heads: 3,
            pool: Pool::Mean,
            ..vit_b16()
        };
        let step = |model: &VitSpec, v: Option<VloraSpec>| {
            let mut run = run(model.clone(), v, None);
            run.training.batch_size = 64;
            64.0 * cost(&run).training_flops / 1e9
        };
        // A mean has no class token: 64 tokens and not 65, which the counts had.
        let (with_class, n) = (65.0 / 64.0, 64.0 * 64.0);
        let attention = 12.0 * 2.0 * n * 64.0 * 192.0 * 2.0 * 3.0 / 1e9;
        let dense = (step(&model, None) - attention) * with_class;
        assert!((dense - 133.0).abs() < 1.0, "{dense}");
        // Rank 8 in 9 layers: four thin products a target, and the product that is folded twice.
        let thin = 9.0 * 8.0 * f64::from(768 + 384 + 960 + 960) * n * 4.0 / 1e9;
        let folded = 9.0 * 8.0 * 12.0 * 192.0 * 192.0 * 4.0 / 1e9;
        let vlora_step = |v| (step(&model, Some(v)) - attention - thin - folded) * with_class;
        let detached = vlora_step(vlora(4, 8));
        assert!((detached - 100.0).abs() < 1.0, "{detached}");

        // Of the last block, three of four parts in a class token's model are for one token.
        let whole = step(&VitSpec { pool: Pool::ClassToken, ..model.clone() }, None);
        let rows = |tokens: f64| 64.0 * tokens * 192.0 * 192.0 * 2.0 * 3.0 / 1e9;
        let saved = 9.0 * rows(64.0) + 2.0 * 64.0 * 64.0 * 65.0 * 192.0 * 2.0 * 3.0 / 1e9;
        let all = (step(&model, None) - attention) * with_class
            + 12.0 * 2.0 * 64.0 * 65.0 * 65.0 * 192.0 * 2.0 * 3.0 / 1e9;
        assert!((all - saved - whole).abs() < 0.2, "{all} - {saved} is not {whole}");
    }
}
