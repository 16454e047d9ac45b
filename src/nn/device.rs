//! Measurements and settings of a device.

use candle_core::{DType, Device, Result, Tensor};

#[cfg(any(test, feature = "cuda"))]
use super::cuda;
use super::cuda::{Counters, CudaBackend, KernelTime};

/// Starts or stops timing each of this program's kernels and products on a GPU. [`kernel_times`]
/// returns the times. Does nothing on the CPU.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn time_kernels(device: &Device, on: bool) -> Result<()> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return cuda::time_kernels(device, on);
    }
    #[cfg(test)]
    cuda::time_emulated(on);
    Ok(())
}

/// The times of kernels and products since [`time_kernels`] or the last call, the longest first. Waits
/// for the GPU. Copies and conversions, which candle launches itself, are not included.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn kernel_times(device: &Device) -> Result<Vec<KernelTime>> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return Ok(cuda::by_name(cuda::kernel_times(device)?));
    }
    #[cfg(test)]
    return Ok(cuda::by_name(cuda::emulated_times()));
    #[cfg(not(test))]
    Ok(Vec::new())
}

/// Prepares a device. On a GPU it loads the kernels and sets whether float32 products may use TF32.
/// Does nothing on the CPU.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn configure(device: &Device, tf32: bool) -> Result<()> {
    #[cfg(feature = "cuda")]
    cuda::configure(device, tf32)?;
    Ok(())
}

/// How much work a device got since it was created; zeros for the CPU.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn counters(device: &Device) -> Result<Counters> {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        return cuda::counters(device);
    }
    #[cfg(test)]
    return Ok(cuda::emulated_counters());
    #[cfg(not(test))]
    Ok(Counters::default())
}

/// A float32 scalar that a device may still be computing.
#[derive(Debug)]
pub struct Reading {
    tensor: Tensor,
    /// On a GPU: the copy that was queued with the reading.
    #[cfg(feature = "cuda")]
    copied: Option<cuda::QueuedCopy>,
}

impl Reading {
    /// Queues the reading after all earlier work of the device.
    pub fn of(scalar: &Tensor) -> Result<Reading> {
        Ok(Reading {
            tensor: scalar.clone(),
            #[cfg(feature = "cuda")]
            copied: cuda::queue_copy(scalar)?,
        })
    }

    /// The number. Waits for it, but not for later work.
    pub fn value(&self) -> Result<f32> {
        #[cfg(feature = "cuda")]
        if let Some(copied) = &self.copied {
            return copied.value();
        }
        self.tensor.to_scalar::<f32>()
    }
}

/// The peak, in bytes, of GPU memory held by this process's tensors since [`reset_device_peak`]; None
/// for the CPU.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn device_peak_bytes(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    return cuda::peak_bytes(device);
    #[cfg(not(feature = "cuda"))]
    None
}

/// Resets the peak to what is held now.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn reset_device_peak(device: &Device) {
    #[cfg(feature = "cuda")]
    cuda::reset_peak(device);
}

/// Free memory of a GPU in bytes; None for the CPU.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn device_free_bytes(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    return cuda::free_bytes(device);
    #[cfg(not(feature = "cuda"))]
    None
}

/// The measured peak rates of a GPU.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRates {
    /// Floating-point operations per second of a matrix product.
    pub product: f64,
    /// Bytes per second that a copy reads and writes together.
    pub copy: f64,
}

/// Measures the rates of a GPU for the product \[m, k\] · \[n, k\]ᵀ with factors of this type. Call
/// [`configure`] first. None for the CPU.
pub fn device_rates(
    device: &Device,
    (m, n, k): (usize, usize, usize),
    dtype: DType,
) -> Result<Option<DeviceRates>> {
    use super::cuda::{Matrix, Product};

    /// Seconds per call, in the best of several rounds.
    fn best(device: &Device, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
        const TIMES: u32 = 20;
        let mut best = f64::INFINITY;
        for _ in 0..4 {
            device.synchronize()?;
            let started = std::time::Instant::now();
            for _ in 0..TIMES {
                work()?;
            }
            device.synchronize()?;
            best = best.min(started.elapsed().as_secs_f64() / f64::from(TIMES));
        }
        Ok(best)
    }
    if device.is_cpu() {
        return Ok(None);
    }
    // Varied values: a GPU multiplies ones with less power, and so at a higher clock.
    let values = |rows: usize| {
        let values: Vec<f32> = (0..rows * k)
            .map(|i| (i as u32).wrapping_mul(2_654_435_761) as f32 / 2f32.powi(31) - 1.0)
            .collect();
        Tensor::from_vec(values, (rows, k), device)?.to_dtype(dtype)
    };
    // The product of a linear layer, with the weight in its usual layout.
    let (left, right) = (values(m)?, values(n)?);
    let Some(backend) = CudaBackend::of(&[&left, &right]) else { return Ok(None) };
    let product = Product::of(Matrix::rows(&left, k), Matrix::rows(&right, k).t());
    let seconds = best(device, || backend.product(product).map(drop))?;
    // Larger than any cache.
    const COPIED: usize = 256 << 20;
    let bytes = Tensor::zeros(COPIED, DType::U8, device)?;
    let copying = best(device, || bytes.copy().map(drop))?;
    Ok(Some(DeviceRates {
        product: 2.0 * m as f64 * n as f64 * k as f64 / seconds,
        copy: 2.0 * COPIED as f64 / copying,
    }))
}
