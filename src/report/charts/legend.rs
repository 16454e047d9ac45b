//! The legend of a chart: names with their marks, and sentences below.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::marks::Look;
use super::style::{DrawResult, Style};
use crate::report::summary::{FEWER_SEEDS, NOT_LEARNED, Summary};
use crate::report::text::chart_text;

/// The symbol before a name in a legend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Mark,
    Line,
    /// A line through marks.
    Both,
}

/// Names with their looks, and sentences below.
#[derive(Clone, Debug, Default)]
pub struct Legend {
    lines: Vec<Line>,
    below: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
enum Line {
    /// What the names below it begin with.
    Heading(String),
    Entry(String, Look, Key),
}

/// In pixels: the height of a legend line, the top of the first line, and the left edge of names.
const LINE: u32 = 22;
const TOP: u32 = 52;
const NAME: u32 = 38;
/// Characters per line of the sentences below.
const BELOW: usize = 44;

impl Legend {
    /// Arms drawn as numbers get one sentence for all instead of an entry each.
    pub fn new(entries: impl IntoIterator<Item = (String, Look, Key)>) -> Legend {
        let all: Vec<_> = entries.into_iter().collect();
        let (numbers, entries): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, look, _)| look.is_number());
        let entries = entries.into_iter().map(|(name, look, key)| (chart_text(&name), look, key));
        let mut legend = Legend { lines: factored(entries.collect()), below: Vec::new() };
        if !numbers.is_empty() {
            legend.add_sentence("Numbers are the other arms, by their row in table.csv.");
        }
        legend
    }

    /// Adds a sentence below the names.
    pub fn add_sentence(&mut self, sentence: &str) {
        self.below.extend(wrapped(&chart_text(sentence), BELOW));
    }

    /// Explains the marks after names, and lists the arms that are not drawn.
    pub fn add_notes(&mut self, summary: &Summary) {
        if summary.arms.iter().any(|arm| arm.not_learned().next().is_some()) {
            self.add_sentence(&format!(
                "{NOT_LEARNED} A run did not learn: it is no better than one answer for all."
            ));
        }
        if summary.seeds_differ() {
            self.add_sentence(&format!("{FEWER_SEEDS} Over fewer seeds than other arms."));
        }
        let arms = summary.arms.iter().filter(|arm| arm.runs.is_empty());
        let names: Vec<&str> = arms.map(|arm| arm.variant.label.as_str()).collect();
        if !names.is_empty() {
            self.add_sentence(&format!("Without a finished run: {}.", names.join(", ")));
        }
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        let lines = (self.lines.len() + self.below.len()) as u32;
        if lines == 0 {
            return (0, 0);
        }
        let names = self.lines.iter().map(|line| match line {
            Line::Heading(text) => 8 * text.chars().count() as u32,
            Line::Entry(name, ..) => 7 * name.chars().count() as u32 + NAME,
        });
        let below = self.below.iter().map(|line| 6 * line.chars().count() as u32);
        let width = names.chain(below).max().unwrap_or(0);
        (width + 20, TOP + 28 + LINE * lines)
    }

    /// One line per name, after a piece of its line or its mark.
    pub fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB> {
        let place = |line: usize| style.offset((TOP + LINE * line as u32) as i32);
        let middle = |size| style.text(size).pos(Pos::new(HPos::Left, VPos::Center));
        for (i, line) in self.lines.iter().enumerate() {
            let (y, length) = (place(i), style.px(28));
            let (name, look, key) = match line {
                Line::Entry(name, look, key) => (name, look, key),
                Line::Heading(text) => {
                    let bold = style.bold(13).pos(Pos::new(HPos::Left, VPos::Center));
                    let at = (0, y + style.text_drop(13));
                    area.draw(&Text::new(text.clone(), at, bold))?;
                    continue;
                }
            };
            if *key != Key::Mark {
                let (dash, gap) = style.dash(*look).unwrap_or((length, 0));
                for from in (0..length).step_by((dash + gap) as usize) {
                    let to = (from + dash).min(length);
                    let piece = [(from as i32, y), (to as i32, y)];
                    let stroke = look.colour.stroke_width(style.px(2));
                    area.draw(&PathElement::new(piece, stroke))?;
                }
            }
            if *key != Key::Line {
                style.mark(area, (style.offset(14), y), *look)?;
            }
            let text = (style.offset(NAME as i32), y + style.text_drop(13));
            area.draw(&Text::new(name.clone(), text, middle(13)))?;
        }
        for (i, text) in self.below.iter().enumerate() {
            let y = place(self.lines.len() + i) + style.text_drop(12);
            area.draw(&Text::new(text.clone(), (0, y), middle(12)))?;
        }
        Ok(())
    }
}

/// Neighbours whose names begin with the same word and go on get it as a heading instead.
fn factored(entries: Vec<(String, Look, Key)>) -> Vec<Line> {
    let first = |name: &str| name.split_once(' ').map(|(word, _)| word.to_string());
    let mut lines = Vec::new();
    for group in entries.chunk_by(|a, b| first(&a.0).is_some() && first(&a.0) == first(&b.0)) {
        let word = first(&group[0].0).filter(|_| group.len() > 1);
        lines.extend(word.clone().map(Line::Heading));
        for (name, look, key) in group {
            let name = match &word {
                Some(word) => name[word.len() + 1..].to_string(),
                None => name.clone(),
            };
            lines.push(Line::Entry(name, *look, *key));
        }
    }
    lines
}

/// Lines of at most `most` characters, broken at spaces. A longer word stays whole.
pub fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                *line += " ";
                *line += word;
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_share_a_heading() {
        let look = super::super::marks::looks(&[true])[0];
        let names = ["dense", "vlora rank=1", "vlora rank=2", "vlora", "shared a=1", "x y", "x z"];
        let entries = names.map(|name| (name.to_string(), look, Key::Mark));
        let lines = factored(entries.to_vec());
        let texts: Vec<String> = lines
            .iter()
            .map(|line| match line {
                Line::Heading(text) => format!("# {text}"),
                Line::Entry(name, ..) => name.clone(),
            })
            .collect();
        let want = ["dense", "# vlora", "rank=1", "rank=2", "vlora", "shared a=1", "# x", "y", "z"];
        assert_eq!(texts, want);
    }

    #[test]
    fn sentences_are_broken_at_spaces() {
        assert_eq!(wrapped("one two three", 8), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 3), ["unbreakable"]);
        assert!(wrapped("", 3).is_empty());
    }
}
