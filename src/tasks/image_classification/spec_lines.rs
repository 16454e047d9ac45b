//! The lines of a spec that reads a dataset of images.

use crate::data::contents::Contents;
use crate::data::{Colours, Header};
use crate::tasks::spec_lines::{Dataset, Roles, Section, class_count, shown};

/// The side of images that published models take.
const USUAL_SIDE: u32 = 224;

/// The lines, or a sentence that says why there are none; None for a dataset without images.
pub fn spec_lines(dataset: &Dataset) -> Option<Result<String, String>> {
    let image = dataset.contents.image_column()?;
    Some(
        Roles::of(dataset.contents, &dataset.splits)
            .and_then(|roles| lines(dataset, &roles, image)),
    )
}

fn lines(dataset: &Dataset, roles: &Roles, image: &str) -> Result<String, String> {
    let label = dataset.label_column()?;
    check(dataset, roles, image)?;
    let classes = class_count(dataset, roles, label)?;
    let columns = [("image_column", image, "image"), ("label_column", label, "label")];
    let mut data = dataset.section(&columns, roles);
    let headers = headers(dataset.contents, roles, image);
    let side = side(&headers);
    if side.is_none() {
        // Not all are squares of one size.
        data.put("resize", middle_side(&headers));
        data.put("crop", "center");
    }
    let mut model = Section::new("model");
    model.put("architecture", "vit");
    model.put("image_size", side.unwrap_or_else(|| middle_side(&headers)));
    let grey = headers.iter().all(|(header, _)| header.colours.is_grey());
    model.put("channels", if grey { 1 } else { 3 });
    model.put("classes", classes);
    Ok(data.text() + &model.text())
}

fn check(dataset: &Dataset, roles: &Roles, image: &str) -> Result<(), String> {
    for split in roles.splits(dataset.contents) {
        let (name, column) = (shown(&split.name), shown(image));
        let Some(images) = split.images(image) else {
            return Err(format!("the split {name} has no images in `{column}`"));
        };
        let deep = |header: &&Header| header.colours == Colours::DeepGrey;
        if images.contains_key(&None) {
            return Err(format!(
                "the split {name} has rows in `{column}` that hold no PNG, JPEG or WebP image"
            ));
        }
        if images.keys().flatten().any(|header| deep(&header)) {
            return Err(format!(
                "the split {name} has grey images of 16 bits, which are not read: divide their \
                 values by 256 and store 8 bits"
            ));
        }
    }
    Ok(())
}

/// Sizes and colours with the number of images that have them.
fn headers<'a>(contents: &'a Contents, roles: &Roles, image: &str) -> Vec<(&'a Header, usize)> {
    let images = roles.splits(contents).filter_map(|split| split.images(image)).flatten();
    images.filter_map(|(header, n)| Some((header.as_ref()?, *n))).collect()
}

/// The side of the images, where all are squares of one size.
fn side(headers: &[(&Header, usize)]) -> Option<u32> {
    let mut headers = headers.iter().map(|(header, _)| *header);
    let first = headers.next()?;
    let same = |h: &Header| (h.width, h.height) == (first.width, first.width);
    (same(first) && headers.all(same)).then_some(first.width)
}

/// The median side of the images, at most the usual one of published models. Like any median,
/// it ignores a few tiny images.
fn middle_side(headers: &[(&Header, usize)]) -> u32 {
    let mut sides: Vec<(u32, usize)> =
        headers.iter().map(|(h, n)| (h.width.min(h.height), *n)).collect();
    sides.sort_unstable();
    let all: usize = sides.iter().map(|(_, n)| n).sum();
    let mut seen = 0;
    let middle = sides.iter().find(|(_, n)| {
        seen += n;
        2 * seen >= all
    });
    middle.map_or(USUAL_SIDE, |(side, _)| *side).clamp(1, USUAL_SIDE)
}
