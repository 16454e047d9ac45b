//! Makes squares of images of any size: resized like Pillow, then cropped.
//!
//! Pillow's `resize` weighs source pixels with a triangle (bilinear) or Keys' cubic with a = −1/2
//! (bicubic). The kernel is widened if the image becomes smaller (antialiasing). The convolution is
//! separable, in integers, and rounded to bytes between the two passes; fast_image_resize does the
//! same. Sizes and positions are torchvision's: `Resize(n)` makes the shorter side n and rounds the
//! other side down, and `CenterCrop` rounds half a pixel to the even position.

use fast_image_resize::images::{Image as View, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::decode::{Image, Size};
use crate::error::{Error, Fault, Result};
use crate::spec::{Crop, ImageDataSpec, Interpolation, Resize};

/// Pillow refuses images with more pixels as an attack, and so does this program.
const MAX_PIXELS: u64 = 178_956_970;

/// How images become squares of the model's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    pub size: Size,
    pub resize: Option<Resize>,
    pub crop: Crop,
    pub interpolation: Interpolation,
}

impl Fit {
    pub fn of(data: &ImageDataSpec, size: Size) -> Fit {
        Fit { size, resize: data.resize, crop: data.crop, interpolation: data.interpolation }
    }

    /// Errors if an image of this width and height does not become such a square.
    pub fn check(&self, width: u32, height: u32) -> Result<()> {
        decodable(width, height)?;
        let side = self.size.side as u64;
        let (new_width, new_height) = self.resized(width, height);
        let fits = match self.crop {
            Crop::None => (new_width, new_height) == (side, side),
            Crop::Center => new_width >= side && new_height >= side,
        };
        if fits {
            return resizable(new_width, new_height);
        }
        let found = match self.resize {
            None => format!("{width} × {height}"),
            Some(_) => format!("{width} × {height}, resized {new_width} × {new_height}"),
        };
        let (expected, help) = match (self.crop, self.resize) {
            (Crop::None, None) => (
                format!("{side} × {side}, model.image_size"),
                "data.resize: exact, or a number for the shorter side with data.crop: center",
            ),
            (Crop::None, Some(_)) => (
                format!("{side} × {side}, model.image_size"),
                "data.crop: center keeps the middle square, data.resize: exact makes one of all",
            ),
            (Crop::Center, _) => (
                format!(
                    "at least {side} × {side}, model.image_size, of which data.crop keeps the middle"
                ),
                "data.resize: a number of at least model.image_size for the shorter side",
            ),
        };
        let fault = Fault::new("the image has another size");
        Err(fault.found(found).expected(expected).help(help).into())
    }

    /// Width and height after resizing, before the crop.
    fn resized(&self, width: u32, height: u32) -> (u64, u64) {
        let (width, height) = (u64::from(width), u64::from(height));
        match self.resize {
            None => (width, height),
            Some(Resize::Exact) => (self.size.side as u64, self.size.side as u64),
            Some(Resize::ShorterSide(short)) => {
                let short = short as u64;
                match width <= height {
                    true => (short, short * height / width),
                    false => (short * width / height, short),
                }
            }
        }
    }

    /// The square of an image that passed [`Fit::check`], \[row, column, channel\].
    pub fn square(&self, image: &Image) -> Result<Vec<u8>> {
        let channels = self.size.channels;
        let (width, height) = self.resized(image.width as u32, image.height as u32);
        let (width, height) = (width as usize, height as usize);
        let from = Pixels { bytes: &image.pixels, width: image.width, height: image.height };
        let resized = resize(from, channels, width, height, self.interpolation)?;
        let side = self.size.side;
        if (width, height) == (side, side) {
            return Ok(resized);
        }
        let whole = Pixels { bytes: &resized, width, height };
        Ok(whole.crop(middle(width, side), middle(height, side), side, side, channels))
    }

    /// Whether the image is already such a square.
    pub fn takes_as_is(&self, image: &Image) -> bool {
        let side = self.size.side;
        (image.width, image.height) == (side, side)
            && self.resized(side as u32, side as u32) == (side as u64, side as u64)
    }

    /// A text for the cache key: it names everything that decides the resized pixels.
    pub fn cache_key(&self) -> String {
        format!("{:?} {:?} {:?}", self.resize, self.crop, self.interpolation)
    }
}

/// The start of a centred crop of `side` out of `length` pixels. Half a pixel is rounded to even,
/// as in Python.
fn middle(length: usize, side: usize) -> usize {
    let spare = length - side;
    match spare % 4 {
        3 => spare / 2 + 1,
        _ => spare / 2,
    }
}

