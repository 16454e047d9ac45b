//! Converts a dense model into compounds with the best increments of a given rank, and back.
//!
//! Let W_l be a target of a layer that is not its compound's first, and D = W_l − W_ref. The closest
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
use crate::spec::{Kept, LoraSpec, Stack, Target, VloraSpec, WeightShape};

/// The stack's weights, by name, of the dense model that computes the same: increments and LoRA are
/// added to their weights.
pub fn materialise(
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
                    put(&weight.target, linear.merged().materialise()?);
                    put(bias, value(&linear.bias)?);
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
) -> Result<(BTreeMap<String, Tensor>, Vec<Kept>)> {
    if vlora.compound_size == 0 {
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
        kept.extend(compress_stack(dense, stack, vlora, &mut out)?);
    }
    Ok((out, kept))
}

/// Replaces the weights of one stack in `out` by increments. Returns what each increment keeps,
/// ordered by layer, then by target in the stack's order.
fn compress_stack(
    dense: &BTreeMap<String, Tensor>,
    stack: &Stack,
    vlora: &VloraSpec,
    out: &mut BTreeMap<String, Tensor>,
) -> Result<Vec<Kept>> {
    let map = LayerMap::of(stack, Some(vlora));
    let mut kept = Vec::new();
    for own in &stack.weights {
        let Some(increment) = Increment::of(own, vlora) else { continue };
        // Every layer's weight as converted so far.
        let mut converted: Vec<Weight> = Vec::with_capacity(stack.depth);
        for layer in 0..stack.depth {
            let name = stack.parameter(layer, own);
            let weight = parameter(dense, &name)?;
            // References are earlier layers.
            let reference = map.reference(layer).and_then(|layer| converted.get(layer));
            let Some(reference) = reference else {
                converted.push(Weight::dense(Variable::constant(weight)));
                continue;
            };
            out.remove(&name);
            let conversion =
                WeightConversion { name: &name, weight: &weight, reference, increment };
            let (now, energy_kept) = conversion.run(out)?;
            let error = norm(&(&weight - now.materialise()?)?)?;
            kept.push(Kept {
                layer,
                target: own.target.clone(),
                rank: increment.rank(),
                energy_kept,
                relative_error: ratio(error, norm(&weight)?),
            });
            converted.push(now);
        }
    }
    kept.sort_by_key(|k| k.layer);
    Ok(kept)
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
        let before = self.reference.materialise()?;
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
