//! Mixup (arXiv 1710.09412) and cutmix (arXiv 1905.04899) of batches, as timm's `Mixup` does it: each image
//! is mixed with the one at the same place from the batch's end.

use candle_core::{Result, Tensor};
use statrs::distribution::{Beta, ContinuousCDF};

use super::augment::Rectangle;
use crate::random::{Purpose, Stream};
use crate::spec::Mix;

/// Draws how batches of an epoch are mixed.
#[derive(Clone, Copy, Debug)]
pub struct Mixer {
    mix: Mix,
    seed: u64,
    epoch: usize,
}

/// How a batch was mixed with itself, read from its end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mixed {
    /// The share of an image's own pixels, and of its own label.
    pub own: f64,
    /// With cutmix: the part of an image that the other one has.
    other: Option<Rectangle>,
}

impl Mixer {
    pub fn new(mix: Mix, seed: u64, epoch: usize) -> Mixer {
        Mixer { mix, seed, epoch }
    }

    /// How the batch whose first example is `first` is mixed, of images of `side` × `side` pixels. None if
    /// it is not.
    pub fn draw(&self, first: usize, side: usize) -> Option<Mixed> {
        let Mix { mixup, cutmix, probability, switch_probability } = self.mix;
        let name = format!("{}/{first}", self.epoch);
        let mut stream = Stream::new(self.seed, Purpose::Mix, &name);
        if stream.uniform() >= probability {
            return None;
        }
        let cuts = match (mixup > 0.0, cutmix > 0.0) {
            (true, true) => stream.uniform() < switch_probability,
            (_, cuts) => cuts,
        };
        let share = beta(if cuts { cutmix } else { mixup }, stream.uniform());
        if !cuts {
            return Some(Mixed { own: share, other: None });
        }
        // A square of the other's share of the area about a random pixel, cut at the border.
        let half = (side as f64 * (1.0 - share).sqrt()) as usize / 2;
        let mut range = || {
            let middle = stream.below(side as u32) as usize;
            (middle.saturating_sub(half), (middle + half).min(side))
        };
        let ((top, bottom), (left, right)) = (range(), range());
        let (width, height) = (right - left, bottom - top);
        let share = 1.0 - (width * height) as f64 / (side * side) as f64;
        Some(Mixed { own: share, other: Some([left, top, width, height]) })
    }
}

impl Mixed {
    /// Mixes images \[batch, channel, row, column\] with those from the batch's end.
    pub fn apply(&self, images: &Tensor) -> Result<Tensor> {
        let (batch, ..) = images.dims4()?;
        let reversed: Vec<u32> = (0..batch as u32).rev().collect();
        let reversed = Tensor::from_vec(reversed, batch, images.device())?;
        let others = images.index_select(&reversed, 0)?;
        match self.other {
            None => (images * self.own)? + (others * (1.0 - self.own))?,
            Some([_, _, width, height]) if width * height == 0 => Ok(images.clone()),
            Some([left, top, width, height]) => {
                let part = others.narrow(2, top, height)?.narrow(3, left, width)?;
                images.slice_assign(
                    &[0..batch, 0..images.dim(1)?, top..top + height, left..left + width],
                    &part.contiguous()?,
                )
            }
        }
    }
}

