//! `data` of tasks over images.

use super::check::Check;
use crate::spec::error::SpecError;
use crate::spec::schema::{Crop, ImageDataSpec, Resize, VitSpec};

/// What is done to images of any size for a model that takes squares.
pub fn images(data: &ImageDataSpec, model: &VitSpec, check: &Check) -> Result<(), SpecError> {
    if let Some(normalize) = &data.normalize {
        let channels = model.channels;
        for (field, values, low) in [
            ("data.normalize.mean", &normalize.mean, None),
            ("data.normalize.std", &normalize.std, Some(0.0)),
        ] {
            let good = values.len() == channels
                && values.iter().all(|v| v.is_finite() && low.is_none_or(|low| *v > low));
            let above = if low.is_some() { " above 0" } else { "" };
            let expected = format!("a list of {channels}, a number{above} for each channel");
            check.that(field, good, expected)?;
            // No mean or deviation of values in [0, 1] is above 1; those of ImageNet's pixels in
            // [0, 255], for one, are above 50.
            if let Some(above) = values.iter().find(|value| **value > 1.0) {
                return Err(SpecError::new("the value is not on the scale of the pixels")
                    .found(above.to_string())
                    .expected("at most 1: pixels are in [0, 1]")
                    .help("divide figures of pixels in [0, 255] by 255")
                    .at(check.origin(field)));
            }
        }
    }
    check.that(
        "data.augment.crop_padding",
        data.augment.crop_padding < model.image_size,
        format!("less than model.image_size, {}", model.image_size),
    )?;
    sizes(data, model.image_size, check)
}

/// How images of other sizes become squares of `side` pixels.
fn sizes(data: &ImageDataSpec, side: usize, check: &Check) -> Result<(), SpecError> {
    if let Some(Resize::ShorterSide(short)) = data.resize {
        match data.crop {
            Crop::Center => check.between("data.resize", short, side, 16_384)?,
            Crop::None => check.that(
                "data.resize",
                short == side,
                format!(
                    "`exact`, model.image_size ({side}), or a larger number with `crop: center`"
                ),
            )?,
        }
    }
    let Some(crop) = &data.augment.random_resized_crop else { return Ok(()) };
    let field = "data.augment.random_resized_crop";
    let sound = |[least, most]: [f64; 2]| least > 0.0 && least <= most && most.is_finite();
    check.that(
        &format!("{field}.scale"),
        sound(crop.scale) && crop.scale[1] <= 1.0,
        "two shares of the area, the least first: above 0, at most 1",
    )?;
    check.that(
        &format!("{field}.ratio"),
        sound(crop.ratio),
        "two ratios of width to height, the least first: above 0",
    )?;
    check.that(
        "data.augment.crop_padding",
        data.augment.crop_padding == 0,
        "0 beside `random_resized_crop`, which crops already",
    )
}
