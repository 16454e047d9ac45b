//! Which backend runs an operation.

use candle_core::Tensor;

use super::cpu;
use super::cuda::CudaBackend;

/// What runs an operation on some tensors. Each operation asks once.
pub enum Backend {
    /// This program's kernels on an NVIDIA GPU: float32 and bf16.
    Cuda(CudaBackend),
    /// The fused float32 loops on the CPU.
    Cpu,
    /// Compositions of candle's operations, for every other device and type.
    Composed,
}

impl Backend {
    pub fn of(tensors: &[&Tensor]) -> Backend {
        match CudaBackend::of(tensors) {
            Some(backend) => Backend::Cuda(backend),
            None if cpu::takes(tensors) => Backend::Cpu,
            None => Backend::Composed,
        }
    }
}
