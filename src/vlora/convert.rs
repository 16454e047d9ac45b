//! Converts a dense model into compounds with the best increments of a given rank, and back.
//!
//! Let W_l be a target of a layer with an increment, and D = W_l − W_ref. The closest
//! increment of rank r is D's truncated decomposition U_r S_r V_rᵀ. Its squared error is
//! Σ_{k ≥ r} s_k² (Eckart & Young, Psychometrika 1, 1936). With `scale = alpha / r`, its factors
//! are A = √(S_r / scale) V_rᵀ \[r, in\] and B = √(S_r / scale) U_rᵀ \[r, out\], so that
//! `scale · Bᵀ A = U_r S_r V_rᵀ` for any alpha.
//!
//! With `previous`, W_ref is the layer before *as converted*. So each increment also corrects the
//! error of the one before.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::layer_map::{Increment, LayerMap};
use super::linear::Vector;
use super::stack::StackBuilder;
use super::svd::Svd;
use super::weight::{Delta, Weight};
use super::{is_increment, is_lora};
use crate::error::{Error, Fault, Result};
use crate::nn::{Constants, Init, LowRank, Variable};
use crate::singular_values::energy_kept;
use crate::spec::{
    BaseInit, Kept, LoraSpec, Reference, Stack, StartIncrements, StartSpec, Target, VloraSpec,
    WeightShape,
};

/// The stack's weights, by name, of the dense model that computes the same: increments and LoRA are
/// added to their weights.
pub fn merge(
    tensors: &BTreeMap<String, Tensor>,
    stack: &Stack,
    vlora: Option<&VloraSpec>,
    lora: Option<&LoraSpec>,
) -> candle_core::Result<BTreeMap<String, Tensor>> {
    let mut parameters = Constants(tensors);
    let mut builder = StackBuilder::new(stack, vlora, lora);
    let mut dense = BTreeMap::new();
    let value = |vector: &Vector| Ok::<_, candle_core::Error>(vector.value()?.tensor().clone());
    for layer in 0..stack.depth {
        for weight in &stack.weights {
            let name = weight.target.name();
            let mut put = |target: &Target, tensor: Tensor| {
                if let Some(weight) = stack.weight(target) {
                    dense.insert(stack.parameter(layer, weight), tensor);
                }
            };
            match &weight.shape {
                WeightShape::Matrix { bias, .. } => {
                    let linear = builder.linear(&mut parameters, layer, name, Init::Zeros)?;
                    put(&weight.target, linear.merged().merged_matrix()?);
                    if let (Some(target), Some(bias)) = (bias, &linear.bias) {
                        put(target, value(bias)?);
                    }
                }
                // Built together with its matrix.
                WeightShape::Bias { .. } => {}
                WeightShape::Norm { .. } => {
                    let vector = builder.vector(&mut parameters, layer, name, Init::Zeros)?;
                    put(&weight.target, value(&vector)?);
                }
            }
        }
    }
    Ok(dense)
}

/// Converts the parameters of a dense model, by name, into those of the same model with increments,
/// in float32. Weights that are not targets are copied, and so are layers that own their weights.
/// Names are those of [`StackBuilder`].
///
/// # Errors
///
/// If the weights already hold increments, lack a parameter, have a wrong shape, or are not finite.
pub fn compress(
    dense: &BTreeMap<String, Tensor>,
    stacks: &[Stack],
    vlora: &VloraSpec,
    how: Compression,
) -> Result<(BTreeMap<String, Tensor>, Vec<Kept>)> {
    if vlora.compound_size == Some(0) {
        return Err(Fault::new("a compound needs at least one layer")
            .within("vlora.compound_size")
            .into());
    }
    if let Some(name) = dense.keys().find(|name| is_increment(name) || is_lora(name)) {
        return Err(Fault::new("the weights to convert hold an increment")
            .source(name)
            .expected("the weights of a dense model (merge the increments first)")
            .into());
    }
    let mut out = dense.clone();
    let mut kept = Vec::new();
    for stack in stacks {
        let mut stack_kept = compress_stack(dense, stack, vlora, how, &mut out)?;
        if stacks.len() > 1 {
            stack_kept.iter_mut().for_each(|kept| kept.stack = stack.name.to_string());
        }
        kept.extend(stack_kept);
    }
    Ok((out, kept))
}

