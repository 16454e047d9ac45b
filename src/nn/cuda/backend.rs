//! The GPU or emulation that runs kernels and matrix products.

use candle_core::{DType, Result, Shape, Tensor, bail};

#[cfg(test)]
use super::emulation;
#[cfg(feature = "cuda")]
use super::gpu::Gpu;
use super::launch::{Arg, Grid};
use super::product::{ByColumns, Product};

/// The GPU of some tensors or, in tests, an emulation for tensors on the CPU. A build without either has
/// no value of this type.
#[derive(Clone)]
pub enum CudaBackend {
    #[cfg(feature = "cuda")]
    Gpu(std::sync::Arc<Gpu>),
    #[cfg(test)]
    Emulated,
}

impl CudaBackend {
    /// The backend for these tensors; None if they are not on a GPU, or of an unsupported type.
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
            // If the kernels do not load, `configure` has already reported it.
            return super::gpu::of(device).ok().map(CudaBackend::Gpu);
        }
        let _ = tensors;
        None
    }

    /// An uninitialised tensor.
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

    /// A tensor of these values on this backend's device.
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

    /// Queues a kernel by its name in `kernels/`, after all earlier work.
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

    /// The address of a contiguous tensor's values, for tables that kernels read. The tensor must outlive
    /// the kernel's launch.
    pub fn address(&self, tensor: &Tensor) -> Result<u64> {
        match *self {
            #[cfg(feature = "cuda")]
            CudaBackend::Gpu(ref gpu) => gpu.address(tensor),
            #[cfg(test)]
            CudaBackend::Emulated => emulation::address(tensor),
        }
    }

    /// Whether float32 products are computed in TF32.
    pub fn tf32(&self) -> bool {
        match *self {
            #[cfg(feature = "cuda")]
            CudaBackend::Gpu(ref gpu) => gpu.tf32(),
            #[cfg(test)]
            CudaBackend::Emulated => false,
        }
    }

    /// Computes a product: \[rows of left, columns of right\].
    pub fn product(&self, p: Product) -> Result<Tensor> {
        let ((m, k), (inner, n)) = (p.left.dims(), p.right.dims());
        let fits = |t: &Tensor, count| t.dtype() == p.result && t.elem_count() == count;
        let sound = k == inner
            && p.left.tensor.dtype() == p.right.tensor.dtype()
            && p.added.is_none_or(|c| fits(c, m * n))
            && p.bias.is_none_or(|b| fits(b, n));
        if !sound {
            bail!(
                "a product of [{m}, {k}] and [{inner}, {n}]: the factors do not match, or the bias \
                 or sum has a wrong shape or type"
            );
        }
        let to = self.empty((m, n), p.result)?;
        self.multiply(&ByColumns::of(&p), &to)?;
        Ok(to)
    }

    /// Computes a product in cuBLASLt's form and writes it to `to`.
    fn multiply(&self, product: &ByColumns, to: &Tensor) -> Result<()> {
        match *self {
            #[cfg(feature = "cuda")]
            CudaBackend::Gpu(ref gpu) => gpu.multiply(product, to),
            #[cfg(test)]
            CudaBackend::Emulated => emulation::multiply(product, to),
        }
    }
}
