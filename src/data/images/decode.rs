//! Decodes an image to pixels, upright and with the model's number of channels.
//!
//! The size in the header is checked before decoding, so a header that claims 40,000 × 40,000
//! pixels allocates nothing. PNG and lossless WebP are exact. JPEG's standard leaves rounding and
//! the upsampling of colours to the decoder. On smooth images this decoder differs from Pillow by
//! at most 2, or 3 with subsampled colours. At hard colour edges it differs more.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{ColorType, ImageDecoder, ImageResult, Limits};
use sha2::{Digest, Sha256};

use super::convert::{Change, Samples, convert, upper_bytes};
use super::header::png_size;
use super::jpeg;
use super::orientation::Orientation;
use crate::data::duplicates::content_digest;
use crate::data::quiet::quietly;
use crate::error::{Error, Fault, Result};

/// The size of images for the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Side of the square image in pixels.
    pub side: usize,
    /// 1 is grey, 3 is RGB.
    pub channels: usize,
}

impl Size {
    /// Number of bytes of an image.
    pub fn bytes(self) -> usize {
        self.side * self.side * self.channels
    }
}

/// A decoded image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub width: usize,
    pub height: usize,
    /// \[row, column, channel\].
    pub pixels: Vec<u8>,
    /// How decoding changed the image.
    pub change: Change,
}

impl Image {
    /// A digest of size and pixels, to find equal images.
    pub fn digest(&self) -> u128 {
        let mut hash = Sha256::new();
        hash.update((self.width as u64).to_le_bytes());
        hash.update((self.height as u64).to_le_bytes());
        hash.update(&self.pixels);
        content_digest(hash)
    }
}

/// Decodes an image, turns it upright and converts it to 1 (grey) or 3 (RGB) channels. `fits`
/// checks the upright width and height before decoding. Errors if the image is damaged or
/// truncated, does not fit, or is 16-bit grey. The error does not name the file.
pub fn decode(
    bytes: &[u8],
    channels: usize,
    fits: &(dyn Fn(u32, u32) -> Result<()> + Sync),
) -> Result<Image> {
    // Decoders should not panic on damaged files, but if one does, the user gets an error.
    quietly(|| by_format(bytes, channels, fits))
        .unwrap_or_else(|| Err(broken("its decoder failed")))
}

/// A decoder's result, before conversion and turning.
struct Stored {
    width: u32,
    height: u32,
    samples: Vec<u8>,
    kind: Samples,
    change: Change,
}

fn by_format(
    bytes: &[u8],
    channels: usize,
    fits: &(dyn Fn(u32, u32) -> Result<()> + Sync),
) -> Result<Image> {
    let fits = |orientation: Orientation, width, height| {
        let (width, height) = orientation.size(width, height);
        fits(width, height)
    };
    let (orientation, stored) = match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => {
            let (width, height) = png_size(bytes).ok_or_else(|| broken("its header is cut off"))?;
            let orientation = Orientation::of_png(bytes);
            fits(orientation, width, height)?;
            // Depth 16, colour type grey. Pillow's convert("L") turns values above 255 white.
            if bytes.get(24..26) == Some(&[16, 0]) {
                return Err(sixteen_bits());
            }
            let limits = limits(width, height);
            (orientation, stored(PngDecoder::with_limits(Cursor::new(bytes), limits))?)
        }
        [0xff, 0xd8, 0xff, ..] => {
            let head = jpeg::Head::read(bytes).map_err(|e| broken(&e))?;
            let orientation = Orientation::of(&head.exif, head.xmp);
            fits(orientation, head.width, head.height)?;
            let samples = jpeg::samples(bytes, &head).map_err(|e| broken(&e))?;
            let kind = if head.components == 1 { Samples::Grey } else { Samples::Rgb };
            let (width, height) = (head.width, head.height);
            (orientation, Stored { width, height, samples, kind, change: Change::default() })
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
            // The decoder stops at the last pixel. The header's length includes bytes after it,
            // which may hold the orientation.
            let announced = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            if (bytes.len() as u64) < u64::from(announced) + 8 {
                return Err(broken(&format!(
                    "a WebP cut off: {} bytes of {}",
                    bytes.len(),
                    u64::from(announced) + 8
                )));
            }
            let orientation = Orientation::of_webp(bytes);
            let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(|e| failed(&e))?;
            let (width, height) = decoder.dimensions();
            fits(orientation, width, height)?;
            decoder.set_limits(limits(width, height)).map_err(|e| failed(&e))?;
            (orientation, stored(Ok(decoder))?)
        }
        [] => return Err(broken("an empty file")),
        _ => {
            let start: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
            return Err(broken(&format!(
                "{} bytes that start with {}",
                bytes.len(),
                start.join(" ")
            )));
        }
    };
    let (pixels, change) = convert(stored.samples, stored.kind, channels);
    let (width, height) = orientation.size(stored.width, stored.height);
    let (width, height) = (width as usize, height as usize);
    let change = change | stored.change;
    if orientation == Orientation::UPRIGHT {
        return Ok(Image { width, height, pixels, change });
    }
    let pixels = orientation.turn(&pixels, stored.width as usize, stored.height as usize, channels);
    let change = change | Change::TURNED;
    Ok(Image { width, height, pixels, change })
}

