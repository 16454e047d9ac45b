//! Choice and continuation of sequences, for decoding. These have no gradient.

use candle_core::{Result, Tensor, bail};

use crate::nn::backend::Backend;
use crate::nn::cpu;

/// Some of the sequences, in the given order; one may be taken several times:
/// x \[sequences, tokens, dim\] → \[taken, tokens, dim\].
pub fn selected(x: &Tensor, taken: &[u32]) -> Result<Tensor> {
    let (sequences, tokens, dim) = x.dims3()?;
    check_taken(taken, sequences)?;
    match Backend::of(&[x]) {
        Backend::Cpu => {
            let size = tokens * dim;
            let rows = cpu::with_values([x], |[x]| Ok(cpu::sequences::selected(x, size, taken)))?;
            cpu::tensor(rows, (taken.len(), tokens, dim), x)
        }
        Backend::Cuda(_) | Backend::Composed => x.index_select(&Tensor::new(taken, x.device())?, 0),
    }
}

/// Some of the sequences, each with new tokens at its end:
/// past \[sequences, tokens, dim\], new \[taken, new tokens, dim\] → \[taken, tokens + new tokens, dim\].
pub fn extended(past: &Tensor, taken: &[u32], new: &Tensor) -> Result<Tensor> {
    let ((sequences, tokens, dim), (rows, new_tokens, new_dim)) = (past.dims3()?, new.dims3()?);
    check_taken(taken, sequences)?;
    if rows != taken.len() || new_dim != dim {
        bail!("{:?} are no new tokens of {} sequences {:?}", new.dims(), taken.len(), past.dims());
    }
    match Backend::of(&[past, new]) {
        Backend::Cpu => {
            let sizes = [tokens, new_tokens].map(|tokens| tokens * dim);
            let all = cpu::with_values([past, new], |[past, new]| {
                Ok(cpu::sequences::extended(past, taken, new, sizes))
            })?;
            cpu::tensor(all, (rows, tokens + new_tokens, dim), past)
        }
        Backend::Cuda(_) | Backend::Composed => {
            let past = past.index_select(&Tensor::new(taken, past.device())?, 0)?;
            Tensor::cat(&[&past, new], 1)
        }
    }
}

fn check_taken(taken: &[u32], sequences: usize) -> Result<()> {
    match taken.iter().find(|own| **own as usize >= sequences) {
        Some(own) => bail!("there are {sequences} sequences, and none with number {own}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    #[test]
    fn sequences_are_taken_and_continued_in_order() {
        for (tokens, new_tokens) in [(0, 1), (3, 1), (2, 2)] {
            let values = |n: usize, from: f32| -> Tensor {
                let all: Vec<f32> = (0..4 * n * 5).map(|i| i as f32 + from).collect();
                Tensor::from_vec(all, (4, n, 5), &Device::Cpu).unwrap()
            };
            let (past, new) = (values(tokens, 0.0), values(new_tokens, 1000.0));
            let taken = [3, 0, 0, 2];
            let want = past.index_select(&Tensor::new(&taken, &Device::Cpu).unwrap(), 0).unwrap();
            let all = |t: &Tensor| t.to_vec3::<f32>().unwrap();
            assert_eq!(all(&selected(&past, &taken).unwrap()), all(&want));
            let want = Tensor::cat(&[&want, &new], 1).unwrap();
            assert_eq!(all(&extended(&past, &taken, &new).unwrap()), all(&want));
            // Other types are composed.
            let [past, new] = [past, new].map(|t| t.to_dtype(DType::F64).unwrap());
            let found = extended(&past, &taken, &new).unwrap().to_dtype(DType::F32).unwrap();
            assert_eq!(all(&found), all(&want));
        }
    }

    #[test]
    fn sequences_that_are_not_there_are_refused() {
        let x = Tensor::zeros((2, 3, 4), DType::F32, &Device::Cpu).unwrap();
        assert!(selected(&x, &[0, 2]).is_err());
        assert!(extended(&x, &[0, 2], &x).is_err());
        assert!(extended(&x, &[0], &x).is_err(), "two rows for one sequence");
    }
}
