//! The choice of the backend that runs an operation.

use candle_core::Tensor;

use super::cpu;
use super::cuda::CudaBackend;

/// The backend for an operation on some tensors. Each operation dispatches once.
pub enum Backend {
    /// This program's kernels on an NVIDIA GPU, for float32 and bf16.
    Cuda(CudaBackend),
    /// Fused float32 loops on the CPU.
    Cpu,
    /// Compositions of candle's operations, for every other device and type.
    Composed,
}

impl Backend {
    /// What computes on these tensors: CUDA kernels if they are on one GPU, the kernels of the CPU for
    /// float32 and ids there, and compositions of candle's operations for anything else.
    pub fn of(tensors: &[&Tensor]) -> Backend {
        match CudaBackend::of(tensors) {
            Some(backend) => Backend::Cuda(backend),
            None if cpu::takes(tensors) => Backend::Cpu,
            None => Backend::Composed,
        }
    }
}
