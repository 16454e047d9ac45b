//! Reads an image's orientation and turns the image upright.
//!
//! Cameras store the image as the sensor saw it, and the camera's orientation in the EXIF tag
//! 0x0112: 1 is upright, 2 to 8 are the other symmetries of a rectangle. `datasets` turns images by
//! Pillow's `ImageOps.exif_transpose`. So the tag is read from the same places as in Pillow: from
//! EXIF data, else from XMP (`tiff:Orientation`).

use std::borrow::Cow;
use std::io::Read;

use flate2::read::ZlibDecoder;

/// Bytes of a PNG's text that are unpacked at most.
const MAX_TEXT: u64 = 1 << 20;

/// A symmetry of a rectangle, by its EXIF number 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orientation(u8);

impl Orientation {
    pub const UPRIGHT: Orientation = Orientation(1);

    /// The orientation in EXIF data (a TIFF structure), or in XMP if EXIF has none. Numbers outside
    /// 1 to 8 mean upright.
    pub fn of(exif: &[u8], xmp: &[u8]) -> Orientation {
        let number = match in_tiff(exif) {
            Some(number) => number,
            None => in_xmp(xmp).unwrap_or(1),
        };
        match number {
            2..=8 => Orientation(number as u8),
            _ => Orientation::UPRIGHT,
        }
    }

    pub fn of_png(bytes: &[u8]) -> Orientation {
        let (mut exif, mut profile, mut xmp) = (None, None, None);
        for (kind, content) in png_chunks(bytes) {
            if kind == b"eXIf" {
                exif = Some(content);
                continue;
            }
            // The last chunk with a keyword counts, and only that one is unpacked.
            match text(kind, content) {
                Some((b"exif", Text { bytes, .. })) if kind == b"tEXt" => exif = Some(bytes),
                Some((b"Raw profile type exif", value)) => profile = Some(value),
                Some((b"XML:com.adobe.xmp", value)) => xmp = Some(value),
                _ => {}
            }
        }
        let exif = match (exif, profile) {
            (Some(exif), _) => Cow::Borrowed(exif),
            (None, Some(profile)) => Cow::Owned(unhex(&profile.value()).unwrap_or_default()),
            (None, None) => Cow::default(),
        };
        Orientation::of(&exif, &xmp.map(|xmp| xmp.value()).unwrap_or_default())
    }

    pub fn of_webp(bytes: &[u8]) -> Orientation {
        let (mut exif, mut xmp) = (&[][..], &[][..]);
        // Only the extended format has metadata. Flags in its first chunk say which.
        let flags = match bytes.get(12..16) {
            Some(b"VP8X") => bytes.get(20).copied().unwrap_or(0),
            _ => 0,
        };
        let mut at = 12;
        while let Some([a, b, c, d, n0, n1, n2, n3]) = bytes.get(at..at + 8) {
            let length = u32::from_le_bytes([*n0, *n1, *n2, *n3]) as usize;
            let end = (at + 8).saturating_add(length);
            let Some(content) = bytes.get(at + 8..end) else { break };
            match &[*a, *b, *c, *d] {
                b"EXIF" if flags & 0x08 != 0 && exif.is_empty() => exif = content,
                b"XMP " if flags & 0x04 != 0 && xmp.is_empty() => xmp = content,
                _ => {}
            }
            at = end + (length & 1);
        }
        Orientation::of(exif, xmp)
    }

    /// Width and height after turning.
    pub fn size(self, width: u32, height: u32) -> (u32, u32) {
        match self.0 {
            5..=8 => (height, width),
            _ => (width, height),
        }
    }

    /// Turns pixels \[row, column, channel\] of `width` × `height`. The result has the size of
    /// [`Orientation::size`].
    pub fn turn(self, pixels: &[u8], width: usize, height: usize, channels: usize) -> Vec<u8> {
        let (new_width, new_height) = match self.0 {
            5..=8 => (height, width),
            _ => (width, height),
        };
        let (right, bottom) = (width - 1, height - 1);
        let mut turned = Vec::with_capacity(pixels.len());
        for y in 0..new_height {
            for x in 0..new_width {
                // The source of the pixel at (x, y).
                let (from_x, from_y) = match self.0 {
                    2 => (right - x, y),
                    3 => (right - x, bottom - y),
                    4 => (x, bottom - y),
                    5 => (y, x),
                    6 => (y, bottom - x),
                    7 => (right - y, bottom - x),
                    8 => (right - y, x),
                    _ => (x, y),
                };
                let from = (from_y * width + from_x) * channels;
                turned.extend_from_slice(&pixels[from..from + channels]);
            }
        }
        turned
    }
}

