//! Converts channels like Pillow's `convert("RGB")` and `convert("L")`, and counts how decoding
//! changed images.

use std::ops::BitOr;

use serde::{Deserialize, Serialize};

use crate::data::duplicates::notes;

/// The channels of an image's samples, one byte each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    Grey,
    GreyAlpha,
    Rgb,
    RgbAlpha,
}

impl Samples {
    fn count(self) -> usize {
        match self {
            Samples::Grey => 1,
            Samples::GreyAlpha => 2,
            Samples::Rgb => 3,
            Samples::RgbAlpha => 4,
        }
    }
}

/// How decoding changed one image: a set of flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change(pub u8);

impl Change {
    /// Turned upright by its orientation.
    pub const TURNED: Change = Change(1);
    pub const GREY_TO_RGB: Change = Change(2);
    pub const COLOR_TO_GREY: Change = Change(4);
    /// An alpha channel that is not fully opaque was dropped.
    pub const ALPHA_DROPPED: Change = Change(8);
    /// Samples of 16 bits were cut to their upper 8.
    pub const DEPTH_HALVED: Change = Change(16);
}

impl BitOr for Change {
    type Output = Change;

    fn bitor(self, other: Change) -> Change {
        Change(self.0 | other.0)
    }
}

/// Number of images for each kind of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Changes {
    /// Turned upright by their EXIF or XMP orientation.
    pub turned: u64,
    pub grey_to_rgb: u64,
    pub color_to_grey: u64,
    /// Transparency was dropped: each pixel keeps its own colour.
    pub alpha_dropped: u64,
    /// Samples of 16 bits were cut to their upper 8.
    pub depth_halved: u64,
}

impl Changes {
    /// Adds the changes of some images.
    pub fn add(&mut self, images: impl Iterator<Item = Change>) {
        for change in images {
            let has = |kind: Change| u64::from(change.0 & kind.0 != 0);
            self.turned += has(Change::TURNED);
            self.grey_to_rgb += has(Change::GREY_TO_RGB);
            self.color_to_grey += has(Change::COLOR_TO_GREY);
            self.alpha_dropped += has(Change::ALPHA_DROPPED);
            self.depth_halved += has(Change::DEPTH_HALVED);
        }
    }

    /// One sentence for each kind of change that occurred.
    pub fn notes(&self) -> Vec<String> {
        let all = [
            (self.turned, "turned upright by the orientation that the file states"),
            (self.grey_to_rgb, "grey in the file and repeated in three channels"),
            (self.color_to_grey, "in colour in the file and turned grey (ITU-R 601 luma)"),
            (self.alpha_dropped, "transparent in places; transparency is dropped, colours stay"),
            (self.depth_halved, "of 16 bits a sample, of which the upper 8 are used"),
        ];
        notes("Images", &all)
    }
}

/// Converts `samples` to 1 channel (grey) or 3 (RGB). Grey is ITU-R 601's luma with Pillow's
/// rounding. Alpha is dropped; the colour under it stays.
pub fn convert(samples: Vec<u8>, kind: Samples, channels: usize) -> (Vec<u8>, Change) {
    let colors = match kind {
        Samples::Grey | Samples::GreyAlpha => 1,
        Samples::Rgb | Samples::RgbAlpha => 3,
    };
    let alpha = kind.count() != colors;
    let hides = alpha && samples.chunks_exact(kind.count()).any(|pixel| pixel[colors] != u8::MAX);
    let dropped = if hides { Change::ALPHA_DROPPED } else { Change::default() };
    let pixels = samples.chunks_exact(kind.count());
    match (colors, channels) {
        (1, 1) | (3, 3) if !alpha => (samples, dropped),
        (1, 1) | (3, 3) => (pixels.flat_map(|p| &p[..colors]).copied().collect(), dropped),
        (1, _) => (pixels.flat_map(|p| [p[0]; 3]).collect(), dropped | Change::GREY_TO_RGB),
        _ => (pixels.map(luma).collect(), dropped | Change::COLOR_TO_GREY),
    }
}

/// 0.299 R + 0.587 G + 0.114 B, in fixed point with 16 fractional bits.
fn luma(pixel: &[u8]) -> u8 {
    let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((19595 * r + 38470 * g + 7471 * b + 0x8000) >> 16) as u8
}

/// The upper byte of each 16-bit sample, as in Pillow. Samples are in native byte order.
pub fn upper_bytes(samples: &[u8]) -> Vec<u8> {
    samples.as_chunks().0.iter().map(|b| (u16::from_ne_bytes(*b) >> 8) as u8).collect()
}
