//! Confusion matrices of the baseline and of the arm that the experiment is about: how often each class
//! was predicted for the test examples of each class.
//!
//! A row is a true class, a column a predicted one. The larger a cell's share of its row, the darker it is,
//! in one hue, so that the order is the same in grey print.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use unicode_width::UnicodeWidthStr;

use super::chart::Chart;
use super::legend::wrapped;
use super::style::{DrawResult, FONT, GRID, INK, Style};
use crate::error::Result;
use crate::report::numbers::seeds;
use crate::report::summary::{ArmSummary, Summary};
use crate::report::table::count;
use crate::report::text::chart_text;
use crate::results::{Confusion, ExperimentFolder};

/// The matrices of arms with the same classes.
pub struct Matrices {
    /// Of the classes, short enough for the chart.
    names: Vec<String>,
    panels: Vec<Panel>,
    /// Pixels of a panel's width.
    slot: u32,
}

struct Panel {
    /// The arm's label, in lines.
    title: Vec<String>,
    /// How many examples were counted.
    examples: String,
    /// Over all finished runs of the arm.
    confusion: Confusion,
}

/// With more classes a cell would be too small for its number, or the chart too large for a page.
const MAX_CLASSES: usize = 24;
/// Characters of a class's name.
const LONGEST: usize = 16;

/// Text sizes. Plotters' letters are smaller than a text's size by a factor of 1.24, so that these are
/// 11 and 12 pixels.
const TEXT: u32 = 14;
const TITLE: u32 = 15;
/// In pixels: of a line of text, a character of a text, and one of a title.
const LINE: u32 = 18;
const CHARACTER: u32 = 7;
const TITLE_CHARACTER: u32 = 8;
/// In pixels: around the chart, of an axis title, between panels, and between a text and a matrix.
const MARGIN: u32 = 12;
const AXIS: u32 = 22;
const GAP: u32 = 24;
const SPACE: u32 = 6;
/// In pixels: of a cell's side, and of the matrix that it is chosen for.
const CELLS: std::ops::RangeInclusive<u32> = 22..=80;
const SIDE: u32 = 300;
/// In pixels: the least width of a panel, and the most of panels beside each other.
const NARROWEST: u32 = 200;
const WIDEST: u32 = 800;

/// The colour of a cell with its whole row; one without anything is white.
const DARK: RGBColor = RGBColor(8, 48, 107);

const NOTE: &str = "Numbers are percent of the test examples of a true class, blank below 0.5 %. \
                    Outlined: predicted right.";

impl Matrices {
    /// None without a finished run, and where answers are not classes or there are too many of them.
    pub fn new(summary: &Summary, folder: &ExperimentFolder) -> Result<Option<Matrices>> {
        let mut counted = Vec::new();
        for arm in shown(summary) {
            counted.extend(counts(summary, folder, arm)?.map(|confusion| (arm, confusion)));
        }
        let Some((_, first)) = counted.first() else { return Ok(None) };
        let classes = first.classes.clone();
        // The rows of panels beside each other have the same names.
        counted.retain(|(_, confusion)| confusion.classes == classes);
        let names = short_names(&classes);
        let labels = counted.iter().map(|(arm, _)| chart_text(&arm.variant.label));
        let labels: Vec<String> = labels.collect();
        // The longest word of a title is not broken.
        let words = labels.iter().flat_map(|label| label.split_whitespace());
        let word = words.map(|word| TITLE_CHARACTER * word.width() as u32).max().unwrap_or(0);
        let slot = (cell(names.len()) * names.len() as u32).max(NARROWEST).max(word);
        let panel = |((arm, confusion), label): ((&ArmSummary, Confusion), &String)| Panel {
            title: wrapped(label, (slot / TITLE_CHARACTER) as usize),
            examples: examples(arm),
            confusion,
        };
        let panels = counted.into_iter().zip(&labels).map(panel).collect();
        Ok(Some(Matrices { names, panels, slot }))
    }

    fn cell(&self) -> u32 {
        cell(self.names.len())
    }

    /// Width and height of a matrix.
    fn side(&self) -> u32 {
        self.cell() * self.names.len() as u32
    }

    /// Width of the longest name.
    fn name_width(&self) -> u32 {
        let longest = self.names.iter().map(|name| name.width()).max().unwrap_or(0);
        CHARACTER * longest as u32
    }

    /// Whether the names of the columns are too long to stand beside each other.
    fn has_vertical_names(&self) -> bool {
        self.name_width() > self.cell()
    }

    /// Height of the names below a matrix.
    fn names_height(&self) -> u32 {
        SPACE + if self.has_vertical_names() { self.name_width() } else { LINE }
    }

