//! The lines of a spec that reads a dataset, for `vlora data`, or what the dataset lacks for one.

use std::fmt::Write;

use super::clean;
use super::dataset::{Contents, Label, Labels, Split};
use crate::data::{Colours, Header, Layout, class_difference, role};

/// The side of images that published models take.
const USUAL_SIDE: u32 = 224;
/// Larger labels are not class numbers.
const MOST_CLASSES: i64 = 1_000_000;

/// The lines with a heading, or a sentence that says why there are none. Empty for a dataset without
/// images. `dataset` is as the command line names it.
pub fn spec_lines(
    contents: &Contents,
    dataset: &str,
    layout: &Layout,
    ignore: &[String],
) -> String {
    let Some(image) = contents.image_column() else { return String::new() };
    let names: Vec<&str> = layout.splits().collect();
    let lines = Roles::of(contents, &names).and_then(|roles| {
        let lines = Lines { contents, layout, image, roles };
        lines.write(dataset, ignore)
    });
    match lines {
        Ok(lines) => format!("\nto paste into a spec:\n\n{lines}"),
        Err(reason) => format!("\nno lines for a spec: {reason}\n"),
    }
}

/// The splits for training, validation and test.
struct Roles<'a> {
    train: &'a str,
    /// None: a part of the training split.
    validation: Option<&'a str>,
    test: Option<&'a str>,
    /// The fraction of the training split that each part takes.
    fraction: f64,
}

impl<'a> Roles<'a> {
    fn of(contents: &Contents, names: &[&'a str]) -> Result<Roles<'a>, String> {
        let of = |want: &str| {
            let same = names.iter().find(|name| **name == want);
            same.or_else(|| names.iter().find(|name| role(name) == Some(want))).copied()
        };
        // One split alone serves for everything, whatever it is called.
        let only = if let [only] = names { Some(*only) } else { None };
        let other = || names.iter().find(|name| role(name).is_none()).copied();
        let Some(train) = of("train").or(only).or_else(other) else {
            return Err(format!(
                "there is no split to train on, only {}. `data.train` may name one of them",
                clean(&names.join(", "))
            ));
        };
        let apart = |want| of(want).filter(|name| *name != train);
        let (validation, test) = (apart("validation"), apart("test"));
        let parts = usize::from(validation.is_none()) + usize::from(test.is_none());
        let fraction = match contents.split(train) {
            Some(split) => fraction(split.rows, parts).ok_or_else(|| {
                format!(
                    "the split {} has {} examples, too few to take validation or test examples \
                     from it",
                    clean(train),
                    split.rows
                )
            })?,
            None => 0.1,
        };
        Ok(Roles { train, validation, test, fraction })
    }

    fn names(&self) -> impl Iterator<Item = &'a str> {
        [Some(self.train), self.validation, self.test].into_iter().flatten()
    }
}

/// A share that gives each of `parts` parts of `rows` examples at least one and leaves some to train
/// on: a tenth, where that is possible.
fn fraction(rows: usize, parts: usize) -> Option<f64> {
    let fits = |fraction: &f64| {
        // As data/parts.rs rounds.
        let taken = (fraction * rows as f64 + 1e-9).floor() as usize;
        parts == 0 || (taken > 0 && taken * parts < rows && fraction * (parts as f64) < 1.0)
    };
    [0.1, 0.2, 0.25, 0.34, 0.5].into_iter().find(fits)
}

struct Lines<'a> {
    contents: &'a Contents,
    layout: &'a Layout,
    image: &'a str,
    roles: Roles<'a>,
}

