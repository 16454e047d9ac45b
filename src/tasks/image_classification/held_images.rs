//! Images that a GPU holds as bytes, and makes batches from.

use candle_core::{DType, Device, Result, Tensor};

use crate::nn::ops::Cropper;

/// A split's images on a device, with mean and deviation for normalising them.
pub struct HeldImages {
    cropper: Cropper,
    /// \[n, side, side, channels\].
    bytes: Tensor,
    mean: Tensor,
    deviation: Tensor,
}

impl HeldImages {
    /// Transfers images \[n, side, side, channels\] to the device. `mean` and `deviation` are those
    /// of each channel, for values in \[0, 1\]. None, without calling `bytes`, if the device cannot
    /// make batches.
    pub fn new(
        bytes: impl FnOnce() -> Vec<u8>,
        dims: (usize, usize, usize, usize),
        mean: &[f64],
        deviation: &[f64],
        device: &Device,
    ) -> Result<Option<HeldImages>> {
        let Some(cropper) = Cropper::of(device)? else { return Ok(None) };
        let float = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            Tensor::from_vec(values, dims.3, device)
        };
        let bytes = Tensor::from_vec(bytes(), dims, device)?;
        Ok(Some(HeldImages { cropper, bytes, mean: float(mean)?, deviation: float(deviation)? }))
    }

    /// Bytes of the images.
    pub fn size(&self) -> u64 {
        self.bytes.elem_count() as u64
    }

    /// Makes a batch; see [`Cropper::crops`].
    pub fn batch(&self, picks: &[[i32; 4]], dtype: DType) -> Result<Tensor> {
        self.cropper.crops(&self.bytes, picks, &self.mean, &self.deviation, dtype)
    }
}
