//! One encoded image to its pixels, checked against what the model takes.
//!
//! The size in the header is compared before anything is decoded, so a header that claims 40,000 ×
//! 40,000 pixels allocates nothing. PNG and lossless WebP are exact. JPEG's standard leaves rounding
//! to the decoder, and how colours of half the resolution are enlarged: on smooth images this one
//! is within 2 of Pillow's, at hard edges of colour further from it.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{ColorType, ImageDecoder, ImageResult, Limits};

use super::quiet::quietly;

/// What images must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Of the square image, pixels.
    pub side: usize,
    /// 1 is grey, 3 is RGB.
    pub channels: usize,
}

impl Size {
    /// Bytes of an image.
    pub fn bytes(self) -> usize {
        self.side * self.side * self.channels
    }

    /// Refuses an image of another width or height.
    pub fn check(self, width: u32, height: u32) -> Result<(), String> {
        match (width as usize, height as usize) == (self.side, self.side) {
            true => Ok(()),
            false => Err(format!(
                "the image has another size\n  found:    {width} × {height}\n  expected: {0} × {0}, \
                 model.image_size (images are not resized)",
                self.side
            )),
        }
    }
}

/// Decodes into `out`, \[row, column, channel\], of [`Size::bytes`] bytes. Errors, without the
/// file's name, if the image is damaged, has another size, or has channels that would have to be
/// made up or thrown away.
pub fn decode(bytes: &[u8], size: Size, out: &mut [u8]) -> Result<(), String> {
    // Decoders are tested against damage, but a panic of theirs must not be the user's.
    quietly(|| by_format(bytes, size, out)).unwrap_or_else(|| Err(broken("its decoder gave up")))
}

fn by_format(bytes: &[u8], size: Size, out: &mut [u8]) -> Result<(), String> {
    let limits = || {
        let mut limits = Limits::default();
        limits.max_image_width = Some(size.side as u32);
        limits.max_image_height = Some(size.side as u32);
        // A row of 16-bit RGBA and what the decoders keep beside the pixels.
        limits.max_alloc = Some((64 << 20) + 16 * size.bytes() as u64);
        limits
    };
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => {
            let (width, height) = png_size(bytes).ok_or_else(|| broken("its header is cut off"))?;
            size.check(width, height)?;
            fill(PngDecoder::with_limits(Cursor::new(bytes), limits()), size, out)
        }
        [0xff, 0xd8, 0xff, ..] => fill(
            JpegDecoder::new(Cursor::new(bytes)).and_then(|d| limited(d, limits(), size)),
            size,
            out,
        ),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => fill(
            WebPDecoder::new(Cursor::new(bytes)).and_then(|d| limited(d, limits(), size)),
            size,
            out,
        ),
        _ => {
            let start: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
            Err(broken(&format!("{} bytes that start with {}", bytes.len(), start.join(" "))))
        }
    }
}

/// Sets limits on a decoder of an image that may still have another size, which [`fill`] tells.
fn limited<D: ImageDecoder>(mut decoder: D, limits: Limits, size: Size) -> ImageResult<D> {
    let (width, height) = decoder.dimensions();
    if size.check(width, height).is_ok() {
        decoder.set_limits(limits)?;
    }
    Ok(decoder)
}

/// Width and height in a PNG's first chunk.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let word = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    (bytes.get(12..16)? == b"IHDR").then_some(())?;
    Some((word(16)?, word(20)?))
}

fn broken(found: &str) -> String {
    format!(
        "the image cannot be decoded\n  found:    {found}\n  expected: a whole PNG, JPEG or WebP \
         image"
    )
}

