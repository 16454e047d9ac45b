//! How `vlora data` shows the contents of a dataset.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::clean;
use crate::data::contents::{Contents, Label, Split};
use crate::report::count;

/// Lists of classes and sizes are cut at this length.
const MAX_LINES: usize = 20;

/// The images' sizes and colours, a line a split and kind.
pub fn images(contents: &Contents) -> String {
    let Some(column) = contents.image_column() else { return String::new() };
    let mut text = format!("\nimages in `{}`, as stored:\n", clean(column));
    for split in &contents.splits {
        let mut kinds: Vec<_> = split.images(column).into_iter().flatten().collect();
        kinds.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        for (header, n) in kinds.iter().take(MAX_LINES) {
            let what = match header {
                Some(header) => header.to_string(),
                None => "no PNG, JPEG or WebP image".to_string(),
            };
            let _ = writeln!(text, "  {}: {} of {what}", clean(&split.name), count(**n as u64));
        }
        if let Some(more) = kinds.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
            let rest = kinds[MAX_LINES..].iter().map(|(_, n)| **n as u64).sum();
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
pub fn classes(contents: &Contents) -> String {
    let Some(column) = contents.label_column() else { return String::new() };
    let names = class_names(contents, column);
    let all = labels(contents, column, names.len());
    // A column of texts or numbers that hardly repeat is no column of labels.
    let counts = |split: &Split| split.labels(column).map_or(0, |l| l.counts.values().sum());
    let rows: usize = contents.splits.iter().map(counts).sum();
    if names.len() < 2 && all.len() * 2 > rows {
        return String::new();
    }
    let shown: Vec<&Label> = all.iter().take(MAX_LINES).collect();
    let mut lines = vec![vec![format!("classes of `{}`", clean(column))]];
    lines[0].extend(contents.splits.iter().map(|split| clean(&split.name)));
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
        line.extend(contents.splits.iter().map(|split| count(of(split) as u64)));
        lines.push(line);
    }
    let mut text = format!("\n{}", aligned(&lines));
    if all.len() > shown.len() {
        let _ = writeln!(text, "… {} more", count((all.len() - shown.len()) as u64));
    }
    text
}

/// Every label of any split, and every class that is named.
fn labels(contents: &Contents, column: &str, named: usize) -> BTreeSet<Label> {
    let named = (0..named).map(|n| Label::Number(n as i64));
    let splits = contents.splits.iter().filter_map(|split| split.labels(column));
    splits.flat_map(|labels| labels.counts.keys().cloned()).chain(named).collect()
}

fn class_names<'a>(contents: &'a Contents, column: &str) -> &'a [String] {
    let labels = contents.train().and_then(|split| split.labels(column));
    labels.map_or(&[], |labels| &labels.class_names)
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