    /// Height of a title with the number of examples.
    fn title_height(&self) -> u32 {
        let lines = self.panels.iter().map(|panel| panel.title.len()).max().unwrap_or(0);
        LINE * (lines as u32 + 1) + SPACE
    }

    fn panel_height(&self) -> u32 {
        self.title_height() + self.side() + self.names_height()
    }

    /// Width of what stands before the first column of panels.
    fn left(&self) -> u32 {
        MARGIN + AXIS + self.name_width() + SPACE
    }

    fn width_of(&self, columns: u32) -> u32 {
        self.left() + columns * (self.slot + GAP) - GAP + MARGIN
    }

    /// Panels beside each other: all if they fit, else one.
    fn columns(&self) -> u32 {
        let all = (self.panels.len() as u32).max(1);
        if self.width_of(all) <= WIDEST { all } else { 1 }
    }

    fn note(&self) -> Vec<String> {
        let width = self.width_of(self.columns()) - 2 * MARGIN;
        wrapped(NOTE, (width / CHARACTER) as usize)
    }

    /// The upper left corner of each panel's matrix.
    fn corners(&self) -> Vec<(u32, u32)> {
        let columns = self.columns();
        let corner = |panel: u32| {
            let (column, row) = (panel % columns, panel / columns);
            let top = MARGIN + row * (self.panel_height() + GAP);
            (self.left() + column * (self.slot + GAP), top + self.title_height())
        };
        (0..self.panels.len() as u32).map(corner).collect()
    }

    /// The lower edge of the last panel.
    fn bottom(&self) -> u32 {
        let rows = (self.panels.len() as u32).div_ceil(self.columns()).max(1);
        MARGIN + rows * (self.panel_height() + GAP) - GAP
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        let below = AXIS + LINE * self.note().len() as u32 + MARGIN;
        (self.width_of(self.columns()), self.bottom() + below)
    }
}

/// The arms whose matrices are shown: the primary contrast, or else the arm whose metric differs most
/// from its baseline's, behind this baseline. Without a comparison the first arm with a finished run.
fn shown(summary: &Summary) -> Vec<&ArmSummary> {
    let primary = summary.record.primary_contrast.as_ref().map(|primary| &primary.label);
    let compared = || summary.arms.iter().filter(|arm| arm.comparison.is_some());
    let distance = |arm: &ArmSummary| {
        arm.comparison.as_ref().map_or(0.0, |comparison| comparison.difference.mean.abs())
    };
    let named = compared().find(|arm| Some(&arm.variant.label) == primary);
    // From the back, since the last of equal ones is taken.
    let furthest = compared().rev().max_by(|a, b| distance(a).total_cmp(&distance(b)));
    let Some(arm) = named.or(furthest) else {
        return summary.arms.iter().find(|arm| !arm.runs.is_empty()).into_iter().collect();
    };
    let baseline = summary.record.baseline_of(&arm.variant).map(|baseline| &baseline.label);
    let baseline = summary.arms.iter().find(|other| Some(&other.variant.label) == baseline);
    baseline.into_iter().chain([arm]).collect()
}

/// The counts of all finished runs of an arm; None if there are none, or too many classes for a chart.
fn counts(
    summary: &Summary,
    folder: &ExperimentFolder,
    arm: &ArmSummary,
) -> Result<Option<Confusion>> {
    let evidence = summary.evidence_of(arm);
    let mut sum: Option<Confusion> = None;
    for run in &arm.runs {
        let confusion = evidence.confusion(&folder.run(&run.id))?;
        let is_shown = |confusion: &Confusion| (1..=MAX_CLASSES).contains(&confusion.classes.len());
        let Some(confusion) = confusion.filter(is_shown) else { return Ok(None) };
        let both = match sum {
            None => Some(confusion),
            Some(sum) => sum.merge(&confusion),
        };
        if both.is_none() {
            return Ok(None);
        }
        sum = both;
    }
    Ok(sum)
}

/// `1,000 examples × 3 seeds`.
fn examples(arm: &ArmSummary) -> String {
    let all: Vec<u64> = arm.runs.iter().map(|run| run.assessment.examples as u64).collect();
    let seeds = seeds(all.len());
    match all.split_first() {
        Some((first, others)) if others.iter().all(|other| other == first) => {
            format!("{} examples × {seeds}", count(*first))
        }
        _ => format!("{} examples of {seeds}", count(all.iter().sum())),
    }
}

/// Pixels of a cell's side.
fn cell(classes: usize) -> u32 {
    (SIDE / (classes as u32).max(1)).clamp(*CELLS.start(), *CELLS.end())
}

