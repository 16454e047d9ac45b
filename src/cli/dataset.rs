//! What a dataset's rows hold, for `vlora data`: sizes of images, counts of classes, and the lines of
//! a spec that reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::clean;
use crate::data::{Colours, Column, Header, Kind, Layout, Table as Rows, Values, header};
use crate::report::count;

/// Lists of classes and sizes are cut at this length.
const MOST: usize = 20;

/// Of every split that is shown.
#[derive(Default)]
pub struct Contents {
    splits: Vec<Split>,
    /// The columns that a spec would name.
    image: Option<String>,
    label: Option<String>,
}

struct Split {
    name: String,
    /// Of the image column, how many of each.
    images: BTreeMap<Option<Header>, usize>,
    /// Of the label column, how many of each.
    labels: BTreeMap<Label, usize>,
    class_names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Number(i64),
    Name(String),
    None,
}

impl Contents {
    /// Adds a split's rows. The first split decides which columns hold images and labels.
    pub fn add(&mut self, name: &str, rows: &Rows) {
        if self.splits.is_empty() {
            let of = |kinds: &[Kind], usual: &str| likely(rows, kinds, usual);
            self.image = of(&[Kind::Image], "image");
            let classes = of(&[Kind::ClassLabel], "label");
            self.label = classes.or_else(|| of(&[Kind::Integer, Kind::Text], "label"));
        }
        let column = |name: &Option<String>| name.as_ref().and_then(|name| rows.column(name));
        let (image, label) = (column(&self.image), column(&self.label));
        self.splits.push(Split {
            name: name.to_string(),
            images: image.map(images).unwrap_or_default(),
            labels: label.map(labels).unwrap_or_default(),
            class_names: label.map(|label| label.class_names.clone()).unwrap_or_default(),
        });
    }

    /// The images' sizes and colours, a line a split and kind.
    pub fn images(&self) -> String {
        let Some(column) = &self.image else { return String::new() };
        let mut text = format!("\nimages in `{}`, as stored:\n", clean(column));
        for split in &self.splits {
            let mut kinds: Vec<_> = split.images.iter().collect();
            kinds.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
            for (header, n) in kinds.iter().take(MOST) {
                let what = match header {
                    Some(header) => header.to_string(),
                    None => "no PNG, JPEG or WebP image".to_string(),
                };
                let _ = writeln!(text, "  {}: {} of {what}", clean(&split.name), count(**n as u64));
            }
            if let Some(more) = kinds.len().checked_sub(MOST).filter(|more| *more > 0) {
                let rest = kinds[MOST..].iter().map(|(_, n)| **n as u64).sum();
                let _ = writeln!(
                    text,
                    "  {}: {} of {more} more sizes or colours",
                    clean(&split.name),
                    count(rest)
                );
            }
        }
        text
    }

    /// The classes with their counts, a column a split.
    pub fn classes(&self) -> String {
        let all = self.labels();
        let names = self.class_names();
        // A column of texts or numbers that hardly repeat is no column of labels.
        let rows: usize = self.splits.iter().flat_map(|split| split.labels.values()).sum();
        let Some(column) = self.label.as_ref().filter(|_| names.len() > 1 || all.len() * 2 <= rows)
        else {
            return String::new();
        };
        let shown: Vec<&Label> = all.iter().take(MOST).collect();
        let mut lines = vec![vec![format!("classes of `{}`", clean(column))]];
        lines[0].extend(self.splits.iter().map(|split| clean(&split.name)));
        for label in &shown {
            let mut line = vec![match label {
                Label::Number(n) => match usize::try_from(*n).ok().and_then(|n| names.get(n)) {
                    Some(name) => format!("{n} {}", clean(name)),
                    None => n.to_string(),
                },
                Label::Name(name) => clean(name),
                Label::None => "no label".to_string(),
            }];
            let of = |split: &Split| split.labels.get(label).copied().unwrap_or(0);
            line.extend(self.splits.iter().map(|split| count(of(split) as u64)));
            lines.push(line);
        }
        let mut text = format!("\n{}", aligned(&lines));
        if all.len() > shown.len() {
            let _ = writeln!(text, "… {} more", count((all.len() - shown.len()) as u64));
        }
        text
    }

    /// Every label of any split; every class that is named.
    fn labels(&self) -> BTreeSet<Label> {
        let named = (0..self.class_names().len()).map(|n| Label::Number(n as i64));
        let found = self.splits.iter().flat_map(|split| split.labels.keys().cloned());
        found.chain(named).collect()
    }

    fn class_names(&self) -> &[String] {
        self.splits.first().map_or(&[], |split| &split.class_names)
    }

