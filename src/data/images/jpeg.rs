//! JPEG files: their markers and their samples.
//!
//! A file is a sequence of markers (`FF xx`). Most are followed by a segment that begins with its
//! length. Each start of scan is followed by entropy-coded data, in which `FF 00` is a data byte
//! and `FF D0`–`FF D7` are restarts (ITU-T T.81, B.1). Decoders fill missing data with grey, so a
//! file without its end marker is refused, as in Pillow.

use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// The content of a file's markers.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// As stored, before the orientation is applied.
    pub width: u32,
    pub height: u32,
    /// Colour components: 1 is grey, 3 are RGB or YCbCr, 4 are CMYK or YCCK.
    pub components: u8,
    /// All EXIF segments before the first scan, joined; empty without one.
    pub exif: Vec<u8>,
    /// The last XMP segment before the first scan; empty without one.
    pub xmp: &'a [u8],
}

impl Head<'_> {
    /// Reads all markers up to the end of the image. Errors if the file ends before that.
    pub fn read(bytes: &[u8]) -> Result<Head<'_>, String> {
        const EXIF: &[u8] = b"Exif\0\0";
        const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
        let cut = || "a JPEG without its end marker, as a file that is cut off".to_string();
        let mut head = Head::default();
        let (mut at, mut scans) = (2, 0);
        loop {
            let (marker, segment) = next_segment(bytes, &mut at).ok_or_else(cut)?;
            match marker {
                END if scans == 0 => return Err("a JPEG without a scan".into()),
                END => return Ok(head),
                marker if is_frame(marker) => {
                    let frame = Frame::of(segment).ok_or("a JPEG whose frame has no size")?;
                    (head.height, head.width) = (frame.height, frame.width);
                    head.components = frame.components;
                }
                0xe1 if scans == 0 && segment.starts_with(EXIF) => {
                    head.exif.extend(&segment[EXIF.len()..]);
                }
                0xe1 if scans == 0 && segment.starts_with(XMP) => head.xmp = &segment[XMP.len()..],
                SCAN => scans += 1,
                _ => {}
            }
        }
    }
}

/// The markers for start of scan and end of image.
const SCAN: u8 = 0xda;
const END: u8 = 0xd9;

/// Whether the marker starts a frame. DHT, JPG and DAC lie in the same range but do not.
fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

/// The image's size in a start-of-frame segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub width: u32,
    pub height: u32,
    pub components: u8,
}

impl Frame {
    fn of(segment: &[u8]) -> Option<Frame> {
        let [_, h1, h0, w1, w0, components, ..] = *segment else { return None };
        let word = |high: u8, low: u8| u32::from(high) << 8 | u32::from(low);
        Some(Frame { width: word(w1, w0), height: word(h1, h0), components })
    }

    /// The first frame of a file. The file may be truncated after it.
    pub fn first(bytes: &[u8]) -> Option<Frame> {
        let mut at = 2;
        loop {
            match next_segment(bytes, &mut at)? {
                (SCAN | END, _) => return None,
                (marker, segment) if is_frame(marker) => return Frame::of(segment),
                _ => {}
            }
        }
    }
}

/// The next marker and its segment, which is empty for a standalone marker. `at` moves past both.
/// None if the file ends before that.
fn next_segment<'a>(bytes: &'a [u8], at: &mut usize) -> Option<(u8, &'a [u8])> {
    let marker = next_marker(bytes, at)?;
    if matches!(marker, 0x01 | 0xd0..=0xd9) {
        return Some((marker, &[]));
    }
    let length = bytes.get(*at..*at + 2)?;
    let length = usize::from(length[0]) << 8 | usize::from(length[1]);
    let segment = bytes.get(*at + 2..*at + length.max(2))?;
    *at += segment.len() + 2;
    Some((marker, segment))
}

/// The next marker that is neither a stuffed byte nor a restart. `at` moves past it.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        *at += bytes.get(*at..)?.iter().position(|b| *b == 0xff)?;
        // A marker may follow any number of fill bytes.
        *at += bytes[*at..].iter().position(|b| *b != 0xff)?;
        *at += 1;
        match bytes[*at - 1] {
            0x00 | 0xd0..=0xd7 => {}
            marker => return Some(marker),
        }
    }
}

/// Decodes samples \[row, column, channel\]. They are grey if the file has one component, else RGB.
pub fn samples(bytes: &[u8], head: &Head) -> Result<Vec<u8>, String> {
    let color = match head.components {
        1 => ColorSpace::Luma,
        _ => ColorSpace::RGB,
    };
    // In strict mode damaged data is an error instead of grey pixels.
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(head.width as usize)
        .set_max_height(head.height as usize)
        .jpeg_set_out_colorspace(color);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let samples = decoder.decode().map_err(|e| e.to_string())?;
    let channels = if head.components == 1 { 1 } else { 3 };
    let expected = head.width as usize * head.height as usize * channels;
    match samples.len() == expected {
        true => Ok(samples),
        false => Err(format!("{} samples where {expected} were announced", samples.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Restarts, stuffed bytes and fill bytes do not count as markers. A thumbnail's markers are
    /// inside a segment.
    #[test]
    fn markers_are_read_up_to_the_image_s_own_end() {
        let mut file = vec![0xff, 0xd8];
        let thumbnail = [&b"Exif\0\0"[..], &[0xff, 0xd9, 0xff, 0xda]].concat();
        file.extend([0xff, 0xe1, 0, 12]);
        file.extend(&thumbnail);
        file.extend([0xff, 0xc0, 0, 8, 8, 0, 5, 1, 2, 3]);
        file.extend([0xff, 0xff, 0xda, 0, 2, 1, 0xff, 0, 0xff, 0xd0, 2, 0xff]);
        file.push(0xd9);
        let head = Head::read(&file).unwrap();
        assert_eq!((head.width, head.height, head.components), (258, 5, 3));
        assert_eq!(head.exif, &thumbnail[6..]);
        for n in 2..file.len() {
            assert!(Head::read(&file[..n]).is_err(), "{n}");
        }
    }
}
