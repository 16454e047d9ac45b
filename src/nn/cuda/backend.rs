//! What runs kernels and matrix products.

use candle_core::{DType, Result, Shape, Tensor, bail};

#[cfg(test)]
use super::emulation;
#[cfg(feature = "cuda")]
use super::gpu::Gpu;
use super::launch::{Arg, Grid};
use super::product::{ByColumns, Product};

/// The GPU of some tensors; in tests, an emulation that takes tensors on the CPU. In a build without
/// either there is none.
#[derive(Clone)]
pub enum CudaBackend {
    #[cfg(feature = "cuda")]
    Gpu(std::sync::Arc<Gpu>),
    #[cfg(test)]
    Emulated,
}

impl CudaBackend {
    /// What computes on these tensors, if it is a GPU.
    pub fn of(tensors: &[&Tensor]) -> Option<CudaBackend> {
        #[cfg(test)]
        if emulation::is_on() {
            let takes = |t: &&Tensor| t.device().is_cpu() && t.dtype() != DType::F64;
            return tensors.iter().all(takes).then_some(CudaBackend::Emulated);
        }
        #[cfg(feature = "cuda")]
        if let [first, rest @ ..] = tensors
            && let candle_core::Device::Cuda(device) = first.device()
            && rest.iter().all(|t| t.device().same_device(first.device()))
            && tensors.iter().all(|t| matches!(t.dtype(), DType::F32 | DType::BF16 | DType::U32))
        {
            // Where the kernels do not load, `configure` has said so before anything was computed.
            return super::gpu::of(device).ok().map(CudaBackend::Gpu);
        }
        let _ = tensors;
        None
    }

    /// A tensor that holds nothing yet.
    pub fn empty(&self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        let shape = shape.into();
        match *self {
            #[cfg(feature = "cuda")]
            CudaBackend::Gpu(ref gpu) => gpu.empty(shape, dtype),
            #[cfg(test)]
            CudaBackend::Emulated => emulation::empty(shape, dtype),
        }
    }

    pub fn zeros(&self, shape: impl Into<Shape>, dtype: DType) -> Result<Tensor> {
        Tensor::zeros(shape, dtype, &self.device())
    }

    /// Values as a tensor beside those this computes on.
    pub fn tensor<T: candle_core::WithDType>(
        &self,
        values: &[T],
        shape: impl Into<Shape>,
    ) -> Result<Tensor> {
        Tensor::from_slice(values, shape.into(), &self.device())
    }

    pub fn device(&self) -> candle_core::Device {
        match *self {
            #[cfg(feature = "cuda")]
            CudaBackend::Gpu(ref gpu) => gpu.device(),
            #[cfg(test)]
            CudaBackend::Emulated => candle_core::Device::Cpu,
        }
    }

    /// Queues a kernel by its name in `kernels/`, behind all earlier work.
    pub fn launch(&self, kernel: &str, grid: Grid, args: &[Arg]) -> Result<()> {
        if grid.blocks.iter().zip([1usize << 31, 1 << 16, 1 << 16]).any(|(b, end)| *b >= end) {
            bail!("{kernel}: {:?} blocks are more than a GPU runs at once", grid.blocks);
        }
        match *self {
            #[cfg(feature = "cuda")]
            CudaBackend::Gpu(ref gpu) => gpu.launch(kernel, grid, args),
            #[cfg(test)]
            CudaBackend::Emulated => emulation::run(kernel, grid, args),
        }
    }

    /// The address of a contiguous tensor's values, for tables that kernels read. The tensor has to
    /// outlive the kernel's launch.
    pub fn address(&self, tensor: &Tensor) -> Result<u64> {
        match *self {
            #[cfg(feature = "cuda")]
            CudaBackend::Gpu(ref gpu) => gpu.address(tensor),
            #[cfg(test)]
            CudaBackend::Emulated => emulation::address(tensor),
        }
    }

    /// Whether float32 products are done in TF32.
    pub fn tf32(&self) -> bool {
        match *self {
            #[cfg(feature = "cuda")]
            CudaBackend::Gpu(ref gpu) => gpu.tf32(),
            #[cfg(test)]
            CudaBackend::Emulated => false,
        }
    }

    /// A product: \[rows of left, columns of right\].
    pub fn product(&self, p: Product) -> Result<Tensor> {
        let ((m, k), (inner, n)) = (p.left.dims(), p.right.dims());
        let fits = |t: &Tensor, count| t.dtype() == p.result && t.elem_count() == count;
        let sound = k == inner
            && p.left.tensor.dtype() == p.right.tensor.dtype()
            && p.added.is_none_or(|c| fits(c, m * n))
            && p.bias.is_none_or(|b| fits(b, n));
        if !sound {
            bail!("a product of [{m}, {k}] and [{inner}, {n}] with what does not belong to it");
        }
        let to = self.empty((m, n), p.result)?;
        self.multiply(&ByColumns::of(&p), &to)?;
        Ok(to)
    }

    /// A product as cuBLASLt takes it, into `to`.
    fn multiply(&self, product: &ByColumns, to: &Tensor) -> Result<()> {
        match *self {
            #[cfg(feature = "cuda")]
            CudaBackend::Gpu(ref gpu) => gpu.multiply(product, to),
            #[cfg(test)]
            CudaBackend::Emulated => emulation::multiply(product, to),
        }
    }
}
