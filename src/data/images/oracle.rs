//! Compares decoding to `datasets` and Pillow, with fixtures from
//! `scripts/reference/make_image_fixtures.py`.

use super::convert::Change;
use super::decode::{Image, Size, decode};
use super::resize::Fit;
use crate::data::parquet;
use crate::data::select::Select;
use crate::data::table::{Blobs, Table, Values};
use crate::error::Result;
use crate::hub::File;
use crate::spec::ImageDataSpec;

fn table(name: &str) -> Table {
    let path = format!("{}/tests/fixtures/images/{name}.parquet", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    let file = File::new(name.into(), name.into(), bytes.into());
    parquet::read(file, Select::All).unwrap()
}

impl Table {
    fn bytes(&self, column: &str) -> &Blobs {
        match &self.column(column).unwrap().values {
            Values::Images(blobs) => blobs,
            _ => panic!("{column} holds no bytes"),
        }
    }

    fn text(&self, column: &str, row: usize) -> &str {
        match &self.column(column).unwrap().values {
            Values::Text(texts) => texts[row].as_deref().unwrap(),
            _ => panic!("{column} holds no text"),
        }
    }

    fn number(&self, column: &str, row: usize) -> usize {
        match &self.column(column).unwrap().values {
            Values::Integers(numbers) => numbers[row].unwrap() as usize,
            _ => panic!("{column} holds no numbers"),
        }
    }
}

/// A fact of `scripts/reference/make_recipe_fixtures.py`.
pub fn fact(name: &str) -> serde_json::Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/operations.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    serde_json::from_str(&header.metadata().as_ref().unwrap()[name]).unwrap()
}

fn decoded(bytes: &[u8], channels: usize) -> Result<Image> {
    decode(bytes, channels, &|_, _| Ok(()))
}

/// The largest difference between two values at the same place.
fn apart(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// Covers every format with every orientation, mode and encoding.
#[test]
fn decoded_images_equal_those_of_datasets() {
    let table = table("decoded");
    let (images, rgb, grey) = (table.bytes("image"), table.bytes("rgb"), table.bytes("grey"));
    let mut wrong = Vec::new();
    for row in 0..table.rows {
        let name = table.text("name", row);
        let size = (table.number("width", row), table.number("height", row));
        for (channels, want) in [(3, rgb), (1, grey)] {
            let image = decoded(images.get(row).unwrap(), channels).unwrap();
            assert_eq!((image.width, image.height), size, "{name}");
            let off = apart(&image.pixels, want.get(row).unwrap());
            if usize::from(off) > table.number("off", row) {
                wrong.push(format!("{name}, {channels} channels: {off}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn changes_to_an_image_are_reported() {
    let table = table("decoded");
    let of = |name: &str, channels: usize| {
        let row = (0..table.rows).find(|row| table.text("name", *row) == name).unwrap();
        decoded(table.bytes("image").get(row).unwrap(), channels).unwrap().change
    };
    for (name, channels, change) in [
        ("jpeg orientation 1", 3, Change::default()),
        ("jpeg orientation 0", 3, Change::default()),
        ("jpeg orientation 9", 3, Change::default()),
        ("jpeg orientation 6", 3, Change::TURNED),
        ("png orientation 6", 3, Change::TURNED),
        ("webp orientation 6", 1, Change::TURNED | Change::COLOR_TO_GREY),
        ("png grey", 3, Change::GREY_TO_RGB),
        ("png grey", 1, Change::default()),
        ("png rgba", 3, Change::ALPHA_DROPPED),
        ("png grey alpha", 3, Change::ALPHA_DROPPED | Change::GREY_TO_RGB),
        ("png palette 16", 3, Change::default()),
        ("png palette 16, transparent", 3, Change::ALPHA_DROPPED),
        ("png 16 bit rgb", 3, Change::DEPTH_HALVED),
        ("jpeg grey", 3, Change::GREY_TO_RGB),
    ] {
        assert_eq!(of(name, channels), change, "{name}");
    }
}

/// Every format is truncated at every byte. Images that Pillow refuses must be refused. Those that
/// Pillow accepts may be accepted, with all pixels.
#[test]
fn truncated_images_are_refused() {
    let table = table("decoded");
    for row in 0..table.rows {
        let (name, whole) = (table.text("name", row), table.bytes("image").get(row).unwrap());
        let taken: Vec<usize> = serde_json::from_str(table.text("cuts", row)).unwrap();
        let all = decoded(whole, 3).unwrap();
        for length in 0..whole.len() {
            match decoded(&whole[..length], 3) {
                Ok(image) => {
                    assert!(taken.contains(&length), "{name} is taken with {length} bytes");
                    assert_eq!(image.pixels, all.pixels, "{name}, {length} bytes");
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains("cannot be decoded"), "{name}: {error}");
                }
            }
        }
    }
}

/// A PNG's pixels have checksums, so a change of any byte must be refused. Other formats have none;
/// there, damage must only not panic.
#[test]
fn damaged_images_are_refused_where_the_format_can_tell() {
    let table = table("decoded");
    for row in 0..table.rows {
        let (name, whole) = (table.text("name", row), table.bytes("image").get(row).unwrap());
        let idat = whole.windows(4).position(|kind| kind == b"IDAT");
        let guarded = idat.map_or(0..0, |at| {
            let length = u32::from_be_bytes(whole[at - 4..at].try_into().unwrap());
            at + 4..at + 8 + length as usize
        });
        assert_eq!(guarded.is_empty(), !name.starts_with("png"), "{name}");
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x10;
            let image = decoded(&bytes, 3);
            assert!(!guarded.contains(&at) || image.is_err(), "{name}, byte {at}");
        }
    }
}

/// Covers sizes, filters, resizes and crops, in colour and grey.
#[test]
fn squares_equal_those_of_torchvision_on_pillow_images() {
    let table = table("resized");
    let (images, rgb, grey) = (table.bytes("image"), table.bytes("rgb"), table.bytes("grey"));
    let mut equal = 0;
    for row in 0..table.rows {
        let name = table.text("name", row);
        let resize: serde_json::Value = serde_json::from_str(table.text("resize", row))
            .unwrap_or_else(|_| table.text("resize", row).into());
        let data: ImageDataSpec = serde_json::from_value(serde_json::json!({
            "resize": resize,
            "crop": table.text("crop", row),
            "interpolation": table.text("interpolation", row),
        }))
        .unwrap();
        for (channels, want) in [(3, rgb), (1, grey)] {
            let fit = Fit {
                size: Size { side: table.number("side", row), channels },
                resize: data.resize,
                crop: data.crop,
                interpolation: data.interpolation,
            };
            let fits = |width, height| fit.check(width, height);
            let image = decode(images.get(row).unwrap(), channels, &fits).unwrap();
            let off = apart(&fit.square(&image).unwrap(), want.get(row).unwrap());
            assert!(off <= 1, "{name}, {channels} channels: {off}");
            equal += usize::from(off == 0);
        }
    }
    // Most are exactly equal, since both convolve in integers.
    assert!(equal >= table.rows, "{equal} of {}", 2 * table.rows);
}
