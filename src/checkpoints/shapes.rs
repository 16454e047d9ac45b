//! Derives a model from the shapes of a file's tensors, and checks that all tensors fit it.
//!
//! Files are not trusted. Sizes are checked by the rules of a spec, and each tensor's shape against
//! the model, before anything is built from them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::checkpoint::Checkpoint;
use super::fault::first_of;
use super::hints::Hints;
use super::metadata::Metadata;
use crate::error::{Fault, Result};
use crate::models::build;
use crate::nn::{Init, ParameterBuilder, Role, Variable};
use crate::spec::{
    Architecture, LoraSpec, ModelSpec, Pool, VitSpec, VitVariant, VloraSpec, nearest,
    validate_model,
};

/// A file's tensors by our names.
pub struct Renamed<'a> {
    pub path: &'a Path,
    pub tensors: BTreeMap<String, Tensor>,
    /// Converts one of our names to the file's, for errors.
    pub theirs: &'a dyn Fn(&str) -> String,
}

impl Renamed<'_> {
    pub fn dims<const N: usize>(&self, name: &str, meaning: &str) -> Result<[usize; N]> {
        let Some(tensor) = self.tensors.get(name) else {
            return Err(self.missing(name).expected(format!("a tensor {meaning}")).into());
        };
        tensor.dims().try_into().map_err(|_| {
            Fault::of_file(self.path, "a tensor has another shape")
                .tensor((self.theirs)(name))
                .found(format!("{:?}", tensor.dims()))
                .expected(meaning)
                .into()
        })
    }

    fn missing(&self, name: &str) -> Fault {
        Fault::of_file(self.path, "a tensor is missing").tensor((self.theirs)(name))
    }

    /// Number of layers by the tensors' names. A gap is reported later, as a missing tensor.
    pub fn depth(&self, prefix: &str) -> usize {
        let index =
            |name: &String| name.strip_prefix(prefix)?.split_once('.')?.0.parse::<usize>().ok();
        self.tensors.keys().filter_map(index).max().map_or(0, |last| last.saturating_add(1))
    }

    /// The Vision Transformer by its tensors' shapes. The arguments are what no shape shows.
    pub fn vit(&self, heads: usize, norm_eps: f64) -> Result<VitSpec> {
        let patch = "[dim, channels, patch, patch] of the patch embedding";
        let [dim, channels, patch_size, across] = self.dims("patch_embed.proj.weight", patch)?;
        if patch_size != across {
            return Err(Fault::of_file(self.path, "the patches are not square")
                .tensor((self.theirs)("patch_embed.proj.weight"))
                .found(format!("{patch_size} × {across} pixels"))
                .expected("as many rows as columns")
                .into());
        }
        let pool = match self.tensors.contains_key("cls_token") {
            true => Pool::ClassToken,
            false => Pool::Mean,
        };
        let [_, tokens, _] = self.dims("pos_embed", "[1, tokens, dim] of the positions")?;
        let patches = tokens.saturating_sub(usize::from(pool == Pool::ClassToken));
        let side = patches.isqrt();
        if patches == 0 || side * side != patches {
            let token = if pool == Pool::ClassToken { " and a class token" } else { "" };
            return Err(Fault::of_file(self.path, "the image is not square")
                .tensor((self.theirs)("pos_embed"))
                .found(format!("{tokens} tokens"))
                .expected(format!("a square number of patches{token}"))
                .into());
        }
        let [hidden, _] = self.dims("blocks.0.mlp.fc1.weight", "[hidden, dim] of an MLP")?;
        let [classes, _] = self.dims("head.weight", "[classes, dim] of the classifier")?;
        Ok(VitSpec {
            architecture: Architecture::Vit,
            image_size: side.saturating_mul(patch_size),
            patch_size,
            channels,
            classes,
            dim,
            depth: self.depth("blocks."),
            heads,
            mlp_ratio: hidden as f64 / dim as f64,
            pool,
            norm_eps,
            variant: VitVariant::Timm,
            dropout: 0.0,
            attention_dropout: 0.0,
            stochastic_depth: 0.0,
        })
    }

    /// The number of heads from the caller's hints. Errors without it.
    pub fn heads(&self, hints: &Hints) -> Result<usize> {
        if let Some(heads) = hints.heads {
            return Ok(heads);
        }
        let patch = "[dim, channels, patch, patch] of the patch embedding";
        let [dim, ..] = self.dims::<4>("patch_embed.proj.weight", patch)?;
        Err(Fault::of_file(
            self.path,
            "the file does not say how many attention heads the model has",
        )
        .found(format!("a model of dim {dim}"))
        .help("give them with --heads N: ViT-Ti has 3, S 6, B 12, L 16")
        .into())
    }

    /// The checkpoint. Errors unless the sizes are valid and the tensors are exactly the model's.
    pub fn checkpoint(
        self,
        model: ModelSpec,
        vlora: Option<VloraSpec>,
        lora: Option<LoraSpec>,
    ) -> Result<Checkpoint> {
        validate_model(&model, vlora.as_ref(), lora.as_ref())
            .map_err(|e| e.in_file(&self.path.display().to_string(), ""))?;
        let mut requested =
            Requested { file: &self, names: BTreeSet::new(), fault: None, missing: vec![] };
        let built = build(&model, vlora.as_ref(), lora.as_ref(), &mut requested);
        let Requested { names, fault, missing, .. } = requested;
        if let Some(fault) = fault {
            return Err(fault.into());
        }
        let extra: Vec<&String> =
            self.tensors.keys().filter(|name| !names.contains(*name)).collect();
        if let Some((name, shape)) = missing.first() {
            return Err(self.missing_tensor(name, shape, missing.len() - 1, &extra).into());
        }
        built?;
        let extra: Vec<String> = extra.iter().map(|name| (self.theirs)(name)).collect();
        let extra: Vec<&str> = extra.iter().map(String::as_str).collect();
        if !extra.is_empty() {
            return Err(Fault::of_file(self.path, "a tensor does not belong to the model")
                .tensor(first_of(&extra))
                .expected(format!(
                    "the {} tensors of a model with dim {}, depth {} and {} classes",
                    names.len(),
                    model.dim(),
                    model.depth(),
                    model.classes()
                ))
                .help("the file is of another kind of model")
                .into());
        }
        Ok(Checkpoint { model, vlora, lora, metadata: Metadata::default(), tensors: self.tensors })
    }

    /// The error for a missing tensor; `more` others are missing too. It suggests an unused tensor
    /// of the same block and shape, which may be the missing one under another name.
    fn missing_tensor(&self, name: &str, shape: &[usize], more: usize, extra: &[&String]) -> Fault {
        let like = |other: &&String| {
            let fits = self.tensors.get(*other).is_some_and(|tensor| tensor.dims() == shape);
            fits && block(other) == block(name)
        };
        let others = extra.iter().copied().filter(like).map(String::as_str);
        let missing = match more {
            0 => self.missing(name),
            _ => self.missing(name).found(format!("neither it nor {more} others")),
        };
        missing.expected(format!("a tensor {shape:?}")).help(match nearest(name, others) {
            Some(near) => format!("the file has {}", (self.theirs)(near)),
            None => "the file is incomplete, or of another kind of model".into(),
        })
    }
}

