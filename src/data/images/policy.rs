//! AutoAugment's CIFAR-10 policy (arXiv 1805.09501) and RandAugment (arXiv 1909.13719), with torchvision's
//! operations and magnitudes.

use super::operations::Picture;
use crate::random::Stream;
use crate::spec::{AutoAugment, RandAugment};

/// An operation of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Color,
    Contrast,
    Sharpness,
    Posterize,
    Solarize,
    AutoContrast,
    Equalize,
    Invert,
}

/// The operations that RandAugment draws from, in torchvision's order.
const RANDOM: [Kind; 14] = [
    Kind::Identity,
    Kind::ShearX,
    Kind::ShearY,
    Kind::TranslateX,
    Kind::TranslateY,
    Kind::Rotate,
    Kind::Brightness,
    Kind::Color,
    Kind::Contrast,
    Kind::Sharpness,
    Kind::Posterize,
    Kind::Solarize,
    Kind::AutoContrast,
    Kind::Equalize,
];

/// An operation, its probability in tenths, and its magnitude's place among ten.
type Step = (Kind, u32, usize);

/// AutoAugment's policy that was found on CIFAR-10: one of these pairs for each image.
const CIFAR10: [[Step; 2]; 25] = {
    use Kind::*;
    [
        [(Invert, 1, 0), (Contrast, 2, 6)],
        [(Rotate, 7, 2), (TranslateX, 3, 9)],
        [(Sharpness, 8, 1), (Sharpness, 9, 3)],
        [(ShearY, 5, 8), (TranslateY, 7, 9)],
        [(AutoContrast, 5, 0), (Equalize, 9, 0)],
        [(ShearY, 2, 7), (Posterize, 3, 7)],
        [(Color, 4, 3), (Brightness, 6, 7)],
        [(Sharpness, 3, 9), (Brightness, 7, 9)],
        [(Equalize, 6, 0), (Equalize, 5, 0)],
        [(Contrast, 6, 7), (Sharpness, 6, 5)],
        [(Color, 7, 7), (TranslateX, 5, 8)],
        [(Equalize, 3, 0), (AutoContrast, 4, 0)],
        [(TranslateY, 4, 3), (Sharpness, 2, 6)],
        [(Brightness, 9, 6), (Color, 2, 8)],
        [(Solarize, 5, 2), (Invert, 0, 0)],
        [(Equalize, 2, 0), (AutoContrast, 6, 0)],
        [(Equalize, 2, 0), (Equalize, 6, 0)],
        [(Color, 9, 9), (Equalize, 6, 0)],
        [(AutoContrast, 8, 0), (Solarize, 2, 8)],
        [(Brightness, 1, 3), (Color, 7, 0)],
        [(Solarize, 4, 5), (AutoContrast, 9, 3)],
        [(TranslateY, 9, 9), (TranslateY, 7, 9)],
        [(AutoContrast, 9, 0), (Solarize, 8, 3)],
        [(Equalize, 8, 0), (Invert, 1, 0)],
        [(TranslateY, 7, 9), (AutoContrast, 9, 0)],
    ]
};

/// Magnitudes of an AutoAugment policy.
const AUTO_BINS: usize = 10;

/// Changes images as torchvision's classes of these names do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Auto(AutoAugment),
    Random(RandAugment),
}

impl Policy {
    /// Draws operations and applies them. Pixels from outside the image are `fill`.
    pub fn apply(self, image: &mut Picture, fill: u8, stream: &mut Stream) {
        for (kind, magnitude) in self.draw(image.width, image.height, stream) {
            apply(image, kind, magnitude, fill);
        }
    }

    /// The operations for an image of this size, each with its magnitude.
    fn draw(self, width: usize, height: usize, stream: &mut Stream) -> Vec<(Kind, f64)> {
        match self {
            Policy::Auto(AutoAugment::Cifar10) => {
                let pair = CIFAR10[stream.below(CIFAR10.len() as u32) as usize];
                // Drawn for both, so that the second does not depend on the first.
                let drawn = pair.map(|step| (step, stream.below(10), stream.below(2) == 1));
                let happens = drawn.into_iter().filter(|((_, tenths, _), draw, _)| draw < tenths);
                happens
                    .map(|((kind, _, place), _, negative)| {
                        (kind, magnitude(kind, place, AUTO_BINS, negative, width, height))
                    })
                    .collect()
            }
            Policy::Random(RandAugment { operations, magnitude: place, bins }) => (0..operations)
                .map(|_| {
                    let kind = RANDOM[stream.below(RANDOM.len() as u32) as usize];
                    let negative = stream.below(2) == 1;
                    (kind, magnitude(kind, place, bins, negative, width, height))
                })
                .collect(),
        }
    }
}

