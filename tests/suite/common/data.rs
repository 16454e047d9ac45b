//! Datasets in a temporary folder.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use polars::prelude::{DataFrame, ParquetWriter};
use vlora::data::images::Size;
use vlora::data::{ImageData, Layout, Table, read_split};
use vlora::error::Result;
use vlora::hub::{Hub, Kind, Source};
use vlora::spec::ImageDataSpec;

/// Side of the fixtures' images.
pub const SIDE: usize = 8;

/// The fixtures of `scripts/reference/make_data_fixtures.py`.
pub fn fixture(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/data");
    fs::read(root.join(name)).unwrap()
}

pub struct Dataset {
    dir: tempfile::TempDir,
}

impl Dataset {
    pub fn new<B: AsRef<[u8]>>(files: &[(&str, B)]) -> Dataset {
        let dataset = Dataset { dir: tempfile::tempdir().unwrap() };
        files.iter().for_each(|(path, bytes)| dataset.put(path, bytes));
        dataset
    }

    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let at = self.at(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, bytes).unwrap();
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// A split as a table.
    pub fn table(&self, config: Option<&str>, split: &str) -> Result<Table> {
        let source = Source::Folder(self.dir.path().to_path_buf());
        let repository = Hub::default().open(&source, Kind::Dataset)?;
        let layout = Layout::of(&repository, config)?;
        read_split(&repository, &layout, split, None)
    }

    /// The three splits as images. `data` are fields of the section as JSON.
    pub fn images(
        &self,
        data: &str,
        (side, channels, classes): (usize, usize, usize),
        cache: Option<&Path>,
    ) -> Result<ImageData> {
        let mut fields: serde_json::Value = serde_json::from_str(data).unwrap();
        fields["path"] = self.dir.path().to_str().unwrap().into();
        let data: ImageDataSpec = serde_json::from_value(fields).unwrap();
        let (size, hub) = (Size { side, channels }, Hub::default());
        ImageData::load_with_cache(&data, size, classes, &hub, cache)
    }
}

/// An IDX file of bytes.
pub fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| file.extend(size.to_be_bytes()));
    file.extend(bytes);
    file
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A PNG of one colour.
pub fn png(side: u32, color: [u8; 3]) -> Vec<u8> {
    encoded(RgbImage::from_pixel(side, side, Rgb(color)), ImageFormat::Png)
}

/// A PNG of one grey.
pub fn grey_png(side: u32, grey: u8) -> Vec<u8> {
    encoded(GrayImage::from_pixel(side, side, Luma([grey])), ImageFormat::Png)
}

/// The file of an image.
pub fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.into().write_to(&mut out, format).unwrap();
    out.into_inner()
}

pub fn parquet(mut frame: DataFrame) -> Vec<u8> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame).unwrap();
    bytes
}

/// A card with the names of the classes 0, 1, …
pub fn card_of_classes(names: &str) -> String {
    format!(
        "---\ndataset_info: {{features: [{{name: label, dtype: {{class_label: {{names: \
         [{names}]}}}}}}]}}\n---\n"
    )
}

/// The file of a split of the images in the program.
pub fn embedded(split: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(format!("src/hub/embedded/fashion-mnist-mini/{split}.parquet"))
}