/// Names of at most [`LONGEST`] characters. Where shortened ones are equal, their numbers stand before them.
fn short_names(classes: &[String]) -> Vec<String> {
    let short = |text: &str| -> String {
        match text.chars().count() > LONGEST {
            true => {
                let start: String = text.chars().take(LONGEST - 1).collect();
                format!("{}…", start.trim_end())
            }
            false => text.to_string(),
        }
    };
    let whole: Vec<String> = classes.iter().map(|name| chart_text(name)).collect();
    let all: Vec<String> = whole.iter().map(|name| short(name)).collect();
    let name =
        |(class, name): (usize, &String)| match all.iter().filter(|other| *other == name).count() {
            1 => name.clone(),
            _ => short(&format!("{class} {}", whole[class])),
        };
    all.iter().enumerate().map(name).collect()
}

/// A cell's colour, from white for none of its row to [`DARK`] for all of it.
fn shade(share: f64) -> RGBColor {
    let mix = |dark: u8| (255.0 - share * (255.0 - f64::from(dark))).round() as u8;
    RGBColor(mix(DARK.0), mix(DARK.1), mix(DARK.2))
}

/// Black or white, whichever stands out more on a colour.
fn ink(on: RGBColor) -> RGBColor {
    // Where both have the same contrast, 4.6 to 1.
    if luminance(on) > 0.179 { BLACK } else { WHITE }
}

/// Relative luminance of an sRGB colour, in [0, 1] (Web Content Accessibility Guidelines 2.2).
fn luminance(RGBColor(red, green, blue): RGBColor) -> f64 {
    let linear = |value: u8| match f64::from(value) / 255.0 {
        value if value <= 0.04045 => value / 12.92,
        value => ((value + 0.055) / 1.055).powf(2.4),
    };
    0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
}

impl Chart for Matrices {
    fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
    ) -> DrawResult<DB> {
        area.fill(&WHITE)?;
        let corners = self.corners();
        for (panel, corner) in self.panels.iter().zip(&corners) {
            self.draw_title(area, style, panel, *corner)?;
            self.draw_matrix(area, style, &panel.confusion, *corner)?;
            self.draw_names(area, style, *corner)?;
        }
        let (Some((left, top)), Some((right, low))) = (corners.first(), corners.last()) else {
            return Ok(());
        };
        let px = |length: u32| style.px(length) as i32;
        let (drop, text) = (style.text_drop(TEXT), style.text(TEXT));
        let centre = text.pos(Pos::new(HPos::Center, VPos::Center));
        let middle = |from: u32, to: u32| px(from + to + self.side()) / 2;
        // Turned, what is below a text's middle is to the right of it.
        let at = (px(MARGIN + AXIS / 2) + drop, middle(*top, *low));
        let turned = centre.transform(FontTransform::Rotate270);
        area.draw(&Text::new("True class", at, turned))?;
        let at = (middle(*left, *right), px(self.bottom() + AXIS / 2) + drop);
        area.draw(&Text::new("Predicted class", at, centre))?;
        let left = text.pos(Pos::new(HPos::Left, VPos::Center));
        for (line, y) in self.note().into_iter().zip(0u32..) {
            let at = (px(MARGIN), px(self.bottom() + AXIS + LINE * y + LINE / 2) + drop);
            area.draw(&Text::new(line, at, left.clone()))?;
        }
        Ok(())
    }
}

