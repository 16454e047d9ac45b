//! `preprocessor_config.json`: how Hugging Face's image processors prepare an image for a model. A
//! byte v becomes (v · rescale_factor − image_mean) / image_std. Missing fields have the defaults
//! of transformers' `ViTImageProcessor`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::fields::Fields;
use super::file_names::PREPROCESSOR;
use super::unsupported::UNKNOWN_FIELD;
use crate::error::{Error, Fault, Result};
use crate::spec::{Normalize, VitSpec};

/// transformers' default for mean and deviation.
const DEFAULT: f64 = 0.5;
/// A byte's largest value.
const WHITE: f64 = 255.0;

/// The normalisation in this folder's file, for pixels in \[0, 1\]; None if there is no file.
pub fn read(folder: &Path, channels: usize) -> Result<Option<Normalize>> {
    let path = folder.join(PREPROCESSOR);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(&path)
        .map_err(|e| Fault::of_file(&path, "the images' preparation cannot be read").found(e))?;
    parse(&path, &bytes, channels).map(Some)
}

/// Fields that do not change pixel values. The spec decides how images are resized; the other
/// fields concern only transformers.
const HARMLESS: [&str; 25] = [
    "_processor_class",
    "_valid_processor_keys",
    "crop_pct",
    "crop_size",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "do_center_crop",
    "do_convert_rgb",
    "do_pad",
    "do_resize",
    "feature_extractor_type",
    "image_processor_type",
    "image_seq_length",
    "input_data_format",
    "model_input_names",
    "num_channels",
    "pad_size",
    "patch_size",
    "processor_class",
    "resample",
    "return_tensors",
    "size",
    "size_divisor",
];

/// Fields that are read.
const READ: [&str; 5] = ["do_normalize", "do_rescale", "image_mean", "image_std", "rescale_factor"];

/// Fields that must be false or missing, since they change the channels or shift pixel values.
const FALSE: [&str; 4] = ["do_flip_channel_order", "do_grayscale", "offset", "rescale_offset"];

fn parse(path: &Path, bytes: &[u8], channels: usize) -> Result<Normalize> {
    let fields = Fields::parse(path, bytes, "the images' preparation")?;
    for name in FALSE {
        if fields.flag_or(name, false)? {
            let fault = fields.fault(name, "the images' preparation is not supported");
            return Err(fault.found("true").expected("false").into());
        }
    }
    if let Some((name, value)) = fields.unknown(&[&READ, &FALSE, &HARMLESS]) {
        return Err(fields
            .fault(name, "the images' preparation is not supported")
            .found(value)
            .expected(UNKNOWN_FIELD)
            .into());
    }
    let (mean, std) = match fields.flag_or("do_normalize", true)? {
        true => (
            fields.channels_or("image_mean", channels, DEFAULT)?,
            fields.channels_or("image_std", channels, DEFAULT)?,
        ),
        false => (vec![0.0; channels], vec![1.0; channels]),
    };
    if let Some(bad) = std.iter().find(|v| **v <= 0.0) {
        return Err(fields
            .fault("image_std", "a deviation is not above 0")
            .found(bad)
            .expected("numbers above 0")
            .into());
    }
    let factor = match fields.flag_or("do_rescale", true)? {
        true => fields.positive_or("rescale_factor", 1.0, 1.0 / WHITE)?,
        false => 1.0,
    };
    // This program divides bytes by 255 first.
    let scale = match WHITE * factor {
        scale if (scale - 1.0).abs() < 1e-9 => 1.0,
        scale => scale,
    };
    let scaled = |values: Vec<f64>| values.into_iter().map(|v| v / scale).collect();
    Ok(Normalize { mean: scaled(mean), std: scaled(std) })
}

/// The file for a model with this normalisation.
pub fn export(model: &VitSpec, normalize: &Normalize) -> Result<(PathBuf, Vec<u8>)> {
    let side = model.image_size;
    let file = json!({
        "do_normalize": true,
        "do_rescale": true,
        "do_resize": true,
        "image_mean": normalize.mean,
        "image_processor_type": "ViTImageProcessor",
        "image_std": normalize.std,
        // Bilinear, transformers' default.
        "resample": 2,
        "rescale_factor": 1.0 / WHITE,
        "size": {"height": side, "width": side},
    });
    let text = serde_json::to_string_pretty(&file).map_err(|e| {
        Error::from(Fault::failed(format!("{PREPROCESSOR} cannot be written: {e}")))
    })?;
    Ok((PREPROCESSOR.into(), (text + "\n").into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Normalize> {
        parse(Path::new(PREPROCESSOR), text.as_bytes(), 3)
    }

    /// Compares (v · factor − mean) / std to the normalisation that was read.
    #[test]
    fn every_way_to_write_a_normalisation_gives_the_same_arithmetic() {
        for (text, factor, mean, std) in [
            ("{}", 1.0 / 255.0, [0.5; 3], [0.5; 3]),
            (
                r#"{"image_mean": 0.25, "image_std": [0.1, 0.2, 0.3]}"#,
                1.0 / 255.0,
                [0.25; 3],
                [0.1, 0.2, 0.3],
            ),
            (
                r#"{"do_normalize": false, "image_mean": [9, 9, 9]}"#,
                1.0 / 255.0,
                [0.0; 3],
                [1.0; 3],
            ),
            (
                r#"{"do_rescale": false, "image_mean": [120, 110, 100], "image_std": 60}"#,
                1.0,
                [120.0, 110.0, 100.0],
                [60.0; 3],
            ),
            (r#"{"rescale_factor": 0.00784313725490196}"#, 2.0 / 255.0, [0.5; 3], [0.5; 3]),
        ] {
            let got = read_text(text).unwrap();
            for (c, v) in [(0, 0.0), (1, 7.0), (2, 255.0)] {
                let want = (v * factor - mean[c]) / std[c];
                let ours = (v / 255.0 - got.mean[c]) / got.std[c];
                assert!((ours - want).abs() < 1e-9, "{text}: {ours} for {want}");
            }
        }
        let as_written =
            r#"{"image_mean": [0.1, 0.2, 0.3], "rescale_factor": 0.00392156862745098}"#;
        assert_eq!(read_text(as_written).unwrap().mean, [0.1, 0.2, 0.3]);
    }

    #[test]
    fn errors_name_the_field() {
        for (text, part) in [
            ("[]", "a list"),
            (r#"{"image_mean": [0.5]}"#, "image_mean: the field has another type or size"),
            (r#"{"image_mean": ["a", 1, 2]}"#, "3 numbers"),
            (r#"{"image_std": [0.5, 0, 0.5]}"#, "image_std: a deviation is not above 0"),
            (r#"{"rescale_factor": -1}"#, "rescale_factor"),
            (r#"{"do_normalize": "yes"}"#, "true or false"),
            (r#"{"do_flip_channel_order": true}"#, "do_flip_channel_order: the images'"),
            (r#"{"rescale_offset": true}"#, "rescale_offset"),
            (r#"{"image_gamma": 2.2}"#, "image_gamma: the images' preparation is not supported"),
        ] {
            let message = read_text(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