/// Gives a model the file's tensors and records those that do not fit.
struct Requested<'a, 'b> {
    file: &'a Renamed<'b>,
    names: BTreeSet<String>,
    /// The error for the first tensor with another shape.
    fault: Option<Fault>,
    missing: Vec<(String, Vec<usize>)>,
}

impl ParameterBuilder for Requested<'_, '_> {
    fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        _: Init,
        _: Role,
    ) -> candle_core::Result<Variable> {
        self.names.insert(name.into());
        match self.file.tensors.get(name) {
            Some(tensor) if tensor.dims() == shape => {
                return Ok(Variable::constant(tensor.clone()));
            }
            Some(tensor) => {
                let fault = || {
                    Fault::of_file(self.file.path, "a tensor has another shape")
                        .tensor((self.file.theirs)(name))
                        .found(format!("{:?}", tensor.dims()))
                        .expected(format!("{shape:?}"))
                };
                self.fault.get_or_insert_with(fault);
            }
            None => self.missing.push((name.into(), shape.into())),
        }
        // Building a model computes nothing, so a placeholder of the right shape will do.
        let one = Tensor::zeros(1, DType::F32, &Device::Cpu)?;
        Ok(Variable::constant(one.broadcast_as(shape)?))
    }
}

/// The block in a parameter's name: `blocks.3` for `blocks.3.norm1.weight`.
fn block(name: &str) -> Option<&str> {
    let stacks = ["blocks.", "encoder.layer.", "h.", "encoder.layers.", "decoder.layers."];
    stacks.into_iter().find_map(|prefix| {
        let number = name.strip_prefix(prefix)?.split_once('.')?.0;
        name.get(..prefix.len() + number.len())
    })
}