/// The orientation tag in the first directory of a TIFF structure. It is 0 if its value is not a
/// whole number, and None if there is no tag.
fn in_tiff(mut tiff: &[u8]) -> Option<u64> {
    for _ in 0..2 {
        tiff = tiff.strip_prefix(b"Exif\0\0").unwrap_or(tiff);
    }
    let big = match tiff.get(..4)? {
        b"II*\0" => false,
        b"MM\0*" => true,
        _ => return None,
    };
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = tiff.get(at..at.checked_add(size)?)?;
        let add = |n: u64, b: &u8| n << 8 | u64::from(*b);
        Some(match big {
            true => bytes.iter().fold(0, add),
            false => bytes.iter().rev().fold(0, add),
        })
    };
    let directory = number(4, 4)? as usize;
    let entries = number(directory, 2)? as usize;
    let mut found = None;
    for entry in (0..entries).map(|i| directory + 2 + 12 * i) {
        let (Some(tag), Some(kind), Some(count)) =
            (number(entry, 2), number(entry + 2, 2), number(entry + 4, 4))
        else {
            break;
        };
        if tag == 0x0112 {
            // SHORT and LONG, unsigned and signed.
            let value = match (kind, count) {
                (3 | 8, 1) => number(entry + 8, 2),
                (4 | 9, 1) => number(entry + 8, 4),
                _ => Some(0),
            };
            found = value.or(found);
        }
    }
    found
}

/// The digit of `tiff:Orientation="6"` or `<tiff:Orientation>6<`.
fn in_xmp(xmp: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"tiff:Orientation";
    xmp.windows(NAME.len()).enumerate().filter(|(_, w)| *w == NAME).find_map(|(at, _)| {
        let rest = &xmp[at + NAME.len()..];
        let value = rest.strip_prefix(b"=\"").or(rest.strip_prefix(b">"))?;
        value.first().filter(|b| b.is_ascii_digit()).map(|b| u64::from(b - b'0'))
    })
}

/// Kind and content of every complete chunk.
fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut at = 8;
    std::iter::from_fn(move || {
        let length = bytes.get(at..at + 4)?.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
        let kind = bytes.get(at + 4..at + 8)?;
        let content = bytes.get(at + 8..(at + 8).checked_add(length)?)?;
        at += length + 12;
        Some((kind, content))
    })
}

/// The value of a text chunk, possibly compressed.
#[derive(Clone, Copy)]
struct Text<'a> {
    bytes: &'a [u8],
    packed: bool,
}

impl<'a> Text<'a> {
    /// The unpacked value, at most its first [`MAX_TEXT`] bytes; empty if it is damaged.
    fn value(&self) -> Cow<'a, [u8]> {
        match self.packed {
            true => Cow::Owned(unpack(self.bytes).unwrap_or_default()),
            false => Cow::Borrowed(self.bytes),
        }
    }
}

/// Keyword and value of a text chunk.
fn text<'a>(kind: &[u8], content: &'a [u8]) -> Option<(&'a [u8], Text<'a>)> {
    let split = |bytes: &'a [u8]| -> Option<(&'a [u8], &'a [u8])> {
        let at = bytes.iter().position(|b| *b == 0)?;
        Some((&bytes[..at], &bytes[at + 1..]))
    };
    if ![&b"tEXt"[..], b"zTXt", b"iTXt"].contains(&kind) {
        return None;
    }
    let (keyword, rest) = split(content)?;
    let value = match (kind, rest) {
        (b"tEXt", bytes) => Text { bytes, packed: false },
        (b"zTXt", [0, bytes @ ..]) => Text { bytes, packed: true },
        (b"iTXt", [packed, method, rest @ ..]) => {
            let (_language, rest) = split(rest)?;
            let (_translated, bytes) = split(rest)?;
            match (packed, method) {
                (0, _) => Text { bytes, packed: false },
                (_, 0) => Text { bytes, packed: true },
                _ => return None,
            }
        }
        _ => return None,
    };
    Some((keyword, value))
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    ZlibDecoder::new(packed).take(MAX_TEXT).read_to_end(&mut text).ok()?;
    Some(text)
}

