//! The singular values of D = W_l − W_ref: how far, and in how many directions, each layer of a dense
//! model is from the layer that its increment would add to.
//!
//! VLoRA assumes that D has a low rank. A spectrum of D must be compared with others: with that of
//! W_l itself, and with that of a matrix of independent Gaussian values of the same shape. The
//! singular values of the latter lie between |√out − √in| and √out + √in (Marchenko & Pastur 1967).

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::layer_map::LayerMap;
use super::svd::singular_values;
use crate::error::Result;
use crate::nn::Init;
use crate::random::{Purpose, Stream};
use crate::singular_values::LayerSpectrum;
use crate::spec::{Reference, Target};

/// A target and its matrix in each layer.
pub type TargetLayers = (Target, Vec<Tensor>);

/// The spectra of every layer that is not its compound's first, ordered by target and layer. W_ref is
/// the dense model's weight of the base or the previous layer.
pub fn spectra(
    matrices: &[TargetLayers],
    compound_size: usize,
    reference: Reference,
) -> Result<Vec<LayerSpectrum>> {
    let places = matrices.iter().flat_map(|(target, layers)| {
        let map = LayerMap::compounds(layers.len(), compound_size, reference);
        let inner = (0..layers.len()).filter_map(move |l| Some((l, map.reference(l)?)));
        inner.map(move |(layer, reference_layer)| (target, layers, layer, reference_layer))
    });
    // Each decomposition runs on one thread, so several can run at a time.
    places
        .collect::<Vec<_>>()
        .into_par_iter()
        .map(|(target, layers, layer, reference_layer)| {
            // float64, so that D is not rounded.
            let [weight, before] =
                [&layers[layer], &layers[reference_layer]].map(|t| t.to_dtype(DType::F64));
            let (weight, before) = (weight?, before?);
            let difference = (&weight - &before)?;
            let values = |t: &Tensor| {
                singular_values(t).map_err(|e| {
                    e.map_fault(|fault| fault.under(format!("layer {layer}, {target}")))
                })
            };
            Ok(LayerSpectrum {
                layer,
                reference_layer,
                target: target.name().to_string(),
                shape: weight.dims2()?,
                difference: values(&difference)?,
                weight: values(&weight)?,
                reference_norm: before.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt(),
            })
        })
        .collect()
}

/// The singular values of a matrix of independent standard normal values.
pub fn random_spectrum((output, input): (usize, usize), seed: u64) -> Result<Vec<f64>> {
    let mut stream = Stream::new(seed, Purpose::RandomMatrix, &format!("{output} x {input}"));
    let values = Init::Normal { std: 1.0 }.values(output * input, &mut stream);
    singular_values(&Tensor::from_vec(values, (output, input), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::singular_values::Measures;

    fn matrix(name: &str, shape: (usize, usize)) -> Tensor {
        let mut stream = Stream::new(0, Purpose::Init, name);
        let values = Init::Normal { std: 1.0 }.values(shape.0 * shape.1, &mut stream);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Four layers. Each is the one before plus a matrix of rank 1.
    fn chain() -> Vec<TargetLayers> {
        let mut layers = vec![matrix("base", (12, 8))];
        for layer in 1..4 {
            let (u, v) =
                (matrix(&format!("u{layer}"), (12, 1)), matrix(&format!("v{layer}"), (1, 8)));
            layers.push((&layers[layer - 1] + u.matmul(&v).unwrap()).unwrap());
        }
        vec![("mlp.fc1".into(), layers)]
    }

    #[test]
    fn the_differences_rank_is_the_number_of_rank_one_steps_between() {
        let ranks = |size, reference| -> Vec<(usize, usize, usize)> {
            let all = spectra(&chain(), size, reference).unwrap();
            all.iter()
                .map(|l| {
                    let rank = l.difference.iter().filter(|s| **s > 1e-4).count();
                    (l.layer, l.reference_layer, rank)
                })
                .collect()
        };
        assert_eq!(ranks(4, Reference::Base), [(1, 0, 1), (2, 0, 2), (3, 0, 3)]);
        assert_eq!(ranks(4, Reference::Previous), [(1, 0, 1), (2, 1, 1), (3, 2, 1)]);
        assert_eq!(ranks(2, Reference::Base), [(1, 0, 1), (3, 2, 1)]);
    }

    #[test]
    fn norms_are_those_of_the_matrices() {
        let matrices = chain();
        let layers = &matrices[0].1;
        let norm = |t: &Tensor| {
            f64::from(t.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt()
        };
        for l in spectra(&matrices, 4, Reference::Base).unwrap() {
            let d = norm(&(&layers[l.layer] - &layers[0]).unwrap());
            assert!((l.relative_norm() - d / norm(&layers[l.layer])).abs() < 1e-5);
            assert!((l.reference_norm - norm(&layers[0])).abs() < 1e-4);
        }
    }

    /// The bounds of random matrix theory hold up to about n^(-2/3).
    #[test]
    fn a_random_spectrum_is_within_the_theoretical_bounds() {
        let (out, input) = (400usize, 100usize);
        let values = random_spectrum((out, input), 0).unwrap();
        assert_eq!(values, random_spectrum((out, input), 0).unwrap());
        assert_ne!(values, random_spectrum((out, input), 1).unwrap());
        assert!((values[0] - 30.0).abs() < 1.5 && (values[99] - 10.0).abs() < 1.5);
        // ‖·‖² is about out · in, so the stable rank is about 40000 / 900.
        assert!((Measures::of(&values).stable_rank - 44.4).abs() < 4.0);
    }
}