/// The `place`-th of `bins` magnitudes of an operation, as torchvision computes them in float32. Magnitudes
/// of some operations have a sign.
fn magnitude(
    kind: Kind,
    place: usize,
    bins: usize,
    negative: bool,
    width: usize,
    height: usize,
) -> f64 {
    let between = |start: f64, end: f64| spaced(start, end, place, bins);
    let (value, has_sign) = match kind {
        Kind::ShearX | Kind::ShearY => (between(0.0, 0.3), true),
        Kind::TranslateX => (between(0.0, 150.0 / 331.0 * width as f64), true),
        Kind::TranslateY => (between(0.0, 150.0 / 331.0 * height as f64), true),
        Kind::Rotate => (between(0.0, 30.0), true),
        Kind::Brightness | Kind::Color | Kind::Contrast | Kind::Sharpness => {
            (between(0.0, 0.9), true)
        }
        Kind::Posterize => {
            let step = ((bins - 1) as f64 / 4.0) as f32;
            (f64::from(8.0 - (place as f32 / step).round_ties_even()), false)
        }
        Kind::Solarize => (between(255.0, 0.0), false),
        Kind::Identity | Kind::AutoContrast | Kind::Equalize | Kind::Invert => (0.0, false),
    };
    if has_sign && negative { -value } else { value }
}

/// The `place`-th of `count` evenly spaced numbers, as `torch.linspace` computes it: from the nearer end.
fn spaced(start: f64, end: f64, place: usize, count: usize) -> f64 {
    let (start, end) = (start as f32, end as f32);
    if count < 2 {
        return f64::from(start);
    }
    let step = (end - start) / (count - 1) as f32;
    f64::from(match place < count / 2 {
        true => start + step * place as f32,
        false => end - step * (count - 1 - place) as f32,
    })
}