/// Replaces the weights of one stack in `out` by increments. Returns what each decomposed increment
/// keeps, ordered by layer, then by target in the stack's order.
fn compress_stack(
    dense: &BTreeMap<String, Tensor>,
    stack: &Stack,
    vlora: &VloraSpec,
    how: Compression,
    out: &mut BTreeMap<String, Tensor>,
) -> Result<Vec<Kept>> {
    let map = LayerMap::of(stack, Some(vlora));
    let mut kept = Vec::new();
    for layer_weight in &stack.weights {
        let Some(increment) = Increment::of(layer_weight, vlora) else { continue };
        let names: Vec<String> =
            (0..stack.depth).map(|l| stack.parameter(l, layer_weight)).collect();
        let weights: Vec<Tensor> =
            names.iter().map(|name| parameter(dense, name)).collect::<Result<_>>()?;
        // For each layer so far, the weight that others add to.
        let mut converted: Vec<Weight> = Vec::with_capacity(stack.depth);
        for (layer, (name, weight)) in names.iter().zip(&weights).enumerate() {
            // References are earlier layers.
            let reference = map.reference(layer).and_then(|layer| converted.get(layer));
            let owns = reference.is_none();
            let base = match reference {
                Some(reference) => {
                    out.remove(name);
                    reference.clone()
                }
                None => {
                    let base = how.base(&map, &weights, layer)?;
                    out.insert(name.clone(), base.clone());
                    Weight::dense(Variable::constant(base))
                }
            };
            // Increments from the seed are built with the model.
            if !map.has_increment(layer) || !how.increments.is_svd() {
                converted.push(base);
                continue;
            }
            let conversion = WeightConversion { name, weight, reference: &base, increment };
            let (now, energy_kept) = conversion.run(out)?;
            let error = norm(&(weight - now.merged_matrix()?)?)?;
            kept.push(Kept {
                stack: String::new(),
                layer,
                target: layer_weight.target.clone(),
                rank: increment.rank(),
                energy_kept,
                relative_error: ratio(error, norm(weight)?),
            });
            let is_bare = owns && vlora.reference == Reference::Base;
            converted.push(if is_bare { base } else { now });
        }
    }
    kept.sort_by_key(|k| k.layer);
    Ok(kept)
}

/// How a dense model becomes one that shares layers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compression {
    base: BaseInit,
    increments: StartIncrements,
}

impl Compression {
    /// As an arm's `start` has it.
    pub fn of(start: &StartSpec) -> Compression {
        Compression { base: start.base_init, increments: start.increments }
    }

    /// What the weight becomes that `owner` owns, from the weights of all layers.
    fn base(self, map: &LayerMap, weights: &[Tensor], owner: usize) -> Result<Tensor> {
        let is_shared = |layer: &usize| map.is_reference(map.owner(*layer));
        let owner_weight = &weights[owner];
        if self.base == BaseInit::First || !is_shared(&owner) {
            return Ok(owner_weight.clone());
        }
        let sharing: Vec<usize> = (0..map.depth()).filter(is_shared).collect();
        let owners: Vec<usize> =
            sharing.iter().copied().filter(|layer| map.reference(*layer).is_none()).collect();
        let number = owners.iter().take_while(|other| **other < owner).count();
        let chosen = match self.base {
            BaseInit::First => owner,
            BaseInit::Lower => sharing[number],
            BaseInit::Stepwise => {
                let (steps, last) = (owners.len().saturating_sub(1).max(1), sharing.len() - 1);
                // To the nearest layer, of two the upper one.
                sharing[(2 * number * last + steps) / (2 * steps)]
            }
            BaseInit::Average => {
                let users = sharing.iter().filter(|layer| map.owner(**layer) == owner);
                let mut sum = owner_weight.zeros_like()?.to_dtype(DType::F64)?;
                let mut n = 0;
                for layer in users {
                    if weights[*layer].shape() != owner_weight.shape() {
                        return Err(other_shape(&weights[*layer], owner_weight).into());
                    }
                    sum = (sum + weights[*layer].to_dtype(DType::F64)?)?;
                    n += 1;
                }
                return Ok((sum / f64::from(n))?.to_dtype(DType::F32)?);
            }
        };
        match weights[chosen].shape() == owner_weight.shape() {
            true => Ok(weights[chosen].clone()),
            false => Err(other_shape(&weights[chosen], owner_weight).into()),
        }
    }
}

