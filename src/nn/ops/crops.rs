//! Batches of images that a device holds as bytes.

use candle_core::{DType, Device, Result, Tensor};

use crate::nn::backend::Backend;
use crate::nn::cuda::{self, Batch, CudaBackend};

/// Makes batches on one device, from any thread: batches are made beside training.
pub struct Cropper(CudaBackend);

impl Cropper {
    /// None for a device that makes no batches itself.
    pub fn of(device: &Device) -> Result<Option<Cropper>> {
        let one = Tensor::zeros(1, DType::F32, device)?;
        Ok(match Backend::of(&[&one]) {
            Backend::Cuda(backend) => Some(Cropper(backend)),
            Backend::Cpu | Backend::Composed => None,
        })
    }

    /// A batch of normalised crops: \[batch, channels, side, side\] of type `dtype`.
    ///
    /// `images` are bytes \[n, side, side, channels\] on the device. Each pick is an image's number, how
    /// far its window moves right and down, and 1 where the window is mirrored after that. Outside an
    /// image pixels are black. `mean` and `deviation` \[channels\] are those of values in \[0, 1\].
    pub fn crops(
        &self,
        images: &Tensor,
        picks: &[[i32; 4]],
        mean: &Tensor,
        deviation: &Tensor,
        dtype: DType,
    ) -> Result<Tensor> {
        cuda::batch_of(&self.0, &Batch { bytes: images, picks, mean, deviation }, dtype)
    }
}
