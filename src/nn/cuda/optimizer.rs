//! AdamW over all parameters at once, in three launches.

use candle_core::{DType, Result, Tensor, bail};

use super::backend::CudaBackend;
use super::launch::{Arg, Grid, THREADS};
use crate::nn::descriptors::{AdamWUpdate, UpdateGroup};

/// Values per part, as in `kernels/optimizer.cu`.
const PART: usize = 4096;

/// A parameter with its moments and copy. All have the same size and are updated in place. All but the
/// copy are float32.
pub struct AdamWSlot<'a> {
    pub value: &'a Tensor,
    pub first: &'a Tensor,
    pub second: &'a Tensor,
    /// Its copy in bf16.
    pub copy: Option<&'a Tensor>,
    pub group: UpdateGroup,
}

/// Parameters that a GPU updates at once: a table of their addresses, and their division into parts. Valid
/// only as long as the tensors in the table live.
#[derive(Clone)]
pub struct MultiTensorAdamW {
    backend: CudaBackend,
    parameters: Tensor,
    parts: Tensor,
    /// Number of parts.
    count: usize,
    sizes: Vec<usize>,
}

/// Words per entry of the table: four addresses, a count, a group.
const ENTRY: usize = 6;

impl MultiTensorAdamW {
    /// None if the parameters are not on a GPU, or if there are none.
    pub fn of(parameters: &[AdamWSlot]) -> Result<Option<MultiTensorAdamW>> {
        let values: Vec<&Tensor> = parameters.iter().map(|p| p.value).collect();
        match CudaBackend::of(&values).filter(|_| !values.is_empty()) {
            Some(backend) => Ok(Some(MultiTensorAdamW::new(backend, parameters)?)),
            None => Ok(None),
        }
    }

    fn new(backend: CudaBackend, parameters: &[AdamWSlot]) -> Result<MultiTensorAdamW> {
        let mut words: Vec<u64> = Vec::with_capacity(ENTRY * parameters.len());
        let mut parts: Vec<u32> = Vec::new();
        for (i, p) in parameters.iter().enumerate() {
            let size = p.value.elem_count();
            let all = [p.value, p.first, p.second];
            if all.iter().any(|t| t.elem_count() != size || t.dtype() != DType::F32)
                || p.copy.is_some_and(|c| c.elem_count() != size || c.dtype() != DType::BF16)
            {
                bail!("adamw: a parameter, its moments and its copy do not match");
            }
            for tensor in all {
                words.push(backend.address(tensor)?);
            }
            words.push(p.copy.map_or(Ok(0), |copy| backend.address(copy))?);
            words.extend([size as u64, p.group as u64]);
            parts.extend((0..size.div_ceil(PART)).flat_map(|part| [i as u32, part as u32]));
        }
        let count = parts.len() / 2;
        if count == 0 {
            bail!("adamw: there is no parameter to update");
        }
        Ok(MultiTensorAdamW {
            parameters: addresses(&backend, &words)?,
            parts: backend.tensor(&parts, (count, 2))?,
            count,
            sizes: parameters.iter().map(|p| p.value.elem_count()).collect(),
            backend,
        })
    }

    fn grid(&self) -> Grid {
        Grid { blocks: [self.count, 1, 1], threads: [THREADS, 1], shared: 0 }
    }

    /// The addresses of the gradients; zero for a parameter without one.
    fn gradients(&self, gradients: &[Option<Tensor>]) -> Result<Tensor> {
        let address = |(g, size): (&Option<Tensor>, &usize)| match g {
            None => Ok(0),
            Some(g) if g.elem_count() == *size && g.dtype() == DType::F32 => {
                self.backend.address(g)
            }
            Some(g) => bail!("adamw: a gradient {:?} of {size} values", g.shape()),
        };
        if gradients.len() != self.sizes.len() {
            bail!("adamw: {} gradients of {} parameters", gradients.len(), self.sizes.len());
        }
        let words = gradients.iter().zip(&self.sizes).map(address).collect::<Result<Vec<u64>>>()?;
        addresses(&self.backend, &words)
    }

    /// Updates every parameter that has a gradient. Returns the Euclidean norm of all gradients before
    /// clipping to `limit`, as a scalar that the GPU may still be computing. `update.grad_scale` is ignored,
    /// since the GPU computes it from norm and limit.
    pub fn update(
        &self,
        update: AdamWUpdate,
        gradients: &[Option<Tensor>],
        limit: Option<f64>,
    ) -> Result<Tensor> {
        let backend = &self.backend;
        let pointers = self.gradients(gradients)?;
        let squares = backend.empty(self.count, DType::F32)?;
        let norm = backend.empty((), DType::F32)?;
        let [table, parts, all] = [&self.parameters, &self.parts, &pointers].map(Arg::Tensor);
        backend.launch("square_sums", self.grid(), &[table, parts, all, Arg::Tensor(&squares)])?;
        backend.launch(
            "norm_of_squares",
            Grid::of(1),
            &[Arg::Tensor(&squares), Arg::int(self.count), Arg::Tensor(&norm)],
        )?;
        backend.launch(
            "adamw",
            self.grid(),
            &[
                table,
                parts,
                all,
                Arg::Tensor(&norm),
                Arg::Float(limit.unwrap_or(0.0) as f32),
                Arg::Float(update.beta1),
                Arg::Float(update.beta2),
                Arg::Float(update.epsilon),
                Arg::Float(update.decay_factor),
                Arg::Float(update.step_size),
                Arg::Float(update.inverse_bias_correction2),
                Arg::Float(update.increment_decay_factor),
                Arg::Float(update.increment_step_size),
            ],
        )?;
        Ok(norm)
    }
}

/// A tensor of addresses. It is signed, because candle has no unsigned 64-bit type.
fn addresses(backend: &CudaBackend, words: &[u64]) -> Result<Tensor> {
    let words: Vec<i64> = words.iter().map(|w| *w as i64).collect();
    backend.tensor(&words, words.len())
}
