//! `data` of tasks over images.

use super::check::Check;
use crate::spec::error::SpecError;
use crate::spec::schema::{
    Augment, Crop, Erasing, ImageDataSpec, Mix, RandAugment, Resize, VitSpec,
};

/// What is done to images of any size for a model that takes squares.
pub fn images(
    data: &ImageDataSpec,
    model: &VitSpec,
    batch_size: usize,
    check: &Check,
) -> Result<(), SpecError> {
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
    augment(&data.augment, model.image_size, batch_size, check)?;
    sizes(data, model.image_size, check)
}

/// Policies, erasing and mixing.
fn augment(
    augment: &Augment,
    side: usize,
    batch_size: usize,
    check: &Check,
) -> Result<(), SpecError> {
    let field = |name: &str| format!("data.augment.{name}");
    if augment.auto_augment.is_some() && augment.rand_augment.is_some() {
        return Err(SpecError::new("two policies of operations are given")
            .found("`auto_augment` and `rand_augment`")
            .expected("one of them, `null` for the other")
            .at(check.origin(&field("rand_augment"))));
    }
    let has_policy = augment.auto_augment.is_some() || augment.rand_augment.is_some();
    for (name, given) in [("policy_first", augment.policy_first), ("fill", augment.fill != 0)] {
        let expected = "the field only beside `auto_augment` or `rand_augment`";
        check.that(&field(name), has_policy || !given, expected)?;
    }
    check.between(&field("fill"), augment.fill, 0, 255)?;
    check.that(
        &field("policy_first"),
        !augment.policy_first || augment.random_resized_crop.is_none(),
        "false beside `random_resized_crop`, whose parts get the operations",
    )?;
    check.that(
        &field("policy_first"),
        !augment.policy_first || augment.crop_padding > 0 || augment.horizontal_flip,
        "false without `crop_padding` and `horizontal_flip`",
    )?;
    if let Some(RandAugment { operations, magnitude, bins }) = augment.rand_augment {
        check.between(&field("rand_augment.operations"), operations, 1, 100)?;
        check.between(&field("rand_augment.bins"), bins, 2, 1000)?;
        let last = bins - 1;
        check.between(&field("rand_augment.magnitude"), magnitude, 0, last)?;
    }
    // A share of 0 would be a field without effect.
    let is_share = |share: f64| share > 0.0 && share <= 1.0;
    let share = "a number above 0, at most 1";
    if let Some(Erasing { probability, scale, ratio }) = augment.erasing {
        check.that(&field("erasing.probability"), is_share(probability), share)?;
        let sound = |[least, most]: [f64; 2]| least > 0.0 && least <= most && most.is_finite();
        let shares = "two shares of the area, the least first: above 0, at most 1";
        check.that(&field("erasing.scale"), sound(scale) && scale[1] <= 1.0, shares)?;
        let ratios = "two ratios of height to width above 0, the least first";
        check.that(&field("erasing.ratio"), sound(ratio), ratios)?;
        // The rectangle nearest to a square, of the least and of the most area.
        let aspect = 1f64.clamp(ratio[0], ratio[1]);
        let sides = |share: f64| {
            let area = share * (side * side) as f64;
            [area * aspect, area / aspect].map(|v| v.sqrt().round_ties_even())
        };
        let fits = sides(scale[0]).into_iter().all(|length| length < side as f64);
        let erases = sides(scale[1]).into_iter().all(|length| length >= 1.0);
        let expected = format!("a share of which some rectangle is inside {side} × {side} pixels");
        check.that(&field("erasing.scale"), fits && erases, expected)?;
    }
    if let Some(Mix { mixup, cutmix, probability, switch_probability }) = augment.mix {
        for (name, alpha) in [("mix.mixup", mixup), ("mix.cutmix", cutmix)] {
            let good = (0.0..=1000.0).contains(&alpha);
            check.that(&field(name), good, "a number from 0 to 1000")?;
        }
        let mixes = mixup > 0.0 || cutmix > 0.0;
        check.that(&field("mix"), mixes, "an alpha above 0 for `mixup`, `cutmix` or both")?;
        check.that(&field("mix.probability"), is_share(probability), share)?;
        let both = mixup > 0.0 && cutmix > 0.0;
        let good = (0.0..=1.0).contains(&switch_probability)
            && (both || switch_probability == Mix::default().switch_probability);
        let expected = "a number from 0 to 1, only beside both alphas";
        check.that(&field("mix.switch_probability"), good, expected)?;
        check.that(
            "training.batch_size",
            batch_size > 1,
            "at least 2 for `data.augment.mix`, which mixes the images of a batch",
        )?;
    }
    Ok(())
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