impl Lines<'_> {
    fn write(&self, dataset: &str, ignore: &[String]) -> Result<String, String> {
        let label = self.contents.label_column().ok_or(
            "no column holds labels: whole numbers or names that repeat. `data.label_column` names \
             one",
        )?;
        self.check_images()?;
        let classes = self.classes(label)?;
        let mut text = String::from("data:\n");
        let mut put = |field: &str, value: String| {
            let _ = writeln!(text, "  {field}: {value}");
        };
        match dataset.split_once(':') {
            Some((place @ ("hub" | "embedded"), name)) => put(place, scalar(name)),
            _ => put("path", scalar(dataset)),
        }
        if let Some(config) = &self.layout.config {
            put("config", scalar(config));
        }
        if !ignore.is_empty() {
            let patterns: Vec<String> = ignore.iter().map(|pattern| scalar(pattern)).collect();
            put("ignore", format!("[{}]", patterns.join(", ")));
        }
        for (field, column, usual) in
            [("image_column", self.image, "image"), ("label_column", label, "label")]
        {
            if column != usual {
                put(field, scalar(column));
            }
        }
        put("train", scalar(self.roles.train));
        for (field, split) in [("validation", self.roles.validation), ("test", self.roles.test)] {
            let part = || format!("{{fraction: {}}}", self.roles.fraction);
            put(field, split.map_or_else(part, scalar));
        }
        let side = self.side();
        if side.is_none() {
            // Not all are squares of one size.
            put("resize", self.middle_side().to_string());
            put("crop", "center".into());
        }
        let _ = writeln!(text, "model:");
        let mut put = |field: &str, value: String| {
            let _ = writeln!(text, "  {field}: {value}");
        };
        put("image_size", side.unwrap_or_else(|| self.middle_side()).to_string());
        let grey = self.headers().all(|(header, _)| header.colours.is_grey());
        put("channels", if grey { "1" } else { "3" }.into());
        put("classes", classes.to_string());
        Ok(text)
    }

    /// The splits that are read, as far as they are shown.
    fn splits(&self) -> impl Iterator<Item = &Split> {
        self.roles.names().filter_map(|name| self.contents.split(name))
    }

    fn check_images(&self) -> Result<(), String> {
        for split in self.splits() {
            let (name, column) = (clean(&split.name), clean(self.image));
            let Some(images) = split.images(self.image) else {
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

    /// The number of classes. Errors where labels are missing or mean different things.
    fn classes(&self, column: &str) -> Result<usize, String> {
        let shown = clean(column);
        let mut all: Vec<(String, &Labels)> = Vec::new();
        for split in self.splits() {
            let name = clean(&split.name);
            let Some(labels) = split.labels(column) else {
                return Err(format!("the split {name} has no labels in `{shown}`"));
            };
            if let Some(n) = labels.counts.get(&Label::None) {
                let n = match n {
                    1 => "1 row".to_string(),
                    n => format!("{n} rows"),
                };
                return Err(format!("the split {name} has {n} without a label in `{shown}`"));
            }
            if labels.mixed {
                return Err(format!(
                    "the labels in `{shown}` are numbers in one file of the split {name}, text in \
                     another"
                ));
            }
            all.push((name, labels));
        }
        let classes = match &all[..] {
            [] => 0,
            [(train, first), others @ ..] => {
                let names = first.known_names();
                let by_text = first.class_names.is_empty();
                for (name, labels) in others {
                    labels.agree(names.as_deref(), by_text, train, name)?;
                }
                match names {
                    Some(names) => {
                        first.agree(Some(&names), false, train, train)?;
                        names.len()
                    }
                    None => all.iter().map(|(_, labels)| labels.numbers()).max().unwrap_or(0),
                }
            }
        };
        let numbers = all.iter().flat_map(|(_, labels)| labels.counts.keys());
        let out = numbers
            .filter_map(|label| if let Label::Number(n) = label { Some(*n) } else { None })
            .find(|n| !(0..MOST_CLASSES).contains(n));
        match (out, classes) {
            (Some(n), _) => Err(format!("`{shown}` holds {n}, which is no number of a class")),
            (None, 0 | 1) => Err(format!("`{shown}` tells no two classes apart")),
            (None, classes) => Ok(classes),
        }
    }

    /// Sizes and colours with the number of images that have them.
    fn headers(&self) -> impl Iterator<Item = (&Header, usize)> {
        let images = self.splits().filter_map(|split| split.images(self.image)).flatten();
        images.filter_map(|(header, n)| Some((header.as_ref()?, *n)))
    }

    /// The side of the images, where all are squares of one size.
    fn side(&self) -> Option<u32> {
        let mut headers = self.headers().map(|(header, _)| header);
        let first = headers.next()?;
        let same = |h: &Header| (h.width, h.height) == (first.width, first.width);
        (same(first) && headers.all(same)).then_some(first.width)
    }

    /// The median side of the images, at most the usual one of published models. Like any median,
    /// it ignores a few tiny images.
    fn middle_side(&self) -> u32 {
        let mut sides: Vec<(u32, usize)> =
            self.headers().map(|(h, n)| (h.width.min(h.height), n)).collect();
        sides.sort_unstable();
        let all: usize = sides.iter().map(|(_, n)| n).sum();
        let mut seen = 0;
        let middle = sides.iter().find(|(_, n)| {
            seen += n;
            2 * seen >= all
        });
        middle.map_or(USUAL_SIDE, |(side, _)| *side).clamp(1, USUAL_SIDE)
    }
}

impl Labels {
    /// The names of the classes, as a run that trains on these labels knows them: those of the
    /// dataset, else the texts in order. None for numbers that nothing names.
    fn known_names(&self) -> Option<Vec<String>> {
        if !self.class_names.is_empty() {
            return Some(self.class_names.clone());
        }
        let text = |label: &Label| match label {
            Label::Name(name) => Some(name.clone()),
            _ => None,
        };
        let names: Vec<String> = self.counts.keys().filter_map(text).collect();
        (!names.is_empty()).then_some(names)
    }

    /// One more than the largest number.
    fn numbers(&self) -> usize {
        let number = |label: &Label| match label {
            Label::Number(n) => usize::try_from(*n).map_or(0, |n| n.saturating_add(1)),
            _ => 0,
        };
        self.counts.keys().map(number).max().unwrap_or(0).max(self.class_names.len())
    }

    /// Errors where the labels of the split `name` are not among the classes `names` of the split
    /// `train`, which are its labels themselves where they are given `by_text`.
    fn agree(
        &self,
        names: Option<&[String]>,
        by_text: bool,
        train: &str,
        name: &str,
    ) -> Result<(), String> {
        let text = |label: &Label| matches!(label, Label::Name(_));
        let Some(names) = names else {
            return match self.counts.keys().any(text) {
                true => Err(format!(
                    "labels are numbers in the split {train} and text in the split {name}"
                )),
                false => Ok(()),
            };
        };
        if !self.class_names.is_empty()
            && let Some(difference) = class_difference(&self.class_names, names)
        {
            let lines = difference.found_and_expected().into_iter();
            let lines: Vec<String> = lines.map(|line| format!("\n  {}", clean(&line))).collect();
            return Err(format!(
                "the classes of the split {name} are named otherwise than those of {train}{}",
                lines.concat()
            ));
        }
        if by_text && !self.counts.keys().all(text) {
            return Err(format!(
                "labels are text in the split {train} and numbers in the split {name}"
            ));
        }
        let unknown = self.counts.keys().find_map(|label| match label {
            Label::Name(text) if !names.contains(text) => {
                Some(format!("the class {}", clean(text)))
            }
            Label::Number(n) if !usize::try_from(*n).is_ok_and(|n| n < names.len()) => {
                Some(format!("the label {n}, which has no name"))
            }
            _ => None,
        });
        match unknown {
            Some(what) => Err(format!(
                "the split {name} has {what}; the split {train} has {} classes, 0 to {}",
                names.len(),
                names.len().saturating_sub(1)
            )),
            None => Ok(()),
        }
    }
}

/// Writes a text as a YAML scalar that is read as the same text.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./@".contains(c);
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '.')
        && text.chars().all(plain);
    let special = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];
    let lower = text.to_ascii_lowercase();
    match word && !special.contains(&lower.trim_start_matches('.')) && !is_number(text) {
        true => text.to_string(),
        // A JSON string is one of YAML, too.
        false => serde_json::Value::from(text).to_string(),
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::yaml_to_json;

    #[test]
    fn scalars_stay_texts_in_yaml() {
        for text in
            ["cifar10", "a b", "2019", "no", "1e3", ".5", ".inf", "a: b", "\"x\"", "#a", "~", ""]
        {
            let yaml = format!("a: {}\n", scalar(text));
            assert_eq!(yaml_to_json(&yaml).unwrap()["a"], *text, "{yaml}");
        }
        assert_eq!(scalar("data/my-set_1.x"), "data/my-set_1.x");
    }

    #[test]
    fn parts_take_at_least_one_example_and_leave_one() {
        for parts in 1..=2 {
            for rows in 0..200 {
                match fraction(rows, parts) {
                    Some(fraction) => {
                        let taken = (fraction * rows as f64 + 1e-9) as usize;
                        assert!(taken >= 1 && rows > parts * taken, "{rows} {parts}");
                    }
                    None => assert!(rows <= parts, "{rows} {parts}"),
                }
            }
        }
        assert_eq!(
            (fraction(10, 2), fraction(3, 2), fraction(2, 1)),
            (Some(0.1), Some(0.34), Some(0.5))
        );
    }
}