/// Decodes ImageMagick's form of EXIF data: three header lines, then hexadecimal digits.
fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .split(|b| *b == b'\n')
        .skip(3)
        .flatten()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| char::from(*b).to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF data with only this tag.
    pub fn exif(kind: u8, count: u8, value: [u8; 4], big: bool) -> Vec<u8> {
        let short = |n: u8| if big { [0, n] } else { [n, 0] };
        let long = |n: u8| if big { [0, 0, 0, n] } else { [n, 0, 0, 0] };
        let tag = if big { [0x01, 0x12] } else { [0x12, 0x01] };
        let mut out = if big { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
        out.extend(long(8));
        out.extend(short(1));
        out.extend(tag);
        out.extend(short(kind));
        out.extend(long(count));
        out.extend(value);
        out.extend([0; 4]);
        out
    }

    #[test]
    fn the_tag_is_found_in_either_byte_order() {
        for (kind, count, value, big, expected) in [
            (3, 1, [0, 6, 0, 0], true, Some(6)),
            (3, 1, [6, 0, 0, 0], false, Some(6)),
            (4, 1, [0, 0, 0, 8], true, Some(8)),
            (4, 1, [8, 0, 0, 0], false, Some(8)),
            (1, 1, [6, 0, 0, 0], false, Some(0)),
            (3, 2, [6, 0, 6, 0], false, Some(0)),
        ] {
            let data = exif(kind, count, value, big);
            assert_eq!(in_tiff(&data), expected, "{kind} {count} {value:?} {big}");
            let led = [b"Exif\0\0".to_vec(), data.clone()].concat();
            assert_eq!(in_tiff(&led), expected);
            for n in 0..data.len() {
                let _ = in_tiff(&data[..n]);
            }
        }
        assert_eq!(in_tiff(b"II*\0\xff\xff\xff\xff"), None);
        assert_eq!(in_tiff(b""), None);
    }

    /// A PNG with only compressed text chunks of these keywords and values.
    fn packed_texts(texts: &[(&str, &[u8])]) -> Vec<u8> {
        use std::io::Write;
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (keyword, value) in texts {
            let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
            packer.write_all(value).unwrap();
            let packed = packer.finish().unwrap();
            let content = [keyword.as_bytes(), &[0, 0], &packed].concat();
            png.extend((content.len() as u32).to_be_bytes());
            png.extend(b"zTXt");
            png.extend(content);
            png.extend([0; 4]);
        }
        png
    }

    #[test]
    fn unpacked_text_is_limited_and_the_last_chunk_of_a_keyword_counts() {
        let xmp = |n: u8| format!("<x tiff:Orientation=\"{n}\"/>").into_bytes();
        let name = "XML:com.adobe.xmp";
        let of = |texts: &[(&str, &[u8])]| Orientation::of_png(&packed_texts(texts)).0;
        assert_eq!(of(&[(name, &xmp(6)), (name, &xmp(3)), ("Comment", &xmp(8))]), 3);
        // A tag beyond the limit is not found.
        let bomb = vec![b' '; 64 << 20];
        let long = [&bomb[..MAX_TEXT as usize], &xmp(6)].concat();
        assert_eq!(of(&[(name, &long)]), 1);
        let png = packed_texts(&[("Comment", &bomb), (name, &bomb)]);
        let chunks: Vec<_> = png_chunks(&png).filter_map(|(kind, c)| text(kind, c)).collect();
        assert_eq!(chunks.len(), 2);
        assert!(chunks.iter().all(|(_, text)| text.value().len() as u64 == MAX_TEXT));
    }

    #[test]
    fn xmp_is_used_only_if_exif_has_no_orientation() {
        let six = b"<x tiff:Orientation=\"6\"/>";
        let number = |exif: &[u8], xmp: &[u8]| Orientation::of(exif, xmp).0;
        assert_eq!(number(b"", six), 6);
        assert_eq!(number(b"", b"<tiff:Orientation>3</tiff:Orientation>"), 3);
        assert_eq!(number(b"", b"tiff:Orientation = 3, tiff:Orientation=\"x\""), 1);
        assert_eq!(number(b"", b"tiff:Orientation=\"9\""), 1);
        assert_eq!(number(&exif(3, 1, [1, 0, 0, 0], false), six), 1);
        assert_eq!(number(&exif(3, 1, [0, 0, 0, 0], false), six), 1);
    }
}
