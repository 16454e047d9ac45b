//! Batches of images that a device holds as bytes.

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::nn::backend::Backend;
use crate::nn::cuda::{self, Batch};

/// Whether [`crops`] runs on a device.
pub fn makes_crops(device: &Device) -> Result<bool> {
    let one = Tensor::zeros(1, DType::F32, device)?;
    Ok(matches!(Backend::of(&[&one]), Backend::Cuda(_)))
}

/// A batch of normalised crops: \[batch, channels, side, side\] of type `dtype`.
///
/// `images` are bytes \[n, side, side, channels\] on a GPU. Each pick is an image's number, how far
/// its window moves right and down, and 1 where the window is mirrored after that. Outside an image
/// pixels are black. `mean` and `deviation` \[channels\] are those of values in \[0, 1\].
pub fn crops(
    images: &Tensor,
    picks: &[[i32; 4]],
    mean: &Tensor,
    deviation: &Tensor,
    dtype: DType,
) -> Result<Tensor> {
    match Backend::of(&[mean, deviation]) {
        Backend::Cuda(backend) => {
            cuda::batch_of(&backend, &Batch { bytes: images, picks, mean, deviation }, dtype)
        }
        Backend::Cpu | Backend::Composed => {
            bail!("crops: {:?} makes no batches of images itself", images.device())
        }
    }
}
