//! What a dataset's rows hold, for `vlora data`: sizes of images and counts of classes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::clean;
use crate::data::{Colours, Column, Header, Kind, Table as Rows, Values, header, role};
use crate::report::count;

/// Lists of classes and sizes are cut at this length.
const MOST: usize = 20;
/// In a table of so few rows, labels need not repeat.
const FEW_ROWS: usize = 20;

/// The contents of every split that is shown.
#[derive(Default)]
pub struct Contents {
    splits: Vec<Split>,
}

/// What a split's columns hold.
pub struct Split {
    pub name: String,
    pub rows: usize,
    columns: Vec<(String, Content)>,
}

enum Content {
    /// The number of encoded images of each kind; None for unknown formats.
    Images(BTreeMap<Option<Header>, usize>),
    Labels(Labels),
}

/// A column that may hold labels.
pub struct Labels {
    /// The number of rows with each label.
    pub counts: BTreeMap<Label, usize>,
    /// Empty where nothing names the classes.
    pub class_names: Vec<String>,
    /// One file holds whole numbers, another one text.
    pub mixed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    Number(i64),
    Name(String),
    None,
}

impl Split {
    pub fn images(&self, column: &str) -> Option<&BTreeMap<Option<Header>, usize>> {
        self.columns.iter().find_map(|(name, content)| match content {
            Content::Images(images) if name == column => Some(images),
            _ => None,
        })
    }

    pub fn labels(&self, column: &str) -> Option<&Labels> {
        let mut labels = self.of_labels();
        labels.find(|(name, _)| *name == column).map(|(_, labels)| labels)
    }

    fn of_labels(&self) -> impl Iterator<Item = (&str, &Labels)> {
        self.columns.iter().filter_map(|(name, content)| match content {
            Content::Labels(labels) => Some((&name[..], labels)),
            Content::Images(_) => None,
        })
    }

    /// The column of images called `image`, else the first one.
    fn image_column(&self) -> Option<&str> {
        let images = |(_, content): &&(String, Content)| matches!(content, Content::Images(_));
        let names = || self.columns.iter().filter(images).map(|(name, _)| &name[..]);
        names().find(|name| *name == "image").or_else(|| names().next())
    }

    /// The column of labels: one whose classes are named, else one called `label`, else the first
    /// whose values are like labels.
    fn label_column(&self) -> Option<&str> {
        let first = |want: &dyn Fn(&str, &Labels) -> bool| {
            self.of_labels().find(|(name, labels)| want(name, labels)).map(|(name, _)| name)
        };
        first(&|name, labels| !labels.class_names.is_empty() && name == "label")
            .or_else(|| first(&|_, labels| !labels.class_names.is_empty()))
            .or_else(|| first(&|name, _| name == "label"))
            .or_else(|| first(&|_, labels| labels.are_likely()))
    }
}

impl Labels {
    /// Whether the values repeat as labels do, and are no sentences.
    fn are_likely(&self) -> bool {
        let rows: usize = self.counts.values().sum();
        let sentence =
            |label: &&Label| matches!(label, Label::Name(text) if text.trim().contains(' '));
        let sentences = self.counts.keys().filter(sentence).count();
        let captions = self.counts.len() == rows && 2 * sentences > rows;
        (2 * self.counts.len() <= rows || rows <= FEW_ROWS) && !captions
    }
}

impl Contents {
    pub fn add(&mut self, name: &str, rows: &Rows) {
        let columns = rows.columns.iter().filter_map(|column| {
            let content = match column.kind() {
                Kind::Image => Content::Images(images(column)),
                Kind::ClassLabel | Kind::Integer | Kind::Text => Content::Labels(labels(column)),
                _ => return None,
            };
            Some((column.name.clone(), content))
        });
        let columns = columns.collect();
        self.splits.push(Split { name: name.to_string(), rows: rows.rows, columns });
    }

    pub fn split(&self, name: &str) -> Option<&Split> {
        self.splits.iter().find(|split| split.name == name)
    }

    /// The split that a model is trained on, else the first that is shown.
    fn train(&self) -> Option<&Split> {
        let train = self.splits.iter().find(|split| role(&split.name) == Some("train"));
        train.or_else(|| self.splits.first())
    }

    pub fn image_column(&self) -> Option<&str> {
        self.train()?.image_column()
    }

    pub fn label_column(&self) -> Option<&str> {
        self.train()?.label_column()
    }

    /// The images' sizes and colours, a line a split and kind.
    pub fn images(&self) -> String {
        let Some(column) = self.image_column() else { return String::new() };
        let mut text = format!("\nimages in `{}`, as stored:\n", clean(column));
        for split in &self.splits {
            let mut kinds: Vec<_> = split.images(column).into_iter().flatten().collect();
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
        let Some(column) = self.label_column() else { return String::new() };
        let names = self.class_names(column);
        let all = self.labels(column, names.len());
        // A column of texts or numbers that hardly repeat is no column of labels.
        let counts = |split: &Split| split.labels(column).map_or(0, |l| l.counts.values().sum());
        let rows: usize = self.splits.iter().map(counts).sum();
        if names.len() < 2 && all.len() * 2 > rows {
            return String::new();
        }
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
            let of = |split: &Split| {
                let labels = split.labels(column);
                labels.and_then(|labels| labels.counts.get(label)).copied().unwrap_or(0)
            };
            line.extend(self.splits.iter().map(|split| count(of(split) as u64)));
            lines.push(line);
        }
        let mut text = format!("\n{}", aligned(&lines));
        if all.len() > shown.len() {
            let _ = writeln!(text, "… {} more", count((all.len() - shown.len()) as u64));
        }
        text
    }

    /// Every label of any split, and every class that is named.
    fn labels(&self, column: &str, named: usize) -> BTreeSet<Label> {
        let named = (0..named).map(|n| Label::Number(n as i64));
        let splits = self.splits.iter().filter_map(|split| split.labels(column));
        splits.flat_map(|labels| labels.counts.keys().cloned()).chain(named).collect()
    }

    fn class_names(&self, column: &str) -> &[String] {
        let labels = self.train().and_then(|split| split.labels(column));
        labels.map_or(&[], |labels| &labels.class_names)
    }
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

fn labels(column: &Column) -> Labels {
    let mut counts = BTreeMap::new();
    let mut add = |label| *counts.entry(label).or_default() += 1;
    match &column.values {
        Values::Integers(values) => {
            values.iter().for_each(|value| add(value.map_or(Label::None, Label::Number)));
        }
        Values::Text(texts) => {
            texts.iter().for_each(|text| add(text.clone().map_or(Label::None, Label::Name)));
        }
        _ => {}
    }
    Labels { counts, class_names: column.class_names.clone(), mixed: column.mixed }
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