fn limits(width: u32, height: u32) -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(width);
    limits.max_image_height = Some(height);
    // Enough for 16-bit RGBA and the decoders' own buffers.
    limits.max_alloc = Some((64 << 20) + 16 * u64::from(width) * u64::from(height));
    limits
}

fn stored<D: ImageDecoder>(decoder: ImageResult<D>) -> Result<Stored> {
    let decoder = decoder.map_err(|e| failed(&e))?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let kind = match color {
        ColorType::L8 | ColorType::L16 => Samples::Grey,
        ColorType::La8 | ColorType::La16 => Samples::GreyAlpha,
        ColorType::Rgb8 | ColorType::Rgb16 => Samples::Rgb,
        ColorType::Rgba8 | ColorType::Rgba16 => Samples::RgbAlpha,
        other => return Err(broken(&format!("samples of another type, {other:?}"))),
    };
    let mut samples = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut samples).map_err(|e| failed(&e))?;
    let mut change = Change::default();
    let wide = usize::from(color.bytes_per_pixel()) == 2 * usize::from(color.channel_count());
    if wide {
        samples = upper_bytes(&samples);
        change = Change::DEPTH_HALVED;
    }
    Ok(Stored { width, height, samples, kind, change })
}

fn failed(error: &image::ImageError) -> Error {
    let text = error.to_string();
    // The rest of the message is a long internal name.
    broken(text.split(" while decoding").next().unwrap_or(&text))
}

fn broken(found: &str) -> Error {
    Fault::new("the image cannot be decoded")
        .found(found)
        .expected("a whole PNG, JPEG or WebP image")
        .into()
}

fn sixteen_bits() -> Error {
    Fault::new("the image is grey of 16 bits")
        .found("samples of 0 to 65535")
        .expected("8 bits, 0 to 255")
        .help(
            "with Pillow, image.point(lambda v: v / 256).convert(\"L\"); without the division \
             convert(\"L\") turns all above 255 white",
        )
        .into()
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};

    use super::super::resize::Fit;
    use super::*;
    use crate::spec::{Crop, Interpolation};

    fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    fn decoded(bytes: &[u8], side: usize, channels: usize) -> Result<Image> {
        let size = Size { side, channels };
        let (resize, crop, interpolation) = (None, Crop::None, Interpolation::Bilinear);
        let fit = Fit { size, resize, crop, interpolation };
        decode(bytes, channels, &|width, height| fit.check(width, height))
    }

    #[test]
    fn images_that_do_not_fit_are_refused() {
        let png = |image| encoded(image, ImageFormat::Png);
        let refused = |bytes: &[u8]| decoded(bytes, 28, 1).unwrap_err().to_string();
        assert!(decoded(&png(DynamicImage::new_luma8(28, 28)), 28, 1).is_ok());
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let other = |side| encoded(DynamicImage::new_rgb8(side, side), format);
            assert!(refused(&other(1)).contains("1 × 1"), "{format:?}");
            assert!(refused(&other(4000)).contains("4000 × 4000"), "{format:?}");
        }
        let grey = refused(&png(DynamicImage::new_luma16(28, 28)));
        assert!(grey.contains("v / 256"), "{grey}");
        let whole = png(DynamicImage::new_luma8(28, 28));
        assert!(refused(&whole[..whole.len() / 2]).contains("cannot be decoded"));
        assert!(refused(&whole[..20]).contains("cut off"));
        assert!(refused(b"").contains("cannot be decoded"));
    }

    #[test]
    fn alpha_is_dropped_and_counted_unless_it_is_opaque() {
        let image = |alpha| RgbaImage::from_pixel(4, 4, Rgba([1, 2, 3, alpha]));
        let png = |alpha| encoded(DynamicImage::ImageRgba8(image(alpha)), ImageFormat::Png);
        for (alpha, change) in [(255, Change::default()), (254, Change::ALPHA_DROPPED)] {
            let image = decoded(&png(alpha), 4, 3).unwrap();
            assert_eq!((image.pixels, image.change), ([1, 2, 3].repeat(16), change));
        }
    }
}
