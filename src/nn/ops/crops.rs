//! Batches made from images that are held as bytes on a device.

use candle_core::{DType, Device, Result, Tensor};

use crate::nn::backend::Backend;
use crate::nn::cuda::{self, Batch, CudaBackend};

/// Makes batches on one device. It can be used from any thread, since batches are prefetched.
pub struct Cropper(CudaBackend);

impl Cropper {
    /// None if the device has no kernel that makes batches.
    pub fn of(device: &Device) -> Result<Option<Cropper>> {
        let one = Tensor::zeros(1, DType::F32, device)?;
        Ok(match Backend::of(&[&one]) {
            Backend::Cuda(backend) => Some(Cropper(backend)),
            Backend::Cpu | Backend::Composed => None,
        })
    }

    /// A batch of normalised crops: \[batch, channels, side, side\] of type `dtype`.
    ///
    /// `images` are bytes \[n, side, side, channels\] on the device. Each pick is (image, right, down,
    /// mirrored): the image's index, how far its window moves right and down, and 1 if the window is
    /// then mirrored. Pixels outside the image are black. `mean` and `deviation` \[channels\] are those
    /// of values in \[0, 1\].
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
