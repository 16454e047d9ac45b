//! Reads size and colours from an image's header, without decoding the image.

use std::fmt;

use super::jpeg::Frame;

/// The header of a stored image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Header {
    pub width: u32,
    pub height: u32,
    pub colours: Colours,
    /// PNG, JPEG, WebP, or a name for raw pixels.
    pub format: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Colours {
    Grey,
    /// 16-bit grey.
    DeepGrey,
    GreyAlpha,
    Rgb,
    RgbAlpha,
    Palette,
    Cmyk,
}

impl Colours {
    /// Whether the format of the pixels is grey.
    pub fn is_grey(self) -> bool {
        matches!(self, Colours::Grey | Colours::DeepGrey | Colours::GreyAlpha)
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let colours = match self.colours {
            Colours::Grey => "grey",
            Colours::DeepGrey => "16-bit grey",
            Colours::GreyAlpha => "grey with alpha",
            Colours::Rgb => "RGB",
            Colours::RgbAlpha => "RGB with alpha",
            Colours::Palette => "palette",
            Colours::Cmyk => "CMYK",
        };
        write!(f, "{} × {}, {colours}, {}", self.width, self.height, self.format)
    }
}

/// The header of a PNG, JPEG or WebP image; None for other or damaged data.
pub fn header(bytes: &[u8]) -> Option<Header> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => png(bytes),
        [0xff, 0xd8, ..] => jpeg(bytes),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp(bytes),
        _ => None,
    }
}

/// A big-endian number of any number of bytes.
fn big(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |n, b| n << 8 | u32::from(*b))
}

fn little(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b))
}

/// Reads the chunk IHDR: width, height, depth, colour type.
fn png(bytes: &[u8]) -> Option<Header> {
    let (width, height) = png_size(bytes)?;
    let [depth, colours] = *bytes.get(24..26)?.as_array()?;
    let colours = match (colours, depth) {
        (0, 16) => Colours::DeepGrey,
        (0, _) => Colours::Grey,
        (2, _) => Colours::Rgb,
        (3, _) => Colours::Palette,
        (4, _) => Colours::GreyAlpha,
        (6, _) => Colours::RgbAlpha,
        _ => return None,
    };
    Some(Header { width, height, colours, format: "PNG" })
}

/// Width and height in a PNG's first chunk.
pub fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    (bytes.get(12..16)? == b"IHDR").then_some(())?;
    Some((big(bytes.get(16..20)?), big(bytes.get(20..24)?)))
}

/// Reads the first frame's size and number of components.
fn jpeg(bytes: &[u8]) -> Option<Header> {
    let Frame { width, height, components } = Frame::first(bytes)?;
    let colours = match components {
        1 => Colours::Grey,
        3 => Colours::Rgb,
        4 => Colours::Cmyk,
        _ => return None,
    };
    Some(Header { width, height, colours, format: "JPEG" })
}

/// Reads the first chunk, which is extended, lossy or lossless.
fn webp(bytes: &[u8]) -> Option<Header> {
    let data = bytes.get(20..30)?;
    let (width, height, alpha) = match &bytes[12..16] {
        b"VP8X" => (little(&data[4..7]) + 1, little(&data[7..10]) + 1, data[0] & 0x10 != 0),
        b"VP8 " if data[3..6] == [0x9d, 0x01, 0x2a] => {
            (little(&data[6..8]) & 0x3fff, little(&data[8..10]) & 0x3fff, false)
        }
        b"VP8L" if data[0] == 0x2f => {
            let bits = little(&data[1..5]);
            ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1, bits >> 28 & 1 == 1)
        }
        _ => return None,
    };
    let colours = if alpha { Colours::RgbAlpha } else { Colours::Rgb };
    Some(Header { width, height, colours, format: "WebP" })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat};

    use super::*;

    fn encoded(image: DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn headers_of_encoded_images_are_read_back() {
        use ImageFormat::{Jpeg, Png, WebP};
        for (image, format, want) in [
            (DynamicImage::new_luma8(5, 3), Png, "5 × 3, grey, PNG"),
            (DynamicImage::new_luma16(5, 3), Png, "5 × 3, 16-bit grey, PNG"),
            (DynamicImage::new_luma_a8(5, 3), Png, "5 × 3, grey with alpha, PNG"),
            (DynamicImage::new_rgb8(300, 2), Png, "300 × 2, RGB, PNG"),
            (DynamicImage::new_rgba8(5, 3), Png, "5 × 3, RGB with alpha, PNG"),
            (DynamicImage::new_luma8(5, 300), Jpeg, "5 × 300, grey, JPEG"),
            (DynamicImage::new_rgb8(5, 3), Jpeg, "5 × 3, RGB, JPEG"),
            (DynamicImage::new_rgb8(5, 300), WebP, "5 × 300, RGB, WebP"),
            (DynamicImage::new_rgba8(5, 3), WebP, "5 × 3, RGB with alpha, WebP"),
        ] {
            let bytes = encoded(image, format);
            assert_eq!(header(&bytes).unwrap().to_string(), want);
            // A truncated header must not panic.
            for n in 0..bytes.len() {
                let _ = header(&bytes[..n]);
            }
        }
        assert_eq!(header(b"hello"), None);
    }
}