/// The value that a beta distribution of α = β is below with probability `p`.
fn beta(alpha: f64, p: f64) -> f64 {
    let Ok(beta) = Beta::new(alpha, alpha) else { return 0.5 };
    // statrs' own inverse stops after 16 halvings.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        match beta.cdf(middle) < p {
            true => low = middle,
            false => high = middle,
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    const SIDE: usize = 32;
    const BOTH: Mix = Mix { mixup: 0.8, cutmix: 1.0, probability: 1.0, switch_probability: 0.5 };

    fn draws(mix: Mix) -> Vec<Option<Mixed>> {
        let mixer = Mixer::new(mix, 3, 1);
        (0..4000).map(|first| mixer.draw(first, SIDE)).collect()
    }

    /// Mean and variance of B(α, α) are 1/2 and 1/(4 (2 α + 1)).
    #[test]
    fn shares_are_beta_distributed() {
        for alpha in [0.2, 0.8, 1.0, 3.0] {
            let mix = Mix { mixup: alpha, cutmix: 0.0, ..Mix::default() };
            let shares: Vec<f64> = draws(mix).into_iter().map(|mixed| mixed.unwrap().own).collect();
            let n = shares.len() as f64;
            let mean = shares.iter().sum::<f64>() / n;
            let variance = shares.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            let want = 0.25 / (2.0 * alpha + 1.0);
            assert!((mean - 0.5).abs() < 4.0 * (want / n).sqrt(), "{alpha}: {mean}");
            assert!((variance / want - 1.0).abs() < 0.08, "{alpha}: {variance} and {want}");
            assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
        }
        // B(1, 1) is uniform.
        assert!((beta(1.0, 0.3) - 0.3).abs() < 1e-9);
    }

    #[test]
    fn probabilities_are_those_of_the_spec() {
        let mix = Mix { probability: 0.6, switch_probability: 0.25, ..BOTH };
        let all = draws(mix);
        let mixed: Vec<Mixed> = all.iter().flatten().copied().collect();
        let cut = mixed.iter().filter(|mixed| mixed.other.is_some()).count() as f64;
        let share = mixed.len() as f64 / all.len() as f64;
        assert!((share - 0.6).abs() < 0.04, "{share}");
        assert!((cut / mixed.len() as f64 - 0.25).abs() < 0.04, "{cut}");
        // Without mixup every mixed batch is cut, and the other way round.
        for (mix, cuts) in
            [(Mix { mixup: 0.0, ..BOTH }, true), (Mix { cutmix: 0.0, ..BOTH }, false)]
        {
            assert!(draws(mix).iter().flatten().all(|mixed| mixed.other.is_some() == cuts));
        }
        assert_eq!(all, draws(mix));
    }

    /// Compares an image's own share in cutmix to timm's, from `scripts/reference/make_recipe_fixtures.py`.
    #[test]
    fn shares_of_cutmix_are_distributed_as_in_timm() {
        for case in crate::data::images::oracle::fact("cutmix").as_array().unwrap() {
            let number = |field: &str| case[field].as_f64().unwrap();
            let mix = Mix { mixup: 0.0, cutmix: number("alpha"), ..Mix::default() };
            let shares: Vec<f64> =
                draws(mix).into_iter().flatten().map(|mixed| mixed.own).collect();
            let n = shares.len() as f64;
            let mean = shares.iter().sum::<f64>() / n;
            let spread = (shares.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
            let error = 5.0 * number("std") * (1.0 / n + 1.0 / number("draws")).sqrt();
            assert!((mean - number("mean")).abs() < error, "{case}: {mean}");
            assert!((spread - number("std")).abs() < error, "{case}: {spread}");
        }
    }

    /// The share of the label is that of the pixels, also where a rectangle is cut at the border.
    #[test]
    fn shares_of_cutmix_are_those_of_the_pixels() {
        let image = |value: f32| Tensor::full(value, (1, 2, SIDE, SIDE), &Device::Cpu).unwrap();
        let batch = Tensor::cat(&[image(1.0), image(5.0), image(0.0)], 0).unwrap();
        for mixed in draws(Mix { mixup: 0.0, ..BOTH }).into_iter().flatten().take(200) {
            let out = mixed.apply(&batch).unwrap();
            let mean =
                |i: usize| out.get(i).unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
            assert!((f64::from(mean(0)) - mixed.own).abs() < 1e-5, "{mixed:?}");
            assert!((f64::from(mean(2)) - (1.0 - mixed.own)).abs() < 1e-5, "{mixed:?}");
            // The one in the middle meets itself.
            assert!((mean(1) - 5.0).abs() < 1e-5);
        }
        for mixed in draws(Mix { cutmix: 0.0, ..BOTH }).into_iter().flatten().take(20) {
            let out = mixed.apply(&batch).unwrap();
            let first = out.get(0).unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
            assert!((f64::from(first) - mixed.own).abs() < 1e-6);
        }
    }
}