fn fill<D: ImageDecoder>(
    decoder: ImageResult<D>,
    size: Size,
    out: &mut [u8],
) -> Result<(), String> {
    // Behind this stands the name of a part of the format, at length.
    let cut = |text: &str| text.split(" while decoding").next().unwrap_or(text).to_string();
    let told = |e: image::ImageError| broken(&cut(&e.to_string()));
    let decoder = decoder.map_err(told)?;
    let (width, height) = decoder.dimensions();
    size.check(width, height)?;
    let color = decoder.color_type();
    let (kept, alpha) = match (color, size.channels) {
        (ColorType::L8, 1) | (ColorType::Rgb8, 3) => (size.channels, false),
        (ColorType::La8, 1) | (ColorType::Rgba8, 3) => (size.channels, true),
        _ => return Err(other_channels(color_name(color), size.channels)),
    };
    if !alpha {
        return decoder.read_image(out).map_err(told);
    }
    // Alpha that hides nothing is no information; any other would need a background.
    let mut whole = vec![0; size.side * size.side * (kept + 1)];
    decoder.read_image(&mut whole).map_err(told)?;
    for (pixel, out) in whole.chunks_exact(kept + 1).zip(out.chunks_exact_mut(kept)) {
        if pixel[kept] != u8::MAX {
            return Err(other_channels(color_name(color), size.channels));
        }
        out.copy_from_slice(&pixel[..kept]);
    }
    Ok(())
}

fn color_name(color: ColorType) -> &'static str {
    match color {
        ColorType::L8 => "8-bit grey",
        ColorType::La8 => "8-bit grey with transparent pixels",
        ColorType::Rgb8 => "8-bit RGB",
        ColorType::Rgba8 => "8-bit RGB with transparent pixels",
        ColorType::L16 | ColorType::La16 => "16-bit grey",
        ColorType::Rgb16 | ColorType::Rgba16 => "16-bit RGB",
        _ => "another colour type",
    }
}

/// Channels that would have to be made up or thrown away.
pub fn other_channels(found: &str, channels: usize) -> String {
    let (expected, mode, other) = match channels {
        1 => ("8-bit grey", "L", 3),
        _ => ("8-bit RGB", "RGB", 1),
    };
    let help = match found {
        "8-bit grey" | "8-bit RGB" => format!("model.channels: {other}, or images"),
        _ => "images".to_string(),
    };
    format!(
        "the image has other channels\n  found:    {found}\n  expected: {expected}, as \
         model.channels is {channels}\n  help:     {help} converted by Pillow's \
         image.convert(\"{mode}\")"
    )
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageFormat, Rgba, RgbaImage};

    use super::*;

    fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    fn decoded(bytes: &[u8], side: usize, channels: usize) -> Result<Vec<u8>, String> {
        let size = Size { side, channels };
        let mut out = vec![0; size.bytes()];
        decode(bytes, size, &mut out).map(|()| out)
    }

    #[test]
    fn images_that_do_not_fit_are_refused() {
        let png = |image| encoded(image, ImageFormat::Png);
        let refused = |bytes: &[u8]| decoded(bytes, 28, 1).unwrap_err();
        assert!(decoded(&png(DynamicImage::new_luma8(28, 28)), 28, 1).is_ok());
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
            let other = |side| encoded(DynamicImage::new_rgb8(side, side), format);
            assert!(refused(&other(1)).contains("1 × 1"), "{format:?}");
            assert!(refused(&other(4000)).contains("4000 × 4000"), "{format:?}");
        }
        assert!(refused(&png(DynamicImage::new_rgb8(28, 28))).contains("model.channels: 3"));
        assert!(refused(&png(DynamicImage::new_luma16(28, 28))).contains("16-bit grey"));
        let whole = png(DynamicImage::new_luma8(28, 28));
        assert!(refused(&whole[..whole.len() / 2]).contains("cannot be decoded"));
        assert!(refused(&whole[..20]).contains("cut off"));
        assert!(refused(b"").contains("cannot be decoded"));
    }

    #[test]
    fn alpha_that_hides_nothing_is_left_out() {
        let image = |alpha| RgbaImage::from_pixel(4, 4, Rgba([1, 2, 3, alpha]));
        let png = |alpha| encoded(DynamicImage::ImageRgba8(image(alpha)), ImageFormat::Png);
        assert_eq!(decoded(&png(255), 4, 3).unwrap(), [1, 2, 3].repeat(16));
        assert!(decoded(&png(254), 4, 3).unwrap_err().contains("transparent"));
    }
}
