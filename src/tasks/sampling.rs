//! The choice of the next token, by candle-transformers.

use candle_core::{Result, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling as Kind};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The most probable token.
    Greedy,
    /// One at random, by the probabilities at a temperature.
    Random {
        /// Above 0. Smaller values prefer probable tokens more.
        temperature: f64,
        /// Top-k sampling: only the k most probable tokens.
        top_k: Option<usize>,
        /// Nucleus sampling: only the most probable tokens whose probabilities add up to p.
        top_p: Option<f64>,
        seed: u64,
    },
}

/// Chooses tokens one after the other.
pub struct Sampler(LogitsProcessor);

impl Sampler {
    pub fn new(sampling: &Sampling) -> Sampler {
        Sampler(match *sampling {
            Sampling::Greedy => LogitsProcessor::from_sampling(0, Kind::ArgMax),
            Sampling::Random { temperature, top_k, top_p, seed } => {
                let kind = match (top_k, top_p) {
                    (None, None) => Kind::All { temperature },
                    (Some(k), None) => Kind::TopK { k, temperature },
                    (None, Some(p)) => Kind::TopP { p, temperature },
                    (Some(k), Some(p)) => Kind::TopKThenTopP { k, p, temperature },
                };
                LogitsProcessor::from_sampling(seed, kind)
            }
        })
    }

    /// The token chosen by logits \[tokens\].
    pub fn next(&mut self, logits: &Tensor) -> Result<u32> {
        self.0.sample(logits)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Logits of 0.1, 0.2, 0.3 and 0.4.
    fn chosen(top_k: Option<usize>, top_p: Option<f64>, temperature: f64) -> [usize; 4] {
        let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].iter().map(|p| p.ln()).collect();
        let logits = Tensor::new(logits, &Device::Cpu).unwrap();
        let sampling = Sampling::Random { temperature, top_k, top_p, seed: 3 };
        let mut sampler = Sampler::new(&sampling);
        let mut counts = [0; 4];
        (0..4000).for_each(|_| counts[sampler.next(&logits).unwrap() as usize] += 1);
        assert_eq!(Sampler::new(&Sampling::Greedy).next(&logits).unwrap(), 3);
        counts
    }

    #[test]
    fn tokens_are_chosen_by_their_probabilities() {
        let near = |count: usize, share: f64| (count as f64 / 4000.0 - share).abs() < 0.04;
        let all = chosen(None, None, 1.0);
        assert!((0..4).all(|i| near(all[i], 0.1 * (i + 1) as f64)), "{all:?}");
        let two = chosen(Some(2), None, 1.0);
        assert!(two[..2] == [0, 0] && near(two[2], 3.0 / 7.0), "{two:?}");
        assert_eq!(chosen(Some(1), None, 1.0), [0, 0, 0, 4000]);
        let most = chosen(None, Some(0.65), 1.0);
        assert!(most[..2] == [0, 0] && near(most[3], 4.0 / 7.0), "{most:?}");
        // The squares of the probabilities are in the ratio 1 : 4 : 9 : 16.
        let cold = chosen(None, None, 0.5);
        assert!(near(cold[3], 16.0 / 30.0) && near(cold[0], 1.0 / 30.0), "{cold:?}");
    }
}
