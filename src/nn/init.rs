//! Initial values of parameters.

use crate::random::Stream;

/// How a parameter starts. Sources: timm's ViT (`init_weights_vit_timm`; the convolution of
/// `PatchEmbed` keeps PyTorch's default) and PyTorch's `nn.init`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal with this standard deviation. timm truncates at ±2. With its deviation of 0.02 that is
    /// a hundred deviations away and never happens.
    Normal {
        std: f64,
    },
    /// U(±1/√fan_in): `kaiming_uniform` with a = √5, and PyTorch's default for biases.
    KaimingUniform {
        fan_in: usize,
    },
    /// U(±√(6 / (fan_in + fan_out))): `xavier_uniform`.
    XavierUniform {
        fan_in: usize,
        fan_out: usize,
    },
}

impl Init {
    /// `count` values from `stream`.
    pub fn values(self, count: usize, stream: &mut Stream) -> Vec<f32> {
        match self {
            Init::Zeros => vec![0.0; count],
            Init::Ones => vec![1.0; count],
            Init::Normal { std } => (0..count).map(|_| (std * stream.normal()) as f32).collect(),
            Init::KaimingUniform { fan_in } => uniform(1.0 / (fan_in as f64).sqrt(), count, stream),
            Init::XavierUniform { fan_in, fan_out } => {
                uniform((6.0 / (fan_in + fan_out) as f64).sqrt(), count, stream)
            }
        }
    }
}

/// `count` values of U(±bound).
fn uniform(bound: f64, count: usize, stream: &mut Stream) -> Vec<f32> {
    (0..count).map(|_| (bound * (2.0 * stream.uniform() - 1.0)) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn kaiming_uniform_has_its_bound_and_variance() {
        let mut stream = Stream::new(0, Purpose::Init, "k");
        let values = Init::KaimingUniform { fan_in: 16 }.values(50_000, &mut stream);
        assert!(values.iter().all(|v| v.abs() <= 0.25));
        let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 5e4;
        // Variance of U(±b) is b²/3.
        assert!((variance - 0.25f64.powi(2) / 3.0).abs() < 5e-4);
    }
}