impl Matrices {
    fn draw_title<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
        panel: &Panel,
        (x, y): (u32, u32),
    ) -> DrawResult<DB> {
        let left = Pos::new(HPos::Left, VPos::Center);
        let top = y - SPACE - LINE * (panel.title.len() as u32 + 1);
        let at = |middle: u32, size: u32| {
            (style.px(x) as i32, style.px(middle) as i32 + style.text_drop(size))
        };
        for (line, i) in panel.title.iter().zip(0u32..) {
            let at = at(top + LINE * i + LINE / 2, TITLE);
            area.draw(&Text::new(line.clone(), at, style.bold(TITLE).pos(left)))?;
        }
        let at = at(y - SPACE - LINE / 2, TEXT);
        area.draw(&Text::new(panel.examples.clone(), at, style.text(TEXT).pos(left)))
    }

    /// The cells with their numbers. The diagonal, where the predicted class is the true one, is outlined.
    fn draw_matrix<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
        confusion: &Confusion,
        (left, top): (u32, u32),
    ) -> DrawResult<DB> {
        let classes = self.names.len();
        let edge = |start: u32, cells: usize| style.px(start + self.cell() * cells as u32) as i32;
        let (x, y) = (|column: usize| edge(left, column), |row: usize| edge(top, row));
        let all = (0..classes).flat_map(|row| (0..classes).map(move |column| (row, column)));
        let shares: Vec<(usize, usize, f64)> = all
            .filter_map(|(row, column)| Some((row, column, confusion.share(row, column)?)))
            .filter(|(.., share)| *share > 0.0)
            .collect();
        for (row, column, share) in &shares {
            let corners = [(x(*column), y(*row)), (x(column + 1), y(row + 1))];
            area.draw(&Rectangle::new(corners, shade(*share).filled()))?;
        }
        let thin = |colour: RGBColor| colour.stroke_width(style.px(1));
        for i in 0..=classes {
            let across = [(x(0), y(i)), (x(classes), y(i))];
            let down = [(x(i), y(0)), (x(i), y(classes))];
            area.draw(&PathElement::new(across, thin(GRID)))?;
            area.draw(&PathElement::new(down, thin(GRID)))?;
        }
        for i in 0..classes {
            let (x, y) = ([x(i), x(i + 1)], [y(i), y(i + 1)]);
            let around = [(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0])];
            area.draw(&PathElement::new(around, thin(INK)))?;
        }
        let centre = Pos::new(HPos::Center, VPos::Center);
        for (row, column, share) in shares {
            let percent = (100.0 * share).round();
            if percent > 0.0 {
                let at = (
                    (x(column) + x(column + 1)) / 2,
                    (y(row) + y(row + 1)) / 2 + style.text_drop(TEXT),
                );
                let font = (FONT, style.px(TEXT)).into_font().color(&ink(shade(share)));
                area.draw(&Text::new(format!("{percent:.0}"), at, font.pos(centre)))?;
            }
        }
        Ok(())
    }

    /// The names of the columns below a matrix, and of the rows before those that begin a line of panels.
    fn draw_names<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        style: &Style,
        (left, top): (u32, u32),
    ) -> DrawResult<DB> {
        let px = |length: u32| style.px(length) as i32;
        let (drop, text) = (style.text_drop(TEXT), style.text(TEXT));
        let right = text.pos(Pos::new(HPos::Right, VPos::Center));
        let below = top + self.side() + SPACE;
        for (name, i) in self.names.iter().zip(0u32..) {
            let middle = px(self.cell() * (2 * i + 1)) / 2;
            let (x, y) = (px(left) + middle, px(top) + middle);
            if left == self.left() {
                let at = (px(left - SPACE), y + drop);
                area.draw(&Text::new(name.clone(), at, right.clone()))?;
            }
            if self.has_vertical_names() {
                let turned = right.transform(FontTransform::Rotate270);
                area.draw(&Text::new(name.clone(), (x + drop, px(below)), turned))?;
            } else {
                let centre = text.pos(Pos::new(HPos::Center, VPos::Center));
                let at = (x, px(below + LINE / 2) + drop);
                area.draw(&Text::new(name.clone(), at, centre))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_out_on_every_shade() {
        let shades: Vec<RGBColor> = (0..=1000).map(|share| shade(f64::from(share) / 1e3)).collect();
        for colour in &shades {
            let (on, text) = (luminance(*colour) + 0.05, luminance(ink(*colour)) + 0.05);
            let contrast = (on / text).max(text / on);
            // The level AA of the guidelines.
            assert!(contrast >= 4.5, "{contrast} on {colour:?}");
        }
        // Of two shares that differ by a percent, the larger one is darker without colour, too.
        let grey: Vec<f64> = shades.iter().map(|colour| luminance(*colour)).collect();
        assert!(grey.windows(11).all(|w| w[0] > w[10]));
        assert_eq!((shades[0], shades[1000]), (WHITE, DARK));
    }

    #[test]
    fn long_names_are_cut_and_stay_distinct() {
        let names =
            |names: &[&str]| short_names(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(names(&["cat", "sixteen letters!"]), ["cat", "sixteen letters!"]);
        assert_eq!(names(&["seventeen letters"]), ["seventeen lette…"]);
        assert_eq!(
            names(&["a common beginning, a", "a common beginning, b", "dog"]),
            ["0 a common begi…", "1 a common begi…", "dog"]
        );
        assert_eq!(names(&["a\x1b[31m"]), ["a\\x1b[31m"]);
    }

    #[test]
    fn cells_are_as_large_as_the_chart_allows() {
        assert_eq!([1, 2, 4, 10, 14, 24].map(cell), [80, 80, 75, 30, 22, 22]);
    }
}
