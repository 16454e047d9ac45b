//! Choice and continuation of sequences, for decoding. These have no gradient.

use candle_core::{Result, Tensor, bail};

use super::checks::checked_ids;
use crate::nn::backend::Backend;
use crate::nn::{cpu, slices};

/// Some of the sequences, in the order of the numbers `taken` \[rows\] u32; one may be taken several times:
/// x \[sequences, tokens, dim\] → \[rows, tokens, dim\].
pub fn select_sequences(x: &Tensor, taken: &Tensor) -> Result<Tensor> {
    let (sequences, tokens, dim) = x.dims3()?;
    match Backend::of(&[x]) {
        Backend::Cpu => {
            let taken = checked_ids(taken, sequences, "selected sequences: number")?;
            let size = tokens * dim;
            let rows = cpu::with_values([x], |[x]| Ok(slices::sequences::select(x, size, &taken)))?;
            cpu::tensor(rows, (taken.len(), tokens, dim), x)
        }
        Backend::Cuda(_) | Backend::Composed => x.index_select(taken, 0),
    }
}

/// Sequences with new tokens at their ends: all of them, or some as in [`select_sequences`].
/// past \[sequences, tokens, dim\], new \[rows, new tokens, dim\] → \[rows, tokens + new tokens, dim\].
pub fn append_tokens(past: &Tensor, taken: Option<&Tensor>, new: &Tensor) -> Result<Tensor> {
    let ((sequences, tokens, dim), (rows, new_tokens, new_dim)) = (past.dims3()?, new.dims3()?);
    let all = taken.map_or(Ok(sequences), |taken| taken.dims1())?;
    if rows != all || new_dim != dim {
        bail!("{:?} are no new tokens of {all} sequences {:?}", new.dims(), past.dims());
    }
    match (Backend::of(&[past, new]), taken) {
        (Backend::Cpu, Some(taken)) => {
            let taken = checked_ids(taken, sequences, "extended sequences: number")?;
            let sizes = [tokens, new_tokens].map(|tokens| tokens * dim);
            let all = cpu::with_values([past, new], |[past, new]| {
                Ok(slices::sequences::extend(past, &taken, new, sizes))
            })?;
            cpu::tensor(all, (rows, tokens + new_tokens, dim), past)
        }
        (_, Some(taken)) => Tensor::cat(&[&past.index_select(taken, 0)?, new], 1),
        (_, None) => Tensor::cat(&[past, new], 1),
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
            let taken = Tensor::new(&[3u32, 0, 0, 2], &Device::Cpu).unwrap();
            let want = past.index_select(&taken, 0).unwrap();
            let all = |t: &Tensor| t.to_vec3::<f32>().unwrap();
            assert_eq!(all(&select_sequences(&past, &taken).unwrap()), all(&want));
            let want = Tensor::cat(&[&want, &new], 1).unwrap();
            assert_eq!(all(&append_tokens(&past, Some(&taken), &new).unwrap()), all(&want));
            let whole = Tensor::cat(&[&past, &new], 1).unwrap();
            assert_eq!(all(&append_tokens(&past, None, &new).unwrap()), all(&whole));
            // Other types are composed.
            let [past, new] = [past, new].map(|t| t.to_dtype(DType::F64).unwrap());
            let found =
                append_tokens(&past, Some(&taken), &new).unwrap().to_dtype(DType::F32).unwrap();
            assert_eq!(all(&found), all(&want));
        }
    }

    #[test]
    fn sequences_that_are_not_there_are_refused() {
        let x = Tensor::zeros((2, 3, 4), DType::F32, &Device::Cpu).unwrap();
        let taken = |numbers: &[u32]| Tensor::new(numbers, &Device::Cpu).unwrap();
        assert!(select_sequences(&x, &taken(&[0, 2])).is_err());
        assert!(append_tokens(&x, Some(&taken(&[0, 2])), &x).is_err());
        assert!(append_tokens(&x, Some(&taken(&[0])), &x).is_err(), "two rows for one sequence");
        assert!(append_tokens(&x, None, &x.narrow(0, 0, 1).unwrap()).is_err());
    }
}