    /// The lines of a spec that reads `dataset`, as the command line names it. Empty where there are
    /// no images with labels.
    pub fn spec(&self, dataset: &str, layout: &Layout, ignore: &[String]) -> String {
        let (Some(image), Some(label)) = (&self.image, &self.label) else { return String::new() };
        let mut text = String::from("\nto paste into a spec:\n\ndata:\n");
        let mut put = |field: &str, value: String| {
            let _ = writeln!(text, "  {field}: {value}");
        };
        match dataset.split_once(':') {
            Some((place @ ("hub" | "embedded"), name)) => put(place, scalar(name)),
            _ => put("path", scalar(dataset)),
        }
        if let Some(config) = &layout.config {
            put("config", scalar(config));
        }
        if !ignore.is_empty() {
            let patterns: Vec<String> = ignore.iter().map(|pattern| scalar(pattern)).collect();
            put("ignore", format!("[{}]", patterns.join(", ")));
        }
        for (field, column, usual) in
            [("image_column", image, "image"), ("label_column", label, "label")]
        {
            if column != usual {
                put(field, scalar(column));
            }
        }
        let has = |split: &str| layout.has(split);
        let first = layout.splits().next().unwrap_or("train");
        put("train", scalar(if has("train") { "train" } else { first }));
        let part = "{fraction: 0.1}".to_string();
        for split in ["validation", "test"] {
            put(split, if has(split) { split.to_string() } else { part.clone() });
        }
        let side = self.side();
        if side.is_none() {
            // Not all are squares of one size.
            put("resize", self.least_side().to_string());
            put("crop", "center".into());
        }
        let _ = writeln!(text, "model:");
        let mut put = |field: &str, value: String| {
            let _ = writeln!(text, "  {field}: {value}");
        };
        put("image_size", side.unwrap_or_else(|| self.least_side()).to_string());
        let grey = self.headers().all(|header| header.colours.is_grey());
        put("channels", if grey { "1" } else { "3" }.into());
        put("classes", self.class_count().to_string());
        text
    }

    /// The side of the images, where all are squares of one size.
    fn side(&self) -> Option<u32> {
        let mut headers = self.headers();
        let first = headers.next()?;
        let same = |h: &Header| (h.width, h.height) == (first.width, first.width);
        (same(first) && headers.all(same)).then_some(first.width)
    }

    /// A size that makes no image larger, or the one that published models take.
    fn least_side(&self) -> u32 {
        self.headers().map(|h| h.width.min(h.height)).min().unwrap_or(224).min(224)
    }

    fn class_count(&self) -> usize {
        let named = self.class_names().len();
        let labels = self.labels();
        let number = |label: &Label| match label {
            Label::Number(n) => usize::try_from(*n).map_or(0, |n| n.saturating_add(1)),
            _ => 0,
        };
        let names = labels.iter().filter(|label| matches!(label, Label::Name(_))).count();
        labels.iter().map(number).max().unwrap_or(0).max(named).max(names)
    }

    fn headers(&self) -> impl Iterator<Item = &Header> {
        self.splits.iter().flat_map(|split| split.images.keys().flatten())
    }
}

/// The column of one of the kinds that is called as usual, else the first of them.
fn likely(rows: &Rows, kinds: &[Kind], usual: &str) -> Option<String> {
    let of_kind = |column: &&Column| kinds.contains(&column.kind());
    let found = rows.columns.iter().filter(of_kind);
    let usual = found.clone().find(|column| column.name == usual);
    usual.or_else(|| found.clone().next()).map(|column| column.name.clone())
}

fn images(column: &Column) -> BTreeMap<Option<Header>, usize> {
    let mut all = BTreeMap::new();
    match &column.values {
        Values::Images(images) => {
            for row in 0..images.len() {
                *all.entry(images.get(row).and_then(header)).or_default() += 1;
            }
        }
        Values::Pixels { height, width, bytes } => {
            let header = Header {
                width: *width as u32,
                height: *height as u32,
                colours: Colours::Grey,
                format: "IDX",
            };
            all.insert(Some(header), bytes.len() / (height * width).max(1));
        }
        _ => {}
    }
    all
}

fn labels(column: &Column) -> BTreeMap<Label, usize> {
    let mut all = BTreeMap::new();
    let mut add = |label| *all.entry(label).or_default() += 1;
    match &column.values {
        Values::Integers(values) => {
            values.iter().for_each(|value| add(value.map_or(Label::None, Label::Number)));
        }
        Values::Text(texts) => {
            texts.iter().for_each(|text| add(text.clone().map_or(Label::None, Label::Name)));
        }
        _ => {}
    }
    all
}

/// Lines of cells, the first to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        lines.iter().filter_map(|line| Some(line.get(column)?.chars().count())).max().unwrap_or(0)
    };
    let mut text = String::new();
    for line in lines {
        let cell = |(i, cell): (usize, &String)| match i {
            0 => format!("{cell:<0$}", width(0)),
            i => format!("{cell:>0$}", width(i)),
        };
        let cells: Vec<String> = line.iter().enumerate().map(cell).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// A text as YAML takes it for the same text.
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
}