fn apply(image: &mut Picture, kind: Kind, magnitude: f64, fill: u8) {
    let factor = (1.0 + magnitude) as f32;
    match kind {
        Kind::Identity => {}
        Kind::ShearX => image.shear_x(magnitude.atan().to_degrees().to_radians().tan(), fill),
        Kind::ShearY => image.shear_y(magnitude.atan().to_degrees().to_radians().tan(), fill),
        Kind::TranslateX => image.translate(magnitude as i64, 0, fill),
        Kind::TranslateY => image.translate(0, magnitude as i64, fill),
        Kind::Rotate => image.rotate(magnitude, fill),
        Kind::Brightness => image.brightness(factor),
        Kind::Color => image.color(factor),
        Kind::Contrast => image.contrast(factor),
        Kind::Sharpness => image.sharpness(factor),
        Kind::Posterize => image.posterize(magnitude as u32),
        Kind::Solarize => image.solarize(magnitude),
        Kind::AutoContrast => image.auto_contrast(),
        Kind::Equalize => image.equalize(),
        Kind::Invert => image.invert(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use safetensors::SafeTensors;
    use serde_json::Value;

    use super::*;
    use crate::data::images::oracle::fact;
    use crate::random::Purpose;

    const ALL: [Kind; 15] = {
        let mut all = [Kind::Invert; 15];
        let mut i = 0;
        while i < RANDOM.len() {
            all[i] = RANDOM[i];
            i += 1;
        }
        all
    };

    /// The images of the fixture, by number.
    fn images() -> BTreeMap<usize, Picture> {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/operations.safetensors");
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let image = |(name, tensor): (String, safetensors::tensor::TensorView)| {
            let &[height, width, channels] = tensor.shape() else { panic!("{name}") };
            let number = name.strip_prefix("image.").unwrap().parse().unwrap();
            (number, Picture { bytes: tensor.data().to_vec(), width, height, channels })
        };
        file.tensors().into_iter().map(image).collect()
    }

    fn kind(name: &Value) -> Kind {
        let name = name.as_str().unwrap();
        ALL.into_iter().find(|kind| format!("{kind:?}") == name).unwrap()
    }

    /// Every operation at every magnitude, on images in colour and grey, with both fills.
    #[test]
    fn operations_equal_those_of_torchvision() {
        let (images, cases) = (images(), fact("cases"));
        let cases = cases.as_array().unwrap();
        let mut wrong = Vec::new();
        for case in cases {
            let number = |i: usize| case[i].as_u64().unwrap();
            let (kind, wanted) = (kind(&case[1]), case[4].as_f64().unwrap());
            let (bins, place) = (number(2) as usize, number(3) as usize);
            let drawn = magnitude(kind, place, bins, wanted < 0.0, 18, 20);
            assert_eq!(drawn, wanted, "{case}");
            let mut image = images[&(number(0) as usize)].clone();
            apply(&mut image, kind, drawn, number(5) as u8);
            let sum: u64 = image.bytes.iter().map(|v| u64::from(*v)).sum();
            let placed = image.bytes.iter().zip(1..).map(|(v, i)| u64::from(*v) * i).sum::<u64>();
            if (sum, placed) != (number(6), number(7)) {
                wrong.push(format!("{case}: {sum} {placed}"));
            }
            // Drawn with the other sign, it is negated or, where torchvision draws none, the same.
            let other = magnitude(kind, place, bins, wanted >= 0.0, 18, 20);
            let negated = cases.iter().any(|c| c[1] == case[1] && c[4].as_f64() == Some(-wanted));
            assert_eq!(other, if negated { -wanted } else { wanted }, "{case}");
        }
        assert!(cases.len() > 1500);
        assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), cases.len(), &wrong[..1]);
    }

    #[test]
    fn policies_are_those_of_torchvision() {
        let cifar10 = fact("cifar10");
        let wanted = cifar10.as_array().unwrap();
        assert_eq!(wanted.len(), CIFAR10.len());
        for (pair, wanted) in CIFAR10.iter().zip(wanted) {
            let wanted = wanted.as_array().unwrap();
            for ((operation, tenths, place), wanted) in pair.iter().zip(wanted) {
                assert_eq!(*operation, kind(&wanted[0]));
                assert_eq!(f64::from(*tenths) / 10.0, wanted[1].as_f64().unwrap());
                // An operation without magnitudes has none there.
                if let Some(wanted) = wanted[2].as_u64() {
                    assert_eq!(*place as u64, wanted);
                }
            }
        }
        let random: Vec<Kind> = fact("random").as_array().unwrap().iter().map(kind).collect();
        assert_eq!(random, RANDOM);
    }

    /// Each operation is drawn as often as the policy says, with both signs, and again by the same name.
    #[test]
    fn draws_follow_the_policy() {
        let draws = |policy: Policy| -> Vec<(Kind, f64)> {
            let stream = |i: usize| Stream::new(1, Purpose::Policy, &format!("0/{i}"));
            (0..20_000).flat_map(|i| policy.draw(32, 32, &mut stream(i))).collect()
        };
        let auto = draws(Policy::Auto(AutoAugment::Cifar10));
        let mut expected: BTreeMap<String, f64> = BTreeMap::new();
        for (kind, tenths, _) in CIFAR10.iter().flatten() {
            *expected.entry(format!("{kind:?}")).or_default() +=
                20_000.0 / CIFAR10.len() as f64 * f64::from(*tenths) / 10.0;
        }
        for (name, expected) in expected {
            let count = auto.iter().filter(|(kind, _)| format!("{kind:?}") == name).count() as f64;
            assert!(
                (count - expected).abs() < 5.0 * expected.sqrt(),
                "{name}: {count}, {expected}"
            );
        }
        let shears: Vec<f64> =
            auto.iter().filter(|(kind, _)| *kind == Kind::ShearY).map(|(_, m)| *m).collect();
        let negative = shears.iter().filter(|m| **m < 0.0).count() as f64;
        assert!((negative / shears.len() as f64 - 0.5).abs() < 0.05);
        assert_eq!(auto, draws(Policy::Auto(AutoAugment::Cifar10)));

        let random = draws(Policy::Random(RandAugment { operations: 3, magnitude: 9, bins: 31 }));
        assert_eq!(random.len(), 60_000);
        for kind in RANDOM {
            let count = random.iter().filter(|(other, _)| *other == kind).count() as f64;
            assert!((count - 60_000.0 / 14.0).abs() < 330.0, "{kind:?}: {count}");
        }
        let rotations = random.iter().filter(|(kind, _)| *kind == Kind::Rotate);
        assert!(rotations.map(|(_, m)| m.abs()).all(|m| m == 9.0));
    }

    #[test]
    fn the_smallest_images_are_changed_without_panic() {
        for (width, height, channels) in [(1, 1, 3), (2, 2, 1), (1, 3, 3), (3, 1, 1)] {
            for kind in ALL {
                for place in 0..10 {
                    let bytes = (0..width * height * channels).map(|v| 40 * v as u8).collect();
                    let mut image = Picture { bytes, width, height, channels };
                    apply(&mut image, kind, magnitude(kind, place, 10, true, width, height), 7);
                }
            }
        }
    }
}
