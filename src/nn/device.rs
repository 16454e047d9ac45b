//! Measurements and settings of a device.

use candle_core::{DType, Device, Result, Tensor};

#[cfg(any(test, feature = "cuda"))]
use super::cuda;
use super::cuda::{Counters, CudaBackend, KernelTime};

/// Begins to time each of this program's kernels and products on a GPU, or ends that.
/// [`kernel_times`] has what was timed. Does nothing on the CPU.
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

/// What kernels and products took since [`time_kernels`], what took most first; waits for them.
/// Forgets it. What candle itself launches, copies and conversions, is not among it.
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

/// Gets a device ready: on a GPU the kernels are loaded, and float32 products may be done in TF32 or
/// not. Nothing to do on the CPU.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn configure(device: &Device, tf32: bool) -> Result<()> {
    #[cfg(feature = "cuda")]
    cuda::configure(device, tf32)?;
    Ok(())
}

/// How much work a device got since it was made; zeros for the CPU.
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
    /// On a GPU: its copy, which was queued with the reading.
    #[cfg(feature = "cuda")]
    copied: Option<cuda::Copied>,
}

impl Reading {
    /// Queues the reading behind all earlier work of the device.
    pub fn of(scalar: &Tensor) -> Result<Reading> {
        Ok(Reading {
            tensor: scalar.clone(),
            #[cfg(feature = "cuda")]
            copied: cuda::copied(scalar)?,
        })
    }

    /// The number. Waits for it, and not for later work.
    pub fn value(&self) -> Result<f32> {
        #[cfg(feature = "cuda")]
        if let Some(copied) = &self.copied {
            return copied.value();
        }
        self.tensor.to_scalar::<f32>()
    }
}

/// The most bytes of a GPU that tensors of this process have held at once since
/// [`reset_device_peak`]; None for the CPU.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn device_peak_bytes(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    return cuda::peak_bytes(device);
    #[cfg(not(feature = "cuda"))]
    None
}

/// Starts a new measurement from what is held now.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn reset_device_peak(device: &Device) {
    #[cfg(feature = "cuda")]
    cuda::reset_peak(device);
}

/// Bytes of a GPU that no program holds; None for the CPU.
#[cfg_attr(not(feature = "cuda"), allow(unused_variables))]
pub fn device_free_bytes(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    return cuda::free_bytes(device);
    #[cfg(not(feature = "cuda"))]
    None
}

/// What a GPU does at most, measured.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRates {
    /// Floating-point operations a second of a matrix product.
    pub product: f64,
    /// Bytes a second that a copy reads and writes, together.
    pub copy: f64,
}

/// The rates of a GPU for the product \[m, k\] · \[n, k\]ᵀ of factors of this type, after
/// [`configure`]. None for the CPU.
pub fn device_rates(
    device: &Device,
    (m, n, k): (usize, usize, usize),
    dtype: DType,
) -> Result<Option<DeviceRates>> {
    use super::cuda::{Matrix, Product};

    /// The best of several rounds, seconds a time.
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
    // Of all kinds: a GPU multiplies ones with less power, so at a higher clock.
    let values = |rows: usize| {
        let values: Vec<f32> = (0..rows * k)
            .map(|i| (i as u32).wrapping_mul(2_654_435_761) as f32 / 2f32.powi(31) - 1.0)
            .collect();
        Tensor::from_vec(values, (rows, k), device)?.to_dtype(dtype)
    };
    // A linear layer's, the weight as it is held.
    let (left, right) = (values(m)?, values(n)?);
    let Some(backend) = CudaBackend::of(&[&left, &right]) else { return Ok(None) };
    let product = Product::of(Matrix::rows(&left, k), Matrix::rows(&right, k).t());
    let seconds = best(device, || backend.product(product).map(drop))?;
    // Beyond any cache.
    const COPIED: usize = 256 << 20;
    let bytes = Tensor::zeros(COPIED, DType::U8, device)?;
    let copying = best(device, || bytes.copy().map(drop))?;
    Ok(Some(DeviceRates {
        product: 2.0 * m as f64 * n as f64 * k as f64 / seconds,
        copy: 2.0 * COPIED as f64 / copying,
    }))
}
