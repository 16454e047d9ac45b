//! Notes on images, for tables and evaluations.

use super::data::section;
use super::start::{Adjusted, PixelSource};
use crate::results::{Provenance, Resampled, Setting, TaskFields};
use crate::size::percent;
use crate::spec::{
    Augment, AutoAugment, Crop, Erasing, ImageDataSpec, Interpolation, Mix, Normalize, Pool,
    PositionEmbedding, RandAugment, Resize, RunSpec, VitSpec, VitVariant,
};
use crate::tasks::classification::classes_note;

/// Describes the model, the normalisation of pixels, and the augmentation.
pub fn setting(spec: &RunSpec, provenance: Option<&Provenance>) -> Setting {
    let pixels = provenance.and_then(|p| PixelSource::of(&p.task));
    let normal = match (pixels, &section(spec).normalize) {
        (Some(PixelSource::Start), Some(Normalize { mean, std })) => format!(
            "the figures of the weights it starts from (mean {}, deviation {})",
            figures(mean),
            figures(std)
        ),
        (_, Some(_)) => "the spec's figures".into(),
        (_, None) => "the training split's mean and standard deviation".into(),
    };
    Setting {
        model: spec.model.as_vit().map(model).unwrap_or_default(),
        inputs: format!("pixels normalised by {normal}"),
        augmentation: Some(augmentation(section(spec))),
    }
}

fn model(m: &VitSpec) -> String {
    let pool = match m.pool {
        Pool::ClassToken => "class token",
        Pool::Mean => "mean over patches",
    };
    let variant = match m.variant {
        VitVariant::Timm => "",
        VitVariant::CompactTransformers => " with Compact Transformers' layers",
    };
    let shares = [
        ("dropout", m.dropout),
        ("attention's dropout", m.attention_dropout),
        ("stochastic depth", m.stochastic_depth),
    ];
    let dropped = shares.into_iter().filter(|(_, share)| *share > 0.0);
    let dropped: String = dropped.map(|(what, share)| format!(", {what} {share}")).collect();
    format!(
        "ViT{variant} of width {}, depth {}, {} heads, MLP ratio {}, patch {} at {} × {}, {pool}{dropped}",
        m.dim, m.depth, m.heads, m.mlp_ratio, m.patch_size, m.image_size, m.image_size
    )
}

/// Describes resizing, cropping and augmentation.
fn augmentation(data: &ImageDataSpec) -> String {
    let mut all = Vec::new();
    let by = match data.interpolation {
        Interpolation::Bilinear => "bilinear",
        Interpolation::Bicubic => "bicubic",
    };
    match data.resize {
        None => {}
        Some(Resize::Exact) => all.push(format!("images resized to the square ({by})")),
        Some(Resize::ShorterSide(n)) => {
            all.push(format!("images resized to a shorter side of {n} ({by})"));
        }
    }
    if data.crop == Crop::Center {
        all.push("the middle square of images".into());
    }
    let before = all.len();
    if let Some(crop) = &data.augment.random_resized_crop {
        let ([least, most], [narrow, wide]) = (crop.scale, crop.ratio);
        all.push(format!(
            "training on random parts of whole images, of {} to {} of the area and ratios {narrow:.3} \
             to {wide:.3}, resized ({by})",
            percent(least),
            percent(most)
        ));
    }
    match data.augment.crop_padding {
        0 => {}
        padding => all.push(format!("random crops with padding {padding}")),
    }
    if data.augment.horizontal_flip {
        all.push("horizontal flips".into());
    }
    all.extend(policies_erasing_mix(&data.augment));
    if all.len() == before {
        all.push("no augmentation".into());
    }
    match &mut all[..] {
        [first, second] => format!("{first} and {second}"),
        _ => all.join(", "),
    }
}

/// Describes policies, erasing and mixing.
fn policies_erasing_mix(augment: &Augment) -> Vec<String> {
    let order = if augment.policy_first { " before crop and flip" } else { "" };
    let fill = match augment.fill {
        0 => String::new(),
        fill => format!(" (pixels from outside {fill})"),
    };
    let auto = augment
        .auto_augment
        .map(|AutoAugment::Cifar10| format!("AutoAugment's CIFAR-10 policy{order}{fill}"));
    let rand = augment.rand_augment.map(|RandAugment { operations, magnitude, bins }| {
        format!(
            "RandAugment of {operations} operations, magnitude {magnitude} of {bins}{order}{fill}"
        )
    });
    let erasing = augment.erasing.map(|Erasing { probability, scale, ratio }| {
        format!(
            "erasing of {} to {} of the area of {} of the images, ratios {} to {}",
            percent(scale[0]),
            percent(scale[1]),
            percent(probability),
            ratio[0],
            ratio[1]
        )
    });
    let mix = augment.mix.map(|Mix { mixup, cutmix, probability, switch_probability }| {
        let batches = format!("of {} of the batches", percent(probability));
        match (mixup > 0.0, cutmix > 0.0) {
            (true, true) => format!(
                "mixup (α {mixup}) or, {} of the time, cutmix (α {cutmix}) {batches}",
                percent(switch_probability)
            ),
            (true, false) => format!("mixup (α {mixup}) {batches}"),
            _ => format!("cutmix (α {cutmix}) {batches}"),
        }
    });
    auto.into_iter().chain(rand).chain(erasing).chain(mix).collect()
}

/// Notes on the changes to the weights that a run starts from.
pub fn start_notes(fields: &TaskFields, is_arm: bool) -> Vec<String> {
    let Adjusted { classes, positions } = Adjusted::of(fields);
    let classes = classes.and_then(|classes| classes_note(&classes, is_arm));
    classes.map(String::from).into_iter().chain(positions.map(positions_note)).collect()
}

fn positions_note(Resampled { method, from, to }: Resampled) -> String {
    let how = match method {
        PositionEmbedding::HuggingFace => "Hugging Face's ViT does, bicubic without antialiasing",
        _ => "timm does, bicubic with antialiasing",
    };
    format!(
        "its position embeddings resampled from {from} × {from} to {to} × {to} patches as {how}"
    )
}

/// Notes on the changes to a checkpoint's head, positions and images before its evaluation.
pub fn evaluation_notes(normalize: &Normalize, fields: &TaskFields) -> Vec<String> {
    let from = match PixelSource::of(fields) {
        Some(PixelSource::Spec) => "the spec's figures",
        Some(PixelSource::Start) => "the checkpoint's own figures",
        Some(PixelSource::Measured) | None => "the training split's mean and standard deviation",
    };
    let (mean, std) = (figures(&normalize.mean), figures(&normalize.std));
    let pixels = format!("pixels normalised by {from} (mean {mean}, deviation {std})");
    [pixels].into_iter().chain(start_notes(fields, false)).collect()
}

fn figures(values: &[f64]) -> String {
    values.iter().map(|v| format!("{v:.3}")).collect::<Vec<_>>().join(" ")
}