/// Errors for images without pixels and for those that would fill the memory.
pub fn decodable(width: u32, height: u32) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    match pixels {
        1..=MAX_PIXELS => Ok(()),
        _ => Err(Fault::new("the image has no sensible size")
            .found(format!("{width} × {height}"))
            .expected(format!("1 to {MAX_PIXELS} pixels, what Pillow opens"))
            .into()),
    }
}

fn resizable(width: u64, height: u64) -> Result<()> {
    match width * height {
        0..=MAX_PIXELS => Ok(()),
        _ => Err(Fault::new("the image is too narrow to be resized")
            .found(format!("{width} × {height} once resized"))
            .expected(format!("at most {MAX_PIXELS} pixels"))
            .help("data.resize: exact")
            .into()),
    }
}

/// An image's pixels, \[row, column, channel\].
#[derive(Clone, Copy, Debug)]
pub struct Pixels<'a> {
    pub bytes: &'a [u8],
    pub width: usize,
    pub height: usize,
}

impl Pixels<'_> {
    /// Cuts out a part, which must lie inside the image.
    pub fn crop(self, x: usize, y: usize, width: usize, height: usize, channels: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(width * height * channels);
        for row in y..y + height {
            let from = (row * self.width + x) * channels;
            out.extend_from_slice(&self.bytes[from..from + width * channels]);
        }
        out
    }
}

/// Resizes an image like Pillow.
pub fn resize(
    from: Pixels,
    channels: usize,
    width: usize,
    height: usize,
    interpolation: Interpolation,
) -> Result<Vec<u8>> {
    if (from.width, from.height) == (width, height) {
        return Ok(from.bytes.to_vec());
    }
    let failed = |e: String| Error::from(Fault::new("the image cannot be resized").found(e));
    let kind = if channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let filter = match interpolation {
        Interpolation::Bilinear => FilterType::Bilinear,
        Interpolation::Bicubic => FilterType::CatmullRom,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    let pass = |bytes: &[u8], from: (usize, usize), to: (usize, usize)| {
        let source = ImageRef::new(from.0 as u32, from.1 as u32, bytes, kind)
            .map_err(|e| failed(e.to_string()))?;
        let mut out = View::new(to.0 as u32, to.1 as u32, kind);
        Resizer::new().resize(&source, &mut out, &options).map_err(|e| failed(e.to_string()))?;
        Ok::<_, Error>(out.into_vec())
    };
    // One pass at a time, since their order matters: the cubic filter may overshoot, and the values
    // are clamped between the passes.
    let old = (from.width, from.height);
    let between = match rows_last(old, (width, height)) {
        true => (old.0, height),
        false => (width, old.1),
    };
    match between == old || between == (width, height) {
        true => pass(from.bytes, old, (width, height)),
        false => pass(&pass(from.bytes, old, between)?, between, (width, height)),
    }
}

/// Whether Pillow 13 convolves along columns before rows. It does so if the height shrinks by more
/// than twice as many pixels as the width. This was found by resizing thousands of images of random
/// sizes in both orders.
fn rows_last((width, height): (usize, usize), (new_width, new_height): (usize, usize)) -> bool {
    let lost = |from: usize, to: usize| from as i64 - to as i64;
    let (narrower, lower) = (lost(width, new_width), lost(height, new_height));
    lower > 0 && lower > 2 * narrower
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_pixels_are_rounded_to_even() {
        // In Python round(0.5) is 0, round(1.5) is 2, round(2.5) is 2.
        let places: Vec<usize> = (0..9).map(|spare| middle(10 + spare, 10)).collect();
        assert_eq!(places, [0, 0, 1, 2, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn sizes_that_fill_the_memory_are_refused() {
        let fit = |resize| Fit {
            size: Size { side: 16, channels: 3 },
            resize,
            crop: Crop::Center,
            interpolation: Interpolation::Bilinear,
        };
        let refused =
            |resize, width, height| fit(resize).check(width, height).unwrap_err().to_string();
        assert!(refused(None, 40_000, 40_000).contains("40000 × 40000"));
        assert!(refused(Some(Resize::Exact), 0, 5).contains("0 × 5"));
        let narrow = refused(Some(Resize::ShorterSide(256)), 1, 100_000_000);
        assert!(narrow.contains("too narrow"), "{narrow}");
        assert!(fit(Some(Resize::Exact)).check(1, 100_000_000).is_ok());
        assert!(refused(None, 16, 15).contains("data.resize"));
    }
}