fn other_shape(found: &Tensor, expected: &Tensor) -> Fault {
    Fault::new(format!("shape {:?}", found.dims()))
        .expected(format!("that of the layers that share it, {:?}", expected.dims()))
}

/// One weight to convert into an increment on its reference.
struct WeightConversion<'a> {
    name: &'a str,
    weight: &'a Tensor,
    reference: &'a Weight,
    increment: Increment,
}

impl WeightConversion<'_> {
    /// Puts the increment's parameters into `out`. Returns the converted weight and the energy kept.
    fn run(&self, out: &mut BTreeMap<String, Tensor>) -> Result<(Weight, f64)> {
        let before = self.reference.merged_matrix()?;
        if before.shape() != self.weight.shape() {
            return Err(Fault::new(format!("shape {:?}", self.weight.dims()))
                .source(self.name)
                .expected(format!("that of the layer it adds to, {:?}", before.dims()))
                .into());
        }
        let difference = (self.weight - before)?;
        let reference = self.reference.clone();
        match self.increment {
            Increment::Shared => Ok((reference, if norm(&difference)? == 0.0 { 1.0 } else { 0.0 })),
            Increment::Full => {
                out.insert(format!("{}.delta", self.name), difference.clone());
                Ok((reference.plus(Delta::Full(Variable::constant(difference))), 1.0))
            }
            Increment::Vector => {
                out.insert(format!("{}.A", self.name), difference.clone());
                Ok((reference.plus(Delta::Full(Variable::constant(difference))), 1.0))
            }
            Increment::LowRank { rank, scale } => {
                let named = |e: Error| e.map_fault(|fault| fault.tensor(self.name));
                let svd = Svd::of(&difference).map_err(named)?;
                let pair = factors(&svd, difference.dims2()?, rank, scale).map_err(named)?;
                out.insert(format!("{}.A", self.name), pair.a.tensor().clone());
                out.insert(format!("{}.B", self.name), pair.b.tensor().clone());
                Ok((reference.plus(Delta::LowRank(pair)), energy_kept(&svd.values, rank)))
            }
        }
    }
}

/// The best factors of `rank`. A direction with singular value 0 gets a B of zero and an A of length
/// one: if both were zero, neither would ever get a gradient.
fn factors(svd: &Svd, (output, input): (usize, usize), rank: usize, scale: f64) -> Result<LowRank> {
    if scale == 0.0 || !scale.is_finite() {
        return Err(Fault::new(format!("increments scaled by {scale} cannot hold a difference"))
            .expected("an alpha that is finite and not 0")
            .into());
    }
    // Singular values up to this size are zeros with rounding errors.
    let noise =
        output.max(input) as f64 * f64::EPSILON * svd.values.first().copied().unwrap_or(0.0);
    let factor = |sides: &[Vec<f64>], width: usize, sign: f64, idle: f64| -> Result<Tensor> {
        let mut values = vec![0f32; rank * width];
        for ((row, side), s) in values.chunks_mut(width.max(1)).zip(sides).zip(&svd.values) {
            let size = if *s > noise { sign * (s / scale.abs()).sqrt() } else { idle };
            row.iter_mut().zip(side).for_each(|(to, from)| *to = (size * from) as f32);
        }
        Ok(Tensor::from_vec(values, (rank, width), &Device::Cpu)?)
    };
    let a = factor(svd.right(), input, 1.0, 1.0)?;
    let b = factor(svd.left(), output, scale.signum(), 0.0)?;
    Ok(LowRank { a: Variable::constant(a), b: Variable::constant(b), scale })
}

fn parameter(dense: &BTreeMap<String, Tensor>, name: &str) -> Result<Tensor> {
    match dense.get(name) {
        Some(tensor) => Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?),
        None => Err(Fault::new("the weights to convert lack this parameter")
            .source(name)
            .expected("the weights of a dense model")
            .into()),
    }
}

/// Frobenius norm, summed in float64.
fn norm(t: &Tensor) -> Result<f64> {
    Ok(t.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
}

fn ratio(part: f64, whole: f64) -> f64 {
    if part == 0.0 { 0.0 } else { part / whole }
}

#[cfg(test)]
mod tests;
